//! Tasks through a pool on PostgreSQL.

mod commit;
mod drain;
mod group_commit;
mod server;
mod server_time;

use std::sync::Arc;

use forerunner::{Runtime, ThreadPlacement, store::Store};
use forerunner_postgres::{PostgresOptions, PostgresStore};

use self::{group_commit::GroupCommit, server::Server};
use crate::{
    Error, Options, backlog, ours,
    report::{Budget, Report, Row, Unit},
    rounds::{self, Contender, Progress, Samples},
    service, stored,
};

const OURS_1024: &str = "forerunner, 1,024 in flight";
const OURS_8: &str = "forerunner, 8 in flight";
const OURS_1: &str = "forerunner, 1 in flight";
const STORE_1024: &str = "its store alone, 1,024 in flight";
const BARE_1024: &str = "bare group commit, 1,024 in flight";
const BARE_8: &str = "bare group commit, 8 in flight";
const DRAIN: &str = "drain of a backlog";
const LONG: &str = "claim 16, long queue";
const SHORT: &str = "claim 16, 1,000 queued";

/// Callers of the store alone. Each has an equal share of the tasks in flight.
const CALLERS: usize = 4;

/// Measures tasks from submission to result on PostgreSQL, compared with a bare group commit, one commit, and the store
/// without a node; how fast a backlog is worked off; and claims from a long queue beside those from a short one.
///
/// # Errors
/// When something does not work; never because it is slow.
pub fn postgres(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let server = Arc::new(Server::start(options)?);
    let (long, short) = (server.database()?, server.database()?);
    for (database, count) in [(&long, options.backlog), (&short, backlog::FEW)] {
        backlog::filled(open(&database.url)?, count)?;
    }
    let claims = |name, url: &str| {
        let url = url.to_owned();
        backlog::claims(name, options.sample, move || open(&url))
    };
    let mut contenders = vec![
        contender(&server, options, OURS_1024, |options, url| in_flight(options, url, 1_024)),
        contender(&server, options, BARE_1024, |options, url| bare(options, url, 1_024)),
        contender(&server, options, STORE_1024, |options, url| store(options, url, 1_024)),
        contender(&server, options, OURS_8, |options, url| in_flight(options, url, 8)),
        contender(&server, options, BARE_8, |options, url| bare(options, url, 8)),
        contender(&server, options, OURS_1, round_trips),
        contender(&server, options, commit::NAME, |options, url| local(commit::sample(url, options.sample))),
        contender(&server, options, DRAIN, drain::sample),
        claims(LONG, &long.url),
        claims(SHORT, &short.url),
    ];
    // The processes of another server may be on another machine.
    if server.is_own() {
        let (warm_up, sample) = (options.warm_up(), options.sample);
        let measured = move |_: &Options, url: &str| local(server_time::ours(url, warm_up, sample));
        contenders.push(contender(&server, options, server_time::OURS, measured));
        let measured = move |_: &Options, url: &str| local(server_time::bare(url, warm_up, sample));
        contenders.push(contender(&server, options, server_time::BARE, measured));
    }
    let samples = rounds::measure(&contenders, options.repetitions, progress)?;
    let mut notes = vec![
        format!(
            "PostgreSQL{}; submission and result committed before they are answered; pool of {}.",
            if server.is_own() { " with the settings of a fresh one, on this machine" } else { "" },
            ours::AGENTS
        ),
        format!(
            "{}: accepted in one commit, ended in the next; no leases, priorities, keys, retries.",
            group_commit::NAME
        ),
        format!("The store alone: {CALLERS} callers that submit, claim and settle their share in batches."),
        format!("A backlog of {} tasks is worked off; the long queue holds {}.", drain::TASKS, options.backlog),
    ];
    notes.push(
        "What other queues on PostgreSQL do on the same server: crates/forerunner-bench/peers/run.sh.".to_owned(),
    );
    let mut rows = rows(&samples);
    if server.is_own() {
        let figure = |name| rounds::of(&samples, name).figure(0);
        let (ours, bare) = (figure(server_time::OURS), figure(server_time::BARE));
        let row = Row::compare("server's processor time a task", Unit::Micros, &ours, server_time::BARE, &bare);
        rows.push(row.with_budget(Budget::AtMost(16.0)));
    }
    Ok(Report::new("postgres", options, rows, notes))
}

