//! `$sum` and `$avg` over arguments, or over the elements of one that is an array. What is no number does not count.

use crate::query::expression::compensated::Compensated;
use crate::query::expression::decimal;
use crate::query::expression::node::Node;
use crate::query::expression::numeric::{Numeric, Width, int_or_long};
use crate::query::expression::{Computed, Failure, Outcome, Scope};
use crate::query::order::decimal::Decimal;

/// The numbers seen so far.
#[derive(Clone, Copy)]
struct Numbers {
    width: Width,
    count: u32,
    doubles: Compensated,
    decimals: Decimal,
}

fn collect<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Result<Numbers, Failure> {
    let mut numbers = Numbers {
        width: Width::Int,
        count: 0,
        doubles: Compensated::default(),
        decimals: Decimal::from_integer(0),
    };
    for argument in arguments {
        match argument.evaluate(scope)? {
            Some(array) if array.is_array() && arguments.len() == 1 => {
                array.elements().for_each(|element| numbers.take(&element));
            }
            Some(value) => numbers.take(&value),
            None => (),
        }
    }
    Ok(numbers)
}

impl Numbers {
    fn take(&mut self, value: &Computed<'_>) {
        let Some(number) = Numeric::of(value.value()) else {
            return;
        };
        self.count += 1;
        self.width = self.width.max(number.width());
        match number {
            Numeric::Int(integer) => self.doubles.add(f64::from(integer)),
            Numeric::Long(integer) => self.doubles.add_long(integer),
            Numeric::Double(double) => self.doubles.add(double),
            Numeric::Decimal(decimal) => self.decimals = decimal::add(self.decimals, decimal),
        }
    }

    fn decimal(self) -> Decimal {
        decimal::add(self.decimals, self.doubles.decimal())
    }
}

pub(super) fn sum<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let numbers = collect(arguments, scope)?;
    let double = || Computed::double(numbers.doubles.double());
    let sum = match (numbers.width, numbers.doubles.long()) {
        (Width::Int, Some(integer)) => int_or_long(integer),
        (Width::Long, Some(integer)) => Computed::long(integer),
        (Width::Int | Width::Long | Width::Double, _) => double(),
        (Width::Decimal, _) => Numeric::Decimal(numbers.decimal()).computed(),
    };
    Ok(Some(sum))
}

pub(super) fn average<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let numbers = collect(arguments, scope)?;
    if numbers.count == 0 {
        return Ok(Some(Computed::null()));
    }
    let average = match numbers.width {
        Width::Int | Width::Long | Width::Double => {
            Computed::double(numbers.doubles.double() / f64::from(numbers.count))
        }
        Width::Decimal => {
            let count = Decimal::from_integer(i64::from(numbers.count));
            Numeric::Decimal(decimal::divide(numbers.decimal(), count)).computed()
        }
    };
    Ok(Some(average))
}
