//! permessage-deflate over the real binary: who offers it and who does not get the same of one stream.

use bson::{Bson, Document, doc};
use mongodb::Collection;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::client::{Client, Close, Frame, Received, Request};
use crate::support::node;
use crate::support::stack::{self, ADMIN, Stack};

const ON: &str = "[streams]\nwebsocket_compression = true\n";
const OFFER: &str = "permessage-deflate; client_max_window_bits";
const OFFER_SMALL: &str = "permessage-deflate; server_max_window_bits=10, permessage-deflate";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// A collection with the streams `all`, served in process, `own`, which has a cursor of its own, and `shaped`, whose frames
/// are its group's alone.
async fn define(stack: &Stack, collection: &str) -> Collection<Document> {
    let streams = [
        doc! { "uri": "all", "stages": [] },
        doc! { "uri": "own", "stages": [stack::dedicated()] },
        doc! { "uri": "shaped", "stages": [{ "$unset": "documentKey" }] },
    ];
    let database = stack.database().await;
    stack::define(&database, collection, doc! { "streams": streams.to_vec() }).await;
    database.collection(collection)
}

/// Opens a stream, with this offer; returns what was agreed on, too.
async fn open(stack: &Stack, target: &str, offer: Option<&str>) -> (Client, Option<String>) {
    let mut request = Request::websocket(target).auth(ADMIN);
    if let Some(offer) = offer {
        request = request.header("Sec-WebSocket-Extensions", offer);
    }
    let client = stack.open(&request).await;
    assert_eq!(client.status(), Some(101), "{target}: {}", client.state());
    let agreed = client.header("sec-websocket-extensions");
    (client, agreed)
}

/// Documents of all kinds: too short, ordinary, not to be compressed, and large.
fn documents() -> Vec<Document> {
    let mut state = 1_u64;
    let mut noise = |bytes: usize| {
        let bytes = (0..bytes).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        });
        let bytes = bytes.collect();
        Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes,
        })
    };
    vec![
        doc! { "_id": 0 },
        doc! { "_id": 1, "text": "gr\u{fc}\u{df}e \u{1f600} ".repeat(20) },
        doc! { "_id": 2, "noise": noise(700) },
        doc! { "_id": 3, "lines": vec!["the same again"; 200] },
        doc! { "_id": 4, "large": "abcdefgh".repeat(500_000), "noise": noise(300_000) },
        doc! { "_id": 5, "last": true },
    ]
}

async fn write(collection: &Collection<Document>) {
    for document in documents() {
        let written = collection.insert_one(document).await;
        written.expect("the primary takes writes");
    }
}

async fn texts(client: &mut Client) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in documents() {
        texts.push(client.next().await);
    }
    texts
}

/// The text of a frame less the event's id.
fn without_id(text: &str) -> String {
    let behind = text.strip_prefix("{\"_id\": {").expect("an id");
    let (_, rest) = behind.split_once("}, ").expect("it ends");
    format!("{{{rest}")
}

fn payloads(client: &Client) -> Vec<(usize, bool)> {
    client.look(|received| received.payloads.clone())
}

#[tokio::test]
async fn all_get_the_same_of_a_stream_in_order() {
    const NAME: &str = "deflate_mixed";
    let stack = Stack::start(ON).await;
    let collection = define(&stack, NAME).await;
    for stream in ["all", "own", "shaped"] {
        let target = format!("/{NAME}/_streams/{stream}");
        let with_ids = format!("{target}?lastEventID=");
        let (mut plain, none) = open(&stack, &target, None).await;
        let (mut deflated, full) = open(&stack, &target, Some(OFFER)).await;
        let (mut second, _) = open(&stack, &target, Some(OFFER)).await;
        let (mut small, nine) = open(&stack, &target, Some(OFFER_SMALL)).await;
        let (mut ids, _) = open(&stack, &with_ids, Some(OFFER)).await;
        let other = "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=8";
        let (mut refused, nothing) = open(&stack, &target, Some(other)).await;
        let request = Request::sse(&target).auth(ADMIN);
        let mut events = stack
            .open(&request.header("Sec-WebSocket-Extensions", OFFER))
            .await;
        assert_eq!(events.header("sec-websocket-extensions"), None);
        assert_eq!((none, nothing), (None, None));
        assert_eq!(full.as_deref(), Some(AGREED));
        assert_eq!(nine, Some(format!("{AGREED}; server_max_window_bits=9")));

        write(&collection).await;
        let expected = texts(&mut plain).await;
        assert!(expected[4].len() > 4_000_000);
        for client in [
            &mut deflated,
            &mut second,
            &mut small,
            &mut refused,
            &mut events,
        ] {
            // Not `assert_eq`: these are megabytes.
            assert!(texts(client).await == expected, "{stream}");
        }
        let with_ids: Vec<_> = texts(&mut ids)
            .await
            .iter()
            .map(|text| without_id(text))
            .collect();
        assert!(with_ids == expected, "{stream}");

        let lengths: Vec<_> = expected.iter().map(String::len).collect();
        let as_they_are: Vec<_> = lengths.iter().map(|length| (*length, false)).collect();
        assert_eq!(payloads(&plain), as_they_are);
        assert_eq!(payloads(&refused), as_they_are);
        assert_eq!(payloads(&second), payloads(&deflated));
        for client in [&deflated, &small] {
            let came = payloads(client);
            assert_eq!(came[0], as_they_are[0], "too short");
            for nth in 1..5 {
                assert!(came[nth].1 && came[nth].0 < lengths[nth], "{nth}: {came:?}");
            }
            assert!(came[3].0 < lengths[3] / 10, "{came:?}");
        }
        assert!(payloads(&deflated)[4].0 < payloads(&small)[4].0);
        collection.delete_many(doc! {}).await.expect("deleted");
    }
}

