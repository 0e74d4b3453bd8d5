//! Definition and request, bound to one pipeline.

use bson::bson;

use crate::{
    access::MongoPermissions,
    streams::{
        definition::CollectionDefinitions,
        testing::{Case, principal},
    },
    wire::{
        json::{JsonMode, document_text},
        testing::recorded,
    },
};

use super::*;

mod hidden;
mod limits;

fn request<'a>(query: &'a [(String, String)], caller: Caller<'a>) -> BindRequest<'a> {
    BindRequest {
        query,
        principal: caller.principal,
        permission: caller.permission,
        is_root: caller.is_root,
        database: "d",
        collection: "c",
        notify_when_unbound_refuses: false,
        enforce_read_filter: true,
        pre_images: false,
        never_shown: None,
        limits: PipelineLimits::default(),
    }
}

fn bind_with(
    element: Bson,
    query: &[(&str, &str)],
    caller: Caller<'_>,
) -> Result<BoundPipeline, BindError> {
    let definitions =
        CollectionDefinitions::parse(Some(&bson!([element])), &PipelineLimits::default());
    let query: Vec<(String, String)> = query
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    bind(
        &definitions.find("s").expect("a stream"),
        &request(&query, caller),
    )
}

fn bind_stages(stages: Bson, query: &[(&str, &str)]) -> Result<BoundPipeline, BindError> {
    bind_with(
        bson!({ "uri": "s", "stages": stages }),
        query,
        Caller::default(),
    )
}

#[track_caller]
fn check(stages: Bson, query: &[(&str, &str)], expected: &[Document]) {
    assert_eq!(
        bind_stages(stages, query).expect("a pipeline").stages,
        expected
    );
}

#[track_caller]
fn check_refused(stages: Bson, expected: &str) {
    assert_eq!(
        bind_stages(stages, &[]).expect_err("refused").to_string(),
        expected
    );
}

fn filtered(filter: &Document) -> Permission {
    let mongo = MongoPermissions {
        read_filter: Some(filter.clone()),
        ..MongoPermissions::default()
    };
    Permission {
        id: Bson::Null,
        mongo,
    }
}

fn projected(projection: Document) -> Permission {
    let mongo = MongoPermissions {
        project_response: Some(projection),
        ..MongoPermissions::default()
    };
    Permission {
        id: Bson::Null,
        mongo,
    }
}

fn permitted(permission: &Permission) -> Caller<'_> {
    Caller {
        permission: Some(permission),
        ..Caller::default()
    }
}

#[track_caller]
fn check_filter(filter: Document, expected: Document) {
    let bound = bind_with(
        bson!({ "uri": "s", "stages": [] }),
        &[],
        permitted(&filtered(&filter)),
    )
    .expect("a pipeline");
    assert_eq!(bound.stages, [doc! { "$match": expected }]);
    assert!(!bound.veil.update_description);
}

#[track_caller]
fn check_filter_refused(filter: Document) {
    let bound = bind_with(
        bson!({ "uri": "s", "stages": [] }),
        &[],
        permitted(&filtered(&filter)),
    );
    assert!(matches!(bound, Err(BindError::ReadFilter(_))), "{bound:?}");
}

/// Cases whose note asks for something else; each has a test of its own here or in `variables`.
const NOTED: [(&str, u16); 5] = [
    ("var-user-decimal", 101),
    ("var-user-forge-absent", 400),
    ("var-user-anonymous-forge", 400),
    ("var-forge-other", 400),
    ("var-plain-qparam", 101),
];

#[test]
fn recorded_variables_are_bound_as_recorded() {
    let (mut refused, mut bound) = (0, 0);
    for case in recorded("variables") {
        // JWT payloads are what `access` makes of them; a whole stage without operators is refused, not silent.
        let Some(case) = Case::read(&case) else {
            continue;
        };
        if ["var-user-jwt", "var-as-stage"].contains(&case.name.as_str()) {
            continue;
        }
        let answer = case.answer(false);
        if let Some((_, status)) = NOTED.iter().find(|(name, _)| *name == case.name) {
            assert_eq!(
                answer.map_or_else(|(status, _)| status, |_| 101),
                *status,
                "{}",
                case.name
            );
            continue;
        }
        if case.status == 101 {
            let pipeline = answer.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", case.name));
            bound += usize::from(check_literal(&case, &pipeline));
        } else {
            let (status, body) = answer.expect_err(&case.name);
            assert_eq!(
                (i64::from(status), Some(body)),
                (case.status, case.body),
                "{}",
                case.name
            );
            refused += 1;
        }
    }
    assert!(refused >= 21, "only {refused} refusals were found");
    assert!(bound >= 36, "only {bound} values were found");
}

