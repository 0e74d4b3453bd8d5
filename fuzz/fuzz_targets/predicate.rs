//! Any text is a permission's predicate or is refused; a request is judged by it, and judged anew to the same.
//!
//! The text, an empty line, and a request: its line, and its headers.
#![no_main]

use std::sync::Arc;

use bson::doc;
use libfuzzer_sys::fuzz_target;
use sidestream::access::{Access, AccessSettings};
use sidestream_fuzz::access::{self, NoUsers};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (predicate, request) = text.split_once("\n\n").unwrap_or((&text, "GET /a"));
    let Some(head) = access::head(request) else {
        return;
    };
    let settings = AccessSettings {
        users: None,
        configured_users: vec![
            doc! { "userid": "bob", "password": "pw", "roles": ["user"], "n": 3, "teams": ["a", "b"], "o": { "x": true } },
        ],
        ..AccessSettings::default()
    };
    let access = Access::new(settings, Arc::new(NoUsers));
    let roles = ["$unauthenticated", "user"];
    access
        .replace_permissions([doc! { "_id": 1, "predicate": predicate, "roles": roles.to_vec() }]);
    if let Ok(grant) = access::decide(&access, head) {
        // `at_large`, by which sessions of one class are judged, and the predicate itself say the same.
        assert_eq!(
            access.recheck(&grant),
            None,
            "{predicate} lets in and then not"
        );
    }
});
