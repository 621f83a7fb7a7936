//! Carries out what is decided about a schedule, step by step. Each step is one write at the revision that it was
//! decided from: any other node that decided the same is refused.

use forerunner_core::{LastRun, NewTask, ScheduleName, ScheduleState, Step, TaskId, Timestamp, key_of, next_step};
use forerunner_store::{Bounds, EnqueueOutcome, NextRevision, ScheduleConflict, ScheduleWrite, Submission};
use tokio::sync::oneshot;

use super::book::Known;
use crate::{Error, Handle, metrics, queue::messages::FireSchedule};

/// Steps that are made in a row; then others have their turn.
const STEPS: usize = 64;

/// Decides the occurrences of a schedule that are due.
pub(super) async fn advance(handle: &Handle, name: &ScheduleName) -> Result<(), Error> {
    for _ in 0..STEPS {
        // One that was removed, or cannot be read, has nothing that is due.
        let Some(known) = handle.read_schedule(name).await? else { return Ok(()) };
        let now = handle.time();
        let active = handle.unfinished(&known.state.active).await?;
        let done = match next_step(&known.schedule, &known.state, !active.is_empty(), now) {
            Step::Wait(_) => return Ok(()),
            Step::Skip { until, occurrences, reason } => {
                let written = handle.write_state(&known, known.state.skipped(until, occurrences)).await?;
                if written {
                    let reason = reason.as_str();
                    metrics::schedule_skipped(known.pool(), reason, occurrences);
                    tracing::info!(schedule = %name, %until, occurrences, reason, "skipped occurrences of a schedule");
                }
                written
            }
            Step::SetBack(to) => {
                tracing::warn!(
                    schedule = %name,
                    decided = %known.state.decided,
                    "the clock was ahead by more than a day when the schedule ran; it continues from now"
                );
                handle.write_state(&known, ScheduleState { decided: to, ..known.state.clone() }).await?
            }
            Step::Fire { occurrence, due, cancels } => {
                if cancels {
                    for task in &active {
                        handle.cancel(*task).await?;
                    }
                }
                fire(handle, &known, (occurrence, due), &active).await?
            }
        };
        if !done {
            // Another node was faster.
            return Ok(());
        }
    }
    Ok(())
}

/// Submits the task of an occurrence.
async fn fire(
    handle: &Handle,
    known: &Known,
    (occurrence, due): (Timestamp, Timestamp),
    active: &[TaskId],
) -> Result<bool, Error> {
    let key = key_of(&known.schedule.definition().name, occurrence, false);
    let new = known.schedule.task(due, key);
    let fired = handle.fire(known, new, |task, now| {
        known.state.fired(LastRun { occurrence, submitted_at: now, task }, active, false)
    });
    let Some(task) = fired.await? else { return Ok(false) };
    metrics::schedule_fired(known.pool(), handle.time().since(due));
    tracing::debug!(schedule = %known.schedule.definition().name, %occurrence, %task, "submitted the task of a schedule");
    Ok(true)
}

impl Handle {
    /// Reads a schedule as it is stored; `None` if there is none that can be read.
    pub(super) async fn read_schedule(&self, name: &ScheduleName) -> Result<Option<Known>, Error> {
        let found = self.shared.deps.store.schedules_of(vec![name.clone()]).await?;
        Ok(found.first().and_then(|stored| Known::read(stored, self.time()).ok()))
    }

    /// Those of the tasks that have not ended.
    pub(super) async fn unfinished(&self, tasks: &[TaskId]) -> Result<Vec<TaskId>, Error> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.shared.deps.store.tasks_of(tasks.to_vec()).await?;
        let is_unfinished = |id: &TaskId| found.iter().any(|task| task.id == *id && !task.state.is_terminal());
        Ok(tasks.iter().copied().filter(is_unfinished).collect())
    }

    /// Writes how far a schedule is; returns false if somebody else has changed it.
    pub(super) async fn write_state(&self, known: &Known, state: ScheduleState) -> Result<bool, Error> {
        let written = self.shared.deps.store.write_schedule(write_of(known, &state, None)).await?;
        match written {
            Ok(_) => Ok(true),
            Err(ScheduleConflict::Changed { .. } | ScheduleConflict::NotFound { .. }) => Ok(false),
            Err(conflict) => Err(conflict.into()),
        }
    }

    /// Submits a task with the change of its schedule; returns the task that has the key, or `None` if somebody else has
    /// changed the schedule.
    pub(super) async fn fire(
        &self,
        known: &Known,
        new: NewTask,
        state: impl FnOnce(TaskId, Timestamp) -> ScheduleState,
    ) -> Result<Option<TaskId>, Error> {
        let (entry, admitted) = self.admit(new)?;
        let Submission { task, bounds, .. } = admitted.into_submission();
        let id = task.id;
        // Only the key identifies an occurrence: it comes once, whatever was changed of its schedule since.
        let key = task.idempotency_key.as_ref().map_or("", |key| key.as_str());
        let fingerprint = Some(*blake3::hash(key.as_bytes()).as_bytes());
        let next = state(id, task.submitted_at);
        let submission = Submission { bounds: Bounds { max_depth: None, ..bounds }, fingerprint, task };
        let write = write_of(known, &next, Some(submission));
        let (reply, answer) = oneshot::channel();
        entry.queue.do_send(FireSchedule { write, reply });
        let unknown = || Error::OutcomeUnknown { pool: entry.deps.name.clone() };
        match answer.await.map_err(|_| unknown())?? {
            Ok(Some(EnqueueOutcome::Known(task))) => Ok(Some(task.id)),
            Ok(_) => Ok(Some(id)),
            Err(ScheduleConflict::Changed { .. } | ScheduleConflict::NotFound { .. }) => Ok(None),
            Err(conflict) => Err(conflict.into()),
        }
    }
}

fn write_of(known: &Known, state: &ScheduleState, task: Option<Submission>) -> ScheduleWrite {
    let next = NextRevision { revision: known.revision + 1, definition: None, state: text_of(state) };
    let name = known.schedule.definition().name.clone();
    ScheduleWrite { name, expected: Some(known.revision), next: Some(next), task, most: usize::MAX }
}

/// Writes a definition or a state as JSON.
pub(super) fn text_of(what: &impl serde::Serialize) -> String {
    serde_json::to_string(what).expect("definitions and states are structs of texts and numbers")
}
