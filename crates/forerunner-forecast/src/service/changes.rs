//! What a change of durations does to what is known about them.

use super::{
    FEW, ServiceModel, Shift, life_table::Shape, running_evidence::RunningEvidence, slowdown_filter::SlowdownFilter,
};
use crate::rate::sane;

/// Tasks that the durations known before a change count as after it.
const SETTLED_WEIGHT: f64 = 4.0;
/// Seconds for which a change is named after it was settled.
const SETTLED_NAMED_S: f64 = 60.0;
/// A task that has lasted for so many times the longest duration known is assumed to stay.
const STUCK: f64 = 1.2;
/// Range of the standard deviation of durations over their mean, where it is estimated from means.
const SCATTER: (f64, f64) = (0.1, 2.0);
/// Part of the durations that are usual.
const USUAL: f64 = 0.98;
/// Means of the slower pace for which a settled change is recent.
const SETTLED_MEANS: f64 = 3.0;

impl ServiceModel {
    /// The distribution that running tasks are compared with, and its mean in seconds.
    pub(super) fn known(&self) -> Option<(Shape, f64)> {
        if self.recent.len() >= FEW {
            let mean_s = self.recent_mean_s().max(1e-6);
            return Some((self.evidence.lives.shape(mean_s), mean_s));
        }
        // Where only means over several tasks are known, the scatter of durations follows from theirs.
        let has_means_only = self.completed >= FEW as f64;
        has_means_only.then(|| {
            let scatter = self.sums.scatter_of_means().clamp(SCATTER.0, SCATTER.1);
            (Shape::log_normal(self.mean_s(), scatter), self.mean_s())
        })
    }

    /// Replaces the known durations by ones so many steps slower. Durations at the new pace stay as they are.
    pub(super) fn settle(&mut self, steps: i32) -> Option<Shift> {
        let before_s = self.evidence.known.as_ref()?.1;
        let factor = SlowdownFilter::factor(steps);
        let after_s = before_s * factor;
        self.recent.iter_mut().for_each(|service_s| *service_s = sane(*service_s * factor));
        self.sums.restart(after_s, factor, SETTLED_WEIGHT);
        self.slow = (SETTLED_WEIGHT, SETTLED_WEIGHT * after_s);
        let shift = Shift { before_s, after_s };
        self.evidence.settle(steps, shift);
        for seen in std::mem::take(&mut self.evidence.pending) {
            self.learn(&seen);
        }
        Some(shift)
    }

    /// Learns from what was pending after all, where the change has passed. Unusually long durations are those of a stall.
    pub(super) fn dismiss(&mut self) {
        if self.evidence.pending.is_empty() {
            return;
        }
        let longest_s = self.usual_s();
        for mut seen in std::mem::take(&mut self.evidence.pending) {
            if seen.completed.is_empty() {
                continue;
            }
            seen.completed.retain(|&(_, service_s)| service_s <= longest_s);
            let n = seen.completed.len();
            seen.completions = n as u64;
            seen.mean_service_s = (n > 0).then(|| seen.completed.iter().map(|(_, s)| s).sum::<f64>() / n as f64);
            self.learn(&seen);
        }
    }

    /// What nearly all of the last durations stay below.
    pub(super) fn usual_s(&self) -> f64 {
        let mut durations = self.recent.clone();
        durations.sort_unstable_by(f64::total_cmp);
        durations.get((USUAL * durations.len() as f64) as usize).or(durations.last()).copied().unwrap_or(f64::INFINITY)
    }

    /// The longest of the last durations.
    pub(super) fn longest_s(&self) -> f64 {
        self.recent.iter().copied().fold(0.0, f64::max)
    }

    /// A change of the mean duration that the tasks on agents show, or one that was settled in the last minute.
    pub fn shift(&self) -> Option<Shift> {
        let RunningEvidence { change, known, settled, .. } = &self.evidence;
        match (change, known) {
            (Some(change), Some((_, mean_s))) if change.factor != 1.0 => {
                Some(Shift { before_s: *mean_s, after_s: mean_s * change.factor })
            }
            _ => settled.filter(|(_, ago_s)| *ago_s < SETTLED_NAMED_S).map(|(shift, _)| shift),
        }
    }

    /// Whether tasks on agents show a change of the mean duration.
    pub fn is_changing(&self) -> bool {
        self.evidence.change.is_some()
    }

    /// The same, or one was settled so lately that tasks from before it are still there.
    pub fn is_unsettled(&self) -> bool {
        let is_recent = |(shift, ago_s): (Shift, f64)| ago_s < SETTLED_MEANS * shift.after_s.max(shift.before_s);
        self.is_changing() || self.evidence.settled.is_some_and(is_recent)
    }

    /// Whether a change was believed so lately that tasks which came meanwhile wait still, though it has passed.
    pub fn is_recovering(&self) -> bool {
        self.evidence.calm_s.is_some_and(|calm_s| calm_s < SETTLED_MEANS * self.evidence.believed_s)
    }

    /// Whether tasks on agents show one that no completion has shown yet.
    pub fn is_guessed(&self) -> bool {
        self.evidence.change.is_some_and(|change| change.factor > 1.0 && !change.is_shown)
    }

    /// The factor by which tasks are believed to be slower than the durations known; 1 where they are not.
    pub fn factor(&self) -> f64 {
        self.evidence.change.map_or(1.0, |change| change.factor)
    }

    /// Tasks on agents for longer than any duration known: they will stay, as far as anybody knows.
    pub fn stuck(&self) -> f64 {
        if self.recent.len() < FEW || self.evidence.change.is_some() {
            return 0.0;
        }
        self.evidence.running.older_than(STUCK * self.longest_s()) as f64
    }
}
