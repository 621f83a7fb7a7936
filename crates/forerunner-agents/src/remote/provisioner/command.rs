//! One run of the command.

use std::{cell::RefCell, io, process::Stdio, time::Duration};

use forerunner_core::format_duration;
use futures_util::{FutureExt, future};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    ProvisionerSpec,
    spec::{AGENTS, POOL},
};

/// Most bytes of the command's output that an error has.
const SHOWN_BYTES: usize = 400;
/// How long the output of a command that has ended is read.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a run failed. The text continues "the provisioner".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandFailed {
    /// The program could not be started.
    #[error("could not be started: `{program}`: {reason}")]
    NotStarted {
        /// The program.
        program: String,
        /// The error of the operating system.
        reason: String,
    },
    /// It ended with an error.
    #[error("ended with {status}: {output}")]
    Ended {
        /// The exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// It ran for too long.
    #[error("did not end within {limit}; the node killed it; raise provisioner.timeout if it needs longer")]
    TimedOut {
        /// The limit.
        limit: String,
    },
}

impl ProvisionerSpec {
    /// Runs the command for this number of agents, and waits for its end. Dropping the future kills the command.
    ///
    /// # Errors
    /// When it does not start, does not succeed, or does not end within `timeout`.
    pub async fn run(&self, pool: &str, agents: u32) -> Result<(), CommandFailed> {
        let not_started =
            |error: io::Error| CommandFailed::NotStarted { program: self.argv[0].clone(), reason: error.to_string() };
        let mut child = self.command(pool, agents).spawn().map_err(not_started)?;
        let mut group = Group::of(&child);
        let (printed, complained) = (Tail::default(), Tail::default());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let has_ended = Notify::new();
        let waiting = async {
            let status = child.wait().await;
            has_ended.notify_one();
            status
        };
        let reading = async {
            tokio::select! {
                _all = future::join(printed.read(stdout), complained.read(stderr)) => {}
                // What it started and left may still have its output open.
                () = has_ended.notified().then(|()| sleep(LAST_WORDS)) => {}
            }
        };
        let timed_out = |_| CommandFailed::TimedOut { limit: format_duration(self.timeout) };
        let ending = future::join(waiting, reading);
        let (status, ()) = timeout(self.timeout, ending).await.map_err(timed_out)?;
        let status = status.map_err(not_started)?;
        group.spare();
        if status.success() {
            return Ok(());
        }
        let output = [complained.text(), printed.text()].into_iter().find(|text| !text.is_empty());
        Err(CommandFailed::Ended {
            status: status.to_string(),
            output: output.unwrap_or_else(|| "no output".to_owned()),
        })
    }

    fn command(&self, pool: &str, agents: u32) -> Command {
        let filled = |argument: &String| argument.replace(AGENTS, &agents.to_string()).replace(POOL, pool);
        let mut command = Command::new(&self.argv[0]);
        command.args(self.argv[1..].iter().map(filled));
        command.env_clear().envs(self.as_process().environment(std::env::vars_os()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// The processes of the command. They are killed when this is dropped, unless the command has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// What the command left was left on purpose: agents, for instance.
    fn spare(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The end of an output.
#[derive(Default)]
struct Tail(RefCell<Vec<u8>>);

impl Tail {
    async fn read(&self, output: Option<impl AsyncRead + Unpin>) {
        let Some(mut output) = output else { return };
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut piece).await {
            let mut end = self.0.borrow_mut();
            end.extend_from_slice(&piece[..read]);
            let surplus = end.len().saturating_sub(SHOWN_BYTES);
            end.drain(..surplus);
        }
    }

    /// Returns it as one line.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shell(script: &str) -> ProvisionerSpec {
        let argv = ["sh", "-c", script, "{pool}", "{agents}"].map(str::to_owned).to_vec();
        ProvisionerSpec { argv, timeout: Duration::from_secs(60), ..ProvisionerSpec::default() }
    }

    #[actix_rt::test]
    async fn the_command_gets_the_number_and_the_pool() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("asked");
        shell(&format!("echo $0 $1 > {}", file.display())).run("gpu", 7).await.unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "gpu 7\n");
    }

    #[actix_rt::test]
    async fn the_environment_of_the_node_is_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seen");
        shell(&format!("env > {}", file.display())).run("gpu", 7).await.unwrap();
        let seen = fs::read_to_string(file).unwrap();
        assert!(seen.contains("PATH=") && !seen.contains("CARGO"), "{seen}");
    }

    #[actix_rt::test]
    async fn a_failure_says_what_the_command_said() {
        let failed = shell("echo the cluster is away >&2; exit 3").run("gpu", 7).await.unwrap_err().to_string();
        assert_eq!(failed, "ended with exit status: 3: the cluster is away");
        let mut none = shell("");
        none.argv[0] = "no-such-program-here".to_owned();
        let failed = none.run("gpu", 7).await.unwrap_err().to_string();
        assert!(failed.contains("could not be started: `no-such-program-here`"), "{failed}");
    }

    #[actix_rt::test]
    async fn a_flood_is_read_and_only_its_end_is_shown() {
        let failed = shell("yes x | head -c 3000000; echo end; exit 1").run("gpu", 7).await.unwrap_err().to_string();
        assert!(failed.len() < 600 && failed.ends_with("x end"), "{failed}");
    }

    #[actix_rt::test]
    async fn what_the_command_leaves_on_purpose_lives_on() {
        let directory = tempfile::tempdir().unwrap();
        let left = directory.path().join("left");
        let spec = shell(&format!("(sleep 1; echo here > {}) & exit 0", left.display()));
        spec.run("gpu", 7).await.unwrap();
        for _ in 0..500 {
            if left.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the process that was left is gone");
    }

    #[actix_rt::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let mut hanging = shell(&format!("sleep 300 & echo $$ $! > {}; wait", pids.display()));
        hanging.timeout = Duration::from_secs(2);
        let failed = hanging.run("gpu", 7).await.unwrap_err();
        assert!(matches!(failed, CommandFailed::TimedOut { .. }), "{failed}");
        let pids = fs::read_to_string(pids).unwrap();
        for pid in pids.split_whitespace() {
            let is_gone = || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.is_empty() || stat.contains(") Z ")
            };
            for _ in 0..500 {
                if is_gone() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(is_gone(), "process {pid} is left");
        }
    }
}
