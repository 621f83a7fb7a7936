//! The thread that owns the only connection that writes.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use forerunner_core::LeaseEpoch;
use rusqlite::{Connection, Error, config::DbConfig};
use tokio::sync::oneshot;

use super::{
    cache::{Agents, Cache},
    failure::{self, KIND, Reach, Sql, explain, reach, unavailable},
    file::StoreFile,
    inbox::{Batch, Inbox, Outcome},
    jobs::{Job, Kind, Weight},
    log::Log,
    mark, open,
    reader::Readers,
    rows::{MOST_COUNTED, damage_in, run, value},
    space::Space,
    tx::Tx,
    watch::Watch,
};
use crate::{
    StoreError,
    damage::{Damage, DamageCount},
};

/// Distance between epochs of one run and the next, or before and after a failed commit: more than the leases that one
/// task can have had in between.
const EPOCH_GAP: u64 = 1 << 32;

/// What the thread works with.
pub(super) struct Writer {
    inbox: Arc<Inbox>,
    /// Absent after an error that makes the connection doubtful, until it is opened again.
    connection: Option<Connection>,
    cache: Cache,
    space: Space,
    log: Log,
    damaged: Arc<DamageCount>,
    readers: Option<Readers>,
    reader_threads: Vec<JoinHandle<()>>,
    /// Every epoch handed out is greater than this.
    epoch_floor: u64,
    /// Leases up to this epoch were handed out before a crash.
    void_epochs: LeaseEpoch,
    /// Whether leases were handed out that did not come to be: nothing more may be before the floor is raised.
    owes_fence: bool,
    watch: Watch,
    /// Dropped last: it has the locks.
    file: Arc<StoreFile>,
}

/// What the writer is made of.
pub(super) struct Parts {
    pub inbox: Arc<Inbox>,
    pub agents: Agents,
    pub space: Space,
    pub damaged: Arc<DamageCount>,
    pub readers: Readers,
    pub reader_threads: Vec<JoinHandle<()>>,
    pub file: Arc<StoreFile>,
}

/// Why a group failed.
struct Trouble {
    error: StoreError,
    reach: Reach,
    /// The job that met it; none if it was the commit.
    culprit: Option<usize>,
    /// The row that could not be read, if that was it.
    damage: Option<Damage>,
}

impl Writer {
    /// Opens the file, reads what must be known, and fences off whatever ran before.
    pub fn open(parts: Parts) -> Result<Self, StoreError> {
        let Parts { inbox, agents, mut space, damaged, readers, reader_threads, file } = parts;
        let path = file.path();
        let explain = |error: Error| explain(&error, path);
        let connection = open::writer(path).map_err(explain)?;
        let cache = Cache::load(&connection, agents).map_err(explain)?;
        let (floor, was_clean) = last_run(&connection).map_err(explain)?;
        let floor = readable_floor(floor).map_err(|reason| failure::damaged(path, reason))?;
        let epoch_floor = if was_clean { floor } else { floor + EPOCH_GAP };
        if let Err(error) = space.hold(&connection) {
            tracing::warn!(%error, "store: opened without a reserve; rejecting new tasks");
            space.release(&connection).map_err(explain)?;
        }
        raise_floor(&connection, epoch_floor).map_err(explain)?;
        // After an unclean end there is a log, and the mark that belongs to it, unless it came while the mark was made.
        if was_clean || mark::is_half_made(&connection).map_err(explain)? {
            mark::renew(&connection, &file).map_err(explain)?;
        }
        let mut watch = Watch::new(Arc::clone(&file));
        watch.learn();
        let mut writer = Self {
            log: Log::new(Arc::clone(&file)),
            watch,
            inbox,
            connection: Some(connection),
            cache,
            space,
            damaged,
            readers: Some(readers),
            reader_threads,
            epoch_floor,
            void_epochs: LeaseEpoch(if was_clean { 0 } else { epoch_floor }),
            owes_fence: false,
            file,
        };
        let unread = std::mem::take(&mut writer.cache.unread);
        writer.set_aside(&unread);
        writer.damaged.note_there(writer.cache.damaged());
        Ok(writer)
    }

