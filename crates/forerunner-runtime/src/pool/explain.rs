//! Explains a placement in a sentence.

use forerunner_core::{
    DependencyReport, Task, TaskId, TaskState, Timestamp, name_in_key,
    placement::{PlacementReason, PlacementRecord},
};

use forerunner_store::TaskFilter;

use super::messages::{GetPlacement, RecordedPlacement};
use crate::{
    Error, Handle,
    queue::messages::GetQueueStatus,
    status::{PlacementStatus, PoolState},
};

impl Handle {
    /// Explains why a task ran where it ran, or what it waits for.
    ///
    /// # Errors
    /// [`forerunner_store::StateConflict::NoTask`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn placement(&self, id: TaskId) -> Result<PlacementStatus, Error> {
        let task = self.task(id).await?;
        let RecordedPlacement { record, state } = match self.shared.pools.get(&task.pool) {
            Some(entry) => entry.ask(&entry.pool, GetPlacement(id)).await?,
            None => RecordedPlacement { record: None, state: PoolState::Running },
        };
        let dependency = self.dependency(&task).await?;
        let state = state.with_dependency(&dependency, self.shared.deps.now());
        let placement = record.map(|record| *record);
        let why = match &placement {
            _ if is_waiting(task.state) => {
                let before = self.before_in_context(&task).await?;
                why_waiting(&task, &state, &dependency, before.as_ref(), self.shared.deps.now())
            }
            Some(record) => why(record),
            None => why_unknown(&task),
        };
        Ok(PlacementStatus {
            task: id,
            pool: task.pool,
            state: task.state,
            schedule: task.idempotency_key.as_ref().and_then(|key| name_in_key(key.as_str())?.parse().ok()),
            agent: task.agent,
            node: task.node,
            placement,
            why,
        })
    }
}

impl Handle {
    /// Returns the state of the dependency circuit of a waiting task's pool.
    async fn dependency(&self, task: &Task) -> Result<DependencyReport, Error> {
        let Some(entry) = self.shared.pools.get(&task.pool).filter(|_| is_waiting(task.state)) else {
            return Ok(DependencyReport::default());
        };
        Ok(entry.ask(&entry.queue, GetQueueStatus).await?.dependency)
    }

    /// Returns the task of the same conversation that a waiting task has to wait for, if there is one.
    async fn before_in_context(&self, task: &Task) -> Result<Option<Task>, Error> {
        let Some(context) = &task.context else { return Ok(None) };
        let unfinished = TaskFilter {
            pool: Some(task.pool.clone()),
            states: vec![TaskState::Running, TaskState::Waiting, TaskState::Queued, TaskState::Scheduled],
            context: Some(context.clone()),
            oldest_first: true,
            limit: MAX_CONSIDERED,
            ..TaskFilter::default()
        };
        let others = self.tasks(unfinished).await?.tasks;
        Ok(others
            .into_iter()
            .filter(|other| other.id != task.id)
            .filter(|other| precedes(other, task))
            .min_by_key(position))
    }
}

/// Whether a task of the same conversation runs before `task`: it is running, or is retried, or became due earlier.
fn precedes(other: &Task, task: &Task) -> bool {
    match other.state {
        TaskState::Running | TaskState::Waiting => true,
        TaskState::Scheduled => other.attempt > 0,
        _ => position(other) < position(task),
    }
}

/// The position of a task in its conversation: tasks that ran before are first, then those that became due first.
fn position(task: &Task) -> (bool, Timestamp, TaskId) {
    (task.attempt == 0, task.run_at.max(task.submitted_at), task.id)
}

/// Number of unfinished tasks of a conversation that are considered, oldest first.
const MAX_CONSIDERED: usize = 100;

const fn is_waiting(state: TaskState) -> bool {
    matches!(state, TaskState::Queued | TaskState::Scheduled)
}

