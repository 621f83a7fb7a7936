//! Do the same to many tasks.

use forerunner_core::TaskState;
use forerunner_runtime::{BulkReport, BulkRequest};
use forerunner_store::{BulkAction, Obstacle};

use crate::{error::Error, problem_kind::ProblemKind, service::Service};

impl Service {
    /// Applies an action to all tasks that match a filter: at most `filter.limit` tasks, and for a few seconds. The
    /// report has the position to continue from.
    ///
    /// # Errors
    /// The request has neither a condition nor `all`; the pool does not exist; the store does not answer.
    pub async fn bulk(&self, request: BulkRequest, all: bool) -> Result<BulkReport, Error> {
        check_conditions(&request, all)?;
        if let BulkAction::Move { to, .. } = &request.action {
            self.own_pool(to.as_str())?;
        }
        let request = BulkRequest { filter: self.own_filter(request.filter)?, by: self.signature(), ..request };
        Ok(self.handle().bulk(request).await?)
    }
}

/// Rejects a request without any condition that does not set `all`.
fn check_conditions(request: &BulkRequest, all: bool) -> Result<(), Error> {
    if all || !request.filter.matches_all() {
        return Ok(());
    }
    let detail = format!(
        "no condition selects the tasks to {}; send a condition such as pool, states or labels, or \"all\": true",
        request.action.as_str()
    );
    Err(Error::new(ProblemKind::InvalidValue, detail))
}

/// Returns why tasks in a state were not changed, and what to do.
pub const fn obstacle_reason(action: &BulkAction, state: TaskState, obstacle: Obstacle) -> &'static str {
    match (obstacle, action, state) {
        (Obstacle::State, BulkAction::Cancel, _) => "it has ended",
        (Obstacle::State, BulkAction::Retry, TaskState::Succeeded) => "it has succeeded",
        (Obstacle::State, BulkAction::Retry, _) => "it has not ended",
        (Obstacle::State, BulkAction::Delete, _) => "it has not ended; cancel it first",
        (Obstacle::State, BulkAction::Move { .. }, TaskState::Running) => {
            "it runs; only a task that waits can be moved"
        }
        (Obstacle::State, BulkAction::Move { .. }, _) => "it does not wait",
        (Obstacle::Context, ..) => {
            "it belongs to a context, which stays in its pool; configure that pool again, or cancel it and submit it anew"
        }
        (Obstacle::Key, ..) => "the target pool has a task with its idempotency key; delete one of the two",
        (Obstacle::SamePool, ..) => "it is in the target pool already",
        (Obstacle::TooLarge, ..) => {
            "its input is larger than the target pool accepts; raise queue.max_input_bytes there"
        }
        (Obstacle::Room, ..) => "the target pool is full; move it later, or raise queue.limit or queue.limit_bytes",
    }
}

#[cfg(test)]
mod tests {
    use forerunner_core::PoolName;
    use forerunner_store::TaskFilter;

    use super::*;

    #[test]
    fn all_tasks_are_meant_only_where_that_is_said() {
        let request = |filter| BulkRequest { action: BulkAction::Cancel, filter, dry_run: false, by: None };
        let every = request(TaskFilter::default());
        let problem = check_conditions(&every, false).unwrap_err().to_string();
        assert!(problem.contains("selects the tasks to cancel") && problem.contains("\"all\": true"), "{problem}");
        assert!(check_conditions(&every, true).is_ok());
        let of_pool = request(TaskFilter { pool: Some(PoolName::new("coder").unwrap()), ..TaskFilter::default() });
        assert!(check_conditions(&of_pool, false).is_ok());
    }
}
