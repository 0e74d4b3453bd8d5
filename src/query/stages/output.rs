//! Writing documents from stage to stage, with the places of fields that are gone.

use bson::spec::ElementType;

use crate::query::expression::Failure;
use crate::query::value::{Doc, EMPTY_SLOT, Value};

/// A document being written.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    depth: usize,
    /// Whether the places of what is gone are kept, since a later stage may fill them.
    pub(super) keeps_slots: bool,
    /// Whether an empty place was written since the last [`Output::forget_slots`].
    has_slots: bool,
}

/// Where an open document or array begins.
pub(super) struct Start(usize);

impl Output {
    /// Begins anew, in the room of a former document.
    pub(super) fn clear(&mut self, mut room: Vec<u8>) {
        room.clear();
        self.bytes = room;
        self.depth = 0;
    }

    /// Gives what was written.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Opens the document that all others are in.
    pub(super) fn open_root(&mut self) -> Start {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        Start(start)
    }

    /// Opens a document or an array.
    ///
    /// # Errors
    /// Where it is nested too deep.
    pub(super) fn open(&mut self, kind: ElementType, name: &[u8]) -> Result<Start, Failure> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        self.header(kind as u8, name);
        Ok(self.open_root())
    }

    /// Closes what was opened last.
    ///
    /// # Errors
    /// Where it has become too large.
    pub(super) fn close(&mut self, Start(start): Start) -> Result<(), Failure> {
        self.depth = self.depth.saturating_sub(1);
        self.bytes.push(0);
        let len = self.bytes.len() - start;
        if self.bytes.len() > BYTES_MAX {
            return Err(too_large());
        }
        if let (Ok(len), Some(prefix)) = (u32::try_from(len), self.bytes.get_mut(start..start + 4))
        {
            prefix.copy_from_slice(&len.to_le_bytes());
        }
        Ok(())
    }

    /// Writes a value.
    ///
    /// # Errors
    /// Where the whole becomes too large.
    pub(super) fn value(&mut self, name: &[u8], value: Value<'_>) -> Result<(), Failure> {
        if self.bytes.len() + value.bytes().len() > BYTES_MAX {
            return Err(too_large());
        }
        self.header(value.kind as u8, name);
        self.bytes.extend(value.bytes());
        Ok(())
    }

    /// Keeps the place of a field that is gone, if that may matter to a later stage.
    pub(super) fn empty(&mut self, name: &[u8]) {
        if self.keeps_slots {
            self.has_slots = true;
            self.header(EMPTY_SLOT, name);
        }
    }

    /// Writes a value, or keeps the place of one that is missing.
    ///
    /// # Errors
    /// As [`Output::value`].
    pub(super) fn slot(&mut self, name: &[u8], value: Option<Value<'_>>) -> Result<(), Failure> {
        match value {
            Some(value) => self.value(name, value),
            None => {
                self.empty(name);
                Ok(())
            }
        }
    }

    /// Takes over a whole document.
    ///
    /// # Errors
    /// As [`Output::value`].
    pub(super) fn document(&mut self, document: Doc<'_>) -> Result<(), Failure> {
        if document.bytes().len() > BYTES_MAX {
            return Err(too_large());
        }
        self.bytes.extend(document.bytes());
        Ok(())
    }

    fn header(&mut self, tag: u8, name: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend(name);
        self.bytes.push(0);
    }

    /// Says whether there may be empty places in what was written, and takes that there are none from now on.
    pub(super) fn forget_slots(&mut self) -> bool {
        std::mem::take(&mut self.has_slots)
    }

    /// Writes the document without its empty places.
    ///
    /// # Errors
    /// Where it is nested too deep or too large.
    pub(super) fn compact(&mut self, document: Doc<'_>) -> Result<(), Failure> {
        let start = self.open_root();
        self.compact_elements(document)?;
        self.close(start)
    }

    fn compact_elements(&mut self, document: Doc<'_>) -> Result<(), Failure> {
        for (name, value) in document.elements() {
            match value.container() {
                None => self.value(name, value)?,
                Some(inner) => {
                    let start = self.open(value.kind, name)?;
                    self.compact_elements(inner)?;
                    self.close(start)?;
                }
            }
        }
        Ok(())
    }
}

/// The names of an array's elements.
#[derive(Debug, Default)]
pub(super) struct Places {
    next: usize,
    digits: [u8; DIGITS_MAX],
}

impl Places {
    /// Returns the name of the next element.
    pub(super) fn name(&mut self) -> &[u8] {
        let mut start = self.digits.len();
        let mut number = self.next;
        loop {
            start -= 1;
            self.digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 || start == 0 {
                return &self.digits[start..];
            }
        }
    }

    /// Goes on to the place behind.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }
}

fn too_deep() -> Failure {
    Failure::new(OVERFLOW, "a document nested too deep")
}

pub(super) fn too_large() -> Failure {
    Failure::new(TOO_LARGE, "a document of more than 16 MiB")
}

/// Between stages the server knows no bound but its memory; an event that reaches this one is skipped.
const BYTES_MAX: usize = 64 << 20;
/// As deep as recursion goes here; nothing that is stored is deeper than 180.
const DEPTH_MAX: usize = 400;
const DIGITS_MAX: usize = 20;
/// MongoDB's `Overflow`.
const OVERFLOW: i32 = 15;
/// MongoDB's `BSONObjectTooLarge`.
const TOO_LARGE: i32 = 10334;
