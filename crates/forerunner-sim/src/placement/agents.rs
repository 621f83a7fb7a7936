//! The agents of a replay, and their contexts.

use forerunner_core::{
    Timestamp,
    placement::{Agent, PairCost, PlacementStats, Rates, ResidentEntry, ResidentSet},
};

use super::{PlacementReplay, load::PlacementLoad};

/// One agent.
#[derive(Debug)]
pub(super) struct Worker {
    /// The task it runs.
    pub task: Option<usize>,
    /// When that task began.
    pub began: Timestamp,
    /// When it was last done with one.
    pub idle_since: Timestamp,
}

/// All agents, and their memories: one each, or one for all.
#[derive(Debug)]
pub(super) struct Workers<'a> {
    load: &'a PlacementLoad,
    pub all: Vec<Worker>,
    memories: Vec<ResidentSet<u32>>,
    shared: bool,
    pub learned: PlacementStats<u32>,
}

/// The cost of a start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Start {
    pub missing_bytes: u64,
    pub restore_s: f64,
}

impl<'a> Workers<'a> {
    pub fn new(load: &'a PlacementLoad, settings: &PlacementReplay) -> Self {
        let idle = || Worker { task: None, began: Timestamp::default(), idle_since: Timestamp::default() };
        let count = settings.agents as usize;
        let memories = match settings.shared_store {
            true => vec![ResidentSet::new(settings.room.times(u64::from(settings.agents)))],
            false => vec![ResidentSet::new(settings.room); count],
        };
        let all = (0..count).map(|_| idle()).collect();
        Self { load, all, memories, shared: settings.shared_store, learned: PlacementStats::default() }
    }

    /// Whether all agents have one memory.
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    pub fn is_idle(&self, worker: usize) -> bool {
        self.all[worker].task.is_none()
    }

    pub fn any_idle(&self) -> bool {
        self.all.iter().any(|worker| worker.task.is_none())
    }

    /// The agents as a choice sees them, and in which order: those idle last first.
    pub fn seen(&self, now: Timestamp) -> (Vec<usize>, Vec<Agent>) {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|worker| (std::cmp::Reverse(self.all[*worker].idle_since), *worker));
        let seen = |worker: &usize| match self.all[*worker].task {
            None => Agent::Idle,
            Some(_) => Agent::Busy(now.since(self.all[*worker].began).as_secs_f64()),
        };
        let agents = order.iter().map(seen).collect();
        (order, agents)
    }

    pub fn missing_bytes(&self, task: usize, worker: usize) -> u64 {
        let wanted = &self.load.tasks()[task];
        let resident = self.memory(worker).get(&wanted.context);
        let common = resident.map_or(0, |entry| self.load.common_bytes(task, entry.version as u32));
        wanted.bytes - common.max(wanted.base_bytes).min(wanted.bytes)
    }

    /// What the pair means for [`forerunner_core::placement::choose`].
    pub fn fit(&self, task: usize, worker: usize, rates: &Rates, now: Timestamp) -> PairCost {
        let wanted = &self.load.tasks()[task];
        let missing_bytes = self.missing_bytes(task, worker);
        if self.is_shared() {
            // Contexts that every agent would evict: a choice cannot change them.
            return PairCost { missing_bytes, displacement_bytes: 0.0 };
        }
        let displacement_bytes =
            self.memory(worker).displacement_bytes(Some(&wanted.context), wanted.bytes, rates, now);
        PairCost { missing_bytes, displacement_bytes }
    }

    /// A task begins: restores what is missing, and records it.
    pub fn start(&mut self, task: usize, worker: usize, now: Timestamp, settings: &PlacementReplay) -> Start {
        let wanted = self.load.tasks()[task];
        let missing_bytes = self.missing_bytes(task, worker);
        let restore_s = settings.restore.seconds(missing_bytes);
        self.learned.used(&wanted.context, now);
        self.learned.restored(missing_bytes, restore_s);
        let resident = ResidentEntry {
            context: wanted.context,
            version: u64::from(wanted.turn),
            bytes: wanted.bytes,
            used_at: now,
        };
        self.memory_mut(worker).insert(resident);
        (self.all[worker].task, self.all[worker].began) = (Some(task), now);
        Start { missing_bytes, restore_s }
    }

    /// A task ended; answers it.
    pub fn finish(&mut self, worker: usize, now: Timestamp) -> Option<usize> {
        let task = self.all[worker].task.take()?;
        self.all[worker].idle_since = now;
        let service = std::time::Duration::from_secs_f64(self.load.tasks()[task].service_s);
        self.learned.served(service);
        let context = self.load.tasks()[task].context;
        let memory = self.memory_mut(worker);
        if let Some(resident) = memory.get(&context).copied() {
            memory.insert(ResidentEntry { used_at: now, ..resident });
        }
        Some(task)
    }

    fn memory(&self, worker: usize) -> &ResidentSet<u32> {
        &self.memories[if self.shared { 0 } else { worker }]
    }

    fn memory_mut(&mut self, worker: usize) -> &mut ResidentSet<u32> {
        &mut self.memories[if self.shared { 0 } else { worker }]
    }
}