/// Why a task waits, at `now`. `before` is the task of its conversation that it waits for.
fn why_waiting(
    task: &Task,
    pool: &PoolState,
    dependency: &DependencyReport,
    before: Option<&Task>,
    now: Timestamp,
) -> String {
    if task.state == TaskState::Scheduled && task.run_at > now {
        let again = if task.attempt > 0 { ", when it is tried again" } else { "" };
        return format!("it is not due before {}{again}", task.run_at);
    }
    if *pool == PoolState::Paused {
        return format!("its pool is paused; resume it with `forerunner pool resume {}`", task.pool);
    }
    if let Some(before) = before {
        let what = match before.state {
            TaskState::Running => "runs now".to_owned(),
            TaskState::Waiting => "waits for an answer".to_owned(),
            TaskState::Scheduled => format!("is tried again at {}", before.run_at),
            _ => "waits for an agent".to_owned(),
        };
        return format!("it waits for its conversation: task {} comes first, and {what}", before.id);
    }
    match pool {
        PoolState::CircuitOpen { until, reason } => {
            format!(
                "it waits for an agent; the pool starts none before {until}, because agents failed too often: {reason}"
            )
        }
        PoolState::DependencyOpen { until, reason } => {
            let when = match dependency.probe_since {
                Some(since) => format!("a task tries it since {since}"),
                None => format!("the next task tries it at {until}"),
            };
            format!(
                "it waits because what the agents depend on fails (the dependency circuit of the pool is open): {reason}; \
                 {when}; no attempt of the outage counts"
            )
        }
        _ => match (dependency.limit, &dependency.error) {
            (Some(limit), Some(error)) => format!(
                "it waits for an agent; the dependency circuit of the pool lets {limit} tasks run at once, because tasks \
                 failed alike: {error}"
            ),
            _ => "it waits for an agent".to_owned(),
        },
    }
}

/// Why no placement is recorded for a task that does not wait.
fn why_unknown(task: &Task) -> String {
    let never_ran = task.attempt == 0 && task.started_at.is_none();
    match task.state {
        TaskState::Cancelled if never_ran => "it never ran: it was cancelled while it waited".to_owned(),
        TaskState::Expired if never_ran => "it never ran: its deadline passed while it waited".to_owned(),
        _ if task.context.is_none() => "it has no context: any idle agent would do as well as another".to_owned(),
        _ => "the reason is not known here: another node placed it, or it was placed too long ago".to_owned(),
    }
}

fn why(record: &PlacementRecord) -> String {
    let chosen = &record.chosen;
    let why = match record.reason {
        PlacementReason::Warm => "the agent had its context: nothing had to be restored".to_owned(),
        PlacementReason::PartlyWarm => {
            format!("the agent had a part of its context: {} bytes had to be restored", chosen.missing_bytes)
        }
        PlacementReason::Room if record.context_bytes == 0 => {
            "its context was new, and the agent displaces no other context".to_owned()
        }
        PlacementReason::Room => "no idle agent had its context, and this one displaces no other context".to_owned(),
        PlacementReason::LeastDisplacement => {
            "no idle agent had its context, and this one displaces the least".to_owned()
        }
        PlacementReason::OnlyIdle => "no other agent was idle".to_owned(),
    };
    let deferral = match record.deferred_s {
        deferred_s if deferred_s > 0.0 => format!("; it was deferred for {deferred_s:.2} s to wait for a busy agent"),
        _ => String::new(),
    };
    let next = record.others.iter().find(|other| !other.busy);
    let next = next.map_or_else(String::new, |next| format!("; the next best would have cost {:.2} s", next.cost_s));
    format!("{why}; it cost {:.2} s{next}{deferral}", chosen.cost_s)
}

#[cfg(test)]
mod tests {
    use forerunner_core::{
        AgentId, ContextId,
        placement::{AgentCost, PairCost, Rates, RestoreCost},
    };

    use super::*;

    #[test]
    fn a_placement_is_explained_in_a_sentence() {
        let agent = |n: u128| AgentId::from_parts(Timestamp::default(), n);
        let restore = RestoreCost { fixed_s: 0.0, s_per_byte: 2e-6 };
        let rates = Rates { restore, ..Rates::default() };
        let cost = |n, missing_bytes| {
            AgentCost::new(agent(n), PairCost { missing_bytes, displacement_bytes: 0.0 }, None, &rates)
        };
        let record = PlacementRecord {
            task: TaskId::from_parts(Timestamp::default(), 1),
            context: ContextId::new("red").unwrap(),
            context_bytes: 1_000_000,
            at: Timestamp::default(),
            reason: PlacementReason::Warm,
            chosen: cost(1, 0),
            others: vec![cost(2, 1_000_000)],
            idle_agents: 2,
            waited_s: 0.75,
            deferred_s: 0.5,
            rates: (&rates).into(),
        };
        assert_eq!(
            why(&record),
            "the agent had its context: nothing had to be restored; it cost 0.00 s; the next best would have cost 2.00 s; \
             it was deferred for 0.50 s to wait for a busy agent"
        );
    }
}
