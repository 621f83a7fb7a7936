//! The arguments of the command, and their validation.

use std::path::PathBuf;

use clap::Args;
use forerunner_console::Usage;
use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};

use super::price::Price;
use crate::{
    import::ImportArgs,
    parse::{seconds, share},
};

const AFTER_HELP: &str = "\
Traces are CSV, plain or in gzip, with a header that names the columns: arrival_s,service_s and, if known,
context_tokens,output_tokens,session,announced_s. Lines may stand in any order. A directory stands for the traces in it. What
`forerunner history export` writes is such a trace.

Recordings of other systems need no conversion: CSV or JSON with --map, OTLP spans as JSON, and access logs of nginx or
Apache with the time that a request took. `-` stands for standard input.

The model: one first-in-first-out queue, one task an agent at a time; a new agent helps one cold start after it was
asked for and costs from then on; busy agents stop after their task. COST is agent-seconds relative to `perfect`, which
knows every arrival one cold start ahead and all service times.

Examples:
  forerunner replay day.csv.gz --cold-start 10s
  forerunner replay jobs.csv --map arrival=created_at,start=started_at,end=finished_at --cold-start 10s
  zcat access.log.*.gz | forerunner replay - --cold-start 10s
  forerunner replay day.csv --cold-start 10s --today fixed:46 --price 0.42/h
  forerunner replay day.csv --policy predictive --policy fixed:12 --policy utilisation:scale_up_threshold=0.8
  forerunner replay day.csv --what-if 0.95,0.99,0.999
  forerunner replay past.csv.gz --cold-start 4s --max 40 --policy predictive --as-live
  forerunner replay day.csv --sweep --report day.html
  forerunner replay traces/ --windows 20m --count 8
  forerunner replay traces/ --sweep --table docs/forecasting-evaluation.md";

/// What to replay, and how.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReplayArgs {
    /// Traces, or directories of traces; `-` for standard input.
    #[arg(required = true, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// How to read them.
    #[command(flatten)]
    pub import: ImportArgs,
    /// How long an agent takes to start; several are replayed one by one.
    #[arg(long, value_delimiter = ',', default_value = "2s,10s,30s", value_parser = seconds, value_name = "DURATIONS")]
    pub cold_start: Vec<f64>,
    /// Share of tasks that are to start in time.
    #[arg(long, alias = "on-time", default_value_t = 0.99, value_parser = share, value_name = "SHARE")]
    pub share: f64,
    /// On time means: started at most this long after being due.
    #[arg(long, default_value = "1s", value_parser = seconds, value_name = "DURATION")]
    pub within: f64,
    /// Fewest agents.
    #[arg(long, default_value_t = 1, value_name = "AGENTS")]
    pub min: u32,
    /// Most agents; default: twice the least fixed pool that meets the objective.
    #[arg(long, value_name = "AGENTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max: Option<u32>,
    /// Time at the start that does not count; default: 5m, and none for a shorter trace.
    #[arg(long, value_parser = seconds, value_name = "DURATION")]
    pub warmup: Option<f64>,
    /// Time between two decisions of rules that have no interval of their own.
    #[arg(long, default_value = "1s", value_parser = seconds, value_name = "DURATION")]
    pub tick: f64,
    /// Also replays what the service does beyond the model: the policy decides at once after a surge or a backlog, and an
    /// agent that is not needed stays in cooldown for this long before it stops [5s without a value].
    #[arg(long, value_parser = seconds, value_name = "COOLDOWN", num_args = 0..=1, require_equals = true, default_missing_value = "5s")]
    pub as_live: Option<f64>,
    /// A policy, with settings after a colon; default: every policy. May be repeated.
    #[arg(long, value_name = "NAME[:SETTINGS]")]
    pub policy: Vec<PolicyArg>,
    /// The rule that sizes your pool today, such as fixed:46 or hpa:target=0.7: the answer compares it with the first
    /// policy, in agent-hours.
    #[arg(long, value_name = "NAME[:SETTINGS]", conflicts_with_all = ["what_if", "table"])]
    pub today: Option<PolicyArg>,
    /// What an agent costs, such as 0.42/h or EUR 10/day: the answer is in money as well.
    #[arg(long, value_name = "AMOUNT/TIME")]
    pub price: Option<Price>,
    /// Also try the settings of each policy, and show its cheapest one that meets the objective.
    #[arg(long)]
    pub sweep: bool,
    /// Shows what each of these shares would cost, under `predictive` unless a policy is named.
    #[arg(long, value_delimiter = ',', value_parser = share, value_name = "SHARES", conflicts_with_all = ["sweep", "report", "table"])]
    pub what_if: Vec<f64>,
    /// Replays windows of this length instead, cut at random places, each from an empty pool and without a warm-up: what the
    /// first minutes cost. Under `predictive` unless policies are named.
    #[arg(long, value_parser = seconds, value_name = "DURATION", conflicts_with_all = ["sweep", "what_if", "today", "price", "timeline", "observations", "report", "table", "warmup"])]
    pub windows: Option<f64>,
    /// Windows of each trace.
    #[arg(long, default_value_t = 8, value_name = "COUNT", requires = "windows", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// Decides where the windows begin.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", requires = "windows")]
    pub seed: u64,
    /// Writes `t,desired` of the first policy (default: `predictive`); one trace, one cold start.
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,
    /// Writes what that policy saw, a line each: the input of `forerunner advise`.
    #[arg(long, value_name = "FILE")]
    pub observations: Option<PathBuf>,
    /// Writes a page with plots.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Writes a Markdown table between the markers `<!-- replay:begin -->` and `<!-- replay:end -->` of a file.
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// Replays at the same time; default: the number of cores.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// A policy from the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyArg {
    /// Which, with its settings.
    pub kind: PolicyKind,
    /// The settings as written; empty for the defaults.
    pub params: String,
}

