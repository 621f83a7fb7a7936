//! The final figures of the live pools, and of the same tasks in virtual time.

use forerunner_console::output::{count, late, lineless, percent, render, right_from, seconds};
use forerunner_forecast::Objective;
use forerunner_sim::{Report, WaitSummary};
use serde::Serialize;
use serde_json::{Value, json};

use super::{conversation::Conversation, live::PoolCost, submit::Submissions};

/// Figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStats {
    /// What ran.
    pub name: String,
    /// Tasks due.
    pub tasks: u64,
    /// Tasks that ended with an output.
    pub succeeded: u64,
    /// Share of all tasks that started on time.
    pub on_time_share: f64,
    /// Waits from being due to the start.
    pub wait_s: WaitPercentiles,
    /// Seconds that the agents existed.
    pub agent_seconds: f64,
    /// Most agents at once.
    pub agents_peak: u32,
    /// Decisions to grow.
    pub scale_ups: u64,
    /// Decisions to shrink.
    pub scale_downs: u64,
    /// Scheduled tasks, and how many of them started on time. Not known of simulated runs.
    pub scheduled: Option<(u64, u64)>,
}

/// Percentiles of the waits, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WaitPercentiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl From<WaitSummary> for WaitPercentiles {
    fn from(waits: WaitSummary) -> Self {
        Self { p50: waits.p50, p95: waits.p95, p99: waits.p99 }
    }
}

/// Seconds between submission and due time from which on a task counts as scheduled.
const SCHEDULED_S: f64 = 0.5;

/// A task's wait for an agent before its (last) start, and whether it was scheduled. `None` if it never started.
fn wait_s(task: &Value) -> Option<(f64, bool)> {
    let time = |name: &str| task.get(name)?.as_str()?.parse::<forerunner_core::Timestamp>().ok();
    let (run_at, submitted_at) = (time("run_at"), time("submitted_at"));
    let due = run_at.into_iter().chain(submitted_at).max()?;
    let is_scheduled = submitted_at.is_some_and(|at| due.since(at).as_secs_f64() > SCHEDULED_S);
    let for_context_s = task.get("wait_context_s").and_then(Value::as_f64).unwrap_or_default();
    Some(((time("started_at")?.since(due).as_secs_f64() - for_context_s).max(0.0), is_scheduled))
}

/// Counts the tasks of a live pool. A task that never started, or was rejected, is neither on time nor successful.
pub fn count_live(
    name: String,
    tasks: &[Value],
    due: u64,
    objective: Objective,
    cost: PoolCost,
    peak: u32,
) -> RunStats {
    let succeeded = tasks.iter().filter(|task| task["state"] == "succeeded").count() as u64;
    let waits: Vec<(f64, bool)> = tasks.iter().filter_map(wait_s).collect();
    let on_time =
        |waits: &mut dyn Iterator<Item = f64>| waits.filter(|wait| *wait <= objective.within_s).count() as u64;
    let scheduled = || waits.iter().filter(|(_, is_scheduled)| *is_scheduled).map(|(wait, _)| *wait);
    let mut all: Vec<f64> = waits.iter().map(|(wait, _)| *wait).collect();
    RunStats {
        name,
        tasks: due,
        succeeded,
        on_time_share: on_time(&mut all.iter().copied()) as f64 / due.max(1) as f64,
        wait_s: WaitSummary::of(&mut all).into(),
        agent_seconds: cost.agent_seconds,
        agents_peak: peak,
        scale_ups: cost.scale_ups,
        scale_downs: cost.scale_downs,
        scheduled: Some((scheduled().count() as u64, on_time(&mut scheduled()))),
    }
}

impl RunStats {
    /// Adds the figures of a simulated run, in which nothing fails.
    pub fn simulated(name: impl Into<String>, report: &Report) -> Self {
        Self {
            name: name.into(),
            tasks: report.tasks,
            succeeded: report.tasks,
            on_time_share: 1.0 - report.late_share,
            wait_s: report.wait_s.into(),
            agent_seconds: report.instance_s,
            agents_peak: report.peak_pool,
            scale_ups: report.scale_ups,
            scale_downs: report.scale_downs,
            scheduled: None,
        }
    }

    fn column(&self, how: &str) -> [String; ROWS.len()] {
        let scheduled = self.scheduled.map_or_else(|| "–".to_owned(), |(all, on_time)| format!("{on_time} of {all}"));
        [
            how.to_owned(),
            count(self.tasks),
            percent(self.on_time_share),
            scheduled,
            seconds(self.wait_s.p99),
            count(self.agent_seconds.round() as u64),
            self.agents_peak.to_string(),
        ]
    }