fn rows(samples: &[Samples]) -> Vec<Row> {
    let figure = |name: &str, index| rounds::of(samples, name).figure(index);
    let compare = |what: &str, ours: &str, reference: &str| {
        Row::compare(what, Unit::TasksPerS, &figure(ours, 0), reference, &figure(reference, 0))
    };
    let round_trip = |what: &str, index| {
        Row::compare(what, Unit::Micros, &figure(OURS_1, index), commit::NAME, &figure(commit::NAME, index))
    };
    let mut rows = vec![
        compare("tasks, 1,024 in flight", OURS_1024, BARE_1024).with_budget(Budget::RatioAtLeast(0.5)),
        compare("tasks, 1,024 in flight", OURS_1024, STORE_1024),
        compare("store alone, 1,024 in flight", STORE_1024, BARE_1024),
        compare("tasks, 8 in flight", OURS_8, BARE_8),
        Row::alone("drain of a backlog", Unit::TasksPerS, &figure(DRAIN, 0), ""),
        round_trip("round trip, p50", 0).with_budget(Budget::RatioAtMost(3.0)),
        round_trip("round trip, p99", 1),
    ];
    rows.extend(backlog::claim_rows(samples, LONG, SHORT));
    rows
}

/// A contender with a database of its own, which is dropped after the sample.
fn contender(
    server: &Arc<Server>,
    options: &Options,
    name: &'static str,
    sample: impl Fn(&Options, &str) -> Result<Vec<f64>, Error> + Clone + Send + 'static,
) -> Contender {
    let (options, server) = (options.clone(), Arc::clone(server));
    Contender::new(name, move || sample(&options, &server.database()?.url))
}

fn open(url: &str) -> Result<Arc<dyn Store>, Error> {
    Ok(Arc::new(PostgresStore::open(url, PostgresOptions::default())?))
}

/// Runs on this thread.
fn local<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// A runtime with the pool on a database.
async fn start(url: &str) -> Result<ours::ForerunnerPool, Error> {
    ours::start_with(Runtime::builder().placement(ThreadPlacement::Spread(1)).store(open(url)?)).await
}

fn in_flight(options: &Options, url: &str, in_flight: usize) -> Result<Vec<f64>, Error> {
    actix_rt::System::new().block_on(async {
        let ours = start(url).await?;
        let rate = service::throughput(&ours, 1, in_flight, options.warm_up(), options.sample).await;
        ours.runtime.shutdown().await;
        Ok(vec![rate?])
    })
}

fn round_trips(options: &Options, url: &str) -> Result<Vec<f64>, Error> {
    actix_rt::System::new().block_on(async {
        let ours = start(url).await?;
        let micros = service::round_trips(&ours, options.warm_up(), options.sample).await;
        ours.runtime.shutdown().await;
        Ok(micros?.to_vec())
    })
}

fn bare(options: &Options, url: &str, in_flight: usize) -> Result<Vec<f64>, Error> {
    local(async {
        let bare = GroupCommit::start(url).await?;
        Ok(vec![service::throughput(&bare, 1, in_flight, options.warm_up(), options.sample).await?])
    })
}

fn store(options: &Options, url: &str, in_flight: usize) -> Result<Vec<f64>, Error> {
    local(async {
        let store = open(url)?;
        let rate = stored::throughput(&store, CALLERS, in_flight, options.warm_up(), options.sample).await?;
        store.close().await?;
        Ok(vec![rate])
    })
}
