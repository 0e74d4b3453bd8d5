//! Dotted paths through documents and arrays.
//!
//! `a.b` visits `b` of the document `a`; where `a` is an array it visits `b` of every document in it. A segment of
//! digits also names a place in an array. Arrays directly inside arrays are entered only by such a place. A path that
//! leads nowhere visits "missing" once, except inside an array, where only documents can be missing something.

use std::fmt;
use std::sync::Arc;

use bson::spec::ElementType;

use crate::query::value::{Doc, Value};

/// A dotted path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Path {
    segments: Arc<[Segment]>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Segment {
    name: Box<[u8]>,
    is_number: bool,
}

/// What happens to an array at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Its elements are visited, then the array itself.
    Entered,
    /// Only the array itself.
    Whole,
}

/// Sees a visited value (`None`: missing) and says whether to stop.
pub(crate) type Visitor<'v, 'd> = dyn FnMut(Option<Value<'d>>) -> bool + 'v;

impl Path {
    /// Parses a dotted path; `None` where a segment is empty or there are too many of them, or too many numbers.
    pub(crate) fn parse(dotted: &[u8]) -> Option<Self> {
        let segments: Arc<[Segment]> = dotted
            .split(|byte| *byte == b'.')
            .map(|name| Segment {
                name: name.into(),
                is_number: name.iter().all(u8::is_ascii_digit),
            })
            .collect();
        let numbers = segments.iter().filter(|segment| segment.is_number);
        let fits = segments.len() <= SEGMENTS_MAX
            && numbers.count() <= NUMBERS_MAX
            && segments.iter().all(|segment| !segment.name.is_empty());
        fits.then_some(Self { segments })
    }

    /// Says whether this is the path of one segment with that name.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(&*self.segments, [only] if *only.name == *name.as_bytes())
    }

    /// Says whether that is the name of the first segment.
    pub(crate) fn begins_with(&self, name: &str) -> bool {
        let first = self.segments.first();
        first.is_some_and(|first| *first.name == *name.as_bytes())
    }

    /// Says whether a segment could name a place in an array.
    pub(crate) fn has_numbers(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_number)
    }

    /// Returns the path to what `inner` leads to in the documents of the array that stands here; `None` where it could
    /// lead elsewhere too, by numbers.
    pub(crate) fn of_elements(&self, inner: &Self) -> Option<Self> {
        if self.has_numbers() || inner.segments.first()?.is_number {
            return None;
        }
        let segments = self.segments.iter().chain(&*inner.segments).cloned();
        Some(Self {
            segments: segments.collect(),
        })
    }

    /// Visits what the path leads to until the visitor says stop; returns whether it did.
    pub(crate) fn visit<'d>(
        &self,
        document: Doc<'d>,
        leaf: Leaf,
        visitor: &mut Visitor<'_, 'd>,
    ) -> bool {
        visit_document(document, &self.segments, leaf, visitor)
    }
}

fn visit_document<'d>(
    document: Doc<'d>,
    segments: &[Segment],
    leaf: Leaf,
    visitor: &mut Visitor<'_, 'd>,
) -> bool {
    let mut document = document;
    let mut segments = segments;
    while let Some((segment, rest)) = segments.split_first() {
        let Some(value) = document.get(&segment.name) else {
            break;
        };
        match (value.kind, rest.is_empty()) {
            (ElementType::Array, true) => return visit_leaf_array(value, leaf, visitor),
            (_, true) => return visitor(Some(value)),
            (ElementType::Array, false) => return visit_array(value, rest, leaf, visitor),
            (ElementType::EmbeddedDocument, false) => document = Doc::new(value.bytes()),
            (_, false) => break,
        }
        segments = rest;
    }
    visitor(None)
}

fn visit_leaf_array<'d>(array: Value<'d>, leaf: Leaf, visitor: &mut Visitor<'_, 'd>) -> bool {
    let mut elements = Doc::new(array.bytes()).elements();
    (leaf == Leaf::Entered && elements.any(|(_, element)| visitor(Some(element))))
        || visitor(Some(array))
}

/// Visits an array with a non-empty rest of the path.
fn visit_array<'d>(
    array: Value<'d>,
    segments: &[Segment],
    leaf: Leaf,
    visitor: &mut Visitor<'_, 'd>,
) -> bool {
    let Some((place, rest)) = segments.split_first() else {
        return false;
    };
    for (name, element) in Doc::new(array.bytes()).elements() {
        let is_document = element.kind == ElementType::EmbeddedDocument;
        let document = Doc::new(element.bytes());
        if is_document && visit_document(document, segments, leaf, visitor) {
            return true;
        }
        if !place.is_number || *place.name != *name {
            continue;
        }
        let stop = match (element.kind, rest.is_empty()) {
            (_, true) => visitor(Some(element)),
            (ElementType::EmbeddedDocument, false) => visit_document(document, rest, leaf, visitor),
            (ElementType::Array, false) => visit_array(element, rest, leaf, visitor),
            (_, false) => false,
        };
        if stop {
            return true;
        }
    }
    false
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.segments.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            write!(f, "{dot}{}", String::from_utf8_lossy(&segment.name))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The server's own bound is near; nobody's documents are deeper.
const SEGMENTS_MAX: usize = 100;
/// Each number may be a field or a place, so that documents in arrays in documents have as many ways as two to the power of this.
const NUMBERS_MAX: usize = 8;
