//! The stages of a change stream's pipeline over raw BSON: exactly, or not at all.
//!
//! A [`Pipeline`] is `$match`, `$project`, `$addFields`, `$set`, `$unset`, `$replaceRoot`, `$replaceWith` and `$redact` in
//! any order. It makes of an event what the server would make of it, lets it pass or not, or fails on it where the server
//! fails. The judge is a real server: `tests/it/query/stages.rs` and its neighbours.
//!
//! # The rooms
//!
//! - `parse`: the documents of stages, and what is refused.
//! - `projection`: `$project`, `$addFields` and `$unset`, a tree of names laid over each document.
//! - `redact`: `$redact`.
//! - `trail`: what a stage leaves behind that a later one could see; where that is not certain, the pipeline is refused.
//! - `output`: documents being written.
//!
//! # The resume token
//!
//! The server refuses an event whose `_id` a pipeline has changed. A pipeline that would change every `_id` is
//! unsupported, so that it says so itself; where it depends on the event, that one is a [`Failure`].
//!
//! # Places
//!
//! On the server a field that is gone leaves its place, which a later `$addFields` fills; and an event has such places
//! for the fields that only other events have. Documents between stages have them too (`value::EMPTY_SLOT`), as far as
//! a later stage may fill them; what goes out has none.

use std::borrow::Cow;

use bson::spec::ElementType;
use bson::{Document, RawDocument, RawDocumentBuf};

use crate::query::expression::{self, Budget, Expression, Failure, Scope};
use crate::query::stages::output::Output;
use crate::query::stages::parse::{Item, Says};
use crate::query::stages::projection::{Mode, Projection};
use crate::query::stages::trail::Trail;
use crate::query::value::{Doc, Value};
use crate::query::{Necessary, Predicate, Unsupported};

mod output;
mod parse;
mod projection;
mod redact;
#[cfg(test)]
mod tests;
mod trail;

/// Compiled stages.
#[derive(Debug)]
pub struct Pipeline {
    stages: Box<[Stage]>,
    /// Up to which stage each is a `$match`.
    first_reshaping: usize,
    /// Which of [`EVENT_SLOTS`] some stage may fill.
    fills: [bool; EVENT_SLOTS.len()],
    /// Whether `_id` may change.
    may_change_id: bool,
}

#[derive(Debug)]
enum Stage {
    Match(Predicate),
    Project(Projection),
    ReplaceRoot(Expression),
    Redact(Expression),
}

/// A stage that only the server can evaluate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stages[{index}]{}{name}: {reason}", if name.is_empty() { "" } else { "." })]
pub struct UnsupportedStage {
    index: usize,
    name: String,
    reason: Unsupported,
}

/// Compiles the stages behind `$changeStream`.
///
/// # Errors
/// [`UnsupportedStage`] names the first one that is not known to mean the same here as in MongoDB.
pub fn compile_pipeline(stages: &[Document]) -> Result<Pipeline, UnsupportedStage> {
    let mut compiler = Compiler::new();
    for (index, stage) in stages.iter().enumerate() {
        let mut names = stage.keys();
        let (name, is_one) = (names.next(), names.next().is_none());
        let name = name.filter(|_| is_one).cloned().unwrap_or_default();
        let compiled = compiler.stage(index, stage);
        compiled.map_err(|reason| UnsupportedStage {
            index,
            name,
            reason,
        })?;
    }
    Ok(compiler.finish())
}

struct Compiler {
    stages: Vec<Stage>,
    trail: Trail,
    budget: Budget,
    fills: [bool; EVENT_SLOTS.len()],
    may_change_id: bool,
}

impl Compiler {
    fn new() -> Self {
        Self {
            stages: Vec::new(),
            trail: Trail::default(),
            budget: Budget::new(),
            fills: [false; EVENT_SLOTS.len()],
            may_change_id: false,
        }
    }

