//! Re-queueing the tasks of lost nodes, and of leases that have expired.

use forerunner_core::{
    TaskId, Timestamp,
    transition::{self, LostTask},
};

use super::{cache::Lease, failure::Sql, tx::Tx};
use crate::{Rescue, Rescued};

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
        let Some(lease) = self.cache.leases.get(&id).cloned() else { return Ok(()) };
        let started = self.cache.end_lease(id);
        let has_begun = lease.started_at.is_some() || started.is_some();
        let lost = LostTask { running: lease.running(), has_begun, max_crashes: lease.max_crashes };
        let transition = transition::rescue(lost, now);
        let list = if transition.ends() { &mut rescued.dead } else { &mut rescued.requeued };
        list.push(id);
        self.apply(&lease, started, &transition, now)
    }
}
