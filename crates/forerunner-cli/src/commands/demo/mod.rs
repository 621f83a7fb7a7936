//! `forerunner demo`: a day of production in virtual time, then two pools with the same tasks, live.

mod service;
mod stage;
mod view;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;
use forerunner_console::{
    Usage,
    output::{self, Output, percent},
    text::wrap,
};
use forerunner_core::{format_duration, parse_duration};
use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
use forerunner_lab::demo::{
    self, Conversation, DemoReport, LivePart, Load, LoadShape, RunStats, ScreenContent, VirtualDay,
};
use forerunner_runtime::PoolSettings;

use self::{service::HttpService, stage::Stage, view::DemoView};
use crate::{
    exit::Interrupted,
    signals::{Signals, StopSignal},
};

const AFTER_HELP: &str = "\
The demo takes at most two minutes and leaves nothing behind. It has three parts:
  1. A day of an LLM service in virtual time, under Forerunner's rule and those of other systems.
  2. Two pools of one real service, at true speed, with the same tasks: waves, and bursts that are scheduled. One pool
     is sized by Forerunner, the other one by --against.
  3. An agent is killed in the middle of a conversation.

Examples:
  forerunner demo
  forerunner demo --against hpa:target=0.6
  forerunner demo --flat
  forerunner demo --arrivals demo.csv";

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DemoArgs {
    /// The rule that sizes the other pool: hpa, keda, knative, utilisation or any other policy, with settings after a
    /// colon [default: keda; with --flat: the least fixed pool that is on time].
    #[arg(long, value_name = "NAME[:SETTINGS]")]
    against: Option<PolicyKind>,
    /// Shows a load without waves, on which a fixed pool costs less.
    #[arg(long)]
    flat: bool,
    /// How long an agent takes to start.
    #[arg(long, default_value = "4s", value_parser = parse_duration, value_name = "DURATION")]
    cold_start: Duration,
    /// Seconds of the live part, 40 to 90.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(40..=90))]
    seconds: u32,
    /// Another number makes other tasks of the same kind.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also writes the tasks as a trace, the history included, for `forerunner replay --warmup 21m --as-live`.
    #[arg(long, value_name = "FILE")]
    arrivals: Option<PathBuf>,
}

/// Least share of tasks that must succeed for the demo to count as one.
const LEAST_SUCCESS: f64 = 0.99;
/// How long the end of the conversation stays on the screen.
const LAST_LOOK: Duration = Duration::from_secs(3);
/// Longest cold start: with it the demo still takes two minutes.
const LONGEST_COLD_START: Duration = Duration::from_secs(8);
/// Widest line of the text around the screen.
const WIDTH: usize = 79;

