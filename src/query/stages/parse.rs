//! From the documents of stages to stages; what the server refuses, and what is not certain, is refused.

use bson::spec::ElementType;

use crate::query::Unsupported;
use crate::query::expression::{self, Budget};
use crate::query::order::number::Number;
use crate::query::stages::projection::{Entry, Mode, Projection, Tree};
use crate::query::stages::{refuse, refuse_at};
use crate::query::value::{Doc, Value};

/// What a specification says of one path.
#[derive(Clone, Debug)]
pub(super) struct Item<'s> {
    pub(super) path: Vec<&'s [u8]>,
    pub(super) says: Says<'s>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Says<'s> {
    Keep,
    Drop,
    /// The value is what the expression gives.
    Compute(Value<'s>),
}

type Parsed<T> = Result<T, Unsupported>;

/// Reads `$project`: which way it goes, and its paths in order.
pub(super) fn project(spec: Doc<'_>) -> Parsed<(Mode, Vec<Item<'_>>)> {
    let mut items = Vec::new();
    for (name, value) in spec.elements() {
        projected(&[], name, value, DEPTH_MAX, &mut items)?;
    }
    // `_id` alone may be treated unlike the others.
    let is_id = |item: &&Item<'_>| *item.path == [ID];
    let others = || items.iter().filter(|item| !is_id(item));
    let drops = |item: &Item<'_>| matches!(item.says, Says::Drop);
    let mode = match (others().any(drops), others().any(|item| !drops(item))) {
        (true, true) => return Err(refuse("a $project that both keeps and drops fields")),
        (true, false) => Mode::Exclude,
        (false, true) => Mode::Include,
        (false, false) => match items.iter().find(is_id) {
            Some(item) if drops(item) => Mode::Exclude,
            Some(_) => Mode::Include,
            None => return Err(refuse("an empty $project")),
        },
    };
    if let Some(id) = items.iter().find(|item| item.path.first() == Some(&ID)) {
        match id.says {
            Says::Keep if id.path.len() == 1 => {}
            Says::Compute(value)
                if id.path.len() == 1 && mode == Mode::Include && is_the_id(value) => {}
            _ => return Err(changed_id()),
        }
    }
    if mode == Mode::Include && !items.iter().any(|item| is_id(&item)) {
        let path = vec![ID];
        let says = Says::Keep;
        items.insert(0, Item { path, says });
    }
    if mode == Mode::Exclude {
        items.retain(|item| !is_id(&item));
    }
    Ok((mode, items))
}

fn projected<'s>(
    above: &[&'s [u8]],
    name: &'s [u8],
    value: Value<'s>,
    depth: usize,
    items: &mut Vec<Item<'s>>,
) -> Parsed<()> {
    let path = extended(above, name)?;
    let depth = deeper(depth)?;
    let says = match value.kind {
        ElementType::EmbeddedDocument => match nested(value)? {
            Nested::Expression => Says::Compute(value),
            Nested::Paths(document) => {
                for (name, value) in document.elements() {
                    projected(&path, name, value, depth, items)?;
                }
                return Ok(());
            }
        },
        _ => match truth(value) {
            Some(true) => Says::Keep,
            Some(false) => Says::Drop,
            None => Says::Compute(value),
        },
    };
    items.push(Item { path, says });
    Ok(())
}

/// Reads `$addFields`: its paths in order.
pub(super) fn add_fields(spec: Doc<'_>) -> Parsed<Vec<Item<'_>>> {
    let mut items = Vec::new();
    for (name, value) in spec.elements() {
        if name == ID && is_the_id(value) {
            continue;
        }
        let path = extended(&[], name)?;
        if path.first() == Some(&ID) {
            return Err(changed_id());
        }
        added(path, value, DEPTH_MAX, &mut items)?;
    }
    Ok(items)
}

fn added<'s>(
    path: Vec<&'s [u8]>,
    value: Value<'s>,
    depth: usize,
    items: &mut Vec<Item<'s>>,
) -> Parsed<()> {
    let depth = deeper(depth)?;
    if value.kind == ElementType::EmbeddedDocument
        && let Nested::Paths(document) = nested(value)?
    {
        for (name, value) in document.elements() {
            if name.contains(&b'.') {
                return Err(refuse(
                    "a dotted name in an embedded document of $addFields",
                ));
            }
            added(extended(&path, name)?, value, depth, items)?;
        }
        return Ok(());
    }
    let says = Says::Compute(value);
    items.push(Item { path, says });
    Ok(())
}

/// Reads `$unset`: its paths.
pub(super) fn unset(spec: Value<'_>) -> Parsed<Vec<Item<'_>>> {
    let names: Vec<Value<'_>> = match spec.kind {
        ElementType::String => vec![spec],
        ElementType::Array => Doc::new(spec.bytes()).elements().map(|e| e.1).collect(),
        _ => Vec::new(),
    };
    if names.is_empty() || names.iter().any(|name| name.kind != ElementType::String) {
        return Err(refuse("what is no list of names"));
    }
    let mut items = Vec::new();
    for name in names {
        let path = extended(&[], name.text())?;
        if path.first() == Some(&ID) {
            return Err(changed_id());
        }
        let says = Says::Drop;
        items.push(Item { path, says });
    }
    Ok(items)
}

/// Makes the stage of its paths.
pub(super) fn projection(
    mode: Mode,
    items: &[Item<'_>],
    budget: &mut Budget,
) -> Parsed<Projection> {
    let mut tree = Tree::default();
    for item in items {
        let entry = match item.says {
            Says::Keep | Says::Drop => Entry::Leaf,
            Says::Compute(value) => {
                let compiled = expression::compile(value, budget);
                Entry::Computed(compiled.map_err(|why| refuse_at(why, &item.path))?)
            }
        };
        tree.insert(&item.path, entry)?;
    }
    Ok(Projection { mode, tree })
}

enum Nested<'s> {
    /// An operator with its operand.
    Expression,
    Paths(Doc<'s>),
}

fn nested(value: Value<'_>) -> Parsed<Nested<'_>> {
    let document = Doc::new(value.bytes());
    match document.elements().next() {
        None => Err(refuse("an empty document as a field's specification")),
        Some((name, _)) if name.starts_with(b"$") => Ok(Nested::Expression),
        Some(_) => Ok(Nested::Paths(document)),
    }
}

/// Returns the path that a dotted name leads to from `above`.
fn extended<'s>(above: &[&'s [u8]], name: &'s [u8]) -> Parsed<Vec<&'s [u8]>> {
    let mut path = above.to_vec();
    path.extend(name.split(|byte| *byte == b'.'));
    let is_name = |name: &&[u8]| !name.is_empty() && !name.starts_with(b"$") && !name.contains(&0);
    match path.len() <= SEGMENTS_MAX && path.iter().all(is_name) {
        true => Ok(path),
        false => Err(refuse(&String::from_utf8_lossy(name))),
    }
}

fn deeper(depth: usize) -> Parsed<usize> {
    depth
        .checked_sub(1)
        .ok_or_else(|| refuse("a specification nested so deeply"))
}

fn truth(value: Value<'_>) -> Option<bool> {
    match value.kind {
        ElementType::Boolean => Some(value.bytes() != [0]),
        _ => Number::of(value).map(|number| number.compare(Number::Integer(0)).is_ne()),
    }
}

/// Whether the expression is the event's own `_id`, by its shortest names.
pub(super) fn is_the_id(value: Value<'_>) -> bool {
    matches!(
        value.as_str(),
        Some("$_id" | "$$ROOT._id" | "$$CURRENT._id")
    )
}

pub(super) fn changed_id() -> Unsupported {
    refuse("a change of _id, the resume token, which MongoDB refuses at each event,")
}

pub(super) const ID: &[u8] = b"_id";
/// As in a filter.
const SEGMENTS_MAX: usize = 100;
const DEPTH_MAX: usize = 50;
