//! A filter is asked of an event, made or of any bytes; an index that knows the filter must name it where it matches.
#![no_main]

use bson::RawDocumentBuf;
use libfuzzer_sys::fuzz_target;
use sidestream::engine::index::Index;
use sidestream_fuzz::{Maker, written};

fuzz_target!(|bytes: &[u8]| {
    let Some((way, bytes)) = bytes.split_first() else {
        return;
    };
    let mut maker = Maker::new(bytes);
    let filter = maker.filter(3);
    let Ok(predicate) = sidestream::query::compile(&filter) else {
        return;
    };
    let event = match way % 4 {
        0 => broken(bytes),
        _ => Some(RawDocumentBuf::try_from(&maker.event()).expect("BSON")),
    };
    let Some(event) = event.or_else(|| RawDocumentBuf::try_from(&written(bytes)?).ok()) else {
        return;
    };
    let mut index = Index::new();
    index.insert(1_u8, &predicate.necessary());
    let mut candidates = Vec::new();
    index.candidates(&event, &mut candidates);
    let is_named = candidates == [1];
    assert!(
        is_named || !predicate.matches(&event),
        "{filter} matches {event:?} but is no candidate"
    );
});

/// A document whose length is right, and nothing else for certain.
fn broken(bytes: &[u8]) -> Option<RawDocumentBuf> {
    let mut event = vec![0; 4];
    event.extend_from_slice(bytes);
    event.push(0);
    let len = i32::try_from(event.len()).ok()?;
    event[..4].copy_from_slice(&len.to_le_bytes());
    RawDocumentBuf::from_bytes(event).ok()
}
