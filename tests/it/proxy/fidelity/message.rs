//! A message as the other side can tell it apart.

use crate::proxy::stage::{Peer, within};

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    None,
    Length,
    Chunked,
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Message {
    pub(in crate::proxy) line: String,
    /// Names and values as they stand there, blanks included.
    pub(in crate::proxy) fields: Vec<(String, String)>,
    pub(in crate::proxy) framing: Framing,
    pub(in crate::proxy) body: String,
    /// The lines between the chunks.
    pub(in crate::proxy) chunks: Vec<String>,
    pub(in crate::proxy) trailers: Vec<String>,
    /// Lines of its head end in LF alone.
    pub(in crate::proxy) has_bare_feeds: bool,
}

/// Reads a request; `None` if the connection ends before it is whole.
pub(in crate::proxy) async fn request(peer: &mut Peer) -> Option<Message> {
    let mut message = Message::head(&peer.try_until("\r\n\r\n").await?);
    message.framing = match message.said_framing() {
        Framing::Close => Framing::None,
        framing => framing,
    };
    message.read_body(peer).await?;
    Some(message)
}

/// Reads an answer, or a head before it.
pub(in crate::proxy) async fn answer(peer: &mut Peer, is_to_head: bool) -> Message {
    let mut message = Message::head(&peer.lenient_head().await);
    let is_empty = is_to_head || matches!(message.status(), "204" | "304") || message.is_interim();
    message.framing = match is_empty {
        true => Framing::None,
        false => message.said_framing(),
    };
    let whole = within(message.read_body(peer)).await;
    whole.expect("a whole answer");
    message
}

