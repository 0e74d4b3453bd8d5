//! One request on one definition: the bound pipeline.
//!
//! In this order: `$ifvar`, `$var`, the screen, the stages that a change stream may have, the permission's read filter
//! put in front, its hidden fields taken away and a veil, and `notify_when` as a filter on the outgoing event. Each step takes what
//! the former gives; the first that refuses decides.
//!
//! Source: `restheart-compat.md` sections 2.3 to 2.8; `design.md` sections 5 and 8.

mod hiding;
mod optional;
mod projection;
mod read_filter;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use bson::{Bson, Document, doc};

use crate::{
    access::{Permission, Principal},
    notation::{
        template::{self, Bound, TemplateError},
        values::ValueError,
    },
    wire::Veil,
};

use self::read_filter::PRE_IMAGE;
use super::{
    definition::Definition,
    java,
    limits::{PipelineLimits, weight, weight_of},
    screen::{self, Violation},
    variables::{self, Caller, VariableError, Variables},
};

/// What a request brings.
#[derive(Clone, Copy, Debug)]
pub struct BindRequest<'a> {
    /// The query's parameters, decoded, in order.
    pub query: &'a [(String, String)],
    /// Who asks; none for a stranger.
    pub principal: Option<&'a Principal>,
    /// The permission that let them in; none for the root role.
    pub permission: Option<&'a Permission>,
    /// Whether they have the root role: nothing is filtered then.
    pub is_root: bool,
    /// The collection's database.
    pub database: &'a str,
    /// The collection.
    pub collection: &'a str,
    /// Whether a `notify_when` without its parameter refuses; else it lets all through, as in RESTHeart.
    pub notify_when_unbound_refuses: bool,
    /// Whether the permission's read filter and hidden fields are applied; RESTHeart does neither.
    pub enforce_read_filter: bool,
    /// Whether events bear the state before a change, where the collection keeps it: a delete can be judged by it.
    pub pre_images: bool,
    /// A path of the document that nobody is shown: where the collection's users have their passwords.
    pub never_shown: Option<&'a str>,
    /// How much the variables, and the pipeline with them, may be.
    pub limits: PipelineLimits,
}

impl<'a> BindRequest<'a> {
    fn caller(&self) -> Caller<'a> {
        Caller {
            principal: self.principal,
            permission: self.permission,
            is_root: self.is_root,
        }
    }
}

/// A pipeline with nothing left to bind.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundPipeline {
    /// The stages; the read filter, if any, is the first, and what takes hidden fields away the next.
    pub stages: Vec<Document>,
    /// A filter on the outgoing event: `{"fullDocument.tid": "A"}`.
    pub notify: Option<Document>,
    /// What is hidden in the frames.
    pub veil: Veil,
}

/// Why a stream cannot be bound. What is shown is RESTHeart's message, where it has one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BindError {
    /// The client's variables are illegal.
    #[error(transparent)]
    Variables(#[from] VariableError),
    /// The client left a variable unbound.
    #[error("variable {0} not bound")]
    Unbound(String),
    /// With the client's variables the pipeline has more values than `limits.values`.
    #[error("the variables make a pipeline of more than {max} values (limits.values)")]
    TooLarge {
        /// How many there may be.
        max: usize,
    },
    /// A variable, from the user's own record, would act as an operator where it stands.
    #[error("variable {0} holds an operator")]
    Operator(String),
    /// The definition's `$ifvar` or `$var` is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The definition holds what a change stream does not allow.
    #[error("stages[{index}]: {reason}")]
    Stage {
        /// Which stage of the resolved pipeline.
        index: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The screen forbids it.
    #[error(transparent)]
    Screen(#[from] Violation),
    /// The permission's read filter cannot be applied to events exactly.
    #[error("the read filter of the permission cannot be applied to a stream: {0}")]
    ReadFilter(String),
    /// The permission's `projectResponse` cannot be applied to events.
    #[error("projectResponse of the permission cannot be applied to a stream: {0}")]
    Projection(String),
}

impl BindError {
    /// Returns the exception that RESTHeart names in the body beside the message.
    pub fn exception(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Variables(error) => error.exception(),
            Self::Unbound(_)
            | Self::TooLarge { .. }
            | Self::Operator(_)
            | Self::Malformed(_)
            | Self::Stage { .. }
            | Self::Screen(_)
            | Self::ReadFilter(_)
            | Self::Projection(_) => None,
        }
    }
}

impl From<TemplateError> for BindError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Unbound(name) => Self::Unbound(name),
            TemplateError::WrongName(value) => {
                Self::Malformed(format!("wrong variable name {}", java::text(&value)))
            }
            TemplateError::Operator(name) => Self::Operator(name),
        }
    }
}

