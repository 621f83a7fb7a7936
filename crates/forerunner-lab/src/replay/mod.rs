//! `forerunner replay`: traces under every policy, in virtual time.

use forerunner_console::{
    Usage,
    output::{self, Output},
};

mod advice;
mod args;
mod bounds;
mod cell;
mod files;
mod html;
mod plot;
mod pool_block;
mod price;
mod rules;
mod run;
mod study;
mod summary;
mod table;
mod today;
mod traces;
mod watch;
mod windows;
pub(crate) mod workers;

pub use args::{PolicyArg, ReplayArgs};
pub use html::Theme;

use self::study::{Row, Study};

/// Replays, then shows the figures and writes the requested files. `theme` is that of the page.
///
/// # Errors
/// [`Usage`] for arguments that contradict each other and unusable traces; files that cannot be written.
pub async fn run(args: ReplayArgs, theme: Theme, out: &Output) -> anyhow::Result<()> {
    args.check()?;
    let (sources, notes) = traces::read(&args.traces, &args.import, args.warmup)?;
    notes.iter().for_each(|note| output::note(&out.faint(note)));
    if args.timeline.as_ref().or(args.observations.as_ref()).is_some() && sources.len() != 1 {
        return Err(Usage("--timeline and --observations are of one replay; name one trace".to_owned()).into());
    }
    if let Some(window_s) = args.windows {
        let found = tokio::task::spawn_blocking(move || windows::run(&args, window_s, &sources)).await?;
        let rows = found?;
        return out.show(&rows, || windows::table(&rows, out));
    }
    let (args, replayed) = tokio::task::spawn_blocking(move || {
        let replayed = run::run(&args, &sources);
        (args, replayed)
    })
    .await?;
    let (study, kept) = replayed?;
    if let Some(path) = &args.timeline {
        files::timeline(path, &kept.timeline)?;
    }
    if let Some(path) = &args.report {
        files::write(path, &html::page(&study, theme))?;
    }
    if let Some(path) = &args.table {
        summary::write(path, &study)?;
    }
    show(&args, &study, out)
}

fn show(args: &ReplayArgs, study: &Study, out: &Output) -> anyhow::Result<()> {
    let price = args.price.as_ref();
    let rows: Vec<Row> =
        (0..study.cells.len()).flat_map(|cell| study.rows(cell)).map(|row| row.priced(price)).collect();
    out.show(&rows, || match args.what_if.is_empty() {
        true => [table::compare(study, out), today::answers(study, price, out)].join(""),
        false => table::what_if(study, out),
    })
}
