//! The Gregorian calendar, for all of a date's 64 bits of milliseconds.

/// A point in time, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: i64,
    /// From 1.
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) millisecond: i64,
    /// Days since 1970.
    pub(super) days: i64,
}

impl Moment {
    pub(super) fn of(millis: i64) -> Self {
        Self::local(millis, 0)
    }

    /// Takes it apart in a timezone that is so many minutes before UTC's clock.
    pub(super) fn local(millis: i64, minutes: i64) -> Self {
        // In seconds, since the first and the last milliseconds have no room for an offset.
        let seconds = millis.div_euclid(1000) + minutes * 60;
        let days = seconds.div_euclid(DAY_SECONDS);
        let rest = seconds.rem_euclid(DAY_SECONDS);
        let (year, month, day) = civil(days);
        Self {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            millisecond: millis.rem_euclid(1000),
            days,
        }
    }

    /// From 1, Sunday.
    pub(super) fn day_of_week(&self) -> i64 {
        (self.days + 4).rem_euclid(7) + 1
    }

    /// From 1, Monday.
    pub(super) fn iso_day_of_week(&self) -> i64 {
        (self.days + 3).rem_euclid(7) + 1
    }

    /// From 1.
    pub(super) fn day_of_year(&self) -> i64 {
        self.days - days_of(self.year, 1, 1) + 1
    }

    /// Weeks begin on Sunday; days before the first one are in week 0.
    pub(super) fn week(&self) -> i64 {
        (self.day_of_year() + 7 - self.day_of_week()) / 7
    }

    /// The year and the week of ISO 8601: the year of the week's Thursday.
    pub(super) fn iso_week(&self) -> (i64, i64) {
        let thursday = self.days - self.iso_day_of_week() + 4;
        let (year, _, _) = civil(thursday);
        (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
    }
}

/// Returns year, month and day. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Returns the days since 1970 of a date; the month may be beyond the year.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year + (month - 1).div_euclid(12);
    let month = (month - 1).rem_euclid(12) + 1;
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468 + day - 1
}

/// Returns the days since 1970 of a day of an ISO week; both may be beyond the year.
pub(super) fn days_of_week(year: i64, week: i64, day: i64) -> i64 {
    // The 4th of January is always in the first week.
    let fourth = days_of(year, 1, 4);
    let monday = fourth - (fourth + 3).rem_euclid(7);
    monday + (week - 1) * 7 + day - 1
}

/// Returns how many days a month has.
pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    days_of(year, month + 1, 1) - days_of(year, month, 1)
}

pub(super) const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_SECONDS: i64 = 24 * 60 * 60;
