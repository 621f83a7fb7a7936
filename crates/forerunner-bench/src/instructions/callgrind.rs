//! Runs a load below callgrind and reads its count.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::load::Load;
use crate::{
    Error, Options,
    http::client::{self, Request},
    ours::POOL,
};

/// Connections of a server that is counted.
const CONNECTIONS: usize = 16;

/// Counts what loads need.
pub(super) struct Counter {
    program: PathBuf,
    directory: PathBuf,
    /// Tasks of the shorter and of the longer run.
    counts: [u64; 2],
}

impl Counter {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(Error::Missing { what: "valgrind", remedy: "install the package `valgrind`" });
        }
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        Ok(Self { program, directory: options.directory.clone(), counts: options.counts })
    }

    /// Returns the instructions that each task or request of a load needs.
    pub(super) fn each(&self, load: Load) -> Result<f64, Error> {
        let [few, many] = self.counts;
        let (short, long) = (self.total(load, few)?, self.total(load, many)?);
        Ok((long as f64 - short as f64) / (many - few) as f64)
    }

    fn total(&self, load: Load, count: u64) -> Result<u64, Error> {
        let files = tempfile::tempdir_in(&self.directory)?;
        let counted = files.path().join("callgrind.out");
        let mut child = self.start(load, count, &counted)?;
        let done = if load.is_served() { request(&mut child, load, count) } else { Ok(()) };
        // A server ends when its standard input does.
        drop(child.stdin.take());
        let mut message = String::new();
        if done.is_err() {
            let _ = child.kill();
        }
        if let Some(mut errors) = child.stderr.take() {
            errors.read_to_string(&mut message)?;
        }
        let status = child.wait()?;
        done?;
        if !status.success() {
            let last = message.lines().last().unwrap_or("it printed nothing");
            return Err(wrong(format!("{status}: {last}")));
        }
        let text = fs::read_to_string(counted)?;
        total_of(&text).ok_or_else(|| wrong("its file has no line `totals:`".to_owned()))
    }

    fn start(&self, load: Load, count: u64, counted: &Path) -> Result<Child, Error> {
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", counted.display()))
            .arg(&self.program)
            .args(["bench", "load", load.name(), &count.to_string(), "--directory"])
            .arg(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child)
    }
}

/// Sends `count` requests to a server that has printed its address.
fn request(child: &mut Child, load: Load, count: u64) -> Result<(), Error> {
    let Some(out) = child.stdout.take() else { return Err(wrong("it has no standard output".to_owned())) };
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let address: SocketAddr =
        line.trim().parse().map_err(|_| wrong(format!("it printed `{}` instead of its address", line.trim())))?;
    let request = match load {
        Load::Echo => Request::post("/", false),
        other => Request::post(&format!("/v1/pools/{POOL}/tasks"), other == Load::SubmitAndWait),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(client::send(address, &request, CONNECTIONS, count))
}

/// The count of all threads.
fn total_of(text: &str) -> Option<u64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))?;
    line.split_whitespace().next()?.parse().ok()
}

fn wrong(what: String) -> Error {
    Error::Wrong { who: "the program below callgrind", what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_that_of_all_threads() {
        assert_eq!(total_of("events: Ir\nfn=(1) a\n0 5\ntotals: 12345\n"), Some(12_345));
        assert_eq!(total_of("events: Ir\n"), None);
    }
}
