//! Who is chosen, who is set aside and comes back, under the paused clock and over unix sockets that are there or not.

use std::{io, path::Path};

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{net::UnixListener, time::Instant};

use super::*;

const AFTER: Thresholds = Thresholds { rise: 2, fall: 3 };

/// Upstreams with these names in a directory. Nobody listens yet.
fn among(directory: &Path, names: &[&str]) -> Upstreams {
    let mut addresses = names
        .iter()
        .map(|name| UpstreamAddress::Unix(directory.join(name)));
    let first = addresses.next().expect("one at least");
    let settings = ProxySettings {
        others: addresses.collect(),
        ..ProxySettings::new(first)
    };
    Upstreams::new(settings).expect("no TLS is needed")
}

/// Upstreams that are never connected to.
fn unused(count: usize) -> Upstreams {
    let names = ["a", "b", "c", "d"];
    among(Path::new("/nowhere"), &names[..count])
}

fn refused() -> ProxyError {
    ProxyError::Connect(io::ErrorKind::ConnectionRefused.into())
}

fn set_aside(upstreams: &Upstreams, index: usize) {
    for _ in 0..upstreams.health.fall {
        upstreams.failed(index, &refused());
    }
    assert!(upstreams.members[index].marks.is_aside());
}

fn load(upstreams: &Upstreams, index: usize) -> usize {
    upstreams.standings()[index].requests.expect("several")
}

#[test]
fn among_equals_it_goes_round_also_past_one_that_is_set_aside() {
    let upstreams = unused(3);
    let chosen: Vec<_> = (0..6).map(|_| upstreams.choose(0)).collect();
    let round = [0, 1, 2, 0, 1, 2].map(Some);
    assert_eq!(chosen, round);
    set_aside(&upstreams, 1);
    let mut counts = [0; 3];
    for _ in 0..10 {
        counts[upstreams.choose(0).expect("one")] += 1;
    }
    // Its neighbour does not inherit all of its share.
    assert_eq!(counts, [5, 0, 5]);
}

#[test]
fn the_one_with_the_fewest_requests_under_way_is_chosen() {
    let upstreams = unused(3);
    let held: Vec<_> = (0..3).map(|_| upstreams.route()).collect();
    assert_eq!([0, 1, 2].map(|index| load(&upstreams, index)), [1; 3]);
    let mut held: Vec<_> = held
        .into_iter()
        .filter(|route| route.index() != 1)
        .collect();
    // Until it has as many as the others.
    held.push(upstreams.route());
    assert_eq!(held.pop().expect("pushed").index(), 1);
    held.push(upstreams.route());
    held.push(upstreams.route());
    assert_eq!(held[2].index(), 1);
    assert_ne!(held[3].index(), 1);
    drop(held);
    assert_eq!([0, 1, 2].map(|index| load(&upstreams, index)), [0; 3]);
}

#[test]
fn a_connection_takes_the_count_with_it() {
    let upstreams = unused(2);
    let mut route = upstreams.route();
    let lent = route.lend();
    assert_eq!(load(&upstreams, 0), 1);
    drop(lent);
    assert_eq!(load(&upstreams, 0), 0);
    let again = route.lend();
    assert_eq!(load(&upstreams, 0), 1);
    drop(again);
}

#[test]
fn who_is_set_aside_is_chosen_where_nobody_else_is_left() {
    let upstreams = unused(2);
    set_aside(&upstreams, 0);
    assert_eq!(upstreams.choose(0), Some(1));
    assert_eq!(upstreams.choose(bit(1)), Some(0));
    assert_eq!(upstreams.choose(bit(0) | bit(1)), None);
    set_aside(&upstreams, 1);
    let chosen = [upstreams.choose(0), upstreams.choose(0)];
    assert_eq!(chosen, [Some(1), Some(0)]);
}

#[test]
fn failures_in_a_row_set_aside_and_an_answer_between_them_counts() {
    let marks = Marks::new();
    for _ in 0..10 {
        assert_eq!(marks.failed(AFTER, &"refused"), None);
        assert_eq!(marks.failed(AFTER, &"refused"), None);
        marks.answered();
    }
    assert_eq!(marks.failed(AFTER, &"refused"), None);
    assert_eq!(marks.failed(AFTER, &"refused"), None);
    let change = marks.failed(AFTER, &"late");
    assert_eq!(change, Some(Change::Aside("late".to_owned())));
    // Told once; and no answer brings it back, only checks do.
    assert_eq!(marks.failed(AFTER, &"late"), None);
    marks.answered();
    assert!(marks.is_aside());
}

