//! `forerunner agent try`: walks an agent through its life, and reports in words what is wrong.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::bail;
use clap::{Args, ValueEnum};
use forerunner_agents::{AgentSpec, acp::AcpSpec, process::ProcessSpec};
use forerunner_console::output::{Output, render, seconds, table};
use forerunner_core::{AgentId, Clock, ErrorKind, Payload, PoolName, TaskId, parse_duration};
use forerunner_runtime::{
    SystemClock,
    agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest},
};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

/// How long a task runs before it is cancelled.
const BEFORE_CANCEL: Duration = Duration::from_millis(300);
/// How long an agent may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Most characters of an output that are shown.
const SHOWN: usize = 200;

/// Which agent, and how it is tried.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// The protocol that the agent speaks; by default that of Forerunner, then ACP.
    #[arg(long, value_enum, default_value = "auto")]
    protocol: Protocol,
    /// The input of the task: JSON, or text.
    #[arg(long, default_value = "Say hello.")]
    input: String,
    /// Longest time of each step.
    #[arg(long, default_value = "1m", value_parser = parse_duration, value_name = "DURATION")]
    limit: Duration,
    /// The command of the agent.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Auto,
    Forerunner,
    Acp,
}

/// What one step showed.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    ok: bool,
    seconds: f64,
    /// What happened, or what is wrong.
    detail: String,
}

#[derive(Serialize)]
struct Trial {
    protocol: &'static str,
    steps: Vec<Step>,
}

/// Tries an agent.
pub async fn run(args: &TryArgs, out: &Output) -> anyhow::Result<()> {
    let ours = || AgentSpec::Process(ProcessSpec::new(args.command.clone()));
    let acp = || AgentSpec::Acp(AcpSpec::new(None, args.command.clone()));
    let trial = match args.protocol {
        Protocol::Forerunner => walk("forerunner", &ours(), args).await?,
        Protocol::Acp => walk("acp", &acp(), args).await?,
        Protocol::Auto => {
            let first = walk("forerunner", &ours(), args).await?;
            match first.steps.len() {
                // It did not start: it may speak the other protocol.
                1 => {
                    walk("acp", &acp(), args).await.map(|second| if second.steps.len() > 1 { second } else { first })?
                }
                _ => first,
            }
        }
    };
    out.show(&trial, || {
        let row = |step: &Step| {
            let mark = if step.ok { "ok" } else { "wrong" };
            [step.step.to_owned(), mark.to_owned(), seconds(step.seconds), step.detail.clone()]
        };
        format!(
            "protocol: {}\n{}",
            trial.protocol,
            render(&table(["step", "", "took", "what"], trial.steps.iter().map(row)))
        )
    })?;
    let wrong = trial.steps.iter().filter(|step| !step.ok).count();
    if wrong > 0 {
        bail!("{wrong} of {} steps went wrong; the table has the reasons", trial.steps.len());
    }
    Ok(())
}

async fn walk(protocol: &'static str, spec: &AgentSpec, args: &TryArgs) -> anyhow::Result<Trial> {
    let factory = spec.factory()?;
    let (started, driver) = start(&factory, args.limit).await?;
    let mut steps = vec![started];
    if let Some(mut driver) = driver {
        steps.push(task(&mut *driver, args).await?);
        if steps.iter().all(|step| step.ok) {
            steps.push(cancel(&mut *driver, args).await?);
        }
        steps.push(stop(driver).await);
    }
    Ok(Trial { protocol, steps })
}

