//! Values as expressions make them: borrowed from the event or the expression where they were there already, else made.

use std::sync::Arc;

use bson::spec::ElementType;

use crate::query::expression::Failure;
use crate::query::value::{Doc, Value};

/// A BSON value: its type and its bytes, which are not copied as long as they need not change.
#[derive(Clone, Debug)]
pub(crate) struct Computed<'d> {
    kind: ElementType,
    bytes: Bytes<'d>,
}

#[derive(Clone, Debug)]
enum Bytes<'d> {
    Borrowed(&'d [u8]),
    /// What is short: the first `len` bytes.
    Inline {
        bytes: [u8; INLINE_BYTES],
        len: u8,
    },
    /// A part of something made.
    Shared {
        whole: Arc<Vec<u8>>,
        start: usize,
        end: usize,
    },
}

/// Writes a document or an array.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: usize,
}

impl<'d> Computed<'d> {
    pub(crate) fn borrowed(value: Value<'d>) -> Self {
        Self {
            kind: value.kind,
            bytes: Bytes::Borrowed(value.bytes()),
        }
    }

    pub(crate) fn document(document: Doc<'d>) -> Self {
        Self {
            kind: ElementType::EmbeddedDocument,
            bytes: Bytes::Borrowed(document.bytes()),
        }
    }

    /// Makes a value of its bytes as BSON has them behind a name.
    pub(crate) fn made(kind: ElementType, bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE_BYTES];
        let bytes = match inline.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Bytes::Inline {
                    bytes: inline,
                    len: bytes.len() as u8,
                }
            }
            None => Bytes::shared(bytes.to_vec()),
        };
        Self { kind, bytes }
    }

    pub(crate) fn null() -> Self {
        Self::made(ElementType::Null, &[])
    }

    pub(crate) fn boolean(boolean: bool) -> Self {
        Self::made(ElementType::Boolean, &[u8::from(boolean)])
    }

    pub(crate) fn int(integer: i32) -> Self {
        Self::made(ElementType::Int32, &integer.to_le_bytes())
    }

    pub(crate) fn long(integer: i64) -> Self {
        Self::made(ElementType::Int64, &integer.to_le_bytes())
    }

    pub(crate) fn double(double: f64) -> Self {
        Self::made(ElementType::Double, &double.to_bits().to_le_bytes())
    }

    /// Makes a date of its milliseconds since 1970.
    pub(crate) fn date(millis: i64) -> Self {
        Self::made(ElementType::DateTime, &millis.to_le_bytes())
    }

    pub(crate) fn string(text: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 5);
        bytes.extend((text.len() as u32 + 1).to_le_bytes());
        bytes.extend(text);
        bytes.push(0);
        Self {
            kind: ElementType::String,
            bytes: Bytes::shared(bytes),
        }
    }

    pub(crate) fn kind(&self) -> ElementType {
        self.kind
    }

    pub(crate) fn value(&self) -> Value<'_> {
        Value::new(self.kind, self.bytes.as_slice())
    }

    /// Says whether it is null or undefined.
    pub(crate) fn is_nullish(&self) -> bool {
        matches!(self.kind, ElementType::Null | ElementType::Undefined)
    }

    pub(crate) fn is_array(&self) -> bool {
        self.kind == ElementType::Array
    }

    pub(crate) fn is_document(&self) -> bool {
        self.kind == ElementType::EmbeddedDocument
    }

    /// Returns the first field of that name, of a document.
    pub(crate) fn get(&self, name: &[u8]) -> Option<Self> {
        self.value()
            .container()?
            .get(name)
            .map(|value| self.part(value))
    }

    /// Returns the elements of a document or array; nothing of another value.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Self> + '_ {
        let elements = self.value().container().map(Doc::elements);
        elements
            .into_iter()
            .flatten()
            .map(|(_, value)| self.part(value))
    }

    /// Refuses a value nested deeper than the server lets out.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn check_depth(&self) -> Result<(), Failure> {
        match self.value().container() {
            Some(container) if !is_shallow(container, DEPTH_MAX) => {
                Err(Failure::new(15, "a value nested so deeply"))
            }
            _ => Ok(()),
        }
    }

    /// Makes a value of its own of one that lies inside this one.
    pub(crate) fn part(&self, inner: Value<'_>) -> Self {
        let bytes = match &self.bytes {
            Bytes::Inline { .. } => return Self::made(inner.kind, inner.bytes()),
            Bytes::Borrowed(whole) => {
                let start = offset(whole, inner.bytes());
                Bytes::Borrowed(&whole[start..start + inner.bytes().len()])
            }
            Bytes::Shared { whole, .. } => {
                let start = offset(whole, inner.bytes());
                Bytes::Shared {
                    whole: Arc::clone(whole),
                    start,
                    end: start + inner.bytes().len(),
                }
            }
        };
        Self {
            kind: inner.kind,
            bytes,
        }
    }
}

