//! The simulated pool: agents as counts, and the order in which they start and stop.

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
    /// Seconds that an agent that is not needed stays in cooldown; `None` if it stops at once.
    cooldown_s: Option<f64>,
    /// When each agent in cooldown will stop; the newest last, and so the latest.
    cooling: VecDeque<f64>,
}

impl Agents {
    pub fn new(idle: u32, cooldown_s: Option<f64>) -> Self {
        Self { idle, cooldown_s, ..Self::default() }
    }

    pub fn starting(&self) -> u32 {
        self.starting.len() as u32
    }

    /// Agents that cost something.
    pub fn total(&self) -> u32 {
        self.staying() + self.cooling.len() as u32
    }

    /// Agents that may run tasks, or will once they have started, including busy ones that will stop.
    fn staying(&self) -> u32 {
        self.starting() + self.idle + self.busy
    }

    /// When the next starting agent will be ready.
    pub fn next_ready(&self) -> Option<f64> {
        self.starting.front().copied()
    }

    /// When the next agent in cooldown stops.
    pub fn next_cooled(&self) -> Option<f64> {
        self.cooling.front().copied()
    }

    /// It stops.
    pub fn cool_down(&mut self) {
        self.cooling.pop_front();
    }

    /// The oldest starting agent becomes idle.
    pub fn become_ready(&mut self) {
        if self.starting.pop_front().is_some() {
            self.idle += 1;
        }
    }

    /// Assigns a task to an idle agent; `false` if there is none.
    pub fn assign(&mut self) -> bool {
        let found = self.idle > 0;
        if found {
            self.idle -= 1;
            self.busy += 1;
        }
        found
    }

    /// Notes that an agent finished its task: it stops if one has to, otherwise it is idle.
    ///
    /// Any busy agent may be the one that stops, since agents are all alike.
    pub fn finish(&mut self, now: f64) {
        self.busy -= 1;
        if self.draining > 0 {
            self.draining -= 1;
            self.begin_cooldown(now);
        } else {
            self.idle += 1;
        }
    }

    /// Removes an agent that is not needed: it stops, or goes to cooldown.
    fn begin_cooldown(&mut self, now: f64) {
        if let Some(cooldown_s) = self.cooldown_s.filter(|cooldown_s| *cooldown_s > 0.0) {
            self.cooling.push_back(now + cooldown_s);
        }
    }

    /// Starts and stops agents until `desired` will stay; new ones are ready at `ready_at`.
    ///
    /// More: first reclaims busy agents that are to stop, then agents in cooldown, then starts new ones. Fewer: the
    /// newest starting agents stop first, then idle ones; then busy ones are marked to stop after their task.
    pub fn resize(&mut self, desired: u32, now: f64, ready_at: f64) {
        let mut size = self.staying() - self.draining;
        while size < desired {
            if self.draining > 0 {
                self.draining -= 1;
            } else if self.cooling.pop_back().is_some() {
                self.idle += 1;
            } else {
                self.starting.push_back(ready_at);
            }
            size += 1;
        }
        while size > desired {
            if self.starting.pop_back().is_none() {
                if self.idle > 0 {
                    self.idle -= 1;
                    self.begin_cooldown(now);
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
        let mut agents = Agents::new(3, None);
        assert!(agents.assign() && agents.assign());
        agents.resize(5, 0.0, 10.0);
        assert_eq!((agents.starting(), agents.idle, agents.busy), (2, 1, 2));
        agents.resize(4, 0.0, 0.0);
        assert_eq!((agents.starting(), agents.idle, agents.draining), (1, 1, 0));
        agents.resize(1, 0.0, 0.0);
        assert_eq!((agents.starting(), agents.idle, agents.busy, agents.draining), (0, 0, 2, 1));
        agents.finish(1.0);
        assert_eq!((agents.idle, agents.busy, agents.draining, agents.total()), (0, 1, 0, 1));
    }

    #[test]
    fn a_pending_stop_is_taken_back_before_a_new_agent_starts() {
        let mut agents = Agents::new(2, None);
        assert!(agents.assign() && agents.assign());
        agents.resize(0, 0.0, 0.0);
        assert_eq!(agents.draining, 2);
        agents.resize(3, 0.0, 7.0);
        assert_eq!((agents.draining, agents.starting(), agents.next_ready()), (0, 1, Some(7.0)));
    }

    #[test]
    fn an_agent_that_cools_down_costs_until_it_stops_and_is_taken_back_warm() {
        let mut agents = Agents::new(3, Some(5.0));
        agents.resize(1, 10.0, 0.0);
        assert_eq!((agents.idle, agents.total(), agents.next_cooled()), (1, 3, Some(15.0)));
        agents.resize(2, 12.0, 20.0);
        assert_eq!((agents.idle, agents.starting(), agents.total()), (2, 0, 3), "warm, and not started anew");
        agents.cool_down();
        assert_eq!((agents.total(), agents.next_cooled()), (2, None));
    }
}
