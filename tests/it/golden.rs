//! RESTHeart's recorded answers (`tests/golden/streams`), asked of Sidestream: same stored documents, same request, same
//! frames. Where Sidestream differs on purpose, `tests/golden/sidestream.json` says what it does instead, and why.

mod case;
mod compare;
mod database;
mod replay;
mod tests;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};

use crate::support::stack::Stack;
use case::{Case, cases};
use compare::differences;
use replay::Replayer;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_recorded_case_is_answered_as_recorded() {
    let cases = cases();
    assert_eq!(cases.len(), CASES, "cases were added or lost");
    // RESTHeart enforces no read filter on streams, so it is not what those recordings are about; and its silence of
    // 25 s is our comment, which need not take that long.
    let (by_default, lenient) = tokio::join!(Stack::shared(), Stack::start(LENIENT));
    let (by_default, lenient) = tokio::join!(Replayer::of(by_default), Replayer::of(&lenient));
    let only = std::env::var("SIDESTREAM_GOLDEN_ONLY").unwrap_or_default();
    let chosen = cases.iter().filter(|case| case.name.contains(&only));
    let failures: Vec<String> = stream::iter(chosen)
        .map(|case| {
            let is_lenient = case.name == "sse-quiet-25s"
                || case.has_read_filter() && case.json.field("note").is_none();
            replay(if is_lenient { &lenient } else { &by_default }, case)
        })
        .buffer_unordered(CASES_AT_ONCE)
        .filter_map(|failure| async { failure })
        .collect()
        .await;
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} of {CASES} failed:\n{}",
        failures.join("\n")
    );
}

/// Runs a case and returns what is wrong with its answers.
async fn replay(replayer: &Replayer, case: &Case) -> Option<String> {
    let host = replayer.target.to_string();
    // One case that cannot be played must not hide what the others say.
    let run = AssertUnwindSafe(replayer.run(case)).catch_unwind();
    let wrong = match tokio::time::timeout(CASE_WAIT, run).await {
        Ok(Ok(got)) => differences(case, &got, &host),
        Ok(Err(_)) => vec!["panicked: see above".to_owned()],
        Err(_) => vec![format!("not finished after {CASE_WAIT:?}")],
    };
    (!wrong.is_empty()).then(|| format!("{}\n    {}", case.title, wrong.join("\n    ")))
}

const CASES: usize = 367;
const CASES_AT_ONCE: usize = 24;
const CASE_WAIT: Duration = Duration::from_secs(40);
const LENIENT: &str = r#"
[streams]
enforce_read_filter = false
comment_interval = "200ms"
"#;
