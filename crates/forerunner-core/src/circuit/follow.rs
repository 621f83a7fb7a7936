//! One circuit on several nodes: each has its own, and follows those of the others.

use std::time::Duration;

use super::{
    CircuitChange, DependencyCircuit, DependencyReport,
    dependency::{Outage, PROBE_PATIENCE, Phase, outage},
    failure_class::class_of,
};
use crate::{ErrorKind, TaskError, Timestamp};

/// By how much later a node probes than the one before it: most of the time the first one alone probes for all.
const SPREAD: Duration = Duration::from_millis(1_500);

impl DependencyCircuit {
    /// Follows other nodes of the same pool: `others` are their reports, those of the first `before` of them come before this
    /// node. A node alone is safe without them.
    pub fn follow(&mut self, others: &[DependencyReport], before: usize, now: Timestamp) -> Option<CircuitChange> {
        if !self.settings.enabled {
            return None;
        }
        let rank = u32::try_from(before).unwrap_or(u32::MAX);
        if self.outage.is_none() {
            let other = others.iter().find(|other| self.is_news(other))?;
            let until = other.until.unwrap_or(now).max(now) + SPREAD * rank;
            let error = other.error.clone().unwrap_or_default();
            let class = class_of(&TaskError::new(ErrorKind::AgentError, error.clone()));
            self.outage = Some(Outage { since: other.since.unwrap_or(now), ..outage(class, error, until, now) });
            return Some(CircuitChange::Opened);
        }
        let outage = self.outage.as_mut()?;
        let Phase::Open { until } = &mut outage.phase else { return None };
        if others.iter().filter_map(|other| other.recovered_at).any(|at| at > outage.opened_at) {
            // It works elsewhere: the next task tries it here.
            *until = (*until).min(now);
            return None;
        }
        for other in others.iter().take(before).filter(|other| other.is_down()) {
            let after_other = other.until.map(|at| at + SPREAD * rank);
            let probes = other.probe_since.filter(|at| now < *at + PROBE_PATIENCE).map(|_| now + SPREAD);
            *until = (*until).max(after_other.or(probes).unwrap_or(*until));
        }
        None
    }

    /// Whether another node noticed an outage that this one knows nothing of.
    fn is_news(&self, other: &DependencyReport) -> bool {
        let Some(since) = other.since.filter(|_| other.is_down()) else { return false };
        // What began before the outage may end well after it began.
        since + SPREAD > self.last_success && self.recovered_at.is_none_or(|at| at < since)
    }
}
