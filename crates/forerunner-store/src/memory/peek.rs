//! The verbs of the memory store that choose among claimable tasks.

use std::sync::Arc;

use forerunner_core::{Task, TaskId};

use super::{lane::QueueKey, state::State};
use crate::{Candidate, Claim, Peek};

impl State {
    pub fn peek(&self, look: &Peek) -> Vec<Candidate> {
        let Some(pool) = self.pool(&look.pool).map(|pool| &self.pools[pool as usize]) else { return Vec::new() };
        let is_open =
            |spot: &QueueKey| self.slots.is_ready(spot) && !self.slots.at(spot.slot).task.is_past_deadline(look.now);
        let in_order = pool.lanes.iter().rev().flat_map(|lane| lane.first(look.limit, is_open));
        in_order.take(look.limit).map(|spot| self.candidate(&spot)).collect()
    }

    fn candidate(&self, spot: &QueueKey) -> Candidate {
        let entry = self.slots.at(spot.slot);
        let contexts = &self.pools[entry.pool as usize].contexts;
        let context = entry.task.context.as_ref();
        Candidate {
            task: entry.task.id,
            context: entry.task.context.clone(),
            context_version: context.map_or(0, |context| contexts.version(context).1),
            context_bytes: context.map_or(0, |context| contexts.size_bytes(context)),
            priority: entry.task.priority,
            due: entry.due,
        }
    }

    pub fn claim_ids(&mut self, claim: &Claim, wanted: &[TaskId]) -> Vec<Arc<Task>> {
        self.renew(claim.node, claim.lease_until);
        let Some(pool) = self.pool(&claim.pool) else { return Vec::new() };
        let mut tasks = Vec::with_capacity(wanted.len());
        for task in wanted {
            let Some(slot) = self.slots.find(*task) else { continue };
            let entry = self.slots.at(slot);
            if entry.pool != pool || !entry.ready || entry.task.is_past_deadline(claim.now) {
                continue;
            }
            tasks.push(self.lease(slot, claim, tasks.len()));
            self.note_taken(slot);
        }
        if let Some(node) = self.nodes.get_mut(&claim.node) {
            node.running += tasks.len();
        }
        tasks
    }
}
