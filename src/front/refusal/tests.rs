//! Each refusal's status, headers and whether it says anything.

use super::*;

#[track_caller]
fn check(refusal: Refusal, status: u16, names: &[&str]) {
    let answer = refusal.answer(&HeaderMap::new(), JsonMode::Default);
    let mut found: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
    found.sort_unstable();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(
        (answer.status().as_u16(), found),
        (status, expected),
        "{refusal:?}"
    );
}

const CORS: [&str; 3] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
];

fn with_cors(more: &[&'static str]) -> Vec<&'static str> {
    CORS.iter().chain(more).copied().collect()
}

#[test]
fn each_refusal_has_the_headers_that_were_recorded() {
    let plain = with_cors(&["connection", "content-type"]);
    check(Refusal::Forbidden, 403, &plain);
    check(Refusal::Handshake, 404, &plain);
    check(Refusal::Unauthenticated { challenge: false }, 401, &plain);
    let challenged = with_cors(&["connection", "content-type", "www-authenticate"]);
    check(
        Refusal::Unauthenticated { challenge: true },
        401,
        &challenged,
    );
    check(Refusal::said(StatusCode::NOT_FOUND, "x"), 404, &plain);
    check(
        Refusal::Failed {
            exception: ("a".into(), "b".into()),
        },
        500,
        &["connection", "content-type"],
    );
    check(Refusal::Target, 400, &["connection"]);
    let later = with_cors(&["connection", "content-type", "retry-after"]);
    check(Refusal::Unavailable { reason: "x".into() }, 503, &later);
    check(Refusal::limit("sessions", "x"), 503, &later);
    check(Refusal::own_limit("sessions_per_user", "x"), 429, &later);
}

#[test]
fn the_origin_is_echoed_and_a_body_is_compressed_if_that_is_accepted() {
    let mut request = HeaderMap::new();
    request.insert(
        header::ORIGIN,
        HeaderValue::from_static("http://app.example"),
    );
    request.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let answer = Refusal::said(StatusCode::BAD_REQUEST, "x").answer(&request, JsonMode::Default);
    assert_eq!(
        answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "http://app.example"
    );
    assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
    let empty = Refusal::Forbidden.answer(&request, JsonMode::Default);
    assert!(!empty.headers().contains_key(header::CONTENT_ENCODING));
}
