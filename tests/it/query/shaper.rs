//! Random pipelines of the stages that a change stream may have, over events of the documents that `generator` makes.

use bson::{Bson, Document, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generator::Generator;

/// Makes pipelines; the same seed makes the same ones.
pub(super) struct Shaper {
    random: StdRng,
    values: Generator,
}

impl Shaper {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed ^ 0x5748_4150),
            values: Generator::new(seed),
        }
    }

    /// Makes a document as it is stored.
    pub(super) fn document(&mut self) -> Document {
        self.values.document()
    }

    /// Makes up to four stages, at least one of which reshapes.
    pub(super) fn pipeline(&mut self) -> Vec<Document> {
        let mut stages = Vec::new();
        if self.one_in(4) {
            stages.push(self.filter());
        }
        for _ in 0..self.pick(&[1, 1, 1, 2, 2, 3]) {
            stages.push(self.reshaping());
            if self.one_in(6) {
                stages.push(self.filter());
            }
        }
        stages
    }

    fn reshaping(&mut self) -> Document {
        match self.random.random_range(0..16) {
            0..=3 => doc! { "$project": self.inclusion() },
            4..=5 => doc! { "$project": self.exclusion() },
            6..=9 => {
                let name = self.pick(&["$addFields", "$set"]);
                doc! { name: self.additions() }
            }
            10..=11 => self.unset(),
            12..=13 => doc! { "$redact": self.verdict() },
            _ => self.replacement(),
        }
    }

    fn filter(&mut self) -> Document {
        let mut filter = Document::new();
        for _ in 0..self.pick(&[1, 1, 2]) {
            let mut path = self.path();
            while path.contains('1') && !self.one_in(10) {
                // Numbers in conditions are refused behind what reshapes; mostly, they shall be none.
                path = self.path();
            }
            let condition: Bson = match self.random.random_range(0..6) {
                0 => doc! { "$exists": self.one_in(2) }.into(),
                1 => doc! { "$ne": self.operand() }.into(),
                2 => doc! { "$in": [self.operand(), self.operand(), Bson::Null] }.into(),
                3 if path.starts_with("fullDocument") => doc! { "$gte": self.operand() }.into(),
                4 => Bson::Null,
                _ => self.operand(),
            };
            filter.insert(path, condition);
        }
        doc! { "$match": filter }
    }

    fn inclusion(&mut self) -> Document {
        let mut spec = Document::new();
        for path in self.paths() {
            let value = match self.random.random_range(0..8) {
                0 | 1 => self.computed(),
                2 => self.nested(|this| {
                    let kept = this.pick(&[Bson::Int32(1), Bson::Boolean(true)]);
                    match this.one_in(3) {
                        true => this.computed(),
                        false => kept,
                    }
                }),
                3 => self.pick(&[
                    Bson::Boolean(true),
                    Bson::Double(f64::NAN),
                    Bson::Int64(7),
                    Bson::Double(0.5),
                ]),
                _ => Bson::Int32(1),
            };
            spec.insert(path, value);
        }
        match self.random.random_range(0..8) {
            0 => drop(spec.insert("_id", 1)),
            1 => drop(spec.insert("_id", "$_id")),
            _ => {}
        }
        spec
    }

    fn exclusion(&mut self) -> Document {
        let mut spec = Document::new();
        for path in self.paths() {
            let dropped = self.pick(&[
                Bson::Int32(0),
                Bson::Boolean(false),
                Bson::Double(-0.0),
                Bson::Int64(0),
            ]);
            let value = match self.one_in(5) {
                true => self.nested(|_| Bson::Int32(0)),
                false => dropped,
            };
            spec.insert(path, value);
        }
        if self.one_in(6) {
            spec.insert("_id", true);
        }
        spec
    }

    fn additions(&mut self) -> Document {
        let mut spec = Document::new();
        for path in self.paths() {
            let value = match self.one_in(4) {
                true => self.nested(Self::computed),
                false => self.computed(),
            };
            spec.insert(path, value);
        }
        spec
    }

    fn unset(&mut self) -> Document {
        let mut paths = self.paths();
        match self.one_in(2) {
            true => doc! { "$unset": paths.swap_remove(0) },
            false => doc! { "$unset": paths },
        }
    }

    fn replacement(&mut self) -> Document {
        let root: Bson = match self.random.random_range(0..7) {
            0 => "$$ROOT".into(),
            1 => doc! { "$mergeObjects": ["$fullDocument", { "_id": "$_id" }] }.into(),
            2 => doc! { "$mergeObjects": ["$$ROOT", { self.name(): self.computed() }] }.into(),
            _ => {
                let mut root = doc! { "_id": "$_id" };
                for name in ["fullDocument", "operationType", "x"] {
                    match self.random.random_range(0..3) {
                        0 => drop(root.insert(name, format!("${name}"))),
                        1 => drop(root.insert(name, self.nested(Self::computed))),
                        _ => {}
                    }
                }
                root.into()
            }
        };
        match self.one_in(2) {
            true => doc! { "$replaceRoot": { "newRoot": root } },
            false => doc! { "$replaceWith": root },
        }
    }

    fn verdict(&mut self) -> Bson {
        let verdict = |this: &mut Self| this.pick(&["$$DESCEND", "$$DESCEND", "$$PRUNE", "$$KEEP"]);
        if self.one_in(8) {
            return self.pick(&["$$DESCEND", "$$KEEP"]).into();
        }
        let name = self.name();
        let condition = match self.random.random_range(0..4) {
            0 => doc! { "$eq": [format!("${name}"), self.literal()] },
            1 => doc! { "$gt": [format!("${name}"), self.literal()] },
            2 => doc! { "$eq": [{ "$type": format!("${name}") }, "string"] },
            _ => doc! { "$in": [format!("${name}"), [self.literal(), self.literal()]] },
        };
        doc! { "$cond": [condition, verdict(self), "$$DESCEND"] }.into()
    }

    /// An expression as a field's value in a specification: what stands for keeping and dropping there is no expression.
    fn computed(&mut self) -> Bson {
        match self.expression(2) {
            value @ (Bson::String(_) | Bson::Array(_)) => value,
            Bson::Document(operator) if operator.keys().any(|name| name.starts_with('$')) => {
                operator.into()
            }
            other => doc! { "$literal": other }.into(),
        }
    }

    fn expression(&mut self, depth: usize) -> Bson {
        if depth == 0 || self.one_in(3) {
            return match self.random.random_range(0..8) {
                0 => self.literal(),
                1 => self.pick(&["$$REMOVE", "$_id", "$$ROOT", "$nope"]).into(),
                2 => "text".into(),
                _ => format!("${}", self.path()).into(),
            };
        }
        let inner = |this: &mut Self| this.expression(depth - 1);
        match self.random.random_range(0..20) {
            0 => doc! { "$ifNull": [self.field(), inner(self)] }.into(),
            1 | 2 => {
                let compare = self.pick(&["$eq", "$ne", "$gt", "$lte"]);
                let condition = doc! { compare: [self.field(), inner(self)] };
                doc! { "$cond": [condition, inner(self), inner(self)] }.into()
            }
            3 => doc! { "$type": self.field() }.into(),
            4 => {
                let operator = self.pick(&["$add", "$subtract", "$multiply", "$divide"]);
                doc! { operator: [self.field(), self.values.number()] }.into()
            }
            5 => doc! { "$concat": [self.field(), "x"] }.into(),
            6 => doc! { "$size": { "$ifNull": [self.field(), []] } }.into(),
            7 => doc! { "$isArray": self.field() }.into(),
            8 => doc! { "$mergeObjects": [self.field(), { "m": inner(self) }] }.into(),
            9 => doc! { "$arrayElemAt": [self.field(), self.pick(&[0, 1, -1])] }.into(),
            10 => {
                let made = doc! { "v": "$$this", "w": "$$this.a" };
                doc! { "$map": { "input": self.field(), "in": made } }.into()
            }
            11 => {
                let kept = doc! { "$gt": ["$$this", self.literal()] };
                doc! { "$filter": { "input": self.field(), "cond": kept } }.into()
            }
            12 => vec![inner(self), inner(self)].into(),
            13 => {
                let union = self.pick(&["$setUnion", "$setIntersection", "$setDifference"]);
                doc! { union: [self.field(), [1, "a", 2.0, Bson::Null]] }.into()
            }
            14 => {
                let find = self.pick(&["$regexMatch", "$regexFind", "$regexFindAll"]);
                doc! { find: { "input": self.field(), "regex": self.pick(&["a", "(b)?.$", "^", "[^a]+"]) } }.into()
            }
            15 => {
                let (unit, size) = (self.pick(&["hour", "day", "week", "month"]), self.pick(&[1, 2, 7]));
                doc! { "$dateTrunc": { "date": "$wallTime", "unit": unit, "binSize": size } }.into()
            }
            16 => {
                let shift = self.pick(&["$dateAdd", "$dateSubtract"]);
                doc! { shift: { "startDate": "$wallTime", "unit": "month", "amount": self.field() } }.into()
            }
            17 => {
                doc! { "$dateDiff": { "startDate": "$wallTime", "endDate": self.field(), "unit": "day" } }.into()
            }
            18 => {
                let date = self.pick(&["$wallTime", "$clusterTime", "$fullDocument.a"]);
                doc! { "$dateToParts": { "date": date, "timezone": "+02:00" } }.into()
            }
            _ => doc! { "$not": [inner(self)] }.into(),
        }
    }

    fn field(&mut self) -> Bson {
        format!("${}", self.path()).into()
    }

    fn literal(&mut self) -> Bson {
        match self.values.value(1) {
            Bson::String(text) if text.starts_with('$') => Bson::Null,
            Bson::Document(document) => doc! { "$literal": document }.into(),
            other => other,
        }
    }

    fn operand(&mut self) -> Bson {
        match self.values.value(0) {
            Bson::Undefined | Bson::RegularExpression(_) => Bson::Null,
            value => value,
        }
    }

    /// A document of fields one level down.
    fn nested(&mut self, value: impl Fn(&mut Self) -> Bson) -> Bson {
        let mut nested = Document::new();
        for _ in 0..self.pick(&[1, 2, 2]) {
            let name = self.name();
            let value = value(self);
            nested.insert(name, value);
        }
        nested.into()
    }

    /// Up to four paths of which, mostly, none leads through another.
    fn paths(&mut self) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for _ in 0..self.pick(&[1, 2, 2, 3, 4]) {
            let path = self.path();
            let through = |long: &str, short: &str| {
                long.strip_prefix(short)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let collides = |other: &String| through(&path, other) || through(other, &path);
            if !paths.iter().any(collides) || self.one_in(200) {
                paths.push(path);
            }
        }
        paths
    }

    fn path(&mut self) -> String {
        match self.random.random_range(0..12) {
            0..=6 => {
                let mut path = "fullDocument".to_owned();
                for _ in 0..self.pick(&[0, 1, 1, 1, 2, 2, 3]) {
                    path.push('.');
                    path.push_str(self.name());
                }
                path
            }
            7 => self
                .pick(&["x", "x.a", "extra", "total.sum", "y.b.c"])
                .to_owned(),
            _ => self.pick(EVENT_PATHS).to_owned(),
        }
    }

    fn name(&mut self) -> &'static str {
        self.pick(&["a", "b", "c", "a", "b", "c", "a", "b", "d", "1"])
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())].clone()
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.random.random_ratio(1, times)
    }
}

const EVENT_PATHS: &[&str] = &[
    "operationType",
    "documentKey",
    "documentKey._id",
    "ns",
    "ns.coll",
    "ns.db",
    "updateDescription",
    "updateDescription.updatedFields",
    "updateDescription.updatedFields.a",
    "updateDescription.removedFields",
    "clusterTime",
    "wallTime",
    "to.coll",
];
