//! Which headers cross, and which are added.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Intent, for_client, for_upstream, intent};
use crate::proxy::ClientInfo;

fn map(text: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        map.append(
            name.parse::<HeaderName>().expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    map
}

fn text(map: &HeaderMap) -> String {
    map.iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().expect("ascii")))
        .collect()
}

/// What goes upstream of `received`, without what is added to every request.
#[track_caller]
fn check(received: &str, expected: &str) {
    let received = map(&format!("host: h\n{received}"));
    let client = ClientInfo {
        peer: "10.1.2.3:4".parse().expect("address"),
        local: "10.0.0.1:80".parse().expect("address"),
        scheme: "http",
    };
    let sent = for_upstream(
        &received,
        intent(&received),
        &client,
        &HeaderValue::from_static("default"),
    );
    let ours = "x-forwarded-for: 10.1.2.3\nx-forwarded-proto: http\nx-forwarded-host: h\n\
                forwarded: for=10.1.2.3;host=\"h\";proto=http\n";
    let sent = text(&sent);
    let rest = if expected.contains("forwarded") {
        sent.as_str()
    } else {
        sent.strip_suffix(ours).expect("ours at the end")
    };
    assert_eq!(rest.strip_prefix("host: h\n"), Some(expected));
}

#[test]
fn hop_by_hop_headers_stay_here_and_the_order_is_kept() {
    check(
        "a: 1\nkeep-alive: x\nb: 2\nproxy-connection: y\nc: 3\nte: gzip\nd: 4",
        "a: 1\nb: 2\nc: 3\nd: 4\n",
    );
    check("connection: keep-alive, X-Own\nx-own: 1\na: 2", "a: 2\n");
    check("a: 1\nb: 2\na: 3", "a: 1\na: 3\nb: 2\n");
    check("expect: 100-Continue\na: 1", "a: 1\n");
    check(
        "transfer-encoding: chunked\ntrailer: t",
        "transfer-encoding: chunked\ntrailer: t\n",
    );
    check("te: gzip, trailers", "connection: TE\nte: trailers\n");
}

#[test]
fn a_client_cannot_name_away_what_we_add_or_what_delimits() {
    check(
        "connection: x-forwarded-for, Content-Length, host\nx-forwarded-for: 9.9.9.9\ncontent-length: 5",
        "content-length: 5\nx-forwarded-for: 9.9.9.9, 10.1.2.3\nx-forwarded-proto: http\nx-forwarded-host: h\n\
         forwarded: for=10.1.2.3;host=\"h\";proto=http\n",
    );
}

#[test]
fn forwarded_headers_are_appended() {
    check(
        "x-forwarded-for: 1.1.1.1\nx-forwarded-for: 2.2.2.2\nx-forwarded-proto: https\nforwarded: for=1.1.1.1",
        "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.1.2.3\nx-forwarded-proto: https, http\nx-forwarded-host: h\n\
         forwarded: for=1.1.1.1, for=10.1.2.3;host=\"h\";proto=http\n",
    );
}

#[test]
fn h2c_is_not_asked_for_and_websocket_is() {
    check(
        "connection: Upgrade, HTTP2-Settings\nupgrade: h2c\nhttp2-settings: x",
        "",
    );
    check(
        "connection: Upgrade\nupgrade: h2c, websocket",
        "connection: Upgrade\nupgrade: websocket\n",
    );
    check("upgrade: websocket", "");
    assert_eq!(
        intent(&map("connection: keep-alive, upGrade\nupgrade: WebSocket")),
        Intent::Switch
    );
    assert_eq!(
        intent(&map("connection: upgrade\nupgrade: H2C")),
        Intent::Exchange
    );
}

#[test]
fn answers_lose_what_is_about_the_connection() {
    let (sent, advised) = for_client(map(
        "a: 1\nconnection: x, keep-alive\nx: 1\nkeep-alive: timeout=5, max=9\nb: 1\na: 2",
    ));
    assert_eq!(text(&sent), "a: 1\na: 2\nb: 1\n");
    assert_eq!(advised, Some(std::time::Duration::from_secs(4)));
    let (sent, advised) = for_client(map("transfer-encoding: chunked\ncontent-length: 3\na: 1"));
    assert_eq!((text(&sent).as_str(), advised), ("a: 1\n", None));
}
