//! Re-queueing the tasks of nodes that are gone, and of leases that have expired.

use forerunner_core::{TaskId, TaskState, Timestamp};
use rusqlite::params;

use super::{cache::Lease, failure::Sql, rows::run, settle::Ended, tx::Tx};
use crate::{Rescue, Rescued, dies_of_crash, node_lost, rules};

impl Tx<'_> {
    pub fn rescue(&mut self, rescue: &Rescue) -> Sql<Rescued> {
        let now = match rescue {
            Rescue::AllBut { now, .. } | Rescue::Expired { now } => *now,
        };
        let is_lost = |lease: &Lease| match (rescue, lease.node) {
            (_, None) => true,
            (Rescue::AllBut { node, .. }, Some(holder)) => holder != *node,
            (Rescue::Expired { now }, Some(holder)) => self.cache.nodes.get(&holder).is_none_or(|until| until < now),
        };
        let lost = self.cache.leases.iter().filter(|(_, lease)| is_lost(lease));
        let mut lost: Vec<_> = lost.map(|(id, lease)| (lease.due, lease.row, *id)).collect();
        lost.sort_unstable();
        let mut rescued = Rescued::default();
        for (_, _, id) in lost {
            self.reclaim(id, now, &mut rescued)?;
        }
        Ok(rescued)
    }

    fn reclaim(&mut self, id: TaskId, now: Timestamp, rescued: &mut Rescued) -> Sql<()> {
        let Some(mut lease) = self.cache.leases.get(&id).cloned() else { return Ok(()) };
        let started = self.cache.end_lease(id);
        let was_held = lease.started_at.is_none() && started.is_none();
        lease.crashes = rules::crashes_with(lease.crashes, was_held);
        if !was_held {
            let end = match (lease.stop, dies(&lease)) {
                (true, _) => (TaskState::Cancelled, rules::cancelled()),
                (false, true) => (TaskState::Dead, node_lost()),
                (false, false) => (TaskState::Queued, node_lost()),
            };
            self.note_attempt(&lease, started, (end.0, Some(end.1)), now)?;
        }
        if lease.stop {
            rescued.dead.push(id);
            return self.end_cancelled(&lease, started, now);
        }
        if was_held {
            rescued.requeued.push(id);
            let sql = "UPDATE tasks SET crashes = ?1 WHERE task = ?2";
            run(self.connection, sql, params![lease.crashes, lease.row])?;
            return self.release(&lease);
        }
        let error = node_lost();
        if dies(&lease) {
            let dead = Ended { state: TaskState::Dead, error: Some(&error), output: None, finished_at: Some(now) };
            rescued.dead.push(id);
            return self.finish(&lease, &dead, started);
        }
        let sql = "UPDATE tasks SET state = 1, crashes = ?1, error_kind = ?2, error = ?3, agent = ?4 WHERE task = ?5";
        let agent = started.as_ref().map(|start| start.agent.as_uuid().as_bytes());
        run(self.connection, sql, params![lease.crashes, error.kind.as_str(), error.message, agent, lease.row])?;
        rescued.requeued.push(id);
        self.wait_again(&lease, TaskState::Queued)
    }
}

/// Whether the crash that was just counted is one too many.
fn dies(lease: &Lease) -> bool {
    let retry = forerunner_core::RetryPolicy { max_crashes: lease.max_crashes, ..Default::default() };
    dies_of_crash(lease.crashes, &retry)
}