    fn stage(&mut self, index: usize, stage: &Document) -> Result<(), Unsupported> {
        if index >= STAGES_MAX {
            return Err(refuse("a pipeline of so many stages"));
        }
        if let Some(bson::Bson::Document(filter)) = stage.get("$match")
            && stage.len() == 1
        {
            let predicate = crate::query::compile(filter)?;
            let raw = encode(filter)?;
            self.trail.filter(Doc::new(raw.as_bytes()))?;
            self.stages.push(Stage::Match(predicate));
            return Ok(());
        }
        let raw = encode(stage)?;
        let mut elements = Doc::new(raw.as_bytes()).elements();
        let (Some((name, spec)), None) = (elements.next(), elements.next()) else {
            return Err(refuse("what is no stage"));
        };
        let stage = match name {
            b"$project" => {
                let (mode, items) = parse::project(document(spec)?)?;
                self.projection(mode, &items)?
            }
            b"$addFields" | b"$set" => {
                let items = parse::add_fields(document(spec)?)?;
                self.projection(Mode::Add, &items)?
            }
            b"$unset" => {
                let items = parse::unset(spec)?;
                self.projection(Mode::Exclude, &items)?
            }
            b"$replaceRoot" => {
                let mut fields = document(spec)?.elements();
                match (fields.next(), fields.next()) {
                    (Some((b"newRoot", value)), None) => self.replacement(value)?,
                    _ => return Err(refuse("what is no newRoot")),
                }
            }
            b"$replaceWith" => self.replacement(spec)?,
            b"$redact" => {
                self.trail.redaction(spec)?;
                self.may_change_id = true;
                Stage::Redact(expression::compile_redact(spec, &mut self.budget)?)
            }
            _ => return Err(refuse("this stage")),
        };
        self.stages.push(stage);
        Ok(())
    }

