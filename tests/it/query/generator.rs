//! Random documents and filters that lie close enough together to match each other often.

use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
    oid::ObjectId,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod expr;

/// Makes documents and filters; the same seed makes the same ones.
pub(super) struct Generator {
    random: StdRng,
    /// What paths begin with.
    roots: &'static [&'static str],
    /// Values that change events have outside their documents.
    seen: Vec<Bson>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            roots: FIELDS,
            seen: Vec::new(),
        }
    }

    /// Takes operands for [`Generator::event_filter_with_expression`] from events: times, keys, namespaces, changes.
    pub(super) fn see(&mut self, event: &Document) {
        for name in EVENT_FIELDS.iter().filter(|name| !name.starts_with("full")) {
            let found = name
                .split('.')
                .try_fold(Bson::Document(event.clone()), |at, segment| {
                    at.as_document()?.get(segment).cloned()
                });
            self.seen.extend(found.filter(|value| !has_regex(value)));
        }
    }

    /// Makes a document of a few short fields.
    pub(super) fn document(&mut self) -> Document {
        let mut document = Document::new();
        for name in ["a", "b", "c"] {
            if self.one_in(5) {
                continue;
            }
            let value = self.value(3);
            document.insert(name, value);
        }
        document
    }

    /// Makes a filter of up to three conditions.
    pub(super) fn filter(&mut self) -> Document {
        self.filter_of_depth(3)
    }

    fn filter_of_depth(&mut self, depth: usize) -> Document {
        let mut filter = Document::new();
        for _ in 0..self.pick(&[1, 1, 1, 2, 2, 3]) {
            if depth > 0 && self.one_in(5) {
                let operator = self.pick(&["$and", "$or", "$or", "$nor"]);
                let most = if operator == "$nor" && !self.one_in(16) {
                    1
                } else {
                    3
                };
                let count = self.random.random_range(1..=most);
                let clauses: Vec<Document> = (0..count)
                    .map(|_| self.filter_of_depth(depth - 1))
                    .collect();
                filter.insert(operator, clauses);
            } else {
                filter.insert(self.path(), self.condition(depth));
            }
        }
        if self.one_in(40) {
            filter.insert("$comment", "why not");
        }
        filter
    }

    fn path(&mut self) -> String {
        let mut path = self.pick(self.roots).to_owned();
        for _ in 0..self.pick(&[0, 0, 1, 1, 2, 3]) {
            path.push('.');
            path.push_str(self.pick(&["a", "b", "c", "0", "1", "2", "01"]));
        }
        path
    }

    /// A filter on the elements of an array.
    fn inner_filter(&mut self, depth: usize) -> Document {
        let roots = std::mem::replace(&mut self.roots, FIELDS);
        let filter = self.filter_of_depth(depth);
        self.roots = roots;
        filter
    }

    /// What a change event has outside its documents.
    fn event_operand(&mut self) -> Bson {
        let documents = [
            doc! { "_id": 1 },
            doc! { "db": "x", "coll": "data" },
            doc! { "a": 1 },
        ];
        let texts = [
            "insert", "update", "replace", "delete", "drop", "rename", "data", "moved", "a", "b",
        ];
        match self.random.random_range(0..8) {
            5.. if !self.seen.is_empty() => {
                let place = self.random.random_range(0..self.seen.len());
                self.seen[place].clone()
            }
            0 => Bson::Document(self.pick(&documents)),
            1 => Bson::Int32(self.random.random_range(0..40)),
            2 => Bson::Null,
            _ => Bson::from(self.pick(&texts)),
        }
    }

    fn condition(&mut self, depth: usize) -> Bson {
        if self.one_in(4) {
            return self.operand();
        }
        if self.one_in(12) {
            return Bson::RegularExpression(self.regex());
        }
        Bson::Document(self.operators(depth))
    }

    fn operators(&mut self, depth: usize) -> Document {
        let mut operators = Document::new();
        for _ in 0..self.pick(&[1, 1, 1, 2]) {
            let (name, operand) = self.operator(depth);
            operators.insert(name, operand);
        }
        operators
    }

    fn operator(&mut self, depth: usize) -> (&'static str, Bson) {
        match self.random.random_range(0..24) {
            0..=2 => (self.pick(&["$eq", "$ne"]), self.operand()),
            3..=8 => (self.pick(&["$lt", "$lte", "$gt", "$gte"]), self.operand()),
            9..=11 => {
                let count = self.pick(&[0, 1, 1, 2, 3, 5]);
                let mut values: Vec<Bson> = (0..count).map(|_| self.operand()).collect();
                if self.one_in(6) {
                    values.push(Bson::RegularExpression(self.regex()));
                }
                (self.pick(&["$in", "$in", "$nin"]), values.into())
            }
            12 => (
                "$exists",
                self.pick(&[
                    Bson::Boolean(true),
                    Bson::Boolean(false),
                    Bson::Int32(1),
                    Bson::Double(0.0),
                ]),
            ),
            13..=14 => ("$type", self.type_operand()),
            15 => (
                "$size",
                self.pick(&[
                    Bson::Int32(0),
                    Bson::Int32(1),
                    Bson::Int64(2),
                    Bson::Double(3.0),
                ]),
            ),
            16 => {
                let divisor = self.pick(&[1, 2, 3, -2, -1, 7]);
                let remainder = self.pick(&[0, 0, 1, -1, 2]);
                (
                    "$mod",
                    vec![Bson::Int32(divisor), Bson::Int64(remainder)].into(),
                )
            }
            17 => (
                self.pick(&[
                    "$bitsAllSet",
                    "$bitsAllClear",
                    "$bitsAnySet",
                    "$bitsAnyClear",
                ]),
                self.bits(),
            ),
            18 => (
                "$regex",
                self.pick(&[
                    Bson::String("^a".into()),
                    Bson::String("b".into()),
                    Bson::String("x?b+".into()),
                ]),
            ),
            19..=20 if depth > 0 => (
                "$elemMatch",
                match self.random.random_bool(0.5) {
                    true => self.operators(depth - 1),
                    false => self.inner_filter(depth - 1),
                }
                .into(),
            ),
            21 => {
                let count = self.pick(&[0, 1, 1, 2]);
                let elements = depth > 0 && self.one_in(4);
                let values: Vec<Bson> = (0..count)
                    .map(|_| match elements {
                        true => Bson::Document(doc! { "$elemMatch": self.operators(depth - 1) }),
                        false => self.operand(),
                    })
                    .collect();
                ("$all", values.into())
            }
            22 if depth > 0 => (
                "$not",
                match self.one_in(5) {
                    true => Bson::RegularExpression(self.regex()),
                    false => self.operators(depth - 1).into(),
                },
            ),
            _ => ("$gt", self.number()),
        }
    }

    fn type_operand(&mut self) -> Bson {
        let one = |this: &mut Self| {
            this.pick(&[
                Bson::from("number"),
                "string".into(),
                "object".into(),
                "array".into(),
                "null".into(),
                "undefined".into(),
                "bool".into(),
                "date".into(),
                "long".into(),
                "decimal".into(),
                "minKey".into(),
                "maxKey".into(),
                "symbol".into(),
                "javascriptWithScope".into(),
                "dbPointer".into(),
                "javascript".into(),
                "binData".into(),
                "regex".into(),
                "timestamp".into(),
                Bson::Int32(1),
                Bson::Int64(2),
                Bson::Double(3.0),
                Bson::Int32(16),
                Bson::Int32(-1),
                Bson::Int32(127),
                Bson::Int32(4),
                Bson::Int32(6),
                Bson::Int32(10),
                Bson::Int32(19),
            ])
        };
        match self.one_in(3) {
            true => Bson::Array((0..self.pick(&[1, 2, 3])).map(|_| one(self)).collect()),
            false => one(self),
        }
    }

    fn bits(&mut self) -> Bson {
        match self.random.random_range(0..4) {
            0 => Bson::Array(
                (0..self.pick(&[0, 1, 2]))
                    .map(|_| Bson::Int32(self.pick(&[0, 1, 2, 5, 31, 62, 63, 64, 100])))
                    .collect(),
            ),
            1 => binary(
                self.pick(&[&[][..], &[1], &[0, 3], &[255, 0, 0, 0, 0, 0, 0, 0, 1]]),
                BinarySubtype::Generic,
            ),
            _ => self.pick(&[
                Bson::Int32(0),
                Bson::Int32(1),
                Bson::Int32(6),
                Bson::Int64(1 << 40),
                Bson::Int64(i64::MAX),
                Bson::Double(5.0),
            ]),
        }
    }

    /// A value as an operand: mostly what documents hold, sometimes a whole document or array.
    fn operand(&mut self) -> Bson {
        if self.roots == EVENT_FIELDS && self.one_in(2) {
            return self.event_operand();
        }
        let depth = self.pick(&[0, 0, 0, 0, 1, 2]);
        match self.value(depth) {
            Bson::Undefined => Bson::Null,
            Bson::RegularExpression(_) => Bson::Null,
            value => value,
        }
    }

    pub(super) fn value(&mut self, depth: usize) -> Bson {
        match self.random.random_range(0..20) {
            0..=4 if depth > 0 => {
                let count = self.pick(&[0, 1, 1, 2, 2, 3]);
                Bson::Array((0..count).map(|_| self.value(depth - 1)).collect())
            }
            5..=8 if depth > 0 => {
                let mut document = Document::new();
                for _ in 0..self.pick(&[0, 1, 1, 2]) {
                    let name = self.pick(&["a", "b", "c", "a", "b", "0", "1"]);
                    let value = self.value(depth - 1);
                    document.insert(name, value);
                }
                Bson::Document(document)
            }
            9..=12 => self.number(),
            13..=14 => self.string(),
            15..=16 => self.pick(&[
                Bson::Null,
                Bson::Null,
                Bson::Undefined,
                Bson::Boolean(true),
                Bson::Boolean(false),
            ]),
            _ => self.rare(),
        }
    }

    fn string(&mut self) -> Bson {
        let text = self.pick(&[
            "",
            "a",
            "ab",
            "abc",
            "b",
            "B",
            "aB",
            "xb",
            "a\0b",
            "é",
            "É",
            "a\n",
            "a\nb",
            "\u{212a}",
            "k",
            "K",
            "s",
            "ſ",
            "0",
            "10",
            "\u{1f600}",
            "a b",
            "_",
        ]);
        match self.one_in(10) {
            true => Bson::Symbol(text.into()),
            false => Bson::String(text.into()),
        }
    }

    pub(super) fn number(&mut self) -> Bson {
        let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"));
        match self.random.random_range(0..10) {
            0..=2 => Bson::Int32(self.pick(&[0, 1, 2, 3, -1, -2, 5, 7, 255, i32::MAX, i32::MIN])),
            3..=4 => Bson::Int64(self.pick(&[
                0,
                1,
                2,
                -1,
                5,
                i64::MAX,
                i64::MIN,
                i64::MAX - 1,
                (1 << 53) + 1,
                1 << 53,
                1 << 62,
                -(1 << 53) - 1,
            ])),
            5..=7 => Bson::Double(self.pick(&[
                0.0,
                -0.0,
                1.0,
                1.5,
                2.0,
                -1.5,
                0.1,
                0.5,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                9007199254740992.0,
                9007199254740994.0,
                9.223_372_036_854_776e18,
                -9.223_372_036_854_776e18,
                1e300,
                5e-324,
                1e22,
                3.7,
                -0.3,
                1e-5,
                f64::MAX,
                123456789012345680000.0,
            ])),
            _ => {
                let text = self.pick(&[
                    "0",
                    "-0",
                    "0E+3",
                    "1",
                    "1.0",
                    "1.50",
                    "2",
                    "-1.5",
                    "0.1",
                    "0.5",
                    "NaN",
                    "Infinity",
                    "-Infinity",
                    "9007199254740993",
                    "9223372036854775807",
                    "9223372036854775808",
                    "-9223372036854775808",
                    "0.1000000000000000055511151231257827",
                    "0.1000000000000000055511151231257828",
                    "1E+22",
                    "10000000000000000000000",
                    "1E+6000",
                    "1E-6000",
                    "9.99E+6144",
                    "5E-324",
                    "4.940656458412465441765687928682214E-324",
                    "3.7",
                    "3.700000000000000177635683940025046",
                    "-0.3",
                    "-1",
                    "5",
                    "1E+300",
                    "1.797693134862315708145274237317044E+308",
                    "2.9",
                    "-2.9",
                    "7E0",
                    "70E-1",
                    "0E-6176",
                    "1000000000000000000000000000000000",
                ]);
                decimal(text)
            }
        }
    }

    fn rare(&mut self) -> Bson {
        match self.random.random_range(0..14) {
            0 => Bson::MinKey,
            1 => Bson::MaxKey,
            2 => binary(
                self.pick(&[&[][..], &[1], &[2], &[1, 2], &[0, 3, 0, 0, 0, 0, 0, 0, 1]]),
                self.pick(&[
                    BinarySubtype::Generic,
                    BinarySubtype::Uuid,
                    BinarySubtype::UserDefined(200),
                    BinarySubtype::BinaryOld,
                ]),
            ),
            3..=4 => Bson::ObjectId(ObjectId::from_bytes(
                self.pick(&[[0; 12], [1; 12], [255; 12]]),
            )),
            5..=6 => Bson::DateTime(bson::DateTime::from_millis(self.pick(&[
                0,
                1,
                -1,
                1_700_000_000_000,
                i64::MIN,
            ]))),
            7..=8 => Bson::Timestamp(self.pick(&[
                Timestamp {
                    time: 0,
                    increment: 1,
                },
                Timestamp {
                    time: 1,
                    increment: 0,
                },
                Timestamp {
                    time: u32::MAX,
                    increment: 3,
                },
                Timestamp {
                    time: 1,
                    increment: u32::MAX,
                },
            ])),
            9 => Bson::RegularExpression(self.regex()),
            10 => Bson::JavaScriptCode(self.pick(&["", "x", "y"]).into()),
            11 => Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code: self.pick(&["", "x"]).into(),
                scope: self.pick(&[doc! {}, doc! { "a": 1 }, doc! { "a": 1.0 }, doc! { "b": 0 }]),
            }),
            12 => {
                let namespace = self.pick(&["a.b", "a.c", "a.bc"]);
                let id = self.pick(&[[0; 12], [1; 12]]);
                db_pointer(namespace, id)
            }
            _ => Bson::Boolean(true),
        }
    }

    fn regex(&mut self) -> Regex {
        let pattern = self.pick(&[
            "a", "^a", "b$", "^a.b", "^$", "a|^b", "[a-c]b", "^[^a]", "k", "s", "\\d", "^\\w+$",
            "^.$", "(?:a)b?", "é", "\\s", "^\\S", "x+b", "\\.", "^(a|b)", "a$", "^b", "^in",
            "data", "\\ba", "b\\b",
        ]);
        let options = self.pick(&["", "", "", "i", "s", "is", "m"]);
        Regex {
            pattern: bson::raw::CString::try_from(pattern).expect("no NUL"),
            options: bson::raw::CString::try_from(options).expect("no NUL"),
        }
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())].clone()
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.random.random_ratio(1, times)
    }
}

