//! Rows of a SQLite file that cannot be read: the tasks are set aside, everything else continues.

use forerunner_store::roles::*;
use std::{collections::BTreeMap, path::Path, time::Duration};

use forerunner_core::{
    AgentId, ContextId, ErrorKind, IdempotencyKey, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task,
    TaskError, TaskId, TaskState, Timestamp,
};
use forerunner_store::{
    Cancelled, Claim, ContextCommit, DamagedTasks, EnqueueOutcome, Peek, Rescue, Settlement, SqliteOptions,
    SqliteStore, Start, StateConflict, Store, StoreError, Submission, TaskFilter, born_of,
};
use tempfile::TempDir;

const SECOND: i64 = 1_000_000;
/// The number of the task that is damaged, of five.
const BAD: u128 = 3;

/// Damage of every column of a task that waits, and of what belongs to it. `?1` is its row.
const DAMAGE: &[&str] = &[
    "UPDATE inputs SET labels = '[1' WHERE task = ?1",
    "UPDATE inputs SET labels = '{\"a\": 1}' WHERE task = ?1",
    "UPDATE inputs SET labels = CAST(x'fffe' AS TEXT) WHERE task = ?1",
    "UPDATE inputs SET input = 'no JSON' WHERE task = ?1",
    "UPDATE inputs SET input = '' WHERE task = ?1",
    "UPDATE inputs SET input = CAST(x'22ff22' AS TEXT) WHERE task = ?1",
    "UPDATE inputs SET key = '' WHERE task = ?1",
    "UPDATE inputs SET key = CAST(x'80' AS TEXT) WHERE task = ?1",
    "UPDATE inputs SET max_attempts = -1 WHERE task = ?1",
    "UPDATE inputs SET max_crashes = 4294967296 WHERE task = ?1",
    "UPDATE inputs SET timeout = -1 WHERE task = ?1",
    "UPDATE inputs SET backoff_initial = -5 WHERE task = ?1",
    "UPDATE inputs SET submitted_at = 9223372036854775807 WHERE task = ?1",
    "DELETE FROM inputs WHERE task = ?1",
    "UPDATE tasks SET attempt = -1 WHERE task = ?1",
    "UPDATE tasks SET attempt = 4294967296 WHERE task = ?1",
    "UPDATE tasks SET attempt = 4294967295 WHERE task = ?1",
    "UPDATE tasks SET crashes = -1 WHERE task = ?1",
    "UPDATE tasks SET crashes = 4294967295 WHERE task = ?1",
    "UPDATE tasks SET epoch = -1 WHERE task = ?1",
    "UPDATE tasks SET epoch = 9223372036854775807 WHERE task = ?1",
    "UPDATE tasks SET context = '' WHERE task = ?1",
    "UPDATE tasks SET context = CAST(x'ff' AS TEXT) WHERE task = ?1",
    "UPDATE tasks SET priority = 77 WHERE task = ?1",
    "UPDATE tasks SET priority = -1 WHERE task = ?1",
    "UPDATE tasks SET state = 99 WHERE task = ?1",
    "UPDATE tasks SET state = -2 WHERE task = ?1",
    "UPDATE tasks SET pool = 99 WHERE task = ?1",
    "UPDATE tasks SET id = x'0102' WHERE task = ?1",
    "UPDATE tasks SET agent = x'01' WHERE task = ?1",
    "UPDATE tasks SET node = x'01' WHERE task = ?1",
    "UPDATE tasks SET error_kind = 'nonsense' WHERE task = ?1",
    "UPDATE tasks SET due = 9223372036854775807 WHERE task = ?1",
    "UPDATE tasks SET run_at = -9223372036854775807 WHERE task = ?1",
    "UPDATE tasks SET started_at = 9223372036854775807 WHERE task = ?1",
];