    fn projection(&mut self, mode: Mode, items: &[Item<'_>]) -> Result<Stage, Unsupported> {
        let projection = parse::projection(mode, items, &mut self.budget)?;
        self.trail.projection(mode, items)?;
        for item in items {
            if let Says::Compute(_) = item.says {
                for (fills, slot) in self.fills.iter_mut().zip(EVENT_SLOTS) {
                    *fills |= item.path.contains(&slot);
                }
            }
        }
        Ok(Stage::Project(projection))
    }

    fn replacement(&mut self, value: Value<'_>) -> Result<Stage, Unsupported> {
        let is_surely_none = match value.kind {
            ElementType::EmbeddedDocument => loses_the_id(Doc::new(value.bytes())),
            // A path to something inside, or a text.
            ElementType::String => !matches!(value.as_str(), Some("$$ROOT" | "$$CURRENT")),
            _ => true,
        };
        if is_surely_none {
            return Err(parse::changed_id());
        }
        let expression = expression::compile(value, &mut self.budget)?;
        self.trail.replacement(value)?;
        self.may_change_id = true;
        Ok(Stage::ReplaceRoot(expression))
    }

    fn finish(self) -> Pipeline {
        let is_match = |stage: &Stage| matches!(stage, Stage::Match(_));
        Pipeline {
            first_reshaping: self
                .stages
                .iter()
                .take_while(|stage| is_match(stage))
                .count(),
            stages: self.stages.into(),
            fills: self.fills,
            may_change_id: self.may_change_id,
        }
    }
}

impl Pipeline {
    /// Returns what goes on of the event, `None` where it does not pass. It is the event itself as long as no stage
    /// reshapes it.
    ///
    /// # Errors
    /// [`Failure`] where the server would fail on the event, and at the limits of this module.
    pub fn run<'e>(&self, event: &'e RawDocument) -> Result<Option<Cow<'e, RawDocument>>, Failure> {
        let (filters, rest) = self.stages.split_at(self.first_reshaping);
        // The server makes one filter of them and evaluates it in an order of its own: one that is false decides.
        let mut failure = None;
        for stage in filters {
            match stage {
                Stage::Match(predicate) => match predicate.evaluate(event) {
                    Ok(true) => (),
                    Ok(false) => return Ok(None),
                    Err(first) => failure = failure.or(Some(first)),
                },
                Stage::Project(_) | Stage::ReplaceRoot(_) | Stage::Redact(_) => (),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if rest.is_empty() {
            return Ok(Some(Cow::Borrowed(event)));
        }
        let reshaped = self.reshape(event, rest)?;
        Ok(reshaped.map(Cow::Owned))
    }

    /// Whether a stage reshapes, so that what goes on is not the event itself.
    pub fn reshapes(&self) -> bool {
        self.first_reshaping < self.stages.len()
    }

    /// Returns what the event itself must have to pass, as far as the stages in front of the first that reshapes say.
    pub fn necessary(&self) -> Necessary {
        let in_front = &self.stages[..self.first_reshaping];
        let all = in_front.iter().filter_map(|stage| match stage {
            Stage::Match(predicate) => Some(predicate.necessary()),
            Stage::Project(_) | Stage::ReplaceRoot(_) | Stage::Redact(_) => None,
        });
        all.reduce(Necessary::and)
            .unwrap_or_else(Necessary::anything)
    }

    /// Whether a condition on this path means the same of the event itself as of what goes on. Not *necessary*: it may be
    /// so where this does not know it.
    pub fn keeps(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('.').collect();
        let is_number = |name: &&str| name.bytes().all(|byte| byte.is_ascii_digit());
        !names.iter().any(is_number)
            && self.stages.iter().all(|stage| match stage {
                Stage::Match(_) => true,
                Stage::Project(projection) => projection.keeps(&names),
                Stage::ReplaceRoot(_) | Stage::Redact(_) => false,
            })
    }

    fn reshape(
        &self,
        event: &RawDocument,
        stages: &[Stage],
    ) -> Result<Option<RawDocumentBuf>, Failure> {
        let mut out = Output::default();
        let mut has_slots = false;
        let (mut at, mut spare) = (Vec::new(), Vec::with_capacity(event.as_bytes().len() + 64));
        if let Some(opened) = self.with_slots(Doc::new(event.as_bytes()))? {
            (at, has_slots) = (opened, true);
        }
        for (place, stage) in stages.iter().enumerate() {
            let bytes = if at.is_empty() { event.as_bytes() } else { &at };
            let document = Doc::new(bytes);
            out.clear(std::mem::take(&mut spare));
            out.keeps_slots = stages[place + 1..].iter().any(Stage::fills_slots);
            match stage {
                Stage::Match(predicate) => {
                    // Bytes that this module made are a document.
                    let Ok(reshaped) = RawDocument::from_bytes(bytes) else {
                        return Ok(None);
                    };
                    if !predicate.evaluate(reshaped)? {
                        return Ok(None);
                    }
                    spare = out.take();
                    continue;
                }
                Stage::Project(projection) => projection.apply(document, &mut out)?,
                Stage::Redact(expression) => {
                    if !redact::redact(expression, document, &mut out)? {
                        return Ok(None);
                    }
                }
                Stage::ReplaceRoot(expression) => {
                    let made = expression.evaluate(&mut Scope::new(document))?;
                    match made.as_ref().filter(|made| made.is_document()) {
                        Some(made) => out.document(Doc::new(made.value().bytes()))?,
                        None => {
                            return Err(Failure::new(NO_DOCUMENT, "a root that is no document"));
                        }
                    }
                }
            }
            has_slots |= out.forget_slots();
            spare = std::mem::replace(&mut at, out.take());
        }
        if has_slots {
            out.clear(spare);
            out.compact(Doc::new(&at))?;
            at = out.take();
        }
        self.check(event, Doc::new(&at))?;
        RawDocumentBuf::from_bytes(at)
            .map(Some)
            .map_err(|_| output::too_large())
    }

    /// Returns the event with the empty places that the server has in it, if some stage may fill one of them.
    fn with_slots(&self, event: Doc<'_>) -> Result<Option<Vec<u8>>, Failure> {
        let is_there = |slot: &[u8]| event.get(slot).is_some();
        let mut slots = EVENT_SLOTS.iter().zip(self.fills);
        if !slots.any(|(slot, fills)| fills && !is_there(slot)) {
            return Ok(None);
        }
        let mut out = Output::default();
        out.keeps_slots = true;
        let start = out.open_root();
        let mut rest = EVENT_SLOTS.iter();
        let mut is_behind = false;
        for (name, value) in event.elements() {
            let place = EVENT_SLOTS.iter().position(|slot| *slot == name);
            is_behind |= place.is_some() || name == LAST_BEFORE_SLOTS;
            if is_behind && name != LAST_BEFORE_SLOTS {
                // All that have their place before this one; behind the last come those that only other versions have.
                while let Some(slot) = rest.next().filter(|slot| **slot != name) {
                    if !is_there(slot) {
                        out.empty(slot);
                    }
                }
            }
            out.value(name, value)?;
        }
        rest.filter(|slot| !is_there(slot))
            .for_each(|slot| out.empty(slot));
        out.close(start)?;
        Ok(Some(out.take()))
    }

    /// Checks what the server checks of an event that goes out.
    fn check(&self, event: &RawDocument, made: Doc<'_>) -> Result<(), Failure> {
        if made.bytes().len() > OUT_BYTES_MAX {
            return Err(output::too_large());
        }
        let id = |document: Doc<'_>| {
            let id = document.get(parse::ID)?;
            Some((id.kind, id.bytes().to_vec()))
        };
        if self.may_change_id && id(Doc::new(event.as_bytes())) != id(made) {
            return Err(Failure::new(ID_CHANGED, "an event whose _id was changed"));
        }
        Ok(())
    }
}

