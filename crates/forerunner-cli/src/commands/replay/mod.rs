//! `forerunner replay`: traces under every policy, in virtual time.

mod args;
mod bounds;
mod files;
mod html;
mod plot;
mod rules;
mod run;
mod study;
mod summary;
mod table;
mod traces;
mod watch;
mod workers;

pub use args::{ReplayArgs, seconds, share};

use self::study::{Row, Study};
use crate::{
    exit::Usage,
    output::{self, Output},
};

/// Replays, then shows the figures and writes the files asked for.
pub async fn run(args: ReplayArgs, out: &Output) -> anyhow::Result<()> {
    args.check()?;
    let (sources, notes) = traces::read(&args.traces, args.warmup)?;
    notes.iter().for_each(|note| output::note(&out.faint(note)));
    if args.timeline.as_ref().or(args.observations.as_ref()).is_some() && sources.len() != 1 {
        return Err(Usage("--timeline and --observations are of one replay; name one trace".to_owned()).into());
    }
    let (args, replayed) = actix_rt::task::spawn_blocking(move || {
        let replayed = run::run(&args, &sources);
        (args, replayed)
    })
    .await?;
    let (study, kept) = replayed?;
    if let Some(path) = &args.timeline {
        files::timeline(path, &kept.timeline)?;
    }
    if let Some(path) = &args.report {
        files::write(path, &html::page(&study))?;
    }
    if let Some(path) = &args.table {
        summary::write(path, &study)?;
    }
    show(&args, &study, out)
}

fn show(args: &ReplayArgs, study: &Study, out: &Output) -> anyhow::Result<()> {
    let rows: Vec<Row> = (0..study.cells.len()).flat_map(|cell| study.rows(cell)).collect();
    out.show(&rows, || match args.what_if.is_empty() {
        true => table::compare(study, out),
        false => table::what_if(study, out),
    })
}
