//! From a fuzzer's bytes to what the targets need: filters, pipelines and events that look like real ones.
//!
//! Each byte decides something, so the fuzzer can change one decision at a time; when the bytes are used up, every
//! decision is the first one, which ends whatever is being made.

pub mod access;
mod pieces;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Decimal128, Document, Regex, Timestamp, doc};
use libfuzzer_sys::arbitrary::Unstructured;

pub use pieces::Pieces;

/// Makes documents of bytes.
pub struct Maker<'a>(Unstructured<'a>);

/// Reads a document as it stands in a seed: Extended JSON, or BSON.
pub fn written(bytes: &[u8]) -> Option<Document> {
    match bytes.first()? {
        b'{' => serde_json::from_slice(bytes).ok(),
        _ => Document::from_reader(bytes).ok(),
    }
}

impl<'a> Maker<'a> {
    /// Makes documents of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Makes a filter.
    pub fn filter(&mut self, depth: usize) -> Document {
        let mut filter = Document::new();
        for _ in 0..=self.below(3) {
            if depth > 0 && self.below(4) == 1 {
                let name = self.pick(LOGIC);
                let clauses: Vec<Document> = (0..=self.below(2))
                    .map(|_| self.filter(depth - 1))
                    .collect();
                filter.insert(name, clauses);
            } else if self.below(12) == 1 {
                filter.insert("$expr", self.expression(depth));
            } else {
                let path = self.path();
                let condition = self.condition(depth);
                filter.insert(path, condition);
            }
        }
        filter
    }

    fn condition(&mut self, depth: usize) -> Bson {
        if self.below(3) == 0 {
            return self.value(1);
        }
        let mut condition = Document::new();
        for _ in 0..=self.below(1) {
            let name = self.pick(CONDITIONS);
            let operand = match self.below(3) {
                1 if depth > 0 => self.condition(depth - 1),
                2 if depth > 0 => self.filter(depth - 1).into(),
                _ => self.value(2),
            };
            condition.insert(name, operand);
        }
        condition.into()
    }

    /// Makes the stages of a pipeline.
    pub fn pipeline(&mut self) -> Vec<Document> {
        (0..=self.below(3)).map(|_| self.stage()).collect()
    }

    fn stage(&mut self) -> Document {
        let name = self.pick(STAGES);
        let operand = match name {
            "$match" => self.filter(2).into(),
            "$unset" if self.below(1) == 0 => self.path().into(),
            "$unset" => vec![self.path(), self.path()].into(),
            "$redact" | "$replaceWith" => self.expression(3),
            "$replaceRoot" => doc! { "newRoot": self.expression(3) }.into(),
            _ => {
                let mut fields = Document::new();
                for _ in 0..=self.below(3) {
                    let path = self.path();
                    let value = match self.below(3) {
                        0 => self.number(),
                        1 => doc! { self.pick(NAMES): self.expression(2) }.into(),
                        _ => self.expression(3),
                    };
                    fields.insert(path, value);
                }
                fields.into()
            }
        };
        doc! { name: operand }
    }

    /// Makes an aggregation expression.
    pub fn expression(&mut self, depth: usize) -> Bson {
        match self.below(5) {
            0 => self.value(1),
            1 | 2 => format!("{}{}", self.pick(ROOTS), self.path()).into(),
            3 if depth > 0 => {
                let name = self.pick(OPERATORS);
                let operands = (0..=self.below(3)).map(|_| self.expression(depth - 1));
                doc! { name: operands.collect::<Vec<Bson>>() }.into()
            }
            4 if depth > 0 => {
                let name = self.pick(OPERATORS);
                let mut arguments = Document::new();
                for _ in 0..=self.below(5) {
                    let value = match self.below(3) {
                        0 => self.pick(WORDS).into(),
                        _ => self.expression(depth - 1),
                    };
                    arguments.insert(self.pick(ARGUMENTS), value);
                }
                doc! { name: arguments }.into()
            }
            _ if depth > 0 => doc! { self.pick(OPERATORS): self.expression(depth - 1) }.into(),
            _ => self.value(0),
        }
    }

