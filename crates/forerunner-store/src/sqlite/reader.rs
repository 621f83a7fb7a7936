//! The threads that answer questions, each with a connection that cannot write.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    failure::{Reach, Sql, explain, reach, unavailable},
    jobs::{Query, arriving},
    open,
};
use crate::{StoreError, StoreFuture};

/// Most questions that may wait.
const MAX_WAITING: usize = 4_096;

/// The way to the readers; they stop when it is dropped everywhere.
#[derive(Clone)]
pub(super) struct Readers {
    queries: SyncSender<Query>,
}

impl Readers {
    /// Starts the threads.
    pub fn start(path: &Path, threads: usize) -> Result<(Self, Vec<JoinHandle<()>>), StoreError> {
        let (queries, waiting) = sync_channel(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |number| {
            let (waiting, path) = (Arc::clone(&waiting), path.to_owned());
            let thread = std::thread::Builder::new().name(format!("store-read-{number}"));
            thread.spawn(move || serve(&waiting, &path)).map_err(|error| unavailable(error.to_string()))
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok((Self { queries }, threads))
    }

    /// Passes a question on, or answers it with the reason why not.
    pub fn ask(&self, query: Query) {
        let (query, why) = match self.queries.try_send(query) {
            Ok(()) => return,
            Err(TrySendError::Full(query)) => (query, format!("{MAX_WAITING} questions wait for an answer")),
            Err(TrySendError::Disconnected(query)) => (query, "its readers have stopped".to_owned()),
        };
        drop(query(Err(unavailable(why))));
    }
}

/// A question, and the future of its answer.
pub(super) fn question<T: Send + 'static>(
    path: PathBuf,
    read: impl FnOnce(&Connection) -> Sql<T> + Send + 'static,
) -> (Query, StoreFuture<T>) {
    let (reply, answer) = oneshot::channel();
    let query = Box::new(move |connection: Result<&Connection, StoreError>| {
        let (answer, trouble) = match connection.map(read) {
            Ok(Ok(found)) => (Ok(found), Ok(())),
            Ok(Err(error)) => (Err(explain(&error, &path)), Err(error)),
            Err(error) => (Err(error), Ok(())),
        };
        drop(reply.send(answer));
        trouble
    });
    (query, arriving(answer))
}

fn serve(waiting: &Mutex<Receiver<Query>>, path: &Path) {
    let mut connection = None;
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(query) = next else { return };
        // A panic answers the question, by dropping its reply, and costs no thread.
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&mut connection, path, query)));
        if !answered.is_ok_and(|sound| sound) {
            connection = None;
        }
    }
}

/// Answers whether the connection is still sound.
fn answer(connection: &mut Option<Connection>, path: &Path, query: Query) -> bool {
    let open = match connection.take().map_or_else(|| open::reader(path), Ok) {
        Ok(open) => open,
        Err(error) => return query(Err(explain(&error, path))).is_ok(),
    };
    let outcome = query(Ok(&open));
    *connection = Some(open);
    outcome.err().is_none_or(|error| reach(&error) == Reach::Operation)
}
