//! The operators: their names, how many arguments they take, what they do, and whether they can fail.

use crate::query::expression::node::Function;
use crate::query::expression::{
    arithmetic, arrays, convert, dates, intervals, logic, objects, sets, strings, sums,
};

/// What an operator is.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) arity: Arity,
    pub(super) fails: Fails,
}

/// How arguments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arity {
    /// A list of so many, or one alone without the list.
    Between(usize, usize),
    /// An object of the first, which must be there, and the second, which need not.
    Named(&'static [&'static str], &'static [&'static str]),
    /// In a way of its own, which `special` knows.
    Special,
}

/// Whether there are values on which it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    Never,
    Sometimes,
}

pub(super) fn find(name: &[u8]) -> Option<&'static Operator> {
    OPERATORS
        .iter()
        .find(|operator| operator.name.as_bytes() == name)
}

const fn operator(name: &'static str, function: Function, arity: Arity, fails: Fails) -> Operator {
    Operator {
        name,
        function,
        arity,
        fails,
    }
}

const ONE: Arity = Arity::Between(1, 1);
const TWO: Arity = Arity::Between(2, 2);
const THREE: Arity = Arity::Between(3, 3);
const ANY: Arity = Arity::Between(0, usize::MAX);
const TRIM: Arity = Arity::Named(&["input"], &["chars"]);
const REPLACE: Arity = Arity::Named(&["input", "find", "replacement"], &[]);
use Arity::{Between, Named, Special};
use Fails::{Never, Sometimes};

