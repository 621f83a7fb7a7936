//! `forerunner advise`: a policy on a pipe, an observation a line in, a decision a line out.

mod announced;
mod line;

use std::io::{self, BufRead, Write};

use anyhow::Context;
use clap::Args;
use forerunner_console::{Usage, json, output::Output, text};
use forerunner_forecast::{Decision, Forecast, Objective, Observation, Policy, PolicyKind, PolicyLimits, build};
use serde::Serialize;

use self::{announced::AnnouncedClock, line::Line};
use crate::parse::{seconds, share};

const AFTER_HELP: &str = "\
A line in. Numbers count since the line before, or are the present state:
  {\"t\":12,\"arrivals\":3,\"completions\":2,\"mean_service_s\":4.1,\"queue_depth\":0,\"in_flight\":6,\"ready\":2,
   \"starting\":1,\"mean_context_tokens\":null,\"draining\":0,\"peak_concurrency\":7,\"started\":3,\"late\":0,
   \"cold_start_s\":2.2,\"arrived\":[[17,11.2]],\"completed\":[[9,4.0]],\"announced\":[[50,40],[600,5]]}
`t` is in seconds and never decreases. The members after `starting`, and `mean_service_s`, may be absent or null.
Unknown members are ignored. More members make better decisions: `predictive` corrects its aim by `late`.
`cold_start_s` is a measured cold start; without it --cold-start counts. `announced` lists all known future tasks each
time: seconds from `t`, and the number of tasks. `arrived` may have the session of each task as a third member, null
for none: [[17,11.2,\"chat-7\"],[18,11.4,null]]. Tasks of a session run one after another: `completed` tells when the
next one can start. `queue_depth` counts those that wait for an agent, not for the task before them.

A line out, written at once:
  {\"desired\":9,\"reason\":\"forecast_up\",\"detail\":\"3.0 tasks/s expected in 3.2 s …\",\"rule\":\"ewma15\",\"need\":8.4,
   \"forecast\":{\"horizon_s\":3.2,\"rate_per_s\":3.0,…}}

The same lines in give the same lines out. A line that cannot be used ends the program with exit code 2 and the number of
the line on standard error: an observation that is lost would make every later forecast quietly wrong. With --keep-going
such a line is answered by {\"error\":…,\"line\":N} instead, so that there is still one answer a line. Empty lines are
skipped. The end of the input ends the program with exit code 0.";

/// The pool that is advised, and the rule that advises it.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct AdviseArgs {
    /// How long an agent takes to start, where observations do not have it.
    #[arg(long, default_value = "10s", value_parser = seconds, value_name = "DURATION")]
    cold_start: f64,
    /// Fewest agents.
    #[arg(long, default_value_t = 1, value_name = "AGENTS")]
    min: u32,
    /// Most agents.
    #[arg(long, default_value_t = 1000, value_name = "AGENTS", value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// Share of tasks that are to start in time.
    #[arg(long, alias = "share", default_value_t = 0.99, value_parser = share, value_name = "SHARE")]
    on_time: f64,
    /// On time means: started at most this long after being due.
    #[arg(long, default_value = "1s", value_parser = seconds, value_name = "DURATION")]
    within: f64,
    /// Time between two observations.
    #[arg(long, default_value = "1s", value_parser = seconds, value_name = "DURATION")]
    tick: f64,
    /// The policy, with settings behind a colon.
    #[arg(long, default_value_t = PolicyKind::default(), value_name = "NAME[:SETTINGS]")]
    policy: PolicyKind,
    /// Answers an unusable line with an error, and continues.
    #[arg(long)]
    keep_going: bool,
}

/// Answers until the input ends.
pub async fn run(args: AdviseArgs, _: &Output) -> anyhow::Result<()> {
    let policy = make(&args)?;
    let answered = tokio::task::spawn_blocking(move || {
        let (input, output) = (io::stdin().lock(), io::stdout().lock());
        Advisor { policy, keep_going: args.keep_going, last_s: f64::NEG_INFINITY, announced: AnnouncedClock::default() }
            .answer_all(input, output)
    });
    answered.await?
}

fn make(args: &AdviseArgs) -> anyhow::Result<Box<dyn Policy>> {
    let limits = PolicyLimits {
        min: args.min,
        max: args.max,
        cold_start_s: args.cold_start,
        tick_s: args.tick,
        objective: Objective { share: args.on_time, within_s: args.within },
    };
    Ok(build(args.policy, limits).map_err(|error| Usage(error.to_string()))?)
}

/// A policy that decides line by line.
struct Advisor {
    policy: Box<dyn Policy>,
    keep_going: bool,
    last_s: f64,
    announced: AnnouncedClock,
}

/// A line of the answer.
#[derive(Serialize)]
struct Advice<'a> {
    desired: u32,
    reason: &'a str,
    detail: &'a str,
    rule: &'a str,
    need: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
}

/// The answer to a line that cannot be used.
#[derive(Serialize)]
struct RejectedLine<'a> {
    error: &'a str,
    line: u64,
}

impl Advisor {
    /// Answers each line before it reads the next. A reader that has closed the stream is not an error.
    fn answer_all(&mut self, mut input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
        let (mut text, mut number) = (Vec::new(), 0);
        loop {
            text.clear();
            number += 1;
            if input.read_until(b'\n', &mut text).context("standard input cannot be read")? == 0 {
                return Ok(());
            }
            let line = if number == 1 { text::unmarked(&text) } else { &text };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let answer = match self.answer(line) {
                Ok(decision) => json(&Advice::of(&decision))?,
                Err(problem) if self.keep_going => json(&RejectedLine { error: &problem, line: number })?,
                Err(problem) => return Err(Usage(format!("line {number}: {problem}")).into()),
            };
            match output.write_all(&answer).and_then(|()| output.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("standard output cannot be written")?,
            }
        }
    }

    fn answer(&mut self, text: &[u8]) -> Result<Decision, String> {
        let line: Line = serde_json::from_slice(text).map_err(|error| line::explain(&error))?;
        if line.t() < self.last_s {
            return Err(format!(
                "`t` is {}, before the {} of an earlier line; it must not decrease",
                line.t(),
                self.last_s
            ));
        }
        self.last_s = line.t();
        let mut seen = Observation::from(line);
        seen.announced = self.announced.read(seen.t, std::mem::take(&mut seen.announced));
        Ok(self.policy.decide(&seen))
    }
}

fn json(answer: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = json::compact(&serde_json::to_string(answer)?);
    line.push('\n');
    Ok(line.into_bytes())
}

impl<'a> Advice<'a> {
    fn of(decision: &'a Decision) -> Self {
        Self {
            desired: decision.desired,
            reason: decision.reason.as_str(),
            detail: &decision.detail,
            rule: &decision.rule,
            need: decision.need,
            forecast: decision.forecast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"t":1,"arrivals":10,"completions":0,"mean_service_s":null,"queue_depth":10,"in_flight":0,"ready":0,"starting":1,"new":1}"#;

    fn advise(input: &str, keep_going: bool) -> (anyhow::Result<()>, String) {
        let limits = PolicyLimits { min: 1, max: 40, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
        let policy = build(PolicyKind::default(), limits).expect("defaults");
        let mut output = Vec::new();
        let announced = AnnouncedClock::default();
        let mut advisor = Advisor { policy, keep_going, last_s: f64::NEG_INFINITY, announced };
        let ended = advisor.answer_all(input.as_bytes(), &mut output);
        (ended, String::from_utf8(output).expect("JSON"))
    }

    #[test]
    fn each_line_has_one_answer_and_empty_ones_have_none() {
        let (ended, output) = advise(&format!("{FULL}\n\n{}", FULL.replace("\"t\":1", "\"t\":2.5")), false);
        ended.expect("good lines");
        assert_eq!(output.lines().count(), 2);
        let first: serde_json::Value = serde_json::from_str(output.lines().next().expect("a line")).expect("JSON");
        assert!(first["desired"].as_u64().is_some_and(|desired| (10..=40).contains(&desired)), "{first}");
        assert!(first["reason"].is_string() && first["forecast"]["rate_per_s"].is_number(), "{first}");
    }

    #[test]
    fn a_bad_line_ends_it_with_its_number_or_is_answered_as_such() {
        for (bad, named) in [
            ("{", "JSON"),
            ("[1,2]", "object"),
            (r#"{"t":3}"#, "`arrivals` is missing"),
            (&FULL.replace("\"ready\":0", "\"ready\":-1"), "-1"),
            (&FULL.replace("\"t\":1", "\"t\":0.5"), "must not decrease"),
            (&FULL.replace("\"t\":1", "\"t\":\"soon\""), "soon"),
        ] {
            let input = format!("{FULL}\n{bad}\n{FULL}\n");
            let (ended, output) = advise(&input, false);
            let error = ended.expect_err(bad);
            assert!(error.to_string().starts_with("line 2: ") && error.to_string().contains(named), "{error}");
            assert_eq!((error.is::<Usage>(), output.lines().count()), (true, 1));
            let (ended, output) = advise(&input, true);
            ended.expect("it goes on");
            let lines: Vec<&str> = output.lines().collect();
            assert!(lines.len() == 3 && lines[1].starts_with("{\"error\":") && lines[1].ends_with("\"line\":2}"));
        }
    }

    #[test]
    fn what_is_announced_is_prepared_for_and_sessions_may_be_named() {
        let line = |t: u32, due_s: u32| {
            format!(
                r#"{{"t":{t},"arrivals":1,"completions":0,"mean_service_s":null,"queue_depth":0,"in_flight":1,"ready":0,
                "starting":0,"arrived":[[1,{t}.0,"chat-7"]],"announced":[[{due_s},30]]}}"#
            )
            .replace('\n', " ")
        };
        let desired = |output: &str| -> u64 {
            let last = output.lines().last().expect("a line");
            serde_json::from_str::<serde_json::Value>(last).expect("JSON")["desired"].as_u64().expect("a count")
        };
        assert!(desired(&advise(&line(1, 20), false).1) < 30, "far ahead");
        let (ended, output) = advise(&format!("{}\n{}", line(1, 20), line(19, 2)), false);
        ended.expect("good lines");
        assert!((30..=36).contains(&desired(&output)), "{output}");
        assert!(output.contains("30 tasks are scheduled in 2.0 s"), "{output}");
    }

    #[test]
    fn counts_may_be_written_as_whole_decimals() {
        let (ended, output) = advise(&FULL.replace(":10", ":10.0"), false);
        ended.expect("a number is a number");
        assert_eq!(output, advise(FULL, false).1);
        assert_eq!(advise(&format!("\u{feff}{FULL}"), false).1, output, "a byte order mark is no part of a line");
    }
}
