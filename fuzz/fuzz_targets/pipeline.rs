//! Any stages are a pipeline or are refused; what one makes of an event is a document with the event's own `_id`.
#![no_main]

use bson::{Document, RawDocumentBuf};
use libfuzzer_sys::fuzz_target;
use sidestream_fuzz::Maker;

fuzz_target!(|bytes: &[u8]| {
    let mut maker = Maker::new(bytes);
    let stages = maker.pipeline();
    let Ok(pipeline) = sidestream::query::compile_pipeline(&stages) else {
        return;
    };
    for _ in 0..2 {
        let event = RawDocumentBuf::try_from(&maker.event()).expect("BSON");
        let Ok(Some(made)) = pipeline.run(&event) else {
            continue;
        };
        let id = |document: &bson::RawDocument| format!("{:?}", document.get("_id"));
        assert_eq!(id(&made), id(&event), "{stages:?}");
        // What stands below is well formed: every length, every name.
        let whole = Document::try_from(made.as_ref().to_owned());
        assert!(
            whole.is_ok(),
            "{stages:?} makes of {event:?} what is no BSON: {whole:?}"
        );
    }
});
