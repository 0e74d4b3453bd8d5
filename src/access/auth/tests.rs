//! Credentials: how they are read, what they cost, and which tokens count.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use futures_util::poll;
use jsonwebtoken::{Algorithm, EncodingKey};
use zeroize::Zeroizing;

use super::basic::{BasicCredentials, Scheme};
use super::jwt::{JwtAlgorithm, JwtSettings, JwtVerifier, TokenRefused};
use super::jwt::{JwtKey, KeySet};
use super::password::{Login, PasswordSettings, Passwords};
use super::users::PasswordKind;
use crate::access::principal::Mechanism;

/// "pw", cost 4.
const PW: &str = "$2a$04$bAjRLVo/JBv8/05x478xSuXdHmC7sWR3dGlshGTPnMc5Bp6M0IKTO";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn one_at_a_time() -> Passwords {
    Passwords::new(&PasswordSettings {
        concurrent: 1,
        ..PasswordSettings::default()
    })
}

async fn verify(passwords: &Passwords, stored: Option<&str>, password: &str) -> Option<bool> {
    let password = Zeroizing::new(password.to_owned());
    let login = Login {
        name: "u",
        password: &password,
        peer: HERE,
    };
    passwords
        .verify(&login, stored, PasswordKind::Bcrypt)
        .await
        .ok()
}

#[tokio::test(start_paused = true)]
async fn right_password_is_remembered_and_a_wrong_one_is_not() {
    let passwords = one_at_a_time();
    assert_eq!(verify(&passwords, Some(PW), "pw").await, Some(true));
    assert_eq!(verify(&passwords, Some(PW), "no").await, Some(false));
    let busy = passwords.occupy().await;
    assert_eq!(verify(&passwords, Some(PW), "pw").await, Some(true));
    assert_eq!(verify(&passwords, Some(PW), "no").await, None);
    // A changed hash is another one, though the password be the same.
    let changed = bcrypt::hash("pw", 4).unwrap();
    assert_eq!(verify(&passwords, Some(&changed), "pw").await, None);
    tokio::time::advance(PasswordSettings::default().remembered_for).await;
    assert_eq!(verify(&passwords, Some(PW), "pw").await, None);
    drop(busy);
    assert_eq!(verify(&passwords, Some(&changed), "pw").await, Some(true));
}

#[tokio::test]
async fn the_same_login_at_the_same_time_is_computed_once() {
    // One place to wait in, so a second computation would be told to come back.
    let passwords = Passwords::new(&PasswordSettings {
        concurrent: 1,
        waiting_max: 1,
        ..PasswordSettings::default()
    });
    for (password, right) in [("pw", true), ("no", false)] {
        let busy = passwords.occupy().await;
        let logins = (0..100).map(|_| verify(&passwords, Some(PW), password));
        let mut logins = Box::pin(join_all(logins));
        assert!(poll!(&mut logins).is_pending());
        assert_eq!(verify(&passwords, Some(PW), "other").await, None);
        drop(busy);
        assert_eq!(logins.await, vec![Some(right); 100]);
    }
}

