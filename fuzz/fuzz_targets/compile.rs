//! Any document is a filter or is refused, whatever is in it.
#![no_main]

use bson::Document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(filter) = Document::from_reader(bytes)
        && let Ok(predicate) = sidestream::query::compile(&filter)
    {
        let _necessary = predicate.necessary();
    }
});
