//! Random histories of contexts on several nodes, with random crashes: a restore yields what was last committed.

use std::{collections::HashMap, ops::AddAssign, sync::Arc, time::Duration};

use forerunner_context::{Item, Limits, Snapshot};
use forerunner_core::{ContextId, NewTask, Next, NodeId, Payload, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{Claim, ContextCommit, ContextVersion, MemoryStore, Rescue, Settlement, Store, Submission};
use tokio::sync::Semaphore;

use crate::{
    contexts::{Commit, Compaction, CompactorDeps, Memory, NodeContexts, PoolCodecs, Source},
    metrics::PoolMetrics,
};

/// Number of nodes.
const NODES: usize = 2;
/// Number of contexts, which share items.
const CONTEXTS: usize = 3;

/// Opens the store of another store's data, as after a crash or a restart of its process.
pub type Reopen = dyn Fn(Arc<dyn Store>) -> Arc<dyn Store>;

/// How often each kind of event counts, so that a test can verify that it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// Turns that were committed.
    pub commits: u64,
    /// Turns that crashed before their commit.
    pub crashes: u64,
    /// Restarts of nodes.
    pub restarts: u64,
    /// Restores of contexts from the store, whole or in part.
    pub restores: u64,
    /// Compactions that ended.
    pub compactions: u64,
    /// Compactions that replaced a chain by a fresh snapshot.
    pub fresh_bases: u64,
    /// Contexts that were deleted.
    pub deletions: u64,
}

impl AddAssign for HistoryCounts {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.restores += other.restores;
        self.compactions += other.compactions;
        self.fresh_bases += other.fresh_bases;
        self.deletions += other.deletions;
    }
}

/// Runs a history that is determined by `seed`. After each step, checks that a reader without any cache gets exactly
/// the bytes that were last committed.
///
/// # Panics
/// When a reader gets other bytes. The message has the seed.
pub async fn run_history(store: Arc<dyn Store>, reopen: &Reopen, seed: u64) -> (Arc<dyn Store>, HistoryCounts) {
    let mut history = History::new(store, seed);
    for _ in 0..history.chance.below(30) + 5 {
        history.step(reopen).await;
    }
    history.finish_all().await;
    history.check_all().await;
    (history.store, history.counts)
}

/// A node: its cache, its codec, and the context of one of its agents.
struct Simulated {
    cache: NodeContexts,
    codecs: Arc<PoolCodecs>,
    agent: Option<Memory>,
}

impl Simulated {
    fn new() -> Self {
        // Small enough that contexts evict each other.
        Self { cache: NodeContexts::new(40_000), codecs: Arc::new(PoolCodecs::new(None)), agent: None }
    }
}

struct History {
    store: Arc<dyn Store>,
    chance: Chance,
    seed: u64,
    pool: PoolName,
    nodes: Vec<Simulated>,
    committed: HashMap<ContextId, Vec<Vec<u8>>>,
    /// Compactions that run at some later time.
    compactions: Vec<(usize, Compaction)>,
    clock: i64,
    counts: HistoryCounts,
}

