//! Quotas by holder, and whom an address stands for.

use super::{Quota, household};

#[test]
fn each_holder_has_his_own_and_gives_back() {
    let quota = Quota::new(2);
    let one = quota.take(&"a").expect("the first");
    let two = quota.take(&"a").expect("the second");
    assert!(quota.take(&"a").is_none());
    let other = quota.take(&"b").expect("another's first");
    assert_eq!(quota.most_taken(), 2);
    drop(one);
    let three = quota.take(&"a").expect("one was given back");
    assert!(quota.take(&"a").is_none());
    drop((two, three, other));
    assert_eq!(quota.most_taken(), 0);
    assert!(quota.lock().is_empty(), "nobody is remembered for nothing");
}

#[test]
fn none_means_none() {
    assert!(Quota::new(0).take(&1).is_none());
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