impl std::str::FromStr for PolicyArg {
    type Err = forerunner_forecast::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let params = text.split_once(':').map_or("", |(_, params)| params);
        Ok(Self { kind: text.parse()?, params: params.to_owned() })
    }
}

impl ReplayArgs {
    /// The objective that counts.
    pub fn objective(&self) -> Objective {
        Objective { share: self.share, within_s: self.within }
    }

    /// Checks what clap cannot.
    ///
    /// # Errors
    /// [`Usage`] names the flags that do not fit together.
    pub fn check(&self) -> Result<(), Usage> {
        let wrong = |text: String| Err(Usage(text));
        if self.tick <= 0.0 {
            return wrong(format!("--tick {} is not valid; use more than 0, such as 1s", self.tick));
        }
        if let Some(max) = self.max.filter(|max| *max < self.min) {
            return wrong(format!("--min {} is more than --max {max}; use a --max of at least {}", self.min, self.min));
        }
        let limits = PolicyLimits {
            min: self.min,
            max: self.max.unwrap_or(u32::MAX),
            cold_start_s: 1.0,
            tick_s: self.tick,
            objective: self.objective(),
        };
        for asked in self.policy.iter().chain(&self.today) {
            build(asked.kind, limits).map_err(|error| Usage(error.to_string()))?;
        }
        let single = [("--timeline", &self.timeline), ("--observations", &self.observations)];
        let named = single.into_iter().find(|(_, file)| file.is_some()).map(|(flag, _)| flag);
        match named {
            Some(flag) if self.cold_start.len() != 1 || !self.what_if.is_empty() => wrong(format!(
                "{flag} is of one replay; name one cold start, such as --cold-start 10s, and no --what-if"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn read(line: &[&str]) -> ReplayArgs {
        Line::try_parse_from(["replay", "t.csv"].iter().chain(line)).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn durations_may_be_bare_seconds_and_lists() {
        assert_eq!(read(&[]).cold_start, [2.0, 10.0, 30.0]);
        assert_eq!(read(&["--cold-start", "500ms,3", "--within", "2s"]).cold_start, [0.5, 3.0]);
        assert_eq!(read(&["--what-if", "0.9,0.99"]).what_if, [0.9, 0.99]);
        let as_live = [&[][..], &["--as-live"], &["--as-live=250ms"]].map(|line| read(line).as_live);
        assert_eq!(as_live, [None, Some(5.0), Some(0.25)]);
        assert!(["1 s", "x", "-1", "NaN", "1e99"].map(seconds).iter().filter(|read| read.is_ok()).count() <= 1);
        assert!(["0", "1", "99", "NaN"].map(share).iter().all(Result::is_err));
    }

    #[test]
    fn policies_keep_their_settings_as_written() {
        let asked =
            read(&["--policy", "utilisation:scale_up_threshold=0.8,interval_s=2", "--policy", "fixed:4"]).policy;
        assert_eq!((asked[0].params.as_str(), asked[1].params.as_str()), ("scale_up_threshold=0.8,interval_s=2", "4"));
        assert_eq!(asked[1].kind, PolicyKind::Fixed(forerunner_forecast::FixedSettings { size: 4 }));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (line, named) in [
            (&["--min", "9", "--max", "3"][..], "--max 3"),
            (&["--tick", "0s"], "--tick"),
            (&["--policy", "utilisation:scale_up_threshold=7"], "scale_up_threshold"),
            (&["--timeline", "t.csv"], "--cold-start 10s"),
        ] {
            let refused = read(line).check().expect_err(named).0;
            assert!(refused.contains(named), "{refused}");
        }
        assert!(read(&["--timeline", "t.csv", "--cold-start", "1s"]).check().is_ok());
    }
}
