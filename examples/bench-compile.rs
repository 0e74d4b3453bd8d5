//! How long one request can hold up others: the largest pipelines that `[limits]` lets through, bound and compiled.
//!
//! `cargo run --release --example bench-compile`. Each is bound and its plan chosen some times, in one thread, as an admission
//! does; the table has the median and the longest, and how the pipeline would be served.

use std::time::Instant;

use bson::{Bson, Document, bson, doc};
use sidestream::{
    engine::{Framing, Plan, Served, Wanted},
    mongo::Namespace,
    streams::{BindRequest, CollectionDefinitions, PipelineLimits, bind},
    wire::JsonMode,
};

type Query = Vec<(String, String)>;

fn main() {
    println!(
        "sidestream {} bench-compile: {VALUES} values (limits.values), {TIMES} times each",
        env!("CARGO_PKG_VERSION")
    );
    println!("\n| pipeline | median, ms | longest, ms | served |");
    println!("|---|---|---|---|");
    let field = "fullDocument.n";
    let half = i32::try_from(VALUES / 2).expect("a small number") - 10;
    let ids: Vec<i32> = (0..2 * half).collect();
    report(
        "$in, numbers",
        bson!([{ "$match": { field: { "$in": ids } } }]),
        &[],
    );
    let clauses: Vec<Document> = (0..half).map(|n| doc! { field: n }).collect();
    report(
        "$or, one field",
        bson!([{ "$match": { "$or": clauses } }]),
        &[],
    );
    let paths: Document = (0..2 * half)
        .map(|n| (format!("fullDocument.a.b.c{n}"), n.into()))
        .collect();
    report("as many fields", bson!([{ "$match": paths }]), &[]);
    let mut nested = bson!({ field: 1 });
    for _ in 0..45 {
        nested = bson!({ "$or": [nested.clone(), { field: 2 }] });
    }
    report("$or in $or, 45 deep", bson!([{ "$match": nested }]), &[]);
    let stages = vec![bson!({ "$match": { field: { "$gt": 1 } } }); 1000];
    report("1,000 stages", Bson::Array(stages), &[]);
    let avars = format!("{{'n':[{}]}}", "1,".repeat(16_380));
    report(
        "avars of 32 KiB",
        bson!([{ "$match": { field: { "$in": { "$var": "n" } } } }]),
        &[("avars".to_owned(), avars)],
    );
    for pattern in PATTERNS {
        let one = bson!({ field: { "$regex": *pattern } });
        report(
            &format!("one `{pattern}`"),
            bson!([{ "$match": one.clone() }]),
            &[],
        );
        let all = vec![one; VALUES / 105];
        report(
            &format!("{} of it", all.len()),
            bson!([{ "$match": { "$or": all } }]),
            &[],
        );
    }
}

fn report(title: &str, stages: Bson, query: &[(String, String)]) {
    let limits = PipelineLimits {
        stages_max: 1000,
        values_max: VALUES,
        ..PipelineLimits::default()
    };
    let definitions =
        CollectionDefinitions::parse(Some(&bson!([{ "uri": "s", "stages": stages }])), &limits);
    let definition = match definitions.find("s") {
        Ok(definition) => definition,
        Err(refused) => return println!("| {title} | | | refused: {refused} |"),
    };
    let query: Query = query.to_vec();
    let request = BindRequest {
        query: &query,
        principal: None,
        permission: None,
        is_root: true,
        database: "d",
        collection: "c",
        notify_when_unbound_refuses: false,
        enforce_read_filter: true,
        pre_images: false,
        never_shown: None,
        limits,
    };
    let mut took = Vec::new();
    let mut served = String::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        served = match bind(&definition, &request) {
            Err(refused) => format!("refused: {refused}"),
            Ok(bound) => choose(bound.stages),
        };
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_unstable_by(f64::total_cmp);
    let (median, longest) = (took[TIMES / 2], took[TIMES - 1]);
    println!("| {title} | {median:.2} | {longest:.2} | {served} |");
}

fn choose(stages: Vec<Document>) -> String {
    let wanted = Wanted {
        namespace: Namespace::new("d", "c"),
        stages,
        notify: None,
        veil: Default::default(),
        mode: JsonMode::Default,
        framing: Framing::Sse,
    };
    match Plan::choose(wanted) {
        Err(refused) => format!("refused: {refused}"),
        Ok(plan) => match plan.served {
            Served::Shared(_) => "shared".to_owned(),
            Served::Dedicated { reason } => format!("dedicated, since {reason}"),
        },
    }
}

/// The default.
const VALUES: usize = 20_000;
const TIMES: usize = 11;
/// Ordinary, and as large as can be when compiled.
const PATTERNS: &[&str] = &[
    "^abc.*x",
    "[a-z]{500}",
    "\\w{100}",
    "(a|b|c){500}",
    "((a{1,9}){1,9}){1,9}",
];
