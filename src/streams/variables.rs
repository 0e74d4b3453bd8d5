//! What one request binds: injected variables, `avars`, plain query parameters.
//!
//! From strongest to weakest: what is injected (its names begin with `@`, and no client can bind such a name), `avars`,
//! and query parameters, which are strings. Reserved parameters bind nothing. A client cannot bring an operator, nor a
//! regular expression or code: they would not be compared, but act.
//!
//! Source: `restheart-compat.md` sections 2.5 and 2.6; `design.md` section 5.

#[cfg(test)]
mod tests;

use bson::{Bson, DateTime, Document, doc};

use crate::{
    access::{MongoPermissions, Permission, Principal},
    notation::{
        escape, is_within, shell,
        template::{self, Bound},
        values::{self, ValueError, Values},
    },
    streams::{PipelineLimits, java},
};

/// Who asks, and what the permission says: what is injected comes from here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// Who it is; none for a stranger.
    pub principal: Option<&'a Principal>,
    /// The permission that let them in; none for the root role.
    pub permission: Option<&'a Permission>,
    /// Whether they have the root role: all is allowed, nothing is filtered.
    pub is_root: bool,
}

impl<'a> Caller<'a> {
    fn properties(&self) -> Option<&'a Document> {
        self.principal
            .and_then(|principal| principal.properties.as_ref())
    }

    fn name(&self) -> Option<&'a str> {
        self.principal.map(|principal| principal.name.as_str())
    }

    /// Returns what the permission says of the data; nothing is allowed where it says nothing.
    fn rights(&self) -> MongoPermissions {
        match self.permission {
            _ if self.is_root => MongoPermissions::all(),
            Some(permission) => permission.mongo.clone(),
            None => MongoPermissions::default(),
        }
    }
}

/// What is wrong with the variables of a request. All but [`VariableError::AvarsNotObject`] are 400 in RESTHeart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// `avars` cannot be read.
    #[error("illegal avars parameter, it is not a json object: {raw}")]
    AvarsIllegal {
        /// The parameter.
        raw: String,
    },
    /// `avars` is read, but as another value than an object; RESTHeart answers 500, before it asks for credentials.
    #[error("Error handling the request, see log for more information")]
    AvarsNotObject {
        /// The type it has, in the driver's words.
        found: &'static str,
    },
    /// `avars` is nested deeper than `limits.depth`.
    #[error("illegal avars parameter: nested more than {max} deep (limits.depth)")]
    TooDeep {
        /// How deep it may be.
        max: usize,
    },
    /// The request brings more variables than `limits.variables`.
    #[error("illegal avars parameter: more than {max} variables (limits.variables)")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// `avars` holds an operator, a regular expression or code.
    #[error("illegal avars parameter: {raw}")]
    AvarsOperator {
        /// The parameter.
        raw: String,
    },
    /// `page` or `pagesize` is no number.
    #[error("illegal {parameter} parameter, it is not a number")]
    NotANumber {
        /// Which one.
        parameter: &'static str,
        /// Its value.
        raw: String,
    },
    /// `page` is less than 1.
    #[error("illegal page parameter, it is < 1")]
    PageTooSmall,
    /// `pagesize` is out of range.
    #[error("illegal pagesize parameter, pagesize must be >= 0 and <= {PAGE_SIZE_MAX}")]
    PageSize,
}

impl VariableError {
    /// Returns the exception that RESTHeart names in the body beside the message: its class, and its own message.
    pub fn exception(&self) -> Option<(&'static str, String)> {
        match self {
            Self::AvarsIllegal { .. }
            | Self::TooDeep { .. }
            | Self::TooMany { .. }
            | Self::PageTooSmall
            | Self::PageSize => None,
            Self::AvarsNotObject { found } => Some((
                "org.bson.BsonInvalidOperationException",
                format!(
                    "readStartDocument can only be called when CurrentBSONType is DOCUMENT, \
                     not when CurrentBSONType is {found}."
                ),
            )),
            Self::AvarsOperator { .. } => Some((
                "java.lang.SecurityException",
                "aggregation variables cannot include operators".to_owned(),
            )),
            Self::NotANumber { raw, .. } => Some((
                "java.lang.NumberFormatException",
                format!("For input string: \"{raw}\""),
            )),
        }
    }
}

/// Where in a result a client would be; streams know it only as variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    page: i32,
    page_size: i32,
}

impl Paging {
    /// Reads `pagesize` and `page`.
    pub fn read(query: &[(String, String)]) -> Result<Self, VariableError> {
        let number = |parameter: &'static str, default: i32| match first(query, parameter) {
            None => Ok(default),
            Some(raw) => raw.parse().map_err(|_| VariableError::NotANumber {
                parameter,
                raw: raw.to_owned(),
            }),
        };
        let page_size = number("pagesize", PAGE_SIZE_DEFAULT)?;
        if !(0..=PAGE_SIZE_MAX).contains(&page_size) {
            return Err(VariableError::PageSize);
        }
        let page = number("page", 1)?;
        if page < 1 {
            return Err(VariableError::PageTooSmall);
        }
        Ok(Self { page, page_size })
    }
}

