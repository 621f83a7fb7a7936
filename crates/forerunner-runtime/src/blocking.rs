//! Work that would hold up actors, on threads that are there from the start.
//!
//! `tokio::task::spawn_blocking` starts a thread when it needs one, and panics if the system allows none: agents that use up
//! the processes of their user could break the node. These few threads start with the node. If not even they can be had,
//! the caller does the work itself: slower, and right.

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

/// Most threads: what they do is computation.
const MOST_THREADS: usize = 4;
const FEWEST_THREADS: usize = 2;

/// Does `work` on one of the threads.
///
/// # Errors
/// The panic of `work`, if it panicked.
pub async fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Box<dyn Any + Send>> {
    if cfg!(feature = "test-util") {
        // A clock that is paused in a test jumps ahead while all wait, unless the runtime itself knows that somebody works.
        return tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::into_panic);
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    let work: Work = Box::new(move || drop(answer.send(catch_unwind(AssertUnwindSafe(work)))));
    match threads() {
        // They live as long as the process; were they gone, the caller would do it.
        Some(threads) => threads.send(work).unwrap_or_else(|unsent| unsent.0()),
        None => work(),
    }
    answered.await.unwrap_or_else(|_| Err(Box::new("the work was dropped")))
}

/// Starts the threads, so that they are there when no thread can be had any more.
pub(crate) fn prepare() {
    let _threads = threads();
}

/// The line to the threads; `None` if none could be started.
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
        // Taken apart from the call, so that the others are not locked out while this one works.
        let next = receiver.lock().recv();
        match next {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}
