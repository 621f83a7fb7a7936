//! The figures of a replay as they add up.

use crate::{
    engine::Replay,
    report::{Report, WaitSummary},
};

/// Adds up the figures of a replay.
#[derive(Debug, Default)]
pub(crate) struct ReportBuilder {
    waits: Vec<f64>,
    context_waits: Vec<f64>,
    late: u64,
    instance_s: f64,
    busy_s: f64,
    peak_pool: u32,
    ups: u64,
    downs: u64,
    reversals: u64,
    last_went_up: Option<bool>,
    first_up_s: Option<f64>,
    first_queued_s: Option<f64>,
}

impl ReportBuilder {
    pub fn new(tasks: usize, pool: u32) -> Self {
        Self { waits: Vec::with_capacity(tasks), peak_pool: pool, ..Self::default() }
    }

    /// A task that arrived at `arrival_s` and could start at `ready_s` starts at `now`; returns whether that is late.
    pub fn record_start(&mut self, arrival_s: f64, ready_s: f64, now: f64, settings: &Replay) -> bool {
        let wait_s = now - ready_s;
        let late = wait_s > settings.limits.objective.within_s;
        if wait_s > 0.0 {
            self.first_queued_s.get_or_insert(arrival_s);
        }
        if arrival_s >= settings.warm_up_s {
            self.waits.push(wait_s);
            self.context_waits.push(ready_s - arrival_s);
            self.late += u64::from(late);
        }
        late
    }

    /// For `seconds` there were `agents`, `busy` of them with a task.
    pub fn cost(&mut self, seconds: f64, agents: u32, busy: u32) {
        self.instance_s += seconds * f64::from(agents);
        self.busy_s += seconds * f64::from(busy);
    }

    /// The pool has `agents` now.
    pub fn record_size(&mut self, agents: u32) {
        self.peak_pool = self.peak_pool.max(agents);
    }

    /// The policy changed its mind about the size.
    pub fn record_change(&mut self, t: f64, before: u32, after: u32) {
        let up = after > before;
        self.ups += u64::from(up);
        self.downs += u64::from(!up);
        self.reversals += u64::from(self.last_went_up == Some(!up));
        self.last_went_up = Some(up);
        if up {
            self.first_up_s.get_or_insert(t);
        }
    }

    /// Sums it all up.
    pub fn report(mut self, trace: &str, policy: &str, settings: &Replay) -> Report {
        let tasks = self.waits.len() as u64;
        Report {
            trace: trace.to_owned(),
            policy: policy.to_owned(),
            params: settings.params.clone(),
            cold_start_s: settings.limits.cold_start_s,
            objective: settings.limits.objective,
            tasks,
            late_share: if tasks == 0 { 0.0 } else { self.late as f64 / tasks as f64 },
            wait_s: WaitSummary::of(&mut self.waits),
            wait_context_s: WaitSummary::of(&mut self.context_waits),
            instance_s: self.instance_s,
            busy_s: self.busy_s,
            peak_pool: self.peak_pool,
            scale_actions: self.ups + self.downs,
            reversals: self.reversals,
            scale_ups: self.ups,
            scale_downs: self.downs,
            first_scale_up_s: self.first_up_s,
            first_queued_s: self.first_queued_s,
            band_coverage: None,
        }
    }
}
