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

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It has begun.
    Started,
    /// It has had its effect, and will answer now.
    Effect,
}

/// The file that the agents of [`Pool::writing`](crate::Pool::writing) append two lines to for each run: when they begin,
/// and before they answer.
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

    /// Reads all completed runs; none if the file does not exist yet.
    ///
    /// # Panics
    /// If a line is torn: each is one `write` in append mode, which the kernel does not interleave.
    pub fn read(&self) -> Vec<Effect> {
        self.steps().into_iter().filter(|(step, _)| *step == Step::Effect).map(|(_, effect)| effect).collect()
    }

    /// Reads all lines, in order.
    pub(crate) fn steps(&self) -> Vec<(Step, Effect)> {
        fs::read_to_string(&self.0).unwrap_or_default().lines().map(parse).collect()
    }
}

fn parse(line: &str) -> (Step, Effect) {
    let fields: Vec<&str> = line.split(' ').collect();
    let [step, task, attempt, pid] = fields[..] else { panic!("a step is `step task attempt pid`, not `{line}`") };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{text}` of `{line}` is no number"));
    let step = match step {
        "started" => Step::Started,
        "effect" => Step::Effect,
        other => panic!("`{other}` of `{line}` is no step"),
    };
    (step, Effect { task: task.to_owned(), attempt: number(attempt), pid: number(pid) })
}
