//! Groups in which something goes wrong.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use forerunner_core::{NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::{
    Claim, EnqueueOutcome, LeaseLost, Refusal, Settled, Settlement, StoreFuture, Submission,
    sqlite::{file::beside, jobs::Work},
};

/// A job, and the future of its answer.
type Sent<T> = (Box<dyn Job>, StoreFuture<T>);

/// A writer without its thread, so that a test chooses the operations of each group.
struct Rig {
    writer: Writer,
    _directory: TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tasks.db");
        let file = Arc::new(StoreFile::open(&path).unwrap());
        let (readers, reader_threads) = Readers::start(&file, 1).unwrap();
        let writer = Writer::open(Parts {
            inbox: Arc::default(),
            agents: Agents::default(),
            damaged: Arc::default(),
            space: Space::new(beside(&path, "-reserve"), Arc::default()),
            readers,
            reader_threads,
            file,
        });
        Self { writer: writer.unwrap(), _directory: directory }
    }

    fn group(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut batch = Batch { jobs: jobs.into(), ..Batch::default() };
        self.writer.group(&mut batch);
    }

    /// Lets `later` arrive while the group runs, after its claims were answered.
    fn group_and(&mut self, jobs: Vec<Box<dyn Job>>, later: Box<dyn Job>) {
        self.writer.inbox.push(later);
        self.group(jobs);
    }

    async fn alone<T>(&mut self, (job, answer): Sent<T>) -> Result<T, StoreError> {
        self.group(vec![job]);
        answer.await
    }
}

fn job<I: Send + 'static, T: Send + 'static>(kind: Kind, input: I, verb: fn(&mut Tx<'_>, &I) -> Sql<T>) -> Sent<T> {
    let (work, answer) = Work::new(kind, Weight { items: 1, bytes: 0 }, input, verb);
    (Box::new(work), answer)
}

fn enqueue(number: i64) -> Sent<Vec<Result<EnqueueOutcome, Refusal>>> {
    let now = Timestamp::from_micros(number * 1_000);
    let task = Task::accepted(
        TaskId::from_parts(now, 0),
        NewTask::new(PoolName::new("coder").unwrap(), Payload::null()),
        now,
        Duration::from_secs(1),
        RetryPolicy::default(),
    );
    job(Kind::Admit, vec![Submission::new(task, None)], |tx, batch| tx.enqueue(batch))
}

fn claim(limit: usize) -> Sent<Vec<Task>> {
    let now = Timestamp::from_micros(1_000_000);
    let claim = Claim {
        pool: PoolName::new("coder").unwrap(),
        node: NodeId::from_parts(now, 1),
        limit,
        starts: usize::MAX,
        now,
        lease_until: now,
    };
    let (mut work, answer) = Work::new(Kind::HandOut, Weight::default(), claim, |tx, claim| tx.claim(claim));
    work.empty = Vec::is_empty;
    (Box::new(work), answer)
}

fn settle(task: &Task) -> Sent<Vec<Result<Settled, LeaseLost>>> {
    let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::null()), error: None };
    let now = Timestamp::from_micros(2_000_000);
    let settlement = Settlement::new(task.id, task.epoch, now, next);
    job(Kind::Change, vec![settlement], |tx, batch| tx.settle(batch))
}

/// A job that fails as the engine would, the first time or always.
fn failing(code: i32, once: bool) -> Sent<()> {
    job(Kind::Change, (code, once, AtomicBool::new(false)), |tx, (code, once, failed)| {
        tx.put_setting("half", Some("written"))?;
        if *once && failed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::SqliteFailure(rusqlite::ffi::Error::new(*code), Some("injected".to_owned())))
    })
}

fn note() -> Sent<Option<String>> {
    job(Kind::Peek, (), |tx, ()| super::super::listing::note(tx.connection, "half"))
}