/// Runs the demo. In every case the service is stopped and its files are removed.
pub async fn run(args: DemoArgs, out: &Output) -> anyhow::Result<()> {
    if args.cold_start > LONGEST_COLD_START || args.cold_start.is_zero() {
        let longest = format_duration(LONGEST_COLD_START);
        return Err(Usage(format!(
            "--cold-start {} is not valid; use more than 0, and {longest} at most",
            format_duration(args.cold_start)
        ))
        .into());
    }
    let shape = if args.flat { LoadShape::Flat } else { LoadShape::Waves };
    let load = Load::new(shape, f64::from(args.seconds), args.seed)?;
    if let Some(path) = &args.arrivals {
        load.save(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let mut signals = Signals::listen()?;
    let day = tokio::select! {
        day = show_day(out) => day?,
        signal = signals.next() => return Err(Interrupted(signal).into()),
    };
    let plan = Plan::make(&args, load)?;
    output::note(&plan.introduction(out));
    let stage = Stage::set([plan.ours.clone(), plan.theirs.clone()], &plan.load).await?;
    let lived = tokio::select! {
        lived = live(&stage, &plan, out) => lived,
        signal = signals.next() => Err(Interrupted(signal).into()),
    };
    // Finished or failed, there is no reason to wait any more; a second signal skips the clean shutdown.
    let cleared = tokio::select! {
        cleared = stage.clear(Duration::from_secs(1)) => cleared,
        signal = signals.next_urgent() => Err(Interrupted(signal).into()),
    };
    let (live, conversation) = lived?;
    cleared?;
    let report = plan.report(live, conversation, &day)?;
    out.show(&report.to_json(), || closing(&report, out))?;
    judge(&report)
}

/// Replays the day, and shows its table.
async fn show_day(out: &Output) -> anyhow::Result<VirtualDay> {
    output::note(&format!("{}\n", out.strong(&format!("1. In virtual time: {}", demo::DAY_NAME))));
    let day = tokio::task::spawn_blocking(VirtualDay::replay).await??;
    output::note(&format!(
        "{}\n\n{}",
        day.table(),
        out.faint(&format!(
            "{} tasks, {:.0} s to start an agent. Objective: 99 % start within 1 s.\n*: the least fixed pool that is on time, which only hindsight knows.",
            output::count(day.tasks()),
            demo::DAY_COLD_START_S
        ))
    ));
    Ok(day)
}

/// The live run, and its replay in virtual time.
struct Plan {
    load: Load,
    ours: PoolSettings,
    theirs: PoolSettings,
    against: String,
    /// Both rules, and the least fixed pool that is on time.
    replayed: [RunStats; 3],
}

impl Plan {
    fn make(args: &DemoArgs, load: Load) -> anyhow::Result<Self> {
        let ours = stage::settings(PolicyKind::default(), args.cold_start);
        let limits = ours.limits();
        let (size, fixed) = demo::least_fixed(&load, limits);
        let kind = match args.against {
            Some(kind) => kind,
            None if args.flat => demo::fixed(size),
            None => "keda".parse()?,
        };
        build(kind, PolicyLimits { objective: Objective::default(), ..limits })
            .map_err(|error| Usage(error.to_string()))?;
        let theirs = stage::settings(kind, args.cold_start);
        let against = kind.to_string().replace(':', " at ");
        let confirm = |name: &str, settings: &PoolSettings| {
            let report = demo::confirm(&load, settings.policy, settings.limits(), settings.cooldown.as_secs_f64())?;
            Ok::<_, anyhow::Error>(RunStats::simulated(name, &report))
        };
        let replayed = [
            confirm("Forerunner", &ours)?,
            confirm(&against, &theirs)?,
            RunStats::simulated(format!("fixed at {size}"), &fixed),
        ];
        Ok(Self { load, ours, theirs, against, replayed })
    }

    /// Describes the live run before it starts, in lines that fit a terminal of 80 columns.
    fn introduction(&self, out: &Output) -> String {
        let text = format!(
            "Two pools get the same {} tasks over HTTP, in {:.0} s at true speed. One is sized by Forerunner, the other one by {}. \
             Agents are processes that take {} to start. {}",
            self.load.live().len(),
            self.load.span_s,
            self.against,
            format_duration(self.ours.cold_start),
            self.seeded()
        );
        format!("\n{}\n{}\n", out.strong("2. Live: a real service on SQLite"), wrap(&text, WIDTH, 0))
    }

    fn seeded(&self) -> String {
        format!("Both rules have seen {:.0} minutes of such tasks before, in virtual time.", demo::HISTORY_S / 60.0)
    }

    fn content(&self) -> ScreenContent {
        ScreenContent {
            against: self.against.clone(),
            span_s: self.load.span_s,
            cold_start_s: self.ours.cold_start.as_secs_f64(),
            scheduled: self.load.scheduled(),
            seeded: self.seeded(),
            story: Vec::new(),
        }
    }

    fn report(self, live: LivePart, conversation: Conversation, day: &VirtualDay) -> anyhow::Result<DemoReport> {
        let LivePart { figures: [ours, theirs], run, past } = live;
        let lead = |side| {
            let leads = self.load.scheduled().into_iter().map(|(due, tasks)| demo::lead_s(&past, side, due, tasks));
            // The least counts, and one that did not begin before it was due counts for all.
            leads.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::min)
        };
        Ok(DemoReport {
            leads_s: [lead(0), lead(1)],
            live: [RunStats { name: "Forerunner".to_owned(), ..ours }, RunStats { name: self.against, ..theirs }],
            replayed: self.replayed,
            conversation,
            run,
            day: day.to_json(),
            is_flat: self.load.shape == LoadShape::Flat,
        })
    }
}

async fn live(stage: &Stage, plan: &Plan, out: &Output) -> anyhow::Result<(LivePart, Conversation)> {
    let service = HttpService::new(&stage.service)?;
    let mut view = DemoView::open(plan.content(), out)?;
    let lived = demo::live(&service, &plan.load, stage.begin, plan.ours.cold_start, &mut view).await?;
    let lived = lived.ok_or(Interrupted(StopSignal::INTERRUPT))?;
    let mut failed = Ok(());
    let conversation = demo::converse(&service, |sentence| {
        let drawn = view.show_sentence(sentence);
        if failed.is_ok() {
            failed = drawn;
        }
    })
    .await?;
    failed?;
    if view.has_screen() {
        tokio::time::sleep(LAST_LOOK).await;
    }
    Ok((lived, conversation))
}

fn closing(report: &DemoReport, out: &Output) -> String {
    let [ours, theirs] = &report.live;
    let [replayed_ours, replayed_theirs, fixed] = &report.replayed;
    let table = demo::table(&[
        (ours, "live"),
        (theirs, "live"),
        (replayed_ours, "replay"),
        (replayed_theirs, "replay"),
        (fixed, "replay"),
    ]);
    let [first, second, third] = report.verdict().map(|line| wrap(&line, WIDTH, 2));
    let notes = format!(
        "replay: the same tasks in virtual time; its agent-seconds differ by {:.0} %.\nfixed: the least fixed pool that is on time, which only hindsight knows.",
        report.difference()
    );
    let trouble = report.run.trouble().map_or_else(String::new, |text| format!("\n{}", wrap(&text, WIDTH, 0)));
    let flag = if report.is_flat { "--against hpa" } else { "--flat" };
    let shows = if report.is_flat { "waves, where it pays" } else { "a load on which a fixed pool wins" };
    let command = |line: &str, what: &str| format!("\n  {line:<41}{what}");
    let commands = [
        command("forerunner replay YOUR.csv --today hpa", "your own load, in seconds"),
        command(&format!("forerunner demo {flag}"), shows),
        command("forerunner serve", "see docs/quickstart/service.md"),
    ];
    format!(
        "{table}\n{}{trouble}\n\n{}\n\nGo on with{}",
        out.faint(&notes),
        out.strong(&format!("{first}\n{second}\n{third}")),
        commands.concat(),
    )
}

fn judge(report: &DemoReport) -> anyhow::Result<()> {
    let ours = &report.live[0];
    let share = ours.succeeded as f64 / ours.tasks.max(1) as f64;
    let refusal = &report.run.submissions.first_refusal;
    let reason = refusal.as_ref().map_or_else(String::new, |reason| format!("; the first refusal: {reason}"));
    ensure!(share >= LEAST_SUCCESS, "only {} of the tasks succeeded{reason}", percent(share));
    Ok(())
}