impl Stage {
    /// Whether it sets fields, and so may fill the places of those that are gone.
    fn fills_slots(&self) -> bool {
        match self {
            Self::Project(projection) => projection.tree.computes(),
            Self::Match(_) | Self::ReplaceRoot(_) | Self::Redact(_) => false,
        }
    }
}

/// Whether a document made field by field surely has not the event's `_id`.
fn loses_the_id(document: Doc<'_>) -> bool {
    match document.elements().next() {
        None => true,
        Some((name, _)) if name.starts_with(b"$") => false,
        Some(_) => match document.get(parse::ID) {
            None => true,
            Some(id) => !matches!(id.kind, ElementType::String | ElementType::EmbeddedDocument),
        },
    }
}

fn encode(document: &Document) -> Result<RawDocumentBuf, Unsupported> {
    RawDocumentBuf::try_from(document)
        .map_err(|error| refuse(&format!("what is no BSON ({error})")))
}

fn document(spec: Value<'_>) -> Result<Doc<'_>, Unsupported> {
    let document = spec.container().filter(|_| !spec.is_array());
    document.ok_or_else(|| refuse("what is no document"))
}

fn refuse(what: &str) -> Unsupported {
    Unsupported {
        what: what.to_owned(),
        place: String::new(),
    }
}

/// Names the field whose expression is unsupported.
fn refuse_at(reason: Unsupported, path: &[&[u8]]) -> Unsupported {
    let place = String::from_utf8_lossy(&path.join(&b'.')).into_owned();
    Unsupported { place, ..reason }
}

/// Fields in the order in which every event has a place for them (measured on 6.0.5).
const EVENT_SLOTS: [&[u8]; 5] = [
    b"fullDocument",
    b"ns",
    b"documentKey",
    b"updateDescription",
    b"stateBeforeChange",
];
const LAST_BEFORE_SLOTS: &[u8] = b"wallTime";
/// The server's own limit.
const STAGES_MAX: usize = 1_000;
/// What the server lets out of a cursor.
const OUT_BYTES_MAX: usize = (16 << 20) + (16 << 10);
/// MongoDB's number of a root that is no document, and of a changed resume token (`ChangeStreamFatalError`).
const NO_DOCUMENT: i32 = 40228;
const ID_CHANGED: i32 = 280;
