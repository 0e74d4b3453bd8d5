//! What requests ask for, header by header.

use super::*;

fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, http::HeaderValue::from_static(value));
    }
    headers
}

#[track_caller]
fn check(list: &[(&'static str, &'static str)], expected: Asks) {
    assert_eq!(
        asks(&Method::GET, Version::HTTP_11, &headers(list)),
        expected,
        "{list:?}"
    );
}

#[test]
fn upgrades_are_seen_by_substring_and_sse_by_the_first_accept() {
    let upgrade = ("upgrade", "websocket");
    check(&[upgrade, ("connection", "Upgrade")], Asks::WebSocket);
    check(
        &[
            ("upgrade", "xWebSocketx"),
            ("connection", "keep-alive, noupgradehere"),
        ],
        Asks::WebSocket,
    );
    check(&[upgrade, ("connection", "keep-alive")], Asks::Neither);
    check(&[("connection", "upgrade")], Asks::Neither);
    check(
        &[
            upgrade,
            ("connection", "upgrade"),
            ("accept", "text/event-stream"),
        ],
        Asks::WebSocket,
    );
    check(
        &[("accept", "text/html, text/event-stream;q=0.5")],
        Asks::Sse,
    );
    check(&[("accept", "Text/Event-Stream")], Asks::Neither);
    check(&[("accept", "*/*")], Asks::Neither);
    check(
        &[
            ("accept", "application/json"),
            ("accept", "text/event-stream"),
        ],
        Asks::Neither,
    );
}

#[test]
fn only_a_get_of_http_1_1_can_ask() {
    let upgrade = headers(&[("upgrade", "websocket"), ("connection", "upgrade")]);
    assert_eq!(
        asks(&Method::POST, Version::HTTP_11, &upgrade),
        Asks::Neither
    );
    assert_eq!(
        asks(&Method::GET, Version::HTTP_10, &upgrade),
        Asks::Neither
    );
}

#[test]
fn gzip_goes_before_deflate_and_what_is_refused_is_not_taken() {
    let accepted = |value| accepted_coding(&headers(&[("accept-encoding", value)]));
    assert_eq!(accepted("deflate, gzip, br"), ContentCoding::Gzip);
    assert_eq!(accepted("br, deflate"), ContentCoding::Deflate);
    assert_eq!(accepted("gzip;q=0, deflate;q=0.0"), ContentCoding::Identity);
    assert_eq!(accepted("zstd"), ContentCoding::Identity);
}
