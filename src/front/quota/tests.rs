//! Quotas by holder.

use super::Quota;

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