    /// Serves groups until asked to close. Never panics: every caller gets an answer.
    pub fn serve(mut self) {
        let inbox = Arc::clone(&self.inbox);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve_all()));
        let why = match outcome {
            Ok(reply) => {
                drop(self);
                if let Some((reply, outcome)) = reply {
                    drop(reply.send(outcome));
                }
                failure::closed()
            }
            Err(_) => {
                tracing::error!("store: the writer panicked and has stopped");
                unavailable("its writer stopped; start the node again")
            }
        };
        inbox.abandon(&why);
    }

    /// Answers who asked to close, and how that ended.
    fn serve_all(&mut self) -> Option<(oneshot::Sender<Outcome>, Outcome)> {
        loop {
            let mut batch = self.inbox.take();
            self.group(&mut batch);
            for query in batch.queries.drain(..) {
                if let Some(readers) = &self.readers {
                    readers.ask(query);
                }
            }
            if let Some(reply) = batch.close {
                let outcome = self.finish();
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "store: not closed properly");
                }
                return reply.map(|reply| (reply, outcome));
            }
            self.copy_log();
        }
    }

    /// Copies the log into the database once it is large, if that is still the database of this log.
    fn copy_log(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| self.log.is_large()) else { return };
        if self.watch.fault(Some(connection)).is_none() && set_sync(connection, Sync::Commit).is_ok() {
            self.log.copy(connection);
            self.watch.note_checkpoint();
        }
    }

    /// Runs a group until it is committed, or all of it is refused.
    fn group(&mut self, batch: &mut Batch) {
        let mut is_open = true;
        while !batch.jobs.is_empty() {
            if let Some(fault) = self.fault(batch) {
                return answer_all(&mut batch.jobs, &Err(unavailable(fault)));
            }
            let trouble = match self.sound().and_then(|()| self.attempt(batch, is_open)) {
                Ok(()) => {
                    let lost = |reason| Err(StoreError::OutcomeUnknown { store: KIND, reason });
                    let outcome = self.fault(batch).map_or(Ok(()), lost);
                    return answer_all(&mut batch.jobs, &outcome);
                }
                Err(trouble) => trouble,
            };
            self.roll_back();
            match (trouble.reach, trouble.culprit) {
                // Run again without it in the way.
                (Reach::Operation, Some(_)) if self.set_aside(trouble.damage.as_slice()) > 0 => {}
                (Reach::Operation, Some(culprit)) => {
                    tracing::error!(error = %trouble.error, "store: an operation failed; skipping it");
                    answer_one(&mut batch.jobs, culprit, trouble.error);
                }
                (Reach::Space, _) if is_open => self.make_room(&mut batch.jobs, &trouble.error),
                _ => {
                    tracing::error!(error = %trouble.error, "store: cannot write a batch");
                    if trouble.reach == Reach::Engine {
                        self.disconnect();
                        self.damaged.note_error(&trouble.error);
                    }
                    return answer_all(&mut batch.jobs, &Err(trouble.error));
                }
            }
            is_open = is_open && trouble.reach != Reach::Space;
            // What was handed out is void; nobody waits for it any more.
            batch.jobs.retain(|job| !job.is_answered());
        }
    }

    /// What prevents a group from being written, or from being answered as written. A group of reads may continue.
    fn fault(&mut self, batch: &Batch) -> Option<String> {
        let fault = self.watch.fault(self.connection.as_ref());
        fault.filter(|_| batch.jobs.iter().any(|job| job.kind() != Kind::Peek))
    }

    /// Runs all jobs in one transaction and commits it.
    fn attempt(&mut self, batch: &mut Batch, takes_more: bool) -> Result<(), Trouble> {
        let Some(connection) = &self.connection else { return Err(Trouble::of_engine(unavailable("it is not open"))) };
        let path = self.file.path();
        // A claim need not be on disk, so a group of claims alone skips the sync; the next one includes it.
        let is_volatile = batch.jobs.iter().all(|job| matches!(job.kind(), Kind::HandOut | Kind::Peek));
        let takes_more = takes_more && !is_volatile;
        let sync = if is_volatile { Sync::Later } else { Sync::Commit };
        set_sync(connection, sync).map_err(|error| Trouble::of_commit(&error, path))?;
        let mut weight = Weight::default();
        let mut tx =
            Tx { connection, cache: &mut self.cache, epoch_floor: self.epoch_floor, void_epochs: self.void_epochs };
        let mut is_writing = false;
        let mut next = 0;
        loop {
            while let Some(job) = batch.jobs.get_mut(next) {
                if job.kind() == Kind::Admit
                    && let Err(full) = self.space.hold(connection)
                {
                    job.answer(Err(full));
                    batch.jobs.remove(next);
                    continue;
                }
                if job.kind() != Kind::Peek && !is_writing {
                    run(connection, "BEGIN IMMEDIATE", []).map_err(|error| Trouble::of_commit(&error, path))?;
                    is_writing = true;
                }
                match catch_unwind(AssertUnwindSafe(|| job.run(&mut tx))) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(Trouble::of_job(&error, path, next)),
                    Err(_) => return Err(Trouble::of_panic(next)),
                }
                weight.items += job.weight().items;
                weight.bytes += job.weight().bytes;
                next += 1;
            }
            // Together, since each answer may wake a thread that needs this one's processor.
            for job in batch.jobs.iter_mut().filter(|job| job.kind() == Kind::HandOut && !job.is_answered()) {
                self.owes_fence |= !job.is_empty();
                job.answer(Ok(()));
            }
            let before = batch.jobs.len();
            if takes_more {
                self.inbox.take_more(batch, &mut weight);
            }
            if batch.jobs.len() == before {
                break;
            }
        }
        if is_writing {
            run(connection, "COMMIT", []).map_err(|error| Trouble::of_commit(&error, path))?;
            self.log.note(weight);
        }
        self.owes_fence = false;
        self.note_damage();
        Ok(())
    }

    /// Sets unreadable tasks aside, in a transaction of its own; returns how many.
    fn set_aside(&mut self, unread: &[Damage]) -> usize {
        let Some(connection) = self.connection.as_ref().filter(|_| !unread.is_empty()) else { return 0 };
        let mut tx =
            Tx { connection, cache: &mut self.cache, epoch_floor: self.epoch_floor, void_epochs: self.void_epochs };
        let done = run(connection, "BEGIN IMMEDIATE", []).and_then(|_| tx.set_aside(unread));
        match done.and_then(|done| run(connection, "COMMIT", []).map(|_| done)) {
            Ok(done) => {
                self.note_damage();
                done
            }
            Err(error) => {
                tracing::error!(%error, "store: cannot set unreadable tasks aside");
                self.roll_back();
                0
            }
        }
    }

    /// Logs and counts what was set aside, now that it is stored.
    fn note_damage(&mut self) {
        let found = std::mem::take(&mut self.cache.found);
        let found: Vec<_> = found.into_iter().map(|damage| (damage.row.to_string(), damage.reason)).collect();
        self.damaged.note_found(&found);
        self.damaged.note_there(self.cache.damaged());
    }

    /// Undoes what a group did, in the file and in memory.
    fn roll_back(&mut self) {
        let Some(connection) = &self.connection else { return };
        let undone = if connection.is_autocommit() { Ok(0) } else { run(connection, "ROLLBACK", []) };
        let agents = Arc::clone(&self.cache.agents);
        match undone.and_then(|_| Cache::load(connection, agents)) {
            Ok(cache) => self.cache = self.cache.after_roll_back(cache),
            Err(error) => {
                tracing::error!(%error, "store: cannot roll back; reopening the file");
                self.disconnect();
            }
        }
    }

    /// Closes the connection. SQLite may remove the log then.
    fn disconnect(&mut self) {
        self.connection = None;
        self.watch.forget();
    }

    /// Makes sure that there is a connection, and that no epoch handed out in vain can come again.
    fn sound(&mut self) -> Result<(), Trouble> {
        if self.connection.is_none() {
            let path = self.file.path();
            let connection = open::again(&self.file, open::writer);
            let connection = connection.map_err(|error| Trouble::of_commit(&error, path))?;
            let cache = Cache::load(&connection, Arc::clone(&self.cache.agents));
            let cache = cache.map_err(|error| Trouble::of_commit(&error, path))?;
            self.cache = self.cache.after_roll_back(cache);
            self.space.forget_connection();
            self.space.apply(&connection).map_err(|error| Trouble::of_commit(&error, path))?;
            self.watch.learn();
            self.log.mark_soon();
            tracing::info!("store: reopened");
            self.connection = Some(connection);
        }
        let Some(connection) = self.connection.as_ref().filter(|_| self.owes_fence) else { return Ok(()) };
        // In memory first: even if the write fails halfway, the next attempt uses a greater one.
        self.epoch_floor += EPOCH_GAP;
        let path = self.file.path();
        set_sync(connection, Sync::Commit).map_err(|error| Trouble::of_commit(&error, path))?;
        raise_floor(connection, self.epoch_floor).map_err(|error| Trouble::of_commit(&error, path))?;
        self.owes_fence = false;
        Ok(())
    }

    /// Releases the reserve and rejects operations that would need more space.
    fn make_room(&mut self, jobs: &mut VecDeque<Box<dyn Job>>, full: &StoreError) {
        if let Some(connection) = &self.connection
            && let Err(error) = self.space.release(connection)
        {
            tracing::error!(%error, "store: cannot release the reserve");
        }
        for job in jobs.iter_mut().filter(|job| job.kind() == Kind::Admit) {
            job.answer(Err(full.clone()));
        }
    }

    /// Closes the file properly: one file, an empty log.
    fn finish(&mut self) -> Outcome {
        // The readers close first, since a reader prevents the log from being emptied.
        self.readers = None;
        for thread in self.reader_threads.drain(..) {
            drop(thread.join());
        }
        let Some(connection) = self.connection.take().filter(|_| !self.owes_fence) else {
            return Err(not_closed("its last group was not written"));
        };
        let fault = self.watch.fault(Some(&connection));
        if !self.watch.is_intact() {
            // The file that is there now is not the one of the log.
            drop(connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
            let reason = fault.unwrap_or_else(|| "its files were cut or overwritten".to_owned());
            return Err(unavailable(format!("it was not closed properly, since {reason}")));
        }
        // Also into a file that was renamed: what was accepted is whole there.
        let written = set_sync(&connection, Sync::Commit);
        let written = written.and_then(|()| mark::settle(&connection));
        let written = written.and_then(|()| run(&connection, "UPDATE meta SET clean = 1", []));
        written.map_err(|error| not_closed(&error.to_string()))?;
        match self.log.empty(&connection) {
            // All of it is in the log, durably. Copying may need as much space again, which no restart would free.
            Err(error) if matches!(reach(&error), Reach::Space) => {
                tracing::warn!(%error, "store: closed with the write-ahead log beside it; free disk space before the next start");
                Ok(())
            }
            emptied => emptied.map_err(|error| not_closed(&error.to_string())),
        }
    }
}

