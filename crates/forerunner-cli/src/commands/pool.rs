//! `forerunner pool`: see and steer pools.

mod learn;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use forerunner_console::{
    Usage, fields,
    output::{Output, count, pairs, render, right_from, table},
};
use forerunner_lab::parse::share;
use serde_json::{Map, Value};

use crate::{
    client::{Call, encode},
    server_args::ServerArgs,
};

/// A day is replayed once for each share.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(600);

/// What to do with pools.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// List the pools.
    List(ServerArgs),
    /// Show the status of a pool.
    Show(PoolArg),
    /// Change how many agents a pool may have.
    Resize(ResizeArgs),
    /// Start no more tasks; agents stay warm.
    Pause(PoolArg),
    /// Start tasks again.
    Resume(PoolArg),
    /// List a pool's agents.
    Agents(PoolArg),
    /// Show what other objectives would have cost in the pool's own last day.
    WhatIf(WhatIfArgs),
    /// Teach a running pool from a recording, or from another pool with the same agents.
    Learn(Box<learn::LearnArgs>),
}

/// Which pool.
#[derive(Debug, Args)]
pub struct PoolArg {
    /// Its name.
    pool: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// How many agents.
#[derive(Debug, Args)]
pub struct ResizeArgs {
    /// The pool.
    pool: String,
    /// Fewest agents.
    #[arg(long)]
    min: Option<u32>,
    /// Most agents.
    #[arg(long)]
    max: Option<u32>,
    /// Whether the pool applies decisions.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which objectives.
#[derive(Debug, Args)]
pub struct WhatIfArgs {
    /// The pool.
    pool: String,
    /// Shares of tasks that are to start on time.
    #[arg(long, value_delimiter = ',', default_value = "0.95,0.99,0.999", value_parser = share, value_name = "SHARES")]
    share: Vec<f64>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Whether the pool applies decisions.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// It does.
    Act,
    /// It only records them.
    Advise,
}

/// Reads and changes pools.
pub async fn run(command: PoolCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        PoolCommand::List(server) => {
            let pools = server.client()?.get("/v1/pools").await?;
            out.show(&pools, || render_list(&pools))
        }
        PoolCommand::Show(args) => one(&args, out, Call::get(path(&args.pool, ""))).await,
        PoolCommand::Pause(args) => one(&args, out, Call::post(path(&args.pool, ":pause"))).await,
        PoolCommand::Resume(args) => one(&args, out, Call::post(path(&args.pool, ":resume"))).await,
        PoolCommand::Agents(args) => {
            let agents = args.server.client()?.get(path(&args.pool, "/agents")).await?;
            out.show(&agents, || render_agents(&agents))
        }
        PoolCommand::WhatIf(args) => what_if(args, out).await,
        PoolCommand::Learn(args) => learn::run(*args, out).await,
        PoolCommand::Resize(args) => resize(args, out).await,
    }
}

fn path(pool: &str, rest: &str) -> String {
    format!("/v1/pools/{}{rest}", encode(pool))
}

async fn one(args: &PoolArg, out: &Output, call: Call<'_>) -> anyhow::Result<()> {
    let pool = args.server.client()?.send(call).await?;
    out.show(&pool, || render_one(&pool))
}

async fn resize(args: ResizeArgs, out: &Output) -> anyhow::Result<()> {
    let mode = args.mode.map(|mode| format!("{mode:?}").to_lowercase());
    let changes =
        [("min", args.min.map(Value::from)), ("max", args.max.map(Value::from)), ("mode", mode.map(Value::from))];
    let patch: Map<String, Value> =
        changes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    if patch.is_empty() {
        let text = format!(
            "nothing to change; add --min, --max or --mode, such as `forerunner pool resize {} --max 20`",
            args.pool
        );
        return Err(Usage(text).into());
    }
    let pool = args.server.client()?.send(Call::patch(path(&args.pool, "")).body(&Value::Object(patch))).await?;
    out.show(&pool, || render_one(&pool))
}

async fn what_if(args: WhatIfArgs, out: &Output) -> anyhow::Result<()> {
    let shares: Vec<String> = args.share.iter().map(ToString::to_string).collect();
    let asked = format!("{}?share={}", path(&args.pool, "/what-if"), shares.join(","));
    let call = Call::get(asked).patient(REPLAY_TIMEOUT);
    let answer = args.server.client()?.send(call).await?;
    out.show(&answer, || render_what_if(&answer))
}

fn render_what_if(answer: &Value) -> String {
    let prices = fields::list(answer, "prices");
    let base = prices.first().and_then(|price| fields::number(price, "agent_seconds")).filter(|cost| *cost > 0.0);
    let row = |price: &Value| {
        let cost = fields::number(price, "agent_seconds");
        let relative =
            cost.zip(base).map_or_else(|| fields::NOTHING.to_owned(), |(cost, base)| format!("{:.2}", cost / base));
        [
            fields::percent(price, "share"),
            if price["meets_objective"] == true { "yes" } else { "no" }.to_owned(),
            fields::late(price, "late_share"),
            cost.map_or_else(|| fields::NOTHING.to_owned(), |cost| format!("{:.2}", cost / 3_600.0)),
            relative,
            fields::secs(price, "wait_s.p99"),
            fields::text(price, "peak_agents"),
        ]
    };
    let mut table =
        table(["on time", "met", "late", "agent-hours", "cost", "wait p99", "peak"], prices.iter().map(row));
    right_from(&mut table, 0);
    format!(
        "{} tasks in {} until {}, {} to {} agents, cold start {}, {}\n\n{}",
        fields::text(answer, "tasks"),
        fields::secs(answer, "span_s"),
        fields::time(answer, "to"),
        fields::text(answer, "min"),
        fields::text(answer, "max"),
        fields::secs(answer, "cold_start_s"),
        fields::text(answer, "policy"),
        render(&table),
    )
}

fn render_list(answer: &Value) -> String {
    let row = |pool: &Value| {
        let agents = format!("{}/{}", fields::text(pool, "agents.busy"), warm(pool));
        let size = format!("{}–{}", fields::text(pool, "min"), fields::text(pool, "max"));
        let counted = ["desired", "depth", "running"].map(|name| fields::text(pool, name));
        let [desired, depth, running] = counted;
        [
            fields::text(pool, "name"),
            fields::text(pool, "kind"),
            fields::text(pool, "state"),
            size,
            desired,
            agents,
            depth,
            running,
            fields::percent(pool, "on_time_share"),
        ]
    };
    let pools = fields::list(answer, "pools");
    if pools.is_empty() {
        return "no pools".to_owned();
    }
    let header = ["pool", "kind", "state", "size", "wanted", "busy/warm", "depth", "running", "on time"];
    let mut table = table(header, pools.iter().map(row));
    right_from(&mut table, 3);
    let unconfigured = fields::list(answer, "unconfigured").iter().map(render_unconfigured);
    render(&table) + &unconfigured.collect::<String>()
}

/// A pool with tasks that is no longer configured.
fn render_unconfigured(pool: &Value) -> String {
    let tasks: f64 =
        ["queued", "scheduled", "running", "waiting"].into_iter().filter_map(|name| fields::number(pool, name)).sum();
    let name = fields::text(pool, "name");
    format!(
        "\n\n{name} is not in the configuration and has {} unfinished tasks: add it again, or run \
         `forerunner task cancel --pool {name}`",
        count(tasks as u64)
    )
}

fn warm(pool: &Value) -> u64 {
    let count = |name| fields::number(pool, name).unwrap_or(0.0) as u64;
    count("agents.ready") + count("agents.busy")
}

fn render_one(pool: &Value) -> String {
    let text = |name: &str| fields::text(pool, name);
    let secs = |name: &str| fields::secs(pool, name);
    let agents =
        ["ready", "busy", "starting", "cooldown"].map(|name| format!("{} {name}", text(&format!("agents.{name}"))));
    let percent = |name: &str| fields::percent(pool, name);
    let on_time = format!(
        "{} within {}, {} so far",
        percent("objective.share"),
        secs("objective.within_s"),
        percent("on_time_share")
    );
    let agent_seconds = fields::decimal(pool, "agent_seconds", 0);
    pairs([
        ("pool", format!("{} ({} agents)", text("name"), text("kind"))),
        ("state", state(pool)),
        ("size", format!("{} wanted, {} to {}", text("desired"), text("min"), text("max"))),
        ("agents", agents.join(", ")),
        ("policy", format!("{} ({})", text("policy"), text("mode"))),
        ("decision", decision(pool)),
        ("on time", on_time),
        ("tasks", format!("{} waiting, {} running, {} finished", text("waiting"), text("running"), text("finished"))),
        (
            "cold start",
            format!("{} median, {} at the 90th percentile", secs("cold_start_s.p50"), secs("cold_start_s.p90")),
        ),
        ("starts", starts(pool)),
        (
            "cost",
            format!(
                "{agent_seconds} agent-seconds, {} scale-ups, {} scale-downs",
                text("scale_ups"),
                text("scale_downs")
            ),
        ),
    ])
}

/// The newest decision in a line.
fn decision(pool: &Value) -> String {
    let Some(decision) = fields::at(pool, "decision") else { return fields::NOTHING.to_owned() };
    let text = |name: &str| fields::text(decision, name);
    format!("#{} {}: {}", text("seq"), text("reason"), text("detail"))
}

/// How many agents start at once, and what that follows from.
fn starts(pool: &Value) -> String {
    let learned = if pool["starts"]["is_learned"] == true { ", learned" } else { "" };
    let measured = fields::list(pool, "starts.measured").iter().map(|starts| match fields::number(starts, "at_once") {
        Some(at_once) if at_once < 1.5 => format!("{} alone", fields::secs(starts, "seconds")),
        _ => format!("{} with {} at once", fields::secs(starts, "seconds"), fields::decimal(starts, "at_once", 0)),
    });
    let measured: Vec<_> = measured.collect();
    let measured = if measured.is_empty() { String::new() } else { format!(": {}", measured.join(", ")) };
    match fields::number(pool, "starts.at_once") {
        Some(most) if most < f64::from(u32::MAX) => format!("at most {most:.0} at once{learned}{measured}"),
        _ => format!("any number at once{measured}"),
    }
}

fn state(pool: &Value) -> String {
    match fields::text(pool, "state").as_str() {
        "circuit_open" => {
            format!("circuit open until {}: {}", fields::time(pool, "until"), fields::text(pool, "reason"))
        }
        "dependency_open" => format!(
            "dependency circuit open, next probe at {}: {}",
            fields::time(pool, "until"),
            fields::text(pool, "reason")
        ),
        other if fields::text(pool, "dependency.state") == "half_open" => format!(
            "{other}, dependency circuit half-open: at most {} tasks at once: {}",
            fields::text(pool, "dependency.limit"),
            fields::text(pool, "dependency.error")
        ),
        other => other.to_owned(),
    }
}

fn render_agents(answer: &Value) -> String {
    let row = |agent: &Value| {
        let [id, state, task, context, tasks] =
            ["id", "state", "task", "context", "tasks"].map(|name| fields::text(agent, name));
        [
            id,
            state,
            task,
            context,
            tasks,
            fields::secs(agent, "cold_start_s"),
            fields::text(agent, "pid").replace(',', ""),
        ]
    };
    let agents = fields::list(answer, "agents");
    if agents.is_empty() {
        return "no agents".to_owned();
    }
    let mut table = table(["agent", "state", "task", "context", "tasks", "cold start", "pid"], agents.iter().map(row));
    right_from(&mut table, 4);
    render(&table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn coder() -> Value {
        json!({
            "name": "coder", "kind": "process", "state": "running", "min": 2, "max": 40, "desired": 9, "policy": "predictive",
            "mode": "act", "objective": {"share": 0.99, "within_s": 1.0},
            "agents": {"starting": 1, "ready": 2, "busy": 6, "cooldown": 0},
            "depth": 0, "waiting": 0, "running": 6, "cold_start_s": {"p50": 2.1, "p90": 2.4}, "on_time_share": 0.9963,
            "starts": {"at_once": 2, "is_learned": true, "measured": [
                {"at_once": 1.1, "seconds": 2.1, "starts": 3}, {"at_once": 15.8, "seconds": 16.2, "starts": 16},
            ]},
            "finished": 1234, "scale_ups": 12, "scale_downs": 3, "agent_seconds": 5123.4,
            "decision": {"seq": 88, "reason": "forecast_up", "detail": "3.0 tasks/s expected in 3.4 s"},
        })
    }

    #[test]
    fn a_pool_is_shown_with_its_newest_decision() {
        insta::assert_snapshot!(render_one(&coder()), @r"
        pool        coder (process agents)
        state       running
        size        9 wanted, 2 to 40
        agents      2 ready, 6 busy, 1 starting, 0 cooldown
        policy      predictive (act)
        decision    #88 forecast_up: 3.0 tasks/s expected in 3.4 s
        on time     99.00 % within 1.00 s, 99.63 % so far
        tasks       0 waiting, 6 running, 1,234 finished
        cold start  2.10 s median, 2.40 s at the 90th percentile
        starts      at most 2 at once, learned: 2.10 s alone, 16.20 s with 16 at once
        cost        5123 agent-seconds, 12 scale-ups, 3 scale-downs
        ");
    }

    #[test]
    fn objectives_are_shown_with_their_price() {
        let price = |share: f64, agent_seconds: f64| {
            json!({
                "share": share, "meets_objective": share < 0.999, "late_share": 0.004, "wait_s": {"p99": 0.2},
                "agent_seconds": agent_seconds, "peak_agents": 12,
            })
        };
        let answer = json!({
            "policy": "predictive", "to": "2026-01-31T12:00:00Z", "tasks": 12345, "span_s": 86_000.0, "cold_start_s": 2.4,
            "min": 1, "max": 40, "prices": [price(0.99, 36_000.0), price(0.999, 54_000.0)],
        });
        insta::assert_snapshot!(render_what_if(&answer), @r"
        12,345 tasks in 23 h 53 min until 2026-01-31 12:00:00, 1 to 40 agents, cold start 2.40 s, predictive

        ON TIME  MET    LATE  AGENT-HOURS  COST  WAIT P99  PEAK
        99.00 %  yes  0.40 %        10.00  1.00    200 ms    12
        99.90 %   no  0.40 %        15.00  1.50    200 ms    12
        ");
    }

    #[test]
    fn pools_are_listed_as_a_table() {
        let left =
            json!({"pools": [coder()], "unconfigured": [{"name": "old", "queued": 2, "scheduled": 1, "running": 0}]});
        assert!(render_list(&left).ends_with(
            "old is not in the configuration and has 3 unfinished tasks: add it \
             again, or run `forerunner task cancel --pool old`"
        ));
        insta::assert_snapshot!(render_list(&json!({"pools": [coder()]})), @r"
        POOL   KIND     STATE    SIZE  WANTED  BUSY/WARM  DEPTH  RUNNING  ON TIME
        coder  process  running  2–40       9        6/8      0        6  99.63 %
        ");
    }
}
