//! Why a task went where it went, in words.

use forerunner_core::{
    Task, TaskState, Timestamp,
    placement::{PlacementReason, PlacementRecord},
};

use super::messages::{GetPlacement, KeptPlacement};
use crate::{Error, Handle, status::PlacementStatus};

impl Handle {
    /// Says why a task went where it went.
    ///
    /// # Errors
    /// [`forerunner_store::StateConflict::NoTask`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn placement(&self, id: forerunner_core::TaskId) -> Result<PlacementStatus, Error> {
        let task = self.task(id).await?;
        let KeptPlacement { record, is_paused } = match self.shared.pools.get(&task.pool) {
            Some(entry) => entry.ask(&entry.pool, GetPlacement(id)).await?,
            None => KeptPlacement::default(),
        };
        let placement = record.map(|record| *record);
        let why = placement.as_ref().map_or_else(|| why_unknown(&task, is_paused, self.shared.deps.now()), why);
        Ok(PlacementStatus {
            task: id,
            pool: task.pool,
            state: task.state,
            agent: task.agent,
            node: task.node,
            placement,
            why,
        })
    }
}

/// Why there is nothing to say about where a task went, at `now`.
fn why_unknown(task: &Task, is_paused: bool, now: Timestamp) -> String {
    let never_ran = task.attempt == 0 && task.started_at.is_none();
    match task.state {
        TaskState::Scheduled if task.run_at > now => format!("it is not due before {}", task.run_at),
        TaskState::Scheduled | TaskState::Queued if is_paused => {
            format!("its pool is paused; resume it with `forerunner pool resume {}`", task.pool)
        }
        TaskState::Scheduled | TaskState::Queued => "it waits for an agent".to_owned(),
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
        AgentId, ContextId, TaskId,
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
