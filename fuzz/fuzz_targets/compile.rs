//! Any document is a filter or is refused, whatever is in it.
#![no_main]

use bson::Document;
use libfuzzer_sys::fuzz_target;
use sidestream_fuzz::{Maker, written};

fuzz_target!(|bytes: &[u8]| {
    compile(&written(bytes).unwrap_or_else(|| Maker::new(bytes).filter(4)));
});

fn compile(filter: &Document) {
    match sidestream::query::compile(filter) {
        Ok(predicate) => drop(predicate.necessary()),
        // It says what it is about.
        Err(unsupported) => assert!(!unsupported.to_string().is_empty()),
    }
}