static OPERATORS: &[Operator] = &[
    operator("$eq", logic::equal, TWO, Never),
    operator("$ne", logic::not_equal, TWO, Never),
    operator("$gt", logic::greater, TWO, Never),
    operator("$gte", logic::greater_or_equal, TWO, Never),
    operator("$lt", logic::less, TWO, Never),
    operator("$lte", logic::less_or_equal, TWO, Never),
    operator("$cmp", logic::order, TWO, Never),
    operator("$and", logic::and, ANY, Never),
    operator("$or", logic::or, ANY, Never),
    operator("$not", logic::not, ONE, Never),
    operator("$cond", logic::condition, Special, Never),
    operator("$ifNull", logic::if_null, Between(2, usize::MAX), Never),
    operator("$switch", logic::switch, Special, Sometimes),
    operator("$let", logic::bind, Special, Never),
    operator("$type", logic::kind, ONE, Never),
    operator("$isNumber", logic::is_number, ONE, Never),
    operator("$isArray", logic::is_array, ONE, Never),
    operator("$add", arithmetic::add, ANY, Sometimes),
    operator("$multiply", arithmetic::multiply, ANY, Sometimes),
    operator("$subtract", arithmetic::subtract, TWO, Sometimes),
    operator("$divide", arithmetic::divide, TWO, Sometimes),
    operator("$mod", arithmetic::modulo, TWO, Sometimes),
    operator("$abs", arithmetic::absolute, ONE, Sometimes),
    operator("$ceil", arithmetic::ceil, ONE, Sometimes),
    operator("$floor", arithmetic::floor, ONE, Sometimes),
    operator("$sqrt", arithmetic::square_root, ONE, Sometimes),
    operator("$round", arithmetic::round, Between(1, 2), Sometimes),
    operator("$trunc", arithmetic::trunc, Between(1, 2), Sometimes),
    operator("$concat", strings::concat, ANY, Sometimes),
    operator("$substr", strings::substring_bytes, THREE, Sometimes),
    operator("$substrBytes", strings::substring_bytes, THREE, Sometimes),
    operator("$substrCP", strings::substring_points, THREE, Sometimes),
    operator("$strLenBytes", strings::length_bytes, ONE, Sometimes),
    operator("$strLenCP", strings::length_points, ONE, Sometimes),
    operator("$toLower", strings::lower, ONE, Sometimes),
    operator("$toUpper", strings::upper, ONE, Sometimes),
    operator("$strcasecmp", strings::compare_caseless, TWO, Sometimes),
    operator("$split", strings::split, TWO, Sometimes),
    operator("$trim", strings::trim, TRIM, Sometimes),
    operator("$ltrim", strings::trim_left, TRIM, Sometimes),
    operator("$rtrim", strings::trim_right, TRIM, Sometimes),
    operator(
        "$indexOfBytes",
        strings::index_bytes,
        Between(2, 4),
        Sometimes,
    ),
    operator(
        "$indexOfCP",
        strings::index_points,
        Between(2, 4),
        Sometimes,
    ),
    operator("$replaceOne", strings::replace_one, REPLACE, Sometimes),
    operator("$replaceAll", strings::replace_all, REPLACE, Sometimes),
    operator("$size", arrays::size, ONE, Sometimes),
    operator("$arrayElemAt", arrays::element_at, TWO, Sometimes),
    operator("$first", arrays::first, ONE, Sometimes),
    operator("$last", arrays::last, ONE, Sometimes),
    operator("$slice", arrays::slice, Between(2, 3), Sometimes),
    operator("$in", arrays::contains, TWO, Sometimes),
    operator("$concatArrays", arrays::concat, ANY, Sometimes),
    operator("$reverseArray", arrays::reverse, ONE, Sometimes),
    operator("$range", arrays::range, Between(2, 3), Sometimes),
    operator("$indexOfArray", arrays::index_of, Between(2, 4), Sometimes),
    operator("$map", arrays::map, Special, Sometimes),
    operator("$filter", arrays::filter, Special, Sometimes),
    operator(
        "$reduce",
        arrays::reduce,
        Named(&["input", "initialValue", "in"], &[]),
        Sometimes,
    ),
    operator("$zip", arrays::zip, Special, Sometimes),
    operator("$setUnion", sets::union, ANY, Sometimes),
    operator("$setIntersection", sets::intersection, ANY, Sometimes),
    operator("$setDifference", sets::difference, TWO, Sometimes),
    operator(
        "$setEquals",
        sets::equals,
        Between(2, usize::MAX),
        Sometimes,
    ),
    operator("$setIsSubset", sets::is_subset, TWO, Sometimes),
    operator("$anyElementTrue", sets::any_true, ONE, Sometimes),
    operator("$allElementsTrue", sets::all_true, ONE, Sometimes),
    operator("$max", sets::max, ANY, Never),
    operator("$min", sets::min, ANY, Never),
    operator("$sum", sums::sum, ANY, Never),
    operator("$avg", sums::average, ANY, Never),
    operator("$convert", convert::convert, Special, Sometimes),
    operator("$toString", convert::convert, Special, Sometimes),
    operator("$toInt", convert::convert, Special, Sometimes),
    operator("$toLong", convert::convert, Special, Sometimes),
    operator("$toDouble", convert::convert, Special, Sometimes),
    operator("$toDecimal", convert::convert, Special, Sometimes),
    operator("$toBool", convert::convert, Special, Never),
    operator("$toObjectId", convert::convert, Special, Sometimes),
    operator("$year", dates::year, Special, Sometimes),
    operator("$month", dates::month, Special, Sometimes),
    operator("$dayOfMonth", dates::day_of_month, Special, Sometimes),
    operator("$dayOfWeek", dates::day_of_week, Special, Sometimes),
    operator("$dayOfYear", dates::day_of_year, Special, Sometimes),
    operator("$hour", dates::hour, Special, Sometimes),
    operator("$minute", dates::minute, Special, Sometimes),
    operator("$second", dates::second, Special, Sometimes),
    operator("$millisecond", dates::millisecond, Special, Sometimes),
    operator("$week", dates::week, Special, Sometimes),
    operator("$isoWeek", dates::iso_week, Special, Sometimes),
    operator("$isoWeekYear", dates::iso_week_year, Special, Sometimes),
    operator("$isoDayOfWeek", dates::iso_day_of_week, Special, Sometimes),
    operator("$dateToString", dates::to_string, Special, Sometimes),
    operator("$dateToParts", dates::to_parts, Special, Sometimes),
    operator("$dateFromParts", dates::from_parts, Special, Sometimes),
    operator("$dateAdd", intervals::add, Special, Sometimes),
    operator("$dateSubtract", intervals::subtract, Special, Sometimes),
    operator("$dateDiff", intervals::difference, Special, Sometimes),
    operator("$dateTrunc", intervals::truncate, Special, Sometimes),
    operator("$arrayToObject", objects::from_array, ONE, Sometimes),
    operator("$objectToArray", objects::to_array, ONE, Sometimes),
    operator("$mergeObjects", objects::merge, ANY, Sometimes),
    operator("$getField", objects::get_field, Special, Sometimes),
    operator("$setField", objects::set_field, Special, Sometimes),
    operator("$unsetField", objects::set_field, Special, Sometimes),
];
