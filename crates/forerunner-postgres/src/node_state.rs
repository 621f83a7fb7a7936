//! What all connections of a node know together.

use std::sync::Arc;

use forerunner_store::backend::DamageCount;

use crate::{bell::Bell, floors::Floors, presence::Presence};

/// What the lanes of a node, the janitor and the bell share.
#[derive(Clone)]
pub(crate) struct NodeState {
    /// Knows how many nodes there are to tell, and tells them.
    pub bell: Arc<Bell>,
    /// Knows where claims begin.
    pub floors: Arc<Floors>,
    /// Knows which nodes are there.
    pub presence: Arc<Presence>,
    /// Counts the tasks that are set aside.
    pub damaged: Arc<DamageCount>,
}
