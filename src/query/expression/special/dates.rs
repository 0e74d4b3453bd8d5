//! Arguments of operators on dates. What a date is read by (a timezone, a unit, a format) is a constant here.

use bson::spec::ElementType;

use crate::query::expression::dates;
use crate::query::expression::intervals::{Unit, weekday};
use crate::query::expression::node::{Constant, Node};
use crate::query::expression::operators::Operator;
use crate::query::expression::parse::{Parsed, Parser, named_arguments, refuse, refuse_name};
use crate::query::value::{Doc, Value};

impl Parser<'_> {
    /// Parses a date, a list of one, or `{date, timezone}`.
    pub(super) fn date_part(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let first = operand
            .container()
            .and_then(|object| object.elements().next());
        let is_object = operand.kind == ElementType::EmbeddedDocument;
        if is_object && !first.is_some_and(|(name, _)| name.starts_with(b"$")) {
            let object = named_arguments(operator, operand, &["date"], &["timezone"])?;
            let date = object.get(b"date").ok_or_else(|| refuse_name(b"date"))?;
            return Ok(vec![self.operand(date)?, timezone(object)?]);
        }
        let [date] = <[Node; 1]>::try_from(self.list(operand)?)
            .map_err(|_| refuse(&format!("{} of so many arguments", operator.name)))?;
        Ok(vec![date, Node::Absent])
    }

    pub(super) fn date_to_string(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let optional = ["format", "timezone", "onNull"];
        let object = named_arguments(operator, operand, &["date"], &optional)?;
        let date = object.get(b"date").ok_or_else(|| refuse_name(b"date"))?;
        let mut arguments = vec![self.operand(date)?, timezone(object)?];
        arguments.push(match object.get(b"format") {
            // Versions differ in whether the Z stands there then.
            None if object.get(b"timezone").is_some() => {
                return Err(refuse("$dateToString with a timezone and no format"));
            }
            None => Node::Absent,
            Some(format)
                if format.kind == ElementType::String && dates::is_format(format.text()) =>
            {
                Node::Constant(Constant::new(format))
            }
            Some(_) => return Err(refuse("that format of $dateToString")),
        });
        arguments.push(match object.get(b"onNull") {
            Some(value) => self.operand(value)?,
            None => Node::Absent,
        });
        Ok(arguments)
    }

    /// Makes `[date, timezone, iso8601]`.
    pub(super) fn date_to_parts(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let object = named_arguments(operator, operand, &["date"], &["timezone", "iso8601"])?;
        let date = self.required(object, "date")?;
        Ok(vec![
            date,
            timezone(object)?,
            self.optional(object, "iso8601")?,
        ])
    }

    /// Makes `[whether they are of ISO's weeks, year, month, day, hour, minute, second, millisecond, timezone]`, where year, month
    /// and day may be those of weeks.
    pub(super) fn date_from_parts(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let of_weeks = operand
            .container()
            .is_some_and(|object| object.get(b"isoWeekYear").is_some());
        let day = match of_weeks {
            true => ["isoWeekYear", "isoWeek", "isoDayOfWeek"],
            false => ["year", "month", "day"],
        };
        let time = ["hour", "minute", "second", "millisecond"];
        let optional = [
            day[1], day[2], time[0], time[1], time[2], time[3], "timezone",
        ];
        let object = named_arguments(operator, operand, &day[..1], &optional)?;
        let mut arguments = vec![Node::Constant(Constant::int(i32::from(of_weeks)))];
        for name in day.iter().chain(&time) {
            arguments.push(self.optional(object, name)?);
        }
        arguments.push(timezone(object)?);
        Ok(arguments)
    }

    /// Makes `[date, amount, unit, timezone]`.
    pub(super) fn date_arithmetic(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let required = ["startDate", "unit", "amount"];
        let object = named_arguments(operator, operand, &required, &["timezone"])?;
        let (date, amount) = (
            self.required(object, "startDate")?,
            self.required(object, "amount")?,
        );
        Ok(vec![date, amount, unit(object)?, timezone(object)?])
    }

    /// Makes `[start, end, unit, timezone, start of the week]`.
    pub(super) fn date_difference(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let (required, optional) = (
            ["startDate", "endDate", "unit"],
            ["timezone", "startOfWeek"],
        );
        let object = named_arguments(operator, operand, &required, &optional)?;
        let (start, end) = (
            self.required(object, "startDate")?,
            self.required(object, "endDate")?,
        );
        Ok(vec![
            start,
            end,
            unit(object)?,
            timezone(object)?,
            start_of_week(object)?,
        ])
    }

    /// Makes `[date, size of a bin, unit, timezone, start of the week]`.
    pub(super) fn date_truncation(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        let optional = ["binSize", "timezone", "startOfWeek"];
        let object = named_arguments(operator, operand, &["date", "unit"], &optional)?;
        let (date, size) = (
            self.required(object, "date")?,
            self.optional(object, "binSize")?,
        );
        if size
            .constant()
            .is_some_and(|size| !dates::is_bin_size(size))
        {
            // The server looks at constants before it sees an event.
            return Err(refuse(
                "$dateTrunc with a binSize that is no positive whole number",
            ));
        }
        Ok(vec![
            date,
            size,
            unit(object)?,
            timezone(object)?,
            start_of_week(object)?,
        ])
    }

    fn required(&mut self, object: Doc<'_>, name: &str) -> Parsed<Node> {
        let value = object.get(name.as_bytes());
        self.operand(value.ok_or_else(|| refuse_name(name.as_bytes()))?)
    }

    fn optional(&mut self, object: Doc<'_>, name: &str) -> Parsed<Node> {
        match object.get(name.as_bytes()) {
            Some(value) => self.operand(value),
            None => Ok(Node::Absent),
        }
    }
}

/// Returns a constant unit as a node.
fn unit(object: Doc<'_>) -> Parsed<Node> {
    let name = object
        .get(b"unit")
        .filter(|name| name.kind == ElementType::String);
    let unit = name.and_then(|name| Unit::named(name.text()));
    let unit = unit.ok_or_else(|| refuse("a unit of time that is not the constant name of one"))?;
    Ok(Node::Constant(Constant::int(unit as i32)))
}

/// Returns the day on which weeks begin as a node, from 1, Monday.
fn start_of_week(object: Doc<'_>) -> Parsed<Node> {
    let Some(name) = object.get(b"startOfWeek") else {
        return Ok(Node::Absent);
    };
    let day = (name.kind == ElementType::String).then(|| weekday(name.text()));
    let day = day
        .flatten()
        .ok_or_else(|| refuse("a startOfWeek that is not the constant name of a day"))?;
    Ok(Node::Constant(Constant::int(day)))
}

/// Returns the minutes of a constant timezone as a node.
fn timezone(object: Doc<'_>) -> Parsed<Node> {
    let Some(zone) = object.get(b"timezone") else {
        return Ok(Node::Absent);
    };
    let minutes = match zone.kind {
        ElementType::String => dates::zone_minutes(zone.text()),
        _ => None,
    };
    let minutes = minutes.ok_or_else(|| refuse("a timezone that is neither UTC nor an offset"))?;
    Ok(Node::Constant(Constant::int(minutes)))
}