/// Binds `definition` for one request.
///
/// # Errors
/// [`BindError`], of several faults the first in the order of the module's text.
pub fn bind(
    definition: &Definition,
    request: &BindRequest<'_>,
) -> Result<BoundPipeline, BindError> {
    let BindRequest {
        query,
        database,
        collection,
        ..
    } = *request;
    let caller = request.caller();
    let variables = Variables::collect(query, &caller, database, collection, &request.limits)?;
    let mut stages = resolve(&definition.stages, &variables, &request.limits)?;
    screen::check(&stages)?;
    check_allowed(&stages)?;
    let notify = notify(definition, request, &variables)?;
    let rights = request
        .permission
        .filter(|_| request.enforce_read_filter && !request.is_root)
        .map(|permission| &permission.mongo);
    let mut veil = match rights.and_then(|rights| rights.project_response.as_ref()) {
        Some(projection) => projection::veil(projection).map_err(BindError::Projection)?,
        None => Veil::default(),
    };
    veil.hidden_paths
        .extend(request.never_shown.map(str::to_owned));
    let mut in_front = Vec::new();
    if let Some(filter) = rights.and_then(|rights| rights.read_filter.as_ref()) {
        in_front.push(front(definition, filter, request)?);
        // The document that is judged may be a later state than the event's own: its changes are not shown.
        veil.update_description = false;
    }
    let may_read = |field| hiding::may_read(field, &stages, notify.as_ref());
    let sees_hidden = !veil.is_clear() && (!stages.is_empty() || notify.is_some());
    if sees_hidden {
        in_front.extend(hiding::stages(&veil));
    }
    // Its keys are dotted paths, which no stage could take away by name.
    if (sees_hidden || !veil.update_description) && may_read(CHANGES) {
        in_front.push(doc! { "$unset": CHANGES });
    }
    // The state before is there to judge by: it may be one that this caller must not see.
    if request.pre_images && may_read(PRE_IMAGE) {
        in_front.push(doc! { "$unset": PRE_IMAGE });
    }
    stages.splice(0..0, in_front);
    Ok(BoundPipeline {
        stages,
        notify,
        veil,
    })
}

/// Returns the pipeline of `definition` as some request may make it, to see how it would be served: every optional stage
/// is there, and each variable without default is a string. No permission limits it.
///
/// # Errors
/// [`BindError`], where every request would be refused for the definition's own sake.
pub fn example(definition: &Definition) -> Result<BoundPipeline, BindError> {
    let stages = resolve_with(&definition.stages, &|_| true, &|name| {
        // Injected filters stand where a document has to stand.
        if name.starts_with("@mongoPermissions") {
            return Some(Bound {
                value: Bson::Document(Document::new()),
                is_trusted: true,
            });
        }
        Some(Bound {
            value: Bson::from("example"),
            is_trusted: false,
        })
    })?;
    screen::check(&stages)?;
    check_allowed(&stages)?;
    let notify = definition
        .notify_when
        .as_ref()
        .map(|condition| doc! { condition.path.as_deref().unwrap_or("_id"): "example" });
    Ok(BoundPipeline {
        stages,
        notify,
        veil: Veil::default(),
    })
}

/// Resolves `$ifvar` in all stages, then `$var`. A stage that is no document then is dropped, as RESTHeart does.
fn resolve(
    stages: &[Document],
    variables: &Variables,
    limits: &PipelineLimits,
) -> Result<Vec<Document>, BindError> {
    let max = limits.values_max;
    // A large value may be put in at many places: it stops before that costs anything, not after.
    let put_in = Cell::new(0_usize);
    let resolved = resolve_with(stages, &|name| variables.get(name).is_some(), &|name| {
        if put_in.get() > max {
            let (value, is_trusted) = (Bson::Null, true);
            return Some(Bound { value, is_trusted });
        }
        let bound = variables.get(name)?;
        put_in.set(put_in.get().saturating_add(weight(&bound.value)));
        Some(bound)
    })?;
    let whole = resolved.iter().map(weight_of).sum::<usize>();
    match put_in.get().max(whole) > max {
        true => Err(BindError::TooLarge { max }),
        false => Ok(resolved),
    }
}

