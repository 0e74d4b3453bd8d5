//! Pipelines that change what goes out, fail on some events, or take long to compile.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn wanted(stages: Vec<Document>) -> Wanted {
    Wanted {
        namespace: namespace(),
        stages,
        notify: None,
        veil: Veil::default(),
        mode: JsonMode::Default,
        framing: Framing::Sse,
    }
}

fn reshaped(stages: Vec<Document>) -> Plan {
    let plan = Plan::choose(wanted(stages)).expect("a plan");
    assert!(plan.is_shared(), "{:?}", plan.served);
    plan
}

/// Returns the text of the only frame.
fn only(session: &mut Session) -> String {
    let frames = session.frames();
    assert_eq!(frames.len(), 1);
    String::from_utf8(frames[0].to_vec()).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_reshaped_frame_is_shared_within_its_group_and_never_beyond() {
    let hub = Hub::new(Tasks::new());
    let without_n = || reshaped(vec![doc! { "$unset": "fullDocument.n" }]);
    let without_third = || reshaped(vec![doc! { "$unset": "fullDocument.third" }]);
    let mut hidden = [
        join(&hub, without_n(), 0).await,
        join(&hub, without_n(), 0).await,
    ];
    let mut other = join(&hub, without_third(), 0).await;
    let mut whole = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(7)]).await;
    settled(&hub).await;
    let [first, second] = hidden.each_mut().map(Session::frames);
    assert_eq!(
        first[0].as_ptr(),
        second[0].as_ptr(),
        "one group, one rendering"
    );
    let text = std::str::from_utf8(&first[0]).expect("text");
    assert!(text.contains(r#""fullDocument": {"third": 1}"#), "{text}");
    let (other, whole) = (only(&mut other), only(&mut whole));
    assert!(other.contains(r#""fullDocument": {"n": 7}"#), "{other}");
    assert!(
        whole.contains(r#""fullDocument": {"n": 7, "third": 1}"#),
        "{whole}"
    );
}

#[test]
fn an_event_on_which_a_pipeline_fails_is_counted_and_hurts_no_other_group() {
    counting(async |handle| {
        let hub = Hub::new(Tasks::new());
        // Every third event divides by nothing.
        let share = doc! { "fullDocument.share": { "$divide": [1, "$fullDocument.third"] } };
        let dividing = reshaped(vec![doc! { "$addFields": share }]);
        let mut failing = join(&hub, dividing, 0).await;
        let mut whole = join(&hub, plan(None), 0).await;
        hub.deliver((1..=9).map(event).collect()).await;
        settled(&hub).await;
        assert_eq!(failing.seconds(), [1, 2, 4, 5, 7, 8]);
        assert_eq!(failing.outlet.ended(), None, "the stream goes on");
        assert_eq!(whole.seconds(), (1..=9).collect::<Vec<_>>());
        let text = handle.render();
        assert!(
            text.contains("sidestream_events_skipped_total 3\n"),
            "{text}"
        );
    });
}

/// Polls once: whoever compiles on the spot is ready then.
async fn is_held_up(stages: Vec<Document>) -> bool {
    let tasks = Tasks::new();
    let mut planning = pin!(Plan::choose_aside(wanted(stages), &tasks));
    let mut once = Context::from_waker(Waker::noop());
    match planning.as_mut().poll(&mut once) {
        Poll::Ready(plan) => {
            plan.expect("a plan");
            true
        }
        Poll::Pending => {
            assert!(planning.await.expect("a plan").is_shared());
            false
        }
    }
}

#[tokio::test]
async fn a_long_pipeline_does_not_hold_the_reactor_while_it_compiles() {
    let names = |count: usize| (0..count).map(|n| format!("name{n}")).collect::<Vec<_>>();
    let named = |count| vec![doc! { "$match": { "fullDocument.name": { "$in": names(count) } } }];
    assert!(
        is_held_up(named(3)).await,
        "a short one is worth no other thread"
    );
    assert!(!is_held_up(named(10_000)).await);
}
