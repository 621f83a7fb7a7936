//! The last tasks of a pool, and which of them failed alike.

use std::{collections::VecDeque, time::Duration};

use crate::{AgentId, TaskId, Timestamp};

/// Tasks that are remembered.
const LAST: usize = 64;
/// Of those, the newest that open a circuit.
const NEWEST: usize = 16;
/// Fewest tasks that must fail alike to open a circuit: a few tasks of one sort are no outage.
const TASKS_TO_OPEN: usize = 8;
/// Fewest tasks that must fail alike to limit a pool.
const TASKS_TO_LIMIT: usize = 8;
/// Of those, tasks that must have succeeded at another attempt: tasks of one sort that always fail are no outage.
const TASKS_TO_RECOVER: usize = 3;
/// Agents on which they must fail: one agent may be broken.
const AGENTS: usize = 2;
/// From so many tasks, and such a share of the newest, an outage may have begun.
const TASKS_TO_SUSPECT: usize = 2;
const SHARE_TO_SUSPECT: f64 = 0.1;
/// For how long after a failure.
const SUSPICIOUS: Duration = Duration::from_secs(5);
/// Older results prove nothing about the dependency now.
const FORGET: Duration = Duration::from_secs(600);

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
struct Entry {
    task: TaskId,
    agent: AgentId,
    /// What failures that are alike share; `None` for a success.
    class: Option<u64>,
    /// Whether the task succeeded after the failure.
    recovered: bool,
    at: Timestamp,
}

/// The last tasks. One that fails again and again counts once, and also when it succeeds in the end.
#[derive(Debug, Clone, Default)]
pub(super) struct RecentTasks {
    /// Successes before the first entry.
    clean: usize,
    /// From the first failure on.
    entries: VecDeque<Entry>,
}

/// How many of the last tasks failed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SimilarFailures {
    pub(super) failed: usize,
    pub(super) of: usize,
    pub(super) agents: usize,
}

impl SimilarFailures {
    pub(super) fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.failed as f64 / self.of as f64 }
    }
}

impl RecentTasks {
    pub(super) fn succeeded(&mut self, task: TaskId, agent: AgentId, now: Timestamp) {
        if self.entries.is_empty() {
            // The common case: nothing fails, and nothing but a number is kept.
            self.clean = (self.clean + 1).min(LAST);
            return;
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.task == task) {
            entry.recovered = true;
        }
        self.push(Entry { task, agent, class: None, recovered: false, at: now });
        if self.entries.iter().all(|entry| entry.class.is_none()) {
            self.clean = (self.clean + self.entries.len()).min(LAST);
            self.entries.clear();
        }
    }

    pub(super) fn failed(&mut self, task: TaskId, agent: AgentId, class: u64, now: Timestamp) {
        self.push(Entry { task, agent, class: Some(class), recovered: false, at: now });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, entry: Entry) {
        let is_repeated = |old: &Entry| entry.class.is_some() && old.class.is_some() && old.task == entry.task;
        self.entries.retain(|old| !is_repeated(old) && entry.at.since(old.at) <= FORGET);
        self.entries.push_back(entry);
        if self.entries.len() > LAST {
            self.entries.pop_front();
        }
    }

    fn alike(&self, class: u64, newest: usize) -> SimilarFailures {
        let entries = self.entries.iter().rev().take(newest);
        let mut agents = Vec::with_capacity(AGENTS);
        let mut failed = 0;
        for entry in entries.filter(|entry| entry.class == Some(class)) {
            failed += 1;
            if agents.len() < AGENTS && !agents.contains(&entry.agent) {
                agents.push(entry.agent);
            }
        }
        SimilarFailures { failed, of: (self.clean + self.entries.len()).min(newest), agents: agents.len() }
    }

    /// Of all tasks that are remembered.
    pub(super) fn all_alike(&self, class: u64) -> SimilarFailures {
        self.alike(class, LAST)
    }

    /// Whether so many of the newest tasks failed alike that an outage may have begun.
    pub(super) fn is_suspicious(&self, now: Timestamp) -> bool {
        let failures = self.entries.iter().rev().filter_map(|entry| Some((entry.class?, entry.at)));
        let Some((class, at)) = failures.into_iter().next() else { return false };
        let newest = self.alike(class, NEWEST);
        now.since(at) < SUSPICIOUS && newest.failed >= TASKS_TO_SUSPECT && newest.share() >= SHARE_TO_SUSPECT
    }

    /// Whether the newest tasks of a pool of so many agents fail so much that the circuit opens.
    pub(super) fn is_outage(&self, class: u64, share: f64, pool_agents: u32) -> bool {
        let newest = self.alike(class, NEWEST);
        newest.failed >= TASKS_TO_OPEN && newest.share() >= share && newest.agents >= agents_of(pool_agents)
    }

    /// Whether the last tasks fail so much that fewer are to run at once.
    pub(super) fn is_partial(&self, class: u64, share: f64, pool_agents: u32) -> bool {
        let last = self.alike(class, LAST);
        let recovered = self.entries.iter().filter(|entry| entry.class == Some(class) && entry.recovered).count();
        last.failed >= TASKS_TO_LIMIT
            && recovered >= TASKS_TO_RECOVER
            && last.share() >= share
            && last.agents >= agents_of(pool_agents)
    }
}

/// A pool of one agent has no second one to compare with.
fn agents_of(pool_agents: u32) -> usize {
    AGENTS.min(pool_agents.max(1) as usize)
}
