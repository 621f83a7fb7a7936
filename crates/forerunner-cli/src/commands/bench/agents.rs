//! `forerunner bench agents`: how soon coding agents answer, cold and warm.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use forerunner_agents::{
    AgentKind, AgentSpec,
    acp::{AcpSpec, PRESETS, PermissionMode},
};
use forerunner_console::output::{Output, note, render, seconds, table};
use forerunner_context::Snapshot;
use forerunner_core::{AgentId, Clock, Payload, PoolName, TaskId, parse_duration};
use forerunner_runtime::{
    SystemClock,
    agent::{AgentContext, AttemptRequest, Driver, ProgressSink, StartRequest},
};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;

/// How long an agent is idle between two tasks: it may make a session in advance meanwhile.
const IDLE: Duration = Duration::from_secs(1);
/// The same for an agent that starts a process for each session.
const LONG_IDLE: Duration = Duration::from_secs(5);
/// How long an agent may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Which agents, and how often they are measured.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    /// Presets to measure; default: all whose program is installed.
    #[arg(value_name = "PRESET")]
    presets: Vec<String>,
    /// Measure the pools of kind `acp` of this configuration instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["presets", "home"])]
    config: Option<PathBuf>,
    /// A directory that is copied to the HOME of each agent: its configuration and credentials.
    #[arg(long, value_name = "DIRECTORY")]
    home: Option<PathBuf>,
    /// Processes that are started of each agent; medians are shown.
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=99))]
    repetitions: u32,
    /// Warm tasks of each process.
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=99))]
    tasks: u32,
    /// What the agents are asked. Their model answers, so this may cost money.
    #[arg(long, default_value = "Say hello.", value_name = "TEXT")]
    prompt: String,
    /// Longest time of each start, and of each task.
    #[arg(long, default_value = "2m", value_parser = parse_duration, value_name = "DURATION")]
    limit: Duration,
}

/// Samples of one time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// What was measured of one agent.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// From the spawn until the agent is warm.
    start_s: Spread,
    /// From the spawn until the first piece of the first answer.
    cold_s: Spread,
    /// The same for a task in a new conversation of a warm agent.
    warm_s: Spread,
    /// Warm divided by cold.
    ratio: Spread,
    /// Of all its processes after the first task, in bytes.
    memory_bytes: u64,
    /// What each further conversation added, in bytes.
    session_bytes: u64,
}

