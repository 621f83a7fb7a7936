//! The calls on schedules.

use forerunner_core::{
    Error as Invalid, LastRun, Schedule, ScheduleDefinition, ScheduleName, ScheduleState, Task, Timestamp, key_of,
};
use forerunner_store::{NextRevision, ScheduleConflict, ScheduleWrite};

use super::{SchedulePatch, ScheduleStatus, actor::SchedulesChanged, advance::text_of, book::Known};
use crate::{Error, Handle, cluster::messages::ListNodes};

/// How often a change is tried again that met another one.
const TRIES: usize = 16;
/// Schedules of a listing that are read at once, and bytes after which it ends.
const READ_AT_ONCE: usize = 16;
const MOST_BYTES: usize = 8 << 20;

impl Handle {
    /// Makes a schedule.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::TooLarge`] for its input, [`Error::Invalid`] for its definition,
    /// [`Error::Schedule`] if there is one of the name or there are too many, [`Error::Store`].
    pub async fn create_schedule(&self, definition: ScheduleDefinition) -> Result<ScheduleStatus, Error> {
        let now = self.time();
        let schedule = self.checked(definition, now)?;
        check_future(&schedule, now)?;
        let name = schedule.definition().name.clone();
        let next = NextRevision {
            revision: now.as_micros().unsigned_abs(),
            definition: Some(text_of(schedule.definition())),
            state: text_of(&ScheduleState::new(now)),
        };
        let most = self.shared.max_schedules;
        let write = ScheduleWrite { name: name.clone(), expected: None, next: Some(next), task: None, most };
        self.shared.deps.store.write_schedule(write).await??;
        self.note_schedules_changed();
        self.schedule(&name).await
    }

    /// Shows a schedule.
    ///
    /// # Errors
    /// [`Error::Schedule`] if there is none of the name, [`Error::Store`].
    pub async fn schedule(&self, name: &ScheduleName) -> Result<ScheduleStatus, Error> {
        let known = self.existing(name).await?;
        let problem = self.problem_of(&known).await;
        Ok(ScheduleStatus::new(known, self.time(), problem))
    }

