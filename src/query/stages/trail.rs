//! What a stage leaves behind that a later one could see.
//!
//! On the server a document goes from stage to stage as it lies in memory, not as BSON, and two things show. A field
//! that is gone leaves its place, which a later `$addFields` fills; an element that an inclusion takes out of an array
//! leaves a hole that `$size` counts. Our documents have those places too, but expressions neither see nor make them. And
//! the server moves a `$match` in front of stages that in its opinion do not touch its paths, which arrays can refute.
//! Where one of that could show, the pipeline is refused. All of it was measured on 6.0.5.

use bson::spec::ElementType;

use crate::query::Unsupported;
use crate::query::stages::parse::{Item, Says};
use crate::query::stages::projection::Mode;
use crate::query::stages::refuse;
use crate::query::value::{Doc, Value};

type Names = Vec<Box<[u8]>>;

/// What the stages so far have left behind. All of it *necessary only*: it may be there.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// Whether there was a stage that reshapes.
    reshapes: bool,
    /// Whether the document is still the event, as far as fields were not set.
    is_replaced: bool,
    /// Arrays that may have holes.
    holes: Vec<Names>,
    /// Empty places that an expression may have made.
    gone: Vec<Names>,
    /// Documents in which an expression may have made empty places.
    porous: Vec<Names>,
    set: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    path: Names,
    renames: Renames,
}

/// Whether the server takes a field that is set for another one under a new name. Then it moves conditions in front of
/// the stage, under the old name, and those on a document that the new field lies in as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renames {
    No,
    /// Conditions on the old name mean the same.
    Alike,
    /// It rewrites conditions on the old name for the oplog, or the old name leads into the elements of an array.
    Unlike,
}

/// A path that an expression reads.
enum Reads<'s> {
    Document,
    Path(Vec<&'s [u8]>),
}

type Checked = Result<(), Unsupported>;

impl Trail {
    /// Follows a `$project`, `$addFields` or `$unset`.
    ///
    /// # Errors
    /// If it could see what is behind it.
    pub(super) fn projection(&mut self, mode: Mode, items: &[Item<'_>]) -> Checked {
        for item in items {
            if let Says::Compute(value) = item.says {
                self.check_expression(value)?;
                self.check_set(&item.path)?;
            }
        }
        if mode == Mode::Include {
            let insides = items.iter().flat_map(|item| {
                let ends = 1..item.path.len();
                ends.map(|end| &item.path[..end])
            });
            let holes: Vec<Names> = insides
                .filter(|path| !self.is_no_array(path))
                .map(owned)
                .collect();
            self.holes.extend(holes);
        }
        for item in items {
            if let Says::Compute(value) = item.says {
                self.note_set(owned(&item.path), value);
            }
        }
        self.reshapes = true;
        Ok(())
    }

    /// Follows a `$replaceRoot`.
    ///
    /// # Errors
    /// If it could see what is behind it.
    pub(super) fn replacement(&mut self, value: Value<'_>) -> Checked {
        self.check_expression(value)?;
        let copies_porous = self.reads_porous(value);
        *self = Self {
            reshapes: true,
            is_replaced: true,
            ..Self::default()
        };
        if copies_porous {
            self.porous.push(Names::new());
        }
        self.note_made(Names::new(), value);
        Ok(())
    }

    /// Follows a `$redact`.
    ///
    /// # Errors
    /// If it could see what is behind it.
    pub(super) fn redaction(&mut self, value: Value<'_>) -> Checked {
        self.check_expression(value)?;
        // Its paths begin at every document on the way.
        let mut names = self.holes.iter().flatten();
        let mut read = Vec::new();
        collect_reads(value, &mut read);
        let reads = |name: &[u8]| {
            read.iter().any(|read| match read {
                Reads::Document => true,
                Reads::Path(path) => path.contains(&name),
            })
        };
        if names.any(|name| reads(name)) {
            return Err(holes_show());
        }
        self.reshapes = true;
        Ok(())
    }

    /// Follows a `$match`, which changes nothing.
    ///
    /// # Errors
    /// If the server may evaluate it elsewhere with another outcome.
    pub(super) fn filter(&self, filter: Doc<'_>) -> Checked {
        if !self.reshapes {
            return Ok(());
        }
        let mut paths = Vec::new();
        collect_paths(filter, &mut paths);
        for path in &paths {
            let is_number = |name: &&[u8]| name.iter().all(u8::is_ascii_digit);
            if path.iter().any(is_number) {
                return Err(refuse(
                    "a number in a path behind a stage that reshapes the event",
                ));
            }
            if self.set.iter().any(|set| self.is_moved(set, path)) {
                return Err(refuse(
                    "a condition beside a field that was set in what may be an array",
                ));
            }
        }
        Ok(())
    }

    /// Whether the server may move a condition on `path` in front of the stage that set a field, and be wrong.
    fn is_moved(&self, set: &Set, path: &[&[u8]]) -> bool {
        let alike = set.path.iter().zip(path);
        let common = alike
            .take_while(|(left, right)| ***left == ***right)
            .count();
        match common {
            0 => false,
            _ if common == set.path.len() => match set.renames {
                Renames::No => false,
                // The document around it may be an array, or an empty one.
                Renames::Alike => common > 1,
                Renames::Unlike => true,
            },
            _ if common == path.len() => set.renames != Renames::No,
            _ => (1..=common).any(|end| !self.is_no_array(&path[..end])),
        }
    }

    /// Whether an event has a document there or none, since no stage made it something else.
    fn is_no_array(&self, path: &[&[u8]]) -> bool {
        let is_above = |set: &Set| begins_with(path, &set.path);
        let is_known = NO_ARRAYS.contains(&path);
        is_known && !self.is_replaced && !self.set.iter().any(is_above)
    }

    fn check_expression(&self, value: Value<'_>) -> Checked {
        let mut reads = Vec::new();
        collect_reads(value, &mut reads);
        let shows_hole = |read: &Reads<'_>| match read {
            Reads::Document => !self.holes.is_empty(),
            Reads::Path(path) => self.holes.iter().any(|hole| is_prefix(path, hole)),
        };
        if reads.iter().any(shows_hole) {
            return Err(holes_show());
        }
        let reads_document = reads.iter().any(|read| matches!(read, Reads::Document));
        let minds_places = PLACES_MATTER.iter().find(|name| has_key(value, name));
        match minds_places.filter(|_| self.reshapes || reads_document) {
            Some(name) => Err(refuse(&format!(
                "{} of a reshaped event",
                String::from_utf8_lossy(name)
            ))),
            None => Ok(()),
        }
    }

