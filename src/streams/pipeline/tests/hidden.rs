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

/// What this is bound to where events bear the state before, for a caller with these rights.
fn bound_with_pre_images(permission: &Permission, stages: &[Document]) -> Vec<Document> {
    let definitions = bson!([{ "uri": "s", "stages": stages.to_vec() }]);
    let definitions = CollectionDefinitions::parse(Some(&definitions), &PipelineLimits::default());
    let request = BindRequest {
        pre_images: true,
        ..request(&[], permitted(permission))
    };
    let bound = bind(&definitions.find("s").expect("a stream"), &request);
    bound.expect("a pipeline").stages
}

#[test]
fn a_delete_is_judged_by_the_document_as_it_was() {
    let permission = filtered(&doc! { "owner": "ann", "$expr": { "$gt": ["$a", "$b"] } });
    let judged = doc! { "$match": { "$or": [
        {
            "operationType": { "$ne": "delete" },
            "fullDocument": { "$type": "object" },
            "fullDocument.owner": "ann",
            "$expr": { "$gt": ["$fullDocument.a", "$fullDocument.b"] },
        },
        {
            "operationType": "delete",
            "fullDocumentBeforeChange": { "$type": "object" },
            "fullDocumentBeforeChange.owner": "ann",
            "$expr": { "$gt": ["$fullDocumentBeforeChange.a", "$fullDocumentBeforeChange.b"] },
        },
    ] } };
    let own = doc! { "$match": { "fullDocument.x": 1 } };
    let stages = bound_with_pre_images(&permission, std::slice::from_ref(&own));
    assert_eq!(stages, [judged, own]);
}

#[test]
fn no_stage_reads_the_document_as_it_was() {
    let gone = doc! { "$unset": "fullDocumentBeforeChange" };
    for reading in [
        doc! { "$match": { "fullDocumentBeforeChange.secret": 1 } },
        doc! { "$addFields": { "fullDocument.old": "$fullDocumentBeforeChange" } },
        doc! { "$replaceWith": { "fullDocument": "$$ROOT" } },
    ] {
        let stages = bound_with_pre_images(&projected(doc! {}), std::slice::from_ref(&reading));
        assert_eq!(stages, [gone.clone(), reading]);
    }
}

#[test]
fn what_is_never_shown_is_gone_before_any_stage_too() {
    let copy = doc! { "$addFields": { "fullDocument.copy": "$fullDocument.password" } };
    let definitions =
        bson!([{ "uri": "s", "stages": [copy.clone()] }, { "uri": "all", "stages": [] }]);
    let definitions = CollectionDefinitions::parse(Some(&definitions), &PipelineLimits::default());
    let request = BindRequest {
        never_shown: Some("password"),
        is_root: true,
        ..request(&[], Caller::default())
    };
    let bind =
        |name| bind(&definitions.find(name).expect("a stream"), &request).expect("a pipeline");
    let secret = ["fullDocument.password", "documentKey.password"];
    assert_eq!(bind("s").stages, [doc! { "$unset": secret.to_vec() }, copy]);
    assert_eq!(bind("all").stages, []);
    for name in ["s", "all"] {
        assert_eq!(bind(name).veil.hidden_paths, ["password"]);
    }
}
