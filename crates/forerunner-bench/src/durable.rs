//! Tasks through a pool on disk.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use forerunner::{
    Runtime, ThreadPlacement,
    store::{SqliteOptions, SqliteStore, Store},
};
use tokio::time::Instant;

use crate::{
    Error, Options, ours,
    report::{Budget, Report, Row, Unit},
    rounds::{self, Contender, Progress},
    service, stored,
};

const OURS_512: &str = "forerunner, 512 in flight";
const OURS_1024: &str = "forerunner, 1,024 in flight";
const STORE_512: &str = "its store alone, 512 in flight";
const STORE_1024: &str = "its store alone, 1,024 in flight";
const DISK: &str = "append and fdatasync, 1,024 a group";

/// Callers of the store alone: each has its share of what is in flight in one batch, so that one batch is made durable
/// while the others are gathered.
const CALLERS: usize = 4;
/// Size of a record of the bare disk loop, in bytes: about that of a small task with its result.
const RECORD: usize = 256;

/// Measures tasks from submission to result, both durable, next to the store alone and the disk alone.
///
/// # Errors
/// When something fails; never because it is slow.
pub fn durable(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let contenders = [
        contender(options, OURS_512, |options, file| ours(options, file, 512)),
        contender(options, STORE_512, |options, file| store(options, file, 512)),
        contender(options, OURS_1024, |options, file| ours(options, file, 1_024)),
        contender(options, STORE_1024, |options, file| store(options, file, 1_024)),
        contender(options, DISK, disk),
    ];
    let samples = rounds::measure(&contenders, options.repetitions, progress)?;
    let figure = |name: &str| rounds::of(&samples, name).figure(0);
    let compare = |what: &str, ours: &str, reference: &str| {
        Row::compare(what, Unit::TasksPerS, &figure(ours), reference, &figure(reference))
    };
    let rows = vec![
        compare("tasks, 512 in flight", OURS_512, STORE_512).with_budget(Budget::RatioAtLeast(0.5)),
        compare("tasks, 1,024 in flight", OURS_1024, STORE_1024).with_budget(Budget::RatioAtLeast(0.5)),
        Row::alone("tasks, 1,024 in flight", Unit::TasksPerS, &figure(OURS_1024), "")
            .with_budget(Budget::AtLeast(35_000.0)),
        compare("tasks, 1,024 in flight", OURS_1024, DISK),
        compare("store alone, 1,024 in flight", STORE_1024, DISK),
    ];
    let notes = vec![
        format!("SQLite; submission and result each on disk before they are answered; pool of {}.", ours::AGENTS),
        format!("The store alone: {CALLERS} callers that submit, claim and settle their share in batches."),
        format!("The disk alone: two records of {RECORD} B a task, one group for each half, one fdatasync a group."),
    ];
    Ok(Report::new("durable", options, rows, notes))
}

/// A contender with its own directory, removed after the sample.
fn contender(
    options: &Options,
    name: &'static str,
    sample: impl Fn(&Options, &Path) -> Result<f64, Error> + Clone + Send + 'static,
) -> Contender {
    let options = options.clone();
    Contender::new(name, move || {
        let files = tempfile::tempdir_in(&options.directory)?;
        Ok(vec![sample(&options, &files.path().join("tasks.db"))?])
    })
}

fn ours(options: &Options, file: &Path, in_flight: usize) -> Result<f64, Error> {
    actix_rt::System::new().block_on(async {
        let ours = ours::start_with(Runtime::builder().placement(ThreadPlacement::Spread(1)).sqlite(file)).await?;
        let rate = service::throughput(&ours, 1, in_flight, options.warm_up(), options.sample).await;
        ours.runtime.shutdown().await;
        rate
    })
}

fn store(options: &Options, file: &Path, in_flight: usize) -> Result<f64, Error> {
    let thread = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file, SqliteOptions::default())?);
    thread.block_on(async {
        let rate = stored::throughput(&store, CALLERS, in_flight, options.warm_up(), options.sample).await?;
        store.close().await?;
        Ok(rate)
    })
}

/// Appends groups of records and waits for the disk after each.
fn disk(options: &Options, file: &Path) -> Result<f64, Error> {
    const GROUP: usize = 1_024;
    let mut file = File::create_new(file)?;
    let group = vec![b'x'; RECORD * GROUP];
    let begun = Instant::now();
    let mut groups = 0_u64;
    while begun.elapsed() < options.sample {
        file.write_all(&group)?;
        file.sync_data()?;
        groups += 1;
    }
    // One record when a task is accepted, one when it ends.
    Ok((groups * GROUP as u64) as f64 / 2.0 / begun.elapsed().as_secs_f64())
}