/// Many cases put the variable into the document as a literal: the frame then shows what it was bound to.
fn check_literal(case: &Case, pipeline: &BoundPipeline) -> bool {
    let literal = pipeline.stages.first().and_then(|stage| {
        stage
            .get_document("$addFields")
            .ok()?
            .get_document("fullDocument.v")
            .ok()?
            .get("$literal")
    });
    let (Some(literal), Some(frame)) = (literal, case.frames.first()) else {
        return false;
    };
    let mode = JsonMode::from_parameter(variables::first(&case.query, "jsonMode"));
    let text = document_text(&doc! { "v": literal.clone() }, mode);
    assert!(
        frame.contains(&text[1..text.len() - 1]),
        "{}: {text} in {frame}",
        case.name
    );
    true
}

#[test]
fn recorded_pipelines_are_answered_as_recorded() {
    let (mut refused, mut bound) = (0, 0);
    for case in recorded("pipelines") {
        let Some(case) = Case::read(&case) else {
            continue;
        };
        let refuses_at_admission = case
            .note
            .as_deref()
            .is_some_and(|note| note.contains("refuses at admission"));
        match case.answer(true) {
            Err((status, body)) if case.status != 101 => {
                assert_eq!(
                    (i64::from(status), Some(body)),
                    (case.status, case.body),
                    "{}",
                    case.name
                );
                refused += 1;
            }
            // $facet may hide $out from the screen, but is no stage of a change stream.
            Err((status, _)) => {
                assert!(
                    refuses_at_admission || case.name == "pl-screen-facet-out",
                    "{}",
                    case.name
                );
                assert_eq!(status, 500, "{}", case.name);
                refused += 1;
            }
            Ok(pipeline) => {
                assert_eq!(case.status, 101, "{}", case.name);
                // Only MongoDB can tell that this expression is none.
                assert!(
                    !refuses_at_admission || case.name == "pl-refused-bad-regex",
                    "{}",
                    case.name
                );
                assert_eq!(
                    pipeline.stages,
                    case.definitions.find(&case.uri).expect("a stream").stages
                );
                bound += 1;
            }
        }
    }
    assert!(refused >= 16, "only {refused} refusals were found");
    assert!(bound >= 40, "only {bound} pipelines were found");
}

#[test]
fn optional_stages_are_there_if_all_their_names_are_bound() {
    let stages = bson!([{ "_$ifvar": [["a", "b"], { "_$match": { "x": { "_$var": "a" } } }, { "$match": { "y": 1 } }] }]);
    check(
        stages.clone(),
        &[("a", "1"), ("b", "2")],
        &[doc! { "$match": { "x": "1" } }],
    );
    check(stages, &[("a", "1")], &[doc! { "$match": { "y": 1 } }]);
    check(bson!([{ "$ifvar": ["a", { "$match": {} }] }]), &[], &[]);
}

#[test]
fn malformed_optional_stages_are_named() {
    check_refused(
        bson!([{ "$ifvar": ["x", 5, { "$match": {} }, 1] }]),
        "Invalid optional stage: {\"$ifvar\": [\"x\", 5, {\"$match\": {}}, 1]}",
    );
    check_refused(
        bson!([{ "$ifvar": [5, {}] }]),
        "Value expected to be of type ARRAY is of unexpected type INT32",
    );
    check_refused(
        bson!([{ "$ifvar": ["x", 1, 2] }]),
        "Value expected to be of type DOCUMENT is of unexpected type INT32",
    );
}

#[test]
fn what_no_change_stream_allows_is_refused_with_its_place() {
    check_refused(
        bson!([{ "$match": {} }, { "$group": {} }]),
        "stages[1]: $group is not allowed in a change stream",
    );
    check_refused(
        bson!([{ "$match": {}, "$set": {} }]),
        "stages[0]: a stage has exactly one key",
    );
    check_refused(
        bson!([{ "$match": { "$var": "@mongoPermissions.readFilter" } }]),
        "stages[0]: $match needs a document",
    );
    check_refused(
        bson!([{ "$match": { "$var": ["@mongoPermissions.readFilter", {}] } }]),
        "stages[0]: $match needs a document",
    );
}

