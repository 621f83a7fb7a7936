//! `forerunner explain`: why something is as it is.

mod placement;

use clap::{Args, Subcommand};
use forerunner_console::{
    fields,
    json::Answer,
    output::{Output, pairs, seconds},
};
use serde_json::Value;

use crate::{client::encode, render::reason, server_args::ServerArgs};

/// What to explain.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// A scaling decision: what it saw, what it expected, what it did and why.
    Decision(DecisionArgs),
    /// A placement: why a task went to its agent, and what the others would have cost.
    Task(TaskArgs),
}

/// Which task.
#[derive(Debug, Args)]
pub struct TaskArgs {
    /// The task's id.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which decision.
#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// The pool.
    pool: String,
    /// The decision's number; default: the newest.
    seq: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Explains.
pub async fn run(command: ExplainCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        ExplainCommand::Decision(args) => decision(args, out).await,
        ExplainCommand::Task(args) => {
            let client = args.server.client()?;
            let answer = client.get(format!("/v1/tasks/{}/placement", encode(&args.id))).await?;
            out.show(&answer, || placement::explain(&answer))
        }
    }
}

async fn decision(args: DecisionArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let base = format!("/v1/pools/{}/decisions", encode(&args.pool));
    if let Some(seq) = args.seq {
        let decision = client.get(format!("{base}/{seq}")).await?;
        return out.show(&decision, || explain(&decision, &args.pool));
    }
    let decision = newest(&client.get(format!("{base}?limit=1")).await?, &args.pool)?;
    let pool = client.get(format!("/v1/pools/{}", encode(&args.pool))).await?;
    out.show(&decision, || {
        let explanation = explain(&decision, &args.pool);
        obstacle(&pool).map_or_else(|| explanation.clone(), |what| format!("{explanation}\n\n{what}"))
    })
}

/// Why agents or tasks do not start, if something prevents it.
fn obstacle(pool: &Value) -> Option<String> {
    let [until, reason] = [fields::time(pool, "until"), fields::text(pool, "reason")];
    match fields::text(pool, "state").as_str() {
        "circuit_open" => {
            Some(format!("The pool starts no agent before {until}, because agents failed too often: {reason}."))
        }
        "dependency_open" => Some(format!(
            "The pool starts only probe tasks, the next one at {until}, because what the agents depend on fails: \
             {reason}."
        )),
        _ => limited(pool),
    }
}

/// What the dependency circuit allows while it is half-open.
fn limited(pool: &Value) -> Option<String> {
    let limit = fields::at(pool, "dependency.limit").and_then(Value::as_u64)?;
    let error = fields::text(pool, "dependency.error");
    Some(format!("At most {limit} tasks run at once, because tasks failed with the same error: {error}."))
}

fn newest(answer: &Answer, pool: &str) -> anyhow::Result<Answer> {
    let first = answer.list("decisions").into_iter().next();
    first.ok_or_else(|| anyhow::anyhow!("pool `{pool}` has no decision yet; ask again in a second"))
}

/// Writes a paragraph and the numbers behind it.
fn explain(decision: &Value, pool: &str) -> String {
    let numbers = pairs([
        ("at", fields::time(decision, "at")),
        ("cause", fields::text(decision, "cause")),
        ("arrivals", format!("{} since the decision before", fields::text(decision, "inputs.arrivals"))),
        (
            "completions",
            format!(
                "{}, {} each",
                fields::text(decision, "inputs.completions"),
                fields::secs(decision, "inputs.mean_service_s")
            ),
        ),
        ("waiting", fields::text(decision, "inputs.depth")),
        ("agents", agents(decision)),
        ("cold start", cold_start(decision)),
        ("forecast", forecast(decision)),
        ("announced", announced(decision)),
        ("need", format!("{} agents before bounds and stabilisation", fields::decimal(decision, "need", 1))),
        ("rule", fields::text(decision, "rule")),
        ("reason", fields::text(decision, "reason")),
    ]);
    format!("{}\n\n{numbers}", paragraph(decision, pool))
}

fn paragraph(decision: &Value, pool: &str) -> String {
    let [seq, before, desired] = ["seq", "before", "desired"].map(|name| fields::text(decision, name));
    let act = match (fields::number(decision, "before"), fields::number(decision, "desired")) {
        (Some(old), Some(new)) if new > old => format!("asked for {desired} agents instead of {before}"),
        (Some(old), Some(new)) if new < old => format!("reduced the pool from {before} to {desired} agents"),
        _ if desired == "1" => "kept 1 agent".to_owned(),
        _ => format!("kept {desired} agents"),
    };
    let mode = if fields::text(decision, "mode") == "advise" { " (advice only: nothing was changed)" } else { "" };
    let why = reason::in_words(&fields::text(decision, "reason"));
    let detail = fields::text(decision, "detail");
    format!("Decision {seq} of pool {pool} {act}{mode}, because {why}: {detail}.")
}

