//! The simulated pool: agents as counts, and the order in which they come and go.

use std::collections::VecDeque;

/// Agents by state. Agents are alike, so counts suffice; only those starting differ, by when they will be ready.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agents {
    /// When each starting agent will be ready; the newest last, and so the latest.
    starting: VecDeque<f64>,
    pub idle: u32,
    /// With a task, those that stop after it included.
    pub busy: u32,
    /// Busy agents that stop after their task.
    pub draining: u32,
}

impl Agents {
    pub fn new(idle: u32) -> Self {
        Self { idle, ..Self::default() }
    }

    pub fn starting(&self) -> u32 {
        self.starting.len() as u32
    }

    /// Agents that cost something.
    pub fn total(&self) -> u32 {
        self.starting() + self.idle + self.busy
    }

    /// When the next starting agent will be ready.
    pub fn next_ready(&self) -> Option<f64> {
        self.starting.front().copied()
    }

    /// The oldest starting agent becomes idle.
    pub fn become_ready(&mut self) {
        if self.starting.pop_front().is_some() {
            self.idle += 1;
        }
    }

    /// Gives an idle agent a task; `false` if there is none.
    pub fn take(&mut self) -> bool {
        let found = self.idle > 0;
        if found {
            self.idle -= 1;
            self.busy += 1;
        }
        found
    }

    /// An agent finished its task: it stops if one has to, else it is idle.
    ///
    /// Any busy agent may be the one that stops, since tasks are what differs, not agents.
    pub fn finish(&mut self) {
        self.busy -= 1;
        if self.draining > 0 {
            self.draining -= 1;
        } else {
            self.idle += 1;
        }
    }

    /// Brings the number of agents that will stay to `desired`; new ones are ready at `ready_at`.
    ///
    /// More: first takes back stops of busy agents, then starts new ones. Fewer: the newest starting agents go first,
    /// then idle ones, then busy ones are marked to stop after their task.
    pub fn resize(&mut self, desired: u32, ready_at: f64) {
        let mut size = self.total() - self.draining;
        while size < desired {
            if self.draining > 0 {
                self.draining -= 1;
            } else {
                self.starting.push_back(ready_at);
            }
            size += 1;
        }
        while size > desired {
            if self.starting.pop_back().is_none() {
                if self.idle > 0 {
                    self.idle -= 1;
                } else {
                    self.draining += 1;
                }
            }
            size -= 1;
        }
        debug_assert!(self.draining <= self.busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_take_the_newest_starting_then_idle_then_busy_agents() {
        let mut agents = Agents::new(3);
        assert!(agents.take() && agents.take());
        agents.resize(5, 10.0);
        assert_eq!((agents.starting(), agents.idle, agents.busy), (2, 1, 2));
        agents.resize(4, 0.0);
        assert_eq!((agents.starting(), agents.idle, agents.draining), (1, 1, 0));
        agents.resize(1, 0.0);
        assert_eq!((agents.starting(), agents.idle, agents.busy, agents.draining), (0, 0, 2, 1));
        agents.finish();
        assert_eq!((agents.idle, agents.busy, agents.draining), (0, 1, 0));
    }

    #[test]
    fn a_pending_stop_is_taken_back_before_a_new_agent_starts() {
        let mut agents = Agents::new(2);
        assert!(agents.take() && agents.take());
        agents.resize(0, 0.0);
        assert_eq!(agents.draining, 2);
        agents.resize(3, 7.0);
        assert_eq!((agents.draining, agents.starting(), agents.next_ready()), (0, 1, Some(7.0)));
    }
}