    /// Writes the figures as JSON.
    pub fn to_json(&self) -> Value {
        let WaitPercentiles { p50, p95, p99 } = self.wait_s;
        let mut members = json!({
            "tasks": self.tasks,
            "succeeded": self.succeeded,
            "failed": self.tasks.saturating_sub(self.succeeded),
            "on_time_share": share(self.on_time_share),
            "wait_s": { "p50": round(p50), "p95": round(p95), "p99": round(p99) },
            "agent_seconds": round(self.agent_seconds),
            "agents_peak": self.agents_peak,
            "scale_ups": self.scale_ups,
            "scale_downs": self.scale_downs,
        });
        if let Some((tasks, on_time)) = self.scheduled {
            let on_time_share = (tasks > 0).then(|| share(on_time as f64 / tasks as f64));
            members["scheduled"] = json!({ "tasks": tasks, "on_time_share": on_time_share });
        }
        members
    }
}

const ROWS: [&str; 7] = ["", "tasks", "on time", "scheduled on time", "wait p99", "agent-seconds", "most agents"];

/// Writes the closing table: a run a column.
pub fn table(columns: &[(&RunStats, &str)]) -> String {
    let cells: Vec<_> = columns.iter().map(|(figures, how)| figures.column(how)).collect();
    let mut table = lineless();
    let names = columns.iter().map(|(figures, _)| figures.name.to_uppercase());
    table.set_header(std::iter::once(String::new()).chain(names));
    for (index, name) in ROWS.iter().enumerate() {
        table.add_row(std::iter::once((*name).to_owned()).chain(cells.iter().map(|column| column[index].clone())));
    }
    right_from(&mut table, 1);
    render(&table)
}

/// What the run was measured with.
#[derive(Debug, Clone, PartialEq)]
pub struct RunConditions {
    /// Wall-clock seconds from the first task's being due to the last one's end.
    pub duration_s: f64,
    /// Seconds before that in which the agents started.
    pub waited_s: f64,
    /// The store.
    pub store: String,
    /// Warm agents when the first task arrived.
    pub agents_at_start: u32,
    /// Seconds that an agent is set to take to start.
    pub cold_start_s: f64,
    /// Seconds that agents took to start, at the median.
    pub measured_cold_start_s: Option<f64>,
    /// The result of the submissions.
    pub submissions: Submissions,
}

/// Times the set cold start from which on the machine is called busy.
const BUSY_FROM: f64 = 1.4;
/// Seconds by which tasks may be submitted late before the report mentions it.
const LATE_FROM_S: f64 = 0.2;

impl RunConditions {
    /// Describes why the machine did not do what was set; `None` if nothing did.
    pub fn trouble(&self) -> Option<String> {
        let measured = self.measured_cold_start_s.filter(|measured| *measured > BUSY_FROM * self.cold_start_s);
        let cold = measured.map(|s| format!("agents took {s:.1} s to start where {:.1} s were set", self.cold_start_s));
        let p99 = lateness(&self.submissions).p99;
        let late = (p99 > LATE_FROM_S).then(|| format!("tasks were submitted up to {p99:.1} s late"));
        let parts: Vec<String> = cold.into_iter().chain(late).collect();
        (!parts.is_empty())
            .then(|| format!("This machine was busy: {}. The figures are what was seen.", parts.join(", and ")))
    }
}

/// Everything that the demo found.
pub struct DemoReport {
    /// Both pools, live: Forerunner's first.
    pub live: [RunStats; 2],
    /// The same tasks in virtual time: both rules, and the least fixed pool that is on time.
    pub replayed: [RunStats; 3],
    /// Seconds by which agents began to start before scheduled tasks were due, for each pool; the least.
    pub leads_s: [Option<f64>; 2],
    /// The conversation.
    pub conversation: Conversation,
    /// What it was measured with.
    pub run: RunConditions,
    /// The virtual day.
    pub day: Value,
    /// Whether the load is flat.
    pub is_flat: bool,
}

impl DemoReport {
    /// The verdict: a sentence on the tasks, one on what was scheduled or on the fixed pool, one on the conversation.
    pub fn verdict(&self) -> [String; 3] {
        let [ours, theirs] = &self.live;
        let late_share = |figures: &RunStats| late(1.0 - figures.on_time_share);
        let objective = Objective::default().share;
        let met =
            |figures: &RunStats| if figures.on_time_share >= objective { "" } else { ", which misses the objective" };
        let first = format!(
            "Late: Forerunner {}{}, {} {}{}. Agent-seconds: {} and {}.",
            late_share(ours),
            met(ours),
            theirs.name,
            late_share(theirs),
            met(theirs),
            count(ours.agent_seconds.round() as u64),
            count(theirs.agent_seconds.round() as u64)
        );
        // What it takes to be on time without a forecast.
        let fixed = format!(" A fixed pool that is on time: {}.", count(self.replayed[2].agent_seconds.round() as u64));
        let first = if self.is_flat { first } else { first + &fixed };
        [first, if self.is_flat { self.flat() } else { self.ahead() }, self.whole()]
    }