fn agents(decision: &Value) -> String {
    let states = ["ready", "busy", "starting", "cooldown"];
    states.map(|state| format!("{} {state}", fields::text(decision, &format!("inputs.agents.{state}")))).join(", ")
}

/// The cold start, and how many agents may start at once.
fn cold_start(decision: &Value) -> String {
    let seconds = fields::secs(decision, "inputs.cold_start_s");
    match fields::number(decision, "inputs.start_concurrency") {
        Some(most) => format!("{seconds}, at most {most:.0} at once"),
        None => seconds,
    }
}

fn forecast(decision: &Value) -> String {
    let Some(forecast) = fields::at(decision, "forecast") else {
        return "none: the policy does not forecast".to_owned();
    };
    format!(
        "{} tasks/s in {} (band {} to {}), {} each, {} waiting then",
        fields::decimal(forecast, "rate_per_s", 1),
        seconds(fields::number(forecast, "horizon_s").unwrap_or(f64::NAN)),
        fields::decimal(forecast, "rate_low", 1),
        fields::decimal(forecast, "rate_high", 1),
        fields::secs(forecast, "service_s"),
        fields::decimal(forecast, "depth", 0),
    )
}

/// The announced tasks, which are not part of the forecast.
fn announced(decision: &Value) -> String {
    let Some(known) = fields::at(decision, "forecast.announced").filter(|known| !known["next_in_s"].is_null()) else {
        return "no task is known to become due soon".to_owned();
    };
    format!(
        "{} tasks become due in {}, {} within the cold start, which need {} agents",
        fields::text(known, "next_tasks"),
        fields::secs(known, "next_in_s"),
        fields::text(known, "within_horizon"),
        fields::text(known, "agents"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_open_circuit_is_said_to_be_in_the_way() {
        let open = json!({ "state": "circuit_open", "until": "2026-01-31T12:00:30Z", "reason": "no such file" });
        assert_eq!(
            obstacle(&open).unwrap(),
            "The pool starts no agent before 2026-01-31 12:00:30, because agents failed too often: no such file."
        );
        assert_eq!(obstacle(&json!({ "state": "paused" })), None);
        let down = json!({ "state": "dependency_open", "until": "2026-01-31T12:00:30Z", "reason": "503" });
        assert_eq!(
            obstacle(&down).unwrap(),
            "The pool starts only probe tasks, the next one at 2026-01-31 12:00:30, because what the agents depend on \
             fails: 503."
        );
        let half = json!({ "state": "running", "dependency": { "state": "half_open", "limit": 3, "error": "503" } });
        assert_eq!(
            obstacle(&half).unwrap(),
            "At most 3 tasks run at once, because tasks failed with the same error: 503."
        );
    }

    #[test]
    fn a_decision_is_a_paragraph_and_its_numbers() {
        let decision = json!({
            "seq": 88, "at": "2026-01-31T12:00:00Z", "cause": "tick", "before": 7, "desired": 9, "need": 8.4,
            "reason": "forecast_up", "rule": "holt", "mode": "act",
            "detail": "3.0 tasks/s expected in 3.4 s (band 2.2-3.9), 2.1 s each: 7 busy on average + 2 spare (margin 0.9 σ) = 9 needed; 7 now",
            "inputs": {
                "arrivals": 3, "completions": 2, "mean_service_s": 2.05, "depth": 0, "cold_start_s": 2.4,
                "agents": {"starting": 0, "ready": 1, "busy": 6, "cooldown": 0},
            },
            "forecast": {
                "horizon_s": 3.4, "rate_per_s": 3.0, "rate_low": 2.2, "rate_high": 3.9, "service_s": 2.1, "depth": 0.2,
                "announced": {"within_horizon": 40, "agents": 38, "next_in_s": 3.1, "next_tasks": 40},
            },
        });
        insta::assert_snapshot!(explain(&decision, "coder"), @r"
        Decision 88 of pool coder asked for 9 agents instead of 7, because the forecast needs more: 3.0 tasks/s expected in 3.4 s (band 2.2-3.9), 2.1 s each: 7 busy on average + 2 spare (margin 0.9 σ) = 9 needed; 7 now.

        at           2026-01-31 12:00:00
        cause        tick
        arrivals     3 since the decision before
        completions  2, 2.05 s each
        waiting      0
        agents       1 ready, 6 busy, 0 starting, 0 cooldown
        cold start   2.40 s
        forecast     3.0 tasks/s in 3.40 s (band 2.2 to 3.9), 2.10 s each, 0 waiting then
        announced    40 tasks become due in 3.10 s, 40 within the cold start, which need 38 agents
        need         8.4 agents before bounds and stabilisation
        rule         holt
        reason       forecast_up
        ");
    }
}