impl History {
    fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        Self {
            store,
            chance: Chance(seed),
            seed,
            pool: PoolName::new(format!("pool-{seed}")).expect("a pool name"),
            nodes: (0..NODES).map(|_| Simulated::new()).collect(),
            committed: HashMap::new(),
            compactions: Vec::new(),
            clock: 1_700_000_000_000_000,
            counts: HistoryCounts::default(),
        }
    }

    async fn step(&mut self, reopen: &Reopen) {
        let context = ContextId::new(format!("context-{}", self.chance.below(CONTEXTS))).expect("an id");
        let node = self.chance.below(NODES);
        match self.chance.below(20) {
            0 => {
                self.nodes[node] = Simulated::new();
                self.counts.restarts += 1;
                if self.chance.below(3) == 0 {
                    // The only reference, so that the file is closed when it is dropped.
                    let nothing: Arc<dyn Store> = Arc::new(MemoryStore::default());
                    self.store = reopen(std::mem::replace(&mut self.store, nothing));
                }
            }
            1 => self.delete(&context).await,
            2..5 if !self.compactions.is_empty() => self.compact().await,
            2..5 => self.nodes[node].agent = None,
            5..8 => self.crash(node, &context).await,
            _ => self.turn(node, &context).await,
        }
        self.check(&context).await;
    }

    /// Claims a new task of a context.
    async fn claim(&mut self, node: usize, context: Option<&ContextId>) -> Task {
        if let Some(context) = context {
            let new = NewTask { context: Some(context.clone()), ..NewTask::new(self.pool.clone(), Payload::null()) };
            let now = self.now();
            let id = TaskId::from_parts(now, u128::from(self.chance.next()));
            let task = Task::accepted(id, new, now, Duration::from_secs(60), forerunner_core::RetryPolicy::default());
            self.store.enqueue(vec![Submission::new(task, None)]).await.expect("the store works");
        }
        let now = self.now();
        let lease_until = now + Duration::from_secs(60);
        let claim =
            Claim { pool: self.pool.clone(), node: node_id(node), limit: 1, starts: usize::MAX, now, lease_until };
        self.store.claim(claim).await.expect("the store works").pop().expect("the task is there")
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 1_000;
        Timestamp::from_micros(self.clock)
    }

    async fn settle(&mut self, task: &Task, context: Option<ContextCommit>) -> bool {
        let now = self.now();
        let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::null()), error: None };
        let settlement = Settlement {
            task: task.id,
            epoch: task.epoch,
            now,
            next,
            context,
            context_cost: None,
            report: None,
            started: None,
        };
        self.store.settle(vec![settlement]).await.expect("the store works").remove(0).is_ok()
    }

    /// Lets an agent of a node restore the context and change it. Returns what it would commit.
    async fn work(&mut self, node: usize, task: &Task) -> Option<Commit> {
        let context = task.context.clone().expect("the task has one");
        let wanted = ContextVersion { born: task.context_born, version: task.context_version };
        let Simulated { cache, codecs, agent } = &mut self.nodes[node];
        let agent = agent.take();
        let source = Source { store: &*self.store, pool: &self.pool, node: cache };
        let warm = source.restore_context(context.clone(), wanted, agent, codecs).await;
        let warm = warm.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.counts.restores += u64::from(warm.cost.restored_bytes > 0);
        let committed = self.committed.get(&context).cloned().unwrap_or_default();
        assert_eq!(bytes(&warm.memory.snapshot), committed, "seed {}: {:?}", self.seed, warm.cost.source);
        let next = self.chance.edit(&warm.memory.snapshot);
        warm.memory.advance(next, task.id, &self.nodes[node].codecs).expect("it is within the limits")
    }

    async fn turn(&mut self, node: usize, context: &ContextId) {
        let task = self.claim(node, Some(context)).await;
        let Some(Commit { commit, memory, compaction, .. }) = self.work(node, &task).await else {
            assert!(self.settle(&task, None).await);
            return;
        };
        let stored = self.settle(&task, Some(commit)).await;
        assert!(stored, "seed {}: the commit was refused", self.seed);
        self.counts.commits += 1;
        self.committed.insert(context.clone(), bytes(&memory.snapshot));
        self.compactions.extend(compaction.map(|compaction| (node, compaction)));
        // The agent may crash right after its result is stored, before it caches the context.
        if self.chance.below(8) > 0 {
            let memory = self.nodes[node].cache.insert(&self.pool, memory);
            self.nodes[node].agent = Some(memory);
        }
    }

    /// A turn that crashes before its commit: another node runs the task.
    async fn crash(&mut self, node: usize, context: &ContextId) {
        let task = self.claim(node, Some(context)).await;
        let lost = self.work(node, &task).await;
        let other = (node + 1) % NODES;
        let now = self.now();
        self.store.rescue(Rescue::AllBut { node: node_id(other), now }).await.expect("the store works");
        if let Some(Commit { commit, .. }) = lost {
            assert!(!self.settle(&task, Some(commit)).await, "seed {}: a lost lease committed", self.seed);
        }
        self.nodes[node].cache.evict(&self.pool, context);
        let again = self.claim(other, None).await;
        assert!(self.settle(&again, None).await);
        self.counts.crashes += 1;
    }

    async fn delete(&mut self, context: &ContextId) {
        let deleted = self.store.delete_context(self.pool.clone(), context.clone()).await.expect("the store works");
        assert_eq!(deleted.is_ok(), self.committed.remove(context).is_some(), "seed {}", self.seed);
        // The nodes are not notified: they cache a context that no longer exists.
        self.counts.deletions += u64::from(deleted.is_ok());
    }

    /// Runs a compaction, whatever was committed since.
    async fn compact(&mut self) {
        let (node, compaction) = self.compactions.swap_remove(self.chance.below(self.compactions.len()));
        let deps = CompactorDeps {
            store: Arc::clone(&self.store),
            pool: self.pool.clone(),
            codecs: Arc::clone(&self.nodes[node].codecs),
            metrics: PoolMetrics::new(&self.pool).contexts,
            permits: Arc::new(Semaphore::new(1)),
        };
        self.counts.fresh_bases += u64::from(compaction.finish(&deps).await);
        self.counts.compactions += 1;
    }

    async fn finish_all(&mut self) {
        while !self.compactions.is_empty() {
            self.compact().await;
        }
    }

    async fn check_all(&self) {
        for context in self.committed.keys() {
            self.check(context).await;
        }
    }

    /// Reads a context as a node without any cache does.
    async fn check(&self, context: &ContextId) {
        let (reader, codecs) = (NodeContexts::new(1 << 20), Arc::new(PoolCodecs::new(None)));
        let source = Source { store: &*self.store, pool: &self.pool, node: &reader };
        let wanted = ContextVersion { born: u64::MAX, version: u64::MAX };
        let warm = source.restore_context(context.clone(), wanted, None, &codecs).await;
        let warm = warm.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let committed = self.committed.get(context).cloned().unwrap_or_default();
        assert_eq!(bytes(&warm.memory.snapshot), committed, "seed {}", self.seed);
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId::from_parts(Timestamp::default(), node as u128 + 1)
}