#[tokio::test]
async fn an_operation_that_fails_or_panics_costs_the_others_nothing() {
    let mut rig = Rig::new();
    let panicking = || job(Kind::Change, (), |_, ()| -> Sql<()> { panic!("on purpose") });
    let (first, second, third) = (enqueue(1), enqueue(2), enqueue(3));
    let (constraint, panic) = (failing(rusqlite::ffi::SQLITE_CONSTRAINT, false), panicking());
    rig.group(vec![first.0, constraint.0, second.0, panic.0, third.0]);
    for answer in [first.1, second.1, third.1] {
        assert!(matches!(answer.await.unwrap()[0], Ok(EnqueueOutcome::New { claimable: true, .. })));
    }
    assert!(matches!(constraint.1.await.unwrap_err(), StoreError::Unavailable { .. }));
    assert!(matches!(panic.1.await.unwrap_err(), StoreError::Unavailable { .. }));
    assert_eq!(rig.alone(note()).await.unwrap(), None);
    assert_eq!(rig.alone(claim(9)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn leases_of_a_group_that_failed_are_void_and_their_epochs_never_come_again() {
    let mut rig = Rig::new();
    rig.alone(enqueue(1)).await.unwrap();
    let mut void: Vec<Task> = Vec::new();
    for _ in 0..3 {
        let (claim, broken, lost) = (claim(1), failing(rusqlite::ffi::SQLITE_IOERR_FSYNC, false), enqueue(2));
        rig.group_and(vec![claim.0, lost.0], broken.0);
        void.extend(claim.1.await.unwrap());
        assert!(matches!(broken.1.await.unwrap_err(), StoreError::Unavailable { .. }));
        assert!(lost.1.await.unwrap_err().is_retryable());
    }
    assert_eq!(void.len(), 3, "the task was queued again each time");
    assert!(void.is_sorted_by_key(|task| task.epoch) && void[0].epoch < void[1].epoch);
    for stale in &void {
        assert!(rig.alone(settle(stale)).await.unwrap()[0].is_err());
    }
    let lease = rig.alone(claim(9)).await.unwrap().remove(0);
    assert!(lease.epoch > void[2].epoch);
    for stale in &void {
        assert!(rig.alone(settle(stale)).await.unwrap()[0].is_err());
    }
    assert!(rig.alone(settle(&lease)).await.unwrap()[0].is_ok());
    assert!(matches!(rig.alone(enqueue(2)).await.unwrap()[0], Ok(EnqueueOutcome::New { .. })));
}

#[tokio::test]
async fn a_settle_beside_the_claim_that_failed_is_not_accepted() {
    let mut rig = Rig::new();
    rig.alone(enqueue(1)).await.unwrap();
    let earlier = rig.alone(claim(1)).await.unwrap().remove(0);
    rig.alone(enqueue(2)).await.unwrap();
    let (claim, full) = (claim(1), failing(rusqlite::ffi::SQLITE_FULL, true));
    let (new, old) = (enqueue(3), settle(&earlier));
    rig.group_and(vec![claim.0, new.0, old.0], full.0);
    let void = claim.1.await.unwrap().remove(0);
    full.1.await.unwrap();
    assert!(matches!(new.1.await.unwrap_err(), StoreError::Full { .. }));
    assert!(old.1.await.unwrap()[0].is_ok(), "work that was done is kept when there is no room for more");
    assert!(rig.alone(settle(&void)).await.unwrap()[0].is_err());
    let again = rig.alone(super::tests::claim(9)).await.unwrap();
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), [void.id]);
    assert!(again[0].epoch > void.epoch);
    assert!(matches!(rig.alone(enqueue(3)).await.unwrap()[0], Ok(EnqueueOutcome::New { .. })), "it healed");
}

#[tokio::test]
async fn only_a_group_of_claims_is_spared_the_sync() {
    let mut rig = Rig::new();
    let level = |rig: &Rig| -> i64 {
        let connection = rig.writer.connection.as_ref().unwrap();
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
    };
    const NORMAL: i64 = 1;
    const FULL: i64 = 2;
    for number in 1..4 {
        rig.alone(enqueue(number)).await.unwrap();
        assert_eq!(level(&rig), FULL);
        let task = rig.alone(claim(1)).await.unwrap().remove(0);
        assert_eq!(level(&rig), NORMAL);
        rig.alone(settle(&task)).await.unwrap();
        assert_eq!(level(&rig), FULL);
    }
}
