//! `$project`, `$addFields` and `$unset`: a tree of names, laid over each document.
//!
//! The tree goes through arrays: it is laid over each document in them, and over those in arrays in arrays. Expressions
//! see the whole document as it came into the stage. A field that is set anew keeps its place, others come behind, in the
//! order of the specification.

use bson::spec::ElementType;
use indexmap::IndexMap;

use crate::query::Unsupported;
use crate::query::expression::{Expression, Failure, Scope};
use crate::query::stages::output::{Output, Places};
use crate::query::stages::refuse;
use crate::query::value::{Doc, Value};

/// A stage that takes fields away or sets them.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) mode: Mode,
    pub(super) tree: Tree,
}

/// What happens to fields that the tree does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are left out; leaves are kept.
    Include,
    /// They are kept; leaves are left out.
    Exclude,
    /// They are kept; there are no leaves.
    Add,
}

/// The names at one level, in the order in which the specification first has them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: IndexMap<Box<[u8]>, Entry>,
    /// Whether something is computed here or below.
    computes: bool,
}

#[derive(Debug)]
pub(super) enum Entry {
    Leaf,
    Tree(Tree),
    Computed(Expression),
}

impl Tree {
    /// Puts an entry at the end of a path.
    ///
    /// # Errors
    /// If another path ends on the way, or goes on from there: the server refuses that.
    pub(super) fn insert(&mut self, path: &[&[u8]], entry: Entry) -> Result<(), Unsupported> {
        let collision = || refuse("a specification with paths that collide");
        let Some((name, rest)) = path.split_first() else {
            return Err(collision());
        };
        self.computes |= matches!(entry, Entry::Computed(_));
        if rest.is_empty() {
            return match self.entries.insert((*name).into(), entry) {
                None => Ok(()),
                Some(_) => Err(collision()),
            };
        }
        let inner = self.entries.entry((*name).into());
        match inner.or_insert_with(|| Entry::Tree(Self::default())) {
            Entry::Tree(inner) => inner.insert(rest, entry),
            Entry::Leaf | Entry::Computed(_) => Err(collision()),
        }
    }

    /// Whether something is computed in it.
    pub(super) fn computes(&self) -> bool {
        self.computes
    }

    /// Whether the path surely leads to the same values behind the stage; `is_no_array`: nor can the tree itself lie over an
    /// array. Where something is set in an array, there are documents behind that were none before.
    fn keeps(&self, mode: Mode, path: &[&str], is_no_array: bool) -> bool {
        let Some((name, rest)) = path.split_first() else {
            return false;
        };
        match self.entries.get(name.as_bytes()) {
            _ if self.computes && !is_no_array => false,
            None => mode != Mode::Include,
            Some(Entry::Leaf) => mode == Mode::Include,
            Some(Entry::Computed(_)) => false,
            Some(Entry::Tree(inner)) => inner.keeps(mode, rest, false),
        }
    }
}

impl Projection {
    /// Whether the path surely leads to the same values behind the stage as before it.
    pub(super) fn keeps(&self, path: &[&str]) -> bool {
        let below = path.split_first();
        let inner = below.and_then(|(name, _)| self.tree.entries.get(name.as_bytes()));
        match (inner, below) {
            // Events have no arrays there, unless an earlier stage put one, which then does not keep the path.
            (Some(Entry::Tree(inner)), Some((name, rest))) if NO_ARRAYS.contains(name) => {
                inner.keeps(self.mode, rest, true)
            }
            _ => self.tree.keeps(self.mode, path, true),
        }
    }

    /// Writes what the stage makes of `document`.
    ///
    /// # Errors
    /// Where an expression fails, and at the limits of documents.
    pub(super) fn apply<'d>(&'d self, document: Doc<'d>, out: &mut Output) -> Result<(), Failure> {
        let mut laying = Laying {
            mode: self.mode,
            computes: self.tree.computes,
            scope: Scope::new(document),
            seen: Vec::new(),
            out,
        };
        let start = laying.out.open_root();
        laying.document(&self.tree, document)?;
        laying.out.close(start)
    }
}

/// One document on its way through one stage.
struct Laying<'d, 'o> {
    mode: Mode,
    /// Whether something is computed anywhere. Then the server goes through all of the tree once more, and leaves a place
    /// for each field that is not there and below which the tree goes on.
    computes: bool,
    scope: Scope<'d>,
    /// Which entries had a field, for each open document.
    seen: Vec<bool>,
    out: &'o mut Output,
}

