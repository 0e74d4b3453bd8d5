//! Events as texts and frames.

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::wire::testing::{Json, recorded};

use super::*;

#[track_caller]
fn text(
    event: &Document,
    mode: JsonMode,
    veil: &Veil,
    with_id: bool,
) -> Result<String, FrameError> {
    let raw = RawDocumentBuf::try_from(event).expect("BSON");
    let mut out = String::from("before");
    let written = event_text(&raw, mode, veil, with_id, &mut out);
    let text = out
        .strip_prefix("before")
        .expect("what stood there stays")
        .to_owned();
    if written.is_err() {
        assert_eq!(text, "", "a failed event leaves nothing behind");
    }
    written.map(|()| text)
}

#[track_caller]
fn check(event: Document, expected: &str) {
    assert_eq!(
        text(&event, JsonMode::Default, &Veil::default(), false).expect("a frame"),
        expected
    );
}

#[track_caller]
fn check_veiled(veil: Veil, event: Document, expected: &str) {
    assert_eq!(
        text(&event, JsonMode::Default, &veil, false).expect("a frame"),
        expected
    );
}

#[track_caller]
fn check_refused(event: Document, expected: &str) {
    let error = text(&event, JsonMode::Default, &Veil::default(), false).expect_err("no frame");
    assert_eq!(error.to_string(), expected);
}

fn mode_of(target: &str) -> JsonMode {
    let (_, query) = target.split_once('?').unwrap_or((target, ""));
    JsonMode::from_parameter(
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("jsonMode=")),
    )
}

/// Each recorded frame of an insert: the event is built from the document that was inserted.
fn check_recorded_inserts(file: &str) -> usize {
    let mut checked = 0;
    for case in recorded(file) {
        let steps = case.list(&["then"]);
        let documents: Vec<&Json> = steps
            .iter()
            .filter_map(|step| step.at(&["document"]))
            .chain(many(&case))
            .collect();
        let only_inserts = steps
            .iter()
            .all(|step| matches!(step.text(&["op"]), Some("insertOne" | "insertMany")));
        let frames = match case.list(&["frames"]) {
            [] => case
                .list(&["sse"])
                .iter()
                .filter_map(|event| event.text(&["data"]))
                .collect::<Vec<_>>(),
            frames => frames.iter().filter_map(|frame| frame.text(&[])).collect(),
        };
        let has_plain_stream = case
            .list(&[
                "setup",
                "restheart._properties",
                "0",
                "streams",
                "0",
                "stages",
            ])
            .is_empty();
        if !only_inserts || !has_plain_stream || frames.len() != documents.len() {
            continue;
        }
        let mode = mode_of(case.text(&["request", "target"]).expect("a target"));
        for (document, frame) in documents.into_iter().zip(frames) {
            let document = document.to_document();
            let id = document.get("_id").cloned().unwrap_or(Bson::Null);
            let event = doc! {
                "_id": { "_data": "82" }, "operationType": "insert", "clusterTime": bson::Timestamp { time: 1, increment: 1 },
                "fullDocument": document, "ns": { "db": "d", "coll": "c" }, "documentKey": { "_id": id },
            };
            let text = text(&event, mode, &Veil::default(), false).expect("a frame");
            assert_eq!(text, frame, "{}", case.name());
            checked += 1;
        }
    }
    checked
}

fn many(case: &Json) -> impl Iterator<Item = &Json> {
    case.list(&["then"])
        .iter()
        .flat_map(|step| step.list(&["documents"]))
}

#[test]
fn inserts_are_written_as_recorded_in_every_json_mode() {
    let checked = check_recorded_inserts("jsonmode");
    assert!(checked >= 23, "only {checked} frames were found");
}

#[test]
fn inserts_are_written_as_recorded_among_the_events() {
    let checked = check_recorded_inserts("events");
    assert!(checked >= 6, "only {checked} frames were found");
}

#[test]
fn updates_are_written_as_recorded_in_every_json_mode() {
    let mut checked = 0;
    for case in recorded("jsonmode") {
        if !case.name().ends_with("-update") {
            continue;
        }
        let Some(Json::Object(set)) = case.at(&["then", "0", "update", "$set"]) else {
            panic!("no update")
        };
        let updated: Document = set
            .iter()
            .map(|(key, value)| (key.clone(), value.to_bson()))
            .collect();
        let frame = case.text(&["frames", "0"]).expect("a frame");
        let event = doc! {
            "operationType": "update",
            "updateDescription": { "updatedFields": sorted(updated), "removedFields": ["gone", "x.z"], "truncatedArrays": [] },
        };
        let mode = mode_of(case.text(&["request", "target"]).expect("a target"));
        let text = text(&event, mode, &Veil::default(), false).expect("a frame");
        let from = frame.find("\"updateDescription\"").expect("a description");
        assert_eq!(text[1..], frame[from..], "{}", case.name());
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} frames were found");
}

