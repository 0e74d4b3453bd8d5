//! Ranges of one bracket of types at one path, and who asks for them.
//!
//! A search tree by lower bound whose nodes know the greatest upper bound below them. It is kept level by random priorities,
//! so that nobody who chooses bounds can make it a list. A lookup visits about `log n` nodes for each range that it finds;
//! it asks for the least and the greatest value of an array, since each bound may be met by another element.

use std::cmp::Ordering;
use std::hash::Hash;
use std::sync::Arc;

use super::members::Members;
use crate::query::{Extent, OperationTypes, Range};

/// Who asks for which range.
#[derive(Debug)]
pub(super) struct Intervals<Id> {
    nodes: Vec<Node<Id>>,
    /// Places in `nodes` that are not used.
    free: Vec<Link>,
    root: Link,
}

#[derive(Debug)]
struct Node<Id> {
    range: Arc<Range>,
    members: Members<Id>,
    priority: u32,
    left: Link,
    right: Link,
    /// The node with the greatest upper bound, of this one and all below it.
    furthest: Link,
}

type Link = u32;
const NOWHERE: Link = Link::MAX;

impl<Id: Copy + Eq + Hash> Intervals<Id> {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NOWHERE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root == NOWHERE
    }

    pub(super) fn insert(&mut self, range: &Arc<Range>, id: Id, types: OperationTypes) {
        self.root = self.insert_below(self.root, range, id, types);
    }

    fn insert_below(
        &mut self,
        root: Link,
        range: &Arc<Range>,
        id: Id,
        types: OperationTypes,
    ) -> Link {
        if root == NOWHERE {
            return self.add(Node {
                range: Arc::clone(range),
                members: Members::of(id, types),
                priority: rand::random(),
                left: NOWHERE,
                right: NOWHERE,
                furthest: NOWHERE,
            });
        }
        match range.compare(&self.node(root).range) {
            Ordering::Equal => {
                self.node_mut(root).members.insert(id, types);
                return root;
            }
            Ordering::Less => {
                let left = self.insert_below(self.node(root).left, range, id, types);
                self.node_mut(root).left = left;
                if self.node(left).priority > self.node(root).priority {
                    self.node_mut(root).left = self.node(left).right;
                    self.node_mut(left).right = root;
                    self.refresh(root);
                    return self.refresh(left);
                }
            }
            Ordering::Greater => {
                let right = self.insert_below(self.node(root).right, range, id, types);
                self.node_mut(root).right = right;
                if self.node(right).priority > self.node(root).priority {
                    self.node_mut(root).right = self.node(right).left;
                    self.node_mut(right).left = root;
                    self.refresh(root);
                    return self.refresh(right);
                }
            }
        }
        self.refresh(root)
    }

    pub(super) fn remove(&mut self, range: &Range, id: Id) {
        self.root = self.remove_below(self.root, range, id);
        if self.is_empty() {
            *self = Self::new();
        }
    }

    fn remove_below(&mut self, root: Link, range: &Range, id: Id) -> Link {
        if root == NOWHERE {
            return NOWHERE;
        }
        let (left, right) = (self.node(root).left, self.node(root).right);
        match range.compare(&self.node(root).range) {
            Ordering::Less => self.node_mut(root).left = self.remove_below(left, range, id),
            Ordering::Greater => self.node_mut(root).right = self.remove_below(right, range, id),
            Ordering::Equal => {
                if self.node_mut(root).members.remove(id) {
                    self.free.push(root);
                    return self.joined(left, right);
                }
                return root;
            }
        }
        self.refresh(root)
    }

    /// Makes one tree of two, all of the left one being before the right one.
    fn joined(&mut self, left: Link, right: Link) -> Link {
        if left == NOWHERE || right == NOWHERE {
            return left.min(right);
        }
        if self.node(left).priority > self.node(right).priority {
            self.node_mut(left).right = self.joined(self.node(left).right, right);
            self.refresh(left)
        } else {
            self.node_mut(right).left = self.joined(left, self.node(right).left);
            self.refresh(right)
        }
    }

    /// Appends who asks for a range that the extent meets.
    pub(super) fn find(&self, extent: &Extent<'_>, types: OperationTypes, into: &mut Vec<Id>) {
        self.find_below(self.root, extent, types, into);
    }

    fn find_below(
        &self,
        root: Link,
        extent: &Extent<'_>,
        types: OperationTypes,
        into: &mut Vec<Id>,
    ) {
        if root == NOWHERE {
            return;
        }
        let node = self.node(root);
        if !self.node(node.furthest).range.ends_above(extent) {
            return;
        }
        self.find_below(node.left, extent, types, into);
        // What begins too late is followed only by what begins later.
        if node.range.begins_below(extent) {
            if node.range.ends_above(extent) {
                node.members.append_to(types, into);
            }
            self.find_below(node.right, extent, types, into);
        }
    }

    fn add(&mut self, node: Node<Id>) -> Link {
        let link = match self.free.pop() {
            Some(link) => {
                *self.node_mut(link) = node;
                link
            }
            None => {
                self.nodes.push(node);
                Link::try_from(self.nodes.len() - 1)
                    .expect("invariant: there is no room for 2^32 nodes")
            }
        };
        self.refresh(link)
    }

    /// Finds the furthest anew, and returns the link.
    fn refresh(&mut self, link: Link) -> Link {
        let node = self.node(link);
        let mut furthest = link;
        for child in [node.left, node.right] {
            if child == NOWHERE {
                continue;
            }
            let candidate = self.node(child).furthest;
            let (best, other) = (self.node(furthest), self.node(candidate));
            if other.range.compare_upper(&best.range).is_gt() {
                furthest = candidate;
            }
        }
        self.node_mut(link).furthest = furthest;
        link
    }

    fn node(&self, link: Link) -> &Node<Id> {
        &self.nodes[link as usize]
    }

    fn node_mut(&mut self, link: Link) -> &mut Node<Id> {
        &mut self.nodes[link as usize]
    }
}
