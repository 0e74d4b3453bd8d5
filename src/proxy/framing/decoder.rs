//! A body as it comes from a socket.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Frame, SizeHint};

use super::{
    Framing,
    follow::{Follow, Malformed, Notes, Run},
};
use crate::proxy::fields::{CRLF, FIELDS_MAX, split};

/// Takes a body out of what was read from a socket.
#[derive(Debug)]
pub(crate) struct Decoder {
    follow: Follow,
    notes: Notes,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            follow: Follow::new(framing),
            notes: Notes::default(),
        }
    }

    /// Takes the next part, be it data or trailers, from the start of `read`. `None`: there is none in it.
    ///
    /// # Errors
    /// [`Malformed`]. So are more than 100 trailers.
    pub(crate) fn decode(
        &mut self,
        read: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, Malformed> {
        while !read.is_empty() && !self.is_end() {
            match self.follow.run(read, &mut self.notes)? {
                Run::Data(len) => return Ok(Some(Frame::data(read.split_to(len).freeze()))),
                Run::Between(len) => read.advance(len),
            }
            if self.is_end() && self.notes.trailers != CRLF {
                let trailers = std::mem::take(&mut self.notes.trailers);
                let trailers = fields(&trailers).ok_or(Malformed)?;
                return Ok(Some(Frame::trailers(trailers)));
            }
        }
        Ok(None)
    }

    /// Returns whether the body has been taken whole.
    pub(crate) fn is_end(&self) -> bool {
        self.follow == Follow::End
    }

    /// Returns whether the body is whole if the connection ends here.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.follow, Follow::End | Follow::Close)
    }

    /// Returns how much of the body is to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.follow {
            Follow::Length(left) => SizeHint::with_exact(left),
            Follow::End => SizeHint::with_exact(0),
            _ => SizeHint::new(),
        }
    }
}

/// Reads trailers, the empty line behind them included.
fn fields(lines: &[u8]) -> Option<HeaderMap> {
    let split = split(lines, 0)?;
    if split.len() > FIELDS_MAX {
        return None;
    }
    let mut fields = HeaderMap::new();
    for line in split {
        let name = HeaderName::from_bytes(line.name(lines)).ok()?;
        let value = HeaderValue::from_bytes(line.value(lines)).ok()?;
        fields.append(name, value);
    }
    Some(fields)
}
