//! What agents did, from a file that only they write.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One run of a task by an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Effect {
    /// The task's id.
    pub task: String,
    /// Which attempt it was.
    pub attempt: u64,
    /// The agent's process.
    pub pid: u64,
}

/// The file that the agents of [`Pool::writing`](crate::Pool::writing) append a line to for each run, before they answer.
#[derive(Debug, Clone)]
pub struct Effects(PathBuf);

impl Effects {
    /// Effects that are written to this file.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns where they are written to.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads all of them; none if the file is not there yet.
    ///
    /// # Panics
    /// If a line is torn: each is one `write` in append mode, which the kernel does not interleave.
    pub fn read(&self) -> Vec<Effect> {
        fs::read_to_string(&self.0).unwrap_or_default().lines().map(parse).collect()
    }
}

fn parse(line: &str) -> Effect {
    let fields: Vec<&str> = line.split(' ').collect();
    let [task, attempt, pid] = fields[..] else { panic!("an effect is `task attempt pid`, not `{line}`") };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{text}` of `{line}` is no number"));
    Effect { task: task.to_owned(), attempt: number(attempt), pid: number(pid) }
}
