//! The rule of KEDA: the length of the queue through the horizontal pod autoscaler.

use serde::{Deserialize, Serialize};

use super::{
    common::{Check, EvaluationTimer, decision, whole},
    replicas::{Behaviour, Replicas, within_tolerance},
};
use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode};

/// Settings of [`Keda`]; the defaults are those of KEDA and of Kubernetes, with one task an agent as the target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KedaSettings {
    /// Tasks that an agent should have, waiting ones included; below 1 leaves headroom. Above 0.
    pub target: f64,
    /// Seconds between two polls of the queue, above 0: KEDA's `pollingInterval`.
    pub polling_interval_s: f64,
    /// Seconds between two evaluations of the autoscaler, above 0; a shorter polling interval shortens it.
    pub sync_interval_s: f64,
    /// Deviation from the target, as a share of it, that the rule ignores.
    pub tolerance: f64,
    /// Most agents to add in 15 s, unless the percentage allows more.
    pub scale_up_pods: f64,
    /// Growth in 15 s, in per cent of the size, unless the number of agents allows more.
    pub scale_up_percent: f64,
    /// Seconds for which a proposed size keeps the pool from shrinking below it, 0 to 3600.
    pub scale_down_window_s: f64,
}

impl Default for KedaSettings {
    fn default() -> Self {
        Self {
            target: 1.0,
            polling_interval_s: 30.0,
            sync_interval_s: 15.0,
            tolerance: 0.1,
            scale_up_pods: 4.0,
            scale_up_percent: 100.0,
            scale_down_window_s: 300.0,
        }
    }
}

impl KedaSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("keda");
        check.target("target", self.target)?;
        check.seconds("polling_interval_s", self.polling_interval_s)?;
        check.seconds("sync_interval_s", self.sync_interval_s)?;
        check.factor("tolerance", self.tolerance)?;
        check.factor("scale_up_pods", self.scale_up_pods)?;
        check.factor("scale_up_percent", self.scale_up_percent)?;
        check.delay("scale_down_window_s", self.scale_down_window_s)
    }
}

/// Wants so many agents that each has a target number of the waiting and running tasks.
///
/// KEDA gives the length of the queue to the horizontal pod autoscaler as an external metric with an average value:
/// `ceil(tasks / target)`, unchanged within the tolerance, then windows and rates as for [`Hpa`](super::Hpa). Source:
/// `apis/keda/v1alpha1` and `pkg/scaling/executor` of KEDA, `replica_calculator.go` of Kubernetes. Zero agents become
/// one as soon as a task waits, as in KEDA itself.
#[derive(Debug, Clone)]
pub struct Keda {
    settings: KedaSettings,
    limits: PolicyLimits,
    polling: EvaluationTimer,
    sync: EvaluationTimer,
    replicas: Replicas,
    /// Tasks at the last poll.
    tasks: u32,
    last: Option<u32>,
}

impl Keda {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: KedaSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        let KedaSettings { scale_up_pods, scale_up_percent, scale_down_window_s, .. } = settings;
        let behaviour = Behaviour { scale_up_pods, scale_up_percent, scale_down_window_s };
        Ok(Self {
            settings,
            limits,
            polling: EvaluationTimer::new(settings.polling_interval_s),
            sync: EvaluationTimer::new(settings.sync_interval_s.min(settings.polling_interval_s)),
            replicas: Replicas::new(behaviour),
            tasks: 0,
            last: None,
        })
    }
}

impl Policy for Keda {
    fn name(&self) -> &'static str {
        "keda"
    }

    fn interval_s(&self) -> f64 {
        self.settings.sync_interval_s.min(self.settings.polling_interval_s)
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let due = self.sync.due(seen.t);
        if let Some(last) = self.last.filter(|_| !due) {
            let detail = format!("{last} wanted until the next evaluation");
            return decision("keda", &self.limits, seen, f64::from(last), last, ReasonCode::Utilisation, detail);
        }
        if self.polling.due(seen.t) {
            self.tasks = seen.queue_depth.saturating_add(seen.in_flight);
        }
        let (size, tasks) = (seen.size(), self.tasks);
        let need = f64::from(tasks) / self.settings.target;
        let close = size > 0 && within_tolerance(need / f64::from(size), self.settings.tolerance);
        let proposed = if close { size } else { whole(need) };
        let (next, stabilized) = self.replicas.next(seen.t, size, proposed);
        self.last = Some(next);
        let cause = if stabilized { ReasonCode::Stabilizing } else { ReasonCode::Utilisation };
        let detail = format!(
            "{tasks} tasks at {} an agent: {proposed} proposed, {next} after windows and rates",
            self.settings.target
        );
        decision("keda", &self.limits, seen, need, next, cause, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    #[test]
    fn the_size_follows_the_tasks_waiting_and_running() {
        // queue, busy, idle and the size wanted at the first evaluation, one task an agent.
        for (queue, busy, idle, desired) in [
            (0, 10, 0, 10),
            (1, 10, 0, 10), // 10 % more is within the tolerance
            (2, 10, 0, 12),
            (90, 10, 0, 20), // at most double in 15 s
            (9, 1, 0, 5),    // or four more
            (0, 3, 7, 3),
        ] {
            let mut rule = Keda::new(KedaSettings::default(), LIMITS).expect("defaults");
            assert_eq!(rule.decide(&seen(0.0, queue, busy, idle, 0)).desired, desired, "{queue} {busy} {idle}");
        }
    }

    #[test]
    fn the_autoscaler_looks_twice_at_one_poll() {
        let mut rule = Keda::new(KedaSettings::default(), LIMITS).expect("defaults");
        assert_eq!(rule.interval_s(), 15.0);
        assert_eq!(rule.decide(&seen(0.0, 39, 1, 0, 0)).desired, 5);
        // The queue is empty, which the next poll will show; the one of 0 s still wants 40.
        assert_eq!(rule.decide(&seen(15.0, 0, 5, 0, 0)).desired, 10);
        assert_eq!(rule.decide(&seen(30.0, 0, 10, 0, 0)).desired, 10);
        let often = KedaSettings { polling_interval_s: 5.0, ..KedaSettings::default() };
        assert_eq!(Keda::new(often, LIMITS).expect("valid").interval_s(), 5.0);
    }

    #[test]
    fn a_size_proposed_keeps_the_pool_for_five_minutes() {
        let mut rule = Keda::new(KedaSettings::default(), LIMITS).expect("defaults");
        assert_eq!(rule.decide(&seen(0.0, 0, 10, 0, 0)).desired, 10);
        for look in 1..=20 {
            assert_eq!(rule.decide(&seen(f64::from(look) * 15.0, 0, 2, 8, 0)).desired, 10, "look {look}");
        }
        // The poll of 0 s was used twice, the last time at 15 s.
        assert_eq!(rule.decide(&seen(330.0, 0, 2, 8, 0)).desired, 2);
    }
}
