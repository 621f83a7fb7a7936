//! The final figures of the live run and of the simulated ones.

use forerunner_console::output::{count, lineless, percent, render, right_from, seconds};
use forerunner_forecast::Objective;
use forerunner_sim::{Report, WaitSummary};
use serde::Serialize;
use serde_json::{Value, json};

use super::submit::Submissions;

/// Figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// What ran.
    pub name: String,
    /// Tasks due.
    pub tasks: u64,
    /// Tasks that ended with an output.
    pub succeeded: u64,
    /// Share of all tasks that started on time.
    pub on_time_share: f64,
    /// Waits from being due to the start.
    pub wait_s: Waits,
    /// Seconds that the agents existed.
    pub agent_seconds: f64,
    /// Most agents at once.
    pub agents_peak: u32,
    /// Decisions to grow.
    pub scale_ups: u64,
    /// Decisions to shrink.
    pub scale_downs: u64,
}

/// Percentiles of the waits, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Waits {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl From<WaitSummary> for Waits {
    fn from(waits: WaitSummary) -> Self {
        Self { p50: waits.p50, p95: waits.p95, p99: waits.p99 }
    }
}

/// Reads a task's wait from its own times: from when it was due to its (last) start. `None` if it never started.
pub fn wait_s(task: &Value) -> Option<f64> {
    let time = |name: &str| task.get(name)?.as_str()?.parse::<forerunner_core::Timestamp>().ok();
    let due = time("run_at").into_iter().chain(time("submitted_at")).max()?;
    Some(time("started_at")?.since(due).as_secs_f64())
}

/// Counts the tasks of the live run. A task that never started, or was rejected, is neither on time nor successful.
pub fn count_live(tasks: &[Value], due: u64, objective: Objective, pool: &Value, peak: u32) -> Figures {
    let succeeded = tasks.iter().filter(|task| task["state"] == "succeeded").count() as u64;
    let mut waits: Vec<f64> = tasks.iter().filter_map(wait_s).collect();
    let on_time = waits.iter().filter(|wait| **wait <= objective.within_s).count();
    let number = |name: &str| pool.get(name).and_then(Value::as_u64).unwrap_or(0);
    Figures {
        name: "predictive".to_owned(),
        tasks: due,
        succeeded,
        on_time_share: on_time as f64 / due.max(1) as f64,
        wait_s: WaitSummary::of(&mut waits).into(),
        agent_seconds: pool.get("agent_seconds").and_then(Value::as_f64).unwrap_or(0.0),
        agents_peak: peak,
        scale_ups: number("scale_ups"),
        scale_downs: number("scale_downs"),
    }
}

impl Figures {
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
        }
    }

    fn column(&self, how: &str) -> [String; ROWS.len()] {
        [
            how.to_owned(),
            count(self.tasks),
            count(self.tasks - self.succeeded),
            percent(self.on_time_share),
            seconds(self.wait_s.p50),
            seconds(self.wait_s.p95),
            seconds(self.wait_s.p99),
            count(self.agent_seconds.round() as u64),
            self.agents_peak.to_string(),
            count(self.scale_ups),
            count(self.scale_downs),
        ]
    }
}

const ROWS: [&str; 11] = [
    "run",
    "tasks",
    "failed",
    "on time",
    "wait p50",
    "wait p95",
    "wait p99",
    "agent-seconds",
    "most agents",
    "scale-ups",
    "scale-downs",
];

/// Writes the closing table: a run a column.
pub fn render_table(live: &Figures, compared: &[Figures]) -> String {
    let columns: Vec<_> =
        std::iter::once(live.column("live")).chain(compared.iter().map(|run| run.column("simulated"))).collect();
    let names = std::iter::once(live).chain(compared).map(|run| run.name.to_uppercase());
    let row = |(index, name): (usize, &&str)| {
        std::iter::once((*name).to_owned())
            .chain(columns.iter().map(|column| column[index].clone()))
            .collect::<Vec<_>>()
    };
    let mut table = lineless();
    table.set_header(std::iter::once(String::new()).chain(names).collect::<Vec<_>>());
    table.add_rows(ROWS.iter().enumerate().map(row));
    right_from(&mut table, 1);
    render(&table)
}