/// Claimable tasks on which `ready` and `tasks` disagree. `?1` is the row of one that waits.
const DISAGREEMENTS: &[&str] = &[
    "UPDATE tasks SET priority = 5 WHERE task = ?1",
    "UPDATE tasks SET priority = 0 WHERE task = ?1",
    "UPDATE tasks SET due = 0 WHERE task = ?1",
    "UPDATE tasks SET due = due + 1 WHERE task = ?1",
    "UPDATE ready SET due = 0 WHERE task = ?1",
    "UPDATE ready SET due = 9223372036854775807 WHERE task = ?1",
    "UPDATE ready SET urgency = -9223372036854775807 WHERE task = ?1",
    "UPDATE ready SET urgency = 255 WHERE task = ?1",
    "INSERT INTO ready SELECT pool, urgency, due - 1, task, deadline FROM ready WHERE task = ?1",
    "INSERT INTO ready SELECT pool, 0, due, (SELECT min(task) FROM tasks WHERE state > 1), NULL FROM tasks WHERE task = ?1",
];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000 * SECOND + seconds * SECOND)
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn id(number: u128) -> TaskId {
    TaskId::from_parts(at(0), number)
}

fn node() -> NodeId {
    NodeId::from_parts(at(0), 7)
}

fn task(number: u128) -> Task {
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let idempotency_key = Some(IdempotencyKey::new(format!("key-{number}")).unwrap());
    let new = NewTask { labels, idempotency_key, ..NewTask::new(pool(), Payload::trusted(number.to_string())) };
    Task::accepted(id(number), new, at(0), Duration::from_secs(9), RetryPolicy::default())
}

/// A store in a directory, and what is done to it from outside.
struct Lab {
    directory: TempDir,
    store: Option<SqliteStore>,
}

impl Lab {
    fn new() -> Self {
        let directory = TempDir::new_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let mut lab = Self { directory, store: None };
        lab.open();
        lab
    }

    fn open(&mut self) {
        let open = || SqliteStore::open(self.directory.path().join("tasks.db"), SqliteOptions::default());
        let mut opened = open();
        // The threads of a store that did not open release the file after a moment.
        for _ in 0..500 {
            if !matches!(opened, Err(StoreError::InUse { .. })) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            opened = open();
        }
        self.store = Some(opened.unwrap());
    }

    fn store(&self) -> &SqliteStore {
        self.store.as_ref().unwrap()
    }

    /// Damages the row of a task while nobody has the file open.
    fn damage(&mut self, sql: &str, task: TaskId) {
        self.damage_closed(sql, task);
        self.open();
    }

    /// The same, and leaves the file closed.
    fn damage_closed(&mut self, sql: &str, task: TaskId) {
        self.store = None;
        let connection = rusqlite::Connection::open(self.directory.path().join("tasks.db")).unwrap();
        let bytes = task.as_uuid().as_bytes();
        let row: i64 = connection.query_row("SELECT task FROM tasks WHERE id = ?1", [bytes], |row| row.get(0)).unwrap();
        connection.execute(sql, [row]).unwrap();
    }

    async fn submit(&self, tasks: impl IntoIterator<Item = Task>) {
        let batch = tasks.into_iter().map(|task| Submission::new(task, None)).collect();
        for answer in self.store().enqueue(batch).await.unwrap() {
            assert!(matches!(answer, Ok(EnqueueOutcome::New { .. })), "{answer:?}");
        }
    }

    async fn claim(&self, limit: usize) -> Vec<Task> {
        let claim = Claim { pool: pool(), node: node(), limit, starts: usize::MAX, now: at(100), lease_until: at(200) };
        self.store().claim(claim).await.unwrap()
    }

    async fn list(&self, state: Option<TaskState>) -> Vec<Task> {
        self.store()
            .tasks(TaskFilter { states: state.into_iter().collect(), limit: 100, ..TaskFilter::default() })
            .await
            .unwrap()
            .tasks
    }

    /// The damaged task, as listings show it.
    async fn damaged(&self) -> Task {
        let mut damaged = self.list(Some(TaskState::Damaged)).await;
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        damaged.remove(0)
    }

    /// What the store counts, once what was asked before is committed.
    async fn counted(&self) -> DamagedTasks {
        self.store().check().await.unwrap();
        self.store().damaged()
    }

