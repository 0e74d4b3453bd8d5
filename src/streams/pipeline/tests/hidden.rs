//! Hidden fields and the stages of a definition.

use super::*;

/// The stages of a definition for a caller to whom this is projected.
#[track_caller]
fn check_hidden(projection: Document, definition: Bson, expected: Vec<Document>) {
    let permission = projected(projection);
    let bound = bind_with(definition, &[], permitted(&permission)).expect("a pipeline");
    assert_eq!(bound.stages, expected);
    assert!(!bound.veil.is_clear(), "and a veil over what goes out");
}

#[test]
fn hidden_fields_are_gone_before_any_stage_can_copy_or_ask_for_them() {
    let gone = |paths: &[&str]| doc! { "$unset": paths };
    let copy = doc! { "$addFields": { "fullDocument.copy": "$fullDocument.secret" } };
    let secret = ["fullDocument.secret", "documentKey.secret"];
    check_hidden(
        doc! { "secret": 0 },
        bson!({ "uri": "s", "stages": [copy.clone()] }),
        vec![gone(&secret), copy],
    );
    // Nobody asks: the veil alone hides, and frames are shared.
    check_hidden(
        doc! { "secret": 0 },
        bson!({ "uri": "s", "stages": [] }),
        vec![],
    );
    check_hidden(
        doc! { "a": 0, "a.b": 0 },
        bson!({ "uri": "s", "stages": [{ "$match": { "x": 1 } }] }),
        vec![
            gone(&["fullDocument.a", "documentKey.a"]),
            doc! { "$match": { "x": 1 } },
        ],
    );
    for reading in [
        doc! { "$match": { "updateDescription.updatedFields.secret": 1 } },
        doc! { "$addFields": { "fullDocument.all": "$$ROOT" } },
        doc! { "$addFields": { "fullDocument.all": { "$objectToArray": "$updateDescription" } } },
        doc! { "$redact": { "$cond": [{ "$eq": ["$secret", 1] }, "$$PRUNE", "$$DESCEND"] } },
    ] {
        let changes = doc! { "$unset": "updateDescription" };
        check_hidden(
            doc! { "secret": 0 },
            bson!({ "uri": "s", "stages": [reading.clone()] }),
            vec![gone(&secret), changes, reading],
        );
    }
    let permission = projected(doc! { "a": 1 });
    let definition = bson!({ "uri": "s", "stages": [{ "$match": { "x": 1 } }] });
    let bound = bind_with(definition, &[], permitted(&permission)).expect("a pipeline");
    let shown = bound.stages[0]
        .get_document("$project")
        .expect("what is shown");
    for path in [
        "_id",
        "operationType",
        "fullDocument.a",
        "fullDocument._id",
        "documentKey._id",
    ] {
        assert_eq!(shown.get_i32(path).ok(), Some(1), "{path}");
    }
    assert!(!shown.contains_key("fullDocument"));
}