/// What was committed is in the file and its log.
fn not_closed(reason: &str) -> StoreError {
    unavailable(format!("it was not closed properly: {reason}; keep its log beside it, the next start repairs it"))
}

impl Trouble {
    fn of_job(error: &Error, path: &std::path::Path, culprit: usize) -> Self {
        Self {
            error: explain(error, path),
            reach: reach(error),
            culprit: Some(culprit),
            damage: damage_in(error).cloned(),
        }
    }

    fn of_commit(error: &Error, path: &std::path::Path) -> Self {
        let reach = match reach(error) {
            Reach::Space => Reach::Space,
            Reach::Operation | Reach::Engine => Reach::Engine,
        };
        Self { error: explain(error, path), reach, culprit: None, damage: None }
    }

    fn of_panic(culprit: usize) -> Self {
        let error = unavailable("an operation panicked, which is a bug; see the log");
        Self { error, reach: Reach::Operation, culprit: Some(culprit), damage: None }
    }

    fn of_engine(error: StoreError) -> Self {
        Self { error, reach: Reach::Engine, culprit: None, damage: None }
    }
}

fn answer_all(jobs: &mut VecDeque<Box<dyn Job>>, outcome: &Result<(), StoreError>) {
    for mut job in jobs.drain(..) {
        job.answer(outcome.clone());
    }
}

