//! The thread that starts all child processes of this process.
//!
//! A start takes milliseconds of fork and exec, in which an actors' thread would do nothing else. And the kernel kills
//! a child when the thread that started it ends (`PR_SET_PDEATHSIG`): this thread lives as long as the process.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
};

use parking_lot::Mutex;

use tokio::{runtime::Handle, sync::oneshot};

type Start = Box<dyn FnOnce() + Send>;

static SPAWNER: Mutex<Option<mpsc::Sender<Start>>> = Mutex::new(None);

/// Runs `start` on the spawner thread, as part of the caller's runtime. The thread skips a start whose caller has ended
/// by then.
///
/// # Errors
/// What `start` returns; an error when the thread cannot be started.
pub(super) async fn spawn<T: Send + 'static>(start: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (reply, answer) = oneshot::channel();
    let runtime = Handle::current();
    let run = move || {
        if !reply.is_closed() {
            let _in_runtime = runtime.enter();
            // A child without a receiver is dropped here, which kills it.
            let _received = reply.send(start());
        }
    };
    send(Box::new(run))?;
    answer.await.unwrap_or_else(|_| Err(io::Error::other("the start of the process panicked")))
}

fn send(start: Start) -> io::Result<()> {
    let mut spawner = SPAWNER.lock();
    let starts = match spawner.take() {
        Some(starts) => starts,
        None => start_thread()?,
    };
    let sent = starts.send(start).map_err(|_| io::Error::other("the thread that starts processes has ended"));
    if sent.is_ok() {
        *spawner = Some(starts);
    }
    sent
}

fn start_thread() -> io::Result<mpsc::Sender<Start>> {
    let (starts, next) = mpsc::channel::<Start>();
    thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        for start in next {
            // The caller notices a panic by the missing answer.
            let _panicked = catch_unwind(AssertUnwindSafe(start));
        }
    })?;
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starts_run_one_after_the_other_on_one_thread_that_outlives_a_panic() {
        let name = || Ok(thread::current().id());
        let first = spawn(name).await.unwrap();
        let error = spawn(|| -> io::Result<()> { panic!("no") }).await.unwrap_err();
        assert_eq!(error.to_string(), "the start of the process panicked");
        assert_eq!(spawn(name).await.unwrap(), first);
        assert_ne!(first, thread::current().id());
    }

    #[tokio::test]
    async fn a_start_that_nobody_waits_for_is_left_out() {
        let (block, wait) = mpsc::channel::<()>();
        let (begun, is_begun) = oneshot::channel();
        let blocker = tokio::spawn(spawn(move || {
            let _ = begun.send(());
            wait.recv().map_err(io::Error::other)
        }));
        is_begun.await.unwrap();
        let (ran, has_run) = mpsc::channel();
        let abandoned = tokio::spawn(spawn(move || ran.send(()).map_err(io::Error::other)));
        tokio::task::yield_now().await;
        abandoned.abort();
        let _ = abandoned.await;
        drop(block);
        let _ = blocker.await;
        spawn(|| Ok(())).await.unwrap();
        assert!(has_run.recv().is_err(), "it was dropped without having run");
    }
}
