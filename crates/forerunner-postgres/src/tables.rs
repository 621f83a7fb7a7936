//! Fragments that several statements share about the same tables.

use forerunner_store::backend::{Column, column_list};
use uuid::Uuid;

/// Kinds of rows in `events` beyond the states that are written down there: that a row cannot be read is none of them.
pub(crate) const PROGRESS: i16 = 8;
pub(crate) const OUTPUT: i16 = PROGRESS + 1;
/// What an agent asked.
pub(crate) const ASKED: i16 = OUTPUT + 1;
/// A line of an agent's log.
pub(crate) const LOG: i16 = ASKED + 1;

/// A time before which a task with this id cannot have ended, in microseconds: ids begin with the time of their
/// creation, in milliseconds, and no clock is off by more than a day. Earlier partitions need no search.
pub(crate) fn earliest_end(id: Uuid) -> i64 {
    const DAY: i64 = 86_400_000_000;
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX);
    millis.saturating_mul(1_000).saturating_sub(DAY)
}

/// The names of columns, with commas between.
pub(crate) fn names(columns: impl IntoIterator<Item = &'static Column>) -> String {
    column_list(columns, |column| column.name.to_owned())
}

#[cfg(test)]
mod tests {
    use forerunner_core::{TaskId, Timestamp};

    use super::*;

    #[test]
    fn an_end_is_looked_for_from_a_day_before_its_id_was_made() {
        let made = Timestamp::from_micros(1_700_000_000_123_000);
        let id = TaskId::from_parts(made, u128::MAX);
        assert_eq!(earliest_end(*id.as_uuid()), made.as_micros() - 86_400_000_000);
        assert!(earliest_end(Uuid::max()) > 0 && earliest_end(Uuid::nil()) < 0);
    }
}
