//! Tasks through a pool in this process.

use forerunner::ThreadPlacement;

#[cfg(feature = "peers")]
use crate::reference::FactoryPool;
use crate::{
    Error, Options, idle_agents,
    ours::{self, AGENTS, IN_FLIGHT},
    reference::{Dispatcher, RoundRobin},
    report::{Budget, Report, Row, Unit},
    rounds::{self, Contender, Progress, Samples},
    service::{self, Service},
};

const OURS: &str = "forerunner";
const OURS_ONE: &str = "forerunner, one thread";
const DISPATCHER: &str = "dispatcher with an idle list";
const DISPATCHER_ONE: &str = "dispatcher, one thread";
const ROUND_ROBIN: &str = "mpsc per worker, round robin";
#[cfg(feature = "peers")]
const FACTORY: &str = "ractor factory";
#[cfg(not(feature = "peers"))]
const FACTORY: &str = "ractor factory (build with --features peers)";

/// Workers of each reference: as many as the pool has agents.
const WORKERS: usize = AGENTS as usize;

/// Figures of a sample, in order.
const ONE_SUBMITTER: usize = 0;
const FOUR_SUBMITTERS: usize = 1;
const P50: usize = 2;
const P99: usize = 3;

/// Measures tasks that do nothing: a number in, the same number out, through a pool of eight, without a disk.
///
/// # Errors
/// When something fails; never because it is slow.
pub fn in_process(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    // First, while the process has no memory that is free for reuse.
    let idle_bytes = on_own_thread(idle_agents::bytes_each)?;
    let samples = rounds::measure(&contenders(options), options.repetitions, progress)?;
    let notes = vec![
        format!("Tasks that do nothing through {AGENTS} workers, {IN_FLIGHT} in flight, result returned."),
        "The references store nothing: no state, no lease, no retry, no answer for who asks later.".to_owned(),
    ];
    let mut rows = rows(&samples);
    rows.push(Row::alone("idle agent actor", Unit::Bytes, &[idle_bytes], "").with_budget(Budget::AtMost(4_096.0)));
    Ok(Report::new("in-process", options, rows, notes))
}

fn on_own_thread(measure: fn() -> Result<f64, Error>) -> Result<f64, Error> {
    std::thread::spawn(measure).join().map_err(|_| Error::Panicked)?
}

fn contenders(options: &Options) -> Vec<Contender> {
    let mut contenders = Vec::new();
    let ours = |placement| {
        let options = options.clone();
        move || {
            actix_rt::System::new().block_on(async {
                let ours = ours::start(placement).await?;
                let figures = figures(&ours, &options).await;
                ours.runtime.shutdown().await;
                figures
            })
        }
    };
    contenders.push(Contender::new(OURS, ours(ThreadPlacement::Spread(1))));
    let dispatcher = async || Ok(Dispatcher::start(WORKERS));
    contenders.push(Contender::new(DISPATCHER, on_two_threads(options, dispatcher)));
    #[cfg(feature = "peers")]
    contenders.push(Contender::new(FACTORY, on_two_threads(options, async || FactoryPool::start(WORKERS).await)));
    contenders.push(Contender::new(ROUND_ROBIN, on_two_threads(options, async || Ok(RoundRobin::start(WORKERS)))));
    contenders.push(Contender::new(OURS_ONE, ours(ThreadPlacement::Current)));
    contenders.push(Contender::new(DISPATCHER_ONE, on_one_thread(options, dispatcher)));
    contenders
}

/// A reference whose workers run on one thread and whose submitters run on another, like the product.
fn on_two_threads<S: Service>(
    options: &Options,
    start: impl AsyncFn() -> Result<S, Error> + Clone + Send + 'static,
) -> impl Fn() -> Result<Vec<f64>, Error> + Clone + Send + 'static {
    let options = options.clone();
    move || {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        workers.block_on(async { figures(&start().await?, &options).await })
    }
}

/// A reference whose workers share their thread with the submitters.
fn on_one_thread<S: Service>(
    options: &Options,
    start: impl AsyncFn() -> Result<S, Error> + Clone + Send + 'static,
) -> impl Fn() -> Result<Vec<f64>, Error> + Clone + Send + 'static {
    let options = options.clone();
    move || {
        let thread = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread.block_on(async { figures(&start().await?, &options).await })
    }
}

async fn figures<S: Service>(service: &S, options: &Options) -> Result<Vec<f64>, Error> {
    let (warm_up, sample) = (options.warm_up(), options.sample);
    let one = service::throughput(service, 1, IN_FLIGHT, warm_up, sample).await?;
    let four = service::throughput(service, 4, IN_FLIGHT, warm_up, sample).await?;
    let [p50, p99] = service::round_trips(service, warm_up, sample / 4).await?;
    Ok(vec![one, four, p50, p99])
}

fn rows(samples: &[Samples]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, figure) in [("tasks, 1 submitter", ONE_SUBMITTER), ("tasks, 4 submitters", FOUR_SUBMITTERS)] {
        let compare = |reference| compare(samples, what, Unit::TasksPerS, OURS, reference, figure);
        rows.push(factory_row(samples, what, figure).with_budget(Budget::RatioAtLeast(4.5)));
        rows.push(compare(DISPATCHER).with_budget(Budget::RatioAtLeast(0.8)));
        rows.push(compare(ROUND_ROBIN));
        let what = format!("{what}, one thread");
        let one_thread = self::compare(samples, &what, Unit::TasksPerS, OURS_ONE, DISPATCHER_ONE, figure);
        rows.push(one_thread.with_budget(Budget::RatioAtLeast(0.5)));
    }
    for (what, ours, reference) in
        [("round trip", OURS, DISPATCHER), ("round trip, one thread", OURS_ONE, DISPATCHER_ONE)]
    {
        let p50 = compare(samples, &format!("{what}, p50"), Unit::Micros, ours, reference, P50);
        rows.push(p50.with_budget(Budget::AtMost(20.0)));
        rows.push(compare(samples, &format!("{what}, p99"), Unit::Micros, ours, reference, P99));
    }
    rows
}

fn compare(samples: &[Samples], what: &str, unit: Unit, ours: &str, reference: &str, figure: usize) -> Row {
    let theirs = rounds::of(samples, reference).figure(figure);
    Row::compare(what, unit, &rounds::of(samples, ours).figure(figure), reference, &theirs)
}

#[cfg(feature = "peers")]
fn factory_row(samples: &[Samples], what: &str, figure: usize) -> Row {
    compare(samples, what, Unit::TasksPerS, OURS, FACTORY, figure)
}

#[cfg(not(feature = "peers"))]
fn factory_row(samples: &[Samples], what: &str, figure: usize) -> Row {
    Row::alone(what, Unit::TasksPerS, &rounds::of(samples, OURS).figure(figure), FACTORY)
}
