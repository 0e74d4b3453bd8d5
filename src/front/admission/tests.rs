//! The pure steps of admission: names, the place to go on from, the handshake.

use http::HeaderValue;

use super::*;
use crate::front::route::{Mount, Mounts};

#[track_caller]
fn check_path(path: &str, expected: Option<u16>) {
    let all = Mounts::new(vec![Mount {
        at: "/".into(),
        what: "*".into(),
    }]);
    let address = all.resolve(path, "h").unwrap();
    let refused = check_names(&address)
        .err()
        .map(|refusal| refusal.status().as_u16());
    assert_eq!(refused, expected, "{path}");
}

#[test]
fn illegal_names_are_400_and_reserved_ones_403() {
    check_path("/db/c/_streams/s", None);
    check_path("/a.b/c/_streams/s", Some(400));
    check_path("/a b/c/_streams/s", Some(400));
    check_path("/db/c$d/_streams/s", Some(400));
    check_path(&format!("/{}/c/_streams/s", "d".repeat(65)), Some(400));
    check_path("/admin/c/_streams/s", Some(403));
    check_path("/LOCAL/c/_streams/s", Some(403));
    check_path("/db/_properties/_streams/s", Some(403));
    check_path("/db/system.users/_streams/s", Some(403));
    check_path("/db/f.chunks/_streams/s", Some(403));
}

const TOKEN: &str = "826373F3B1000000012B022C0100296E5A1004";

#[track_caller]
fn check_place(header: Option<&str>, parameter: Option<&str>, expected: Result<Option<&str>, u16>) {
    let mut headers = http::HeaderMap::new();
    if let Some(header) = header {
        headers.insert("last-event-id", HeaderValue::from_str(header).unwrap());
    }
    let query: Vec<_> = parameter
        .map(|value| ("lastEventID".to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let found = place(Asks::Sse, &query, &headers);
    let found = match &found {
        Ok(Place::Now) => Ok(None),
        Ok(Place::After(token)) => Ok(Some(token.as_str())),
        Err(refusal) => Err(refusal.status().as_u16()),
    };
    assert_eq!(found, expected, "{header:?} {parameter:?}");
}

#[test]
fn the_place_comes_from_the_parameter_or_the_header() {
    let id = format!("{{\"_data\": \"{TOKEN}\"}}");
    check_place(None, None, Ok(None));
    check_place(Some(&id), None, Ok(Some(TOKEN)));
    check_place(None, Some(&id), Ok(Some(TOKEN)));
    check_place(None, Some(TOKEN), Ok(Some(TOKEN)));
    check_place(None, Some(""), Ok(None));
    check_place(Some(TOKEN), None, Ok(Some(TOKEN)));
    check_place(Some(" "), None, Ok(None));
    check_place(Some("garbage"), None, Err(400));
    check_place(Some("{}"), None, Err(400));
    check_place(Some("{\"_data\": \"zz\"}"), None, Err(400));
    check_place(None, Some("garbage"), Err(400));
    check_place(None, Some("{}"), Err(400));
    // As an `EventSource` that was opened with an id and reconnects.
    let older = TOKEN.replace("B1", "B0");
    check_place(Some(&id), Some(&older), Ok(Some(TOKEN)));
    check_place(Some(" "), Some(&older), Ok(Some(&older)));
}

#[test]
fn the_header_is_not_for_websocket() {
    let mut headers = http::HeaderMap::new();
    headers.insert(
        "last-event-id",
        HeaderValue::from_static("{\"_data\": \"82\"}"),
    );
    assert!(matches!(
        place(Asks::WebSocket, &[], &headers),
        Ok(Place::Now)
    ));
}

#[test]
fn a_handshake_has_a_key_and_a_version_that_we_speak() {
    let check = |key: Option<&'static str>, version: Option<&'static str>| {
        let mut headers = http::HeaderMap::new();
        key.map(|key| headers.insert("sec-websocket-key", HeaderValue::from_static(key)));
        version.map(|version| {
            headers.insert("sec-websocket-version", HeaderValue::from_static(version))
        });
        is_handshake(&headers)
    };
    assert!(check(Some("k"), Some("13")));
    assert!(check(Some(""), Some("8")));
    assert!(!check(Some("k"), Some("12")));
    assert!(!check(Some("k"), None));
    assert!(!check(None, Some("13")));
}