async fn start(factory: &Arc<dyn DriverFactory>, limit: Duration) -> anyhow::Result<(Step, Option<Box<dyn Driver>>)> {
    let agent = AgentId::from_parts(SystemClock.now(), u128::from(std::process::id()));
    let begun = Instant::now();
    let request = StartRequest { agent, pool: PoolName::new("try")?, dictionary: None };
    let step = |ok, detail| Step { step: "start", ok, seconds: begun.elapsed().as_secs_f64(), detail };
    Ok(match timeout(limit, factory.start(request)).await {
        Ok(Ok(driver)) => (step(true, "the agent is warm".to_owned()), Some(driver)),
        Ok(Err(error)) => (step(false, error.message().to_owned()), None),
        Err(_) => (step(false, "the agent is not warm in time; raise --limit if it needs longer".to_owned()), None),
    })
}

fn attempt(args: &TryArgs) -> anyhow::Result<AttemptRequest> {
    let now = SystemClock.now();
    let input = Payload::parse(&args.input).or_else(|_| Payload::from_value(&args.input))?;
    let task = TaskId::from_parts(now, u128::from(std::process::id()));
    Ok(AttemptRequest {
        task,
        attempt: 1,
        depth: 0,
        input,
        deadline: now + args.limit,
        traceparent: None,
        requests: Vec::new(),
    })
}

async fn task(driver: &mut dyn Driver, args: &TryArgs) -> anyhow::Result<Step> {
    let request = attempt(args)?;
    let mut cx = AgentContext::detached(request.task);
    let begun = Instant::now();
    let answer = timeout(args.limit, driver.run(&request, &mut cx)).await;
    let (ok, detail) = match answer {
        Ok(Ok(_)) if cx.question().is_some() => {
            let asked = cx.question().map(|question| question.prompt.as_str()).unwrap_or_default();
            (true, format!("it asks: {asked}; a task of a pool would wait for the answer"))
        }
        Ok(Ok(output)) => (true, format!("it answered {}", shown(output.as_str()))),
        Ok(Err(error)) => (false, said(&error)),
        Err(_) => (false, "it did not answer in time; a task of a pool would be cancelled".to_owned()),
    };
    Ok(Step { step: "task", ok, seconds: begun.elapsed().as_secs_f64(), detail })
}

async fn cancel(driver: &mut dyn Driver, args: &TryArgs) -> anyhow::Result<Step> {
    let request = attempt(args)?;
    let mut cx = AgentContext::detached(request.task);
    let token = cx.cancellation();
    let begun = Instant::now();
    let run = driver.run(&request, &mut cx);
    let stopping = async {
        sleep(BEFORE_CANCEL).await;
        token.cancel();
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = timeout(args.limit, run) => answer,
        () = stopping => unreachable!("it waits for ever"),
    };
    let (ok, detail) = match answer {
        Ok(Ok(_)) => (true, "the task ended before it was cancelled; try a longer one with --input".to_owned()),
        Ok(Err(error)) if error.kind() == ErrorKind::Cancelled && error.is_agent_usable() => {
            (true, "it stopped when it was asked to".to_owned())
        }
        Ok(Err(error)) => (false, said(&error)),
        Err(_) => (false, "it continued after the cancellation".to_owned()),
    };
    Ok(Step { step: "cancel", ok, seconds: begun.elapsed().as_secs_f64(), detail })
}

async fn stop(driver: Box<dyn Driver>) -> Step {
    let (pid, begun) = (driver.pid(), Instant::now());
    driver.stop(STOP_GRACE).await;
    let took = begun.elapsed();
    let remains = pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
    let (ok, detail) = match (remains, took >= STOP_GRACE) {
        (true, _) => (false, "its process is still there after SIGKILL"),
        (false, true) => (false, "it ignored the request to end and SIGTERM, and was killed"),
        (false, false) => (true, "it ended, and left no process"),
    };
    Step { step: "stop", ok, seconds: took.as_secs_f64(), detail: detail.to_owned() }
}

fn said(error: &AgentError) -> String {
    let next = match (error.is_agent_usable(), error.is_retryable()) {
        (false, _) => "a node would replace the agent",
        (true, true) => "a node would try the task again",
        (true, false) => "a node would not try the task again",
    };
    format!("{} ({}); {next}", shown(error.message()), error.kind())
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
