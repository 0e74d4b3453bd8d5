//! The catalog: what replaces what, and when it held.

use super::*;

fn at(time: u32) -> Timestamp {
    Timestamp { time, increment: 0 }
}

fn properties(collection: &str, uri: &str) -> Document {
    doc! { "_id": format!("_properties.{collection}"), "streams": [{ "uri": uri, "stages": [] }] }
}

fn stream(uri: &str) -> StaticStream {
    StaticStream {
        database: "d".to_owned(),
        collection: "c".to_owned(),
        uri: uri.to_owned(),
        stages: Vec::new(),
        notify_when: None,
    }
}

#[test]
fn what_is_replaced_is_found() {
    let catalog = Catalog::new([]);
    assert_eq!(catalog.find("d", "c"), None);
    let change = catalog
        .replace("d", "c", Some(&properties("c", "s")), at(1))
        .expect("a change");
    assert_eq!(change.before, None);
    let entry = catalog.find("d", "c").expect("an entry");
    assert_eq!(entry, change.after);
    entry.definitions.find("s").expect("a stream");
    assert_eq!(catalog.find("other", "c"), None);
    assert_eq!(catalog.collections("d"), ["c"]);
}

#[test]
fn what_is_older_puts_nothing_back() {
    let catalog = Catalog::new([]);
    catalog
        .replace("d", "c", Some(&properties("c", "new")), at(2))
        .expect("a change");
    assert!(
        catalog
            .replace("d", "c", Some(&properties("c", "old")), at(1))
            .is_none()
    );
    assert!(catalog.replace("d", "c", None, at(1)).is_none());
    catalog
        .find("d", "c")
        .expect("an entry")
        .definitions
        .find("new")
        .expect("a stream");
    catalog
        .replace("d", "c", Some(&properties("c", "same")), at(2))
        .expect("the same time is not older");
}

#[test]
fn a_removed_collection_does_not_exist_and_is_remembered() {
    let catalog = Catalog::new([]);
    catalog
        .replace("d", "c", Some(&properties("c", "s")), at(1))
        .expect("a change");
    let change = catalog.replace("d", "c", None, at(3)).expect("a change");
    assert!(change.before.expect("it was there").exists);
    assert!(!change.after.exists);
    assert_eq!(catalog.collections("d"), Vec::<String>::new());
    assert!(
        catalog
            .replace("d", "c", Some(&properties("c", "s")), at(2))
            .is_none()
    );
}

#[test]
fn a_whole_database_is_replaced_by_what_it_holds() {
    let catalog = Catalog::new([]);
    for (name, time) in [("gone", 1), ("kept", 1), ("newer", 9)] {
        catalog
            .replace("d", name, Some(&properties(name, "old")), at(time))
            .expect("a change");
    }
    let documents = [
        doc! { "_id": "_properties" },
        properties("kept", "new"),
        properties("fresh", "new"),
        properties("newer", "new"),
    ];
    let mut changed: Vec<String> = catalog
        .replace_database("d", &documents, at(5))
        .into_iter()
        .map(|change| change.collection)
        .collect();
    changed.sort_unstable();
    assert_eq!(changed, ["fresh", "gone", "kept"]);
    assert_eq!(catalog.collections("d"), ["fresh", "kept", "newer"]);
    catalog
        .find("d", "newer")
        .expect("an entry")
        .definitions
        .find("old")
        .expect("what is newer stays");
}

#[test]
fn streams_of_the_configuration_stand_behind_those_of_the_metadata() {
    let catalog = Catalog::new([stream("a"), stream("b")]);
    assert_eq!(catalog.collections("d"), ["c"]);
    catalog
        .find("d", "c")
        .expect("an entry")
        .definitions
        .find("a")
        .expect("a stream");
    let metadata = doc! { "streams": [{ "uri": "a", "stages": [{ "$match": {} }] }] };
    catalog
        .replace("d", "c", Some(&metadata), at(1))
        .expect("a change");
    let entry = catalog.find("d", "c").expect("an entry");
    assert_eq!(
        entry.definitions.find("a").expect("a stream").stages.len(),
        1
    );
    entry.definitions.find("b").expect("a stream");
    let change = catalog.replace("d", "c", None, at(2)).expect("a change");
    assert!(change.after.exists);
}
