//! The threads that answer questions, each with a connection that cannot write.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    failure::{Reach, Sql, explain, reach, unavailable},
    file::StoreFile,
    jobs::{Query, arriving},
    open,
    watch::misplaced,
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
    pub fn start(file: &Arc<StoreFile>, threads: usize) -> Result<(Self, Vec<JoinHandle<()>>), StoreError> {
        let (queries, waiting) = sync_channel(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |number| {
            let (waiting, file) = (Arc::clone(&waiting), Arc::clone(file));
            let thread = std::thread::Builder::new().name(format!("store-read-{number}"));
            thread.spawn(move || serve(&waiting, &file)).map_err(|error| unavailable(error.to_string()))
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok((Self { queries }, threads))
    }

    /// Passes a question on, or answers it with the reason why not.
    pub fn ask(&self, query: Query) {
        let (query, why) = match self.queries.try_send(query) {
            Ok(()) => return,
            Err(TrySendError::Full(query)) => (query, format!("{MAX_WAITING} reads wait for an answer")),
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

fn serve(waiting: &Mutex<Receiver<Query>>, file: &StoreFile) {
    let mut connection = None;
    loop {
        let next = waiting.lock().recv();
        let Ok(query) = next else { return };
        // A panic answers the question, by dropping its reply, and costs no thread.
        let answered = catch_unwind(AssertUnwindSafe(|| answer(&mut connection, file, query)));
        if !answered.is_ok_and(|sound| sound) {
            connection = None;
        }
    }
}

/// Answers whether the connection is still sound.
fn answer(connection: &mut Option<Connection>, file: &StoreFile, query: Query) -> bool {
    let open = match connection.take().map_or_else(|| connect(file), Ok) {
        Ok(open) => open,
        Err(error) => return query(Err(error)).is_ok(),
    };
    let outcome = query(Ok(&open));
    *connection = Some(open);
    outcome.err().is_none_or(|error| reach(&error) == Reach::Operation)
}

/// Opens the file by its name, if it is still the file of that name.
fn connect(file: &StoreFile) -> Result<Connection, StoreError> {
    let connection = open::again(file, open::reader).map_err(|error| explain(&error, file.path()))?;
    misplaced(file).map_err(unavailable)?;
    Ok(connection)
}
