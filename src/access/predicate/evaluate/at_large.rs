//! What a predicate comes to for everybody who asks for the same target with the same method.
//!
//! Most predicates look at the path and the method alone, or fail by them. So what they come to is worked out once for all
//! sessions of a stream, and only what is left is asked for each of them.

use super::super::attribute::Attribute;
use super::super::value::Text;
use super::{Circumstances, Evaluation, Node, Test};

/// What is known of a predicate by method and target alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLarge {
    /// It holds for everybody.
    Holds,
    /// It holds for nobody.
    Fails,
    /// It depends on who asks, and from where.
    Depends,
}

/// Works out what is known; of `circumstances` only the method and the target are looked at.
pub(in crate::access::predicate) fn at_large(
    root: &Node,
    circumstances: &Circumstances<'_>,
) -> AtLarge {
    let evaluation = Evaluation {
        circumstances: *circumstances,
        variables: std::cell::RefCell::default(),
    };
    // One part that is false is enough, whatever the others are: what cannot be evaluated does not hold either.
    if let Node::All(nodes) = root
        && nodes
            .iter()
            .any(|node| evaluation.known(node) == Some(false))
    {
        return AtLarge::Fails;
    }
    match evaluation.known(root) {
        Some(true) => AtLarge::Holds,
        Some(false) => AtLarge::Fails,
        None => AtLarge::Depends,
    }
}

impl Evaluation<'_> {
    /// In the order of an evaluation proper, since a part that cannot be evaluated makes all of it fail.
    fn known(&self, node: &Node) -> Option<bool> {
        match node {
            Node::True => Some(true),
            Node::False => Some(false),
            Node::Not(inner) => self.known(inner).map(|holds| !holds),
            Node::All(nodes) => {
                for node in nodes {
                    if !self.known(node)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Node::Any(nodes) => {
                for node in nodes {
                    if self.known(node)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Node::Test(test) if test.rests_on_target() => self.test(test).ok(),
            Node::Test(_) => None,
        }
    }
}

impl Test {
    /// Whether method and target alone decide.
    fn rests_on_target(&self) -> bool {
        match self {
            Self::Secure
            | Self::AuthRequired
            | Self::ParametersContain(_)
            | Self::ParametersSize(_)
            | Self::ParametersWhitelist(_)
            | Self::ParametersBlacklist(_) => false,
            Self::Path(_)
            | Self::PathPrefix(_)
            | Self::PathSuffix(_)
            | Self::PathTemplate { .. }
            | Self::Regex { .. }
            | Self::Equals(_)
            | Self::Contains { .. }
            | Self::Exists(_)
            | Self::Method(_)
            | Self::In { .. }
            | Self::Idempotent
            | Self::Constant(_) => self.texts().all(Text::rests_on_target),
        }
    }
}

impl Text {
    fn rests_on_target(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Attributes(parts) => parts.iter().all(|part| {
                // Not a variable: a part before it may have bound it, and not be known.
                matches!(
                    part,
                    Attribute::Literal(_)
                        | Attribute::PathParameter(_)
                        | Attribute::Path
                        | Attribute::Url
                        | Attribute::Method
                        | Attribute::Protocol
                        | Attribute::Null
                )
            }),
            Self::Naming(_) | Self::User(_) | Self::Request(_) | Self::Now | Self::Unmatchable => {
                false
            }
        }
    }
}
