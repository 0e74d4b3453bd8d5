//! The replayer is a judge, so it is tried itself: on a target that answers from a script, right and wrong.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::case::{Case, cases};
use super::compare::differences;
use super::replay::Replayer;
use crate::support::client::Frame;
use crate::support::json::Json;

#[test]
fn every_noted_case_has_an_expectation_of_ours() {
    let noted = cases()
        .iter()
        .filter(|case| case.json.field("note").is_some())
        .count();
    assert_eq!(noted, NOTED);
}

#[tokio::test]
async fn right_answers_pass() {
    check(&[HEAD, &text(r#"{"_id": 1}"#)].concat(), FRAME, None).await;
    check(
        &[HEAD, &text(TOKEN)].concat(),
        r#""frames": ["{\"_id\": <token>}"], "close": null"#,
        None,
    )
    .await;
    check(&[HEAD, &close(1012)].concat(), CLOSED, None).await;
    let either = r#""frames": ["x"], "close": null, "or": [{"frames": ["{\"_id\": 1}"]}]"#;
    check(&[HEAD, &text(r#"{"_id": 1}"#)].concat(), either, None).await;
}

#[tokio::test]
async fn wrong_answers_fail() {
    let right = text(r#"{"_id": 1}"#);
    let wrong = text(r#"{"_id":1}"#);
    check(&[HEAD, &wrong].concat(), FRAME, Some("frames:")).await;
    check(HEAD, FRAME, Some("frames:")).await;
    check(&[HEAD, &right, &right].concat(), FRAME, Some("frames:")).await;
    check(
        &[HEAD, &right, &close(1012)].concat(),
        FRAME,
        Some("close:"),
    )
    .await;
    check(
        &[HEAD, &text(r#"{"_id": "82"}"#)].concat(),
        r#""frames": ["{\"_id\": <token>}"], "close": null"#,
        Some("frames:"),
    )
    .await;
    check(&[HEAD, &close(1011)].concat(), CLOSED, Some("close.code:")).await;
    check(HEAD, CLOSED, Some("close:")).await;
    check(
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        FRAME,
        Some("response.headers.upgrade:"),
    )
    .await;
    check(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        FRAME,
        Some("response.status:"),
    )
    .await;
    check(b"", FRAME, Some("response.status:")).await;
    let masked = Frame::new(1, *br#"{"_id": 1}"#).bytes();
    check(&[HEAD, &masked].concat(), FRAME, Some("frames:")).await;
}

/// Answers a request with `answer`, wants `wanted`, and looks for `complaint` among the differences.
#[track_caller]
fn check(answer: &[u8], wanted: &str, complaint: Option<&str>) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let case = Json::parse(&format!("{{{REQUEST}, {wanted}}}"));
    let case = Case {
        title: "scripted".to_owned(),
        name: "scripted".to_owned(),
        json: case,
    };
    let answer = answer.to_vec();
    async move {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let target = listener.local_addr().expect("it is bound");
        let script = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the replayer connects");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("it sends a request");
            assert!(request[..length].starts_with(b"GET /s HTTP/1.1\r\nHost: "));
            stream
                .write_all(&answer)
                .await
                .expect("it reads the answer");
            let is_final = answer.is_empty() || answer[answer.len() - 4..].starts_with(&[0x88, 2]);
            if !is_final {
                // Stays open until the replayer has seen enough.
                while stream
                    .read(&mut request)
                    .await
                    .is_ok_and(|length| length > 0)
                {}
            }
        });
        let mongo = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1/").await;
        let replayer = Replayer {
            target,
            mongo: mongo.expect("nothing is asked of it"),
            patience: Duration::from_millis(200),
            barrier: None,
        };
        let got = replayer.run(&case).await;
        let found = differences(&case, &got, &target.to_string());
        script.await.expect("the script went through");
        match complaint {
            None => assert!(found.is_empty(), "{caller}: {found:?}"),
            Some(path) => assert!(
                found.iter().any(|difference| difference.starts_with(path)),
                "{caller}: {found:?}"
            ),
        }
    }
}

fn text(payload: &str) -> Vec<u8> {
    let mut frame = Frame::new(1, payload);
    frame.masked = false;
    frame.bytes()
}

fn close(code: u16) -> Vec<u8> {
    let mut frame = Frame::new(8, code.to_be_bytes());
    frame.masked = false;
    frame.bytes()
}

const NOTED: usize = 60;
const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n";
const REQUEST: &str = r#""request": {"transport": "ws", "target": "/s"}, "response": {"status": 101, "headers": {"upgrade": "WebSocket"}}"#;
const FRAME: &str = r#""frames": ["{\"_id\": 1}"], "close": null"#;
const TOKEN: &str = r#"{"_id": {"_data": "8265"}}"#;
const CLOSED: &str = r#""frames": [], "close": {"code": 1012, "reason": "<any>"}"#;
