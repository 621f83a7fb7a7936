//! What all connections of a node know together.

use std::sync::Arc;

use forerunner_store::backend::DamageCount;

use crate::{
    liveness::Liveness, notifier::Notifier, scan_cursors::ScanCursors, sent_ids::SentIds, unanswered::Unanswered,
};

/// What the lanes of a node, the janitor and the bell share.
#[derive(Clone)]
pub(crate) struct NodeState {
    /// Knows how many nodes to notify, and notifies them.
    pub notifier: Arc<Notifier>,
    /// Knows where claims begin.
    pub cursors: Arc<ScanCursors>,
    /// Knows which nodes exist.
    pub liveness: Arc<Liveness>,
    /// Knows which submissions may be repetitions.
    pub sent_ids: Arc<SentIds>,
    /// Knows whether claims may have given out leases that never arrived.
    pub unanswered: Arc<Unanswered>,
    /// Counts the tasks that are set aside.
    pub damaged: Arc<DamageCount>,
}
