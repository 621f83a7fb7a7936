//! A child process with all its descendants: spawned, watched, killed and reaped as one.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{
    ProcessSpec,
    account::Account,
    cleanup::{self, Mark, NodeDir, ScratchDir},
    diagnosis, os,
    sandbox::confinement,
};
use crate::read_secret;

/// Longest wait for the kernel to finish a process that was sent SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// What is added to the node's own score for the kernel's out-of-memory killer: agents go first.
const OOM_SCORE_EXTRA: i32 = 500;
const MOST_OOM_SCORE: i32 = 1_000;

/// The pipes of a fresh child.
pub(super) struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

/// A child process, everything in its process group, and whatever else descends from it.
///
/// The leader is reaped only after the group got SIGKILL: until then its id cannot name another group. Dropping the
/// value kills the group; the runtime reaps the leader. Descendants that left the group have the child's mark: they are
/// killed when it has ended.
pub(super) struct ProcessGroup {
    leader: Child,
    pid: Pid,
    exit: AsyncFd<OwnedFd>,
    ended: bool,
    /// Known once it ended, unless the node ignores SIGCHLD and the kernel reaped it.
    status: Option<ExitStatus>,
    mark: Mark,
    /// Whether its descendants and its directory were removed.
    is_cleared: bool,
    scratch: Option<ScratchDir>,
    /// Shows, also without a directory of its own, that the node of this mark lives.
    _node_dir: Option<Arc<NodeDir>>,
}

impl ProcessGroup {
    /// Starts the child. `name` is part of the name of its directory.
    pub(super) fn spawn(spec: &ProcessSpec, name: &str) -> io::Result<(Self, Pipes)> {
        let account = Account::of(spec)?;
        let scratch = match spec.cwd {
            Some(_) => None,
            None => Some(ScratchDir::create(name, account.as_ref().map(|account| account.owner))?),
        };
        let cwd = spec.cwd.as_deref().or(scratch.as_ref().map(ScratchDir::path)).unwrap_or(Path::new("/"));
        diagnosis::check_directory(cwd)?;
        let owner = account.as_ref().map(|account| account.owner);
        let home = spec.home.as_ref().map(|home| home.create(cwd, owner)).transpose()?;
        let mark = Mark::next();
        let mut command = command(spec, cwd, account.as_ref(), mark)?;
        command.envs(home.map(|home| ("HOME", home)));
        let mut leader = command.spawn().map_err(|error| {
            let path = command.as_std().get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
            diagnosis::explained(&error, spec, cwd, path)
        })?;
        let pipes = (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
        let pid = leader.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (pid, pipes) else {
            return Err(io::Error::other("a fresh child has an id and three pipes"));
        };
        let exit = os::watch_exit(pid).inspect_err(|_| {
            let _gone = kill_process_group(pid, Signal::KILL);
        })?;
        cleanup::register_agent(pid);
        prefer_for_oom(pid);
        let group = Self {
            leader,
            pid,
            exit,
            ended: false,
            status: None,
            mark,
            is_cleared: false,
            scratch,
            _node_dir: NodeDir::shared().ok(),
        };
        Ok((group, Pipes { stdin, stdout, stderr }))
    }

    /// Returns the leader's process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Returns the directory that the node made for the child, unless the configuration names another.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.scratch.as_ref().map(ScratchDir::path)
    }

    /// Returns whether the leader has ended and was reaped, as far as [`ProcessGroup::exited`] noticed.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Describes how the leader ended, for people.
    pub(super) fn exit_description(&self) -> String {
        self.status.map_or_else(|| "ended".to_owned(), |status| format!("ended with {status}"))
    }

    /// Resolves when the leader has ended and was reaped, and the rest of its group is killed. May be dropped.
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
        if timeout(KILL_TIMEOUT, self.exited()).await.is_err() {
            tracing::warn!(pid = self.pid(), "the agent process does not end after SIGKILL; leaving it to the kernel");
        }
        cleanup::clear(self.mark, self.scratch.take()).await;
        self.is_cleared = true;
    }

    /// Sends a signal, unless the group has ended.
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
        cleanup::unregister_agent(self.pid);
        if !self.is_cleared {
            cleanup::clear_later(self.mark, self.scratch.take());
        }
    }
}

fn command(spec: &ProcessSpec, cwd: &Path, account: Option<&Account>, mark: Mark) -> io::Result<Command> {
    let mut command = Command::new(program(&spec.argv[0])?);
    command.args(&spec.argv[1..]).current_dir(cwd);
    command.env_clear().envs(spec.environment(std::env::vars_os()));
    for (name, file) in &spec.env_file {
        let secret =
            read_secret(file).map_err(|error| io::Error::new(error.kind(), format!("`env_file.{name}`: {error}")))?;
        command.env(name, secret);
    }
    if let Some(account) = account {
        // This gives up all other groups of the node as well.
        command.uid(account.owner.uid).gid(account.owner.gid);
        let named = [("USER", &account.name), ("LOGNAME", &account.name), ("HOME", &account.home)];
        for (name, value) in
            named.into_iter().filter(|(name, _)| !spec.env.contains_key(*name) && !spec.env_file.contains_key(*name))
        {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    os::before_exec(&mut command, confinement(&spec.limits, mark));
    Ok(command)
}

/// Makes the kernel kill the agent, not the node, when memory is short. Done by the node: the child could not before exec,
/// when it is as closed to itself as the node is.
fn prefer_for_oom(pid: Pid) {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse::<i32>().ok());
    let score = own.unwrap_or(0).saturating_add(OOM_SCORE_EXTRA).min(MOST_OOM_SCORE);
    // It may have ended already.
    let _same = std::fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()), score.to_string());
}

/// A relative path would be looked up from the child's directory, which is empty.
fn program(name: &str) -> io::Result<PathBuf> {
    match name.contains('/') {
        true => std::path::absolute(name),
        false => Ok(PathBuf::from(name)),
    }
}
