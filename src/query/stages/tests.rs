//! What was measured on MongoDB 6.0.5, case by case. `tests/it/query` compares with a real one at random.

use bson::{Bson, Document, RawDocumentBuf, bson, doc};

use crate::query::compile_pipeline;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("BSON")
}

/// Runs the stages over a document as its only event; `Err` is MongoDB's number of the error.
#[track_caller]
fn run(stages: Bson, document: &Document) -> Result<Option<Document>, i32> {
    let stages: Vec<Document> = match stages {
        Bson::Array(stages) => stages
            .into_iter()
            .map(|stage| stage.as_document().expect("a stage").clone())
            .collect(),
        other => panic!("no stages: {other}"),
    };
    let pipeline = compile_pipeline(&stages).unwrap_or_else(|why| panic!("{why}"));
    match pipeline.run(&raw(document)) {
        Ok(made) => Ok(made.map(|made| Document::try_from(&*made).expect("BSON"))),
        Err(failure) => Err(failure.code()),
    }
}

/// Asserts what becomes of the document, and in which order.
#[track_caller]
fn check(stages: Bson, document: Document, expected: Document) {
    let made = run(stages, &document)
        .expect("no failure")
        .expect("it passes");
    assert_eq!(raw(&made), raw(&expected), "left is ours: {made}");
}

#[track_caller]
fn refused(stages: Bson, why: &str) {
    let stages: Vec<Document> = stages
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage.as_document().expect("a stage").clone())
        .collect();
    let refused = compile_pipeline(&stages).expect_err("it is refused");
    let text = refused.to_string();
    assert!(text.contains(why), "{text}");
}

/// A document with an array in which not all are documents.
fn mixed() -> Document {
    doc! { "_id": 1, "l": [1, { "x": 1, "y": 2 }, [2, { "x": 3, "y": 4 }], [], {}], "c": 7 }
}

#[test]
fn an_inclusion_keeps_the_order_of_the_document() {
    check(
        bson!([{ "$project": { "c": 1, "b.x": 1, "a": true } }]),
        doc! { "a": 1, "_id": 1, "b": { "y": 1, "x": 2 }, "c": 3, "d": 4 },
        doc! { "a": 1, "_id": 1, "b": { "x": 2 }, "c": 3 },
    );
}

#[test]
fn computed_fields_come_behind_in_the_order_of_the_specification() {
    check(
        bson!([{ "$project": { "a": 1, "_id": "$_id", "b": "$a" } }]),
        doc! { "_id": 1, "b": 0, "a": 5 },
        doc! { "a": 5, "_id": 1, "b": 5 },
    );
    check(
        bson!([{ "$addFields": { "n.x": 1, "c": 2, "n.y": "$a" } }]),
        doc! { "_id": 1, "c": 0, "a": 5 },
        doc! { "_id": 1, "c": 2, "a": 5, "n": { "x": 1, "y": 5 } },
    );
}

#[test]
fn an_inclusion_takes_what_is_no_document_out_of_arrays() {
    let expected = doc! { "_id": 1, "l": [{ "x": 1 }, [{ "x": 3 }], [], {}] };
    check(bson!([{ "$project": { "l.x": 1 } }]), mixed(), expected);
}

#[test]
fn an_exclusion_leaves_what_is_no_document_in_arrays() {
    let expected = doc! { "_id": 1, "l": [1, { "y": 2 }, [2, { "y": 4 }], [], {}], "c": 7 };
    check(bson!([{ "$project": { "l.x": 0 } }]), mixed(), expected);
}

#[test]
fn what_is_set_in_an_array_makes_documents_of_its_elements() {
    check(
        bson!([{ "$addFields": { "l.n": "$c" } }]),
        doc! { "_id": 1, "l": [1, [2, { "x": 3 }], []], "c": 7 },
        doc! { "_id": 1, "l": [{ "n": 7 }, [{ "n": 7 }, { "x": 3, "n": 7 }], []], "c": 7 },
    );
    check(
        bson!([{ "$project": { "l": { "x": 1, "w": "$c" } } }]),
        doc! { "_id": 1, "l": [1, { "x": 1, "y": 2 }], "c": 7 },
        doc! { "_id": 1, "l": [{ "w": 7 }, { "x": 1, "w": 7 }] },
    );
}

