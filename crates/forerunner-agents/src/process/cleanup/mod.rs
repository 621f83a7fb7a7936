//! Removes what agents leave behind: processes that outlive them, and directories.
//!
//! - `mark` finds the descendants of an agent, also those in a session of their own;
//! - `node_dir` is the parent of the directories of a node's agents, and distinguishes those of killed nodes from those
//!   of living ones;
//! - `remove` removes a directory whatever is in it; `worker` is the thread that does all this.

mod mark;
mod node_dir;
mod remove;
mod scratch;
mod worker;

pub(super) use mark::Mark;
pub(super) use node_dir::NodeDir;
pub(crate) use scratch::Owner;
pub(super) use scratch::ScratchDir;
pub(super) use worker::{register_agent, unregister_agent};

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};

/// How long the end of an agent waits for the cleanup. After that, the cleanup continues in the background.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the cleanup thread early, in case the system allows no more threads later.
pub(crate) fn prepare() {
    worker::start();
}

/// Kills all processes with the mark, removes the directory, and waits for both, for a bounded time.
pub(super) async fn clear(mark: Mark, scratch: Option<ScratchDir>) {
    let (done, cleared) = oneshot::channel();
    submit(mark, scratch, Some(done));
    let _in_time = timeout(CLEANUP_TIMEOUT, cleared).await;
}

/// As [`clear`], without waiting.
pub(super) fn clear_later(mark: Mark, scratch: Option<ScratchDir>) {
    submit(mark, scratch, None);
}

fn submit(mark: Mark, scratch: Option<ScratchDir>, done: Option<oneshot::Sender<()>>) {
    let directory = scratch.and_then(ScratchDir::into_directory);
    worker::clear(worker::Leftovers { mark: Some(mark), directory, done });
}
