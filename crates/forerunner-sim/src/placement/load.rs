//! Tasks with the contexts they need.

use std::path::Path;

use super::rows::{self, Row};
use crate::{Error, Trace};

/// One task, and what of its context was there before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlacementTask {
    /// Seconds from the begin to the arrival.
    pub arrival_s: f64,
    /// Seconds on an agent, without bringing the context there.
    pub service_s: f64,
    /// Which context.
    pub context: u32,
    /// The how many-th task of its context, from 0: the version of the context that it makes.
    pub turn: u32,
    /// Size of the context, in bytes.
    pub bytes: u64,
    /// How many of its first bytes are those of the turn before.
    pub shared_bytes: u64,
    /// How many of its first bytes other contexts share, such as a system prompt: they are resident in every agent.
    pub base_bytes: u64,
}

/// Tasks in order of arrival, with their contexts.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacementLoad {
    name: String,
    tasks: Vec<PlacementTask>,
    /// The turns of each context, as places in `tasks`.
    turns: Vec<Vec<u32>>,
}

impl PlacementLoad {
    /// Joins a trace with the blocks of its tasks' contexts, row by row.
    ///
    /// The file of blocks is CSV, plain or in gzip. It has either the columns `arrival_s,session,blocks,shared_blocks`
    /// (size of the context in blocks, and how many of the first are those of the session's last task) or
    /// `arrival_s,hash_ids` (the blocks' ids, separated by spaces; an id identifies its block and all before it). With
    /// the second form the trace has the session of a task, and a task without one is a session of its own.
    /// `block_bytes` is the size of a block; by default 256 for the first form and 2,048 for the second (64 and 512
    /// tokens of four bytes).
    ///
    /// # Errors
    /// Names file, line and value of the first invalid entry, or the first that does not match the trace.
    pub fn read(trace: &Trace, blocks: impl AsRef<Path>, block_bytes: Option<u64>) -> Result<Self, Error> {
        let (rows, usual_bytes) = rows::read(blocks.as_ref(), trace)?;
        let block_bytes = block_bytes.unwrap_or(usual_bytes);
        let tasks = trace.tasks().iter().zip(rows).map(|(task, row)| {
            let Row { context, blocks, shared, base } = row;
            PlacementTask {
                arrival_s: task.arrival_s,
                service_s: task.service_s,
                context,
                turn: 0,
                bytes: blocks * block_bytes,
                shared_bytes: shared * block_bytes,
                base_bytes: base * block_bytes,
            }
        });
        Ok(Self::new(trace.name(), tasks.collect()))
    }

    /// Numbers the turns of tasks, which are in order of arrival.
    pub fn new(name: impl Into<String>, mut tasks: Vec<PlacementTask>) -> Self {
        let mut turns: Vec<Vec<u32>> = Vec::new();
        for (place, task) in tasks.iter_mut().enumerate() {
            let context = task.context as usize;
            if turns.len() <= context {
                turns.resize(context + 1, Vec::new());
            }
            task.turn = turns[context].len() as u32;
            turns[context].push(place as u32);
        }
        Self { name: name.into(), tasks, turns }
    }

    /// The first `count` tasks.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self::new(self.name.clone(), self.tasks.iter().take(count).copied().collect())
    }

    /// Name of the trace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tasks in order of arrival.
    pub fn tasks(&self) -> &[PlacementTask] {
        &self.tasks
    }

    /// Bytes of all contexts, summed over the tasks.
    pub fn bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.bytes).sum()
    }

    /// Share of the bytes that need not be moved if no context is ever evicted, and every agent has what any agent has.
    pub fn limit(&self) -> f64 {
        let shared: u64 = self.tasks.iter().map(|task| task.shared_bytes.max(task.base_bytes)).sum();
        shared as f64 / self.bytes().max(1) as f64
    }

    /// How many of the first bytes of a task's context are those of another turn of it.
    pub(super) fn common_bytes(&self, task: usize, turn: u32) -> u64 {
        let task = &self.tasks[task];
        let turns = &self.turns[task.context as usize];
        let (early, late) = (task.turn.min(turn) as usize, task.turn.max(turn) as usize);
        let ends = [turns[early], turns[late]].map(|place| self.tasks[place as usize].bytes);
        let between = turns[early + 1..=late].iter().map(|place| self.tasks[*place as usize].shared_bytes);
        between.chain(ends).min().unwrap_or(0)
    }
}