#[test]
fn a_field_that_is_gone_leaves_its_place() {
    check(
        bson!([{ "$unset": "b" }, { "$addFields": { "b.z": 1 } }]),
        doc! { "_id": 1, "b": { "x": 1 }, "c": 7 },
        doc! { "_id": 1, "b": { "z": 1 }, "c": 7 },
    );
    check(
        bson!([{ "$addFields": { "a": "$$REMOVE", "e": 2 } }, { "$addFields": { "a": 5 } }]),
        doc! { "_id": 1 },
        doc! { "_id": 1, "a": 5, "e": 2 },
    );
    // What a specification names gets a place where something else is computed, even elsewhere.
    let set = bson!({ "$addFields": { "f.x": 1, "f.a.c": 2 } });
    let event = || doc! { "_id": 1, "f": { "b": 3 } };
    check(
        bson!([{ "$project": { "f.a.b": 1, "f.b": 1, "z": "$missing" } }, set.clone()]),
        event(),
        doc! { "_id": 1, "f": { "b": 3, "a": { "c": 2 }, "x": 1 } },
    );
    check(
        bson!([{ "$project": { "f.a.b": 1, "f.b": 1 } }, set]),
        event(),
        doc! { "_id": 1, "f": { "b": 3, "x": 1, "a": { "c": 2 } } },
    );
    // An inclusion takes the places away.
    check(
        bson!([
            { "$unset": "x" }, { "$project": { "x": 1, "c": 1 } }, { "$addFields": { "x": 5 } },
        ]),
        doc! { "_id": 1, "x": 2, "c": 1 },
        doc! { "_id": 1, "c": 1, "x": 5 },
    );
}

#[test]
fn an_element_that_is_gone_leaves_a_hole() {
    check(
        bson!([{ "$project": { "l.x": 1 } }, { "$addFields": { "l.n": 1 } }]),
        doc! { "_id": 1, "l": [1, { "x": 1, "y": 2 }] },
        doc! { "_id": 1, "l": [{ "n": 1 }, { "x": 1, "n": 1 }] },
    );
    // A condition does not see it.
    check(
        bson!([{ "$project": { "l.x": 1 } }, { "$match": { "l": { "$size": 4 } } }]),
        mixed(),
        doc! { "_id": 1, "l": [{ "x": 1 }, [{ "x": 3 }], [], {}] },
    );
    refused(
        bson!([{ "$project": { "l.x": 1 } }, { "$addFields": { "n": "$l" } }]),
        "stages[1].$addFields: an expression on an array",
    );
    refused(
        bson!([{ "$project": { "fullDocument.l.x": 1 } }, { "$addFields": { "n": "$$ROOT" } }]),
        "an expression on an array",
    );
    // Where an event has no array, there is none.
    check(
        bson!([{ "$project": { "fullDocument.l": 1 } }, { "$addFields": { "n": "$fullDocument" } }]),
        doc! { "_id": 1, "fullDocument": { "l": [1], "m": 1 } },
        doc! { "_id": 1, "fullDocument": { "l": [1] }, "n": { "l": [1] } },
    );
}

#[test]
fn an_event_has_places_for_what_others_have() {
    let deleted = doc! {
        "_id": 1, "operationType": "delete", "clusterTime": 1, "wallTime": 1,
        "ns": { "db": "d", "coll": "c" }, "documentKey": { "_id": 1 }, "fullDocumentBeforeChange": {},
    };
    let stage =
        bson!([{ "$addFields": { "x": 1, "updateDescription.q": 2, "fullDocument.q": 3 } }]);
    let expected = doc! {
        "_id": 1, "operationType": "delete", "clusterTime": 1, "wallTime": 1, "fullDocument": { "q": 3 },
        "ns": { "db": "d", "coll": "c" }, "documentKey": { "_id": 1 }, "updateDescription": { "q": 2 },
        "fullDocumentBeforeChange": {}, "x": 1,
    };
    check(stage, deleted, expected);
}

#[test]
fn redact_looks_into_documents_and_arrays() {
    let document = doc! { "_id": 1, "o": { "x": 1 }, "l": [1, { "x": 1 }, [{ "y": { "x": 1 } }]] };
    let expected = run(bson!([{ "$redact": "$$DESCEND" }]), &document);
    assert_eq!(expected, Ok(Some(document.clone())));
    assert_eq!(run(bson!([{ "$redact": "$$PRUNE" }]), &document), Ok(None));
    // The texts are what the variables hold.
    assert_eq!(run(bson!([{ "$redact": "prune" }]), &document), Ok(None));
    assert_eq!(run(bson!([{ "$redact": "$o" }]), &document), Err(17053));
}

#[test]
fn a_root_must_be_a_document_with_the_events_id() {
    let document = doc! { "_id": { "_data": "82" }, "o": { "x": 1 }, "n": 1 };
    let with_id = bson!([{ "$replaceRoot": { "newRoot": { "o": "$o", "_id": "$_id" } } }]);
    check(
        with_id,
        document.clone(),
        doc! { "o": { "x": 1 }, "_id": { "_data": "82" } },
    );
    let other = bson!([{ "$replaceWith": { "o": "$o", "_id": "$o" } }]);
    assert_eq!(run(other, &document), Err(280));
    for stage in [
        doc! { "$replaceRoot": { "newRoot": "$o" } },
        doc! { "$replaceWith": { "o": "$o" } },
        doc! { "$replaceWith": 1 },
        doc! { "$project": { "_id": 0 } },
        doc! { "$project": { "_id.x": 0 } },
        doc! { "$project": { "_id": "x" } },
        doc! { "$unset": "_id" },
        doc! { "$addFields": { "_id.x": 1 } },
    ] {
        refused(bson!([stage]), "a change of _id");
    }
}