#[test]
fn a_read_filter_is_put_in_front_under_the_document() {
    check_filter(
        doc! { "owner": "me", "_$or": [{ "a::b": { "_$gt": 1 } }, { "$nor": [{ "c": 1 }, { "d": 2 }] }] },
        doc! {
            "fullDocument": { "$type": "object" },
            "fullDocument.owner": "me",
            "$or": [
                { "fullDocument.a.b": { "$gt": 1 } },
                { "$and": [{ "$nor": [{ "fullDocument.c": 1 }] }, { "$nor": [{ "fullDocument.d": 2 }] }] },
            ],
        },
    );
    check_filter(
        doc! { "$expr": { "$and": [{ "$eq": ["$a.b", { "$literal": "$x" }] }, { "$lt": ["$d", "$$NOW"] }] } },
        doc! {
            "fullDocument": { "$type": "object" },
            "$expr": { "$and": [{ "$eq": ["$fullDocument.a.b", { "$literal": "$x" }] }, { "$lt": ["$fullDocument.d", "$$NOW"] }] },
        },
    );
}

#[test]
fn a_read_filter_that_cannot_be_moved_exactly_refuses() {
    for filter in [
        doc! { "$expr": { "$eq": ["$$ROOT.a", 1] } },
        doc! { "$expr": { "$eq": ["$$CURRENT", 1] } },
        doc! { "$expr": { "$eq": [{ "$getField": "a" }, 1] } },
        doc! { "$jsonSchema": {} },
        doc! { "$where": "1" },
        doc! { "$text": { "$search": "x" } },
        doc! { "$or": [] },
        doc! { "$or": [{ "a": 1 }, 5] },
        doc! { "": 1 },
        doc! { "a..b": 1 },
        doc! { "a": "@rnd(8)" },
        doc! { "a": "@request.remoteIp" },
    ] {
        check_filter_refused(filter);
    }
}

#[test]
fn names_in_a_read_filter_are_values() {
    let filter =
        doc! { "owner": "@user._id", "kind": "@qparams['kind']", "c": "@request.collection" };
    let user = doc! { "_id": "ada" };
    let (ada, permission) = (principal(&user), filtered(&filter));
    let caller = Caller {
        principal: Some(&ada),
        ..permitted(&permission)
    };
    let bound = bind_with(
        bson!({ "uri": "s", "stages": [] }),
        &[("kind", "k")],
        caller,
    )
    .expect("a pipeline");
    let expected = doc! {
        "fullDocument": { "$type": "object" },
        "fullDocument.owner": "ada", "fullDocument.kind": "k", "fullDocument.c": "c",
    };
    assert_eq!(bound.stages, [doc! { "$match": expected }]);
}

#[test]
fn a_read_filter_written_for_events_is_the_definitions_own() {
    let filter = doc! { "_$or": [{ "fullDocument::owner": "me" }, { "fullDocument.n": 5 }] };
    let stages = bson!([{ "_$match": { "_$var": "@mongoPermissions.readFilter" } }]);
    let bound = bind_with(
        bson!({ "uri": "s", "stages": stages }),
        &[],
        permitted(&filtered(&filter)),
    )
    .expect("a pipeline");
    assert_eq!(
        bound.stages,
        [
            doc! { "$match": { "fullDocument": { "$type": "object" } } },
            doc! { "$match": { "$or": [{ "fullDocument.owner": "me" }, { "fullDocument.n": 5 }] } },
        ]
    );
    // Where the definition does not apply it, the permission's word is about the document.
    check_filter(
        doc! { "fullDocument.owner": "me" },
        doc! { "fullDocument": { "$type": "object" }, "fullDocument.fullDocument.owner": "me" },
    );
}

#[test]
fn root_and_restheart_are_not_filtered() {
    let filter = doc! { "owner": "me" };
    let element = || bson!({ "uri": "s", "stages": [] });
    let permission = filtered(&filter);
    let root = Caller {
        is_root: true,
        ..permitted(&permission)
    };
    let expected = BoundPipeline {
        stages: Vec::new(),
        notify: None,
        veil: Veil::default(),
    };
    assert_eq!(
        bind_with(element(), &[], root).expect("a pipeline"),
        expected
    );
    let definitions =
        CollectionDefinitions::parse(Some(&bson!([element()])), &PipelineLimits::default());
    let lax = BindRequest {
        enforce_read_filter: false,
        ..request(&[], permitted(&permission))
    };
    assert_eq!(
        bind(&definitions.find("s").expect("a stream"), &lax).expect("a pipeline"),
        expected
    );
}

