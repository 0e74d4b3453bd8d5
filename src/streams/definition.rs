//! The `streams` of one collection, as its `_properties` document holds them.
//!
//! An entry is `{ uri, stages, notify_when? }`; anything else in it is ignored. An entry that is broken is broken alone:
//! its neighbours work. Both spellings of operators and dots are read.
//!
//! Source: `restheart-compat.md` sections 2.1, 2.2 and 2.8; `design.md` section 9.

mod notify;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bson::{Bson, Document, doc};

use crate::{notation, notation::escape};

use super::java;
use super::limits::{PipelineLimits, weight};

pub use notify::NotifyWhen;

/// One stream, as defined.
///
/// Two definitions are equal if and only if nothing that a session rests on differs: a change in spelling only, or in a
/// field that is not read, is none.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name after `_streams/`.
    pub uri: String,
    /// The stages, unescaped; variables are not yet put in.
    pub stages: Vec<Document>,
    /// The condition on each outgoing event, if any.
    pub notify_when: Option<NotifyWhen>,
    /// All of the above as BSON bytes: comparing values would tell NaN from itself, and not -0 from 0.
    bytes: Vec<u8>,
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Definition {}

/// Why a stream cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// No entry has this uri.
    #[error("Change Stream does not exist")]
    Unknown,
    /// The entry cannot be used; the text is RESTHeart's.
    #[error("{0}")]
    Broken(String),
}

/// The definitions of one collection: entries in their order, each good or broken by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionDefinitions {
    entries: Vec<DefinitionEntry>,
    /// Why `streams` as a whole cannot be read.
    broken: Option<String>,
}

/// One element of `streams`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionEntry {
    /// Its uri, unless that is missing or no string.
    pub uri: Option<String>,
    /// What it defines, or why it cannot be used.
    pub definition: Result<Arc<Definition>, String>,
}

impl CollectionDefinitions {
    /// Reads the value of `streams`; absent means that there are none. A definition beyond the limits is broken.
    pub fn parse(streams: Option<&Bson>, limits: &PipelineLimits) -> Self {
        match streams {
            None => Self::default(),
            Some(Bson::Array(elements)) => Self {
                entries: elements
                    .iter()
                    .map(|element| DefinitionEntry::parse(element, limits))
                    .collect(),
                broken: None,
            },
            Some(other) => Self {
                entries: Vec::new(),
                broken: Some(format!(
                    "element 'streams' is not an array list.{}",
                    java::text(other)
                )),
            },
        }
    }

    /// Returns the definition of the stream `uri`: the first entry of that name counts, even a broken one.
    ///
    /// # Errors
    /// [`DefinitionError::Broken`] if that entry, or the whole, is broken; also for an unknown uri where some entry lacks
    /// its uri, since that may be the one. Else [`DefinitionError::Unknown`].
    pub fn find(&self, uri: &str) -> Result<Arc<Definition>, DefinitionError> {
        if let Some(message) = &self.broken {
            return Err(DefinitionError::Broken(message.clone()));
        }
        if let Some(entry) = self
            .entries
            .iter()
            .find(|entry| entry.uri.as_deref() == Some(uri))
        {
            return entry.definition.clone().map_err(DefinitionError::Broken);
        }
        let nameless = self.entries.iter().filter(|entry| entry.uri.is_none());
        match nameless
            .filter_map(|entry| entry.definition.as_ref().err())
            .next()
        {
            Some(message) => Err(DefinitionError::Broken(message.clone())),
            None => Err(DefinitionError::Unknown),
        }
    }

    /// The entries in their order, broken and repeated ones too.
    pub fn entries(&self) -> impl Iterator<Item = &DefinitionEntry> {
        self.entries.iter()
    }

    /// Why nothing of `streams` can be read, if so.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Adds the entries of `more` behind these; entries of the same uri are then not reached.
    pub(super) fn followed_by(mut self, more: &Self) -> Self {
        self.entries.extend(more.entries.iter().cloned());
        self
    }
}

impl DefinitionEntry {
    fn parse(element: &Bson, limits: &PipelineLimits) -> Self {
        let Bson::Document(element) = element else {
            let message = format!("element 'streams' is not valid.{}", java::text(element));
            return Self {
                uri: None,
                definition: Err(message),
            };
        };
        let uri = match element.get("uri") {
            Some(Bson::String(uri)) => uri.clone(),
            Some(other) => {
                return Self {
                    uri: None,
                    definition: Err(java::unexpected_type("STRING", other)),
                };
            }
            None => {
                let message = "query does not have 'uri' property".to_owned();
                return Self {
                    uri: None,
                    definition: Err(message),
                };
            }
        };
        let definition = Definition::parse(&uri, element, limits).map(Arc::new);
        Self {
            uri: Some(uri),
            definition,
        }
    }
}

impl Definition {
    fn parse(uri: &str, element: &Document, limits: &PipelineLimits) -> Result<Self, String> {
        let invalid = |found: &str| {
            // RESTHeart has no blank before `has`.
            format!("query /{uri}has invalid 'stages': {found}; must be an array of stage objects")
        };
        let stages = element.get("stages").ok_or_else(|| invalid("null"))?;
        if !notation::is_within(stages, limits.depth_max) {
            return Err(format!(
                "query /{uri} has 'stages' nested too deep: limits.depth is {}",
                limits.depth_max
            ));
        }
        let Bson::Array(elements) = stages else {
            return Err(invalid(&java::text(stages)));
        };
        let (count, weight) = (elements.len(), weight(stages));
        if count > limits.stages_max {
            let max = limits.stages_max;
            return Err(format!(
                "query /{uri} has {count} 'stages': limits.stages is {max}"
            ));
        }
        if weight > limits.values_max {
            let max = limits.values_max;
            return Err(format!(
                "query /{uri} has {weight} values in 'stages': limits.values is {max}"
            ));
        }
        let stages = elements
            .iter()
            .map(|stage| stage.as_document().map(escape::unescape))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| invalid(&java::text(stages)))?;
        let notify_when = match element.get("notify_when") {
            None => None,
            Some(Bson::Document(condition)) => Some(NotifyWhen::parse(condition)?),
            Some(_) => {
                return Err(format!(
                    "query /{uri} has invalid 'notify_when': must be a document"
                ));
            }
        };
        let whole = doc! {
            "uri": uri,
            "stages": stages.clone(),
            "notify_when": notify_when.as_ref().map(|notify| doc! { notify.path.as_deref().unwrap_or_default(): &notify.variable }),
        };
        let bytes =
            bson::serialize_to_vec(&whole).map_err(|error| format!("query /{uri}: {error}"))?;
        Ok(Self {
            uri: uri.to_owned(),
            stages,
            notify_when,
            bytes,
        })
    }
}
