//! The position in a listing: opaque text that callers return unchanged.

use forerunner_core::{ContextId, PoolName, ScheduleName, TaskId};

use crate::{error::Error, problem_kind::ProblemKind};

/// Marks the form of a cursor, so that another form can follow.
const CURSOR_FORM: &str = "1-";

/// Returns the cursor of the page that follows `last`.
pub fn after_task(last: TaskId) -> String {
    format!("{CURSOR_FORM}{}", last.as_uuid().simple())
}

/// Reads a cursor of tasks back.
///
/// # Errors
/// [`ProblemKind::InvalidQuery`].
pub fn read_task(cursor: &str) -> Result<TaskId, Error> {
    let refuse = || invalid(format!("cursor `{cursor}` is not valid; use `next` of the page before"));
    cursor.strip_prefix(CURSOR_FORM).and_then(|id| id.parse().ok()).ok_or_else(refuse)
}

/// Returns the cursor of the page of contexts that follows `context`. A pool's name has no colon.
pub(crate) fn after_context(pool: &PoolName, context: &ContextId) -> String {
    format!("{CURSOR_FORM}{pool}:{context}")
}

/// Reads a cursor of contexts back.
pub(crate) fn read_context(cursor: &str) -> Result<(PoolName, ContextId), Error> {
    let refuse = || invalid(format!("cursor `{cursor}` is not valid; use `next` of the page before, unchanged"));
    let (pool, context) = cursor.strip_prefix(CURSOR_FORM).and_then(|text| text.split_once(':')).ok_or_else(refuse)?;
    Ok((PoolName::new(pool).map_err(|_| refuse())?, ContextId::stored(context).map_err(|_| refuse())?))
}

/// Returns the cursor of the page of schedules that follows `last`.
pub(crate) fn after_schedule(last: &ScheduleName) -> String {
    format!("{CURSOR_FORM}{last}")
}

/// Reads a cursor of schedules back.
pub(crate) fn read_schedule(cursor: &str) -> Result<ScheduleName, Error> {
    let refuse = || invalid(format!("cursor `{cursor}` is not valid; use `next` of the page before, unchanged"));
    cursor.strip_prefix(CURSOR_FORM).and_then(|name| name.parse().ok()).ok_or_else(refuse)
}

fn invalid(detail: String) -> Error {
    Error::new(ProblemKind::InvalidQuery, detail)
}

#[cfg(test)]
mod tests {
    use forerunner_core::Timestamp;

    use super::*;

    #[test]
    fn a_cursor_leads_to_the_task_it_was_made_from() {
        let id = TaskId::from_parts(Timestamp::from_micros(1_700_000_000_000_000), 42);
        assert_eq!(read_task(&after_task(id)).unwrap(), id);
        for bad in ["", "1-", "2-018bcfe56800700000000000000000", &id.to_string()] {
            assert_eq!(read_task(bad).unwrap_err().kind(), ProblemKind::InvalidQuery, "{bad}");
        }
    }

    #[test]
    fn a_cursor_leads_to_the_context_it_was_made_from() {
        let (pool, context) = (PoolName::new("coder").unwrap(), ContextId::new("a:b/c").unwrap());
        assert_eq!(read_context(&after_context(&pool, &context)).unwrap(), (pool, context));
        for bad in ["", "1-", "1-coder", "2-coder:a", "1-:a"] {
            assert_eq!(read_context(bad).unwrap_err().kind(), ProblemKind::InvalidQuery, "{bad}");
        }
    }
}