/// What the run was measured with.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Wall-clock seconds from the first task's being due to the last one's end.
    pub duration_s: f64,
    /// The store.
    pub store: String,
    /// Warm agents when the first task arrived.
    pub agents_at_start: u32,
    /// The result of the submissions.
    pub submissions: Submissions,
}

/// The one object of `--output json`.
pub fn to_json(live: &Figures, compared: &[Figures], run: &Run) -> Value {
    let late = lateness(&run.submissions);
    let mut told = figures_json(live);
    told["duration_s"] = round(run.duration_s);
    told["store"] = json!(run.store);
    told["agents_at_start"] = json!(run.agents_at_start);
    told["submit_late_s"] = json!({ "p99": round(late.p99), "max": round(late.max) });
    told["compared"] = compared
        .iter()
        .map(|figures| {
            let mut told = figures_json(figures);
            told["run"] = json!(figures.name);
            told["simulated"] = json!(true);
            told
        })
        .collect();
    told
}

fn figures_json(figures: &Figures) -> Value {
    let Waits { p50, p95, p99 } = figures.wait_s;
    json!({
        "tasks": figures.tasks,
        "succeeded": figures.succeeded,
        "failed": figures.tasks - figures.succeeded,
        "on_time_share": (figures.on_time_share * 1e6).round() / 1e6,
        "wait_s": { "p50": round(p50), "p95": round(p95), "p99": round(p99) },
        "agent_seconds": round(figures.agent_seconds),
        "agents_peak": figures.agents_peak,
        "scale_ups": figures.scale_ups,
        "scale_downs": figures.scale_downs,
    })
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

    fn task(state: &str, started_at: Option<&str>) -> Value {
        json!({"state": state, "submitted_at": "2026-01-31T12:00:00Z", "run_at": "2026-01-31T12:00:00Z", "started_at": started_at})
    }

    fn live() -> Figures {
        let tasks = [
            task("succeeded", Some("2026-01-31T12:00:00.25Z")),
            task("succeeded", Some("2026-01-31T12:00:01.5Z")),
            task("failed", Some("2026-01-31T12:00:00.5Z")),
            task("queued", None),
        ];
        let pool = json!({"agent_seconds": 5123.4, "scale_ups": 12, "scale_downs": 3});
        count_live(&tasks, 5, Objective::default(), &pool, 51)
    }

    #[test]
    fn all_tasks_count_also_those_refused_or_never_started() {
        let live = live();
        assert_eq!((live.tasks, live.succeeded, live.on_time_share), (5, 2, 0.4));
        assert_eq!(live.wait_s, Waits { p50: 0.5, p95: 1.5, p99: 1.5 });
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        let live = Figures {
            tasks: 8_191,
            succeeded: 8_190,
            agent_seconds: 12_345.6,
            scale_ups: 123,
            scale_downs: 123,
            ..live()
        };
        let others =
            ["utilisation", "fixed at 104", "fixed at 101"].map(|name| Figures { name: name.into(), ..live.clone() });
        let text = render_table(&live, &others);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @r"
                       PREDICTIVE  UTILISATION  FIXED AT 104  FIXED AT 101
        run                  live    simulated     simulated     simulated
        tasks               8,191        8,191         8,191         8,191
        failed                  1            1             1             1
        on time           40.00 %      40.00 %       40.00 %       40.00 %
        wait p50           500 ms       500 ms        500 ms        500 ms
        wait p95           1.50 s       1.50 s        1.50 s        1.50 s
        wait p99           1.50 s       1.50 s        1.50 s        1.50 s
        agent-seconds      12,346       12,346        12,346        12,346
        most agents            51           51            51            51
        scale-ups             123          123           123           123
        scale-downs           123          123           123           123
        ");
    }

    #[test]
    fn the_object_has_the_promised_fields() {
        let run = Run {
            duration_s: 121.23456,
            store: "sqlite".into(),
            agents_at_start: 48,
            submissions: Submissions::default(),
        };
        let told = to_json(&live(), &[live()], &run);
        for name in [
            "tasks",
            "succeeded",
            "failed",
            "on_time_share",
            "agent_seconds",
            "agents_peak",
            "scale_ups",
            "scale_downs",
            "duration_s",
            "store",
        ] {
            assert!(!told[name].is_null(), "{name}");
        }
        assert_eq!(told["wait_s"], json!({"p50": 0.5, "p95": 1.5, "p99": 1.5}));
        assert_eq!(told["compared"][0]["simulated"], json!(true));
    }
}
