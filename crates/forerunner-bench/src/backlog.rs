//! The cost of a long queue for claims and for starts.

use std::{path::Path, sync::Arc, time::Duration};

use forerunner::{
    Runtime, ThreadPlacement,
    store::{SqliteOptions, SqliteStore, Store},
};
use tokio::time::Instant;

use crate::{
    Error, Options, ours,
    report::{Budget, Report, Row, Unit},
    rounds::{self, Contender, Progress},
    stored::Caller,
};

/// A queue that is not long.
pub(crate) const FEW: usize = 1_000;

const LONG: &str = "claim 16, long queue";
const SHORT: &str = "claim 16, 1,000 queued";
const START: &str = "start";

/// Measures claims from a long queue beside claims from a short one, and how soon a pool with a long queue is up again:
/// in the embedded store.
///
/// # Errors
/// When something does not work; never because it is slow.
pub fn backlog(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let files = tempfile::tempdir_in(&options.directory)?;
    let (long, short) = (files.path().join("long.db"), files.path().join("short.db"));
    for (file, count) in [(&long, options.backlog), (&short, FEW)] {
        filled(open(file)?, count)?;
    }
    let contenders = [
        claims(LONG, options.sample, move_open(long.clone())),
        claims(SHORT, options.sample, move_open(short)),
        Contender::new(START, move || Ok(vec![start(&long)?])),
    ];
    let samples = rounds::measure(&contenders, options.repetitions, progress)?;
    let start = rounds::of(&samples, START).figure(0);
    let mut rows = claim_rows(&samples, LONG, SHORT).to_vec();
    rows.push(Row::alone("open and start the pool", Unit::Millis, &start, "").with_budget(Budget::AtMost(3_000.0)));
    let notes = vec![format!("SQLite; {} tasks queued in the long queue.", options.backlog)];
    Ok(Report::new("backlog", options, rows, notes))
}

fn open(file: &Path) -> Result<Arc<dyn Store>, Error> {
    Ok(Arc::new(SqliteStore::open(file, SqliteOptions::default())?))
}

fn move_open(file: std::path::PathBuf) -> impl Fn() -> Result<Arc<dyn Store>, Error> + Clone + Send {
    move || open(&file)
}

/// Fills an empty store, and closes it.
pub(crate) fn filled(store: Arc<dyn Store>, count: usize) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        Caller::new(&store, 0)?.fill(count).await?;
        Ok(store.close().await?)
    })
}

/// Measures claims in a store that is opened for the sample. Its tasks have numbers of their own.
pub(crate) fn claims(
    name: &'static str,
    sample: Duration,
    open: impl Fn() -> Result<Arc<dyn Store>, Error> + Clone + Send + 'static,
) -> Contender {
    Contender::new(name, move || {
        let store = open()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let figures = Caller::new(&store, 1)?.time_claims(sample).await?;
            store.close().await?;
            Ok(figures)
        })
    })
}

/// Claims from a long queue beside those from a short one.
pub(crate) fn claim_rows(samples: &[rounds::Samples], long: &str, short: &'static str) -> [Row; 2] {
    ["claim of 16, p50", "claim of 16, p99"].map(|what| {
        let index = usize::from(what.ends_with("p99"));
        let figure = |name| rounds::of(samples, name).figure(index);
        Row::compare(what, Unit::Millis, &figure(long), short, &figure(short)).with_budget(Budget::RatioAtMost(2.0))
    })
}

/// Milliseconds from opening the store until all agents are warm.
fn start(file: &Path) -> Result<f64, Error> {
    actix_rt::System::new().block_on(async {
        let begun = Instant::now();
        let store = open(file)?;
        let ours = ours::start_with(Runtime::builder().placement(ThreadPlacement::Spread(1)).store(store)).await?;
        let millis = begun.elapsed().as_secs_f64() * 1e3;
        ours.runtime.shutdown().await;
        Ok(millis)
    })
}
