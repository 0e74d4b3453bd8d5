//! Which headers cross, and which are added.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};

use super::{Intent, Manner, for_upstream, intent, stays};
use crate::proxy::{
    ClientInfo, RawHead,
    fields::{Head, split},
    set_header,
};

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

/// What goes upstream of a request, head and all.
fn sent(request: Request<()>) -> String {
    let client = ClientInfo::new(
        "10.1.2.3:4".parse().expect("address"),
        "10.0.0.1:80".parse().expect("address"),
        "http",
    );
    let (parts, ()) = request.into_parts();
    let known = parts.extensions.get::<RawHead>().cloned();
    let received = known.unwrap_or_else(|| RawHead::written(&parts));
    let head = for_upstream(
        &parts,
        &received,
        intent(&parts.method, received.head()),
        &client,
        &Manner {
            default_host: HeaderValue::from_static("default"),
            forward_expect: false,
        },
    );
    String::from_utf8(head.to_vec()).expect("ascii")
}

/// What goes upstream of `received`, without what is added to every request. Its own bytes are not known.
#[track_caller]
fn check(received: &str, expected: &str) {
    let mut request = Request::new(());
    *request.headers_mut() = map(&format!("host: h\n{received}"));
    let ours = "x-forwarded-for: 10.1.2.3\nx-forwarded-proto: http\nx-forwarded-host: h\n\
                forwarded: for=10.1.2.3;host=\"h\";proto=http\n";
    let sent = sent(request).replace("\r\n", "\n");
    let sent = sent.strip_suffix('\n').expect("an empty line");
    let rest = if expected.contains("forwarded") {
        sent
    } else {
        sent.strip_suffix(ours).expect("ours at the end")
    };
    assert_eq!(
        rest.strip_prefix("GET / HTTP/1.1\nhost: h\n"),
        Some(expected)
    );
}

/// The same of a request whose own bytes are known.
fn sent_of(raw: &'static str, change: impl FnOnce(&mut Request<()>)) -> String {
    let mut request = Request::new(());
    let mut lines = raw.split("\r\n");
    let line = lines.next().expect("a request line");
    *request.method_mut() = line
        .split(' ')
        .next()
        .expect("a method")
        .parse()
        .expect("one");
    *request.uri_mut() = "/as/it/is/read".parse().expect("a target");
    let fields = lines.filter(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':').expect("a field");
        format!("{name}: {}\n", value.trim())
    });
    *request.headers_mut() = map(&fields.collect::<String>());
    let first_field = raw.find("\r\n").expect("a line") + 2;
    let lines = split(raw.as_bytes(), first_field).expect("fields");
    let head = RawHead::new(Head::new(raw.into(), lines));
    request.extensions_mut().insert(head);
    change(&mut request);
    sent(request)
}

const ADDED: &str = "x-forwarded-for: 10.1.2.3\r\nx-forwarded-proto: http\r\nx-forwarded-host: h\r\n\
                     forwarded: for=10.1.2.3;host=\"h\";proto=http\r\n\r\n";

#[test]
fn what_the_client_wrote_is_sent_as_it_came() {
    let sent = sent_of(
        "PURGE /a?x={\"b\":<c>}#d HTTP/1.1\r\nB:1\r\nHOST:  h \r\na: 2\r\nConnection: keep-alive\r\nb: 3\r\n\
         X-Empty:\r\n\r\n",
        |_| (),
    );
    assert_eq!(
        sent,
        format!(
            "PURGE /a?x={{\"b\":<c>}}#d HTTP/1.1\r\nB:1\r\nHOST:  h \r\na: 2\r\nb: 3\r\nX-Empty:\r\n{ADDED}"
        )
    );
}

#[test]
fn a_whole_uri_is_not_for_the_upstream() {
    let sent = sent_of("GET http://h/x HTTP/1.0\r\nHost: h\r\n\r\n", |_| ());
    let start = "GET /as/it/is/read HTTP/1.1\r\nHost: h\r\n";
    assert_eq!(sent, format!("{start}{ADDED}"));
}

#[test]
fn what_is_set_here_takes_the_place_of_the_clients() {
    let sent = sent_of(
        "GET / HTTP/1.1\r\nHost: h\r\nX-Id: \r\nA: 1\r\n\r\n",
        |request| {
            for id in ["first", "last"] {
                let name = HeaderName::from_static("x-id");
                set_header(request, name, HeaderValue::from_static(id));
            }
        },
    );
    let start = "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nx-id: last\r\n";
    assert_eq!(sent, format!("{start}{ADDED}"));
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
    check("te: gzip, trailers", "Connection: TE\nTE: trailers\n");
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
fn hops_are_appended_and_what_the_client_used_stays() {
    check(
        "x-forwarded-for: 1.1.1.1\nx-forwarded-for: 2.2.2.2\nx-forwarded-proto: https\nforwarded: for=1.1.1.1",
        "x-forwarded-proto: https\nx-forwarded-for: 1.1.1.1, 2.2.2.2, 10.1.2.3\nx-forwarded-host: h\n\
         forwarded: for=1.1.1.1, for=10.1.2.3;host=\"h\";proto=http\n",
    );
    check(
        "x-forwarded-host: www.example\nconnection: x-forwarded-host",
        "x-forwarded-host: www.example\nx-forwarded-for: 10.1.2.3\nx-forwarded-proto: http\n\
         forwarded: for=10.1.2.3;host=\"h\";proto=http\n",
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
        "Connection: Upgrade\nUpgrade: websocket\n",
    );
    check("upgrade: websocket", "");
    check_intent(
        &Method::GET,
        "connection: keep-alive, upGrade\nupgrade: WebSocket",
        Intent::Switch,
    );
    check_intent(
        &Method::GET,
        "connection: upgrade\nupgrade: H2C",
        Intent::Exchange,
    );
}

fn head(headers: &str) -> RawHead {
    let mut request = Request::new(());
    *request.headers_mut() = map(headers);
    RawHead::written(&request.into_parts().0)
}

#[track_caller]
fn check_intent(method: &Method, headers: &str, expected: Intent) {
    assert_eq!(intent(method, head(headers).head()), expected);
}

#[test]
fn only_a_get_begins_a_websocket() {
    for method in [Method::TRACE, Method::POST, Method::HEAD, Method::OPTIONS] {
        let headers = "connection: Upgrade\nupgrade: websocket";
        check_intent(&method, headers, Intent::Exchange);
    }
    let docker = "connection: Upgrade\nupgrade: tcp";
    check_intent(&Method::POST, docker, Intent::Switch);
}

#[test]
fn a_connection_stays_by_the_requests_word_or_http_1_1s_default() {
    for (version, headers, expected) in [
        (Version::HTTP_11, "a: 1", true),
        (Version::HTTP_11, "connection: te, Close", false),
        (Version::HTTP_10, "connection: keep-alive", false),
    ] {
        assert_eq!(stays(version, head(headers).head()), expected, "{headers}");
    }
}
