//! Random histories of contexts on several nodes with random crashes: what is restored is what was last committed.

use std::{collections::HashMap, ops::AddAssign, sync::Arc, time::Duration};

use forerunner_context::{Item, Limits, Snapshot};
use forerunner_core::{ContextId, NewTask, Next, NodeId, Payload, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{Claim, ContextCommit, HeldVersion, MemoryStore, Rescue, Settlement, Store, Submission};
use tokio::sync::Semaphore;

use crate::{
    contexts::{Commit, Compaction, CompactorDeps, Memory, NodeContexts, PoolCodecs, Source},
    metrics::PoolMetrics,
};

/// Nodes that take turns.
const NODES: usize = 2;
/// Contexts that share items.
const CONTEXTS: usize = 3;

/// Makes a store from the one before, as after a crash or a restart of its process.
pub type Reopen = dyn Fn(Arc<dyn Store>) -> Arc<dyn Store>;

/// How many of each kind of thing happened, so that a test can tell that they did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// Turns that were committed.
    pub commits: u64,
    /// Turns that were lost before their commit.
    pub crashes: u64,
    /// Restarts of nodes.
    pub restarts: u64,
    /// Contexts read back from the store, whole or in part.
    pub restores: u64,
    /// Chains that were looked after.
    pub tended: u64,
    /// Chains that were replaced by a fresh base.
    pub rebases: u64,
    /// Contexts that were deleted.
    pub deletions: u64,
}

impl AddAssign for HistoryCounts {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.restores += other.restores;
        self.tended += other.tended;
        self.rebases += other.rebases;
        self.deletions += other.deletions;
    }
}

/// Lives through a history that follows from `seed`, and checks after each step that a stranger who reads the store gets
/// the very bytes that were last committed.
///
/// # Panics
/// When that is not so; the message names the seed.
pub async fn live_through(store: Arc<dyn Store>, reopen: &Reopen, seed: u64) -> (Arc<dyn Store>, HistoryCounts) {
    let mut world = World::new(store, seed);
    for _ in 0..world.chance.below(30) + 5 {
        world.step(reopen).await;
    }
    world.finish_all().await;
    world.check_all().await;
    (world.store, world.happened)
}

/// A node: what it holds, what it knows of the pool's contexts, and what one of its agents holds.
struct Simulated {
    held: NodeContexts,
    codecs: Arc<PoolCodecs>,
    agent: Option<Memory>,
}

impl Simulated {
    fn new() -> Self {
        // Small enough that contexts make room for each other.
        Self { held: NodeContexts::new(40_000), codecs: Arc::new(PoolCodecs::new(None)), agent: None }
    }
}

struct World {
    store: Arc<dyn Store>,
    chance: Chance,
    seed: u64,
    pool: PoolName,
    nodes: Vec<Simulated>,
    committed: HashMap<ContextId, Vec<Vec<u8>>>,
    /// Chains to be looked after at some time.
    tends: Vec<(usize, Compaction)>,
    clock: i64,
    happened: HistoryCounts,
}

