//! A child process with all its descendants: spawned, watched, killed and reaped as one.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{ProcessSpec, os, sandbox::Confinement, scratch::ScratchDir};

/// Longest wait for the kernel to finish a process that was sent SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// The pipes of a fresh child.
pub(super) struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// A child process and everything in its process group.
///
/// The leader is reaped only after the group was sent SIGKILL: until then its id cannot name another group. Dropping
/// the value kills the group; the runtime reaps the leader. Descendants that made a session of their own escape.
pub(super) struct ProcessGroup {
    leader: Child,
    pid: Pid,
    exit: AsyncFd<OwnedFd>,
    ended: bool,
    /// Known once it ended, unless the node ignores SIGCHLD and the kernel reaped it.
    status: Option<ExitStatus>,
    scratch: Option<ScratchDir>,
}

impl ProcessGroup {
    /// Starts the child. `name` is part of the name of its directory.
    pub(super) fn spawn(spec: &ProcessSpec, name: &str) -> io::Result<(Self, Pipes)> {
        let scratch = match spec.cwd {
            Some(_) => None,
            None => Some(ScratchDir::create(name)?),
        };
        let cwd = spec.cwd.as_deref().or(scratch.as_ref().map(ScratchDir::path)).unwrap_or(Path::new("/"));
        if !cwd.is_dir() {
            // Else the system says that the program is not there.
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "its working directory (`cwd`) {} is not a directory; create it or name another",
                    cwd.display()
                ),
            ));
        }
        let mut command = command(spec, cwd)?;
        let mut leader = command.spawn()?;
        let pipes = (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
        let pid = leader.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (pid, pipes) else {
            return Err(io::Error::other("a fresh child has an id and three pipes"));
        };
        let exit = os::watch_exit(pid).inspect_err(|_| {
            let _gone = kill_process_group(pid, Signal::KILL);
        })?;
        let group = Self { leader, pid, exit, ended: false, status: None, scratch };
        Ok((group, Pipes { stdin, stdout, stderr }))
    }

    /// Returns the leader's process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Returns whether the leader has ended and was reaped, as far as [`ProcessGroup::exited`] noticed.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Says how the leader ended, for people.
    pub(super) fn how_it_ended(&self) -> String {
        self.status.map_or_else(|| "ended".to_owned(), |status| format!("ended with {status}"))
    }

    /// Resolves when the leader has ended and was reaped; what is left of its group is killed. May be dropped.
    pub(super) async fn exited(&mut self) {
        while !self.ended {
            // An error means that the runtime shuts down; this future then ends with it.
            let _readable = self.exit.readable().await;
            self.signal(Signal::KILL);
            match self.leader.try_wait() {
                Ok(None) => tokio::task::yield_now().await,
                Ok(status) => (self.ended, self.status) = (true, status),
                Err(_) => self.ended = true,
            }
        }
    }

    /// Asks all processes of the group to end, forces them after `grace`, and removes the child's directory.
    pub(super) async fn terminate(mut self, grace: Duration) {
        if !grace.is_zero() {
            self.signal(Signal::TERM);
            let _ended_by_itself = timeout(grace, self.exited()).await;
        }
        self.signal(Signal::KILL);
        if timeout(KILL_PATIENCE, self.exited()).await.is_err() {
            tracing::warn!(pid = self.pid(), "agent process does not end though it was killed; left to the kernel");
        }
        if let Some(scratch) = self.scratch.take() {
            scratch.remove().await;
        }
    }

    /// Sends a signal, unless the group is gone.
    fn signal(&self, signal: Signal) {
        if !self.ended {
            // It fails only if all processes have ended.
            let _gone = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn command(spec: &ProcessSpec, cwd: &Path) -> io::Result<Command> {
    let mut command = Command::new(program(&spec.argv[0])?);
    command.args(&spec.argv[1..]).current_dir(cwd);
    command.env_clear().envs(spec.environment(std::env::vars_os()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    os::before_exec(&mut command, Confinement::new(&spec.limits));
    Ok(command)
}

/// A relative path would be looked up from the child's directory, which is empty.
fn program(name: &str) -> io::Result<PathBuf> {
    match name.contains('/') {
        true => std::path::absolute(name),
        false => Ok(PathBuf::from(name)),
    }
}
