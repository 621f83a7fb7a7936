//! The other subcommands, run to their end.

use std::{
    ffi::OsStr,
    io::{Seek, Write},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{Marker, Site, binary};

/// Default time limit of a command.
const LIMIT: Duration = Duration::from_secs(60);

/// A run of `forerunner`, before its arguments are set.
pub struct Program {
    command: Command,
    limit: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Program {
    /// A run in the directory of a site, with an empty environment except for what finds programs.
    pub(crate) fn at(site: &Site) -> Self {
        let mut command = Command::from(bare(site));
        command.stdin(Stdio::null()).kill_on_drop(true);
        Self { command, limit: LIMIT }
    }

    /// The same, started by a shell that closes its standard output first.
    pub(crate) fn without_stdout(site: &Site) -> Self {
        let mut command = Command::from(wrapped(site, &["sh", "-c", "exec \"$@\" >&-", "sh"]));
        command.stdin(Stdio::null()).kill_on_drop(true);
        Self { command, limit: LIMIT }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets this text as standard input.
    ///
    /// # Panics
    /// If the text cannot be written to a temporary file.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(text.as_bytes()).and_then(|()| file.rewind()).expect("it can be written");
        self.command.stdin(file);
        self
    }

    /// Allows the run this long.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started, or does not end in time; then it is killed.
    pub async fn run(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Finished {
        self.command.args(arguments);
        match timeout(self.limit, self.command.output()).await {
            Ok(output) => Finished::of(output.expect("the program can be started")),
            Err(_) => panic!("{:?} has not ended after {:?}", self.command.as_std(), self.limit),
        }
    }
}

impl Program {
    /// Runs it to its end with a standard output and a standard error without a reader, as behind `2>&1
    ///  head` after `head` has ended. Returns the exit code, which is 101 after a panic.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub async fn run_unread(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> i32 {
        let (_, unread) = std::io::pipe().expect("a pipe");
        self.command.stderr(unread.try_clone().expect("another end of it"));
        self.code(unread, arguments).await
    }

    /// Runs it to its end with this standard output and no standard error; returns the exit code, which is 101 after a panic.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub async fn run_into(
        mut self,
        stdout: impl Into<Stdio>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> i32 {
        self.command.stderr(Stdio::null());
        self.code(stdout, arguments).await
    }

    async fn code(mut self, stdout: impl Into<Stdio>, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> i32 {
        self.command.args(arguments).stdout(stdout);
        let mut child = self.command.spawn().expect("the program can be started");
        let ended = timeout(self.limit, child.wait()).await.expect("it ends in time");
        ended.expect("it can be waited for").code().unwrap_or(-1)
    }
}

impl Finished {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts an exit code.
    ///
    /// # Panics
    /// If it was another one.
    #[track_caller]
    #[must_use]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Reads standard output as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The program with a marked and otherwise clean environment: no `FORERUNNER_…` of the caller's reaches it.
fn bare(site: &Site) -> std::process::Command {
    wrapped(site, &[])
}

/// The same, started by another program, which receives its path and arguments.
pub(crate) fn wrapped(site: &Site, wrapper: &[&str]) -> std::process::Command {
    let mut line = wrapper.iter().map(OsStr::new).chain([binary().as_os_str()]);
    let mut command = std::process::Command::new(line.next().unwrap_or_default());
    command.args(line);
    let kept = ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"];
    command
        .env_clear()
        .envs(kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env(Marker::VARIABLE, site.marker().value())
        .current_dir(site.directory());
    command
}
