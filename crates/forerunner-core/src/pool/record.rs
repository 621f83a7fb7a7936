//! The pool's record of one agent.

use std::time::Duration;

use crate::{AgentCounts, AgentState, ContextId, LeaseEpoch, TaskId, TenantName, Timestamp};

/// The pool's record of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRecord {
    /// Its state.
    pub state: AgentState,
    /// The leases of its run, in the order in which it runs them.
    pub leases: Vec<(TaskId, LeaseEpoch)>,
    /// How many leases its next run may have: more than one only after runs in which no task waited for anything.
    pub burst: u32,
    /// Whether its task may have cost an agent before: see [`crate::Task::is_suspect`].
    pub has_suspect: bool,
    /// The tenant of its newest task.
    pub tenant: Option<TenantName>,
    /// The context of its task: resident, or being restored.
    pub context: Option<ContextId>,
    /// Size of that context, in bytes.
    pub context_bytes: u64,
    /// Whether it stops once its task is done.
    pub draining: bool,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it last finished a task, or became ready.
    pub last_used: Option<Timestamp>,
    /// When it went to cooldown.
    pub cooling_since: Option<Timestamp>,
    /// Time from being asked for to being ready.
    pub cold_start: Option<Duration>,
    /// Agents that started at the same time, on average over its start, with itself.
    pub started_with: Option<f64>,
    /// Seconds of all starting agents of the pool, summed, when it was asked for.
    pub(super) starts_before_s: f64,
    /// Tasks it has finished.
    pub tasks: u64,
    /// The id of its process, if it has one.
    pub pid: Option<u32>,
}

/// Who is to blame for the end of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// It did not start, or died without a task.
    Agent,
    /// It had done tasks before, or the task had cost an agent before.
    Task,
    /// Both were new.
    Unclear,
}

impl AgentRecord {
    /// Returns the first task of its run.
    pub fn task(&self) -> Option<TaskId> {
        self.leases.first().map(|(task, _)| *task)
    }

    /// Ends its run, in which it finished so many tasks.
    pub(super) fn end_run(&mut self, tasks: u32) {
        self.leases.clear();
        self.tasks += u64::from(tasks);
        self.has_suspect = false;
    }

    /// Returns whether it has not finished a task yet.
    pub const fn is_unproven(&self) -> bool {
        self.tasks == 0
    }

    /// Who is to blame if the agent ended now.
    pub(super) const fn blame(&self) -> Blame {
        match self.state {
            AgentState::Busy if self.has_suspect || !self.is_unproven() => Blame::Task,
            AgentState::Busy => Blame::Unclear,
            _ => Blame::Agent,
        }
    }

    pub(super) const fn starting(now: Timestamp, starts_before_s: f64) -> Self {
        Self {
            state: AgentState::Starting,
            leases: Vec::new(),
            burst: 1,
            has_suspect: false,
            tenant: None,
            context: None,
            context_bytes: 0,
            draining: false,
            asked_at: now,
            last_used: None,
            cooling_since: None,
            cold_start: None,
            started_with: None,
            starts_before_s,
            tasks: 0,
            pid: None,
        }
    }

    pub(super) fn idle_since(&self) -> Timestamp {
        self.last_used.unwrap_or(self.asked_at)
    }

    pub(super) fn count(&self, counts: &mut AgentCounts) {
        if let Some(count) = self.slot(counts) {
            *count += 1;
        }
    }

    pub(super) fn uncount(&self, counts: &mut AgentCounts) {
        if let Some(count) = self.slot(counts) {
            *count -= 1;
        }
    }

    const fn slot<'a>(&self, counts: &'a mut AgentCounts) -> Option<&'a mut u32> {
        match self.state {
            AgentState::Busy if self.draining => Some(&mut counts.cooldown),
            AgentState::Starting => Some(&mut counts.starting),
            AgentState::Ready => Some(&mut counts.ready),
            AgentState::Busy => Some(&mut counts.busy),
            AgentState::Cooldown => Some(&mut counts.cooldown),
            AgentState::Stopped | AgentState::Failed => None,
        }
    }
}
