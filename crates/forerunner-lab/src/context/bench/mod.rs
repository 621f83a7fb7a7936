//! `forerunner context bench`: bytes and time of each turn, on recorded sessions.
//!
//! Trains on one part of the sessions and measures the other. Everything but the times is the same on every run.

mod chains;
mod corpus;
mod edits;
mod measure;
mod report;
mod split;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use forerunner_console::{output::Output, progress};
use indicatif::ProgressBar;

use self::report::Report;
pub use self::{corpus::Corpus, edits::Edit, measure::learn};

/// Which recorded sessions to measure on.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Recorded sessions: JSON Lines, plain or in gzip, one session a line with its `messages`.
    #[arg(required = true, value_name = "CORPUS")]
    pub corpora: Vec<PathBuf>,
}

/// Measures and shows the figures.
pub async fn run(args: BenchArgs, out: &Output) -> anyhow::Result<()> {
    let reports = tokio::task::spawn_blocking(move || {
        let bar = progress::bar(0, "turns");
        let reports: anyhow::Result<Vec<_>> = args.corpora.iter().map(|path| bench(path, &bar)).collect();
        bar.finish_and_clear();
        reports
    });
    let reports = reports.await??;
    out.show(&reports, || report::table(&reports))
}

fn bench(path: &Path, bar: &ProgressBar) -> anyhow::Result<Report> {
    let corpus = Corpus::read(path)?;
    let parts = split::halves(&corpus)?;
    measure::measure(&corpus.name, &parts, bar).with_context(|| format!("corpus {}", path.display()))
}