#[track_caller]
fn check_veil(projection: Document, hidden: &[&str], shown: Option<&[&str]>) {
    let permission = projected(projection);
    let caller = permitted(&permission);
    let veil = bind_with(bson!({ "uri": "s", "stages": [] }), &[], caller)
        .expect("a pipeline")
        .veil;
    assert_eq!(veil.hidden_paths, hidden);
    assert_eq!(
        veil.shown_paths,
        shown.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect())
    );
    assert!(veil.update_description);
}

#[test]
fn project_response_is_a_veil() {
    check_veil(
        doc! { "secret": 0, "a::b": false, "c": { "d": 0.0 } },
        &["secret", "a.b", "c.d"],
        None,
    );
    check_veil(
        doc! { "a": 1, "b.c": true },
        &[],
        Some(&["a", "b.c", "_id"]),
    );
    check_veil(doc! { "a": 1, "_id": 0 }, &["_id"], Some(&["a"]));
    check_veil(doc! { "_id": 1 }, &[], Some(&["_id"]));
    check_veil(doc! { "_id": 1, "a": 0 }, &["a"], None);
}

#[test]
fn a_projection_that_is_not_understood_refuses() {
    for projection in [
        doc! { "a": "x" },
        doc! { "a": { "$slice": 1 } },
        doc! { "$expr": 1 },
        doc! { "a": {} },
    ] {
        let permission = projected(projection);
        let caller = permitted(&permission);
        let bound = bind_with(bson!({ "uri": "s", "stages": [] }), &[], caller);
        assert!(matches!(bound, Err(BindError::Projection(_))), "{bound:?}");
    }
}

fn notified(variable: &str) -> Bson {
    bson!({ "uri": "s", "stages": [], "notify_when": { "fullDocument::tid": { "$var": variable } } })
}

#[test]
fn notify_when_is_a_filter_on_the_outgoing_event() {
    let notify = |query: &[(&str, &str)]| {
        bind_with(notified("tid"), query, Caller::default())
            .expect("a pipeline")
            .notify
    };
    assert_eq!(
        notify(&[("tid", "A"), ("tid", "B")]),
        Some(doc! { "fullDocument.tid": "A" })
    );
    assert_eq!(
        notify(&[("tid", "")]),
        Some(doc! { "fullDocument.tid": "" })
    );
    assert_eq!(
        notify(&[("avars", "{tid: 5}")]),
        Some(doc! { "fullDocument.tid": { "$eq": 5 } })
    );
    assert_eq!(notify(&[]), None);
}

#[test]
fn notify_when_may_refuse_where_it_is_unbound() {
    let definitions =
        CollectionDefinitions::parse(Some(&bson!([notified("tid")])), &PipelineLimits::default());
    let strict = BindRequest {
        notify_when_unbound_refuses: true,
        ..request(&[], Caller::default())
    };
    let bound = bind(&definitions.find("s").expect("a stream"), &strict);
    assert_eq!(bound, Err(BindError::Unbound("tid".to_owned())));
}

#[test]
fn notify_when_on_the_user_is_never_the_clients() {
    let user = doc! { "tid": "A" };
    let ada = principal(&user);
    let caller = Caller {
        principal: Some(&ada),
        ..Caller::default()
    };
    let query = [("@user.tid", "B"), ("avars", "{'@user.tid': 'B'}")];
    let bound = bind_with(notified("@user.tid"), &query, caller).expect("a pipeline");
    assert_eq!(bound.notify, Some(doc! { "fullDocument.tid": "A" }));
    let stranger = bind_with(notified("@user.tid"), &query, Caller::default());
    assert_eq!(stranger, Err(BindError::Unbound("@user.tid".to_owned())));
}

#[test]
fn an_example_shows_how_a_definition_would_be_served() {
    let definitions = CollectionDefinitions::parse(
        Some(&bson!([{
            "uri": "s",
            "stages": [
                { "$ifvar": ["x", { "$match": { "fullDocument.a": { "$var": "x" } } }] },
                { "$match": { "$var": "@mongoPermissions.readFilter" } },
            ],
        }])),
        &PipelineLimits::default(),
    );
    let bound = example(&definitions.find("s").expect("a stream")).expect("a pipeline");
    assert_eq!(
        bound.stages,
        [
            doc! { "$match": { "fullDocument.a": "example" } },
            doc! { "$match": {} }
        ]
    );
}
