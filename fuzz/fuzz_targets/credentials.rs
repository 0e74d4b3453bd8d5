//! Whatever comes as credentials is right or counts as none.
//!
//! The first byte says where the rest is put: `a` `Authorization`, `c` the cookie, `q` the query; `t`: a token's header and
//! its claims, a line each, which are signed with the right key.
#![no_main]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bson::doc;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sidestream::access::{
    Access, AccessSettings, JwtAlgorithm, JwtSettings, JwtVerifier, Mechanism, Principal,
};
use sidestream_fuzz::access::{self, NoUsers};

fuzz_target!(|bytes: &[u8]| {
    let Some((way, rest)) = bytes.split_first() else {
        return;
    };
    let rest = String::from_utf8_lossy(rest);
    let request = match way {
        b'c' => format!("GET /a\nHost: h\nCookie: {rest}"),
        b'q' => format!("GET /a?{rest}"),
        b't' => format!("GET /a\nAuthorization: Bearer {}", signed(&rest)),
        _ => format!("GET /a\nAuthorization: {rest}"),
    };
    let Some(head) = access::head(&request) else {
        return;
    };
    let Ok(grant) = access::decide(&authority(), head) else {
        return;
    };
    match &grant.principal {
        None => (),
        Some(principal) if *way == b't' => check_claims(principal, &rest),
        // Nobody guesses a signature; the password stands in the seeds.
        Some(principal) => assert!(
            principal.name == "bob" && principal.mechanism == Mechanism::Configured,
            "{rest} is {principal:?}"
        ),
    }
});

fn authority() -> Access {
    let mut jwt = JwtSettings::new(KEY, JwtAlgorithm::Hs256);
    jwt.fixed_roles = vec!["user".to_owned()];
    let settings = AccessSettings {
        users: None,
        jwt: Some(JwtVerifier::new(jwt).expect("a key")),
        configured_users: vec![doc! { "userid": "bob", "password": "pw", "roles": ["user"] }],
        token_parameter: Some("token".to_owned()),
        ..AccessSettings::default()
    };
    let access = Access::new(settings, Arc::new(NoUsers));
    let roles = ["$unauthenticated", "user"];
    access.replace_permissions([doc! { "_id": 1, "predicate": "true", "roles": roles.to_vec() }]);
    access
}

fn signed(text: &str) -> String {
    let (header, claims) = text
        .split_once('\n')
        .unwrap_or((r#"{"alg":"HS256"}"#, text));
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(KEY.as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a key");
    format!("{message}.{signature}")
}

/// Holds what was let in against another reading of the claims.
#[track_caller]
fn check_claims(principal: &Principal, text: &str) {
    let claims = text.split_once('\n').map_or(text, |(_, claims)| claims);
    let claims: Value = serde_json::from_str(claims).expect("claims that let in are JSON");
    assert_eq!(claims["sub"].as_str(), Some(principal.name.as_str()));
    assert_eq!(claims["iss"].as_str(), Some("restheart.org"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64();
    let time = |name: &str| claims[name].as_f64();
    // The clock goes on while the token is looked at.
    assert!(time("exp").is_none_or(|exp| exp + 60.0 > now), "{claims}");
    assert!(time("nbf").is_none_or(|nbf| nbf <= now), "{claims}");
    assert!(time("iat").is_none_or(|iat| iat <= now), "{claims}");
}

/// Another one than that of the recordings, whose tokens are among the seeds.
const KEY: &str = "fedcba9876543210fedcba9876543210";