#[test]
fn checks_in_a_row_set_aside_and_bring_back() {
    let marks = Marks::new();
    assert_eq!(marks.check_passed(AFTER), None);
    assert_eq!(marks.check_failed(AFTER, &"503"), None);
    assert_eq!(marks.check_failed(AFTER, &"503"), None);
    assert_eq!(marks.check_passed(AFTER), None);
    assert_eq!(marks.check_failed(AFTER, &"503"), None);
    assert_eq!(marks.check_failed(AFTER, &"503"), None);
    let change = marks.check_failed(AFTER, &"503");
    assert_eq!(change, Some(Change::Aside("503".to_owned())));
    assert_eq!(marks.check_passed(AFTER), None);
    assert_eq!(marks.check_failed(AFTER, &"502"), None);
    assert_eq!(marks.check_passed(AFTER), None);
    let reason = |marks: &Marks| {
        marks
            .standing(UpstreamAddress::Unix("/a".into()), None)
            .reason
    };
    assert_eq!(reason(&marks).as_deref(), Some("502"));
    assert_eq!(marks.check_passed(AFTER), Some(Change::Back));
    assert_eq!(reason(&marks), None);
    // And begins anew with requests.
    assert_eq!(marks.failed(AFTER, &"refused"), None);
    assert!(!marks.is_aside());
}

#[test]
fn one_that_fails_its_very_first_check_was_never_well() {
    let marks = Marks::new();
    let change = marks.check_failed(AFTER, &"refused");
    assert_eq!(change, Some(Change::Aside("refused".to_owned())));
}

