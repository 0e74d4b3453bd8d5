//! Filters with `$expr`, and single values for expressions.

use bson::{Bson, Document, doc};
use rand::Rng;

use super::{EVENT_FIELDS, FIELDS, Generator};

impl Generator {
    /// Makes a filter, one in four times together with an `$expr`.
    pub(in super::super) fn filter_with_expression(&mut self) -> Document {
        let filter = self.filter();
        if !self.one_in(4) {
            return filter;
        }
        let expression = doc! { "$expr": self.condition_expression() };
        match self.random.random_range(0..6) {
            0 => doc! { "$or": [filter, expression] },
            1 => doc! { "$or": [expression, filter] },
            2 => doc! { "$nor": [expression] },
            3 => doc! { "$and": [expression, filter] },
            4 => expression,
            _ => {
                let mut filter = filter;
                filter.extend(expression);
                filter
            }
        }
    }

    /// Makes a filter as [`Generator::filter_with_expression`] does, for change events.
    pub(in super::super) fn event_filter_with_expression(&mut self) -> Document {
        self.roots = EVENT_FIELDS;
        let filter = self.filter_with_expression();
        self.roots = FIELDS;
        filter
    }

    /// Makes a value of any type.
    pub(in super::super) fn any_value(&mut self) -> Bson {
        let depth = self.pick(&[0, 0, 1, 2]);
        self.value(depth)
    }

    /// Makes a number of any type, often one at an edge.
    pub(in super::super) fn any_number(&mut self) -> Bson {
        self.number()
    }

    /// Makes a string, now and then a symbol.
    pub(in super::super) fn any_string(&mut self) -> Bson {
        self.string()
    }

    fn condition_expression(&mut self) -> Bson {
        let (a, b) = (self.expression_operand(), self.expression_operand());
        match self.random.random_range(0..12) {
            0..=4 => {
                let name = self.pick(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$eq"]);
                doc! { name: [a, b] }
            }
            5 => doc! { "$and": [{ "$gt": [a, Bson::Null] }, { "$lte": [b, 5] }] },
            6 => doc! { "$or": [{ "$eq": [a, b] }, { "$not": [self.expression_operand()] }] },
            7 => doc! { "$in": [a, { "$cond": [{ "$isArray": [b.clone()] }, b, [1, 2]] }] },
            8 => doc! { "$gt": [{ "$add": [a, b] }, 1] },
            9 => doc! { "$cond": [a, b, self.expression_operand()] },
            10 => doc! { "$eq": [{ "$type": a }, self.pick(&["int", "missing", "string", "array", "null"])] },
            _ => return a,
        }
        .into()
    }

    fn expression_operand(&mut self) -> Bson {
        if self.one_in(3) {
            let value = self.any_value();
            return doc! { "$literal": value }.into();
        }
        let is_event = self.roots == EVENT_FIELDS;
        let root = match is_event && !self.one_in(16) {
            true => self.pick(&["fullDocument.a", "fullDocument.b", "fullDocument.c"]),
            false => self.pick(self.roots),
        };
        let below = self.pick(&["", "", ".a", ".b", ".0"]);
        format!("${root}{below}").into()
    }
}
