//! `forerunner placement`: where tasks with contexts land, policy by policy, in virtual time.

mod args;
mod table;

pub use args::PlacementArgs;
use forerunner_console::{Usage, output::Output, progress};
use forerunner_sim::{PlacementLoad, PlacementReport, Trace, replay_placement};

use self::table::Row;
use crate::markers;

/// Replays, then shows the figures and writes the requested table.
pub async fn run(args: PlacementArgs, out: &Output) -> anyhow::Result<()> {
    let (args, reports) = tokio::task::spawn_blocking(move || {
        let reports = replay(&args);
        (args, reports)
    })
    .await?;
    let rows = Row::all(reports?);
    if let Some(path) = &args.table {
        markers::write(path, "placement", &table::markdown(&rows))?;
    }
    out.show(&rows, || table::text(&rows))
}

fn replay(args: &PlacementArgs) -> anyhow::Result<Vec<PlacementReport>> {
    let unusable = |error: forerunner_sim::Error| Usage(error.to_string());
    let trace = Trace::read(&args.trace).map_err(unusable)?;
    let load = PlacementLoad::read(&trace, &args.blocks, args.block).map_err(unusable)?;
    let load = match args.tasks {
        Some(count) => load.first(count as usize),
        None => load,
    };
    let (runs, tasks) = (args.runs(), load.tasks().len() as u64);
    let bar = progress::bar(tasks * runs.len() as u64, "tasks");
    let mut reports = Vec::with_capacity(runs.len());
    for (policy, settings) in &runs {
        let done = tasks * reports.len() as u64;
        reports.push(replay_placement(&load, *policy, settings, |begun| bar.set_position(done + begun as u64)));
    }
    bar.finish_and_clear();
    Ok(reports)
}
