//! What other objectives would have cost a pool: its own last day, replayed.

mod history;

use std::time::Duration;

use forerunner_core::{Timestamp, format_duration};
use forerunner_forecast::{Objective, PolicyLimits};
use forerunner_lab::what_if::{History, Price, Prices, prices};
use serde::Serialize;

use crate::{
    error::Error,
    problem_kind::ProblemKind,
    service::Service,
    worker_thread::{LONGEST_REPLAY, run_on_thread},
};

/// Shares that are priced unless the caller names others.
const SHARES: [f64; 3] = [0.95, 0.99, 0.999];
/// Most shares at once: each is a replay of a day.
pub const MOST_SHARES: usize = 8;
/// Assumed cold start of a pool without a decision, in seconds.
const COLD_START_S: f64 = 1.0;
/// Seconds between two decisions of the replay.
const TICK_S: f64 = 1.0;
/// When to retry while another history is replayed.
const RETRY: Duration = Duration::from_secs(5);

/// Shares of tasks that are to start on time: few, and each between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares(Vec<f64>);

impl Shares {
    /// Checks shares; none if one of them is none, or there are too many.
    pub fn new(shares: Vec<f64>) -> Option<Self> {
        let all_valid = shares.iter().all(|share| *share > 0.0 && *share < 1.0);
        (all_valid && shares.len() <= MOST_SHARES).then_some(Self(shares))
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self(SHARES.to_vec())
    }
}

/// What other objectives would have cost a pool.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhatIf {
    /// The pool.
    pub pool: String,
    /// The policy that was replayed.
    pub policy: &'static str,
    /// When the first task of the history was due.
    pub from: Timestamp,
    /// When the last one was.
    pub to: Timestamp,
    /// Tasks that were replayed.
    pub tasks: u64,
    /// Whether older tasks of the day were omitted, because there were too many.
    pub truncated: bool,
    /// Seconds from the first to the last.
    pub span_s: f64,
    /// Seconds at the begin that do not count.
    pub warmup_s: f64,
    /// The cold start that was counted with.
    pub cold_start_s: f64,
    /// What on time means: seconds from being due to the start.
    pub within_s: f64,
    /// Fewest agents.
    pub min: u32,
    /// Most agents.
    pub max: u32,
    /// One for each share, in the requested order.
    pub prices: Vec<Price>,
}

impl Service {
    /// Replays a pool's last day in virtual time, once for each share. It takes seconds, and runs for one caller at a
    /// time.
    ///
    /// # Errors
    /// The pool does not exist or has no history, or another caller's replay runs.
    pub async fn what_if(&self, pool: &str, shares: Shares) -> Result<WhatIf, Error> {
        self.own_pool(pool)?;
        let status = self.handle().pool(pool).await?;
        // A replay takes seconds: one at a time leaves the other cores to the pools.
        let turn = self.what_if_lock().try_lock_owned().map_err(|_| busy())?;
        let history =
            history::read(self.handle(), &status.name, self.scope().tenant()).await?.ok_or_else(|| no_history(pool))?;
        let measured = status.cold_start_s.map(|cold| cold.p90);
        let limits = PolicyLimits {
            min: status.min,
            max: status.max,
            cold_start_s: measured
                .or_else(|| status.decision.as_ref().map(|newest| newest.inputs.cold_start_s))
                .unwrap_or(COLD_START_S),
            tick_s: TICK_S,
            objective: Objective { share: status.objective.share, within_s: status.objective.within_s },
        };
        let cooldown_s = status.cooldown_s;
        let History { trace, from, to, truncated } = history;
        let (span_s, tasks) = (trace.span_s(), trace.tasks().len() as u64);
        let priced =
            run_on_thread(turn, move |stop| prices(&trace, limits, cooldown_s, &shares.0, &|| stop.is_due())).await?;
        let Prices { policy, warm_up_s, prices } =
            priced.map_err(|error| Error::internal(error.to_string()))?.ok_or_else(too_long)?;
        Ok(WhatIf {
            pool: status.name.to_string(),
            policy,
            from,
            to,
            tasks,
            truncated,
            span_s,
            warmup_s: warm_up_s,
            cold_start_s: limits.cold_start_s,
            within_s: limits.objective.within_s,
            min: limits.min,
            max: limits.max,
            prices,
        })
    }
}

fn busy() -> Error {
    let detail = "the node replays another history, and replays one at a time; try again later";
    Error::new(ProblemKind::Busy, detail).retry_after(RETRY)
}

fn too_long() -> Error {
    let longest = format_duration(LONGEST_REPLAY);
    let detail =
        format!("the replay took more than {longest}; ask for fewer shares, or try again when the node is less busy");
    Error::new(ProblemKind::Busy, detail).retry_after(RETRY)
}

fn no_history(pool: &str) -> Error {
    let detail = format!("pool `{pool}` has no finished task to replay; ask again once some have run");
    Error::new(ProblemKind::NoHistory, detail).with("pool", pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_between_0_and_1_and_not_many() {
        assert!(Shares::new(vec![0.95, 0.99]).is_some());
        for bad in [vec![99.0], vec![0.0], vec![0.9, 1.0], vec![f64::NAN], vec![0.9; MOST_SHARES + 1]] {
            assert_eq!(Shares::new(bad), None);
        }
    }
}
