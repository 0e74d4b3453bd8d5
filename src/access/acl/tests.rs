//! The order of values, the veto, and the variable made of a permission.

use bson::{Bson, doc, oid::ObjectId};
use http::{HeaderMap, Method};

use super::{is_vetoed, order};
use crate::access::MongoPermissions;
use crate::access::request::RequestHead;

#[test]
fn values_sort_as_mongodb_sorts_them() {
    let ascending: Vec<Bson> = vec![
        Bson::MinKey,
        Bson::Null,
        Bson::Double(f64::NEG_INFINITY),
        Bson::Int32(-5),
        Bson::Double(0.5),
        Bson::Int64(1),
        Bson::Double(1e300),
        Bson::String("10".to_owned()),
        Bson::String("9".to_owned()),
        Bson::Document(doc! { "a": 1 }),
        Bson::Document(doc! { "a": 1, "b": 1 }),
        Bson::Document(doc! { "a": "x" }),
        Bson::Array(vec![]),
        Bson::ObjectId(ObjectId::from_bytes([0; 12])),
        Bson::ObjectId(ObjectId::from_bytes([1; 12])),
        Bson::Boolean(false),
        Bson::Boolean(true),
        Bson::MaxKey,
    ];
    for (index, one) in ascending.iter().enumerate() {
        for (other_index, other) in ascending.iter().enumerate() {
            assert_eq!(
                order::compare(one, other),
                index.cmp(&other_index),
                "{one} and {other}"
            );
        }
    }
    assert!(order::compare(&Bson::Int32(1), &Bson::Double(1.0)).is_eq());
}

#[track_caller]
fn check_veto(filter: &str, expected: bool) {
    let head = RequestHead {
        method: Method::GET,
        path: "/c".to_owned(),
        raw_path: "/c".to_owned(),
        query: vec![
            ("filter".to_owned(), "{}".to_owned()),
            ("filter".to_owned(), filter.to_owned()),
        ],
        query_string: String::new(),
        headers: HeaderMap::new(),
        peer: ([127, 0, 0, 1], 1).into(),
        local: ([127, 0, 0, 1], 2).into(),
        scheme: "http",
    };
    assert_eq!(is_vetoed(&head), expected, "{filter}");
}

#[test]
fn a_filter_with_javascript_is_vetoed_however_it_is_written() {
    check_veto(r#"{"$where":"1"}"#, true);
    check_veto(r#"{"a":[{"b":{"$where":"1"}}]}"#, true);
    check_veto(r#"{"\u0024where":"1"}"#, true);
    check_veto("{$where:'1'}", true);
    check_veto("{'$where':'1'}", true);
    check_veto(r#"{'\u0024where':'1'}"#, true);
    check_veto(
        &format!("{}{}", r#"{"a":"#.repeat(500), r#"{"$where":1}"#),
        true,
    );
    check_veto(r#"{"_$where":"1"}"#, false);
    check_veto(r#"{"a":"$where"}"#, false);
    check_veto("{'a':1}", false);
    check_veto("{", false);
}

/// Source: golden `variables`, var-permissions-whole.
#[test]
fn the_variable_has_resthearts_order() {
    let permissions = MongoPermissions {
        allow_bulk_patch: true,
        write_filter: Some(doc! { "w": "@user.team.role" }),
        ..MongoPermissions::default()
    };
    let names: Vec<String> = permissions.variable(Clone::clone).keys().cloned().collect();
    let expected = [
        "allowManagementRequests",
        "allowWriteMode",
        "allowBulkPatch",
        "writeFilter",
        "allowBulkDelete",
        "readFilter",
    ];
    assert_eq!(names, expected);
}