impl Message {
    fn head(text: &str) -> Self {
        let mut lines = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line));
        let line = lines.next().expect("a first line").to_owned();
        let fields = lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_once(':').expect("a field"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            line,
            fields,
            framing: Framing::None,
            body: String::new(),
            chunks: Vec::new(),
            trailers: Vec::new(),
            has_bare_feeds: text.replace("\r\n", "").contains('\n'),
        }
    }

    fn said_framing(&self) -> Framing {
        if self
            .tokens("transfer-encoding")
            .any(|token| token == "chunked")
        {
            Framing::Chunked
        } else if self.value("content-length").is_some() {
            Framing::Length
        } else {
            Framing::Close
        }
    }

    async fn read_body(&mut self, peer: &mut Peer) -> Option<()> {
        match self.framing {
            Framing::None => (),
            Framing::Close => self.body = peer.rest().await,
            Framing::Length => {
                let length = self.value("content-length")?;
                self.body = peer.try_exactly(length.parse().expect("digits")).await?;
            }
            Framing::Chunked => {
                loop {
                    let line = peer.try_until("\r\n").await?;
                    let digits = line.split([';', '\r', ' ']).next()?;
                    let size = usize::from_str_radix(digits, 16).expect("a size");
                    self.chunks.push(line);
                    if size == 0 {
                        break;
                    }
                    self.body += &peer.try_exactly(size).await?;
                    assert_eq!(peer.try_exactly(2).await?, "\r\n");
                }
                loop {
                    match peer.try_until("\r\n").await? {
                        end if end == "\r\n" => break,
                        trailer => self.trailers.push(trailer),
                    }
                }
            }
        }
        Some(())
    }

    pub(in crate::proxy) fn is_interim(&self) -> bool {
        self.status().starts_with('1') && self.status() != "101"
    }

    pub(in crate::proxy) fn status(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub(in crate::proxy) fn value(&self, name: &str) -> Option<String> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    }

    /// The members of a list over all its fields, in lower case.
    pub(in crate::proxy) fn tokens(&self, name: &str) -> impl Iterator<Item = String> {
        let of_name = self
            .fields
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        of_name
            .flat_map(|(_, value)| value.split(','))
            .map(|token| token.trim().to_ascii_lowercase())
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether a connection stays open behind a request like this.
    pub(in crate::proxy) fn stays(&self) -> bool {
        let says = |option: &str| self.tokens("connection").any(|token| token == option);
        !says("close") && (self.line.ends_with("HTTP/1.1") || says("keep-alive"))
    }

    pub(in crate::proxy) fn push(&mut self, name: &str, value: &str) {
        self.fields.push((name.to_owned(), format!(" {value}")));
    }

    /// Drops fields by name (in lower case) and value.
    pub(in crate::proxy) fn drop_fields(&mut self, is_dropped: impl Fn(&str, &str) -> bool) {
        self.fields
            .retain(|(name, value)| !is_dropped(&name.to_ascii_lowercase(), value.trim()));
    }

    pub(in crate::proxy) fn set_version(&mut self, version: &str) {
        if self.line.starts_with("HTTP/") {
            self.line.replace_range(..version.len(), version);
        } else {
            let start = self.line.len() - version.len();
            self.line.replace_range(start.., version);
        }
    }

    pub(in crate::proxy) fn drop_authority(&mut self) {
        let Some((method, rest)) = self.line.split_once(" http://") else {
            return;
        };
        let (target, version) = rest.rsplit_once(' ').expect("a version");
        let path = target.find(['/', '?']).map_or("", |at| &target[at..]);
        let slash = if path.starts_with('/') { "" } else { "/" };
        self.line = format!("{method} {slash}{path} {version}");
    }

    pub(in crate::proxy) fn drop_hop_by_hop(&mut self) {
        self.drop_hop_by_hop_but_connection();
        self.drop_fields(|name, _| name == "connection");
    }

    pub(in crate::proxy) fn drop_hop_by_hop_but_connection(&mut self) {
        let named: Vec<String> = self.tokens("connection").collect();
        self.drop_fields(|name, _| {
            let cannot_be_named = ["host", "content-length", "transfer-encoding", "connection"];
            let is_named =
                named.iter().any(|token| token == name) && !cannot_be_named.contains(&name);
            let is_of_the_hop = [
                "keep-alive",
                "proxy-connection",
                "te",
                "upgrade",
                "http2-settings",
            ];
            is_named || is_of_the_hop.contains(&name)
        });
    }

    /// Says of the connection what is given, where it was said, else at the end.
    pub(in crate::proxy) fn set_connection(&mut self, says: Option<&str>) {
        let named: Vec<String> = self.tokens("connection").collect();
        // What it named goes with it.
        self.drop_fields(|name, _| {
            name != "connection"
                && name != "content-length"
                && named.iter().any(|token| token == name)
        });
        let mut says = says.map(|says| format!(" {says}"));
        self.fields.retain_mut(|(name, value)| {
            if !name.eq_ignore_ascii_case("connection") {
                return true;
            }
            says.take().map(|says| *value = says).is_some()
        });
        if let Some(says) = says {
            self.fields.push(("Connection".to_owned(), says));
        }
    }

    pub(in crate::proxy) fn keep_one_length(&mut self) {
        let mut seen = false;
        self.fields.retain(|(name, _)| {
            !name.eq_ignore_ascii_case("content-length") || !std::mem::replace(&mut seen, true)
        });
    }

    /// Adds what we say of the hop before. `received`: as the client wrote it.
    pub(in crate::proxy) fn be_forwarded(&mut self, received: &Self, host: &str) {
        self.drop_fields(|name, _| name == "forwarded" || name == "x-forwarded-for");
        let list = |name: &str, own: &str| {
            let mut members: Vec<String> = received
                .fields
                .iter()
                .filter(|(other, _)| other.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
                .collect();
            members.push(own.to_owned());
            members.join(", ")
        };
        self.push("x-forwarded-for", &list("x-forwarded-for", "127.0.0.1"));
        if received.value("x-forwarded-proto").is_none() {
            self.push("x-forwarded-proto", "http");
        }
        if received.value("x-forwarded-host").is_none() {
            self.push("x-forwarded-host", host);
        }
        let own = format!("for=127.0.0.1;host=\"{host}\";proto=http");
        self.push("forwarded", &list("forwarded", &own));
    }

    /// Chunks are of one hop; what they carry is not.
    pub(in crate::proxy) fn forget_chunks(&mut self) {
        self.chunks.clear();
    }
}