fn bytes(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    snapshot.items().iter().map(|item| item.bytes().to_vec()).collect()
}

/// Numbers that are determined by a seed (SplitMix64, Steele et al. 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// An item: mostly short and new, sometimes shared with others, rarely long.
    fn item(&mut self) -> Item {
        let text = match self.below(30) {
            0 => format!("{:x}", self.next()).repeat(5_000),
            1..8 => format!("a system prompt that all agents share, number {} ", self.below(3)).repeat(20),
            _ => {
                format!("turn {} says {}", self.below(5), "something ".repeat(self.below(9))) + &self.next().to_string()
            }
        };
        Item::new(text.into_bytes())
    }

    /// A change of an agent to its context: append, cut, replace, summarise, move, start anew, or nothing.
    fn edit(&mut self, now: &Snapshot) -> Snapshot {
        let mut items = now.items().to_vec();
        let (from, to) = (self.below(items.len() + 1), self.below(items.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        let new: Vec<Item> = (0..self.below(4)).map(|_| self.item()).collect();
        match self.below(12) {
            0 => drop(items.splice(from..to, new)),
            1 => drop(items.drain(from..to)),
            2 => items[from..to].iter_mut().step_by(2).for_each(|item| *item = Item::new(b"(cut)".as_slice())),
            3 => items.rotate_left(from),
            4 if self.below(4) == 0 => items = new,
            5 => {}
            _ => items.extend(new),
        }
        items.truncate(60);
        Snapshot::from_items(items, Limits::default()).expect("it is small")
    }
}
