//! How long and how often to measure.

use std::{path::PathBuf, time::Duration};

/// How long and how often to measure, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often each contender is measured. Odd, so that the median is a figure that was measured.
    pub repetitions: usize,
    /// How long one sample takes. Before it, a tenth of it is run and thrown away.
    pub sample: Duration,
    /// Where durable measurements put their files; removed afterwards. On the disk that is to be measured.
    pub directory: PathBuf,
    /// Tasks that wait where a long queue is measured.
    pub backlog: usize,
    /// Address of the PostgreSQL server that is measured; unless said, one is started for the measurement.
    pub postgres: Option<String>,
    /// Program that callgrind runs, with `bench load …`; the running one unless said.
    pub program: Option<PathBuf>,
    /// Tasks of the shorter and of the longer run below callgrind.
    pub counts: [u64; 2],
}

impl Options {
    /// Enough to tell a ratio of 1.1 from 1 on a quiet machine.
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

    /// Just enough to see that everything works. The figures mean nothing.
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
