//! Raw BSON, read in place: a value is its type and its bytes.
//!
//! Own reading instead of `bson::RawBsonRef`, for exactness: what the server stores need not be valid UTF-8 (it does
//! not check), deprecated types have to compare like the others, and nothing here can fail half way. Bytes that are no
//! BSON end an iteration early; nothing panics.

use bson::spec::ElementType;

/// A document or an array: its bytes, length prefix and terminator included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doc<'a>(&'a [u8]);

/// One BSON value: its type and the bytes behind the field name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) kind: ElementType,
    bytes: &'a [u8],
}

/// The elements of a document in stored order. Ends early where the bytes are no BSON.
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Doc<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns all bytes, length prefix and terminator included.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn elements(self) -> Elements<'a> {
        Elements {
            rest: self.0.get(4..).unwrap_or_default(),
        }
    }

    /// Returns the first field of that name, as the server does for repeated names.
    pub(crate) fn get(self, name: &[u8]) -> Option<Value<'a>> {
        self.elements()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.rest.split_first()?;
        if tag == 0 {
            self.rest = &[];
            return None;
        }
        let element = read_element(tag, rest);
        self.rest = element.map_or(&[], |(_, _, rest)| rest);
        element.map(|(name, value, _)| (name, value))
    }
}

fn read_element(tag: u8, rest: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let kind = ElementType::from(tag)?;
    let (name, rest) = split_cstring(rest)?;
    let (bytes, rest) = rest.split_at_checked(value_len(kind, rest)?)?;
    Some((name, Value { kind, bytes }, rest))
}

fn value_len(kind: ElementType, bytes: &[u8]) -> Option<usize> {
    use ElementType as T;
    let prefixed = |extra: usize| usize::try_from(read_i32(bytes)?).ok()?.checked_add(extra);
    match kind {
        T::Undefined | T::Null | T::MinKey | T::MaxKey => Some(0),
        T::Boolean => Some(1),
        T::Int32 => Some(4),
        T::Double | T::DateTime | T::Timestamp | T::Int64 => Some(8),
        T::ObjectId => Some(12),
        T::Decimal128 => Some(16),
        T::String | T::JavaScriptCode | T::Symbol => prefixed(4),
        T::Binary => prefixed(5),
        T::DbPointer => prefixed(16),
        T::EmbeddedDocument | T::Array | T::JavaScriptCodeWithScope => prefixed(0),
        T::RegularExpression => {
            let (pattern, rest) = split_cstring(bytes)?;
            let (options, _) = split_cstring(rest)?;
            Some(pattern.len() + options.len() + 2)
        }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn new(kind: ElementType, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    /// Returns the value's bytes as they are stored, lengths included.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the document inside a document or array, else `None`.
    pub(crate) fn container(self) -> Option<Doc<'a>> {
        self.is_container().then_some(Doc(self.bytes))
    }

    pub(crate) fn is_container(self) -> bool {
        matches!(
            self.kind,
            ElementType::EmbeddedDocument | ElementType::Array
        )
    }

    pub(crate) fn is_array(self) -> bool {
        self.kind == ElementType::Array
    }

    /// Returns the bytes of a string, symbol or code, without length and NUL; empty for other types.
    pub(crate) fn text(self) -> &'a [u8] {
        use ElementType as T;
        match self.kind {
            T::String | T::Symbol | T::JavaScriptCode => prefixed_text(self.bytes),
            _ => &[],
        }
    }

    /// Returns a string's text, if it is a string and valid UTF-8.
    pub(crate) fn as_str(self) -> Option<&'a str> {
        if self.kind != ElementType::String {
            return None;
        }
        std::str::from_utf8(self.text()).ok()
    }

    /// Returns pattern and options of a regular expression; empty for other types.
    pub(crate) fn regex(self) -> (&'a [u8], &'a [u8]) {
        let parts = || {
            let (pattern, rest) = split_cstring(self.bytes)?;
            let (options, _) = split_cstring(rest)?;
            Some((pattern, options))
        };
        match self.kind {
            ElementType::RegularExpression => parts().unwrap_or_default(),
            _ => (&[], &[]),
        }
    }

    /// Returns subtype and content of binary data; `None` for other types.
    pub(crate) fn binary(self) -> Option<(u8, &'a [u8])> {
        if self.kind != ElementType::Binary {
            return None;
        }
        Some((*self.bytes.get(4)?, self.bytes.get(5..)?))
    }

    /// Returns the code and the scope of code with scope; empty for other types.
    pub(crate) fn scoped_code(self) -> (&'a [u8], Doc<'a>) {
        let parts = || {
            let rest = self.bytes.get(4..)?;
            let scope = 4 + usize::try_from(read_i32(rest)?).ok()?;
            Some((prefixed_text(rest), Doc(rest.get(scope..)?)))
        };
        match self.kind {
            ElementType::JavaScriptCodeWithScope => parts().unwrap_or((&[], Doc(&[]))),
            _ => (&[], Doc(&[])),
        }
    }

    /// Returns the first eight bytes as an integer: what dates, timestamps, 64-bit integers and doubles are made of.
    pub(crate) fn word(self) -> u64 {
        self.bytes
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Returns the first four bytes as an integer.
    pub(crate) fn half_word(self) -> i32 {
        read_i32(self.bytes).unwrap_or(0)
    }
}

fn prefixed_text(bytes: &[u8]) -> &[u8] {
    let len = read_i32(bytes).and_then(|len| usize::try_from(len).ok());
    let end = len.map_or(0, |len| len.saturating_add(3));
    bytes.get(4..end).unwrap_or_default()
}

fn read_i32(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk::<4>().map(|b| i32::from_le_bytes(*b))
}

fn split_cstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}