fn resolve_with(
    stages: &[Document],
    is_bound: &dyn Fn(&str) -> bool,
    bound: &dyn Fn(&str) -> Option<Bound>,
) -> Result<Vec<Document>, BindError> {
    let mut chosen = Vec::with_capacity(stages.len());
    for stage in stages {
        chosen.extend(optional::choose(stage, is_bound).map_err(BindError::Malformed)?);
    }
    let mut resolved = Vec::with_capacity(chosen.len() + 1);
    for stage in chosen {
        if let Bson::Document(stage) = template::interpolate(&stage, bound)? {
            resolved.push(stage);
        }
    }
    Ok(resolved)
}

/// Refuses what MongoDB would refuse anyway, once nobody could be told any more.
fn check_allowed(stages: &[Document]) -> Result<(), BindError> {
    for (index, stage) in stages.iter().enumerate() {
        let refused = |name: &str, reason: String| {
            Err(BindError::Stage {
                index,
                name: name.to_owned(),
                reason,
            })
        };
        let mut names = stage.keys();
        let (Some(name), None) = (names.next(), names.next()) else {
            return refused("", "a stage has exactly one key".to_owned());
        };
        if !ALLOWED.contains(&name.as_str()) {
            return refused(name, format!("{name} is not allowed in a change stream"));
        }
        let operand = stage
            .get(name)
            .expect("invariant: the name is a key of the stage");
        let Bson::Document(operand) = operand else {
            if OF_DOCUMENTS.contains(&name.as_str()) {
                return refused(name, format!("{name} needs a document"));
            }
            continue;
        };
        if let Some(operator) = operand
            .keys()
            .find(|key| name == "$match" && REFUSED_QUERIES.contains(&key.as_str()))
        {
            return refused(
                name,
                format!("{operator} is not allowed in a change stream"),
            );
        }
    }
    Ok(())
}

/// Returns the stage that holds back what the permission's read filter hides.
fn front(
    definition: &Definition,
    stored: &Document,
    request: &BindRequest<'_>,
) -> Result<Document, BindError> {
    let BindRequest {
        query,
        database,
        collection,
        ..
    } = *request;
    let caller = request.caller();
    let filter = variables::resolve_filter(stored, query, &caller, database, collection).map_err(
        |error| {
            let (ValueError::NoValue(_) | ValueError::Operator(_)) = &error;
            BindError::ReadFilter(error.to_string())
        },
    )?;
    if read_filter::is_written_for_events(&filter) && applies_read_filter(definition) {
        return Ok(doc! { "$match": read_filter::judged() });
    }
    let rerooted =
        read_filter::reroot(&filter, request.pre_images).map_err(BindError::ReadFilter)?;
    Ok(doc! { "$match": rerooted })
}

/// Whether the definition itself has the permission's read filter as a stage.
fn applies_read_filter(definition: &Definition) -> bool {
    let stage = doc! { "$match": { "$var": "@mongoPermissions.readFilter" } };
    definition.stages.contains(&stage)
}

/// Returns `notify_when` as a filter on the outgoing event.
///
/// The value is the plain query parameter, whatever its name; else what the variables bind. Names beginning with `@` are
/// never the client's, and are refused where they are unbound.
fn notify(
    definition: &Definition,
    request: &BindRequest<'_>,
    variables: &Variables,
) -> Result<Option<Document>, BindError> {
    let Some(condition) = &definition.notify_when else {
        return Ok(None);
    };
    let name = &condition.variable;
    let is_injected = name.starts_with('@');
    let plain = variables::first(request.query, name)
        .filter(|_| !is_injected)
        .map(Bson::from);
    let Some(value) = plain.or_else(|| variables.get(name).map(|bound| bound.value)) else {
        return match is_injected || request.notify_when_unbound_refuses {
            true => Err(BindError::Unbound(name.clone())),
            false => Ok(None),
        };
    };
    let test = match value {
        Bson::String(text) => Bson::String(text),
        other => Bson::Document(doc! { "$eq": other }),
    };
    Ok(Some(match &condition.path {
        Some(path) => doc! { path: test },
        // Every event has an `_id`.
        None => doc! { "_id": { "$exists": false } },
    }))
}

/// Where an event tells what an update changed.
const CHANGES: &str = "updateDescription";

/// The stages of which a change stream may consist.
const ALLOWED: [&str; 9] = [
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$redact",
    "$changeStreamSplitLargeEvent",
];
/// Those whose operand must be a document.
const OF_DOCUMENTS: [&str; 6] = [
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$replaceRoot",
    "$changeStreamSplitLargeEvent",
];
/// Queries that need an index, and so have no meaning on events.
const REFUSED_QUERIES: [&str; 2] = ["$text", "$geoNear"];