/// Returns where `inner`, a part of `whole`, begins in it.
fn offset(whole: &[u8], inner: &[u8]) -> usize {
    (inner.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

fn is_shallow(container: Doc<'_>, depth: usize) -> bool {
    let mut inner = container
        .elements()
        .filter_map(|(_, value)| value.container());
    depth > 0 && inner.all(|container| is_shallow(container, depth - 1))
}

impl Bytes<'_> {
    fn shared(bytes: Vec<u8>) -> Self {
        Self::Shared {
            start: 0,
            end: bytes.len(),
            whole: Arc::new(bytes),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Inline { bytes, len } => &bytes[..usize::from(*len)],
            Self::Shared { whole, start, end } => &whole[*start..*end],
        }
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; 4],
            count: 0,
        }
    }

    /// Appends a field of a document.
    pub(crate) fn field(&mut self, name: &[u8], value: Value<'_>) {
        self.bytes.push(value.kind as u8);
        self.bytes.extend(name);
        self.bytes.push(0);
        self.bytes.extend(value.bytes());
        self.count += 1;
    }

    /// Appends an element of an array.
    pub(crate) fn element(&mut self, value: Value<'_>) {
        let mut digits = [0; 20];
        let name = decimal_digits(self.count, &mut digits);
        self.field(name, value);
    }

    /// Ends the array.
    ///
    /// # Errors
    /// When it is larger than anything that the server lets out.
    pub(crate) fn array<'d>(self) -> Result<Computed<'d>, Failure> {
        self.finish(ElementType::Array)
    }

    /// Ends the document.
    ///
    /// # Errors
    /// As [`Builder::array`].
    pub(crate) fn document<'d>(self) -> Result<Computed<'d>, Failure> {
        self.finish(ElementType::EmbeddedDocument)
    }

    fn finish<'d>(mut self, kind: ElementType) -> Result<Computed<'d>, Failure> {
        self.bytes.push(0);
        check_size(self.bytes.len())?;
        let len = (self.bytes.len() as u32).to_le_bytes();
        self.bytes[..4].copy_from_slice(&len);
        Ok(Computed {
            kind,
            bytes: Bytes::shared(self.bytes),
        })
    }

    /// Refuses what has grown too large already.
    ///
    /// # Errors
    /// As [`Builder::array`].
    pub(crate) fn check(&self) -> Result<(), Failure> {
        check_size(self.bytes.len())
    }
}

/// Refuses what is larger than the server lets out.
///
/// # Errors
/// Then.
pub(crate) fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes > RESULT_BYTES_MAX {
        return Err(Failure::new(TOO_LARGE, "a result of more than 16 MiB"));
    }
    Ok(())
}

fn decimal_digits(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// The server's limit of a document's depth.
const DEPTH_MAX: usize = 200;
/// A decimal128 and an array of nothing fit.
const INLINE_BYTES: usize = 16;
/// The server's limit of a document, with its allowance for what it adds itself.
const RESULT_BYTES_MAX: usize = (16 << 20) + (16 << 10);
/// MongoDB's `BSONObjectTooLarge`.
const TOO_LARGE: i32 = 10334;