#[tokio::test]
async fn whoever_waits_beside_a_login_that_is_given_up_takes_its_place() {
    let passwords = one_at_a_time();
    let busy = passwords.occupy().await;
    let mut first = Box::pin(verify(&passwords, Some(PW), "pw"));
    let mut second = Box::pin(verify(&passwords, Some(PW), "pw"));
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    drop(first);
    drop(busy);
    assert_eq!(second.await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn unknown_user_and_unusable_hash_cost_what_a_wrong_password_costs() {
    let passwords = one_at_a_time();
    // A cost of 4 has been seen, so that this test is quick.
    assert_eq!(verify(&passwords, Some(PW), "no").await, Some(false));
    let unusable = [
        None,
        Some("pw"),
        Some(""),
        Some("$2a$31$bAjRLVo/JBv8/05x478xSuXdHmC7sWR3dGlshGTPnMc5Bp6M0IKTO"),
    ];
    for stored in unusable {
        assert_eq!(
            verify(&passwords, stored, "pw").await,
            Some(false),
            "{stored:?}"
        );
    }
    let busy = passwords.occupy().await;
    for stored in unusable {
        assert_eq!(
            verify(&passwords, stored, "pw").await,
            None,
            "{stored:?} is not worked on"
        );
    }
    drop(busy);
}

#[tokio::test]
async fn plain_passwords_are_compared_whole_and_an_empty_one_is_none() {
    let passwords = one_at_a_time();
    let cases = [
        (Some("pw"), "pw", true),
        (Some("pw"), "pw2", false),
        (Some("pw2"), "pw", false),
        (Some(""), "", false),
        (None, "", false),
    ];
    for (stored, given, expected) in cases {
        let password = Zeroizing::new(given.to_owned());
        let login = Login {
            name: "u",
            password: &password,
            peer: HERE,
        };
        assert_eq!(
            passwords.verify(&login, stored, PasswordKind::Plain).await,
            Ok(expected),
            "{stored:?} {given}"
        );
    }
}

#[test]
fn basic_is_read_tolerantly() {
    let read = |value: &str| {
        let (credentials, scheme) = BasicCredentials::parse(value)?;
        Some((
            credentials
                .map(|it| format!("{}|{}", it.name, *it.password))
                .ok(),
            scheme,
        ))
    };
    let pair = || Some("au:pw".replace(':', "|"));
    assert_eq!(read("Basic YXU6cHc="), Some((pair(), Scheme::Exact)));
    assert_eq!(read("bASIC   YXU6cHc "), Some((pair(), Scheme::OtherCase)));
    assert_eq!(read("Basic !!!"), Some((None, Scheme::Exact)));
    assert_eq!(read("Basic YXVwdw=="), Some((None, Scheme::Exact)));
    assert_eq!(read("Bearer YXU6cHc="), None);
    assert_eq!(read("Bäsic"), None);
    assert_eq!(read(""), None);
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn signed(payload: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(payload));
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_secret(KEY.as_bytes()),
        Algorithm::HS256,
    );
    format!("{message}.{}", signature.unwrap())
}

fn verify_at(payload: &str, seconds: f64) -> Result<Option<SystemTime>, TokenRefused> {
    let verifier = JwtVerifier::new(JwtSettings::new(KEY, JwtAlgorithm::Hs256)).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs_f64(seconds);
    verifier
        .verify(&signed(payload), Mechanism::Jwt, now)
        .map(|principal| principal.expires_at)
}

fn claims(more: &str) -> String {
    format!(r#"{{"iss":"restheart.org","sub":"u","roles":[]{more}}}"#)
}

#[test]
fn times_of_a_token_are_exact() {
    let end = Some(UNIX_EPOCH + Duration::from_secs(100));
    assert_eq!(verify_at(&claims(r#","exp":100"#), 99.999), Ok(end));
    assert_eq!(
        verify_at(&claims(r#","exp":100"#), 100.0),
        Err(TokenRefused::Time)
    );
    assert_eq!(
        verify_at(&claims(r#","nbf":100"#), 99.0),
        Err(TokenRefused::Time)
    );
    assert_eq!(
        verify_at(&claims(r#","nbf":100,"iat":100"#), 100.0),
        Ok(None)
    );
    assert_eq!(
        verify_at(&claims(r#","iat":100"#), 99.0),
        Err(TokenRefused::Time)
    );
    assert_eq!(
        verify_at(&claims(r#","exp":"100""#), 1.0),
        Err(TokenRefused::Malformed)
    );
    assert_eq!(
        verify_at(&claims(r#","exp":1e300"#), 1.0),
        Err(TokenRefused::Time)
    );
    assert_eq!(
        verify_at(&claims(r#","exp":-5"#), 1.0),
        Err(TokenRefused::Time)
    );
}

#[test]
fn a_claim_given_twice_refuses() {
    assert_eq!(
        verify_at(&claims(r#","sub":"admin""#), 1.0),
        Err(TokenRefused::Malformed)
    );
    assert_eq!(verify_at(r#"["a"]"#, 1.0), Err(TokenRefused::Malformed));
    assert_eq!(
        verify_at(
            &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
            1.0
        ),
        Err(TokenRefused::Malformed)
    );
}

#[test]
fn a_token_packed_once_more_is_unpacked() {
    let settings = JwtSettings {
        base64_encoded: true,
        ..JwtSettings::new(KEY, JwtAlgorithm::Hs256)
    };
    let verifier = JwtVerifier::new(settings).unwrap();
    let packed = BASE64_URL_SAFE_NO_PAD.encode(signed(&claims("")));
    assert!(verifier.verify(&packed, Mechanism::Jwt, UNIX_EPOCH).is_ok());
    assert!(
        verifier
            .verify(&signed(&claims("")), Mechanism::Jwt, UNIX_EPOCH)
            .is_err()
    );
}

#[test]
fn a_certificate_verifies_what_its_key_signed() {
    let verifier = JwtVerifier::new(JwtSettings::new(CERTIFICATE, JwtAlgorithm::Rs256)).unwrap();
    let principal = verifier
        .verify(SIGNED_BY_RSA, Mechanism::Jwt, UNIX_EPOCH)
        .unwrap();
    assert_eq!(principal.name, "rsa");
    assert_eq!(
        verifier.verify(
            &SIGNED_BY_RSA.replace('.', "A."),
            Mechanism::Jwt,
            UNIX_EPOCH
        ),
        Err(TokenRefused::Malformed)
    );
    // The certificate is public: who takes it for a secret must not get in with it.
    assert_eq!(
        verifier.verify(&signed(&claims("")), Mechanism::Jwt, UNIX_EPOCH),
        Err(TokenRefused::Algorithm)
    );
    assert!(JwtVerifier::new(JwtSettings::new("nonsense", JwtAlgorithm::Rs256)).is_err());
    assert!(JwtVerifier::new(JwtSettings::new("", JwtAlgorithm::Hs256)).is_err());
}

fn signed_by(key: &EncodingKey, algorithm: Algorithm, header: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(&claims("")));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm);
    format!("{message}.{}", signature.unwrap())
}

fn by_curve(header: &str) -> String {
    let key = EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).unwrap();
    signed_by(&key, Algorithm::ES256, header)
}

fn by_edwards(header: &str) -> String {
    let key = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap();
    signed_by(&key, Algorithm::EdDSA, header)
}

const ES256: &str = r#"{"alg":"ES256"}"#;
const EDDSA: &str = r#"{"alg":"EdDSA"}"#;

#[test]
fn public_keys_of_curves_verify() {
    let now = UNIX_EPOCH;
    let curve = JwtVerifier::new(JwtSettings::new(EC_PUBLIC, JwtAlgorithm::Es256)).unwrap();
    let edwards = JwtVerifier::new(JwtSettings::new(ED_PUBLIC, JwtAlgorithm::EdDsa)).unwrap();
    assert!(curve.verify(&by_curve(ES256), Mechanism::Jwt, now).is_ok());
    assert!(
        edwards
            .verify(&by_edwards(EDDSA), Mechanism::Jwt, now)
            .is_ok()
    );
    let refused = |verifier: &JwtVerifier, token: &str| verifier.verify(token, Mechanism::Jwt, now);
    assert_eq!(
        refused(&curve, &by_edwards(EDDSA)),
        Err(TokenRefused::Algorithm)
    );
    assert_eq!(
        refused(&curve, &by_edwards(ES256)),
        Err(TokenRefused::Signature)
    );
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":["ES256"]}"#,
        "{}",
    ] {
        assert_eq!(
            refused(&curve, &by_curve(header)),
            Err(TokenRefused::Algorithm)
        );
    }
    let critical = r#"{"alg":"ES256","crit":["exp"]}"#;
    assert_eq!(
        refused(&curve, &by_curve(critical)),
        Err(TokenRefused::Critical)
    );
    let swapped = JwtVerifier::new(JwtSettings::new(ED_PUBLIC, JwtAlgorithm::Es256));
    assert!(swapped.is_err());
}

/// A set with these keys, fetched at the beginning of time and trusted for a minute.
fn set(keys: &str) -> Arc<KeySet> {
    let set = KeySet::new(Duration::from_secs(60));
    let json = format!(r#"{{"keys":[{keys}]}}"#);
    set.replace(json.as_bytes(), UNIX_EPOCH).unwrap();
    Arc::new(set)
}

fn verifier_of(set: &Arc<KeySet>) -> JwtVerifier {
    let settings = JwtSettings {
        key: JwtKey::Set(Arc::clone(set)),
        ..JwtSettings::new("", JwtAlgorithm::Es256)
    };
    JwtVerifier::new(settings).unwrap()
}

#[test]
fn a_set_of_keys_is_asked_by_name_and_trusted_for_a_while() {
    let set = set(&format!(
        r#"{EC_JWK}, {ED_JWK}, {OCT_JWK}, {{"kty":"new","kid":"n"}}"#
    ));
    let verifier = verifier_of(&set);
    let verify = |header: &str, seconds: u64| {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        let found = verifier.verify(&by_curve(header), Mechanism::Jwt, now);
        found.map(|principal| principal.signed_by.expect("a key").to_string())
    };
    let curve = r#"{"alg":"ES256","kid":"curve"}"#;
    assert_eq!(verify(curve, 60), Ok("curve".to_owned()));
    assert_eq!(verify(curve, 61), Err(TokenRefused::KeysStale));
    assert_eq!(
        verify(r#"{"alg":"ES256","kid":"other"}"#, 1),
        Err(TokenRefused::Key)
    );
    assert_eq!(
        verify(r#"{"alg":"ES256","kid":"secret"}"#, 1),
        Err(TokenRefused::Key)
    );
    assert_eq!(
        verify(r#"{"alg":"ES256","kid":"edwards"}"#, 1),
        Err(TokenRefused::Signature)
    );
    assert_eq!(
        verify(ES256, 1),
        Err(TokenRefused::Key),
        "which of the two?"
    );
    let principal = verifier
        .verify(&by_curve(curve), Mechanism::Jwt, UNIX_EPOCH)
        .unwrap();
    assert!(verifier.still_trusts(&principal));
    set.replace(format!(r#"{{"keys":[{ED_JWK}]}}"#).as_bytes(), UNIX_EPOCH)
        .unwrap();
    assert!(!verifier.still_trusts(&principal), "its key was withdrawn");
}

#[test]
fn what_is_no_set_leaves_the_one_before() {
    let set = set(EC_JWK);
    for json in [
        "",
        "[]",
        "{}",
        r#"{"keys":[]}"#,
        "<html>",
        &format!(r#"{{"keys":[{OCT_JWK}]}}"#),
    ] {
        assert!(set.replace(json.as_bytes(), UNIX_EPOCH).is_err(), "{json}");
    }
    let verifier = verifier_of(&set);
    // The only key needs no name.
    assert!(
        verifier
            .verify(&by_curve(ES256), Mechanism::Jwt, UNIX_EPOCH)
            .is_ok()
    );
    let settings = JwtSettings {
        key: JwtKey::Set(set),
        ..JwtSettings::new("", JwtAlgorithm::Hs256)
    };
    assert!(
        JwtVerifier::new(settings).is_err(),
        "a public key is no secret"
    );
    let empty = Arc::new(KeySet::new(Duration::from_secs(60)));
    assert_eq!(
        verifier_of(&empty).verify(&by_curve(ES256), Mechanism::Jwt, UNIX_EPOCH),
        Err(TokenRefused::KeysStale)
    );
}

#[test]
fn clocks_may_differ_by_the_leeway() {
    let settings = JwtSettings {
        leeway: Duration::from_secs(5),
        ..JwtSettings::new(KEY, JwtAlgorithm::Hs256)
    };
    let verifier = JwtVerifier::new(settings).unwrap();
    let verify = |more: &str, seconds: u64| {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        verifier
            .verify(&signed(&claims(more)), Mechanism::Jwt, now)
            .is_ok()
    };
    assert!(verify(r#","exp":100"#, 104) && !verify(r#","exp":100"#, 105));
    assert!(verify(r#","nbf":100,"iat":100"#, 95) && !verify(r#","nbf":100"#, 94));
}

/// Keys made for these tests.
const EC_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgisa5FDbhIszvnF+w\nHFn+0R3QBC5KPcnkBai68hXmDkuhRANCAASvCTCndT8Dh0fKPI3/dYTRNW4KXc3I\n1/LwT45dCxvTY4MBWesVfs3krmp0m/cZWdwQ/EuHKFwxPPpRqjt3xTLC\n-----END PRIVATE KEY-----\n";
const EC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErwkwp3U/A4dHyjyN/3WE0TVuCl3N\nyNfy8E+OXQsb02ODAVnrFX7N5K5qdJv3GVncEPxLhyhcMTz6Uao7d8Uywg==\n-----END PUBLIC KEY-----\n";
const ED_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJxSj4l+70ynWP1KvDHxo5wF3HIvJhV/qxsGkkHeWV6N\n-----END PRIVATE KEY-----\n";
const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAqsSVdqi/+jI8dbHKgHzC3rL93MuSMC19GJe32OThC54=\n-----END PUBLIC KEY-----\n";
const EC_JWK: &str = r#"{"kty":"EC","crv":"P-256","use":"sig","kid":"curve","x":"rwkwp3U_A4dHyjyN_3WE0TVuCl3NyNfy8E-OXQsb02M","y":"gwFZ6xV-zeSuanSb9xlZ3BD8S4coXDE8-lGqO3fFMsI"}"#;
const ED_JWK: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"edwards","x":"qsSVdqi_-jI8dbHKgHzC3rL93MuSMC19GJe32OThC54"}"#;
const OCT_JWK: &str = r#"{"kty":"oct","kid":"secret","k":"c2VjcmV0"}"#;

/// A certificate made for this test; its key is not kept.
const CERTIFICATE: &str = "MIIDATCCAemgAwIBAgIUWyFpZh8gq73OxK9dTjp8TyDYjdkwDQYJKoZIhvcNAQELBQAwDzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjUwMjQ5MzZaGA8yMTI2MTEwMTAyNDkzNlowDzENMAsGA1UEAwwEdGVzdDCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBANgYOOHTvtbu1bEJRACNucJwiGf5QR4zFA6Y8VKBx4VLlzX8ysMk51kB9dJ9ZVWVaLXiv4GbeKwoZo4l3Hrpxz5In01JpsHNTVH9lnC9rIJU19v/LawDZQF2GiXp+1gpwZ52+kUCmHT7w+1h9KNDsckNx4xrz/uMS0TxDD/Xg+ClFh2aZoGlljVx6XQhautjhsnpy2sG9pkPNoLYiQXCRqygaVVMRCSzwfLGQSmdT1COq7OG0vb7bMW0rI4/1wALAQjFXVLOCV2vIYmmzTwpwbnSLTpzdZmeCG60u8vk09RPdspCZWE6rqtDeVcOiBb5SSKqc/kNsv0VQw/zQ++xRyMCAwEAAaNTMFEwHQYDVR0OBBYEFHOAhbUUIPmlm7YcWkfpC5GrrT3/MB8GA1UdIwQYMBaAFHOAhbUUIPmlm7YcWkfpC5GrrT3/MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADggEBAM1pP4ht1oTLGEkVY9pkulv9/zHWHY4vwT+0JYBhvba5ezsPXVHFdE38NLQ9O/wSKNLQq+DJT9sx/11p/y2v6dct2qNiD16XqJZfFy9SnLgBuJHCDSSqgfxQS0ThYvM3iQrPHvWZuhw9JI6w+m/tVV1VbrMjNhLaa+f+tMJGOzsVSpQSwnXAZxmzVBF9Tb3AmC57MPTihTeOQpSIndCzNCl9o7MIUh9yP9kov6SRxR0y4WeikIDJpDXaOKyJmKJz4e6xJOSBH4qOcYJqAYJrLu2F5nnIu3VfnZchJbaAOV/29CfSV95UjTynski9EhTihn3jQa4XLjQDOPUo2w+Xv64=";

/// Signed by the key of that certificate.
const SIGNED_BY_RSA: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJyZXN0aGVhcnQub3JnIiwic3ViIjoicnNhIiwicm9sZXMiOlsiYWRtaW4iXX0.s_-bqMwpy1gMFCXmGuZ7GlhxPTUAw-F3wbk4ZF1fukfhUWHSbM9yU6p-uceZeVI-fRWevtOyYcTez4qyWs0qQ8fWFh_u7bJS3U4C_87HJr4n5U_fCWMKkzSIeE6cw8-GOwuwv4CWFtlV9mfN5mc1fAnILhqYfSWHlUmhBIg5qZ-jpsq90ReUwZlGYXbeKifksQD87P7O_jn9UbqLq2fnmA4vvJLyVwOU18Z3LrYvmoOHXVvAfqrzZRdmtJmZa5O1nszIO7nw8KtdrVjiJUneurM2I3oo5e1N7xpd3RMU17emlgv9awq-TAYWBEsDuxZytOIGhKNTgGoLuZEe4QDE-w";