#[test]
fn what_the_server_refuses_is_refused() {
    for stage in [
        doc! { "$project": {} },
        doc! { "$project": { "a": {} } },
        doc! { "$project": { "a": 1, "b": 0 } },
        doc! { "$project": { "a": 0, "b": "$c" } },
        doc! { "$project": { "a": 1, "a.b": 1 } },
        doc! { "$project": { "a.b": 1, "a": 1 } },
        doc! { "$project": { "a": { "b": 1, "$literal": 1 } } },
        doc! { "$project": { "a.$": 1 } },
        doc! { "$project": { "a..b": 1 } },
        doc! { "$project": { "": 1 } },
        doc! { "$project": 1 },
        doc! { "$addFields": { "a": {} } },
        doc! { "$addFields": { "a": { "b.c": 1 } } },
        doc! { "$addFields": { "a": 1, "a.b": 1 } },
        doc! { "$addFields": { "a": { "$nothing": 1 } } },
        doc! { "$unset": [] },
        doc! { "$unset": "" },
        doc! { "$unset": ["a", 1] },
        doc! { "$unset": ["a", "a.b"] },
        doc! { "$replaceRoot": {} },
        doc! { "$replaceRoot": { "newRoot": "$$ROOT", "x": 1 } },
        doc! { "$changeStreamSplitLargeEvent": {} },
        doc! { "$group": { "_id": 1 } },
        doc! { "$set": { "a": 1 }, "$unset": "b" },
        doc! {},
    ] {
        refused(bson!([stage]), "is not evaluated here");
    }
}

#[test]
fn a_condition_that_the_server_moves_to_where_it_means_something_else_is_refused() {
    let moved = "a condition beside a field";
    refused(
        bson!([{ "$addFields": { "l.n": 1 } }, { "$match": { "l.k": null } }]),
        moved,
    );
    refused(
        bson!([{ "$addFields": { "x": "$operationType" } }, { "$match": { "x": "insert" } }]),
        moved,
    );
    refused(
        bson!([{ "$unset": "l.x" }, { "$match": { "l.0.x": 1 } }]),
        "a number in a path",
    );
    // It takes `b.x` for `c`, and then `b` for what was there before.
    refused(
        bson!([{ "$addFields": { "b.x": "$c" } }, { "$match": { "b": null } }]),
        moved,
    );
    // There is no array on the way.
    check(
        bson!([{ "$addFields": { "fullDocument.n": 1 } }, { "$match": { "fullDocument.k": null } }]),
        doc! { "_id": 1, "fullDocument": {} },
        doc! { "_id": 1, "fullDocument": { "n": 1 } },
    );
}

#[test]
fn filters_alone_hand_on_the_event_itself() {
    let event = raw(&doc! { "_id": 1, "a": 1 });
    let pipeline = compile_pipeline(&[doc! { "$match": { "a": 1 } }]).expect("it compiles");
    assert!(!pipeline.reshapes());
    let made = pipeline
        .run(&event)
        .expect("no failure")
        .expect("it passes");
    assert_eq!(made.as_bytes().as_ptr(), event.as_bytes().as_ptr());
}

#[test]
fn what_multiplies_an_event_ends_at_the_limit() {
    let document = doc! { "_id": 1, "l": (0..100_000).collect::<Vec<i32>>() };
    let stage = bson!([{ "$addFields": { "l.all": "$l" } }]);
    assert_eq!(run(stage, &document), Err(10334));
}

#[test]
fn a_path_that_no_stage_touches_is_kept() {
    let keeps = |stage: Document, path: &str| {
        let pipeline = compile_pipeline(&[stage]).expect("it compiles");
        pipeline.keeps(path)
    };
    let tid = "fullDocument.tid";
    assert!(keeps(doc! { "$project": { "fullDocument.tid": 1 } }, tid));
    assert!(keeps(doc! { "$project": { "fullDocument": 1 } }, tid));
    assert!(keeps(
        doc! { "$project": { "fullDocument.tid": 1, "fullDocument.n": "$ns" } },
        tid
    ));
    assert!(keeps(doc! { "$addFields": { "fullDocument.n": 1 } }, tid));
    assert!(keeps(doc! { "$unset": "fullDocument.n" }, tid));
    assert!(!keeps(doc! { "$project": { "ns": 1 } }, tid));
    assert!(!keeps(doc! { "$project": { "fullDocument": 0 } }, tid));
    assert!(!keeps(
        doc! { "$addFields": { "fullDocument.tid": 1 } },
        tid
    ));
    assert!(!keeps(
        doc! { "$addFields": { "fullDocument.tid.n": 1 } },
        tid
    ));
    assert!(!keeps(doc! { "$unset": "fullDocument.tid" }, tid));
    assert!(!keeps(doc! { "$redact": "$$DESCEND" }, tid));
    // An array of numbers would hold documents without `k` then.
    assert!(!keeps(
        doc! { "$addFields": { "fullDocument.l.n": 1 } },
        "fullDocument.l.k"
    ));
    assert!(keeps(
        doc! { "$unset": "fullDocument.l.n" },
        "fullDocument.l.k"
    ));
    assert!(!keeps(
        doc! { "$unset": "fullDocument.n" },
        "fullDocument.l.0"
    ));
}