#[test]
fn what_is_not_its_failure_and_answers_of_any_status_do_not_mark() {
    let upstreams = unused(2);
    for _ in 0..10 {
        upstreams.failed(0, &ProxyError::ResponseTimeout);
        upstreams.failed(0, &ProxyError::Answer);
        upstreams.failed(0, &ProxyError::Roots);
        upstreams.answered(0, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(!upstreams.members[0].marks.is_aside());
}

#[test]
fn the_only_one_is_never_counted_nor_moved_on_from() {
    let upstreams = unused(1);
    let mut route = upstreams.route();
    assert!(route.lend().is_none());
    for _ in 0..10 {
        assert!(route.move_on(refused()).is_err());
    }
    assert!(!upstreams.members[0].marks.is_aside());
    assert!(route.may_repeat(true) && !route.may_repeat(false));
    assert_eq!(upstreams.standings()[0].requests, None);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_goes_on_until_somebody_takes_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let upstreams = among(directory.path(), &["a", "b", "c"]);
    let _c = UnixListener::bind(directory.path().join("c")).expect("bind");
    let mut route = upstreams.route();
    let connection = route.fresh().await.expect("the last one takes it");
    assert_eq!(route.index(), 2);
    assert_eq!([0, 1, 2].map(|index| load(&upstreams, index)), [0, 0, 1]);
    drop((route, connection));
    assert_eq!(load(&upstreams, 2), 0);
    // Nobody at all: each is tried once.
    let upstreams = among(directory.path(), &["a", "b"]);
    let mut route = upstreams.route();
    assert!(matches!(
        route.fresh_only().await,
        Err(ProxyError::Connect(_))
    ));
    assert_eq!(route.tried_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_time_to_connect_is_shared_by_those_who_are_worth_a_try() {
    let upstreams = unused(4);
    let all = upstreams.members[0].pool.settings().connect_timeout;
    let mut route = upstreams.route();
    assert_eq!(route.patience(), all / 3);
    tokio::time::advance(all / 3).await;
    route.move_on(ProxyError::ConnectTimeout).expect("another");
    assert_eq!(route.patience(), all * 2 / 9);
    // All of them together take no longer than one alone.
    tokio::time::advance(all).await;
    assert!(route.move_on(ProxyError::ConnectTimeout).is_err());

    let upstreams = unused(3);
    set_aside(&upstreams, 1);
    assert_eq!(upstreams.route().patience(), all / 2);
    set_aside(&upstreams, 2);
    assert_eq!(upstreams.route().patience(), all, "no hope but this one");
    set_aside(&upstreams, 0);
    assert_eq!(upstreams.route().patience(), all / 3);
}

#[test]
fn what_was_sent_goes_elsewhere_only_if_somebody_is_well_there() {
    let upstreams = unused(2);
    let mut route = upstreams.route();
    route.repeat(None);
    assert_eq!(route.index(), 1);
    assert!(route.kept().is_none(), "on a fresh connection only");
    // The first one may still take it, if the other does not.
    route.move_on(refused()).expect("the first");
    assert_eq!(route.index(), 0);
    assert!(route.move_on(refused()).is_err());

    let upstreams = unused(2);
    set_aside(&upstreams, 1);
    let mut route = upstreams.route();
    route.repeat(None);
    assert_eq!(route.index(), 0);
}

#[tokio::test(start_paused = true)]
async fn checks_notice_who_goes_and_who_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let upstreams = among(directory.path(), &["a", "b"]);
    let _a = UnixListener::bind(directory.path().join("a")).expect("bind");
    let mut watching = std::pin::pin!(upstreams.watch());
    let mut pass = async |time: Duration| {
        tokio::select! {
            () = &mut watching => unreachable!("it never ends"),
            () = tokio::time::sleep(time) => (),
        }
    };
    let is_aside = |index: usize| upstreams.members[index].marks.is_aside();
    let interval = upstreams.health.interval;
    pass(Duration::from_millis(1)).await;
    assert_eq!([is_aside(0), is_aside(1)], [false, true], "known at once");
    let path = directory.path().join("b");
    let b = UnixListener::bind(&path).expect("bind");
    // The second of two passed checks comes within a fifth of that.
    pass(interval * 8 / 10).await;
    assert!(is_aside(1));
    pass(interval * 17 / 10).await;
    assert!(!is_aside(1));
    drop(b);
    std::fs::remove_file(&path).expect("it is there");
    pass(interval * 15 / 10).await;
    assert!(!is_aside(1), "one failed check is none");
    pass(interval * 22 / 10).await;
    assert_eq!([is_aside(0), is_aside(1)], [false, true]);
    let told = upstreams.standings();
    assert!(told[0].reason.is_none() && told[1].reason.is_some());
    assert!(told[1].lasting < interval * 2 && told[0].lasting > interval * 6);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_checks_differ() {
    let upstreams = unused(2);
    let interval = upstreams.health.interval;
    let pauses: Vec<_> = (0..100).map(|_| upstreams.pause()).collect();
    assert!(pauses.iter().all(|pause| *pause >= interval * 8 / 10));
    assert!(pauses.iter().all(|pause| *pause <= interval * 12 / 10));
    assert!(pauses.iter().any(|pause| pause != &pauses[0]));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_gets_no_answer_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut upstreams = among(directory.path(), &["a", "b"]);
    upstreams.health.path = Some("/health".parse().expect("a path"));
    let _a = UnixListener::bind(directory.path().join("a")).expect("bind");
    let begun = Instant::now();
    let probed = upstreams.probe().await;
    assert!(matches!(probed[0].1, Err(Unwell::Late)), "{probed:?}");
    assert!(matches!(probed[1].1, Err(Unwell::Unreachable(_))));
    assert_eq!(begun.elapsed(), upstreams.health.timeout);
}

#[test]
fn exchanges_are_counted_by_upstream() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let upstreams = metrics::with_local_recorder(&recorder, || unused(2));
    upstreams.answered(0, StatusCode::OK);
    upstreams.answered(1, StatusCode::BAD_GATEWAY);
    upstreams.failed(1, &ProxyError::ResponseTimeout);
    set_aside(&upstreams, 1);
    let text = recorder.handle().render();
    for line in [
        r#"sidestream_upstream_exchanges_total{upstream="unix:/nowhere/a",outcome="2xx"} 1"#,
        r#"sidestream_upstream_exchanges_total{upstream="unix:/nowhere/b",outcome="5xx"} 1"#,
        r#"sidestream_upstream_exchanges_total{upstream="unix:/nowhere/b",outcome="late"} 1"#,
        r#"sidestream_upstream_exchanges_total{upstream="unix:/nowhere/b",outcome="unreachable"} 3"#,
        r#"sidestream_upstream_exchanges_total{upstream="unix:/nowhere/a",outcome="broken"} 0"#,
        r#"sidestream_upstream_up{upstream="unix:/nowhere/a"} 1"#,
        r#"sidestream_upstream_up{upstream="unix:/nowhere/b"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    // Of the only one there is nothing to compare with.
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || unused(1));
    assert_eq!(recorder.handle().render(), "");
}
