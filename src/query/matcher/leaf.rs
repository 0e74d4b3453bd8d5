//! What is asked of a single value.

use std::cmp::Ordering;

use bson::spec::ElementType;

use crate::query::matcher::Node;
use crate::query::order::number::Number;
use crate::query::order::{self, Bracket};
use crate::query::regex::Regex;
use crate::query::value::{Doc, Value};

/// A filter's operand, owned.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    kind: ElementType,
    bytes: Box<[u8]>,
}

/// A question about one value. A missing value is asked too.
#[derive(Debug)]
pub(crate) enum Test {
    Compare {
        comparison: Comparison,
        operand: Operand,
    },
    In(Membership),
    Exists,
    Type(Types),
    Modulo {
        divisor: i64,
        remainder: i64,
    },
    Bits {
        bits: Bits,
        expects: Expects,
    },
    Regex(Regex),
    Size(usize),
    ElementDocument(Box<Node>),
    ElementValue(Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The list of `$in`, sorted by [`order::compare`].
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) values: Box<[Operand]>,
    pub(crate) regexes: Box<[Regex]>,
    pub(crate) has_null: bool,
}

/// A set of BSON types.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Types(u32);

/// Positions of bits, ascending.
#[derive(Debug)]
pub(crate) struct Bits(pub(crate) Box<[u32]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    AllSet,
    AllClear,
    AnySet,
    AnyClear,
}

impl Operand {
    pub(crate) fn new(value: Value<'_>) -> Self {
        Self {
            kind: value.kind,
            bytes: value.bytes().into(),
        }
    }

    pub(crate) fn value(&self) -> Value<'_> {
        Value::new(self.kind, &self.bytes)
    }
}

impl Test {
    /// Says whether an array is asked as one value instead of by its elements.
    pub(crate) fn takes_whole_arrays(&self) -> bool {
        matches!(
            self,
            Self::Size(_) | Self::ElementDocument(_) | Self::ElementValue(_)
        )
    }

    pub(crate) fn matches(&self, value: Option<Value<'_>>) -> bool {
        match self {
            Self::Compare {
                comparison,
                operand,
            } => comparison.holds(value, operand.value()),
            Self::In(membership) => membership.contains(value),
            Self::Exists => value.is_some(),
            Self::Type(types) => value.is_some_and(|value| types.contains(value.kind)),
            Self::Modulo { divisor, remainder } => value
                .and_then(Number::of)
                .and_then(Number::truncated)
                // `wrapping_rem`: the least integer divided by -1 leaves nothing.
                .is_some_and(|dividend| dividend.wrapping_rem(*divisor) == *remainder),
            Self::Bits { bits, expects } => value.is_some_and(|value| bits.hold(value, *expects)),
            Self::Regex(regex) => value.is_some_and(|value| regex.matches(value)),
            Self::Size(size) => elements_of(value).is_some_and(|array| {
                array.elements().take(size.saturating_add(1)).count() == *size
            }),
            Self::ElementDocument(node) => elements_of(value).is_some_and(|array| {
                let mut documents = array
                    .elements()
                    .filter_map(|(_, element)| element.container());
                documents.any(|document| node.matches_document(document))
            }),
            Self::ElementValue(node) => elements_of(value).is_some_and(|array| {
                array
                    .elements()
                    .any(|(_, element)| node.matches_element(element))
            }),
        }
    }
}

fn elements_of(value: Option<Value<'_>>) -> Option<Doc<'_>> {
    value.filter(|value| value.is_array())?.container()
}

impl Comparison {
    /// Compares within the operand's bracket; null is also undefined and missing, MinKey and MaxKey bound everything.
    fn holds(self, value: Option<Value<'_>>, operand: Value<'_>) -> bool {
        let bracket = value.map_or(Bracket::Undefined, |value| Bracket::of(value.kind));
        let wanted = Bracket::of(operand.kind);
        let Some(value) = value.filter(|_| bracket == wanted) else {
            return match (bracket, wanted) {
                (Bracket::Undefined, Bracket::Null) => self.admits(Ordering::Equal),
                (_, Bracket::MinKey) => matches!(self, Self::Greater | Self::GreaterOrEqual),
                (_, Bracket::MaxKey) => matches!(self, Self::Less | Self::LessOrEqual),
                _ => false,
            };
        };
        let is_nan = |value| Number::of(value).is_some_and(Number::is_nan);
        if bracket == Bracket::Number && is_nan(value) != is_nan(operand) {
            return false;
        }
        self.admits(order::compare(value, operand))
    }

    fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Membership {
    fn contains(&self, value: Option<Value<'_>>) -> bool {
        let Some(value) = value else {
            return self.has_null;
        };
        if value.kind == ElementType::Undefined {
            return self.has_null;
        }
        let found = self
            .values
            .binary_search_by(|operand| order::compare(operand.value(), value));
        found.is_ok() || self.regexes.iter().any(|regex| regex.matches(value))
    }
}

impl Types {
    pub(crate) fn insert(&mut self, kind: ElementType) {
        self.0 |= Self::bit(kind);
    }

    pub(crate) fn contains(self, kind: ElementType) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = ElementType> {
        let all = (1..=19).chain([0x7f, 0xff]).filter_map(ElementType::from);
        all.filter(move |kind| self.contains(*kind))
    }

    fn bit(kind: ElementType) -> u32 {
        match kind {
            ElementType::MinKey => 1 << 30,
            ElementType::MaxKey => 1 << 31,
            kind => 1 << (kind as u8),
        }
    }
}

impl Bits {
    fn hold(&self, value: Value<'_>, expects: Expects) -> bool {
        if let Some((_, content)) = value.binary() {
            return self.hold_by(expects, |bit| {
                let byte = content.get(bit as usize / 8).copied().unwrap_or(0);
                byte >> (bit % 8) & 1 == 1
            });
        }
        let integer = match Number::of(value) {
            Some(Number::Integer(integer)) => integer,
            Some(number @ Number::Double(double)) => match number.truncated() {
                Some(integer) if integer as f64 == double => integer,
                _ => return false,
            },
            // The server rounds decimals, and makes the least integer of what does not fit (measured on 6.0.5).
            Some(Number::Decimal(decimal)) => decimal.rounded().unwrap_or(i64::MIN),
            None => return false,
        };
        self.hold_by(expects, |bit| integer >> bit.min(63) & 1 == 1)
    }

    fn hold_by(&self, expects: Expects, is_set: impl Fn(u32) -> bool) -> bool {
        let mut bits = self.0.iter().map(|bit| is_set(*bit));
        match expects {
            Expects::AllSet => bits.all(|set| set),
            Expects::AllClear => bits.all(|set| !set),
            Expects::AnySet => bits.any(|set| set),
            Expects::AnyClear => bits.any(|set| !set),
        }
    }
}
