//! The live view: a few lines that are redrawn on a terminal, and occasional plain lines elsewhere.

use comfy_table::Table;
use forerunner_console::{
    fields::number,
    output::{self, count, percent},
    progress,
    spark::{cut, sparkline},
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde_json::Value;

/// The state at one moment of the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    /// Seconds since the first task was due.
    pub elapsed_s: f64,
    /// Tasks submitted.
    pub submitted: u64,
    /// Tasks ended.
    pub finished: u64,
    /// Tasks waiting.
    pub depth: u32,
    /// Wanted agents.
    pub desired: u32,
    /// Agents warm and idle.
    pub ready: u32,
    /// Agents with a task.
    pub busy: u32,
    /// Agents warming up.
    pub starting: u32,
    /// Agents on their way out.
    pub cooldown: u32,
    /// Share of tasks that started on time.
    pub on_time_share: Option<f64>,
    /// Arrivals per second.
    pub rate: f64,
    /// What was expected for now or soon: (rate, low, high).
    pub expected: Option<(f64, f64, f64)>,
    /// Why the pool is as large as it is.
    pub why: String,
}

impl Moment {
    /// Reads the status of a pool from the service. `rate` is measured by the caller.
    pub fn read(pool: &Value, elapsed_s: f64, submitted: u64, rate: f64) -> Self {
        let whole = |path: &str| number(pool, path).unwrap_or(0.0) as u32;
        let forecast = |name: &str| number(pool, &format!("decision.forecast.{name}"));
        let why = ["reason", "detail"].map(|name| pool["decision"][name].as_str().unwrap_or_default());
        Self {
            elapsed_s,
            submitted,
            finished: number(pool, "finished").unwrap_or(0.0) as u64,
            depth: whole("depth"),
            desired: whole("desired"),
            ready: whole("agents.ready"),
            busy: whole("agents.busy"),
            starting: whole("agents.starting"),
            cooldown: whole("agents.cooldown"),
            on_time_share: number(pool, "on_time_share"),
            rate,
            expected: forecast("rate_per_s")
                .zip(forecast("rate_low"))
                .zip(forecast("rate_high"))
                .map(|((a, b), c)| (a, b, c)),
            why: why.join(": "),
        }
    }

    /// All existing agents.
    pub fn agents(&self) -> u32 {
        self.ready + self.busy + self.starting + self.cooldown
    }
}

/// Shows the run while it lasts.
pub struct View {
    lines: Vec<ProgressBar>,
    bar: ProgressBar,
    screen: MultiProgress,
    past: Vec<Moment>,
    next_plain_s: f64,
}

/// Seconds between two plain lines.
const PLAIN_PERIOD_S: f64 = 10.0;
const LINES: usize = 5;

impl View {
    /// A view of a run of `tasks` tasks, on standard error.
    pub fn new(tasks: u64) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let line = |_| {
            let line = screen.add(ProgressBar::new_spinner());
            line.set_style(progress::style("{msg}"));
            line
        };
        let lines = (0..LINES).map(line).collect();
        let bar = screen.add(ProgressBar::new(tasks));
        bar.set_style(progress::style("finished  {bar:24} {percent:>3} %  {human_pos} of {human_len}  on time {msg}"));
        Self { lines, bar, screen, past: Vec::new(), next_plain_s: 0.0 }
    }

    /// Shows the present state.
    pub fn show(&mut self, now: Moment) {
        if self.screen.is_hidden() {
            if now.elapsed_s >= self.next_plain_s {
                self.next_plain_s += PLAIN_PERIOD_S;
                output::note(&plain(&now));
            }
            return;
        }
        self.bar.set_position(now.finished);
        self.bar.set_message(on_time(&now));
        self.past.push(now);
        let width = Table::new().use_stderr().width().map_or(80, usize::from);
        for (line, text) in self.lines.iter().zip(draw(&self.past, width)) {
            line.set_message(text);
        }
    }
}

/// Removes the view from the screen, also when the run was interrupted.
impl Drop for View {
    fn drop(&mut self) {
        self.lines.iter().for_each(ProgressBar::finish_and_clear);
        self.bar.finish_and_clear();
    }
}

fn plain(now: &Moment) -> String {
    format!(
        "{:>4.0} s  {} submitted, {} finished, {} waiting  {}  agents: {}  on time {}",
        now.elapsed_s,
        count(now.submitted),
        count(now.finished),
        now.depth,
        arrivals(now),
        agents(now),
        on_time(now),
    )
}

