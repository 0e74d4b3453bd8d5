//! What a path leads to in one event, read once for all who ask for it.
//!
//! An index holds a reading for each of its paths and fills it anew for each event, so that nothing is allocated once the
//! buffers have grown.

use std::cmp::Ordering;
use std::ops::Range as Span;

use bson::RawDocument;
use bson::spec::ElementType;

use crate::query::matcher::condition::{Bound, Kinds, Range};
use crate::query::order::number::Number;
use crate::query::order::{self, Bracket, key};
use crate::query::path::{Leaf, Path};
use crate::query::value::{Doc, Value};

/// What of a path anybody asks for, so that a large value nobody wants is not even read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Keys that begin with one of these bytes.
    keys: u32,
    /// Extremes of these brackets.
    extremes: u32,
}

/// The values at a path of an event: their keys, their kinds and the least and greatest of each bracket.
#[derive(Debug, Default)]
pub struct Reading {
    bytes: Vec<u8>,
    keys: Vec<Span<u32>>,
    kinds: Kinds,
    extremes: Vec<Extremes>,
}

#[derive(Debug)]
struct Extremes {
    bracket: Bracket,
    least: Spot,
    greatest: Spot,
}

/// Where a value stands in the event.
#[derive(Clone, Copy, Debug)]
struct Spot {
    kind: ElementType,
    start: usize,
    len: usize,
}

/// A bracket's least and greatest value at a path of an event.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'e> {
    least: Value<'e>,
    greatest: Value<'e>,
}

impl Wanted {
    /// Adds keys that begin with that byte.
    pub fn want_keys(&mut self, tag: u8) {
        self.keys |= 1 << (tag & 31);
    }

    /// Adds the extremes of that bracket.
    pub fn want_extremes(&mut self, bracket: u8) {
        self.extremes |= 1 << (bracket & 31);
    }
}

impl Reading {
    /// Reads an event, and forgets the one before.
    pub fn read(&mut self, path: &Path, event: &RawDocument, wanted: Wanted) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT_MAX);
        self.keys.clear();
        self.keys.shrink_to(KEYS_KEPT_MAX);
        self.extremes.clear();
        self.kinds = Kinds::NONE;
        let start = event.as_bytes().as_ptr().addr();
        path.visit(Doc::new(event.as_bytes()), Leaf::Entered, &mut |value| {
            if wanted.keys >> key::key_tag(value) & 1 == 1 {
                self.add_key(value);
            }
            if let Some(value) = value {
                let bracket = Bracket::of(value.kind);
                self.kinds.insert(bracket);
                if wanted.extremes >> bracket as u32 & 1 == 1 {
                    self.add_extreme(event, start, bracket, value);
                }
            }
            false
        });
        if self.keys.len() > 1 {
            let bytes = &self.bytes;
            let key = |span: &Span<u32>| &bytes[span.start as usize..span.end as usize];
            self.keys
                .sort_unstable_by(|left, right| key(left).cmp(key(right)));
            self.keys.dedup_by(|left, right| key(left) == key(right));
        }
    }

    fn add_key(&mut self, value: Option<Value<'_>>) {
        let start = self.bytes.len();
        key::write_key(value, &mut self.bytes);
        // An event is below 4 GiB, and a key is not much longer than its value.
        let end = self.bytes.len().min(u32::MAX as usize);
        self.keys.push(start as u32..end as u32);
    }

    fn add_extreme(
        &mut self,
        event: &RawDocument,
        start: usize,
        bracket: Bracket,
        value: Value<'_>,
    ) {
        // No range holds NaN, but it is the least number of all.
        if bracket == Bracket::Number && Number::of(value).is_some_and(Number::is_nan) {
            return;
        }
        let spot = Spot {
            kind: value.kind,
            start: value.bytes().as_ptr().addr() - start,
            len: value.bytes().len(),
        };
        match self
            .extremes
            .iter_mut()
            .find(|known| known.bracket == bracket)
        {
            None => self.extremes.push(Extremes {
                bracket,
                least: spot,
                greatest: spot,
            }),
            Some(known) if order::compare(value, known.least.value(event)).is_lt() => {
                known.least = spot;
            }
            Some(known) if order::compare(value, known.greatest.value(event)).is_gt() => {
                known.greatest = spot;
            }
            Some(_) => (),
        }
    }

    /// Returns the keys of the values, ascending, each once.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.keys.iter().map(|span| self.key(span))
    }

    /// Says whether one of the values has the key.
    pub fn has_key(&self, key: &[u8]) -> bool {
        let found = self.keys.binary_search_by(|span| self.key(span).cmp(key));
        found.is_ok()
    }

    /// Returns the key of that place among them.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn key_at(&self, place: usize) -> &[u8] {
        self.key(&self.keys[place])
    }

    fn key(&self, span: &Span<u32>) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Returns the kinds of the values.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Returns the extent of the values of a wanted bracket, if there are any. `event` is the one that was read.
    pub fn extent<'e>(&self, bracket: u8, event: &'e RawDocument) -> Option<Extent<'e>> {
        let mut known = self.extremes.iter();
        let extremes = known.find(|extremes| extremes.bracket as u8 == bracket)?;
        Some(Extent {
            least: extremes.least.value(event),
            greatest: extremes.greatest.value(event),
        })
    }
}

impl Spot {
    fn value(self, event: &RawDocument) -> Value<'_> {
        let bytes = event.as_bytes().get(self.start..self.start + self.len);
        Value::new(self.kind, bytes.unwrap_or_default())
    }
}

impl Range {
    /// Says whether some value of the extent may be above the lower bound.
    pub fn begins_below(&self, extent: &Extent<'_>) -> bool {
        let meets = |bound: &Bound| match order::compare(extent.greatest, bound.operand.value()) {
            Ordering::Less => false,
            Ordering::Equal => bound.is_inclusive,
            Ordering::Greater => true,
        };
        self.lower.as_ref().is_none_or(meets)
    }

    /// Says whether some value of the extent may be below the upper bound.
    pub fn ends_above(&self, extent: &Extent<'_>) -> bool {
        let meets = |bound: &Bound| match order::compare(extent.least, bound.operand.value()) {
            Ordering::Less => true,
            Ordering::Equal => bound.is_inclusive,
            Ordering::Greater => false,
        };
        self.upper.as_ref().is_none_or(meets)
    }
}

/// What a large event needed is given back with the next one.
const BYTES_KEPT_MAX: usize = 64 << 10;
const KEYS_KEPT_MAX: usize = 4 << 10;
