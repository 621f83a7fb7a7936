//! A running `forerunner serve`.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use tokio::{sync::oneshot, time::timeout};

use crate::{Client, Marker, Site, eventually, processes::send, program::wrapped};

/// Time limit until a service listens.
const START: Duration = Duration::from_secs(60);
/// Lines of the log that are shown when a test fails.
const LAST_LINES: usize = 40;

/// A service in its own process group. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    child: Child,
    address: String,
    log: std::path::PathBuf,
    marker: Marker,
}

impl Service {
    /// Starts it on a store and the configuration of a site, through the programs of `wrapper` if there are any, and
    /// waits for the line with its address.
    pub(crate) async fn start(site: &Site, store: &str, wrapper: &[&str]) -> Self {
        Self::start_logging_to(site, store, wrapper, append(&site.path("log")).into()).await
    }

    /// The same, with this standard error.
    pub(crate) async fn start_logging_to(site: &Site, store: &str, wrapper: &[&str], stderr: Stdio) -> Self {
        let log = site.path("log");
        let mut child =
            command(site, store, wrapper, stderr).stdout(Stdio::piped()).spawn().expect("the program can be started");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let mut service = Self { child, address: String::new(), log, marker: site.marker().clone() };
        let told = timeout(START, first_line(stdout)).await.ok().and_then(Result::ok).unwrap_or_default();
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        let address = told["listening"].as_str().expect("a service that starts says where it listens; see its log");
        address.clone_into(&mut service.address);
        service
    }

    /// Starts it on the store of a site with this standard output. Its address is read from its log.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_saying_nothing(site: &Site, stdout: impl Into<Stdio>) -> Self {
        let log = site.path("log");
        let store = format!("sqlite:{}", site.store().display());
        let child =
            command(site, &store, &[], append(&log).into()).stdout(stdout).spawn().expect("the program can be started");
        let mut service = Self { child, address: String::new(), log, marker: site.marker().clone() };
        service.address = eventually("it says in its log where it listens", START, async || {
            let text = std::fs::read_to_string(&service.log).unwrap_or_default();
            let (_, rest) = text.split_once("listen=\"")?;
            rest.split_once('"').map(|(address, _)| address.to_owned())
        })
        .await;
        service
    }

    /// Returns where it listens: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::of(&self.address)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(send(self.pid(), signal), "the service is there to get {signal:?}");
    }

    /// Limits the size of files that it may write, in bytes; `None` removes the limit.
    ///
    /// # Panics
    /// If it has ended.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(pid, Resource::Fsize, limit).expect("the service is there, and its hard limit was never lowered");
    }

    /// Returns whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it as a loss of power would, and reaps it.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits for its end and returns its exit code; -1 if a signal ended it.
    ///
    /// # Panics
    /// After `limit`.
    pub async fn exit(mut self, limit: Duration) -> i32 {
        let status =
            eventually("the service ends", limit, async || self.child.try_wait().expect("a child can be waited for"));
        status.await.code().unwrap_or(-1)
    }

    /// Stops it and waits for its end. Returns the exit code.
    ///
    /// # Panics
    /// After `limit`.
    pub async fn stop(self, limit: Duration) -> i32 {
        self.signal(Signal::TERM);
        self.exit(limit).await
    }

    fn end(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
        if !thread::panicking() {
            return;
        }
        // Even a test that fails because children outlive their node leaves none behind.
        for (pid, _) in self.marker.processes() {
            send(pid, Signal::KILL);
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
        eprintln!("the end of the service's log:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
}

/// The command line of a service, in its own process group.
fn command(site: &Site, store: &str, wrapper: &[&str], stderr: Stdio) -> Command {
    let mut command = wrapped(site, wrapper);
    command
        .args(["serve", "--output", "json", "--log-format", "text", "--store", store])
        .arg("--config")
        .arg(site.config())
        .stdin(Stdio::null())
        .stderr(stderr)
        .process_group(0);
    command
}

fn append(path: &std::path::Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("the log can be written")
}

/// Resolves with the first line; a thread reads on to the end so that the service never blocks on a full pipe.
fn first_line(stdout: ChildStdout) -> oneshot::Receiver<String> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        if let Some(first) = lines.next() {
            // There is no receiver if the start took too long.
            let _ = sender.send(first);
        }
        lines.for_each(drop);
    });
    receiver
}
