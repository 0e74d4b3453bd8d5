//! What is agreed on of permessage-deflate, RFC 7692.
//!
//! Each message is compressed by itself, ours and the client's: the answer always says `server_no_context_takeover` and
//! `client_no_context_takeover`, which a server may whatever was offered. So no session keeps a window, and a compressed
//! frame is the same for all who agreed on the same window. A client that asks for a smaller one than the largest gets the
//! smallest, since each would be a rendering of its own.

#[cfg(test)]
mod tests;

use crate::wire::deflate::Window;

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    window: Window,
    /// A client that names the server's window must be told it.
    is_named: bool,
}

impl Deflate {
    /// Chooses among what a client offers, in the values of its `Sec-WebSocket-Extensions` and in their order. An offer that
    /// cannot be taken up is passed over, as an unknown extension is; what stands behind a fault of syntax is not looked at.
    ///
    /// Source: RFC 6455 section 9.1, RFC 7692 sections 5 and 7.1.
    pub fn agree<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        values.into_iter().find_map(|value| {
            let mut rest = Text(value);
            while let Some(offer) = rest.offer() {
                if let Some(agreed) = offer.and_then(|parameters| Self::accept(&parameters)) {
                    return Some(agreed);
                }
                if !rest.comma() {
                    break;
                }
            }
            None
        })
    }

    /// Returns what the answer's `Sec-WebSocket-Extensions` says.
    pub fn answer(self) -> &'static str {
        match (self.is_named, self.window) {
            (false, _) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            }
            (true, Window::Full) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
            }
            (true, Window::Small) => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"
            }
        }
    }

    /// Returns how far back our messages may look.
    pub fn window(self) -> Window {
        self.window
    }

    fn accept(parameters: &[Parameter<'_>]) -> Option<Self> {
        let mut agreed = Self {
            window: Window::Full,
            is_named: false,
        };
        for (index, (name, value)) in parameters.iter().enumerate() {
            let is_double = parameters[..index].iter().any(|(other, _)| other == name);
            if is_double {
                return None;
            }
            match (*name, *value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => (),
                // How far back the client looks makes no difference to who inflates.
                ("client_max_window_bits", None) => (),
                ("client_max_window_bits", Some(bits)) => drop(window_bits(bits)?),
                ("server_max_window_bits", Some(bits)) => {
                    agreed.is_named = true;
                    agreed.window = match window_bits(bits)? {
                        // zlib cannot keep to a window of 256 bytes.
                        8 => return None,
                        9..15 => Window::Small,
                        _ => Window::Full,
                    };
                }
                _ => return None,
            }
        }
        Some(agreed)
    }
}

/// A name, and the value if there is one.
type Parameter<'a> = (&'a str, Option<&'a str>);

/// 8 to 15, without a zero in front.
fn window_bits(value: &str) -> Option<u8> {
    let is_canonical = !value.starts_with(['0', '+']);
    let bits = value.parse().ok().filter(|_| is_canonical);
    bits.filter(|bits| (8..=15).contains(bits))
}

/// What of a header's value is still to be read.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Reads an extension with its parameters. The inner `None`: it is not permessage-deflate, or has more parameters than
    /// there are. The outer one: there is none, or it cannot be read.
    fn offer(&mut self) -> Option<Option<Vec<Parameter<'a>>>> {
        // A list may have empty elements. Source: RFC 9110 section 5.6.1.
        while self.comma() {}
        let name = self.token()?;
        let (mut parameters, mut is_acceptable) = (Vec::new(), name == "permessage-deflate");
        while self.symbol(';') {
            let parameter = self.token()?;
            let value = match self.symbol('=') {
                true => Some(self.value()?),
                false => None,
            };
            is_acceptable &= parameters.len() < PARAMETERS_MAX;
            if is_acceptable {
                parameters.push((parameter, value));
            }
        }
        let is_whole = self.0.is_empty() || self.0.starts_with(',');
        is_whole.then(|| is_acceptable.then_some(parameters))
    }

    /// Reads a token, or one in quotes. Backslashes in it are not undone: no value that we know has one.
    fn value(&mut self) -> Option<&'a str> {
        if !self.symbol('"') {
            return self.token();
        }
        let value = self.token()?;
        self.symbol('"').then_some(value)
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest.trim_start_matches(BLANKS);
        (!token.is_empty()).then_some(token)
    }

    fn comma(&mut self) -> bool {
        self.0 = self.0.trim_start_matches(BLANKS);
        self.symbol(',')
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let rest = self.0.strip_prefix(symbol);
        self.0 = rest.map_or(self.0, |rest| rest.trim_start_matches(BLANKS));
        rest.is_some()
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// As many as permessage-deflate has.
const PARAMETERS_MAX: usize = 4;
