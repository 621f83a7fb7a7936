//! Work that occupies a processor for seconds, on its own thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    time::Instant,
};

use crate::{error::Error, problem_kind::ProblemKind};

/// Longest time of the replays of a call.
pub(crate) const LONGEST_REPLAY: Duration = Duration::from_secs(60);
/// When to retry a node that cannot start a thread.
const RETRY: Duration = Duration::from_secs(5);

/// Signals that work should stop: its client has left, or its time is over.
#[derive(Clone)]
pub(crate) struct Stop {
    is_abandoned: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    fn new(deadline: Instant) -> Self {
        Self { is_abandoned: Arc::default(), deadline }
    }

    /// Returns whether the work is no longer needed.
    pub(crate) fn is_due(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Abandons the work when it is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.is_abandoned.store(true, Ordering::Relaxed);
    }
}

/// Does work on its own thread, and ends the turn when the thread has ended.
///
/// It does not use the threads for blocking work: where the system allows no thread these panic, which is an error
/// here.
pub(crate) async fn run_on_thread<T: Send + 'static>(
    turn: OwnedMutexGuard<()>,
    work: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T, Error> {
    let stop = Stop::new(Instant::now() + LONGEST_REPLAY);
    let (done, result) = oneshot::channel();
    let _abandon = StopOnDrop(stop.clone());
    let thread = thread::Builder::new().name("forerunner-replay".to_owned());
    let started = thread.spawn(move || {
        let _turn = turn;
        // There is no receiver if the client has left.
        let _ = done.send(work(&stop));
    });
    let no_thread = |error| {
        let detail = format!("no thread can be started: {error}; raise the limit of processes of the node's user");
        Error::new(ProblemKind::NoRoom, detail).retry_after(RETRY)
    };
    started.map_err(no_thread)?;
    result.await.map_err(|_| Error::internal("the replay ended without a result".to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::sync::Mutex;

    use super::*;

    #[actix_rt::test]
    async fn work_stops_and_gives_its_turn_back_when_its_client_leaves() {
        let turns = Arc::new(Mutex::new(()));
        let (began, begun) = oneshot::channel();
        let work = run_on_thread(Arc::clone(&turns).lock_owned().await, |stop: &Stop| {
            began.send(()).expect("the test waits for it");
            while !stop.is_due() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let client = actix_rt::spawn(work);
        begun.await.expect("the work begins");
        client.abort();
        let turn = tokio::time::timeout(Duration::from_secs(20), turns.lock()).await;
        assert!(turn.is_ok(), "the work goes on though its client left");
    }
}