    /// Makes a change event.
    pub fn event(&mut self) -> Document {
        let mut event = doc! { "_id": { "_data": "82" }, "operationType": self.pick(&["insert", "update", "delete"]) };
        for name in ["fullDocument", "documentKey", "updateDescription", "ns"] {
            let value = match self.below(4) {
                0 => self.value(3),
                _ => self.document(3).into(),
            };
            event.insert(name, value);
        }
        event
    }

    fn document(&mut self, depth: usize) -> Document {
        let mut document = Document::new();
        for _ in 0..self.below(5) {
            let name = self.pick(NAMES);
            let value = self.value(depth.saturating_sub(1));
            document.insert(name, value);
        }
        document
    }

    /// Makes a value of any type.
    pub fn value(&mut self, depth: usize) -> Bson {
        match self.below(21) {
            1..=3 => self.number(),
            4 if depth > 0 => (0..self.below(6))
                .map(|_| self.value(depth - 1))
                .collect::<Vec<_>>()
                .into(),
            5 if depth > 0 => self.document(depth).into(),
            6..=8 => self.text().into(),
            9 => Bson::Boolean(self.below(1) == 1),
            10 => Bson::Undefined,
            11 => Bson::ObjectId(ObjectId::from_bytes(self.bytes())),
            12 => Bson::DateTime(bson::DateTime::from_millis(i64::from_le_bytes(
                self.bytes(),
            ))),
            13 => Bson::Timestamp(Timestamp {
                time: u32::from_le_bytes(self.bytes()),
                increment: 1,
            }),
            14 => Bson::MinKey,
            15 => Bson::MaxKey,
            16 => Bson::Symbol(self.text()),
            17 => {
                let cut = |text: String| {
                    bson::raw::CString::try_from(text.replace('\0', "")).expect("no NUL")
                };
                let options = cut(self.pick(&["", "i", "s", "m", "x", "is"]).to_owned());
                Bson::RegularExpression(Regex {
                    pattern: cut(self.pattern()),
                    options,
                })
            }
            18 => {
                let bytes = self.text().into_bytes();
                Bson::Binary(Binary {
                    subtype: BinarySubtype::from(self.byte()),
                    bytes,
                })
            }
            19 => Bson::JavaScriptCode(self.text()),
            _ => Bson::Null,
        }
    }

    fn number(&mut self) -> Bson {
        match self.below(8) {
            0..=2 => Bson::Int32(i32::from(self.byte() as i8)),
            3 => Bson::Int32(i32::from_le_bytes(self.bytes())),
            4 => Bson::Int64(i64::from_le_bytes(self.bytes())),
            5 => Bson::Double(f64::from_le_bytes(self.bytes())),
            6 => Bson::Decimal128(Decimal128::from_bytes(self.bytes())),
            7 => Bson::Double(f64::from(self.byte()) / 8.0),
            _ => Bson::Int64(i64::MAX),
        }
    }

    fn pattern(&mut self) -> String {
        (0..self.below(8)).map(|_| self.pick(PATTERNS)).collect()
    }

    fn text(&mut self) -> String {
        match self.below(3) {
            0 => self.pick(WORDS).to_owned(),
            1 => self.pattern(),
            _ => {
                let len = usize::from(self.below(12)).min(self.0.len());
                String::from_utf8_lossy(self.0.bytes(len).unwrap_or_default()).into_owned()
            }
        }
    }

    fn path(&mut self) -> String {
        let mut path = self.pick(NAMES).to_owned();
        for _ in 0..self.below(2) {
            path.push('.');
            path.push_str(self.pick(NAMES));
        }
        path
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        self.0.choose(from).copied().unwrap_or(from[0])
    }

    /// A number from 0 to `most`.
    fn below(&mut self, most: u8) -> u8 {
        self.0.int_in_range(0..=most).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.0.arbitrary().unwrap_or([0; N])
    }
}