/// MongoDB reports new fields first, by their names.
fn sorted(mut updated: Document) -> Document {
    let mut ordered = Document::new();
    for key in ["d", "l", "o", "t"] {
        if let Some(value) = updated.remove(key) {
            ordered.insert(key, value);
        }
    }
    ordered.extend(updated);
    ordered
}

#[test]
fn entries_come_in_one_order_and_others_are_left_out() {
    check(
        doc! { "operationType": "update", "wallTime": 1, "updateDescription": { "truncatedArrays": [], "removedFields": ["a"], "updatedFields": { "b": 1 } }, "documentKey": { "_id": 1 }, "x": 1, "fullDocument": { "_id": 1 } },
        r#"{"fullDocument": {"_id": 1}, "documentKey": {"_id": 1}, "updateDescription": {"updatedFields": {"b": 1}, "removedFields": ["a"]}, "operationType": "update"}"#,
    );
    check(doc! { "x": 1 }, "{}");
    check(
        doc! { "fullDocument": Bson::Null, "documentKey": Bson::Null, "operationType": Bson::Null },
        "{}",
    );
}

#[test]
fn a_mutilated_update_description_is_written_as_restheart_does() {
    check(
        doc! { "updateDescription": { "removedFields": [] } },
        r#"{"updateDescription": {"updatedFields": null, "removedFields": []}}"#,
    );
    check(
        doc! { "updateDescription": { "updatedFields": { "a": 1 } } },
        r#"{"updateDescription": {"updatedFields": []}}"#,
    );
    check(
        doc! { "updateDescription": {} },
        r#"{"updateDescription": {"updatedFields": []}}"#,
    );
    check(doc! { "updateDescription": Bson::Null }, "{}");
}

#[test]
fn an_unknown_operation_is_other() {
    check(
        doc! { "operationType": "custom" },
        r#"{"operationType": "other"}"#,
    );
    check(
        doc! { "operationType": "dropDatabase" },
        r#"{"operationType": "dropDatabase"}"#,
    );
}

#[test]
fn what_restheart_cannot_decode_has_no_frame() {
    check_refused(
        doc! { "fullDocument": "x" },
        "fullDocument of the event is of type String",
    );
    check_refused(
        doc! { "documentKey": 1 },
        "documentKey of the event is of type Int32",
    );
    check_refused(
        doc! { "operationType": 7 },
        "operationType of the event is of type Int32",
    );
    check_refused(
        doc! { "updateDescription": [] },
        "updateDescription of the event is of type Array",
    );
    check_refused(
        doc! { "updateDescription": { "updatedFields": 1, "removedFields": [] } },
        "updateDescription.updatedFields of the event is of type Int32",
    );
    check_refused(
        doc! { "updateDescription": { "updatedFields": {}, "removedFields": [1] } },
        "updateDescription.removedFields of the event is of type Int32",
    );
}

#[test]
fn the_id_stands_in_front_where_it_is_asked_for() {
    let event = doc! { "operationType": "drop", "_id": { "_data": "8265" } };
    assert_eq!(
        text(&event, JsonMode::Extended, &Veil::default(), true).expect("a frame"),
        r#"{"_id": {"_data": "8265"}, "operationType": "drop"}"#
    );
    text(
        &doc! { "operationType": "drop" },
        JsonMode::Default,
        &Veil::default(),
        true,
    )
    .expect_err("no id");
}

fn hidden(paths: &[&str]) -> Veil {
    Veil {
        hidden_paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..Veil::default()
    }
}

fn shown(paths: &[&str]) -> Veil {
    Veil {
        shown_paths: Some(paths.iter().map(|path| (*path).to_owned()).collect()),
        ..Veil::default()
    }
}

#[test]
fn hidden_paths_are_left_out_through_arrays() {
    check_veiled(
        hidden(&["s", "l.s"]),
        doc! { "fullDocument": { "_id": 1, "s": 1, "l": [{ "s": 1, "t": 2 }, 3, [{ "s": 4 }]], "m": { "s": 5 } } },
        r#"{"fullDocument": {"_id": 1, "l": [{"t": 2}, 3, [{}]], "m": {"s": 5}}}"#,
    );
}

