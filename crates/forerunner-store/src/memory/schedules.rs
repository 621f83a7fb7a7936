//! Schedules.

use forerunner_core::ScheduleName;

use super::state::State;
use crate::{EnqueueOutcome, NextRevision, ScheduleConflict, ScheduleWrite, StoredSchedule};

impl State {
    pub fn schedule_revisions(&self) -> Vec<(ScheduleName, u64)> {
        self.schedules.values().map(|schedule| (schedule.name.clone(), schedule.revision)).collect()
    }

    pub fn schedules_of(&self, names: &[ScheduleName]) -> Vec<StoredSchedule> {
        names.iter().filter_map(|name| self.schedules.get(name).cloned()).collect()
    }

    pub fn write_schedule(&mut self, write: ScheduleWrite) -> Result<Option<EnqueueOutcome>, ScheduleConflict> {
        let ScheduleWrite { name, expected, next, task, most } = write;
        let found = self.schedules.get(&name).map(|schedule| schedule.revision);
        match (expected, found) {
            (None, Some(_)) => return Err(ScheduleConflict::Exists { name }),
            (None, None) if self.schedules.len() >= most => return Err(ScheduleConflict::Full { most }),
            (Some(_), None) => return Err(ScheduleConflict::NotFound { name }),
            (Some(expected), Some(found)) if expected != found => return Err(ScheduleConflict::Changed { name }),
            _ => {}
        }
        let outcome = task.map(|task| self.enqueue(task)).transpose()?;
        let Some(NextRevision { revision, definition, state }) = next else {
            self.schedules.remove(&name);
            return Ok(outcome);
        };
        let before = self.schedules.remove(&name).map(|schedule| schedule.definition);
        let definition = definition.or(before).unwrap_or_default();
        self.schedules.insert(name.clone(), StoredSchedule { name, revision, definition, state });
        Ok(outcome)
    }
}
