//! Heads of the answers that open sessions.

use http::header::ORIGIN;

use super::*;

fn id() -> HeaderValue {
    HeaderValue::from_static("r1")
}

#[test]
fn a_path_is_encoded_if_every_percent_leads_two_digits() {
    for (path, expected) in [
        ("/a", true),
        ("/a%20b", true),
        ("/%zz", false),
        ("/%2", false),
        ("/a%", false),
    ] {
        assert_eq!(is_encoded(path), expected, "{path}");
    }
}

#[test]
fn the_websocket_head_answers_the_key_and_offers_nothing_else() {
    let mut request = HeaderMap::new();
    request.insert(
        "sec-websocket-key",
        HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
    );
    request.insert("sec-websocket-protocol", HeaderValue::from_static("chat"));
    let head = websocket_head(&request, &id(), Some("bearer"), None);
    let head = std::str::from_utf8(&head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: *\r\n"),
        "{head}"
    );
    assert!(head.ends_with("\r\nX-Request-Id: r1\r\n\r\n"), "{head}");
    assert!(!head.contains("Sec-WebSocket-Protocol"), "{head}");
    // One that announces a token is taken up, and the token behind it is not said again.
    let offered = HeaderValue::from_static("chat, bearer, e30.e30.c2ln");
    request.insert("sec-websocket-protocol", offered);
    let head = websocket_head(&request, &id(), Some("bearer"), None);
    let head = std::str::from_utf8(&head).unwrap();
    assert!(
        head.contains("\r\nSec-WebSocket-Protocol: bearer\r\n"),
        "{head}"
    );
    assert!(!head.contains("e30"), "{head}");
}

#[test]
fn the_websocket_head_says_what_was_agreed_on() {
    let (request, agreed) = (HeaderMap::new(), Deflate::agree(["permessage-deflate"]));
    for (deflate, expected) in [
        (None, None),
        (
            agreed,
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
    ] {
        let head = websocket_head(&request, &id(), None, deflate);
        let head = std::str::from_utf8(&head).unwrap();
        let said = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        assert_eq!(said, expected, "{head}");
    }
}

#[test]
fn the_sse_head_ends_with_the_connection_and_echoes_the_origin() {
    let mut request = HeaderMap::new();
    request.insert(ORIGIN, HeaderValue::from_static("http://app.example"));
    let head = sse_head(&request, ContentCoding::Gzip, &id());
    let head = std::str::from_utf8(&head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nContent-Encoding: gzip\r\n"), "{head}");
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: http://app.example\r\n"),
        "{head}"
    );
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
}
