//! Tasks over HTTP, on the loopback device.

pub(crate) mod client;
pub(crate) mod server;

use self::{client::Request, server::Running};
use crate::{
    Error, Options,
    ours::{AGENTS, POOL},
    report::{Budget, Report, Row, Unit},
    rounds::{self, Contender, Progress},
};

/// Connections with keep-alive, each with one request in flight.
const CONNECTIONS: usize = 64;
/// Threads that serve.
const WORKERS: usize = 2;

const ECHO: &str = "bare actix-web JSON echo";
const ACCEPTED: &str = "submit, accepted";
const ENDED: &str = "submit, wait for the result";
const DURABLE: &str = "submit, accepted on disk";

/// Measures submissions over HTTP beside an echo handler of the same web framework.
///
/// # Errors
/// When something does not work; never because it is slow.
pub fn http(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let submit = format!("/v1/pools/{POOL}/tasks");
    let directory = options.directory.clone();
    let contenders = [
        contender(options, ECHO, Request::post("/", false), || server::echo(WORKERS)),
        contender(options, ACCEPTED, Request::post(&submit, false), || server::forerunner(None, WORKERS)),
        contender(options, ENDED, Request::post(&submit, true), || server::forerunner(None, WORKERS)),
        Contender::new(DURABLE, {
            let (options, request) = (options.clone(), Request::post(&submit, false));
            move || {
                let files = tempfile::tempdir_in(&directory)?;
                sample(&options, &request, &server::forerunner(Some(files.path().join("tasks.db")), WORKERS)?)
            }
        }),
    ];
    let samples = rounds::measure(&contenders, options.repetitions, progress)?;
    let compare = |what: &str, budget| {
        let (ours, echo) = (rounds::of(&samples, what).figure(0), rounds::of(&samples, ECHO).figure(0));
        Row::compare(what, Unit::RequestsPerS, &ours, ECHO, &echo).with_budget(Budget::RatioAtLeast(budget))
    };
    let rows = vec![compare(ACCEPTED, 0.85), compare(ENDED, 0.72), compare(DURABLE, 0.4)];
    let notes = vec![
        format!("{CONNECTIONS} connections on the loopback device, {WORKERS} serving threads, the client beside them."),
        format!("Accepted tasks run meanwhile on {AGENTS} agents: their work is part of the figures."),
    ];
    Ok(Report::new("http", options, rows, notes))
}

fn contender(
    options: &Options,
    name: &'static str,
    request: Request,
    serve: impl Fn() -> Result<Running, Error> + Clone + Send + 'static,
) -> Contender {
    let options = options.clone();
    Contender::new(name, move || sample(&options, &request, &serve()?))
}

fn sample(options: &Options, request: &Request, server: &Running) -> Result<Vec<f64>, Error> {
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = client::load(server.address, request, CONNECTIONS, options.warm_up(), options.sample);
    Ok(vec![client.block_on(load)?])
}