    /// Ends a task, which leaves a version of its context.
    async fn finish_turn(&self, task: &Task) -> bool {
        let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::null()), error: None };
        let commit = ContextCommit {
            context: task.context.clone().unwrap(),
            born: if task.context_version == 0 { born_of(task.id) } else { task.context_born },
            parent_version: task.context_version,
            frame: vec![1],
            full: task.context_version == 0,
            size_bytes: 1,
            items: 1,
            pieces: Vec::new(),
        };
        let (task, epoch, context) = (task.id, task.epoch, Some(commit));
        let settlement =
            Settlement { task, epoch, now: at(101), next, context, context_cost: None, report: None, started: None };
        self.store().settle(vec![settlement]).await.unwrap().remove(0).is_ok()
    }

    /// Claims what waits and lets it fail, to be tried again at once.
    async fn fail_all(&self, now: Timestamp) {
        let claimed = self.claim(9).await;
        assert_eq!(claimed.len(), 2);
        let agent = AgentId::from_parts(at(0), 0);
        for Task { id, epoch, .. } in claimed {
            let error = TaskError::new(ErrorKind::AgentError, "no");
            let next = Next::Retry { run_at: at(0), error, crash: false, counts: true };
            let started = Some(Start { agent, at: now });
            let end =
                Settlement { task: id, epoch, now, next, context: None, context_cost: None, report: None, started };
            self.store().settle(vec![end]).await.unwrap().remove(0).unwrap();
        }
        self.store().sweep(pool(), now).await.unwrap();
    }

    /// How many attempts of a task are known.
    async fn attempts(&self, number: u128) -> usize {
        self.store().attempts(id(number)).await.unwrap().expect("the task is there").len()
    }

    async fn finish(&self, task: &Task) {
        let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::null()), error: None };
        let (task, epoch) = (task.id, task.epoch);
        let settlement = Settlement::new(task, epoch, at(101), next);
        self.store().settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    }
}

