//! Each bound reached, and that nobody else is refused for it.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const WIDE: PlacesSettings = PlacesSettings {
    sessions_max: 100,
    per_user_max: 100,
    per_address_max: 100,
    per_feed_max: 100,
};

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

#[track_caller]
fn check_refused(taken: Result<Seat, Refusal>, status: u16, limit: &str) {
    let refusal = taken.expect_err("refused");
    assert_eq!(refusal.status().as_u16(), status, "{refusal:?}");
    let told = format!("limits.{limit} is reached");
    match &refusal {
        Refusal::TooMany { reason } | Refusal::Unavailable { reason } => {
            assert!(reason.ends_with(&told), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sessions_in_all() {
    let places = Places::new(PlacesSettings {
        sessions_max: 1,
        ..WIDE
    });
    let seat = places.take_for(None, address(1)).expect("the first");
    check_refused(places.take_for(None, address(2)), 503, "sessions");
    drop(seat);
    places
        .take_for(None, address(2))
        .expect("it was given back");
}

#[test]
fn sessions_of_one_user() {
    let places = Places::new(PlacesSettings {
        per_user_max: 1,
        ..WIDE
    });
    let user = |name: &str| Some(Arc::from(name));
    let _seat = places.take_for(user("a"), address(1)).expect("the first");
    let second = places.take_for(user("a"), address(2));
    check_refused(second, 429, "sessions_per_user");
    let _other = places.take_for(user("b"), address(1)).expect("another's");
    let strangers: Vec<_> = (0..5).map(|_| places.take_for(None, address(1))).collect();
    assert!(strangers.iter().all(Result::is_ok), "they have no name");
    assert_eq!(places.usage()[0].used, 7, "who was refused left nothing");
}

#[test]
fn sessions_from_one_address() {
    let places = Places::new(PlacesSettings {
        per_address_max: 1,
        ..WIDE
    });
    let _seat = places.take_for(None, address(1)).expect("the first");
    let second = places.take_for(Some(Arc::from("a")), address(1));
    check_refused(second, 429, "sessions_per_address");
    let _other = places.take_for(None, address(2)).expect("another's");
    assert_eq!(places.usage()[0].used, 2, "who was refused left nothing");
}

#[test]
fn sessions_of_one_feed() {
    let places = Places::new(PlacesSettings {
        per_feed_max: 1,
        ..WIDE
    });
    let seat = || places.take_for(None, address(1)).expect("a place");
    let (one, two) = (Scope::Database("one".into()), Scope::Database("two".into()));
    let _seat = places.on(&one, seat()).expect("the first");
    check_refused(places.on(&one, seat()), 503, "subscriptions_per_feed");
    let _other = places.on(&two, seat()).expect("another's");
    assert_eq!(places.usage()[0].used, 2, "who was refused left nothing");
}