impl<'d> Laying<'d, '_> {
    /// Writes the fields that the tree leaves and sets in `document`.
    fn document(&mut self, tree: &'d Tree, document: Doc<'d>) -> Result<(), Failure> {
        let first = self.seen.len();
        self.seen.resize(first + tree.entries.len(), false);
        for (name, value) in document.slots() {
            let found = tree.entries.get_full(name);
            let is_repeated = found.is_some_and(|(place, ..)| {
                std::mem::replace(&mut self.seen[first + place], value.is_some())
            });
            match (self.mode, found.map(|(_, _, entry)| entry)) {
                (Mode::Include, None | Some(Entry::Computed(_))) => {}
                (Mode::Include, Some(_)) if value.is_none() || is_repeated => {}
                (Mode::Include, Some(Entry::Leaf)) => self.out.slot(name, value)?,
                (Mode::Exclude, Some(Entry::Leaf)) => self.out.empty(name),
                (Mode::Exclude | Mode::Add, None) => self.out.slot(name, value)?,
                (_, Some(Entry::Tree(inner))) => {
                    self.child(name, inner, value)?;
                }
                (_, Some(Entry::Computed(expression))) => self.set(name, expression)?,
                (Mode::Add, Some(Entry::Leaf)) => self.out.slot(name, value)?,
            }
            if let (Mode::Add, Some((place, ..))) = (self.mode, found) {
                // An empty place has been filled too.
                self.seen[first + place] = true;
            }
        }
        if self.computes {
            for (place, (name, entry)) in tree.entries.iter().enumerate() {
                match entry {
                    Entry::Computed(expression) if self.mode == Mode::Include => {
                        self.set(name, expression)?;
                    }
                    _ if self.seen[first + place] => {}
                    _ => self.absent(name, entry)?,
                }
            }
        }
        self.seen.truncate(first);
        Ok(())
    }

    /// Writes what becomes of a field below which the tree goes on. Returns whether a value was written.
    fn child(
        &mut self,
        name: &[u8],
        tree: &'d Tree,
        value: Option<Value<'d>>,
    ) -> Result<bool, Failure> {
        let container = value.and_then(|value| Some((value.kind, value.container()?)));
        match container {
            Some((ElementType::Array, array)) => {
                let start = self.out.open(ElementType::Array, name)?;
                let mut places = Places::default();
                for (_, element) in array.slots() {
                    if self.child(places.name(), tree, element)? {
                        places.advance();
                    }
                }
                self.out.close(start)?;
            }
            Some((kind, document)) => {
                let start = self.out.open(kind, name)?;
                self.document(tree, document)?;
                self.out.close(start)?;
            }
            None if self.mode == Mode::Exclude => {
                self.out.slot(name, value)?;
                return Ok(value.is_some());
            }
            // What is no document makes room for one, if something is set in it.
            None if tree.computes => self.fresh(name, tree)?,
            None => {
                self.out.empty(name);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a document of what is set only.
    fn fresh(&mut self, name: &[u8], tree: &'d Tree) -> Result<(), Failure> {
        let start = self.out.open(ElementType::EmbeddedDocument, name)?;
        for (name, entry) in &tree.entries {
            self.absent(name, entry)?;
        }
        self.out.close(start)
    }

    /// Writes an entry that has no field.
    fn absent(&mut self, name: &[u8], entry: &'d Entry) -> Result<(), Failure> {
        match entry {
            Entry::Leaf => Ok(()),
            Entry::Computed(expression) => self.set(name, expression),
            Entry::Tree(inner) if inner.computes => self.fresh(name, inner),
            Entry::Tree(_) => {
                self.out.empty(name);
                Ok(())
            }
        }
    }

    fn set(&mut self, name: &[u8], expression: &'d Expression) -> Result<(), Failure> {
        let computed = expression.evaluate(&mut self.scope)?;
        let value = computed.as_ref().map(|computed| computed.value());
        self.out.slot(name, value)
    }
}

/// Where an event has a document, null or nothing.
const NO_ARRAYS: [&str; 4] = ["documentKey", "fullDocument", "ns", "updateDescription"];
