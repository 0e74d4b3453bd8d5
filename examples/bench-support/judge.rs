//! What was lost, doubled or out of order, exactly: each client's arrivals held against what was written, in the order in
//! which MongoDB has it.

use super::crowd::Arrival;

/// What was wrong with the deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Events that a client should have got and has not.
    pub(crate) lost: u64,
    /// Deliveries of what the client already had.
    pub(crate) doubled: u64,
    /// First deliveries that came behind one of a later event.
    pub(crate) out_of_order: u64,
    /// Deliveries of events that another client's value asks for, or that nobody wrote.
    pub(crate) astray: u64,
}

impl Faults {
    /// All of them.
    pub(crate) fn sum(&self) -> u64 {
        self.lost + self.doubled + self.out_of_order + self.astray
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
        self.astray += other.astray;
    }
}

/// Which events a client is to get: those whose number is `value` modulo `values`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) value: u32,
    pub(crate) values: u32,
}

impl Share {
    /// Everything.
    pub(crate) const ALL: Self = Self {
        value: 0,
        values: 1,
    };

    /// The share of the client `index`, where there are so many values.
    pub(crate) fn of(index: usize, values: usize) -> Self {
        Self {
            value: (index % values) as u32,
            values: values as u32,
        }
    }

    pub(crate) fn holds(self, number: u32) -> bool {
        number % self.values == self.value
    }

    /// How many of the first `written`.
    pub(crate) fn count(self, written: u32) -> u32 {
        written.saturating_sub(self.value).div_ceil(self.values)
    }
}

/// One client's judge. It is told everything that arrived, in as many parts as there are.
#[derive(Debug)]
pub(crate) struct Judge {
    share: Share,
    /// What came before the client was live is not counted.
    first: u32,
    seen: Vec<u64>,
    seen_count: u32,
    place_max: Option<u32>,
    faults: Faults,
}

impl Judge {
    /// Of a client that is to get all of its share, from the event `first` on.
    pub(crate) fn new(share: Share, first: u32) -> Self {
        Self {
            share,
            first,
            seen: Vec::new(),
            seen_count: 0,
            place_max: None,
            faults: Faults::default(),
        }
    }

    /// `places` has each event's place in MongoDB's order.
    pub(crate) fn hear(&mut self, arrivals: &[Arrival], places: &[u32]) {
        for Arrival { number, .. } in arrivals {
            let Some(place) = places
                .get(*number as usize)
                .filter(|_| self.share.holds(*number))
            else {
                self.faults.astray += 1;
                continue;
            };
            if *number < self.first {
                continue;
            }
            let (word, bit) = (*number as usize / 64, 1 << (number % 64));
            if word >= self.seen.len() {
                self.seen.resize(word + 1, 0);
            }
            if self.seen[word] & bit != 0 {
                self.faults.doubled += 1;
                continue;
            }
            self.seen[word] |= bit;
            self.seen_count += 1;
            match self.place_max {
                // Of an earlier part, and judged there.
                _ if *place == UNKNOWN => (),
                Some(max) if *place < max => self.faults.out_of_order += 1,
                _ => self.place_max = Some(*place),
            }
        }
    }

    /// What was wrong when `written` events had been written in all and have had their time to arrive.
    pub(crate) fn verdict(&self, written: u32) -> Faults {
        let due = self.share.count(written) - self.share.count(self.first.min(written));
        Faults {
            lost: u64::from(due.saturating_sub(self.seen_count)),
            ..self.faults
        }
    }
}

/// The place of an event that the cursor of this part did not bring.
pub(crate) const UNKNOWN: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::{Faults, Judge, Share};
    use crate::support::crowd::Arrival;

    #[track_caller]
    fn check(share: Share, first: u32, arrived: &[u32], written: u32, expected: Faults) {
        let places: Vec<u32> = (0..written).collect();
        let mut judge = Judge::new(share, first);
        for number in arrived {
            let arrival = Arrival {
                number: *number,
                micros: 0,
            };
            judge.hear(&[arrival], &places);
        }
        assert_eq!(judge.verdict(written), expected, "{arrived:?}");
    }

    #[test]
    fn faults_are_counted_one_by_one() {
        let none = Faults::default();
        check(Share::ALL, 0, &[0, 1, 2, 3], 4, none);
        check(Share::ALL, 0, &[0, 1, 3], 5, Faults { lost: 2, ..none });
        check(
            Share::ALL,
            0,
            &[0, 1, 1, 0, 2],
            3,
            Faults { doubled: 2, ..none },
        );
        check(
            Share::ALL,
            0,
            &[1, 0, 2],
            3,
            Faults {
                out_of_order: 1,
                ..none
            },
        );
        check(Share::ALL, 0, &[0, 7], 1, Faults { astray: 1, ..none });
        check(Share::ALL, 2, &[1, 2, 3], 4, none);
        check(Share::ALL, 9, &[], 4, none);
        let second_of_three = Share {
            value: 1,
            values: 3,
        };
        check(second_of_three, 0, &[1, 4, 7], 9, none);
        check(
            second_of_three,
            0,
            &[1, 2, 7],
            9,
            Faults {
                lost: 1,
                astray: 1,
                ..none
            },
        );
        check(second_of_three, 2, &[4, 7], 9, none);
    }

    #[test]
    fn the_order_is_mongodbs() {
        // Two writers: 1 got its place before 0.
        let mut judge = Judge::new(Share::ALL, 0);
        let arrivals = [1, 0].map(|number| Arrival { number, micros: 0 });
        judge.hear(&arrivals, &[1, 0]);
        assert_eq!(judge.verdict(2), Faults::default());
    }
}
