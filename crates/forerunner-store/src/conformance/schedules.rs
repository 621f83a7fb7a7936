use std::{future::Future, sync::Arc};

use forerunner_core::{IdempotencyKey, Payload, ScheduleName, Task};
use futures_util::future::join_all;

use super::lab::{Lab, key, submission};
use crate::{EnqueueOutcome, NextRevision, Refusal, ScheduleConflict, ScheduleWrite, Store, StoredSchedule};

const MOST: usize = 3;

fn name(text: &str) -> ScheduleName {
    ScheduleName::new(text).unwrap()
}

fn write(text: &str, expected: Option<u64>, revision: u64) -> ScheduleWrite {
    let definition = Some(format!("{{\"made\":{revision}}}"));
    let next = Some(NextRevision { revision, definition, state: format!("[{revision}]") });
    ScheduleWrite { name: name(text), expected, next, task: None, most: MOST }
}

async fn read(lab: &Lab, text: &str) -> Option<StoredSchedule> {
    lab.store.schedules_of(vec![name(text), name("nobody")]).await.unwrap().pop()
}

/// Schedules are texts under a revision.
pub async fn a_schedule_is_made_changed_and_removed_at_its_revision<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let done = async |write| lab.store.write_schedule(write).await.unwrap();
    assert_eq!(lab.store.schedule_revisions().await.unwrap(), []);
    assert_eq!(done(write("b", None, 10)).await, Ok(None));
    assert_eq!(done(write("a", None, 20)).await, Ok(None));
    assert_eq!(lab.store.schedule_revisions().await.unwrap(), [(name("a"), 20), (name("b"), 10)]);
    let stored = read(&lab, "b").await.unwrap();
    assert_eq!((stored.revision, stored.definition.as_str(), stored.state.as_str()), (10, "{\"made\":10}", "[10]"));

    assert_eq!(done(write("b", None, 30)).await, Err(ScheduleConflict::Exists { name: name("b") }));
    assert_eq!(done(write("b", Some(9), 30)).await, Err(ScheduleConflict::Changed { name: name("b") }));
    assert_eq!(done(write("c", Some(9), 30)).await, Err(ScheduleConflict::NotFound { name: name("c") }));
    assert_eq!(read(&lab, "b").await, Some(stored));

    let mut state_only = write("b", Some(10), 11);
    state_only.next.as_mut().unwrap().definition = None;
    assert_eq!(done(state_only).await, Ok(None));
    let stored = read(&lab, "b").await.unwrap();
    assert_eq!((stored.revision, stored.definition.as_str(), stored.state.as_str()), (11, "{\"made\":10}", "[11]"));

    assert_eq!(done(write("c", None, 40)).await, Ok(None));
    assert_eq!(done(write("d", None, 50)).await, Err(ScheduleConflict::Full { most: MOST }));
    let removal = |expected| ScheduleWrite { next: None, ..write("b", Some(expected), 0) };
    assert_eq!(done(removal(10)).await, Err(ScheduleConflict::Changed { name: name("b") }));
    assert_eq!(done(removal(11)).await, Ok(None));
    assert_eq!(done(removal(11)).await, Err(ScheduleConflict::NotFound { name: name("b") }));
    assert_eq!(done(write("d", None, 50)).await, Ok(None), "there is room again");
}

/// An occurrence is a task and the change of its schedule.
pub async fn the_task_of_a_schedule_is_accepted_with_its_change_or_not_at_all<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let with = |task: Task, write| ScheduleWrite { task: Some(submission(task)), ..write };
    let keyed = |name: &str, input: &str| Task {
        idempotency_key: Some(key(name)),
        input: Payload::trusted(input),
        ..lab.task(1)
    };
    let done = async |write| lab.store.write_schedule(write).await.unwrap();
    done(write("a", None, 10)).await.unwrap();
    let task = keyed("first", "1");
    let id = task.id;
    let accepted = done(with(task, write("a", Some(10), 11))).await;
    assert!(matches!(accepted, Ok(Some(EnqueueOutcome::New { task, claimable: true, .. })) if task == id));
    assert_eq!(lab.counts().await.claimable, 1);

    let late = done(with(keyed("second", "1"), write("a", Some(10), 12))).await;
    assert_eq!(late, Err(ScheduleConflict::Changed { name: name("a") }));
    let refused = done(with(keyed("first", "2"), write("a", Some(11), 12))).await;
    assert_eq!(refused, Err(Refusal::KeyReused { key: key("first"), task: id }.into()));
    assert_eq!((lab.counts().await.claimable, read(&lab, "a").await.unwrap().revision), (1, 11), "nothing was done");

    let again = done(with(keyed("first", "1"), write("a", Some(11), 12))).await;
    assert!(matches!(again, Ok(Some(EnqueueOutcome::Known(task))) if task.id == id));
    assert_eq!((lab.counts().await.claimable, read(&lab, "a").await.unwrap().revision), (1, 12));
    assert_eq!(lab.claim_ids(9, 2).await, [id]);
}

/// Nodes that race for an occurrence.
pub async fn of_many_who_decide_the_same_occurrence_one_succeeds<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    lab.store.write_schedule(write("a", None, 1)).await.unwrap().unwrap();
    for occurrence in 1..=5 {
        let racing = (0..20).map(|_| {
            let key = IdempotencyKey::new(format!("a:{occurrence}")).unwrap();
            let task = Task { idempotency_key: Some(key), input: Payload::null(), ..lab.task(1) };
            let write = write("a", Some(occurrence), occurrence + 1);
            lab.store.write_schedule(ScheduleWrite { task: Some(submission(task)), ..write })
        });
        let answers = join_all(racing).await;
        let won = answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(Some(EnqueueOutcome::New { .. })))));
        assert_eq!(won.count(), 1);
    }
    assert_eq!(lab.claim_ids(99, 2).await.len(), 5);
}
