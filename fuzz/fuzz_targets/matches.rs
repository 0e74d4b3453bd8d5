//! A filter is asked of any bytes, and an index that knows it looks them up.
#![no_main]

use bson::{Document, RawDocumentBuf};
use libfuzzer_sys::fuzz_target;
use sidestream::engine::index::Index;

fuzz_target!(|bytes: &[u8]| {
    // The filter is a document, and what is behind it becomes the event.
    let mut rest = bytes;
    let Ok(filter) = Document::from_reader(&mut rest) else {
        return;
    };
    let Ok(predicate) = sidestream::query::compile(&filter) else {
        return;
    };
    let mut event = vec![0; 4];
    event.extend_from_slice(rest);
    event.push(0);
    let len = event.len() as i32;
    event[..4].copy_from_slice(&len.to_le_bytes());
    let Ok(event) = RawDocumentBuf::from_bytes(event) else {
        return;
    };
    let mut index = Index::new();
    index.insert(1_u8, &predicate.necessary());
    let mut candidates = Vec::new();
    index.candidates(&event, &mut candidates);
    let _matches = predicate.matches(&event);
});
