//! `forerunner demo`: a production trace through the real service, live, and under other rules.

mod service;
mod stage;

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use forerunner_console::{
    Usage,
    output::{self, Output, count, percent, seconds},
};
use forerunner_core::{format_duration, parse_duration};
use forerunner_lab::demo::{self, Cut, Figures, Live, Run, Slice};
use forerunner_runtime::PoolSettings;

use self::{service::OverHttp, stage::Stage};
use crate::{exit::Interrupted, signals::Signals};

/// What to replay, and how.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Minutes of the trace to replay.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=57))]
    minutes: u32,
    /// The minute of the trace to begin at.
    #[arg(long, default_value_t = 22, value_name = "MINUTE", value_parser = clap::value_parser!(u32).range(0..57))]
    from: u32,
    /// How many times faster than recorded, arrivals and work alike.
    #[arg(long, default_value_t = 10.0, value_name = "FACTOR")]
    speed: f64,
    /// Another number deals the work of each minute to its tasks anew; 0 replays it as recorded.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How long an agent takes to start, whatever the speed.
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    cold_start: Duration,
}

/// Least share of tasks that must succeed for the demo to count as one.
const LEAST_SUCCESS: f64 = 0.99;

/// Runs the demo. In every case the service is stopped and its files are removed.
pub async fn run(args: DemoArgs, out: &Output) -> anyhow::Result<()> {
    let slice = Slice::cut(cut(&args)?)?;
    let settings = stage::settings(args.cold_start);
    let mut signals = Signals::listen()?;
    let [headline, rest @ ..] = introduction(&args, slice.tasks.len(), slice.span_s);
    output::note(&format!("{}\n{}", out.strong(&headline), rest.join("\n")));
    let stage = Stage::set(settings.clone(), &slice).await?;
    let lived = tokio::select! {
        lived = live(&stage, &slice, &settings, out) => lived,
        signal = signals.next() => Err(Interrupted(signal).into()),
    };
    // Finished or failed, there is no reason to wait any more; a second signal skips the clean shutdown.
    let cleared = tokio::select! {
        cleared = stage.clear(Duration::from_secs(1)) => cleared,
        signal = signals.next_urgent() => Err(Interrupted(signal).into()),
    };
    let Live { figures, run } = lived?;
    cleared?;
    let compared = demo::compare(&slice.as_trace()?, settings.limits(), run.agents_at_start, figures.agents_peak)?;
    out.show(&demo::to_json(&figures, &compared, &run), || closing(&figures, &compared, &run, out))?;
    judge(&figures, &run)
}

async fn live(stage: &Stage, slice: &Slice, settings: &PoolSettings, out: &Output) -> anyhow::Result<Live> {
    demo::live(&OverHttp::new(&stage.service)?, slice, settings.limits(), out).await
}

fn cut(args: &DemoArgs) -> anyhow::Result<Cut> {
    if !(0.1..=100.0).contains(&args.speed) {
        return Err(Usage(format!("--speed {} is not valid; use 0.1 to 100", args.speed)).into());
    }
    Ok(Cut { from: args.from, minutes: args.minutes, speed: args.speed, seed: args.seed })
}

/// Describes what is about to run, in lines that fit a terminal of 80 columns.
fn introduction(args: &DemoArgs, tasks: usize, span_s: f64) -> [String; 4] {
    let DemoArgs { from, minutes, speed, .. } = args;
    [
        format!("Replaying minutes {from} to {} of a production trace, {speed} times as fast.", from + minutes),
        demo::NAME.to_owned(),
        format!("{} tasks in {} over HTTP, to the real service on SQLite.", count(tasks as u64), seconds(span_s)),
        format!(
            "Agents are child processes: {} to start, then at work as long as recorded.",
            format_duration(args.cold_start)
        ),
    ]
}

fn closing(live: &Figures, compared: &[Figures], run: &Run, out: &Output) -> String {
    let late = demo::lateness(&run.submissions);
    let verdict = format!(
        "{} of {} tasks started within 1 s; the objective is 99 %.",
        percent(live.on_time_share),
        count(live.tasks),
    );
    let notes = format!(
        "live: real agents; waits from the tasks' own times, read back from the service.\n\
         simulated: the same tasks in virtual time, from the same {} agents: the rule of\n\
         thresholds, the live peak, and the least fixed pool that hindsight would allow.\n\
         Tasks were sent on schedule: {} late at the 99th percentile, {} at most.",
        run.agents_at_start,
        seconds(late.p99),
        seconds(late.max),
    );
    format!("\n{}\n\n{}\n{}", demo::render_table(live, compared), out.strong(&verdict), out.faint(&notes))
}

fn judge(live: &Figures, run: &Run) -> anyhow::Result<()> {
    let share = live.succeeded as f64 / live.tasks.max(1) as f64;
    let reason = run
        .submissions
        .first_refusal
        .as_ref()
        .map_or_else(String::new, |reason| format!("; the first refusal: {reason}"));
    ensure!(share >= LEAST_SUCCESS, "only {} of the tasks succeeded{reason}", percent(share));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_introduction_fits_eighty_columns() {
        let cold_start = Duration::from_millis(2_500);
        let args = DemoArgs { minutes: 40, from: 10, speed: 12.5, seed: 0, cold_start };
        let lines = introduction(&args, 18_185, 5_400.0);
        assert!(lines.iter().all(|line| line.chars().count() < 80), "{lines:#?}");
    }
}