#[test]
fn hidden_paths_are_left_out_of_the_update_too() {
    check_veiled(
        hidden(&["s", "l.s", "d.s"]),
        doc! { "updateDescription": {
            "updatedFields": { "s": 1, "s.deep": 2, "l.0.s": 3, "l.0.t": 4, "l.1": { "s": 5, "t": 6 }, "d": { "s": 7 }, "so": 8 },
            "removedFields": ["s", "l.3.s", "l.3.t", "d", "s.x"],
        } },
        r#"{"updateDescription": {"updatedFields": {"l.0.t": 4, "l.1": {"t": 6}, "d": {}, "so": 8}, "removedFields": ["l.3.t", "d"]}}"#,
    );
}

#[test]
fn only_shown_paths_are_left() {
    check_veiled(
        shown(&["_id", "n", "l.t"]),
        doc! {
            "fullDocument": { "_id": 1, "n": 2, "s": 3, "l": [{ "s": 1, "t": 2 }, 3] },
            "documentKey": { "_id": 1, "shard": 2 },
            "updateDescription": { "updatedFields": { "n": 2, "s": 3, "l.0.t": 4, "l.0.s": 5, "l.0": { "s": 1, "t": 1 } }, "removedFields": ["s", "n.x"] },
        },
        r#"{"fullDocument": {"_id": 1, "n": 2, "l": [{"t": 2}]}, "documentKey": {"_id": 1}, "updateDescription": {"updatedFields": {"n": 2, "l.0.t": 4, "l.0": {"t": 1}}, "removedFields": ["n.x"]}}"#,
    );
}

#[test]
fn the_key_of_a_document_keeps_its_id_unless_that_is_hidden() {
    check_veiled(
        shown(&["n"]),
        doc! { "documentKey": { "_id": 1, "n": 2 } },
        r#"{"documentKey": {"_id": 1, "n": 2}}"#,
    );
    check_veiled(
        hidden(&["_id"]),
        doc! { "documentKey": { "_id": 1, "n": 2 } },
        r#"{"documentKey": {"n": 2}}"#,
    );
    check_veiled(
        hidden(&["a.b"]),
        doc! { "documentKey": { "_id": 1, "a.b": 2 } },
        r#"{"documentKey": {"_id": 1}}"#,
    );
}

#[test]
fn a_dropped_update_description_leaves_the_rest() {
    let veil = Veil {
        update_description: false,
        ..Veil::default()
    };
    check_veiled(
        veil,
        doc! { "updateDescription": { "updatedFields": { "s": 1 }, "removedFields": [] }, "operationType": "update" },
        r#"{"operationType": "update"}"#,
    );
}

#[test]
fn websocket_headers_have_three_lengths() {
    for (length, header) in [
        (0, vec![0x81, 0]),
        (125, vec![0x81, 125]),
        (126, vec![0x81, 126, 0, 126]),
        (65_535, vec![0x81, 126, 0xff, 0xff]),
        (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let payload = "x".repeat(length);
        let frame = websocket_text(&payload);
        assert_eq!(frame[..header.len()], header, "{length}");
        assert_eq!(&frame[header.len()..], payload.as_bytes(), "{length}");
    }
}

#[test]
fn a_deflated_frame_says_so_and_one_that_is_not_does_not() {
    let short = r#"{"operationType": "delete"}"#;
    let text = format!("{{{}}}", r#""name": 1, "#.repeat(100));
    for window in [Window::Full, Window::Small] {
        assert_eq!(
            websocket_text_deflated(short, window),
            websocket_text(short)
        );
        let frame = websocket_text_deflated(&text, window);
        assert_eq!(frame[..2], [0xc1, frame.len() as u8 - 2], "{window:?}");
        let deflated = [&frame[2..], &deflate::EMPTY_BLOCK].concat();
        let mut plain = Vec::with_capacity(text.len());
        flate2::Decompress::new(false)
            .decompress_vec(&deflated, &mut plain, flate2::FlushDecompress::Sync)
            .expect("deflate");
        assert_eq!(plain, text.as_bytes());
    }
}

#[test]
fn sse_events_have_no_blank_after_the_colon() {
    assert_eq!(
        sse_event(r#"{"_data": "82"}"#, "{}"),
        "id:{\"_data\": \"82\"}\nevent:change\ndata:{}\n\n"
    );
    assert_eq!(
        sse_event("{}", "a\nid:b"),
        "id:{}\nevent:change\ndata:a\ndata:id:b\n\n"
    );
}

#[test]
fn a_token_is_written_in_the_default_mode() {
    let token = RawDocumentBuf::try_from(&doc! { "_data": "82AB" }).expect("BSON");
    assert_eq!(token_text(&token), r#"{"_data": "82AB"}"#);
}
