//! What the variables of a request may be, and what they may make of a pipeline.

use super::*;

#[track_caller]
fn check_limited(limits: PipelineLimits, query: &[(&str, &str)], expected: Option<BindError>) {
    let definitions = CollectionDefinitions::parse(
        Some(&bson!([{
            "uri": "s",
            "stages": [
                { "$match": { "fullDocument.a": { "$in": { "$var": ["ids", []] } } } },
                { "$match": { "fullDocument.b": { "$nin": { "$var": ["ids", []] } } } },
            ],
        }])),
        &PipelineLimits::default(),
    );
    let query: Vec<(String, String)> = query
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let limited = BindRequest {
        limits,
        ..request(&query, Caller::default())
    };
    let bound = bind(&definitions.find("s").expect("a stream"), &limited);
    assert_eq!(bound.err(), expected);
}

#[test]
fn variables_are_bounded_in_number_depth_and_in_what_they_make() {
    let wide = PipelineLimits::default();
    let avars = [("avars", "{'ids': [1, [2], 3], 'x': 1}"), ("y", "1")];
    check_limited(wide, &avars, None);
    let at_most = |variables_max| PipelineLimits {
        variables_max,
        ..wide
    };
    check_limited(at_most(3), &avars, None);
    let too_many = VariableError::TooMany { max: 2 };
    check_limited(at_most(2), &avars, Some(too_many.into()));
    let as_deep = |depth_max| PipelineLimits { depth_max, ..wide };
    check_limited(as_deep(3), &avars, None);
    let too_deep = VariableError::TooDeep { max: 2 };
    check_limited(as_deep(2), &avars, Some(too_deep.into()));
    // Twice a filter, a condition and the five values of `ids`.
    let as_large = |values_max| PipelineLimits { values_max, ..wide };
    check_limited(as_large(14), &avars, None);
    let too_large = BindError::TooLarge { max: 13 };
    check_limited(as_large(13), &avars, Some(too_large));
}

/// A small text of a client, put in at many places, must not become a large pipeline: not even for a moment.
#[test]
fn what_is_put_in_a_thousand_times_is_refused_before_it_is_built() {
    let place = bson!({ "$match": { "fullDocument.a": { "$in": { "$var": "ids" } } } });
    let limits = PipelineLimits {
        values_max: 20_000,
        ..PipelineLimits::default()
    };
    let definitions = CollectionDefinitions::parse(
        Some(&bson!([{ "uri": "s", "stages": vec![place; 1000] }])),
        &limits,
    );
    let ids = format!("{{'ids': [{}]}}", "1,".repeat(16_000));
    let query = [("avars".to_owned(), ids)];
    let request = BindRequest {
        limits,
        ..request(&query, Caller::default())
    };
    let begun = std::time::Instant::now();
    let bound = bind(&definitions.find("s").expect("a stream"), &request);
    assert_eq!(bound, Err(BindError::TooLarge { max: 20_000 }));
    // 16 million values would take seconds, unoptimised. Two times 16,000 do not.
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
}
