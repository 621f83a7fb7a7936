//! Re-queueing the tasks of nodes that are gone, and of leases that have expired.

use forerunner_core::{TaskState, Timestamp};

use super::state::State;
use crate::{Rescue, Rescued, dies_of_crash, node_lost, rules};

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
        let stop = self.slots.at(slot).stop;
        let task = &mut self.slots.at_mut(slot).task;
        let was_held = task.started_at.is_none();
        task.crashes = rules::crashes_with(task.crashes, was_held);
        let dies = !was_held && dies_of_crash(task.crashes, &task.retry);
        let (id, node) = (task.id, task.node);
        if was_held {
            task.attempt = task.attempt.saturating_sub(1);
        }
        let end = match (stop, dies) {
            (true, _) => (TaskState::Cancelled, rules::cancelled()),
            (false, true) => (TaskState::Dead, node_lost()),
            (false, false) => (TaskState::Queued, node_lost()),
        };
        self.note_attempt(slot, Some((end.0, Some(end.1))), now);
        self.leave_node(node);
        if stop {
            self.end(slot, TaskState::Cancelled, Some(rules::cancelled()), now);
            rescued.dead.push(id);
        } else if dies {
            self.end(slot, TaskState::Dead, Some(node_lost()), now);
            rescued.dead.push(id);
        } else {
            let task = &mut self.slots.at_mut(slot).task;
            if was_held {
                (task.agent, task.node) = (None, None);
            } else {
                task.error = Some(node_lost());
            }
            self.wait_again(slot, TaskState::Queued);
            rescued.requeued.push(id);
        }
    }
}