/// An agent that could not be measured.
#[derive(Debug, Serialize)]
struct Failed {
    name: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Report {
    agents: Vec<Row>,
    failed: Vec<Failed>,
}

/// Measures and shows the figures.
pub async fn run(args: &AgentsArgs, out: &Output) -> anyhow::Result<()> {
    let found = specs(args)?;
    if found.is_empty() {
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        bail!(
            "no agent is installed of the presets {}; install one, or name a configuration in --config",
            names.join(", ")
        );
    }
    let mut report = Report { agents: Vec::new(), failed: Vec::new() };
    for (name, spec) in found {
        note(&format!("measuring {name}"));
        match measure(&name, &spec, args).await {
            Ok(row) => report.agents.push(row),
            Err(error) => report.failed.push(Failed { name, reason: format!("{error:#}") }),
        }
    }
    out.show(&report, || text(&report))?;
    match report.failed.len() {
        0 => Ok(()),
        failed => bail!("{failed} agents could not be measured; the report has the reasons"),
    }
}

/// The agents to measure, by name.
fn specs(args: &AgentsArgs) -> anyhow::Result<Vec<(String, AcpSpec)>> {
    if let Some(file) = &args.config {
        let pools = Loaded::of_file(file)?.config.pools;
        let acp = pools.into_iter().filter_map(|(name, pool)| match pool.agent {
            AgentSpec::Acp(spec) => Some((name.to_string(), spec)),
            _ => None,
        });
        return Ok(acp.collect());
    }
    let preset = |name: &str| {
        let spec = AcpSpec { home: args.home.clone(), ..AcpSpec::new(Some(name), Vec::<String>::new()) };
        (name.to_owned(), spec)
    };
    if !args.presets.is_empty() {
        let found: Vec<_> = args.presets.iter().map(|name| preset(name)).collect();
        found.iter().try_for_each(|(_, spec)| AgentKind::validate(spec))?;
        return Ok(found);
    }
    let is_installed = |spec: &AcpSpec| !AgentKind::missing(spec).iter().any(|missing| missing.key == "argv");
    Ok(PRESETS.iter().map(|known| preset(known.name)).filter(|(_, spec)| is_installed(spec)).collect())
}

#[derive(Default)]
struct Samples {
    start: Vec<f64>,
    cold: Vec<f64>,
    warm: Vec<f64>,
    memory: Vec<f64>,
    session: Vec<f64>,
}

async fn measure(name: &str, spec: &AcpSpec, args: &AgentsArgs) -> anyhow::Result<Row> {
    let mut samples = Samples::default();
    for _ in 0..args.repetitions {
        one_process(spec, args, &mut samples).await?;
    }
    let (cold, warm) = (spread(&samples.cold), spread(&samples.warm));
    let ratio = Spread { median: warm.median / cold.median, min: warm.min / cold.max, max: warm.max / cold.min };
    let bytes = |samples: &[f64]| spread(samples).median.max(0.0) as u64;
    Ok(Row {
        name: name.to_owned(),
        start_s: spread(&samples.start),
        cold_s: cold,
        warm_s: warm,
        ratio,
        memory_bytes: bytes(&samples.memory),
        session_bytes: bytes(&samples.session),
    })
}

/// Starts a process, runs a task in it, and further ones.
async fn one_process(spec: &AcpSpec, args: &AgentsArgs, samples: &mut Samples) -> anyhow::Result<()> {
    // Nobody answers a question here, and a measurement must not change files.
    let spec = AcpSpec { permissions: PermissionMode::Deny, rules: Vec::new(), ..spec.clone() };
    let idle = if starts_processes(&spec) { LONG_IDLE } else { IDLE };
    let factory = AgentKind::factory(&spec)?;
    let agent = AgentId::from_parts(SystemClock.now(), u128::from(std::process::id()));
    let begun = Instant::now();
    let start = factory.start(StartRequest { agent, pool: PoolName::new("bench")?, dictionary: None });
    let started = timeout(args.limit, start).await.context("it is not warm in time; raise --limit")?;
    let mut driver = started.map_err(|error| anyhow!("it does not start: {}", error.message()))?;
    samples.start.push(begun.elapsed().as_secs_f64());
    let measured = async {
        samples.cold.push(first_token(&mut *driver, args, begun).await?);
        let before = memory(driver.pid());
        samples.memory.push(before as f64);
        for _ in 0..args.tasks {
            if let Ok(error) = timeout(idle, driver.died()).await {
                bail!("it ended while it was idle: {}", error.message());
            }
            samples.warm.push(first_token(&mut *driver, args, Instant::now()).await?);
        }
        samples.session.push((memory(driver.pid()) as f64 - before as f64) / f64::from(args.tasks));
        Ok(())
    };
    let result = measured.await;
    driver.stop(STOP_GRACE).await;
    result
}

fn starts_processes(spec: &AcpSpec) -> bool {
    let preset = PRESETS.iter().find(|preset| Some(preset.name) == spec.agent.as_deref());
    preset.is_some_and(|preset| preset.starts_process_per_session)
}

/// Runs a task in a conversation of its own, and returns the seconds from `begun` to the first piece of its output.
async fn first_token(driver: &mut dyn Driver, args: &AgentsArgs, begun: Instant) -> anyhow::Result<f64> {
    let now = SystemClock.now();
    let task = TaskId::from_parts(now, u128::from(std::process::id()));
    let input = Payload::from_value(&args.prompt)?;
    let request = AttemptRequest {
        task,
        attempt: 1,
        depth: 0,
        input,
        deadline: now + args.limit,
        requests: Vec::new(),
        traceparent: None,
    };
    let first = Arc::new(OnceLock::new());
    let sink = Box::new(FirstToken { begun, seconds: Arc::clone(&first) });
    let mut cx = AgentContext::new(task, None, 0, Snapshot::new(), CancellationToken::new(), sink);
    let ended = timeout(args.limit, driver.run(&request, &mut cx))
        .await
        .context("it does not answer in time; raise --limit")?;
    ended.map_err(|error| anyhow!("its task fails: {}", error.message()))?;
    first.get().copied().context("it answers without a text; use another --prompt")
}

struct FirstToken {
    begun: Instant,
    seconds: Arc<OnceLock<f64>>,
}

impl ProgressSink for FirstToken {
    fn progress(&self, _text: &str) {}

    fn output(&self, _chunk: &str) {
        // Only the first one counts.
        let _later = self.seconds.set(self.begun.elapsed().as_secs_f64());
    }
}

/// The memory of a process and of all that it started, in bytes: what it shares with others counts in part.
fn memory(pid: Option<u32>) -> u64 {
    let Some(pid) = pid else { return 0 };
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    own.unwrap_or(0) * 1024 + children.into_iter().map(|child| memory(Some(child))).sum::<u64>()
}

fn spread(samples: &[f64]) -> Spread {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    Spread { median: at(0.5), min: at(0.0), max: at(1.0) }
}

fn text(report: &Report) -> String {
    let time =
        |spread: &Spread| format!("{} ({}–{})", seconds(spread.median), seconds(spread.min), seconds(spread.max));
    let megabytes = |bytes: u64| format!("{} MB", bytes / 1_000_000);
    let row = |row: &Row| {
        let ratio = format!("{:.3} ({:.3}–{:.3})", row.ratio.median, row.ratio.min, row.ratio.max);
        let memory = [megabytes(row.memory_bytes), megabytes(row.session_bytes)];
        let [memory, session] = memory;
        [row.name.clone(), time(&row.start_s), time(&row.cold_s), time(&row.warm_s), ratio, memory, session]
    };
    let header =
        ["agent", "start", "first token, cold", "first token, warm", "warm / cold", "memory", "a conversation"];
    let mut text = render(&table(header, report.agents.iter().map(row)));
    for Failed { name, reason } in &report.failed {
        text.push_str(&format!("\n{name}: {reason}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn the_memory_of_a_process_is_measured() {
        assert!(memory(Some(std::process::id())) > 100_000);
        assert_eq!(memory(None), 0);
    }
}