/// A regular expression as an operand asks for something else than itself.
fn has_regex(value: &Bson) -> bool {
    match value {
        Bson::RegularExpression(_) => true,
        Bson::Array(values) => values.iter().any(has_regex),
        Bson::Document(document) => document.values().any(has_regex),
        _ => false,
    }
}

fn binary(bytes: &[u8], subtype: BinarySubtype) -> Bson {
    Bson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

/// Made of bytes, since the crate lets nobody build one.
fn db_pointer(namespace: &str, id: [u8; 12]) -> Bson {
    let mut bytes = vec![0; 4];
    bytes.extend(b"\x0cp\0");
    bytes.extend((namespace.len() as i32 + 1).to_le_bytes());
    bytes.extend(namespace.as_bytes());
    bytes.push(0);
    bytes.extend(id);
    bytes.push(0);
    let len = bytes.len() as i32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    let document = Document::from_reader(bytes.as_slice()).expect("BSON");
    document.get("p").cloned().expect("a DBPointer")
}

const FIELDS: &[&str] = &["a", "b", "c"];
const EVENT_FIELDS: &[&str] = &[
    "fullDocument.a",
    "fullDocument.b",
    "fullDocument.c",
    "fullDocument",
    "fullDocument._id",
    "documentKey",
    "documentKey._id",
    "operationType",
    "operationType",
    "ns",
    "ns.db",
    "ns.coll",
    "to",
    "to.coll",
    "updateDescription",
    "updateDescription.updatedFields",
    "updateDescription.updatedFields.a",
    "updateDescription.updatedFields.b.a",
    "updateDescription.removedFields",
    "updateDescription.truncatedArrays",
    "updateDescription.updatedFields.list",
    "updateDescription.truncatedArrays.field",
    "clusterTime",
    "wallTime",
    "fullDocumentBeforeChange",
    "a",
];