fn answer_one(jobs: &mut VecDeque<Box<dyn Job>>, index: usize, error: StoreError) {
    if let Some(mut job) = jobs.remove(index) {
        job.answer(Err(error));
    }
}

/// When what is committed reaches the disk.
#[derive(Debug, Clone, Copy)]
enum Sync {
    /// With its commit.
    Commit,
    /// With the next commit that is synced, in order.
    Later,
}

/// Sets when the next commits reach the disk. Not to be called inside a transaction.
fn set_sync(connection: &Connection, sync: Sync) -> Sql<()> {
    let sql = match sync {
        Sync::Commit => "PRAGMA synchronous = FULL",
        Sync::Later => "PRAGMA synchronous = NORMAL",
    };
    // Takes effect when it is prepared, not when it is run: a cached statement would do nothing the second time.
    connection.execute_batch(sql)
}

/// The epoch floor of the last run, and whether it closed properly.
fn last_run(connection: &Connection) -> Sql<(i64, bool)> {
    let floor = value::<i64>(connection, "SELECT epoch_floor FROM meta", [])?.unwrap_or(0);
    let clean = value::<bool>(connection, "SELECT clean FROM meta", [])?.unwrap_or(false);
    Ok((floor, clean))
}

/// The floor as a number to count on, or why it cannot be one.
fn readable_floor(floor: i64) -> Result<u64, String> {
    u64::try_from(floor).ok().filter(|floor| *floor <= MOST_COUNTED).ok_or_else(|| {
        format!(
            "`epoch_floor` in the table `meta` is {floor}, beyond which no lease can be counted (set it to a number above \
             every `epoch` in `tasks` and below 2^62)"
        )
    })
}

/// Writes the floor to disk, and that the store is open.
fn raise_floor(connection: &Connection, floor: u64) -> Sql<()> {
    run(connection, "UPDATE meta SET epoch_floor = ?1, clean = 0", [floor as i64]).map(drop)
}

#[cfg(test)]
mod tests;