/// Reads the first `avars`; absent means none.
///
/// # Errors
/// [`VariableError`]; RESTHeart says so before it looks for the stream.
pub fn read_avars(query: &[(String, String)]) -> Result<Document, VariableError> {
    let Some(raw) = first(query, "avars") else {
        return Ok(Document::new());
    };
    let avars = match shell::parse(raw) {
        Ok(Bson::Document(avars)) => avars,
        Ok(other) => {
            return Err(VariableError::AvarsNotObject {
                found: java::type_name(&other),
            });
        }
        Err(_) => {
            return Err(VariableError::AvarsIllegal {
                raw: raw.to_owned(),
            });
        }
    };
    let avars = Bson::Document(avars);
    if template::holds_operator(&avars) {
        return Err(VariableError::AvarsOperator {
            raw: raw.to_owned(),
        });
    }
    let Bson::Document(avars) = avars else {
        unreachable!("invariant: made two lines above")
    };
    Ok(avars
        .into_iter()
        .filter(|(name, _)| !name.starts_with('@'))
        .collect())
}

/// All that one request binds.
#[derive(Clone, Debug, PartialEq)]
pub struct Variables {
    injected: Document,
    avars: Document,
    plain: Document,
}

impl Variables {
    /// Gathers the variables of a request for a stream of `collection` in `database`.
    ///
    /// # Errors
    /// [`VariableError`], in RESTHeart's order of checks.
    pub fn collect(
        query: &[(String, String)],
        caller: &Caller<'_>,
        database: &str,
        collection: &str,
        limits: &PipelineLimits,
    ) -> Result<Self, VariableError> {
        let paging = Paging::read(query)?;
        let avars = Bson::Document(read_avars(query)?);
        if !is_within(&avars, limits.depth_max) {
            return Err(VariableError::TooDeep {
                max: limits.depth_max,
            });
        }
        let Bson::Document(avars) = avars else {
            unreachable!("invariant: made some lines above")
        };
        let mut plain = Document::new();
        for (name, value) in query {
            let is_reserved = name.starts_with('@') || RESERVED.contains(&name.as_str());
            if !is_reserved && !name.contains('\0') && !plain.contains_key(name) {
                plain.insert(name, value.as_str());
            }
        }
        if avars.len() + plain.len() > limits.variables_max {
            return Err(VariableError::TooMany {
                max: limits.variables_max,
            });
        }
        Ok(Self {
            injected: inject(query, caller, database, collection, paging),
            avars,
            plain,
        })
    }

    /// Returns what `name` is bound to.
    pub fn get(&self, name: &str) -> Option<Bound> {
        if name.starts_with('@') {
            let value = template::lookup(&self.injected, name)?.clone();
            return Some(Bound {
                value,
                is_trusted: name.starts_with("@mongoPermissions"),
            });
        }
        let value =
            template::lookup(&self.avars, name).or_else(|| template::lookup(&self.plain, name))?;
        Some(Bound {
            value: value.clone(),
            is_trusted: false,
        })
    }
}

fn inject(
    query: &[(String, String)],
    caller: &Caller<'_>,
    database: &str,
    collection: &str,
    paging: Paging,
) -> Document {
    let rights = caller.rights();
    let mut injected = doc! {
        "@page": paging.page,
        "@pagesize": paging.page_size,
        "@limit": paging.page_size,
        "@skip": paging.page_size.saturating_mul(paging.page.saturating_sub(1)),
        // Filters in it stay as they are stored.
        "@mongoPermissions": rights.variable(escape::escape_keys),
        "@mongoPermissions.projectResponse": rights.project_response.clone(),
    };
    let filters = [
        ("@mongoPermissions.mergeRequest", &rights.merge_request),
        ("@mongoPermissions.readFilter", &rights.read_filter),
        ("@mongoPermissions.writeFilter", &rights.write_filter),
    ];
    for (name, filter) in filters {
        let filter = filter
            .as_ref()
            .map(|filter| resolve_filter(filter, query, caller, database, collection));
        match filter {
            None => drop(injected.insert(name, Bson::Null)),
            Some(Ok(filter)) => drop(injected.insert(name, filter)),
            // What has no value stays unbound; a read filter is refused where it has to be applied.
            Some(Err(_)) => (),
        }
    }
    injected.insert("@user", caller.properties().cloned());
    for (name, value) in caller.properties().into_iter().flatten() {
        injected.insert(format!("@user.{name}"), value);
    }
    injected
}

/// Returns a stored filter of the permission, unescaped and with its names put in.
pub(super) fn resolve_filter(
    filter: &Document,
    query: &[(String, String)],
    caller: &Caller<'_>,
    database: &str,
    collection: &str,
) -> Result<Document, ValueError> {
    let request = doc! {
        "db": database, "collection": collection, "resourceType": "CHANGE_STREAM", "userName": caller.name(),
    };
    let permissions = caller.rights().variable(escape::escape_keys);
    let values = Values {
        user_name: caller.name(),
        roles: caller
            .principal
            .map_or(&[], |principal| principal.roles.as_slice()),
        user: caller.properties(),
        query,
        request: Some(&request),
        permissions: Some(&permissions),
        now: DateTime::now(),
    };
    values::interpolate(&escape::unescape(filter), &values)
}

/// Returns the first value of the parameter `name`.
pub(super) fn first<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.as_str())
}

/// Parameters that mean something of their own, and so bind no variable.
const RESERVED: [&str; 25] = [
    "avars",
    "jsonMode",
    "lastEventID",
    "page",
    "pagesize",
    "filter",
    "keys",
    "sort",
    "sort_by",
    "hint",
    "hal",
    "rep",
    "np",
    "cache",
    "nocache",
    "count",
    "sid",
    "txn",
    "shardkey",
    "id_type",
    "wm",
    "noauthchallenge",
    "readConcern",
    "readPreference",
    "writeConcern",
];
const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 1000;
