//! The effects inside, whatever the callers got as answers.

use std::sync::Arc;

use parking_lot::Mutex;

use forerunner_core::{LeaseEpoch, TaskId, TaskState};

/// An effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A task was accepted as new.
    Accepted(TaskId),
    /// A task was leased.
    Claimed(TaskId, LeaseEpoch),
    /// The end of an attempt was accepted, and the task is in this state since.
    Settled(TaskId, LeaseEpoch, TaskState),
    /// The end of an attempt was rejected, because its lease had ended.
    Refused(TaskId, LeaseEpoch),
}

/// Effects in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct EffectLog(Arc<Mutex<Vec<Effect>>>);

impl EffectLog {
    pub fn note(&self, effects: impl IntoIterator<Item = Effect>) {
        self.0.lock().extend(effects);
    }

    pub fn read(&self) -> Vec<Effect> {
        self.0.lock().clone()
    }
}
