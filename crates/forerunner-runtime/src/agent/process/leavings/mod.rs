//! What agents leave, and what becomes of it: processes that outlive them, and directories.
//!
//! - `mark` finds the descendants of an agent, also those in a session of their own;
//! - `home` keeps the directories of a node's agents together, and tells those of killed nodes from those of living ones;
//! - `remove` removes a directory whatever is in it; `janitor` is the thread that does all this.

mod home;
mod janitor;
mod mark;
mod remove;
mod scratch;

pub(super) use home::Home;
pub(super) use janitor::{unwatched, watched};
pub(super) use mark::Mark;
pub(super) use scratch::{Owner, ScratchDir};

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};

/// How long an agent's end waits for what it left. What takes longer goes on without anybody waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the thread that sees to leavings, so that it is there when no thread can be had any more.
pub(super) fn prepare() {
    janitor::start();
}

/// Ends whoever bears the mark, removes the directory, and waits for both, for a bounded time.
pub(super) async fn clear(mark: Mark, scratch: Option<ScratchDir>) {
    let (done, cleared) = oneshot::channel();
    hand_over(mark, scratch, Some(done));
    let _in_time = timeout(PATIENCE, cleared).await;
}

/// As [`clear`], without waiting.
pub(super) fn clear_later(mark: Mark, scratch: Option<ScratchDir>) {
    hand_over(mark, scratch, None);
}

fn hand_over(mark: Mark, scratch: Option<ScratchDir>, done: Option<oneshot::Sender<()>>) {
    let directory = scratch.and_then(ScratchDir::into_directory);
    janitor::clear(janitor::Leavings { mark: Some(mark), directory, done });
}