    /// Shows schedules by name, those after `after`, at most `limit`, and fewer of those with large inputs. One that
    /// cannot be read is left out. Answers whether others follow.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn schedules(
        &self,
        after: Option<&ScheduleName>,
        limit: usize,
    ) -> Result<(Vec<ScheduleStatus>, bool), Error> {
        let revisions = self.shared.deps.store.schedule_revisions().await?;
        let names = revisions.into_iter().map(|(name, _)| name).filter(|name| after.is_none_or(|after| name > after));
        let names: Vec<_> = names.collect();
        let (mut shown, mut bytes, mut seen) = (Vec::new(), 0, 0);
        for some in names[..limit.min(names.len())].chunks(READ_AT_ONCE) {
            let mut found = self.shared.deps.store.schedules_of(some.to_vec()).await?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            bytes += found.iter().map(|stored| stored.definition.len()).sum::<usize>();
            seen += some.len();
            for known in found.iter().filter_map(|stored| Known::read(stored, self.time()).ok()) {
                let problem = self.problem_of(&known).await;
                shown.push(ScheduleStatus::new(known, self.time(), problem));
            }
            if bytes > MOST_BYTES {
                break;
            }
        }
        Ok((shown, seen < names.len()))
    }

    /// Changes a schedule. Occurrences that were not decided are decided as the schedule is then; after a change of when
    /// they are, or a pause, those before now do not come.
    ///
    /// # Errors
    /// As [`Handle::create_schedule`] and [`Handle::schedule`].
    pub async fn update_schedule(&self, name: &ScheduleName, patch: &SchedulePatch) -> Result<ScheduleStatus, Error> {
        for _ in 0..TRIES {
            let known = self.existing(name).await?;
            let now = self.time();
            let definition = patch.apply(known.schedule.definition())?;
            let is_at_new = definition.at != known.schedule.definition().at;
            let schedule = self.checked(definition, known.state.created_at)?;
            if is_at_new {
                check_future(&schedule, now)?;
            }
            let mut state = known.state.clone();
            if patch.concerns_time() {
                state.decided = state.decided.max(now);
            }
            let definition = Some(text_of(schedule.definition()));
            let next = NextRevision { revision: known.revision + 1, definition, state: text_of(&state) };
            if self.replace(&known, Some(next)).await? {
                return self.schedule(name).await;
            }
        }
        Err(ScheduleConflict::Changed { name: name.clone() }.into())
    }

    /// Removes a schedule. Tasks that it submitted continue.
    ///
    /// # Errors
    /// As [`Handle::schedule`].
    pub async fn delete_schedule(&self, name: &ScheduleName) -> Result<(), Error> {
        for _ in 0..TRIES {
            // One that cannot be read can be removed.
            let revisions = self.shared.deps.store.schedule_revisions().await?;
            let found = revisions.into_iter().find(|(other, _)| other == name);
            let Some((_, revision)) = found else { return Err(not_found(name)) };
            let write = ScheduleWrite {
                name: name.clone(),
                expected: Some(revision),
                next: None,
                task: None,
                most: usize::MAX,
            };
            match self.shared.deps.store.write_schedule(write).await? {
                Ok(_) => {
                    self.note_schedules_changed();
                    return Ok(());
                }
                Err(ScheduleConflict::Changed { .. }) => {}
                Err(conflict) => return Err(conflict.into()),
            }
        }
        Err(ScheduleConflict::Changed { name: name.clone() }.into())
    }

    /// Submits a task of a schedule now, whether it is enabled or a task of it runs. Its occurrences stay as they are.
    ///
    /// # Errors
    /// As [`Handle::schedule`] and [`Handle::submit`].
    pub async fn run_schedule(&self, name: &ScheduleName) -> Result<Task, Error> {
        for _ in 0..TRIES {
            let known = self.existing(name).await?;
            let (now, active) = (self.time(), self.unfinished(&known.state.active).await?);
            let new = known.schedule.task(now, key_of(name, now, true));
            let fired = self.fire(&known, new, |task, submitted_at| {
                known.state.fired(LastRun { occurrence: now, submitted_at, task }, &active, true)
            });
            if let Some(task) = fired.await? {
                self.note_schedules_changed();
                return self.task(task).await;
            }
        }
        Err(ScheduleConflict::Changed { name: name.clone() }.into())
    }

    async fn existing(&self, name: &ScheduleName) -> Result<Known, Error> {
        let found = self.shared.deps.store.schedules_of(vec![name.clone()]).await?;
        let Some(stored) = found.first() else { return Err(not_found(name)) };
        Known::read(stored, self.time()).map_err(|reason| {
            let rule = format!("it cannot be read: {reason}; delete it and make it again");
            Error::Invalid(Invalid::Schedule { field: "schedule", value: name.to_string(), rule })
        })
    }

    /// Checks a definition, by itself and against its pool.
    fn checked(&self, definition: ScheduleDefinition, created_at: Timestamp) -> Result<Schedule, Error> {
        let entry = self.entry(definition.pool.as_str())?;
        entry.check_size(&definition.input)?;
        Ok(Schedule::new(definition, created_at)?)
    }

    async fn replace(&self, known: &Known, next: Option<NextRevision>) -> Result<bool, Error> {
        let name = known.schedule.definition().name.clone();
        let write = ScheduleWrite { name, expected: Some(known.revision), next, task: None, most: usize::MAX };
        match self.shared.deps.store.write_schedule(write).await? {
            Ok(_) => {
                self.note_schedules_changed();
                Ok(true)
            }
            Err(ScheduleConflict::Changed { .. }) => Ok(false),
            Err(conflict) => Err(conflict.into()),
        }
    }

    /// Why an occurrence that is due is not submitted.
    async fn problem_of(&self, known: &Known) -> Option<String> {
        let definition = known.schedule.definition();
        let problem = self.shared.deps.schedules.problem(&definition.name);
        if problem.is_some() || self.shared.pools.contains_key(&definition.pool) {
            return problem;
        }
        let nodes = match &self.shared.cluster {
            Some(cluster) => cluster.send(ListNodes).await.map_or_else(|_| Vec::new(), |nodes| nodes.0),
            None => Vec::new(),
        };
        let is_elsewhere = nodes.iter().any(|node| node.pools.contains_key(&definition.pool));
        (!is_elsewhere).then(|| {
            format!(
                "no node has the pool `{}`, so no task is submitted; configure the pool, or change the pool of the schedule",
                definition.pool
            )
        })
    }

    fn note_schedules_changed(&self) {
        if let Some(actor) = self.shared.schedules.get() {
            actor.do_send(SchedulesChanged);
        }
    }
}

fn not_found(name: &ScheduleName) -> Error {
    ScheduleConflict::NotFound { name: name.clone() }.into()
}

/// Refuses one time that is over.
fn check_future(schedule: &Schedule, now: Timestamp) -> Result<(), Error> {
    match schedule.definition().at.filter(|at| *at <= now) {
        Some(at) => {
            let rule = "it is in the past; give a time to come, or submit the task".to_owned();
            Err(Invalid::Schedule { field: "at", value: at.to_string(), rule }.into())
        }
        None => Ok(()),
    }
}
