//! Expressions that take dates apart, make them, move them, and write them.

use bson::{Bson, Document, doc};
use rand::Rng;

use super::{Generator, Want};

impl Generator {
    pub(super) fn date_part(&mut self, depth: usize) -> Bson {
        let name = self.pick(&[
            "$year",
            "$month",
            "$dayOfMonth",
            "$dayOfWeek",
            "$dayOfYear",
            "$hour",
            "$minute",
            "$second",
            "$millisecond",
            "$isoWeek",
            "$isoWeekYear",
            "$isoDayOfWeek",
            "$week",
        ]);
        let date = self.argument(Want::Date, depth);
        match self.one_in(4) {
            true => doc! { name: { "date": date, "timezone": self.timezone() } }.into(),
            false => doc! { name: date }.into(),
        }
    }

    fn timezone(&mut self) -> Bson {
        self.pick(&["UTC", "+03:30", "-0800", "+01", "GMT", "-11:45"])
            .into()
    }

    pub(super) fn date_operator(&mut self, depth: usize) -> Bson {
        let a = self.argument(Want::Date, depth);
        match self.random.random_range(0..16) {
            0 => doc! { "$add": [a, self.argument(Want::Number, depth)] },
            1 => doc! { "$subtract": [a, self.argument(Want::Number, depth)] },
            2 => doc! { "$add": [self.argument(Want::Index, depth), a] },
            3..=6 => doc! { self.pick(&["$dateAdd", "$dateSubtract"]): self.shift(a, depth) },
            7..=9 => doc! { "$dateTrunc": self.truncation(a, depth) },
            10..=13 => doc! { "$dateFromParts": self.parts(depth) },
            _ => return self.path(Want::Date),
        }
        .into()
    }

    fn shift(&mut self, date: Bson, depth: usize) -> Document {
        let amount = match self.random.random_range(0..8) {
            0 => self.argument(Want::Number, depth),
            1 => Bson::Int64(self.random.random::<i64>() >> self.random.random_range(0..63)),
            2..=3 => self.argument(Want::Index, depth),
            _ => Bson::Int32(self.random.random_range(-3000..3000)),
        };
        let shift = doc! { "startDate": date, "unit": self.unit(), "amount": amount };
        self.with_timezone(shift)
    }

    fn truncation(&mut self, date: Bson, depth: usize) -> Document {
        let mut truncation = doc! { "date": date, "unit": self.unit() };
        match self.random.random_range(0..6) {
            0 => drop(truncation.insert("binSize", self.argument(Want::Index, depth))),
            1 => drop(truncation.insert("binSize", "$n")),
            2 => drop(truncation.insert("binSize", self.random.random_range(1..40))),
            3 => drop(truncation.insert(
                "binSize",
                self.random.random::<i64>() >> self.random.random_range(0..63) | 1,
            )),
            _ => (),
        }
        self.with_start_of_week(&mut truncation);
        self.with_timezone(truncation)
    }

    pub(super) fn date_difference(&mut self, depth: usize) -> Bson {
        let (start, end) = (
            self.argument(Want::Date, depth),
            self.argument(Want::Date, depth),
        );
        let mut difference = doc! { "startDate": start, "endDate": end, "unit": self.unit() };
        self.with_start_of_week(&mut difference);
        doc! { "$dateDiff": self.with_timezone(difference) }.into()
    }

    fn parts(&mut self, depth: usize) -> Document {
        let of_weeks = self.one_in(3);
        let (year, day) = match of_weeks {
            true => ("isoWeekYear", ["isoWeek", "isoDayOfWeek"]),
            false => ("year", ["month", "day"]),
        };
        let mut parts = doc! { year: match self.one_in(8) {
            true => self.argument(Want::Number, depth),
            false => self.pick(&[1, 1969, 1970, 2000, 2023, 2024, 9999]).into(),
        } };
        for name in day.into_iter().chain(["hour", "minute"]) {
            match self.random.random_range(0..4) {
                0 => drop(parts.insert(name, self.argument(Want::Index, depth))),
                1 => drop(parts.insert(name, self.random.random_range(-40_000..40_000))),
                2 => drop(parts.insert(name, self.random.random_range(-70..70))),
                _ => (),
            }
        }
        for name in ["second", "millisecond"] {
            match self.random.random_range(0..5) {
                0 => drop(parts.insert(name, self.argument(Want::Number, depth))),
                1 => drop(parts.insert(
                    name,
                    self.random.random::<i64>() >> self.random.random_range(0..63),
                )),
                2 => drop(parts.insert(name, self.random.random_range(-5000..5000))),
                _ => (),
            }
        }
        self.with_timezone(parts)
    }

    pub(super) fn date_taken_apart(&mut self, depth: usize) -> Bson {
        let mut arguments = doc! { "date": self.argument(Want::Date, depth) };
        match self.random.random_range(0..4) {
            0 => drop(arguments.insert("iso8601", self.argument(Want::Truth, depth))),
            1 => drop(arguments.insert("iso8601", true)),
            _ => (),
        }
        doc! { "$dateToParts": self.with_timezone(arguments) }.into()
    }

    pub(super) fn written_date(&mut self, depth: usize) -> Bson {
        let mut arguments = doc! { "date": self.argument(Want::Date, depth) };
        if !self.one_in(3) {
            arguments.insert("format", self.pick(FORMATS));
        }
        let mut arguments = self.with_timezone(arguments);
        if self.one_in(3) {
            arguments.insert("onNull", self.argument(Want::Any, depth));
        }
        doc! { "$dateToString": arguments }.into()
    }

    fn with_timezone(&mut self, mut arguments: Document) -> Document {
        if self.one_in(4) {
            arguments.insert("timezone", self.timezone());
        }
        arguments
    }

    fn with_start_of_week(&mut self, arguments: &mut Document) {
        if self.one_in(2) {
            let days = [
                "monday",
                "Tue",
                "wednesday",
                "THU",
                "fri",
                "saturday",
                "Sunday",
            ];
            arguments.insert("startOfWeek", self.pick(&days));
        }
    }

    fn unit(&mut self) -> &'static str {
        self.pick(&[
            "year",
            "quarter",
            "month",
            "week",
            "week",
            "day",
            "hour",
            "minute",
            "second",
            "millisecond",
        ])
    }
}

const FORMATS: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S.%LZ",
    "%Y-%m-%d",
    "%j %U %u %w %V %G %% %z %Z",
    "",
];
