//! Re-queueing the tasks of nodes that are gone, and of leases that have expired.

use forerunner_core::{
    TaskState, Timestamp,
    transition::{self, LostTask, Running},
};

use super::{slots::Entry, state::State};
use crate::{Rescue, Rescued};

impl State {
    pub fn rescue(&mut self, rescue: &Rescue) -> Rescued {
        let (now, gone): (_, Vec<_>) = match rescue {
            Rescue::AllBut { node, now } => (*now, self.nodes.keys().filter(|other| *other != node).copied().collect()),
            Rescue::Expired { now } => {
                let gone = self.nodes.iter().filter(|(_, node)| node.lease_until < *now);
                (*now, gone.map(|(id, _)| *id).collect())
            }
        };
        if gone.iter().all(|id| self.nodes.get(id).is_none_or(|node| node.running == 0)) {
            return Rescued::default();
        }
        let running = self.slots.iter().filter(|(_, entry)| entry.task.state == TaskState::Running);
        let lost = running.filter(|(_, entry)| entry.task.node.is_some_and(|node| gone.contains(&node)));
        let mut lost: Vec<_> = lost.map(|(slot, entry)| (entry.due, entry.seq, slot)).collect();
        lost.sort_unstable();
        let mut rescued = Rescued::default();
        for (_, _, slot) in lost {
            self.reclaim(slot, now, &mut rescued);
        }
        rescued
    }

    fn reclaim(&mut self, slot: u32, now: Timestamp, rescued: &mut Rescued) {
        let Entry { task, stop, .. } = self.slots.at(slot);
        let (running, id) = (Running::of(task, *stop), task.id);
        let (has_begun, max_crashes) = (task.started_at.is_some(), task.retry.max_crashes);
        let transition = transition::rescue(LostTask { running, has_begun, max_crashes }, now);
        let list = if transition.ends() { &mut rescued.dead } else { &mut rescued.requeued };
        list.push(id);
        self.apply(slot, transition, now);
    }
}
