//! What is counted, and for how long.

use std::time::Duration;

use super::{Guard, GuardSettings, household};

fn guard(per_address: usize, per_user: usize) -> Guard {
    Guard::new(&GuardSettings {
        per_address,
        per_user,
        window: Duration::from_secs(10),
    })
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_from_an_address_are_too_many_for_the_window() {
    let guard = guard(2, 0);
    let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    guard.address_failed(here);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(!guard.refuses_address(here));
    guard.address_failed(here);
    assert!(guard.refuses_address(here));
    assert!(!guard.refuses_address(there));
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(!guard.refuses_address(here), "the first is ten seconds old");
    guard.address_failed(here);
    assert!(guard.refuses_address(here), "the second is not");
}

#[tokio::test(start_paused = true)]
async fn failures_of_a_name_count_wherever_they_come_from() {
    let guard = guard(0, 1);
    guard.user_failed("u");
    assert!(guard.refuses_user("u"));
    assert!(!guard.refuses_user("v"));
    assert!(!guard.refuses_address("192.0.2.1".parse().unwrap()));
}

#[test]
fn an_address_stands_for_its_household() {
    #[track_caller]
    fn check(address: &str, expected: &str) {
        let address = address.parse().expect("an address");
        assert_eq!(household(address).to_string(), expected);
    }
    check("192.0.2.7", "192.0.2.7");
    check("::ffff:192.0.2.7", "192.0.2.7");
    check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    check("2001:db8:1:2::1", "2001:db8:1:2::");
    check("2001:db8:1:3::1", "2001:db8:1:3::");
}
