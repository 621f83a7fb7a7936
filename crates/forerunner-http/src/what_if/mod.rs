//! What other objectives would have cost a pool: its own last day, replayed.

mod aside;
mod history;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use forerunner_core::{Timestamp, format_duration};
use forerunner_forecast::{Objective, PolicyLimits};
use forerunner_lab::what_if::{History, Price, Prices, prices};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::aside::{LONGEST_REPLAY, aside};
use crate::{
    api::Api,
    error::{Problem, internal},
    json, problems, query,
};

/// Shares that are priced unless said.
const SHARES: [f64; 3] = [0.95, 0.99, 0.999];
/// Most shares at once: each is a replay of a day.
pub(crate) const MOST_SHARES: usize = 8;
/// Cold start of a pool that has decided nothing yet, in seconds.
const COLD_START_S: f64 = 1.0;
/// Seconds between two decisions of the replay.
const TICK_S: f64 = 1.0;
/// When to come back while another history is replayed.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatIfQuery {
    share: Option<String>,
}

/// What other objectives would have cost a pool.
#[derive(Serialize, ToSchema)]
#[schema(as = WhatIf)]
pub(crate) struct WhatIfView {
    /// The pool.
    pool: String,
    /// The policy that was replayed.
    policy: &'static str,
    /// When the first task of the history was due.
    from: Timestamp,
    /// When the last one was.
    to: Timestamp,
    /// Tasks that were replayed.
    tasks: u64,
    /// Whether older tasks of the day were left out, because there were too many.
    truncated: bool,
    /// Seconds from the first to the last.
    span_s: f64,
    /// Seconds at the begin that do not count.
    warmup_s: f64,
    /// The cold start that was counted with.
    cold_start_s: f64,
    /// What on time means: seconds from being due to the start.
    within_s: f64,
    /// Fewest agents.
    min: u32,
    /// Most agents.
    max: u32,
    /// One for each share, in the order asked for.
    prices: Vec<Price>,
}

pub(crate) async fn show(api: Api, pool: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: WhatIfQuery = query::parse(&request)?;
    let shares = asked.share.as_deref().map_or_else(|| Ok(SHARES.to_vec()), shares)?;
    let status = api.handle().pool(&pool).await?;
    // A day is replayed for seconds: one at a time, so that the pools keep the other cores.
    let turn = api.what_if_turn().ok_or_else(busy)?;
    let history = history::read(api.handle(), &status.name).await?.ok_or_else(|| no_history(&pool))?;
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
    let priced = aside(turn, move |stop| prices(&trace, limits, cooldown_s, &shares, &|| stop.is_due())).await?;
    let Prices { policy, warm_up_s, prices } =
        priced.map_err(|error| internal(error.to_string()))?.ok_or_else(too_long)?;
    Ok(json::ok(&WhatIfView {
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
    }))
}

fn shares(text: &str) -> Result<Vec<f64>, Problem> {
    let refuse = || {
        let detail =
            format!("share `{text}` is not valid; write up to {MOST_SHARES} shares between 0 and 1, such as 0.95,0.99");
        Problem::new(problems::INVALID_QUERY, detail)
    };
    let shares: Result<Vec<f64>, _> = text.split(',').map(|share| share.trim().parse()).collect();
    let shares = shares.map_err(|_| refuse())?;
    let all_valid = shares.iter().all(|share| *share > 0.0 && *share < 1.0);
    if all_valid && shares.len() <= MOST_SHARES { Ok(shares) } else { Err(refuse()) }
}

fn busy() -> Problem {
    let detail = "the node replays a history for somebody else; it does one at a time";
    Problem::new(problems::BUSY, detail).retry_after(RETRY)
}

fn too_long() -> Problem {
    let longest = format_duration(LONGEST_REPLAY);
    let detail = format!("the replay took more than {longest}; ask for fewer shares, or when the node has less to do");
    Problem::new(problems::BUSY, detail).retry_after(RETRY)
}

fn no_history(pool: &str) -> Problem {
    let detail = format!("pool `{pool}` has no finished task to replay; ask again once some have run");
    Problem::new(problems::NO_HISTORY, detail).with("pool", pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_between_0_and_1_and_not_many() {
        assert_eq!(shares("0.95, 0.99").unwrap(), [0.95, 0.99]);
        for bad in ["", "99", "0", "1", "0.9;0.8", "NaN", &["0.9"; 9].join(",")] {
            assert_eq!(shares(bad).unwrap_err().kind().name, "invalid-query", "{bad}");
        }
    }
}
