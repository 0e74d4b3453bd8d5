//! Clients that come back to a pipeline that MongoDB evaluates share a cursor.

use std::time::Instant;

use futures_util::future::join_all;

use super::*;

/// As many as come back at once: more than there may be cursors.
const CROWD: usize = 24;
const BEFORE: i32 = 240;
const AFTER: i32 = 400;

/// A session, and the number that is due in it.
struct Back {
    session: Session,
    due: i32,
}

impl Back {
    /// Reads until it has got everything before this number.
    async fn read_to(&mut self, end: i32) {
        self.session.expect(self.due..end).await;
        self.due = end;
    }
}

/// All of them come back at once, each with another id.
async fn come_back(house: &House, tokens: &[ResumeToken]) -> Vec<Back> {
    let coming = (0..CROWD).map(|index| async move {
        let last = index * tokens.len() / CROWD;
        let session = house.subscribe(dedicated(), Some(tokens[last].clone()));
        Back {
            session: session
                .await
                .expect("history reaches back, and a cursor is left"),
            due: last as i32 + 1,
        }
    });
    join_all(coming).await
}

/// Reads the ids of these events, the first ones of a session.
async fn ids(session: &mut Session, count: i32) -> Vec<ResumeToken> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(session.token().await);
    }
    ids
}

/// Waits until there are so many dedicated cursors. Nobody is told of that.
async fn cursors(house: &House, count: usize) {
    let until = Instant::now() + WAIT;
    while house.engine.dedicated_cursors() != count {
        let there = house.engine.dedicated_cursors();
        assert!(Instant::now() < until, "there are still {there} cursors");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn insert(house: &House, numbers: std::ops::Range<i32>) {
    for number in numbers {
        house.insert(number).await;
    }
}

#[tokio::test]
async fn who_comes_back_joins_the_cursor_that_is_there_and_misses_nothing() {
    let house = House::open(mongo_uri().await, "joins", RING_BYTES).await;
    let mut live = house
        .subscribe(dedicated(), None)
        .await
        .expect("subscribed");
    insert(&house, 0..BEFORE).await;
    let tokens = ids(&mut live, BEFORE).await;
    let all_along = async {
        let mut crowd = come_back(&house, &tokens).await;
        // While writes go on.
        join_all(crowd.iter_mut().map(|back| back.read_to(AFTER))).await;
        crowd
    };
    let (mut crowd, ()) = tokio::join!(all_along, insert(&house, BEFORE..AFTER));
    live.expect(BEFORE..AFTER).await;
    cursors(&house, 1).await;
    // Nobody has lost his place on the way into the one that is left.
    insert(&house, AFTER..AFTER + 10).await;
    live.expect(AFTER..AFTER + 10).await;
    join_all(crowd.iter_mut().map(|back| back.read_to(AFTER + 10))).await;
    assert_eq!(house.engine.dedicated_cursors(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_crowd_that_comes_back_to_no_cursor_has_one_soon() {
    let house = House::open(mongo_uri().await, "crowd", RING_BYTES).await;
    let mut first = house
        .subscribe(dedicated(), None)
        .await
        .expect("subscribed");
    insert(&house, 0..BEFORE).await;
    let tokens = ids(&mut first, BEFORE).await;
    drop(first);
    cursors(&house, 0).await;
    let mut crowd = come_back(&house, &tokens).await;
    join_all(crowd.iter_mut().map(|back| back.read_to(BEFORE))).await;
    cursors(&house, 1).await;
    // It is the one of who begins now, too.
    let mut fresh = house
        .subscribe(dedicated(), None)
        .await
        .expect("subscribed");
    insert(&house, BEFORE..AFTER).await;
    fresh.expect(BEFORE..AFTER).await;
    join_all(crowd.iter_mut().map(|back| back.read_to(AFTER))).await;
    assert_eq!(house.engine.dedicated_cursors(), 1);
    // And it ends with the last of them.
    drop((crowd, fresh));
    cursors(&house, 0).await;
    house.close().await;
}

#[tokio::test]
async fn an_id_that_the_cursor_has_not_passed_costs_no_other() {
    let house = House::open(mongo_uri().await, "fits", RING_BYTES).await;
    let mut live = house
        .subscribe(dedicated(), None)
        .await
        .expect("subscribed");
    insert(&house, 0..3).await;
    let tokens = ids(&mut live, 3).await;
    let back = house.subscribe(dedicated(), Some(tokens[2].clone())).await;
    let mut back = back.expect("it has this id");
    assert_eq!(house.engine.dedicated_cursors(), 1);
    insert(&house, 3..6).await;
    live.expect(3..6).await;
    back.expect(3..6).await;
    house.close().await;
}

/// The server takes the command, and says nothing.
#[tokio::test]
async fn a_cursor_whose_opening_is_not_answered_is_not_waited_for() {
    const BLOCKED: Duration = Duration::from_secs(90);
    let set = ReplicaSet::start().await;
    let house = House::open(&named(&set), "silent", RING_BYTES).await;
    let block = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": {
            "failCommands": ["aggregate"], "appName": "sidestream-feed",
            "blockConnection": true, "blockTimeMS": i64::try_from(BLOCKED.as_millis()).expect("a small number"),
        },
    };
    let admin = client_of(&set.direct_uri()).await.database("admin");
    admin
        .run_command(block)
        .await
        .expect("fail points are allowed");
    let begun = Instant::now();
    let refused = house.subscribe(dedicated(), None).await.err();
    let no_answer = matches!(refused, Some(Refused::Unavailable(MongoError::NoAnswer)));
    assert!(no_answer, "{refused:?}");
    assert!(begun.elapsed() < BLOCKED / 2, "{:?}", begun.elapsed());
    assert_eq!(
        house.engine.dedicated_cursors(),
        0,
        "its place is free again"
    );
    let mut again = house
        .subscribe(dedicated(), None)
        .await
        .expect("subscribed");
    house.insert(0).await;
    again.expect(0..1).await;
    house.close().await;
}