/// The id of the event in this text.
fn id_of(text: &str) -> String {
    let behind = text.strip_prefix("{\"_id\": ").expect("an id");
    let (id, _) = behind.split_once('}').expect("it ends");
    utf8_percent_encode(&format!("{id}}}"), NON_ALPHANUMERIC).to_string()
}

/// Comes back deflated to what was missed, by the ring or by a cursor.
async fn check_resume(name: &str, settings: &str, way: &str) {
    let stack = Stack::start(&format!("{ON}{settings}")).await;
    let collection = define(&stack, name).await;
    for stream in ["all", "own"] {
        let target = format!("/{name}/_streams/{stream}?lastEventID=");
        let (mut first, _) = open(&stack, &target, Some(OFFER)).await;
        write(&collection).await;
        let expected = texts(&mut first).await;
        let back = format!("{target}{}", id_of(&expected[0]));
        for offer in [None, Some(OFFER), Some(OFFER_SMALL)] {
            let (mut client, _) = open(&stack, &back, offer).await;
            for text in &expected[1..] {
                assert!(client.next().await == *text, "{stream} {offer:?}");
            }
            let came = payloads(&client);
            assert_eq!(came[2].1, offer.is_some(), "{stream} {offer:?}: {came:?}");
        }
        collection.delete_many(doc! {}).await.expect("deleted");
    }
    assert!(stack.metric("sidestream_resumes_total", way).await >= 3.0);
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_from_the_ring() {
    check_resume(
        "deflate_ring",
        "[limits]\noutbox = \"64MiB\"\nring = \"64MiB\"",
        "\"ring\"",
    )
    .await;
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_by_a_cursor() {
    check_resume("deflate_cursor", "[limits]\nring = \"0B\"", "\"cursor\"").await;
}

#[tokio::test]
async fn what_clients_send_deflated_is_skipped_where_it_may_be() {
    const NAME: &str = "deflate_sent";
    let reserved = |opcode, payload: &[u8]| Frame {
        reserved: 4,
        ..Frame::new(opcode, payload)
    };
    let told = Close::WebSocket {
        code: 1002,
        reason: "UT002015: Extensions not allowed but received rsv of 4".to_owned(),
    };
    let stack = Stack::start(ON).await;
    define(&stack, NAME).await;
    let target = format!("/{NAME}/_streams/all");
    let (client, _) = open(&stack, &target, Some(OFFER)).await;
    client.send(&reserved(TEXT, b"not deflate at all")).await;
    client.send(&Frame::new(PING, b"on it goes")).await;
    let answered = |received: &Received| !received.pongs.is_empty();
    assert!(
        client.wait(stack::METRIC_WAIT, answered).await,
        "{}",
        client.state()
    );
    client.send(&reserved(PING, b"")).await;
    assert_eq!(client.closed().await, told);
    let (client, _) = open(&stack, &target, None).await;
    client.send(&reserved(TEXT, b"")).await;
    assert_eq!(client.closed().await, told);
    let (client, _) = open(&stack, &target, Some(OFFER)).await;
    client.send(&Frame::new(CLOSE, [0x03, 0xe8])).await;
    let (code, reason) = (1000, String::new());
    assert_eq!(client.closed().await, Close::WebSocket { code, reason });
}

#[tokio::test]
async fn it_is_off_where_nobody_turns_it_on() {
    const NAME: &str = "deflate_off";
    let stack = Stack::shared().await;
    define(stack, NAME).await;
    let (_client, agreed) = open(stack, &format!("/{NAME}/_streams/all"), Some(OFFER)).await;
    assert_eq!(agreed, None);
}

/// Node offers it by itself, as browsers do.
#[tokio::test]
async fn nodes_own_client_understands_it() {
    const NAME: &str = "deflate_node";
    let stack = Stack::start(ON).await;
    let database = stack.database().await;
    let collection = define(&stack, NAME).await;
    let permission = doc! {
        "_id": NAME, "predicate": format!("path-prefix('/{NAME}')"), "roles": ["$unauthenticated"], "priority": 0,
    };
    let acl = database.collection::<Document>("acl");
    let stored = acl.replace_one(doc! { "_id": NAME }, permission);
    stored.upsert(true).await.expect("stored");
    let module = "
        const socket = new WebSocket(process.argv.at(-1));
        socket.onopen = () => { console.log('open', socket.extensions); socket.send('x'.repeat(1000)); };
        socket.onmessage = ({ data }) => {
          const { fullDocument } = JSON.parse(data);
          console.log('event', fullDocument._id, data.length);
        };
        socket.onclose = ({ code }) => console.log('close', code);";
    let url = format!("ws://{}/{NAME}/_streams/all", stack.address());
    let process = node::run(module, &[&url]);
    let line = async |begin: &str| {
        let begin = begin.to_owned();
        let wanted = move |line: &str| line.starts_with(&begin).then(|| line.to_owned());
        process.log.clone().wait("the script", 0, wanted).await
    };
    assert_eq!(line("open").await, format!("open {AGREED}"));
    let (mut plain, _) = open(&stack, &format!("/{NAME}/_streams/all"), None).await;
    write(&collection).await;
    for (n, text) in texts(&mut plain).await.iter().enumerate() {
        // JavaScript counts in UTF-16.
        let length = text.encode_utf16().count();
        assert_eq!(
            line(&format!("event {n} ")).await,
            format!("event {n} {length}")
        );
    }
    acl.delete_one(doc! { "_id": NAME }).await.expect("deleted");
}
