//! What runs below callgrind: an exact number of tasks or requests.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead, Write},
    path::PathBuf,
    str::FromStr,
};

use forerunner::ThreadPlacement;

use crate::{
    Error,
    http::server::{self, Running},
    ours::{self, IN_FLIGHT},
    reference::Dispatcher,
    service::Service,
};

/// Workers of the reference: as many as the pool has agents.
const WORKERS: usize = ours::AGENTS as usize;
/// Threads that serve.
const SERVING: usize = 1;

/// A kind of load whose amount is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Typed tasks through a pool in this process.
    Tasks,
    /// The same numbers through a bare dispatcher.
    Dispatcher,
    /// A bare web handler that gives JSON back.
    Echo,
    /// Submissions over HTTP that are answered when they are accepted.
    Submit,
    /// Submissions over HTTP that are answered with the result.
    SubmitAndWait,
    /// Submissions over HTTP that are answered when they are on disk.
    SubmitOnDisk,
}

impl Load {
    const ALL: [Self; 6] =
        [Self::Tasks, Self::Dispatcher, Self::Echo, Self::Submit, Self::SubmitAndWait, Self::SubmitOnDisk];

    /// The name on a command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Dispatcher => "dispatcher",
            Self::Echo => "echo",
            Self::Submit => "submit",
            Self::SubmitAndWait => "submit-and-wait",
            Self::SubmitOnDisk => "submit-on-disk",
        }
    }

    /// What a table calls it where it is a reference.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher, one thread",
            Self::Echo => "bare actix-web JSON echo",
            other => other.name(),
        }
    }

    /// Whether the tasks come from another process, over HTTP.
    pub(super) const fn is_served(self) -> bool {
        !matches!(self, Self::Tasks | Self::Dispatcher)
    }

    /// Runs `count` tasks and returns. A server instead prints its address and serves until standard input ends.
    ///
    /// # Errors
    /// When something does not work.
    pub fn run(self, count: u64, directory: PathBuf) -> Result<(), Error> {
        match self {
            Self::Tasks => actix_rt::System::new().block_on(async {
                let ours = ours::start(ThreadPlacement::Current).await?;
                send(&ours, count).await?;
                ours.runtime.shutdown().await;
                Ok(())
            }),
            Self::Dispatcher => {
                let thread = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                thread.block_on(async { send(&Dispatcher::start(WORKERS), count).await })
            }
            Self::Echo => serve(&server::echo(SERVING)?),
            Self::Submit | Self::SubmitAndWait => serve(&server::forerunner(None, SERVING)?),
            Self::SubmitOnDisk => {
                let files = tempfile::tempdir_in(directory)?;
                serve(&server::forerunner(Some(files.path().join("tasks.db")), SERVING)?)
            }
        }
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|load| load.name() == text);
        found.ok_or_else(|| format!("use one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

async fn send<S: Service>(service: &S, count: u64) -> Result<(), Error> {
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
    for number in 0..count {
        if under_way.len() == IN_FLIGHT
            && let Some(oldest) = under_way.pop_front()
        {
            finish(oldest).await?;
        }
        under_way.push_back(service.send(number));
    }
    for answer in under_way {
        finish(answer).await?;
    }
    Ok(())
}

async fn finish(answer: impl Future<Output = Result<u64, Error>>) -> Result<(), Error> {
    answer.await.map(drop)
}

fn serve(server: &Running) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", server.address)?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        line?;
    }
    Ok(())
}
