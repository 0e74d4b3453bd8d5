//! What depends on a task that panics comes to an end with it, and nothing else does.

use std::io;

use super::*;
use crate::delivery::Direct;

/// A socket that should never have been.
struct Mine;

impl Direct for Mine {
    fn try_write(&self, _: &[u8]) -> io::Result<usize> {
        panic!("as the test wants");
    }
}

fn other(second: u32) -> Arc<Event> {
    event_of(
        second,
        doc! {
            "operationType": "insert", "ns": { "db": "d", "coll": "other" },
            "fullDocument": { "n": 1 },
        },
    )
}

/// Somebody else holds every outbox too, as the table of live sessions does.
#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_ends_the_sessions_of_its_collection_and_no_others() {
    let hub = Hub::new(Tasks::new());
    let (mut held, mut outlets, mut subscriptions) = (Vec::new(), Vec::new(), Vec::new());
    for third in [None, Some(1), None] {
        let (outbox, outlet) = delivery::channel(OUTBOX_BYTES);
        held.push(outbox.clone());
        let filter = third.map(|third: i32| doc! { "fullDocument.third": third });
        subscriptions.push(hub.join(plan(filter), from(0), outbox).await);
        outlets.push(outlet);
    }
    let elsewhere = Wanted {
        namespace: Namespace::new("d", "other"),
        ..(*plan(None).wanted).clone()
    };
    let elsewhere = Plan::choose(elsewhere).expect("a plan");
    let mut neighbour = join(&hub, elsewhere, 0).await;
    hub.deliver(vec![event(1), other(2)]).await;
    settled(&hub).await;
    outlets[0].lend(Arc::new(Mine));
    let mut taken = Vec::new();
    for outlet in &mut outlets {
        // Until nothing waits, so that the next is written at once.
        outlet.take_ready(&mut taken, usize::MAX);
        let nothing = std::pin::pin!(outlet.ready(&mut taken, 1));
        assert!(futures_util::poll!(nothing).is_pending());
    }
    hub.deliver(vec![event(4)]).await;
    idle().await;
    for outbox in &held {
        assert_eq!(outbox.ended(), Some(Ending::OurFault));
    }
    hub.deliver(vec![other(5)]).await;
    idle().await;
    check_gone(&mut neighbour, &[2, 5], None);
    // The collection has another worker as soon as somebody asks for one.
    let mut again = join(&hub, plan(None), 4).await;
    hub.deliver(vec![event(6)]).await;
    settled(&hub).await;
    check_gone(&mut again, &[6], None);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_breaks_down_ends_the_sessions_of_its_scope_behind_what_it_brought() {
    let hub = Hub::new(Tasks::new());
    let mut session = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(1)]).await;
    hub.broken(&Scope::Database("e".into()));
    hub.deliver(vec![event(2)]).await;
    settled(&hub).await;
    check_gone(&mut session, &[1, 2], None);
    hub.broken(&Scope::Database("d".into()));
    idle().await;
    assert_eq!(session.outlet.ended(), Some(Ending::OurFault));
    let mut again = join(&hub, plan(None), 2).await;
    hub.deliver(vec![event(3)]).await;
    settled(&hub).await;
    check_gone(&mut again, &[3], None);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_away_is_told_behind_what_it_brought_and_flushed() {
    let hub = Hub::new(Tasks::new());
    let mut session = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(1)]).await;
    hub.away(&Scope::Database("d".into())).await;
    settled(&hub).await;
    check_gone(&mut session, &[1], Some(Ending::FeedAway));
}
