//! Computations that would block actors, on threads that exist from the start.
//!
//! `tokio::task::spawn_blocking` starts a thread on demand, and panics if the system allows none. So agents that use up
//! the processes of their user could break the node. These few threads start with the node. If the system does not
//! allow even them, the caller computes itself, only slower.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use parking_lot::Mutex;

type Work = Box<dyn FnOnce() + Send>;

/// Most threads: their work is computation.
const MOST_THREADS: usize = 4;
const FEWEST_THREADS: usize = 2;

/// Runs `work` on one of the threads.
///
/// # Errors
/// The panic of `work`, if it panicked.
pub async fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Box<dyn Any + Send>> {
    if cfg!(feature = "test-util") {
        // In a test the paused clock advances while all tasks wait. It learns only from tokio's own threads that work
        // is in progress.
        return tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::into_panic);
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    let work: Work = Box::new(move || drop(answer.send(catch_unwind(AssertUnwindSafe(work)))));
    match threads() {
        // The threads live as long as the process. Without them the caller runs the work.
        Some(threads) => threads.send(work).unwrap_or_else(|unsent| unsent.0()),
        None => work(),
    }
    answered.await.unwrap_or_else(|_| Err(Box::new("the work was dropped")))
}

/// Starts the threads, before the system may run out of them.
pub(crate) fn prepare() {
    let _threads = threads();
}

/// The channel to the threads; `None` if no thread could be started.
fn threads() -> Option<&'static Sender<Work>> {
    static THREADS: OnceLock<Option<Sender<Work>>> = OnceLock::new();
    THREADS.get_or_init(start).as_ref()
}

fn start() -> Option<Sender<Work>> {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let count = thread::available_parallelism().map_or(FEWEST_THREADS, usize::from).clamp(FEWEST_THREADS, MOST_THREADS);
    let start = |number| {
        let receiver = Arc::clone(&receiver);
        thread::Builder::new().name(format!("forerunner-work-{number}")).spawn(move || work(&receiver))
    };
    let started = (0..count).filter(|number| start(*number).is_ok()).count();
    (started > 0).then_some(sender)
}

fn work(receiver: &Mutex<Receiver<Work>>) {
    loop {
        // The lock is released before the call, so that other threads receive work meanwhile.
        let next = receiver.lock().recv();
        match next {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}