/// Five tasks, of which the third is damaged.
async fn with_damage(sql: &str) -> Lab {
    let mut lab = Lab::new();
    lab.submit((1..=5).map(task)).await;
    lab.damage(sql, id(BAD));
    lab
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_set_aside_and_the_others_are_claimed() {
    for sql in DAMAGE {
        let lab = with_damage(sql).await;
        let look = Peek { pool: pool(), node: node(), limit: 9, now: at(100) };
        assert!(lab.store().peek(look).await.unwrap().len() >= 4, "{sql}");
        let claimed = lab.claim(2).await.len() + lab.claim(9).await.len();
        assert_eq!(claimed, 4, "{sql}");
        assert_eq!(lab.claim(9).await, [], "{sql}");
        let damaged = lab.damaged().await;
        let error = damaged.error.as_ref().unwrap();
        assert!(error.kind == ErrorKind::Damaged && error.message.contains("cannot be read"), "{sql}: {error}");
        assert_eq!(lab.list(None).await.len(), 5, "{sql}");
        assert_eq!(lab.counted().await, DamagedTasks { there: 1, found: 1 }, "{sql}");
        assert_eq!(lab.store().task(damaged.id).await.unwrap().unwrap(), damaged, "{sql}");
    }
}

#[tokio::test]
async fn a_listing_shows_what_it_cannot_read_and_has_it_set_aside() {
    for sql in DAMAGE {
        let lab = with_damage(sql).await;
        assert!(lab.list(None).await.len() >= 4, "{sql}");
        assert_eq!(lab.damaged().await.state, TaskState::Damaged, "{sql}");
        let counts = lab.store().counts(pool()).await.unwrap();
        assert_eq!((counts.of(TaskState::Queued), counts.claimable), (4, 4), "{sql}");
    }
}

#[tokio::test]
async fn what_is_set_aside_stays_so_after_a_restart_and_is_taken_back_only_once_it_is_repaired() {
    let mut lab = with_damage("UPDATE inputs SET labels = '[1' WHERE task = ?1").await;
    assert_eq!(lab.claim(9).await.len(), 4);
    lab.store = None;
    lab.open();
    assert_eq!(lab.counted().await, DamagedTasks { there: 1, found: 0 });
    let refused = lab.store().retry(id(BAD), at(3)).await.unwrap().unwrap_err();
    assert!(matches!(&refused, StateConflict::Damaged { reason, .. } if reason.contains("`labels`")), "{refused}");
    lab.damage("UPDATE inputs SET labels = NULL WHERE task = ?1", id(BAD));
    let task = lab.store().retry(id(BAD), at(3)).await.unwrap().unwrap();
    assert_eq!((task.state, lab.counted().await.there), (TaskState::Queued, 0));
    assert_eq!(lab.claim(1).await[0].id, id(BAD));
}

#[tokio::test]
async fn a_damaged_task_can_be_given_up() {
    for sql in DAMAGE {
        let mut lab = with_damage(sql).await;
        lab.claim(9).await;
        let bad = lab.damaged().await.id;
        let Ok(Cancelled::Ended(task)) = lab.store().cancel(bad, at(4)).await.unwrap() else { panic!("{sql}") };
        assert_eq!(task.state, TaskState::Cancelled, "{sql}");
        lab.store = None;
        lab.open();
        let found = lab.store().task(bad).await.unwrap().unwrap();
        assert_eq!((found.state, found.finished_at), (TaskState::Cancelled, Some(at(4))), "{sql}");
        assert!(found.error.unwrap().message.contains("could not be read"), "{sql}");
        assert_eq!(lab.counted().await.there, 0, "{sql}");
        assert_eq!(lab.store().purge(at(5), 9).await.unwrap(), 1, "{sql}");
        assert_eq!(lab.list(None).await.len(), 4, "{sql}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_behind_a_damaged_task() {
    let chat = || ContextId::new("chat").unwrap();
    for sql in DAMAGE.iter().filter(|sql| !sql.contains("SET context")) {
        let mut lab = Lab::new();
        lab.submit((1..=5).map(|number| Task { context: Some(chat()), ..task(number) })).await;
        lab.damage(sql, id(BAD));
        let mut done = Vec::new();
        while let Some(task) = lab.claim(9).await.pop() {
            lab.finish(&task).await;
            done.push(task.id);
        }
        assert_eq!(done, [1, 2, 4, 5].map(id), "{sql}");
    }
}

#[tokio::test]
async fn delayed_and_late_tasks_that_cannot_be_read_hold_up_no_sweep() {
    let waiting = |sql: &&&str| !sql.contains("state") && !sql.contains("run_at") && !sql.contains("SET pool");
    for sql in DAMAGE.iter().filter(waiting) {
        let mut lab = Lab::new();
        let delayed = |number| Task { run_at: at(10), state: TaskState::Scheduled, ..task(number) };
        lab.submit((1..=4).map(delayed)).await;
        lab.submit([Task { deadline: Some(at(5)), ..task(5) }]).await;
        lab.damage(sql, id(BAD));
        let swept = lab.store().sweep(pool(), at(20)).await.unwrap();
        assert!(swept.promoted.len() >= 3 && swept.expired.len() == 1, "{sql}: {swept:?}");
        assert_eq!(lab.claim(9).await.len(), 3, "{sql}");
        assert_eq!(lab.counted().await.there, 1, "{sql}");
    }
}

#[tokio::test]
async fn a_running_task_that_cannot_be_read_is_set_aside_at_the_start() {
    for sql in DAMAGE {
        let mut lab = Lab::new();
        lab.submit((1..=5).map(task)).await;
        assert_eq!(lab.claim(9).await.len(), 5);
        lab.damage(sql, id(BAD));
        let other = NodeId::from_parts(at(0), 8);
        let rescued = lab.store().rescue(Rescue::AllBut { node: other, now: at(300) }).await.unwrap();
        assert!(rescued.requeued.len() >= 4, "{sql}");
        // Some columns are written anew with the rescue.
        let claimed = lab.claim(9).await.len() as u64;
        assert_eq!((claimed >= 4, claimed + lab.counted().await.there), (true, 5), "{sql}");
    }
}

#[tokio::test]
async fn ended_tasks_that_cannot_be_read_are_shown_and_purged() {
    let ends =
        ["UPDATE outputs SET output = '{' WHERE task = ?1", "UPDATE tasks SET finished_at = NULL WHERE task = ?1"];
    for sql in DAMAGE.iter().chain(&ends[..1]) {
        let mut lab = Lab::new();
        lab.submit((1..=5).map(task)).await;
        for task in lab.claim(9).await {
            lab.finish(&task).await;
        }
        lab.damage(sql, id(BAD));
        assert!(lab.list(None).await.len() >= 4, "{sql}");
        assert_eq!(lab.damaged().await.state, TaskState::Damaged, "{sql}");
        assert_eq!(lab.store().purge(at(500), 9).await.unwrap(), 5, "{sql}");
        assert_eq!(lab.list(None).await, [], "{sql}");
        assert_eq!(lab.counted().await.there, 0, "{sql}");
        lab.submit((1..=5).map(task)).await;
    }
}

/// What went wrong before is for people to read: a task ends as well as ever without it.
#[tokio::test]
async fn a_history_of_attempts_that_cannot_be_read_keeps_no_task_from_its_end() {
    for damage in ["'zzz'", "-1", "CAST(x'ff00' AS TEXT)", "'[{}]'"] {
        let mut lab = Lab::new();
        lab.submit((1..=2).map(task)).await;
        lab.fail_all(at(101)).await;
        lab.damage(&format!("UPDATE attempts SET records = {damage} WHERE task = ?1"), id(1));
        assert_eq!((lab.attempts(1).await, lab.attempts(2).await), (0, 1), "{damage}");
        lab.fail_all(at(102)).await;
        assert_eq!((lab.attempts(1).await, lab.attempts(2).await), (1, 2), "{damage}");
        assert_eq!(lab.counted().await.there, 0, "{damage}");
    }
}

#[tokio::test]
async fn pools_nodes_notes_and_orders_that_cannot_be_read_do_not_keep_the_store_from_opening() {
    for sql in [
        "UPDATE pools SET name = 'no such name!' WHERE ?1 > 0",
        "UPDATE pools SET name = CAST(x'ff' AS TEXT) WHERE ?1 > 0",
        "DELETE FROM pools WHERE ?1 > 0",
        "UPDATE nodes SET node = x'01' WHERE ?1 > 0",
        "UPDATE settings SET text = CAST(x'ff' AS TEXT) WHERE ?1 > 0",
        "INSERT INTO ready VALUES (1, 5, 0, 999 + ?1, NULL)",
        "INSERT INTO ready VALUES (77, 5, 0, 999 + ?1, NULL)",
        "INSERT INTO context_queue VALUES (1, 'chat', 1, 0, 999 + ?1)",
        "INSERT INTO pools VALUES (5000000, 'far' || ?1)",
    ] {
        let mut lab = Lab::new();
        lab.submit((1..=5).map(task)).await;
        lab.claim(1).await;
        lab.store().put_setting("note".to_owned(), Some("text".to_owned())).await.unwrap();
        lab.damage(sql, id(BAD));
        assert_eq!(lab.list(None).await.len(), 5, "{sql}");
        lab.store().setting("note".to_owned()).await.unwrap();
        lab.submit([Task { context: Some(ContextId::new("chat").unwrap()), ..task(9) }]).await;
        assert!(!lab.claim(99).await.is_empty(), "{sql}");
        lab.store().check().await.unwrap();
    }
}

#[tokio::test]
async fn many_damaged_rows_are_set_aside_at_once() {
    let mut lab = Lab::new();
    lab.submit((1..=500).map(task)).await;
    lab.damage("UPDATE inputs SET labels = '[1' WHERE task <= 490 AND ?1 > 0", id(BAD));
    assert_eq!(lab.claim(5).await.len(), 5);
    assert_eq!(lab.counted().await, DamagedTasks { there: 490, found: 490 });
    assert_eq!(lab.claim(50).await.len(), 5);
}

#[tokio::test]
async fn a_key_whose_task_cannot_be_read_still_names_that_task() {
    let lab = with_damage("UPDATE inputs SET labels = '[1' WHERE task = ?1").await;
    let again = Submission::new(Task { id: id(50), ..task(BAD) }, None);
    let answers = lab.store().enqueue(vec![again]).await.unwrap();
    assert!(matches!(&answers[0], Ok(EnqueueOutcome::Known(known)) if known.id == id(BAD)), "{answers:?}");
}

/// One task that has ended, one that runs, and five that wait, of which `sql` damages the third.
async fn with_disagreement(sql: &str, new: impl Fn(u128) -> Task) -> Lab {
    let mut lab = Lab::new();
    lab.submit([task(6), task(7)]).await;
    let first = lab.claim(2).await;
    lab.finish(&first[0]).await;
    lab.submit((1..=5).map(new)).await;
    lab.damage(sql, id(BAD));
    lab
}

#[tokio::test]
async fn a_claim_follows_the_tasks_where_their_order_disagrees() {
    for sql in DISAGREEMENTS {
        let lab = with_disagreement(sql, task).await;
        let mut claimed = Vec::new();
        for limit in [1, 2, 9, 9] {
            claimed.extend(lab.claim(limit).await.into_iter().map(|task| task.id));
        }
        claimed.sort_unstable();
        assert_eq!(claimed, [1, 2, 3, 4, 5].map(id), "{sql}");
        let counts = lab.store().counts(pool()).await.unwrap();
        assert_eq!((counts.of(TaskState::Queued), counts.claimable), (0, 0), "{sql}");
        assert_eq!(lab.counted().await.there, 0, "{sql}");
    }
}

#[tokio::test]
async fn a_choice_follows_the_tasks_where_their_order_disagrees() {
    for sql in DISAGREEMENTS {
        let lab = with_disagreement(sql, task).await;
        let look = Peek { pool: pool(), node: node(), limit: 9, now: at(100) };
        let mut seen: Vec<_> = lab.store().peek(look).await.unwrap().iter().map(|found| found.task).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4, 5].map(id), "{sql}");
        let claim = Claim { pool: pool(), node: node(), limit: 9, starts: 9, now: at(100), lease_until: at(200) };
        assert_eq!(lab.store().claim_ids(claim, seen).await.unwrap().len(), 5, "{sql}");
        assert_eq!(lab.claim(9).await, [], "{sql}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_where_its_order_disagrees() {
    let lines = [
        "UPDATE context_queue SET due = due - 1 WHERE task = ?1",
        "UPDATE context_queue SET due = 9000000000000000 WHERE task = ?1",
        "UPDATE context_queue SET due = due + 1 WHERE ?1 > 0",
        "DELETE FROM context_queue WHERE task = (SELECT min(task) FROM context_queue) AND ?1 > 0",
        "INSERT INTO context_queue SELECT pool, context, 1, 0, (SELECT min(task) FROM tasks WHERE state > 2) FROM context_queue WHERE task = ?1",
    ];
    let chat = |number| Task { context: Some(ContextId::new("chat").unwrap()), ..task(number) };
    for sql in DISAGREEMENTS.iter().chain(&lines) {
        let lab = with_disagreement(sql, chat).await;
        let mut done = Vec::new();
        for _ in 0..5 {
            let mut claimed = lab.claim(9).await;
            assert_eq!(claimed.len(), 1, "{sql}: after {done:?}");
            lab.finish(&claimed[0]).await;
            done.push(claimed.remove(0).id);
        }
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3, 4, 5].map(id), "{sql}");
        assert_eq!(lab.claim(9).await, [], "{sql}");
    }
}

#[tokio::test]
async fn a_turn_of_a_context_whose_version_cannot_be_counted_on_is_set_aside() {
    let chat = ContextId::new("chat").unwrap();
    for sql in [
        "UPDATE contexts SET version = 9223372036854775807 WHERE ?1 > 0",
        "UPDATE contexts SET version = -1 WHERE ?1 > 0",
        "UPDATE contexts SET born = -1 WHERE ?1 > 0",
    ] {
        let turn = |number| Task { context: Some(chat.clone()), ..task(number) };
        let mut lab = Lab::new();
        lab.submit([turn(1)]).await;
        assert!(lab.finish_turn(&lab.claim(1).await[0]).await);
        lab.submit([turn(2), task(3)]).await;
        lab.damage(sql, id(2));
        assert_eq!(lab.claim(9).await.iter().map(|task| task.id).collect::<Vec<_>>(), [id(3)], "{sql}");
        let damaged = lab.damaged().await;
        let said = damaged.error.unwrap().message;
        assert!(damaged.id == id(2) && said.contains("its context `chat`: column"), "{sql}: {said}");
        // Once the context is removed, the task can begin it anew.
        lab.store().delete_context(pool(), chat.clone()).await.unwrap().unwrap();
        lab.store().retry(id(2), at(3)).await.unwrap().unwrap();
        assert!(lab.finish_turn(&lab.claim(9).await[0]).await, "{sql}");
    }
}

#[tokio::test]
async fn numbers_at_the_ends_of_their_range_do_not_keep_the_store_from_opening() {
    for sql in [
        "UPDATE tasks SET task = 9223372036854775807 WHERE task = ?1",
        "UPDATE tasks SET task = -9223372036854775807 WHERE task = ?1",
        "UPDATE tasks SET pool = -9223372036854775808 WHERE task = ?1",
        "UPDATE tasks SET pool = 9223372036854775807 WHERE task = ?1",
        "UPDATE ready SET pool = -9223372036854775808 WHERE task > ?1",
    ] {
        for ended in [false, true] {
            let mut lab = Lab::new();
            lab.submit((1..=5).map(task)).await;
            for task in lab.claim(if ended { 5 } else { 0 }).await {
                lab.finish(&task).await;
            }
            lab.damage(sql, id(5));
            lab.store().check().await.unwrap();
            assert_eq!(lab.list(None).await.len(), 5, "{sql}");
            lab.submit((6..=9).map(task)).await;
            assert!(lab.claim(99).await.len() >= 4, "{sql}");
        }
    }
}

#[tokio::test]
async fn pools_whose_numbers_cannot_be_are_left_out() {
    for number in ["0", "999999", "-1", "9223372036854775807"] {
        let mut lab = Lab::new();
        lab.submit((1..=5).map(task)).await;
        lab.damage(&format!("UPDATE pools SET pool = {number} WHERE ?1 > 0"), id(BAD));
        let counts = lab.store().pools_with_tasks().await.unwrap();
        assert!(counts.len() <= 1, "{number}: {} pools", counts.len());
        assert_eq!(lab.list(Some(TaskState::Damaged)).await.len(), 5, "{number}");
        lab.submit((6..=7).map(task)).await;
        assert_eq!(lab.claim(9).await.len(), 2, "{number}");
        // The pool has its number again.
        lab.store().retry(id(BAD), at(3)).await.unwrap().unwrap();
        assert_eq!(lab.claim(9).await[0].id, id(BAD), "{number}");
    }
}

#[tokio::test]
async fn a_floor_of_leases_beyond_which_none_can_be_counted_is_refused_with_what_to_do() {
    for floor in ["9223372036854775807", "-1"] {
        let mut lab = Lab::new();
        lab.submit([task(1)]).await;
        lab.damage_closed(&format!("UPDATE meta SET epoch_floor = {floor} WHERE ?1 > 0"), id(1));
        let path = lab.directory.path().join("tasks.db");
        let Err(refused) = SqliteStore::open(path, SqliteOptions::default()) else { panic!("{floor}") };
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains(&format!("`epoch_floor` in the table `meta` is {floor}")), "{refused}");
        lab.damage("UPDATE meta SET epoch_floor = 4294967296 WHERE ?1 > 0", id(1));
        assert_eq!(lab.claim(1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_closed_properly_says_so() {
    let mut lab = Lab::new();
    lab.submit([task(1)]).await;
    let path = lab.directory.path().join("tasks.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = lab.store().close().await.unwrap_err().to_string();
    assert!(failed.contains("not closed properly: database is locked"), "{failed}");
    drop(other);
    lab.store = None;
    lab.open();
    assert_eq!(lab.list(None).await.len(), 1, "the next start repairs it");

    std::fs::write(&path, "").unwrap();
    let failed = lab.store().close().await.unwrap_err().to_string();
    assert!(failed.contains("not closed properly, since") && failed.contains("was cut or overwritten"), "{failed}");
}
