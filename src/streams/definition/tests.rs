//! Definitions as they are stored, whole and broken.

use bson::bson;

use crate::{streams::testing::Case, wire::testing::recorded};

use super::*;

fn parse(streams: Bson) -> CollectionDefinitions {
    CollectionDefinitions::parse(Some(&streams), &PipelineLimits::default())
}

#[track_caller]
fn check_broken(entry: Bson, expected: &str) {
    let definitions = parse(bson!([{ "uri": "neighbour", "stages": [] }, entry]));
    assert_eq!(
        definitions.find("s"),
        Err(DefinitionError::Broken(expected.to_owned()))
    );
    definitions
        .find("neighbour")
        .expect("a broken entry is broken alone");
}

#[test]
fn recorded_definitions_are_answered_as_recorded() {
    let mut checked = 0;
    for case in recorded("definitions") {
        // What is asked for is not the stream's to answer.
        const OF_THE_FRONT: [&str; 7] = [
            "def-uri-dotdot",
            "def-uri-bad-encoding",
            "def-plain-get",
            "def-notify-two-plain-get",
            "def-uri-size",
            "req-",
            "def-uri-semicolon",
        ];
        let Some(case) = Case::read(&case) else {
            continue;
        };
        if OF_THE_FRONT.iter().any(|name| case.name.starts_with(name)) {
            continue;
        }
        let answer = case.answer(true);
        let note = case.note.as_deref().unwrap_or("");
        if note.contains("only the broken entry") || case.status == 101 {
            answer.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", case.name));
        } else {
            let (status, body) = answer.expect_err(&case.name);
            assert_eq!(
                (i64::from(status), Some(body)),
                (case.status, case.body),
                "{}",
                case.name
            );
        }
        checked += 1;
    }
    assert!(checked >= 25, "only {checked} cases were found");
}

#[test]
fn each_defect_of_an_entry_is_its_own() {
    check_broken(
        bson!({ "uri": "s" }),
        "query /shas invalid 'stages': null; must be an array of stage objects",
    );
    check_broken(
        bson!({ "uri": "s", "stages": [{}, 5] }),
        "query /shas invalid 'stages': BsonArray{values=[{}, BsonInt32{value=5}]}; must be an array of stage objects",
    );
    check_broken(
        bson!({ "uri": 5 }),
        "Value expected to be of type STRING is of unexpected type INT32",
    );
    check_broken(
        bson!(5),
        "element 'streams' is not valid.BsonInt32{value=5}",
    );
    check_broken(
        bson!({ "uri": "s", "stages": [], "notify_when": { "fullDocument:: ": { "$var": "x" } } }),
        "notify_when field must use '::' separator, e.g. 'fullDocument::tenantId'; got: fullDocument:: ",
    );
}

#[test]
fn notify_when_on_what_is_no_document_as_it_goes_out_lets_nothing_pass() {
    for top in ["ns", "operationType"] {
        let condition = doc! { format!("{top}::x"): { "$var": "x" } };
        let parsed = NotifyWhen::parse(&condition).unwrap();
        assert_eq!(parsed.path, None, "{top}");
    }
}

#[test]
fn a_stage_that_is_too_deep_is_broken() {
    let mut deep = bson!({});
    for _ in 0..200 {
        deep = bson!({ "a": deep });
    }
    check_broken(
        bson!({ "uri": "s", "stages": [deep] }),
        "query /s has 'stages' nested too deep: limits.depth is 100",
    );
}

#[test]
fn an_unknown_uri_may_be_that_of_a_nameless_entry() {
    let definitions = parse(bson!([{ "uri": "broken" }, { "uri": "s", "stages": [] }]));
    assert_eq!(definitions.find("other"), Err(DefinitionError::Unknown));
    assert_eq!(
        CollectionDefinitions::parse(None, &PipelineLimits::default()).find("s"),
        Err(DefinitionError::Unknown)
    );
}

#[test]
fn the_first_entry_of_a_name_counts_even_if_broken() {
    let definitions = parse(bson!([{ "uri": "s" }, { "uri": "s", "stages": [] }]));
    definitions.find("s").expect_err("the first is broken");
}

#[test]
fn notify_when_is_read_as_a_path() {
    let definitions = parse(bson!([
        { "uri": "s", "stages": [], "notify_when": { " fullDocument :: a.l[2]['b'] ": { "$var": "x" } } },
    ]));
    let definition = definitions.find("s").expect("a stream");
    let expected = NotifyWhen {
        path: Some("fullDocument.a.l.2.b".to_owned()),
        variable: "x".to_owned(),
    };
    assert_eq!(definition.notify_when, Some(expected));
}

#[test]
fn definitions_differ_by_what_a_session_rests_on_only() {
    let parse = |element: Bson| parse(bson!([element])).find("s").expect("a stream");
    let plain = parse(bson!({ "uri": "s", "stages": [{ "$match": { "a.b": f64::NAN } }] }));
    let same =
        parse(bson!({ "more": 1, "stages": [{ "_$match": { "a::b": f64::NAN } }], "uri": "s" }));
    assert_eq!(plain, same);
    for stages in [bson!([{ "$match": { "a.b": 0.0 } }]), bson!([])] {
        assert_ne!(plain, parse(bson!({ "uri": "s", "stages": stages })));
    }
    let notified = bson!({ "uri": "s", "stages": [{ "$match": { "a.b": f64::NAN } }], "notify_when": { "fullDocument::a": { "$var": "a" } } });
    assert_ne!(plain, parse(notified));
}

fn within(limits: &PipelineLimits, stages: Bson) -> Result<(), String> {
    let streams = bson!([
        { "uri": "neighbour", "stages": [] },
        { "uri": "s", "stages": stages },
    ]);
    let definitions = CollectionDefinitions::parse(Some(&streams), limits);
    definitions.find("neighbour").expect("it is not touched");
    let found = definitions.find("s");
    found.map(drop).map_err(|error| error.to_string())
}

#[test]
fn definitions_beyond_a_limit_are_broken_alone_and_say_why() {
    let limits = PipelineLimits {
        depth_max: 5,
        stages_max: 3,
        values_max: 20,
        ..PipelineLimits::default()
    };
    let check = |stages: Bson, reason: Option<&str>| {
        let found = within(&limits, stages.clone());
        let expected = reason.map_or(Ok(()), |reason| Err(format!("query /s has {reason}")));
        assert_eq!(found, expected, "{stages}");
    };
    let stage = bson!({ "$match": { "a": 1 } });
    check(bson!(vec![stage.clone(); 3]), None);
    let reason = "4 'stages': limits.stages is 3";
    check(bson!(vec![stage; 4]), Some(reason));
    check(bson!([{ "$match": { "a": { "$in": [1] } } }]), None);
    let reason = "'stages' nested too deep: limits.depth is 5";
    check(
        bson!([{ "$match": { "a": { "$in": [[1]] } } }]),
        Some(reason),
    );
    check(bson!([{ "$match": { "a": { "$in": vec![1; 15] } } }]), None);
    let reason = "21 values in 'stages': limits.values is 20";
    check(
        bson!([{ "$match": { "a": { "$in": vec![1; 16] } } }]),
        Some(reason),
    );
}

#[test]
fn more_levels_than_mongodb_stores_are_refused() {
    let mut filter = bson!({ "a": 1 });
    for _ in 0..200 {
        filter = bson!({ "$or": [filter] });
    }
    let stages = bson!([{ "$match": filter }]);
    let reason = "query /s has 'stages' nested too deep: limits.depth is 100".to_owned();
    assert_eq!(within(&PipelineLimits::default(), stages), Err(reason));
}
