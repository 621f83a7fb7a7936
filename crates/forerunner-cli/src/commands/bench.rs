//! `forerunner bench`: measurements of this machine.

mod agents;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use forerunner_bench::{Error, Load, Options, Progress, Report};
use forerunner_console::{output::Output, progress};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time to the first piece of an answer of coding agents, cold and warm.
    Agents(agents::AgentsArgs),
    /// Tasks through a pool in process, memory store.
    InProcess(BenchArgs),
    /// Tasks over HTTP, memory store and disk.
    Http(BenchArgs),
    /// Tasks through a pool on disk.
    Durable(BenchArgs),
    /// Claims and starts with a million tasks queued on disk.
    Backlog(BenchArgs),
    /// Instructions of a task and of a request, by callgrind.
    Instructions(BenchArgs),
    /// An exact amount of load, for a profiler.
    #[command(hide = true)]
    Load {
        /// What runs.
        kind: Load,
        /// How many tasks.
        count: u64,
        /// Where a store on disk is put.
        #[arg(long, default_value = ".", value_name = "DIRECTORY")]
        directory: PathBuf,
    },
    /// Tasks through a pool on PostgreSQL, and claims with a million tasks queued there.
    Postgres {
        #[command(flatten)]
        args: BenchArgs,
        /// Server to measure, in databases of its own; default: a server that the benchmark starts.
        #[arg(long, value_name = "URL")]
        store: Option<String>,
    },
}

/// How long and how often to measure.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Seconds of one sample.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: f64,
    /// Samples of each contender; medians are shown.
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub repetitions: u32,
    /// Where files go that measure the disk; removed afterwards.
    #[arg(long, default_value = ".", value_name = "DIRECTORY")]
    pub directory: PathBuf,
    /// Tasks in a long queue.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub backlog: u32,
    /// See only that everything works: one short sample each.
    #[arg(long, conflicts_with_all = ["seconds", "repetitions", "backlog"])]
    pub quick: bool,
}

type Measurement = fn(&Options, &mut dyn FnMut(Progress)) -> Result<Report, Error>;

/// Measures and shows the figures.
pub async fn run(command: BenchCommand, out: &Output) -> anyhow::Result<()> {
    let (measure, args, store): (Measurement, _, _) = match command {
        BenchCommand::Agents(args) => return agents::run(&args, out).await,
        BenchCommand::InProcess(args) => (forerunner_bench::in_process, args, None),
        BenchCommand::Http(args) => (forerunner_bench::http, args, None),
        BenchCommand::Durable(args) => (forerunner_bench::durable, args, None),
        BenchCommand::Backlog(args) => (forerunner_bench::backlog, args, None),
        BenchCommand::Instructions(args) => (forerunner_bench::instructions, args, None),
        BenchCommand::Load { kind, count, directory } => {
            actix_rt::task::spawn_blocking(move || kind.run(count, directory)).await??;
            return Ok(());
        }
        BenchCommand::Postgres { args, store } => (forerunner_bench::postgres, args, store),
    };
    let options = Options { postgres: store, ..options(args) };
    let report = actix_rt::task::spawn_blocking(move || {
        let bar = progress::bar(0, "samples");
        let report = measure(&options, &mut |progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
        });
        bar.finish_and_clear();
        report
    });
    let report = report.await??;
    out.show(&report, || report.table())
}

fn options(args: BenchArgs) -> Options {
    if args.quick {
        return Options { directory: args.directory, ..Options::quick() };
    }
    let sample = Duration::from_secs_f64(args.seconds);
    let backlog = args.backlog as usize;
    let repetitions = args.repetitions as usize;
    Options { repetitions, sample, directory: args.directory, backlog, ..Options::thorough() }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("use 0.01 to 600".to_owned()),
    }
}
