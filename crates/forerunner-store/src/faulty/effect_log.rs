//! What took effect inside, whatever the callers were told.

use std::sync::Arc;

use parking_lot::Mutex;

use forerunner_core::{LeaseEpoch, TaskId, TaskState};

/// Something that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A task was accepted as new.
    Accepted(TaskId),
    /// A task was leased.
    Claimed(TaskId, LeaseEpoch),
    /// The end of an attempt was accepted, and the task is in this state since.
    Settled(TaskId, LeaseEpoch, TaskState),
    /// The end of an attempt was refused, because its lease was gone.
    Refused(TaskId, LeaseEpoch),
}

/// Deeds in the order in which they took effect.
#[derive(Debug, Clone, Default)]
pub(super) struct EffectLog(Arc<Mutex<Vec<Effect>>>);

impl EffectLog {
    pub fn note(&self, deeds: impl IntoIterator<Item = Effect>) {
        self.0.lock().extend(deeds);
    }

    pub fn read(&self) -> Vec<Effect> {
        self.0.lock().clone()
    }
}
