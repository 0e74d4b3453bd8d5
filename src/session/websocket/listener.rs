//! Whoever hears what a client says in data frames: for streams nobody, and then nothing of it is kept.

use crate::session::websocket::{
    Violation,
    inflate::{deflated_bytes_max, inflate},
};

/// A client's message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Anything.
    Binary(Vec<u8>),
}

/// Hears messages, and answers them.
pub trait Listener: Send {
    /// Returns how many bytes a message may have; a longer one ends the session.
    fn bytes_max(&self) -> usize;

    /// Hears a message; what is returned is its answer. Answers go out in the order of what they answer, PONGs included,
    /// and a client that does not read them is not heard on until it does.
    fn hear(&mut self, message: Message) -> Option<Message>;
}

/// What the first frame of a message says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    pub(super) is_text: bool,
    pub(super) is_deflated: bool,
}

/// What the reader does with the payloads of data frames.
pub(super) trait Ear {
    /// A message begins.
    fn begin(&mut self, form: Form);

    /// A part of its payload has come; `mask` begins at the byte for the first of it.
    ///
    /// # Errors
    /// What is wrong with the message, as soon as it can be known.
    fn part(&mut self, masked: &[u8], mask: [u8; 4]) -> Result<(), Violation>;

    /// The message is whole; returns the answer.
    ///
    /// # Errors
    /// What is wrong with the message.
    fn end(&mut self) -> Result<Option<Message>, Violation>;
}

/// Hears nothing: payloads are skipped, and whether text is UTF-8 is not looked at, as RESTHeart does not.
#[derive(Debug)]
pub(super) struct Deaf;

impl Ear for Deaf {
    fn begin(&mut self, _: Form) {}

    fn part(&mut self, _: &[u8], _: [u8; 4]) -> Result<(), Violation> {
        Ok(())
    }

    fn end(&mut self) -> Result<Option<Message>, Violation> {
        Ok(None)
    }
}

/// Collects messages for a listener.
#[derive(Debug)]
pub(super) struct Attentive<L> {
    listener: L,
    form: Form,
    /// As it came: a message that is deflated is inflated when it is whole.
    payload: Vec<u8>,
    /// So much of `payload` is known to be whole characters.
    checked: usize,
}

impl<L: Listener> Attentive<L> {
    pub(super) fn new(listener: L) -> Self {
        Self {
            listener,
            form: Form::default(),
            payload: Vec::new(),
            checked: 0,
        }
    }

    /// Looks at what is new; an unfinished character at the end may still become one.
    ///
    /// Source: RFC 6455 §8.1; told at the first byte that cannot be, not at the end of the message.
    fn check_text(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.payload[self.checked..]) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::NotText),
        }
        Ok(())
    }
}

impl<L: Listener> Ear for Attentive<L> {
    fn begin(&mut self, form: Form) {
        self.form = form;
        self.checked = 0;
    }

    fn part(&mut self, masked: &[u8], mask: [u8; 4]) -> Result<(), Violation> {
        let bytes_max = match self.form.is_deflated {
            true => deflated_bytes_max(self.listener.bytes_max()),
            false => self.listener.bytes_max(),
        };
        if masked.len() > bytes_max - self.payload.len() {
            return Err(Violation::MessageTooLong);
        }
        let clear = masked.iter().zip(mask.iter().cycle());
        self.payload.extend(clear.map(|(byte, mask)| byte ^ mask));
        match self.form {
            Form {
                is_text: true,
                is_deflated: false,
            } => self.check_text(),
            Form { is_text: false, .. }
            | Form {
                is_deflated: true, ..
            } => Ok(()),
        }
    }

    fn end(&mut self) -> Result<Option<Message>, Violation> {
        let mut payload = std::mem::take(&mut self.payload);
        if self.form.is_deflated {
            payload = inflate(payload, self.listener.bytes_max())?;
        }
        let message = match self.form.is_text {
            true => {
                Message::Text(String::from_utf8(payload).map_err(|_unfinished| Violation::NotText)?)
            }
            false => Message::Binary(payload),
        };
        Ok(self.listener.hear(message))
    }
}