    fn check_set(&self, path: &[&[u8]]) -> Checked {
        let fills = |gone: &Names| begins_with(path, gone);
        let is_in = |porous: &Names| porous.len() < path.len() && begins_with(path, porous);
        if self.gone.iter().any(fills) || self.porous.iter().any(is_in) {
            return Err(refuse(
                "a field set in a document that an expression has made before",
            ));
        }
        Ok(())
    }

    fn note_set(&mut self, path: Names, value: Value<'_>) {
        if makes_porous(value) || self.reads_porous(value) {
            self.porous.push(path.clone());
        }
        let renames = self.renames(value);
        self.set.push(Set { path, renames });
    }

    fn renames(&self, value: Value<'_>) -> Renames {
        if operator(value) == Some(b"$map") {
            return Renames::Unlike;
        }
        let mut reads = Vec::new();
        if value.kind == ElementType::String {
            collect_reads(value, &mut reads);
        }
        match reads.first() {
            Some(Reads::Path(path)) if path.len() == 1 => {
                let was_unlike =
                    |set: &Set| set.renames == Renames::Unlike && begins_with(path, &set.path);
                match REWRITTEN.contains(&path[0]) || self.set.iter().any(was_unlike) {
                    true => Renames::Unlike,
                    false => Renames::Alike,
                }
            }
            Some(Reads::Path(_) | Reads::Document) | None => Renames::No,
        }
    }

    /// Notes the empty places in a document that an expression makes at `path`.
    fn note_made(&mut self, path: Names, value: Value<'_>) {
        match literal_document(value) {
            None if makes_porous(value) => self.porous.push(path),
            None => {}
            Some(document) => {
                for (name, value) in document.elements() {
                    let mut path = path.clone();
                    path.push(name.into());
                    if may_be_missing(value) {
                        self.gone.push(path.clone());
                    }
                    self.note_made(path, value);
                }
            }
        }
    }

    fn reads_porous(&self, value: Value<'_>) -> bool {
        let mut reads = Vec::new();
        collect_reads(value, &mut reads);
        let mut porous = self.porous.iter().chain(&self.gone);
        porous.any(|porous| {
            reads.iter().any(|read| match read {
                Reads::Document => true,
                Reads::Path(path) => is_prefix(path, porous) || begins_with(path, porous),
            })
        })
    }
}

fn owned(path: &[&[u8]]) -> Names {
    path.iter().map(|name| Box::from(*name)).collect()
}

/// Says whether `path` is `start` or goes on from it.
fn begins_with(path: &[&[u8]], start: &[Box<[u8]>]) -> bool {
    path.len() >= start.len()
        && path
            .iter()
            .zip(start)
            .all(|(name, start)| *name == &**start)
}

/// Says whether `path` is `whole` or leads to it.
fn is_prefix(path: &[&[u8]], whole: &[Box<[u8]>]) -> bool {
    path.len() <= whole.len()
        && path
            .iter()
            .zip(whole)
            .all(|(name, whole)| *name == &**whole)
}

