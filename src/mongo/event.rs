//! What a change stream brings: events, their places in history, and where they happened.

use std::fmt;
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};

/// A collection of a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    /// The database's name.
    pub database: Arc<str>,
    /// The collection's name.
    pub collection: Arc<str>,
}

impl Namespace {
    /// Names a collection.
    pub fn new(database: impl Into<Arc<str>>, collection: impl Into<Arc<str>>) -> Self {
        Self {
            database: database.into(),
            collection: collection.into(),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// A place in a deployment's history: the `_data` of an event's `_id`, upper-case hexadecimal.
///
/// MongoDB encodes the place so that comparing the bytes compares the places, and hexadecimal keeps that order; so the
/// derived `Ord` is the order of history. The token of one event is the same on every level (collection, database,
/// deployment). Source: design section 6, *Feed*.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResumeToken(Arc<str>);

/// The hexadecimal digits before the cluster time: the type byte of a timestamp in MongoDB's key encoding.
const TOKEN_TIMESTAMP_TYPE: &str = "82";
/// Eight digits of seconds and eight of the increment.
const TOKEN_TIME_DIGITS: usize = 16;
/// No token MongoDB makes comes near this; what a client sends is bounded by it.
const TOKEN_CHARS_MAX: usize = 16 << 10;

impl ResumeToken {
    /// Reads the text of a token's `_data`. `None` if it cannot be one.
    pub fn parse(data: &str) -> Option<Self> {
        let digits = data.len() >= TOKEN_TIMESTAMP_TYPE.len() + TOKEN_TIME_DIGITS
            && data.len() <= TOKEN_CHARS_MAX
            && data.len().is_multiple_of(2)
            && data.bytes().all(|b| b.is_ascii_hexdigit())
            && data.starts_with(TOKEN_TIMESTAMP_TYPE);
        digits.then(|| Self(data.to_ascii_uppercase().into()))
    }

    /// Reads a token from an event's `_id`.
    pub fn from_id(id: &RawDocument) -> Option<Self> {
        match id.get("_data") {
            Ok(Some(RawBsonRef::String(data))) => Self::parse(data),
            _ => None,
        }
    }

    /// The hexadecimal text, as in `_data`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text that RESTHeart puts into SSE's `id:`.
    pub fn json(&self) -> String {
        format!("{{\"_data\": \"{}\"}}", self.0)
    }

    /// When the event happened, read from the token itself (a pipeline may have removed `clusterTime`).
    pub fn time(&self) -> Timestamp {
        let at = TOKEN_TIMESTAMP_TYPE.len();
        let half = TOKEN_TIME_DIGITS / 2;
        let number = |range: std::ops::Range<usize>| {
            u32::from_str_radix(&self.0[range], 16)
                .expect("invariant: `parse` let only hexadecimal digits in")
        };
        Timestamp {
            time: number(at..at + half),
            increment: number(at + half..at + 2 * half),
        }
    }

    /// The token as the driver wants it.
    pub(crate) fn to_driver(&self) -> mongodb::change_stream::event::ResumeToken {
        let id = bson::doc! { "_data": &*self.0 };
        bson::deserialize_from_document(bson::doc! { "token": id })
            .map(|holder: TokenHolder| holder.token)
            .expect("invariant: any document is a resume token to the driver")
    }

    /// The token out of the driver's hands.
    pub(crate) fn from_driver(token: &mongodb::change_stream::event::ResumeToken) -> Option<Self> {
        let text = bson::serialize_to_bson(token).ok()?;
        Self::parse(text.as_document()?.get_str("_data").ok()?)
    }
}

#[derive(serde::Deserialize)]
struct TokenHolder {
    token: mongodb::change_stream::event::ResumeToken,
}

/// What happened, as far as the engine tells operations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `insert`, `update`, `replace`, `delete`, and what a pipeline made unrecognisable.
    Data,
    /// `drop`.
    Drop,
    /// `rename`.
    Rename,
    /// `dropDatabase`.
    DropDatabase,
    /// `invalidate`: the cursor ends after it.
    Invalidate,
    /// Anything else that bears no document (`create`, `modify`, …).
    Other,
}

impl Operation {
    /// Whether a collection is gone behind it, or another one in its place.
    pub fn ends_collection(self) -> bool {
        match self {
            Self::Drop | Self::Rename | Self::DropDatabase => true,
            Self::Data | Self::Invalidate | Self::Other => false,
        }
    }
}

/// One event, as MongoDB sent it.
#[derive(Debug)]
pub struct Event {
    /// The whole event document.
    pub raw: RawDocumentBuf,
    /// Its place in history.
    pub token: ResumeToken,
    /// Its operation.
    pub operation: Operation,
    /// The database of `ns`; empty if a pipeline removed it.
    pub database: Arc<str>,
    /// The collection of `ns`; empty where the operation has none.
    pub collection: Arc<str>,
    /// The collection that a `rename` made or replaced.
    pub renamed_to: Option<Namespace>,
}

impl Event {
    /// Reads what the engine needs to know of an event. `None` if it bears no token.
    pub fn read(raw: RawDocumentBuf) -> Option<Self> {
        let mut token = None;
        let mut operation = Operation::Data;
        let (mut database, mut collection): (Arc<str>, Arc<str>) = ("".into(), "".into());
        let mut renamed_to = None;
        for element in raw.iter_elements() {
            let element = element.ok()?;
            match (element.key().as_str(), element.value().ok()?) {
                ("_id", RawBsonRef::Document(id)) => token = ResumeToken::from_id(id),
                ("operationType", RawBsonRef::String(text)) => operation = Operation::read(text),
                ("ns", RawBsonRef::Document(ns)) => {
                    database = ns.get_str("db").unwrap_or_default().into();
                    collection = ns.get_str("coll").unwrap_or_default().into();
                }
                ("to", RawBsonRef::Document(ns)) => {
                    let name = |key| ns.get_str(key).unwrap_or_default();
                    renamed_to = Some(Namespace::new(name("db"), name("coll")));
                }
                _ => (),
            }
        }
        Some(Self {
            token: token?,
            raw,
            operation,
            database,
            collection,
            renamed_to,
        })
    }

    /// When it happened.
    pub fn time(&self) -> Timestamp {
        self.token.time()
    }

    /// Whether whoever watches `namespace` is concerned: it happened there, or to the whole database, or it put another
    /// collection in this one's place.
    pub fn concerns(&self, namespace: &Namespace) -> bool {
        match self.operation {
            Operation::DropDatabase => self.database == namespace.database,
            Operation::Invalidate => false,
            Operation::Data | Operation::Drop | Operation::Rename | Operation::Other => {
                (self.database == namespace.database && self.collection == namespace.collection)
                    || self.renamed_to.as_ref() == Some(namespace)
            }
        }
    }

    /// Bytes held in memory, for the bounds of whoever keeps it.
    pub fn bytes(&self) -> usize {
        self.raw.as_bytes().len() + self.token.as_str().len() + EVENT_OVERHEAD_BYTES
    }

    /// The `_id` of the document that changed, and the document after the change.
    pub fn document(&self) -> (Option<bson::Bson>, Option<bson::Document>) {
        let id = self
            .raw
            .get_document("documentKey")
            .ok()
            .and_then(|key| key.get("_id").ok().flatten());
        let document = self.raw.get_document("fullDocument").ok();
        (
            id.and_then(|id| id.try_into().ok()),
            document.and_then(|document| document.try_into().ok()),
        )
    }
}

/// The struct itself, its `Arc` and its names, roughly.
const EVENT_OVERHEAD_BYTES: usize = 256;

impl Operation {
    fn read(text: &str) -> Self {
        match text {
            "drop" => Self::Drop,
            "rename" => Self::Rename,
            "dropDatabase" => Self::DropDatabase,
            "invalidate" => Self::Invalidate,
            "create" | "createIndexes" | "dropIndexes" | "modify" | "shardCollection" => {
                Self::Other
            }
            _ => Self::Data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_time_and_its_order() {
        let early = ResumeToken::parse("826373F3B1000000012B022C0100296E5A1004").unwrap();
        let late = ResumeToken::parse("826373F3B1000000022B022C0100296E5A1004").unwrap();
        assert_eq!(
            early.time(),
            Timestamp {
                time: 0x6373_F3B1,
                increment: 1
            }
        );
        assert!(early < late);
        assert_eq!(ResumeToken::from_driver(&early.to_driver()), Some(early));
    }

    #[test]
    fn what_cannot_be_a_token_is_none() {
        for text in [
            "",
            "zz",
            "82",
            "826373F3B10000000",
            "936373F3B100000001",
            "826373F3B10000000G",
        ] {
            assert_eq!(ResumeToken::parse(text), None, "{text}");
        }
    }
}