    /// What was scheduled.
    fn ahead(&self) -> String {
        let [ours, theirs] = &self.live;
        let (all, on_time) = ours.scheduled.unwrap_or_default();
        let (_, their_on_time) = theirs.scheduled.unwrap_or_default();
        let lead = self.leads_s[0].map_or_else(
            || "Forerunner did not start agents before they were due".to_owned(),
            |s| format!("Forerunner started agents {s:.1} s before they were due"),
        );
        format!("Scheduled: {all} tasks. {lead}: {on_time} on time, {} {their_on_time}.", theirs.name)
    }

    /// What a fixed pool would have cost.
    fn flat(&self) -> String {
        let [ours, theirs] = &self.live;
        let (cheaper, dearer) =
            if theirs.agent_seconds <= ours.agent_seconds { (theirs, ours) } else { (ours, theirs) };
        let name =
            |figures: &RunStats| if figures.name == ours.name { "Forerunner".to_owned() } else { figures.name.clone() };
        let advice = if cheaper.name == ours.name { "" } else { " Where the load is flat, use a fixed pool." };
        let share = 100.0 * (1.0 - cheaper.agent_seconds / dearer.agent_seconds.max(f64::MIN_POSITIVE));
        format!("This load is flat: {} costs {share:.0} % less than {}.{advice}", name(cheaper), name(dearer))
    }

    /// The conversation.
    fn whole(&self) -> String {
        let Conversation { turns, submitted, items, took_s, .. } = &self.conversation;
        match self.conversation.is_whole() {
            true => format!(
                "An agent was killed in mid-turn: another one ended the turn {took_s:.1} s later, with all {items} turns of the conversation."
            ),
            false => format!(
                "An agent was killed in mid-turn: {turns} of {submitted} turns ended, and {items} are in the conversation."
            ),
        }
    }

    /// How far virtual time is from what was seen, in per cent of the agent-seconds of Forerunner's pool.
    pub fn difference(&self) -> f64 {
        let (live, replayed) = (self.live[0].agent_seconds, self.replayed[0].agent_seconds);
        100.0 * (live - replayed).abs() / replayed.max(f64::MIN_POSITIVE)
    }

    /// The one object of `--output json`.
    pub fn to_json(&self) -> Value {
        let [ours, theirs] = &self.live;
        let late = lateness(&self.run.submissions);
        let mut members = ours.to_json();
        members["duration_s"] = round(self.run.duration_s);
        members["store"] = json!(self.run.store);
        members["agents_at_start"] = json!(self.run.agents_at_start);
        members["cold_start_s"] =
            json!({ "set": self.run.cold_start_s, "measured": self.run.measured_cold_start_s.map(round) });
        members["submit_late_s"] = json!({ "p99": round(late.p99), "max": round(late.max) });
        members["against"] = theirs.to_json();
        members["against"]["policy"] = json!(theirs.name);
        let simulated = |figures: &RunStats| {
            let mut members = figures.to_json();
            members["run"] = json!(figures.name);
            members["simulated"] = json!(true);
            members
        };
        members["compared"] = self.replayed.iter().map(simulated).collect();
        members["started_ahead_s"] =
            json!({ "ours": self.leads_s[0].map(round), "against": self.leads_s[1].map(round) });
        let Conversation { turns, submitted, items, took_s, .. } = self.conversation;
        members["conversation"] =
            json!({ "turns": turns, "submitted": submitted, "items": items, "recovered_s": round(took_s) });
        members["day"] = self.day.clone();
        members["verdict"] = self.verdict().as_slice().into();
        members
    }
}

fn share(share: f64) -> Value {
    json!((share * 1e6).round() / 1e6)
}

fn round(seconds: f64) -> Value {
    json!((seconds * 1e4).round() / 1e4)
}

