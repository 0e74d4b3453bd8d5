//! Random expressions over documents whose fields mostly have the types that operators want, and sometimes any.

use bson::{Bson, Decimal128, Document, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generator;

mod dates;
mod patterns;

/// Makes documents and expressions; the same seed makes the same ones.
pub(super) struct Generator {
    random: StdRng,
    /// Makes values of all types.
    values: generator::Generator,
    /// Names of variables in scope.
    variables: Vec<&'static str>,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Number,
    /// A small whole number.
    Index,
    Text,
    Date,
    Array,
    Object,
    Truth,
    Any,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            values: generator::Generator::new(seed ^ 1),
            variables: Vec::new(),
        }
    }

    /// Makes a document: `n` holds a number, `s` a string, `d` a date, `l` a list, `o` a document, and `x` anything;
    /// each now and then something else, or nothing.
    pub(super) fn document(&mut self) -> Document {
        let mut document = Document::new();
        for (name, want) in FIELDS {
            if self.one_in(25) {
                continue;
            }
            let want = if self.one_in(15) { Want::Any } else { *want };
            let value = self.constant(want);
            document.insert(*name, value);
        }
        let count = self.pick(&[0, 1, 2, 2, 3]);
        let objects: Vec<Bson> = (0..count).map(|_| self.constant(Want::Object)).collect();
        document.insert("os", objects);
        document
    }

    /// Makes an expression.
    pub(super) fn expression(&mut self) -> Bson {
        self.variables.clear();
        let want = self.pick(&[
            Want::Number,
            Want::Text,
            Want::Date,
            Want::Array,
            Want::Object,
            Want::Truth,
            Want::Any,
        ]);
        self.operator(want, 2)
    }

    /// Makes an argument: mostly a field, else a constant or an expression.
    fn argument(&mut self, want: Want, depth: usize) -> Bson {
        let want = if self.one_in(40) { Want::Any } else { want };
        match self.random.random_range(0..10) {
            0..=5 if depth == 0 => self.path(want),
            0..=2 => self.path(want),
            3..=4 if depth > 0 => self.literal(want),
            _ if depth > 0 => self.operator(want, depth - 1),
            _ => self.literal(want),
        }
    }

    fn path(&mut self, want: Want) -> Bson {
        if !self.variables.is_empty() && self.one_in(3) {
            let variables = self.variables.clone();
            let name = self.pick(&variables);
            return format!("$${name}").into();
        }
        let path = match want {
            Want::Number | Want::Index => self.pick(&["$n", "$m", "$i", "$o.n", "$i"]),
            Want::Text => self.pick(&["$s", "$t", "$o.s", "$s"]),
            Want::Date => self.pick(&["$d", "$e"]),
            Want::Array => self.pick(&["$l", "$k", "$o.l", "$os.n", "$l"]),
            Want::Object => self.pick(&["$o", "$$ROOT", "$$CURRENT", "$o"]),
            Want::Truth | Want::Any => self.pick(&[
                "$x",
                "$y",
                "$n",
                "$s",
                "$l",
                "$o.n",
                "$x.a",
                "$x.a.b",
                "$missing",
                "$os.l.n",
                "$$ROOT.n",
                "$$CURRENT.o.s",
                "$$REMOVE",
                "$l.0",
                "$os.0.n",
                "$x.0",
            ]),
        };
        path.into()
    }

    /// Makes a constant as an expression writes it.
    fn literal(&mut self, want: Want) -> Bson {
        match self.constant(want) {
            value @ (Bson::Document(_) | Bson::Array(_)) => doc! { "$literal": value }.into(),
            Bson::String(text) if text.starts_with('$') => doc! { "$literal": text }.into(),
            value => value,
        }
    }

    fn constant(&mut self, want: Want) -> Bson {
        match want {
            Want::Number => self.number(),
            Want::Index => match self.one_in(30) {
                true => self.number(),
                false => self.index(),
            },
            Want::Text => self.text(),
            Want::Date => self.date(),
            Want::Array => {
                let want = self.pick(&[
                    Want::Number,
                    Want::Index,
                    Want::Text,
                    Want::Any,
                    Want::Array,
                ]);
                let count = self.pick(&[0, 1, 2, 3, 3, 4]);
                Bson::Array((0..count).map(|_| self.element(want)).collect())
            }
            Want::Object => {
                let mut object = Document::new();
                for (name, want) in [("n", Want::Number), ("s", Want::Text), ("l", Want::Array)] {
                    if !self.one_in(6) {
                        let value = self.element(want);
                        object.insert(name, value);
                    }
                }
                object.into()
            }
            Want::Truth => Bson::Boolean(self.one_in(2)),
            Want::Any => self.values.any_value(),
        }
    }

    /// Makes an element: nothing deeper than a list of numbers.
    fn element(&mut self, want: Want) -> Bson {
        match want {
            Want::Array => {
                let count = self.pick(&[0, 1, 2, 2, 3]);
                Bson::Array((0..count).map(|_| self.number()).collect())
            }
            want => self.constant(want),
        }
    }

    fn index(&mut self) -> Bson {
        let index = self.pick(&[0, 1, 2, 3, -1, -2, 0, 1, 5]);
        match self.random.random_range(0..6) {
            0 => Bson::Int64(i64::from(index)),
            1 => Bson::Double(f64::from(index)),
            2 => Bson::Decimal128(index.to_string().parse().expect("a decimal")),
            _ => Bson::Int32(index),
        }
    }

    fn number(&mut self) -> Bson {
        match self.random.random_range(0..8) {
            0 => Bson::Double(self.random.random_range(-1000.0..1000.0)),
            1 => Bson::Double(f64::from(self.random.random_range(-100_000..100_000)) / 100.0),
            2 => Bson::Int32(self.random.random_range(-1000..1000)),
            3 => self.decimal(),
            4 => Bson::Int64(self.random.random::<i64>() >> self.random.random_range(0..60)),
            _ => self.values.any_number(),
        }
    }

    fn decimal(&mut self) -> Bson {
        let digits = self.random.random_range(1..=34);
        let mut text = String::from(if self.one_in(2) { "-" } else { "" });
        for _ in 0..digits {
            text.push(char::from(b'0' + self.random.random_range(0..10_u8)));
        }
        let exponent = match self.random.random_range(0..5) {
            0 => self.random.random_range(-6176..6000),
            1 => self.random.random_range(-80..80),
            _ => -self.random.random_range(0..digits + 2),
        };
        let text = format!("{text}E{exponent}");
        Bson::Decimal128(
            text.parse()
                .unwrap_or_else(|_| Decimal128::from_bytes([0; 16])),
        )
    }

    fn text(&mut self) -> Bson {
        if self.one_in(3) {
            return self.values.any_string();
        }
        let texts: Vec<&str> = TEXTS.split('|').collect();
        self.pick(&texts).into()
    }

    fn date(&mut self) -> Bson {
        let millis = match self.random.random_range(0..6) {
            0 => self.pick(DATES),
            1 => self
                .random
                .random_range(-62_200_000_000_000..253_500_000_000_000),
            _ => self
                .random
                .random_range(-10_000_000_000_i64..2_000_000_000_000),
        };
        Bson::DateTime(bson::DateTime::from_millis(millis))
    }

    fn operator(&mut self, want: Want, depth: usize) -> Bson {
        if depth == 0 && self.one_in(3) {
            return self.path(want);
        }
        if self.one_in(12) {
            return self.general(want, depth);
        }
        match want {
            Want::Number => self.number_operator(depth),
            Want::Index => match self.one_in(2) {
                true => self.index(),
                false => self.count_operator(depth),
            },
            Want::Text => self.text_operator(depth),
            Want::Date => self.date_operator(depth),
            Want::Array => self.array_operator(depth),
            Want::Object => self.object_operator(depth),
            Want::Truth => self.truth_operator(depth),
            Want::Any => {
                let want = self.pick(&[
                    Want::Number,
                    Want::Text,
                    Want::Date,
                    Want::Array,
                    Want::Object,
                    Want::Truth,
                ]);
                self.operator(want, depth)
            }
        }
    }

    fn general(&mut self, want: Want, depth: usize) -> Bson {
        let one = self.argument(want, depth);
        let two = self.argument(want, depth);
        match self.random.random_range(0..6) {
            0 => doc! { "$cond": [self.argument(Want::Truth, depth), one, two] },
            1 => doc! { "$cond": { "if": self.argument(Want::Any, depth), "then": one, "else": two } },
            2 => doc! { "$ifNull": [one, self.argument(Want::Any, depth), two] },
            3 => {
                let mut switch = doc! { "branches": [
                    { "case": self.argument(Want::Truth, depth), "then": one },
                    { "case": self.argument(Want::Any, depth), "then": two },
                ] };
                if !self.one_in(4) {
                    switch.insert("default", self.argument(want, depth));
                }
                doc! { "$switch": switch }
            }
            4 => {
                let value = self.argument(want, depth);
                let inner = self.within(&["v"], |this| this.argument(want, depth));
                doc! { "$let": { "vars": { "v": value }, "in": inner } }
            }
            _ => doc! { "$arrayElemAt": [[one, two], self.argument(Want::Index, depth)] },
        }
        .into()
    }

    fn number_operator(&mut self, depth: usize) -> Bson {
        let a = self.argument(Want::Number, depth);
        match self.random.random_range(0..28) {
            0..=2 => doc! { "$add": [a, self.argument(Want::Number, depth)] },
            3 => doc! { "$add": [a, "$n", self.argument(Want::Number, depth)] },
            4..=5 => doc! { "$subtract": [a, self.argument(Want::Number, depth)] },
            6..=7 => doc! { "$multiply": [a, self.argument(Want::Number, depth)] },
            8..=9 => doc! { "$divide": [a, self.argument(Want::Number, depth)] },
            10..=11 => doc! { "$mod": [a, self.argument(Want::Number, depth)] },
            12 => doc! { self.pick(&["$abs", "$ceil", "$floor", "$sqrt"]): a },
            13..=14 => doc! { self.pick(&["$round", "$trunc"]): [a, self.place(depth)] },
            15 => doc! { self.pick(&["$round", "$trunc"]): a },
            16 => doc! { "$cmp": [self.argument(Want::Any, depth), self.argument(Want::Any, depth)] },
            17 => doc! { self.pick(&["$max", "$min"]): [a, self.argument(Want::Any, depth)] },
            18 => doc! { self.pick(&["$max", "$min", "$sum", "$avg"]): self.argument(Want::Array, depth) },
            19 => doc! { self.pick(&["$sum", "$avg"]): [a, self.argument(Want::Number, depth)] },
            20..=21 => {
                let want = self.pick(&[Want::Number, Want::Number, Want::Any, Want::Text, Want::Date]);
                let kind = self.pick(&["$toInt", "$toLong", "$toDouble", "$toDecimal"]);
                doc! { kind: self.argument(want, depth) }
            }
            22 => doc! { "$subtract": [self.argument(Want::Date, depth), self.argument(Want::Date, depth)] },
            23 => return self.date_part(depth),
            24..=25 => return self.date_difference(depth),
            _ => return self.count_operator(depth),
        }
        .into()
    }

    /// Digits behind the point.
    fn place(&mut self, depth: usize) -> Bson {
        match self.one_in(6) {
            true => self.argument(Want::Index, depth),
            false => Bson::Int32(self.random.random_range(-20..25)),
        }
    }

    fn count_operator(&mut self, depth: usize) -> Bson {
        match self.random.random_range(0..8) {
            0 => doc! { "$size": self.argument(Want::Array, depth) },
            1 => doc! { self.pick(&["$strLenBytes", "$strLenCP"]): self.argument(Want::Text, depth) },
            2 => doc! { "$strcasecmp": [self.argument(Want::Text, depth), self.argument(Want::Text, depth)] },
            3..=4 => {
                let name = self.pick(&["$indexOfBytes", "$indexOfCP"]);
                let text = self.argument(Want::Text, depth);
                doc! { name: self.search(text, Want::Text, depth) }
            }
            5 => {
                let array = self.argument(Want::Array, depth);
                doc! { "$indexOfArray": self.search(array, Want::Number, depth) }
            }
            _ => return self.date_part(depth),
        }
        .into()
    }

    fn search(&mut self, within: Bson, want: Want, depth: usize) -> Bson {
        let mut arguments = vec![within, self.argument(want, depth)];
        for _ in 0..self.pick(&[0, 0, 1, 2]) {
            arguments.push(self.argument(Want::Index, depth));
        }
        arguments.into()
    }

    fn text_operator(&mut self, depth: usize) -> Bson {
        let a = self.argument(Want::Text, depth);
        match self.random.random_range(0..16) {
            0..=1 => doc! { "$concat": [a, self.argument(Want::Text, depth)] },
            2 => doc! { "$concat": [a, "$s", self.argument(Want::Text, depth)] },
            3..=4 => {
                let name = self.pick(&["$substrBytes", "$substrCP", "$substr"]);
                doc! { name: [a, self.argument(Want::Index, depth), self.argument(Want::Index, depth)] }
            }
            5 => doc! { self.pick(&["$toLower", "$toUpper"]): a },
            6 => {
                let name = self.pick(&["$toLower", "$toUpper", "$toString"]);
                let want = self.pick(&[Want::Number, Want::Date, Want::Any]);
                doc! { name: self.argument(want, depth) }
            }
            7..=8 => {
                let mut trim = doc! { "input": a };
                if self.one_in(2) {
                    trim.insert("chars", self.argument(Want::Text, depth));
                }
                doc! { self.pick(&["$trim", "$ltrim", "$rtrim"]): trim }
            }
            9..=10 => {
                let name = self.pick(&["$replaceOne", "$replaceAll"]);
                doc! { name: {
                    "input": a,
                    "find": self.argument(Want::Text, depth),
                    "replacement": self.argument(Want::Text, depth),
                } }
            }
            11 => doc! { "$type": self.argument(Want::Any, depth) },
            12..=13 => return self.written_date(depth),
            _ => doc! { "$toString": a },
        }
        .into()
    }

    fn array_operator(&mut self, depth: usize) -> Bson {
        let a = self.argument(Want::Array, depth);
        match self.random.random_range(0..23) {
            0 => doc! { "$slice": [a, self.argument(Want::Index, depth)] },
            1 => doc! { "$slice": [a, self.argument(Want::Index, depth), self.argument(Want::Index, depth)] },
            2..=3 => doc! { "$concatArrays": [a, self.argument(Want::Array, depth)] },
            4 => doc! { "$reverseArray": a },
            5..=6 => {
                let each = self.within(&["this"], |this| this.argument(Want::Any, depth));
                doc! { "$map": { "input": a, "in": each } }
            }
            7..=8 => {
                let condition = self.within(&["q"], |this| this.argument(Want::Truth, depth));
                doc! { "$filter": { "input": a, "as": "q", "cond": condition } }
            }
            9 => doc! { "$range": [self.argument(Want::Index, depth), self.argument(Want::Index, depth)] },
            10 => doc! { "$range": [
                self.argument(Want::Index, depth),
                self.argument(Want::Index, depth),
                self.argument(Want::Index, depth),
            ] },
            11 => doc! { "$zip": { "inputs": [a, self.argument(Want::Array, depth)] } },
            12 => doc! { "$zip": {
                "inputs": [a, self.argument(Want::Array, depth)],
                "useLongestLength": true,
                "defaults": [self.literal(Want::Number), 1],
            } },
            13 => doc! { "$setDifference": [a, self.argument(Want::Array, depth)] },
            14 => doc! { "$objectToArray": self.argument(Want::Object, depth) },
            15 => doc! { "$split": [self.argument(Want::Text, depth), self.argument(Want::Text, depth)] },
            16..=17 => doc! { "$setUnion": self.sets(a, depth) },
            18..=19 => doc! { "$setIntersection": self.sets(a, depth) },
            20..=21 => self.search_of_pattern("$regexFindAll", depth),
            _ => return Bson::Array(vec![a, self.argument(Want::Any, depth)]),
        }
        .into()
    }

    /// Mostly two arrays whose elements are of one kind, so that they have some in common.
    fn sets(&mut self, first: Bson, depth: usize) -> Bson {
        let mut all = vec![first];
        for _ in 0..self.pick(&[0, 1, 1, 1, 2]) {
            all.push(match self.one_in(3) {
                true => self.few().into(),
                false => self.argument(Want::Array, depth),
            });
        }
        if self.one_in(3) {
            all[0] = vec![self.few(), vec!["$n".into()]].into();
            all[0] = doc! { "$concatArrays": all[0].clone() }.into();
        }
        all.into()
    }

    /// Numbers and texts of which there are few.
    fn few(&mut self) -> Vec<Bson> {
        let one = |this: &mut Self| {
            this.pick(&[
                Bson::Int32(1),
                1.0.into(),
                Bson::Int64(1),
                2.into(),
                "a".into(),
                "b".into(),
                Bson::Null,
                "$n".into(),
            ])
        };
        (0..self.pick(&[0, 1, 2, 3, 5]))
            .map(|_| one(self))
            .collect()
    }

    fn object_operator(&mut self, depth: usize) -> Bson {
        match self.random.random_range(0..12) {
            0..=1 => {
                doc! { "$mergeObjects": [self.argument(Want::Object, depth), self.argument(Want::Object, depth)] }
            }
            2 => doc! { "$arrayToObject": { "$objectToArray": self.argument(Want::Object, depth) } },
            3 => doc! { "$arrayToObject": [[
                [self.argument(Want::Text, depth), self.argument(Want::Any, depth)],
                ["n", self.argument(Want::Any, depth)],
            ]] },
            4 => doc! { "$setField": {
                "field": self.pick(&["n", "s", "z", "a.b"]),
                "input": self.argument(Want::Object, depth),
                "value": self.argument(Want::Any, depth),
            } },
            5 => doc! { "$unsetField": {
                "field": self.pick(&["n", "s", "z"]),
                "input": self.argument(Want::Object, depth),
            } },
            6..=7 => return self.date_taken_apart(depth),
            8..=10 => self.search_of_pattern("$regexFind", depth),
            _ => doc! { "p": self.argument(Want::Any, depth), "q": { "r": self.argument(Want::Any, depth) } },
        }
        .into()
    }

    fn truth_operator(&mut self, depth: usize) -> Bson {
        match self.random.random_range(0..18) {
            0..=5 => {
                let name = self.pick(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
                let want = self.pick(&[Want::Number, Want::Text, Want::Any, Want::Date, Want::Array]);
                doc! { name: [self.argument(want, depth), self.argument(want, depth)] }
            }
            6..=7 => {
                let name = self.pick(&["$and", "$or"]);
                let count = self.pick(&[0, 1, 2, 2, 3]);
                let arguments: Vec<Bson> = (0..count).map(|_| self.argument(Want::Truth, depth)).collect();
                doc! { name: arguments }
            }
            8 => doc! { "$not": [self.argument(Want::Truth, depth)] },
            9 => doc! { self.pick(&["$isArray", "$isNumber"]): [self.argument(Want::Any, depth)] },
            10 => doc! { "$in": [self.argument(Want::Number, depth), self.argument(Want::Array, depth)] },
            11 => doc! { "$setEquals": [self.argument(Want::Array, depth), self.argument(Want::Array, depth)] },
            12 => doc! { "$setIsSubset": [self.argument(Want::Array, depth), self.argument(Want::Array, depth)] },
            13 => doc! { self.pick(&["$anyElementTrue", "$allElementsTrue"]): [self.argument(Want::Array, depth)] },
            14..=15 => self.search_of_pattern("$regexMatch", depth),
            16 => doc! { "$toBool": self.argument(Want::Any, depth) },
            _ => doc! { "$eq": [{ "$getField": { "field": "n", "input": self.argument(Want::Object, depth) } }, "$n"] },
        }
        .into()
    }

    fn within<T>(&mut self, names: &[&'static str], make: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.variables.len();
        self.variables.extend(names);
        let made = make(self);
        self.variables.truncate(before);
        made
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())].clone()
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.random.random_ratio(1, times)
    }
}

const FIELDS: &[(&str, Want)] = &[
    ("n", Want::Number),
    ("m", Want::Number),
    ("i", Want::Index),
    ("s", Want::Text),
    ("t", Want::Text),
    ("d", Want::Date),
    ("e", Want::Date),
    ("l", Want::Array),
    ("k", Want::Array),
    ("o", Want::Object),
    ("x", Want::Any),
    ("y", Want::Any),
];
/// Parted by bars.
const TEXTS: &str = "a|b|ab|abcab| ab	|é€😀x|aXbX||1|-5|3.5|1e3|12345678901|0x1F| 7|NaN|inf|$a|5e24a1b2c3d4e5f601234567|\
    true|1.|.5|+4|é|x|9223372036854775808|1E400|1e-400|-|0.1|2020-01-01|-0X1p4|nan(1)|1234567890123456789012345678901234567";
const DATES: &[i64] = &[
    0,
    -1,
    i64::MAX,
    i64::MIN,
    -62_135_596_800_000,
    -62_167_219_200_001,
    253_402_300_800_000,
];