fn on_time(now: &Moment) -> String {
    now.on_time_share.map_or_else(|| "–".to_owned(), percent)
}

/// Writes the lines above the progress bar, none of them wider than the terminal.
fn draw(past: &[Moment], width: usize) -> [String; LINES] {
    let Some(now) = past.last() else { return Default::default() };
    let room = width.saturating_sub(58).clamp(8, 72);
    let most = past.iter().map(|moment| moment.depth).max().unwrap_or(0);
    let spark = |value: fn(&Moment) -> f64| sparkline(&past.iter().map(value).collect::<Vec<_>>(), room);
    [
        format!("arrivals  {}  {}", spark(|m| m.rate), arrivals(now)),
        format!("agents    {}  {}", spark(|m| f64::from(m.agents())), agents(now)),
        format!("busy      {}  {} of {} warm", spark(|m| f64::from(m.busy)), now.busy, now.busy + now.ready),
        format!("queue     {}  {} waiting, {most} at most", spark(|m| f64::from(m.depth)), now.depth),
        format!("why       {}", now.why),
    ]
    .map(|line| cut(&line, width.saturating_sub(1)))
}

fn arrivals(now: &Moment) -> String {
    match now.expected {
        Some((rate, low, high)) => format!("{:.0}/s now, {rate:.0}/s expected ({low:.0}–{high:.0})", now.rate),
        None => format!("{:.0}/s now", now.rate),
    }
}

fn agents(now: &Moment) -> String {
    let Moment { desired, busy, ready, starting, .. } = now;
    format!("{desired} wanted: {busy} busy, {ready} ready, {starting} starting")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn moments() -> Vec<Moment> {
        let pool = json!({
            "finished": 4211, "depth": 3, "desired": 48, "agents": {"ready": 6, "busy": 41, "starting": 1, "cooldown": 0},
            "on_time_share": 0.99713,
            "decision": {
                "reason": "stabilizing", "forecast": {"rate_per_s": 64.2, "rate_low": 55.4, "rate_high": 73.1},
                "detail": "64.2 tasks/s expected in 3.1 s (band 55.4-73.1), 0.5 s each: 32 busy on average + 14 spare (margin 2.3 σ) = 46 needed; 48 now; the pool keeps 48 because it needed them in the last 8 s",
            },
        });
        let at =
            |i: u32| Moment { busy: 30 + i / 8, ..Moment::read(&pool, f64::from(i), 4300, 40.0 + f64::from(i) / 3.0) };
        (0..90).map(at).collect()
    }

    #[test]
    fn the_view_fits_eighty_columns() {
        let lines = draw(&moments(), 80);
        assert!(lines.iter().all(|line| line.chars().count() < 80));
        insta::assert_snapshot!(lines.join("\n"), @r"
        arrivals  ▅▅▅▆▆▆▆▆▆▆▆▇▇▇▇▇▇▇████  70/s now, 64/s expected (55–73)
        agents    ▆▆▇▇▇▇▇▇▇▇▇▇▇▇▇███████  48 wanted: 41 busy, 6 ready, 1 starting
        busy      ▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇█████  41 of 47 warm
        queue     ██████████████████████  3 waiting, 3 at most
        why       stabilizing: 64.2 tasks/s expected in 3.1 s (band 55.4-73.1), 0.5 s …
        ");
    }

    #[test]
    fn the_view_uses_a_wide_terminal() {
        let lines = draw(&moments(), 120);
        assert!(lines.iter().all(|line| line.chars().count() < 120));
        insta::assert_snapshot!(lines.join("\n"), @r"
        arrivals  ▅▅▅▅▅▅▅▅▅▅▅▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇██████████  70/s now, 64/s expected (55–73)
        agents    ▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇██████████████████  48 wanted: 41 busy, 6 ready, 1 starting
        busy      ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇████████████  41 of 47 warm
        queue     ██████████████████████████████████████████████████████████████  3 waiting, 3 at most
        why       stabilizing: 64.2 tasks/s expected in 3.1 s (band 55.4-73.1), 0.5 s each: 32 busy on average + 14 spare (mar…
        ");
    }

    #[test]
    fn off_a_terminal_a_moment_is_one_line() {
        let now = moments().pop().expect("ninety of them");
        insta::assert_snapshot!(plain(&now), @"  89 s  4,300 submitted, 4,211 finished, 3 waiting  70/s now, 64/s expected (55–73)  agents: 48 wanted: 41 busy, 6 ready, 1 starting  on time 99.71 %");
    }
}
