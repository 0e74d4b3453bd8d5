//! How RESTHeart's metadata is written, and how values get into it.
//!
//! [`escape`]: operators and dots in keys, which MongoDB once could not store. [`template`]: `{"$var": …}` in a
//! document, replaced by values. [`values`]: `@user.x` and the like in the filters of permissions. [`shell`]: the
//! lenient JSON in which clients write `avars`. What is put in is always a value: it is never parsed as text, and never
//! becomes an operator. Where any of this is used is not known here.
//!
//! Source: `restheart-compat.md` sections 1.3, 2.3, 2.5 and 9.5.

pub mod escape;
mod literal;
pub mod mounts;
pub mod shell;
pub mod template;
pub mod values;

/// How deep documents that are walked here may be nested: as deep as MongoDB stores them.
pub const DEPTH_MAX: usize = 100;

/// Whether `value` is nested no deeper than [`DEPTH_MAX`]: asked once, when it comes in; what walks it later relies on it.
pub fn is_shallow(value: &bson::Bson) -> bool {
    is_within(value, DEPTH_MAX)
}

/// Whether `value` has no more than `depth` documents and arrays around any value in it.
pub fn is_within(value: &bson::Bson, depth: usize) -> bool {
    let mut level = vec![value];
    for _ in 0..=depth {
        let mut next = Vec::new();
        for value in level {
            match value {
                bson::Bson::Document(document) => next.extend(document.values()),
                bson::Bson::Array(values) => next.extend(values),
                _ => (),
            }
        }
        if next.is_empty() {
            return true;
        }
        level = next;
    }
    false
}