const LOGIC: &[&str] = &["$and", "$or", "$nor"];
const CONDITIONS: &[&str] = &[
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$type",
    "$size",
    "$all",
    "$elemMatch",
    "$mod",
    "$regex",
    "$options",
    "$not",
    "$bitsAllSet",
    "$bitsAnySet",
    "$bitsAllClear",
    "$bitsAnyClear",
    "$comment",
    "$jsonSchema",
    "$near",
];
const STAGES: &[&str] = &[
    "$match",
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$redact",
    "$lookup",
];
const NAMES: &[&str] = &[
    "fullDocument",
    "a",
    "b",
    "c",
    "0",
    "1",
    "_id",
    "operationType",
    "updateDescription",
    "updatedFields",
    "ns",
    "documentKey",
    "",
    "$a",
    "é",
];
const ROOTS: &[&str] = &[
    "$",
    "$$ROOT.",
    "$$CURRENT.",
    "$$this.",
    "$$value.",
    "$$v.",
    "$$",
    "$fullDocument.",
];
const WORDS: &[&str] = &[
    "",
    "a",
    "abc",
    "1.5",
    "-7",
    "0x1F",
    "1e400",
    "NaN",
    "é€😀x",
    "$a",
    "$$ROOT",
    "$$DESCEND",
    "$$PRUNE",
    "$$KEEP",
    "$$REMOVE",
    "$$NOW",
    "number",
    "string",
    "date",
    "int",
    "decimal",
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "millisecond",
    "monday",
    "UTC",
    "+03:30",
    "-11:45",
    "%Y-%m-%dT%H:%M:%S.%LZ",
    "%G-%V %j %z",
    "5e24a1b2c3d4e5f601234567",
    "a\0b",
    " x ",
    "i",
];
const PATTERNS: &[&str] = &[
    "a", "b", ".", "*", "+", "?", "{2,3}", "(", ")", "(?:", "[a-c]", "[^a]", "|", "^", "$", "\\d",
    "\\b", "\\W", "\\", "é", "-", "]", "{", "\n",
];
const OPERATORS: &[&str] = &[
    "$eq",
    "$cmp",
    "$and",
    "$or",
    "$not",
    "$cond",
    "$ifNull",
    "$switch",
    "$let",
    "$type",
    "$isNumber",
    "$isArray",
    "$add",
    "$multiply",
    "$subtract",
    "$divide",
    "$mod",
    "$abs",
    "$ceil",
    "$floor",
    "$sqrt",
    "$round",
    "$trunc",
    "$concat",
    "$substr",
    "$substrBytes",
    "$substrCP",
    "$strLenBytes",
    "$strLenCP",
    "$toLower",
    "$toUpper",
    "$strcasecmp",
    "$split",
    "$trim",
    "$ltrim",
    "$rtrim",
    "$indexOfBytes",
    "$indexOfCP",
    "$replaceOne",
    "$replaceAll",
    "$size",
    "$arrayElemAt",
    "$first",
    "$last",
    "$slice",
    "$in",
    "$concatArrays",
    "$reverseArray",
    "$range",
    "$indexOfArray",
    "$map",
    "$filter",
    "$reduce",
    "$zip",
    "$setDifference",
    "$setUnion",
    "$setIntersection",
    "$setEquals",
    "$setIsSubset",
    "$anyElementTrue",
    "$allElementsTrue",
    "$max",
    "$min",
    "$sum",
    "$avg",
    "$convert",
    "$toString",
    "$toInt",
    "$toLong",
    "$toDouble",
    "$toDecimal",
    "$toBool",
    "$toObjectId",
    "$year",
    "$isoWeek",
    "$isoWeekYear",
    "$dayOfYear",
    "$week",
    "$dateToString",
    "$dateToParts",
    "$dateFromParts",
    "$dateAdd",
    "$dateSubtract",
    "$dateDiff",
    "$dateTrunc",
    "$arrayToObject",
    "$objectToArray",
    "$mergeObjects",
    "$getField",
    "$setField",
    "$unsetField",
    "$regexMatch",
    "$regexFind",
    "$regexFindAll",
    "$literal",
    "$pow",
];
const ARGUMENTS: &[&str] = &[
    "input",
    "date",
    "startDate",
    "endDate",
    "unit",
    "amount",
    "binSize",
    "timezone",
    "startOfWeek",
    "format",
    "onNull",
    "onError",
    "to",
    "if",
    "then",
    "else",
    "branches",
    "default",
    "case",
    "vars",
    "in",
    "as",
    "cond",
    "limit",
    "initialValue",
    "inputs",
    "useLongestLength",
    "defaults",
    "field",
    "value",
    "regex",
    "options",
    "find",
    "replacement",
    "chars",
    "year",
    "month",
    "day",
    "isoWeekYear",
    "isoWeek",
    "isoDayOfWeek",
    "hour",
    "minute",
    "second",
    "iso8601",
    "k",
    "v",
];