/// Reports how late tasks were submitted, which is the demo's own delay and not the service's.
pub fn lateness(submissions: &Submissions) -> WaitSummary {
    WaitSummary::of(&mut submissions.lateness_s.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: &str, run_at: &str, started_at: Option<&str>) -> Value {
        json!({"state": state, "submitted_at": "2026-01-31T12:00:00Z", "run_at": run_at, "started_at": started_at})
    }

    fn live() -> RunStats {
        let (now, later) = ("2026-01-31T12:00:00Z", "2026-01-31T12:00:30Z");
        let tasks = [
            task("succeeded", now, Some("2026-01-31T12:00:00.25Z")),
            task("succeeded", now, Some("2026-01-31T12:00:01.5Z")),
            task("succeeded", later, Some("2026-01-31T12:00:30.5Z")),
            task("queued", now, None),
        ];
        let cost = PoolCost { agent_seconds: 512.4, scale_ups: 12, scale_downs: 3 };
        count_live("predictive".to_owned(), &tasks, 5, Objective::default(), cost, 51)
    }

    fn demo(conversation: Conversation) -> DemoReport {
        let named = |name: &str, on_time_share, agent_seconds| RunStats {
            name: name.to_owned(),
            on_time_share,
            agent_seconds,
            scheduled: Some((40, (40.0 * on_time_share) as u64)),
            ..live()
        };
        let (ours, theirs) = (named("Forerunner", 1.0, 843.0), named("keda", 0.88, 808.0));
        DemoReport {
            live: [ours.clone(), theirs.clone()],
            replayed: [RunStats { agent_seconds: 840.0, ..ours.clone() }, theirs, named("fixed at 20", 1.0, 1_612.0)],
            leads_s: [Some(4.2), None],
            conversation,
            run: RunConditions {
                duration_s: 82.0,
                waited_s: 6.0,
                store: "sqlite".to_owned(),
                agents_at_start: 6,
                cold_start_s: 4.0,
                measured_cold_start_s: Some(4.1),
                submissions: Submissions::default(),
            },
            day: json!([]),
            is_flat: false,
        }
    }

    fn whole() -> Conversation {
        Conversation { turns: 5, submitted: 5, items: 5, killed: 7, went_on: 8, took_s: 1.8 }
    }

    #[test]
    fn tasks_that_never_started_are_late_and_scheduled_ones_are_counted_apart() {
        let live = live();
        assert_eq!((live.tasks, live.succeeded, live.on_time_share), (5, 3, 0.4));
        assert_eq!((live.scheduled, live.wait_s.p99), (Some((1, 1)), 1.5));
        assert_eq!(live.to_json()["scheduled"], json!({ "tasks": 1, "on_time_share": 1.0 }));
    }

    #[test]
    fn the_verdict_has_a_sentence_for_each_part() {
        insta::assert_snapshot!(demo(whole()).verdict().join("\n"), @r"
        Late: Forerunner 0.00 %, keda 12.00 %, which misses the objective. Agent-seconds: 843 and 808. A fixed pool that is on time: 1,612.
        Scheduled: 40 tasks. Forerunner started agents 4.2 s before they were due: 40 on time, keda 35.
        An agent was killed in mid-turn: another one ended the turn 1.8 s later, with all 5 turns of the conversation.
        ");
        let torn = demo(Conversation { items: 1, ..whole() }).verdict();
        assert!(torn[2].ends_with("5 of 5 turns ended, and 1 are in the conversation."), "{}", torn[2]);
        let late = DemoReport { leads_s: [None, None], ..demo(whole()) }.verdict();
        assert!(late[1].contains("did not start agents before they were due"), "{}", late[1]);
        let flat = DemoReport { is_flat: true, ..demo(whole()) }.verdict();
        assert!(
            flat[1].ends_with("costs 4 % less than Forerunner. Where the load is flat, use a fixed pool."),
            "{}",
            flat[1]
        );
    }

    #[test]
    fn a_busy_machine_is_named() {
        let calm = demo(whole()).run;
        assert_eq!(calm.trouble(), None);
        let slow = RunConditions { measured_cold_start_s: Some(8.1), ..calm };
        let trouble = slow.trouble().expect("twice the time that was set");
        assert!(trouble.contains("agents took 8.1 s to start where 4.0 s were set"), "{trouble}");
    }

    #[test]
    fn the_table_fits_eighty_columns_and_the_object_has_the_promised_members() {
        let demo = demo(whole());
        let columns = [&demo.live[0], &demo.live[1], &demo.replayed[0], &demo.replayed[1], &demo.replayed[2]];
        let text = table(&columns.map(|figures| (figures, "replay")));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let members = demo.to_json();
        let ours =
            ["tasks", "succeeded", "failed", "on_time_share", "wait_s", "agent_seconds", "agents_peak", "scale_ups"];
        let rest = [
            "scale_downs",
            "duration_s",
            "store",
            "agents_at_start",
            "submit_late_s",
            "compared",
            "against",
            "scheduled",
        ];
        for name in ours.into_iter().chain(rest) {
            assert!(!members[name].is_null(), "{name}");
        }
        assert_eq!(
            (&members["against"]["policy"], &members["compared"][0]["simulated"]),
            (&json!("keda"), &json!(true))
        );
        assert!(demo.difference() < 1.0);
    }
}