/// Collects what an expression reads: *at least* that.
fn collect_reads<'s>(value: Value<'s>, into: &mut Vec<Reads<'s>>) {
    if let Some(container) = value.container() {
        for (name, value) in container.elements() {
            if READ_ALL.contains(&name) {
                into.push(Reads::Document);
            }
            collect_reads(value, into);
        }
        return;
    }
    if value.kind != ElementType::String {
        return;
    }
    let Some(path) = value.text().strip_prefix(b"$") else {
        return;
    };
    let path = match path.strip_prefix(b"$") {
        None => path,
        Some(variable) => {
            let end = variable.iter().position(|byte| *byte == b'.');
            let (name, rest) = variable.split_at(end.unwrap_or(variable.len()));
            if !matches!(name, b"ROOT" | b"CURRENT") {
                // Other variables hold what was read elsewhere.
                return;
            }
            rest.strip_prefix(b".").unwrap_or_default()
        }
    };
    into.push(match path {
        [] => Reads::Document,
        _ => Reads::Path(path.split(|byte| *byte == b'.').collect()),
    });
}

/// Collects the paths of a filter's conditions.
fn collect_paths<'s>(filter: Doc<'s>, into: &mut Vec<Vec<&'s [u8]>>) {
    for (name, value) in filter.elements() {
        match name {
            b"$expr" => {
                let mut reads = Vec::new();
                collect_reads(value, &mut reads);
                into.extend(reads.into_iter().filter_map(|read| match read {
                    Reads::Path(path) => Some(path),
                    // What reads everything depends on every stage before.
                    Reads::Document => None,
                }));
            }
            _ if name.starts_with(b"$") => {
                let clauses = value.container().map(Doc::elements);
                for (_, clause) in clauses.into_iter().flatten() {
                    if let Some(clause) = clause.container() {
                        collect_paths(clause, into);
                    }
                }
            }
            _ => into.push(name.split(|byte| *byte == b'.').collect()),
        }
    }
}

/// Returns the document that an expression makes field by field, if it is of that kind.
fn literal_document(value: Value<'_>) -> Option<Doc<'_>> {
    let document = value.container().filter(|_| !value.is_array())?;
    let is_operator = document.elements().next()?.0.starts_with(b"$");
    (!is_operator).then_some(document)
}

fn operator(value: Value<'_>) -> Option<&[u8]> {
    let document = value.container().filter(|_| !value.is_array())?;
    let (name, _) = document.elements().next()?;
    name.starts_with(b"$").then_some(name)
}

fn may_be_missing(value: Value<'_>) -> bool {
    match value.kind {
        ElementType::String => value.text().starts_with(b"$"),
        ElementType::EmbeddedDocument => literal_document(value).is_none(),
        _ => false,
    }
}

/// Whether an expression may make a document with an empty place in it.
fn makes_porous(value: Value<'_>) -> bool {
    if value.is_array() {
        return Doc::new(value.bytes())
            .elements()
            .any(|(_, value)| makes_porous(value));
    }
    let Some(document) = value.container() else {
        return false;
    };
    if literal_document(value).is_some() {
        let mut elements = document.elements();
        return elements.any(|(_, value)| may_be_missing(value) || makes_porous(value));
    }
    document.elements().any(|(operator, operand)| {
        // An operator's own document is a list of arguments; `$mergeObjects` takes empty places out.
        let takes_out = operator == b"$mergeObjects";
        let arguments = operand.container().map(Doc::elements).into_iter().flatten();
        let inner = |value: Value<'_>| match literal_document(value) {
            Some(document) if takes_out => {
                document.elements().any(|(_, value)| makes_porous(value))
            }
            _ => makes_porous(value),
        };
        operator != b"$literal"
            && (PLACES_MATTER.contains(&operator)
                || match operand.kind {
                    ElementType::Array => arguments.map(|argument| argument.1).any(inner),
                    _ if literal_document(operand).is_some() => {
                        arguments.map(|argument| argument.1).any(makes_porous)
                    }
                    _ => makes_porous(operand),
                })
    })
}

fn has_key(value: Value<'_>, wanted: &[u8]) -> bool {
    let elements = value.container().map(Doc::elements);
    elements
        .into_iter()
        .flatten()
        .any(|(name, value)| name == wanted || has_key(value, wanted))
}

fn holes_show() -> Unsupported {
    refuse("an expression on an array out of which $project may have taken elements")
}

/// Where an event has a document, null or nothing.
const NO_ARRAYS: [&[&[u8]]; 7] = [
    &[b"_id"],
    &[b"documentKey"],
    &[b"fullDocument"],
    &[b"ns"],
    &[b"to"],
    &[b"updateDescription"],
    &[b"updateDescription", b"updatedFields"],
];
/// Operators that see or make empty places.
const PLACES_MATTER: [&[u8]; 3] = [b"$bsonSize", b"$setField", b"$unsetField"];
/// What may make an expression read the whole document, besides naming it.
const READ_ALL: [&[u8]; 2] = [b"$getField", b"CURRENT"];
/// Fields of an event on which the server rewrites conditions for the oplog.
const REWRITTEN: [&[u8]; 7] = [
    b"clusterTime",
    b"documentKey",
    b"ns",
    b"operationType",
    b"to",
    b"updateDescription",
    b"wallTime",
];