impl World {
    fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        Self {
            store,
            chance: Chance(seed),
            seed,
            pool: PoolName::new(format!("pool-{seed}")).expect("a pool name"),
            nodes: (0..NODES).map(|_| Simulated::new()).collect(),
            committed: HashMap::new(),
            tends: Vec::new(),
            clock: 1_700_000_000_000_000,
            happened: HistoryCounts::default(),
        }
    }

    async fn step(&mut self, reopen: &Reopen) {
        let context = ContextId::new(format!("context-{}", self.chance.below(CONTEXTS))).expect("an id");
        let node = self.chance.below(NODES);
        match self.chance.below(20) {
            0 => {
                self.nodes[node] = Simulated::new();
                self.happened.restarts += 1;
                if self.chance.below(3) == 0 {
                    // Nobody else holds it: a file is closed when it is gone.
                    let nothing: Arc<dyn Store> = Arc::new(MemoryStore::default());
                    self.store = reopen(std::mem::replace(&mut self.store, nothing));
                }
            }
            1 => self.delete(&context).await,
            2..5 if !self.tends.is_empty() => self.tend().await,
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
        let settlement =
            Settlement { task: task.id, epoch: task.epoch, now, next, context, context_cost: None, started: None };
        self.store.settle(vec![settlement]).await.expect("the store works").remove(0).is_ok()
    }

    /// Has an agent of a node restore the context, and change it. Answers what it would commit.
    async fn work(&mut self, node: usize, task: &Task) -> Option<Commit> {
        let context = task.context.clone().expect("the task has one");
        let wanted = HeldVersion { born: task.context_born, version: task.context_version };
        let Simulated { held, codecs: book, agent } = &mut self.nodes[node];
        let agent = agent.take();
        let source = Source { store: &*self.store, pool: &self.pool, node: held };
        let warm = source.restore_context(context.clone(), wanted, agent, book).await;
        let warm = warm.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.happened.restores += u64::from(warm.cost.restored_bytes > 0);
        let committed = self.committed.get(&context).cloned().unwrap_or_default();
        assert_eq!(bytes(&warm.memory.snapshot), committed, "seed {}: {:?}", self.seed, warm.cost.source);
        let next = self.chance.edit(&warm.memory.snapshot);
        warm.memory.advance(next, task.id, &self.nodes[node].codecs).expect("it is within the limits")
    }

    async fn turn(&mut self, node: usize, context: &ContextId) {
        let task = self.claim(node, Some(context)).await;
        let Some(Commit { commit, memory: held, compaction: tend, .. }) = self.work(node, &task).await else {
            assert!(self.settle(&task, None).await);
            return;
        };
        let stored = self.settle(&task, Some(commit)).await;
        assert!(stored, "seed {}: the commit was refused", self.seed);
        self.happened.commits += 1;
        self.committed.insert(context.clone(), bytes(&held.snapshot));
        self.tends.extend(tend.map(|tend| (node, tend)));
        // The agent may die right after its result is stored, and then nobody has heard of it.
        if self.chance.below(8) > 0 {
            let held = self.nodes[node].held.insert(&self.pool, held);
            self.nodes[node].agent = Some(held);
        }
    }

    /// A turn that is lost before its commit: another node takes the task over.
    async fn crash(&mut self, node: usize, context: &ContextId) {
        let task = self.claim(node, Some(context)).await;
        let lost = self.work(node, &task).await;
        let other = (node + 1) % NODES;
        let now = self.now();
        self.store.rescue(Rescue::AllBut { node: node_id(other), now }).await.expect("the store works");
        if let Some(Commit { commit, .. }) = lost {
            assert!(!self.settle(&task, Some(commit)).await, "seed {}: a lost lease committed", self.seed);
        }
        self.nodes[node].held.evict(&self.pool, context);
        let again = self.claim(other, None).await;
        assert!(self.settle(&again, None).await);
        self.happened.crashes += 1;
    }

    async fn delete(&mut self, context: &ContextId) {
        let deleted = self.store.delete_context(self.pool.clone(), context.clone()).await.expect("the store works");
        assert_eq!(deleted.is_ok(), self.committed.remove(context).is_some(), "seed {}", self.seed);
        // The nodes are not told: what they hold is another context.
        self.happened.deletions += u64::from(deleted.is_ok());
    }

    /// Looks after a chain, whatever has come since.
    async fn tend(&mut self) {
        let (node, tend) = self.tends.swap_remove(self.chance.below(self.tends.len()));
        let tools = CompactorDeps {
            store: Arc::clone(&self.store),
            pool: self.pool.clone(),
            codecs: Arc::clone(&self.nodes[node].codecs),
            metrics: PoolMetrics::new(&self.pool).contexts,
            permits: Arc::new(Semaphore::new(1)),
        };
        self.happened.rebases += u64::from(tend.finish(&tools).await);
        self.happened.tended += 1;
    }

    async fn finish_all(&mut self) {
        while !self.tends.is_empty() {
            self.tend().await;
        }
    }

    async fn check_all(&self) {
        for context in self.committed.keys() {
            self.check(context).await;
        }
    }

    /// Reads a context as a stranger does who knows nothing.
    async fn check(&self, context: &ContextId) {
        let (stranger, book) = (NodeContexts::new(1 << 20), Arc::new(PoolCodecs::new(None)));
        let source = Source { store: &*self.store, pool: &self.pool, node: &stranger };
        let wanted = HeldVersion { born: u64::MAX, version: u64::MAX };
        let warm = source.restore_context(context.clone(), wanted, None, &book).await;
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

/// Numbers that follow from a seed (SplitMix64, Steele et al. 2014).
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

    /// An item: mostly short and new, at times one that others have, rarely long.
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

    /// What an agent does to its context: appends, cuts, replaces, sums up, moves, begins anew, or nothing.
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
