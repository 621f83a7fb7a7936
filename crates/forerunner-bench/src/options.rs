//! How long and how often to measure.

use std::{path::PathBuf, time::Duration};

/// How long and how often to measure, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often each contender is measured. Odd, so that the median is a figure that was measured.
    pub repetitions: usize,
    /// Duration of a sample. Before it, a tenth of it is run and discarded.
    pub sample: Duration,
    /// Directory for the files of durable measurements, removed afterwards. It must be on the disk to measure.
    pub directory: PathBuf,
    /// Tasks that wait where a long queue is measured.
    pub backlog: usize,
    /// Address of the PostgreSQL server to measure; without it, the measurement starts one.
    pub postgres: Option<String>,
    /// Program that callgrind runs, with `bench load …`; by default the running one.
    pub program: Option<PathBuf>,
    /// Tasks of the shorter and of the longer run below callgrind.
    pub counts: [u64; 2],
}

impl Options {
    /// Enough to distinguish a ratio of 1.1 from 1 on a quiet machine.
    pub fn thorough() -> Self {
        Self {
            repetitions: 5,
            sample: Duration::from_secs(1),
            directory: PathBuf::from("."),
            backlog: 1_000_000,
            postgres: None,
            program: None,
            counts: [10_000, 30_000],
        }
    }

    /// Only enough to see that everything works. The figures mean nothing.
    pub fn quick() -> Self {
        Self {
            repetitions: 1,
            sample: Duration::from_millis(20),
            directory: std::env::temp_dir(),
            backlog: 2_000,
            postgres: None,
            program: None,
            counts: [200, 600],
        }
    }

    /// How long a contender warms up before a sample.
    pub(crate) fn warm_up(&self) -> Duration {
        self.sample / 10
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::thorough()
    }
}
