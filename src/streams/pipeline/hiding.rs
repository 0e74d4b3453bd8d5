//! Hidden fields, taken away before a definition's own stages see the event.
//!
//! A veil over what goes out is not enough: a stage may copy a hidden field under another name, and a filter or
//! `notify_when` may ask what it holds, so that whoever may choose a variable finds out by guessing. So where a definition
//! has any of these, the fields are gone before.

use bson::{Bson, Document, doc};

use crate::wire::Veil;

/// Returns the stages that take away what the veil hides of a document.
pub(super) fn stages(veil: &Veil) -> Vec<Document> {
    let mut stages = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    if let Some(shown) = &veil.shown_paths {
        let kept = KEPT.iter().map(|name| ((*name).to_owned(), Bson::Int32(1)));
        let mut kept: Document = kept.collect();
        // The key is shown with its `_id`, as in a frame.
        kept.insert("documentKey._id", 1);
        for path in outermost(shown) {
            kept.insert(format!("fullDocument.{path}"), 1);
            if path != "_id" {
                kept.insert(format!("documentKey.{path}"), 1);
            }
        }
        stages.push(doc! { "$project": kept });
    }
    for path in outermost(&veil.hidden_paths) {
        gone.push(format!("fullDocument.{path}"));
        gone.push(format!("documentKey.{path}"));
    }
    if !gone.is_empty() {
        stages.push(doc! { "$unset": gone });
    }
    stages
}

/// Whether this field of the event may be read otherwise than by its name in the frame, where the veil lies over it.
pub(super) fn may_read(field: &str, stages: &[Document], notify: Option<&Document>) -> bool {
    let reads =
        |text: &str| text.contains(field) || text.contains("$$ROOT") || text.contains("$$CURRENT");
    let mut left: Vec<&Document> = stages.iter().chain(notify).collect();
    while let Some(document) = left.pop() {
        for (key, value) in document {
            // Its conditions are asked at every level, those inside the field included.
            if key == "$redact" || reads(key) {
                return true;
            }
            let mut values = vec![value];
            while let Some(value) = values.pop() {
                match value {
                    Bson::String(text) if reads(text) => return true,
                    Bson::Document(inner) => left.push(inner),
                    Bson::Array(elements) => values.extend(elements),
                    _ => (),
                }
            }
        }
    }
    false
}

/// The paths without those inside another one, which MongoDB refuses beside it.
fn outermost(paths: &[String]) -> Vec<&String> {
    let is_inside = |path: &str, outer: &str| {
        path.strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    let mut outermost: Vec<&String> = Vec::new();
    for path in paths {
        let is_covered = paths.iter().any(|outer| is_inside(path, outer));
        if !is_covered && !outermost.contains(&path) {
            outermost.push(path);
        }
    }
    outermost
}

/// What an event has beside the document and its key. Source: MongoDB manual, *Change Events*.
const KEPT: [&str; 12] = [
    "_id",
    "operationType",
    "clusterTime",
    "wallTime",
    "ns",
    "to",
    "updateDescription",
    "collectionUUID",
    "operationDescription",
    "nsType",
    "lsid",
    "txnNumber",
];
