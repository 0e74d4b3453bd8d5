//! A request, read: which resource it means, what it asks, what it bears.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::answer::Failure;
use crate::json;

/// What a path means, below the database that it shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Every database: `/all`.
    Root,
    Database,
    DatabaseProperties,
    Collection(String),
    CollectionProperties(String),
    Size(String),
    /// All documents that a filter finds: `/coll/*`.
    Documents(String),
    Document(String, String),
    /// Below a document there is nothing.
    Deeper(String),
}

/// A path, read.
#[derive(Debug)]
pub(crate) struct Target {
    /// How a client calls the database: empty, or `/all/<database>`.
    pub(crate) base: String,
    pub(crate) database: String,
    pub(crate) place: Place,
}

impl Target {
    /// Reads a path, where `/` shows the database `root`.
    pub(crate) fn parse(path: &str, root: &str) -> Result<Self, Failure> {
        let tokens = path
            .trim_end_matches('/')
            .split('/')
            .skip(1)
            .map(|token| {
                let decoded = percent_decode_str(token).decode_utf8();
                decoded
                    .map(String::from)
                    .map_err(|_| Failure::bad_request("the path is not UTF-8"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (base, database, tokens) = match tokens.as_slice() {
            [all] if all == "all" => (String::new(), String::new(), None),
            [all, database, rest @ ..] if all == "all" => (
                format!("/all/{}", encode(database)),
                database.clone(),
                Some(rest),
            ),
            rest => (String::new(), root.to_owned(), Some(rest)),
        };
        let place = match tokens {
            None => Place::Root,
            Some([]) => Place::Database,
            Some([meta]) if meta == "_meta" => Place::DatabaseProperties,
            Some([collection]) => Place::Collection(collection.clone()),
            Some([collection, last]) => match last.as_str() {
                "_meta" => Place::CollectionProperties(collection.clone()),
                "_size" => Place::Size(collection.clone()),
                "*" => Place::Documents(collection.clone()),
                id => Place::Document(collection.clone(), id.to_owned()),
            },
            Some([collection, ..]) => Place::Deeper(collection.clone()),
        };
        let target = Self {
            base,
            database,
            place,
        };
        target.check_names()?;
        Ok(target)
    }

    /// The collection that is meant, or in which the meant document lies.
    pub(crate) fn collection(&self) -> Option<&str> {
        match &self.place {
            Place::Root | Place::Database | Place::DatabaseProperties => None,
            Place::Collection(name)
            | Place::CollectionProperties(name)
            | Place::Size(name)
            | Place::Documents(name)
            | Place::Document(name, _)
            | Place::Deeper(name) => Some(name),
        }
    }

    fn check_names(&self) -> Result<(), Failure> {
        let reserved = || Failure::Refused(StatusCode::FORBIDDEN, "reserved resource".to_owned());
        if self.place == Place::Root {
            return Ok(());
        }
        let lower_case = self.database.to_lowercase();
        if RESERVED_DATABASES.contains(&lower_case.as_str()) || lower_case.starts_with("system.") {
            return Err(reserved());
        }
        if self.database.len() > DATABASE_NAME_BYTES_MAX
            || self
                .database
                .contains(['\0', ' ', '/', '\\', '.', '"', '$'])
        {
            return Err(Failure::bad_request("illegal database name"));
        }
        let Some(collection) = self.collection() else {
            return Ok(());
        };
        if collection.contains(['\0', '$']) {
            return Err(Failure::bad_request("illegal collection name"));
        }
        let is_reserved = collection.is_empty()
            || collection == "_properties"
            || collection.starts_with("system.")
            || collection.ends_with(".chunks");
        if is_reserved { Err(reserved()) } else { Ok(()) }
    }
}

/// Everything else of a request.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    query: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn new(parts: &http::request::Parts, body: Bytes) -> Self {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let query = parts.uri.query().unwrap_or_default();
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            });
        Self {
            method: parts.method.clone(),
            headers: parts.headers.clone(),
            query: query.collect(),
            body,
        }
    }

    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters(name).next()
    }

    fn parameters(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a number within these bounds.
    pub(crate) fn number(
        &self,
        name: &str,
        default: u32,
        bounds: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, Failure> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        match text.parse() {
            Ok(number) if bounds.contains(&number) => Ok(number),
            Ok(_) => Err(Failure::bad_request(format!(
                "illegal {name} parameter, it is out of bounds"
            ))),
            Err(_) => Err(Failure::bad_request(format!(
                "illegal {name} parameter, it is not a number"
            ))),
        }
    }

    /// A query parameter that is a JSON object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Document>, Failure> {
        self.parameter(name)
            .map(|text| object(name, text))
            .transpose()
    }

    /// All `filter` parameters as one filter; `None` if there is none.
    pub(crate) fn filter(&self) -> Result<Option<Document>, Failure> {
        let filters = self.parameters("filter").map(|text| object("filter", text));
        let mut filters = filters.collect::<Result<Vec<_>, _>>()?;
        Ok(match filters.len() {
            0 => None,
            1 => filters.pop(),
            _ => Some(doc! { "$and": filters }),
        })
    }

    /// The body, an object; an absent one is empty.
    pub(crate) fn content(&self) -> Result<Document, Failure> {
        if self.body.is_empty() {
            return Ok(Document::new());
        }
        json::document(&self.body)
            .map_err(|error| Failure::bad_request(format!("invalid JSON: {error}")))
    }

    /// The body, an object or an array of objects.
    pub(crate) fn contents(&self) -> Result<Contents, Failure> {
        let invalid =
            || Failure::bad_request("the body must be a JSON object, or an array of them");
        if self.body.is_empty() {
            return Ok(Contents::One(Document::new()));
        }
        let value = json::value(&self.body);
        match value.map_err(|error| Failure::bad_request(format!("invalid JSON: {error}")))? {
            Bson::Document(one) => Ok(Contents::One(one)),
            Bson::Array(many) => {
                let many = many.into_iter().map(|value| match value {
                    Bson::Document(one) => Ok(one),
                    _ => Err(invalid()),
                });
                Ok(Contents::Many(many.collect::<Result<_, _>>()?))
            }
            _ => Err(invalid()),
        }
    }

    /// The ETag that the resource must have.
    pub(crate) fn if_match(&self) -> Option<Bson> {
        self.etag(header::IF_MATCH)
    }

    /// The ETag that the client has already.
    pub(crate) fn if_none_match(&self) -> Option<Bson> {
        self.etag(header::IF_NONE_MATCH)
    }

    fn etag(&self, name: HeaderName) -> Option<Bson> {
        let text = self
            .headers
            .get(name)?
            .to_str()
            .ok()?
            .trim()
            .trim_matches('"');
        Some(match ObjectId::parse_str(text) {
            Ok(id) => Bson::ObjectId(id),
            Err(_) => Bson::String(text.to_owned()),
        })
    }

    /// The `_id` that the last token of a path means: an ObjectId if it looks like one, unless `id_type` says otherwise.
    pub(crate) fn id(&self, token: &str) -> Result<Bson, Failure> {
        let wrong = || Failure::bad_request("wrong document id format");
        match self.parameter("id_type").unwrap_or("STRING_OID") {
            "STRING" => Ok(Bson::String(token.to_owned())),
            "OID" => ObjectId::parse_str(token)
                .map(Bson::ObjectId)
                .map_err(|_| wrong()),
            "NUMBER" => match json::value(token.as_bytes()) {
                Ok(number @ (Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_))) => Ok(number),
                _ => Err(wrong()),
            },
            "STRING_OID" => Ok(match ObjectId::parse_str(token) {
                Ok(id) => Bson::ObjectId(id),
                Err(_) => Bson::String(token.to_owned()),
            }),
            other => Err(Failure::bad_request(format!("unknown id_type {other}"))),
        }
    }
}

/// A body of one document, or of many.
pub(crate) enum Contents {
    One(Document),
    Many(Vec<Document>),
}

fn object(name: &str, text: &str) -> Result<Document, Failure> {
    json::document(text.as_bytes())
        .map_err(|error| Failure::bad_request(format!("illegal {name} parameter: {error}")))
}

/// One token of a path, percent-encoded.
pub(crate) fn encode(token: &str) -> String {
    utf8_percent_encode(token, TOKEN).to_string()
}

const TOKEN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const RESERVED_DATABASES: [&str; 4] = ["", "admin", "config", "local"];
const DATABASE_NAME_BYTES_MAX: usize = 64;
