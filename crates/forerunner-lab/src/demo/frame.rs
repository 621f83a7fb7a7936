//! The screen of the live part: figures of both pools, and a chart of each on the same time axis.

use forerunner_console::{
    output::{count, percent},
    spark::cut,
};

use super::{
    chart::{Column, chart},
    side::{DemoSample, PoolSample, lead_s},
};

/// How a line is highlighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emphasis {
    /// As usual.
    None,
    /// More.
    Strong,
    /// Less.
    Faint,
}

/// A line of the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameLine {
    /// The text, no wider than the terminal.
    pub text: String,
    /// How it is highlighted.
    pub emphasis: Emphasis,
}

/// What the screen shows beside the pools.
#[derive(Debug, Clone, PartialEq)]
pub struct ScreenContent {
    /// The name of the other rule.
    pub against: String,
    /// Seconds of the live part.
    pub span_s: f64,
    /// Seconds that an agent is set to take to start.
    pub cold_start_s: f64,
    /// When scheduled tasks are due, and how many.
    pub scheduled: Vec<(f64, usize)>,
    /// What the forecasts have seen.
    pub seeded: String,
    /// What happens to the agent that is killed; empty before.
    pub story: Vec<String>,
}

/// Rows that are no chart.
const OTHER_ROWS: usize = 14;
/// Fewest rows of a chart.
const LEAST_ROWS: usize = 3;
/// Agents that a chart has room for, at least.
const LEAST_TOP: u32 = 12;
/// Columns left of a chart.
const LEFT: usize = 5;

/// Draws the screen.
pub fn frame(content: &ScreenContent, past: &[DemoSample], width: usize, height: usize) -> Vec<FrameLine> {
    let now = past.last().cloned().unwrap_or_default();
    let line = |emphasis, text: String| FrameLine { text: cut(&text, width.saturating_sub(1)), emphasis };
    let plain = |text: String| line(Emphasis::None, text);
    let mut lines = vec![
        line(Emphasis::Strong, headline(content, &now)),
        line(Emphasis::Faint, content.seeded.clone()),
        plain(String::new()),
    ];
    lines.extend(figures(content, &now).map(plain));
    lines.push(plain(String::new()));
    let rows = (height.saturating_sub(OTHER_ROWS) / 2).max(LEAST_ROWS);
    let columns = width.saturating_sub(LEFT + 2).max(10);
    let most = past.iter().flat_map(|m| &m.sides).map(|side| side.agents().max(side.demand())).max().unwrap_or(0);
    // Room for what is scheduled, from the begin: a scale that changes hides what grows.
    let expected = content.scheduled.iter().map(|(_, tasks)| *tasks as u32 + 4).max().unwrap_or(LEAST_TOP);
    let top = f64::from(most.max(expected));
    for (at, name) in ["Forerunner", &content.against].into_iter().enumerate() {
        lines.push(line(Emphasis::Strong, title(name, at)));
        let drawn = chart(&sampled(past, at, columns, content.span_s), top, rows);
        let label = |row: usize| if row == 0 { format!("{top:>3.0} ") } else { "    ".to_owned() };
        lines.extend(drawn.into_iter().enumerate().map(|(row, text)| plain(format!("{}{text}", label(row)))));
    }
    lines.push(line(Emphasis::Faint, axis(content, columns)));
    lines.extend(events(content, past).into_iter().map(plain));
    lines.truncate(height);
    lines
}

fn headline(content: &ScreenContent, now: &DemoSample) -> String {
    format!(
        "Forerunner demo  {:.0} of {:.0} s  {} tasks to each pool  cold start {:.0} s",
        now.t.min(content.span_s),
        content.span_s,
        count(now.submitted),
        content.cold_start_s
    )
}

/// A table of both pools.
fn figures(content: &ScreenContent, now: &DemoSample) -> [String; 5] {
    let row = |name: &str, value: &dyn Fn(&PoolSample) -> String| {
        format!("{name:<20}{:>12}{:>16}", value(&now.sides[0]), value(&now.sides[1]))
    };
    let on_time = |side: &PoolSample| side.on_time_share.map_or_else(|| "–".to_owned(), percent);
    [
        format!("{:<20}{:>12}{:>16}", "", "FORERUNNER", content.against.to_uppercase()),
        row("started within 1 s", &on_time),
        row("waiting now", &|side| side.waiting.to_string()),
        row("agents", &|side| side.agents().to_string()),
        row("agent-seconds", &|side| count(side.agent_seconds.round() as u64)),
    ]
}

fn title(name: &str, at: usize) -> String {
    let keys = if at == 0 { "   █ busy  ░ warm and idle  · starting  x tasks that wait" } else { "" };
    format!("{name}{keys}")
}

/// The moments of a pool, a column for each part of the span; `None` for what is still to come.
fn sampled(past: &[DemoSample], at: usize, columns: usize, span_s: f64) -> Vec<Option<Column>> {
    let mut drawn: Vec<Option<Column>> = vec![None; columns];
    let last = past.last().map_or(0.0, |moment| moment.t);
    for moment in past {
        let index = ((moment.t / span_s * columns as f64) as usize).min(columns - 1);
        let side = &moment.sides[at];
        let column = drawn[index].get_or_insert_default();
        column.raise_to(side.busy, side.ready, side.starting, side.waiting);
    }
    // A wide terminal has more columns than there were moments.
    let seen = ((last / span_s * columns as f64) as usize).min(columns - 1);
    for index in 1..=seen {
        if drawn[index].is_none() {
            drawn[index] = drawn[index - 1].clone();
        }
    }
    drawn
}

/// The time axis, with an arrow where scheduled tasks are due.
fn axis(content: &ScreenContent, columns: usize) -> String {
    let mut marks: Vec<char> = vec![' '; columns + 12];
    let mut put = |at: f64, text: &str| {
        let begin = (at / content.span_s * columns as f64) as usize;
        for (offset, c) in text.chars().enumerate() {
            if let Some(cell) = marks.get_mut(begin + offset) {
                *cell = c;
            }
        }
    };
    put(0.0, "0 s");
    for (due, tasks) in &content.scheduled {
        put(*due, &format!("▲ {tasks} scheduled"));
    }
    format!("    {}", marks.into_iter().collect::<String>().trim_end())
}

/// The newest events: at most two lines.
fn events(content: &ScreenContent, past: &[DemoSample]) -> Vec<String> {
    let now = past.last().cloned().unwrap_or_default();
    if !content.story.is_empty() {
        return content.story.iter().rev().take(2).rev().cloned().collect();
    }
    let next = content.scheduled.iter().find(|(due, _)| *due > now.t);
    let before = content.scheduled.iter().rev().find(|(due, _)| *due <= now.t);
    let outcome = |(due, tasks): &(f64, usize)| {
        let started = |side| match lead_s(past, side, *due, *tasks) {
            Some(lead) => format!("{lead:.1} s before"),
            None => "not".to_owned(),
        };
        format!(
            "{tasks} tasks due at {due:.0} s: Forerunner began to start agents {}, {} {}.",
            started(0),
            content.against,
            started(1)
        )
    };
    let coming = |(due, tasks): &(f64, usize)| {
        let starting = now.sides[0].starting;
        let acts = if starting > 0 { format!("; Forerunner starts {starting} agents for them") } else { String::new() };
        format!("{tasks} tasks are scheduled for {due:.0} s, in {:.0} s{acts}.", due - now.t)
    };
    let why = format!("why: {}", now.sides[0].why);
    let first = next.filter(|(due, _)| due - now.t < 20.0).map(coming).or_else(|| before.map(outcome));
    first.into_iter().chain([why]).collect()
}

/// One line of the run, for what is no terminal.
pub fn plain_line(content: &ScreenContent, now: &DemoSample) -> String {
    let side = |side: &PoolSample| {
        let on_time = side.on_time_share.map_or_else(|| "–".to_owned(), percent);
        format!("{} agents, {} waiting, on time {on_time}", side.agents(), side.waiting)
    };
    format!(
        "{:>3.0} s  {} tasks  Forerunner: {}  {}: {}",
        now.t,
        count(now.submitted),
        side(&now.sides[0]),
        content.against,
        side(&now.sides[1])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> ScreenContent {
        ScreenContent {
            against: "keda".to_owned(),
            span_s: 80.0,
            cold_start_s: 4.0,
            scheduled: vec![(31.5, 20), (66.5, 20)],
            seeded: "Both rules have seen 21 minutes of such tasks before, in virtual time.".to_owned(),
            story: Vec::new(),
        }
    }

    /// Forerunner's pool grows before the scheduled tasks, the other one has eight agents all the time.
    fn past(until_s: f64) -> Vec<DemoSample> {
        let side = |t: f64, agents: u32| {
            let demand = if (31.5..33.0).contains(&t) { 20 } else { 2 };
            let busy = agents.min(demand);
            let (on_time_share, why) = (Some(0.9), "20 tasks are scheduled".to_owned());
            PoolSample {
                busy,
                ready: agents - busy,
                waiting: demand - busy,
                on_time_share,
                why,
                ..PoolSample::default()
            }
        };
        let moment = |i: u32| {
            let t = f64::from(i) / 4.0;
            let ours = if (27.0..38.0).contains(&t) { 22 } else { 6 };
            DemoSample { t, submitted: u64::from(i), sides: [side(t, ours), side(t, 8)] }
        };
        (0..).map(moment).take_while(|moment| moment.t <= until_s).collect()
    }

    #[test]
    fn the_screen_fits_every_terminal() {
        for (width, height) in [(80, 24), (120, 40), (200, 50), (40, 10), (20, 3)] {
            for until_s in [0.0, 30.0, 79.0, 95.0] {
                let lines = frame(&content(), &past(until_s), width, height);
                assert!(lines.len() <= height, "{width}x{height}: {}", lines.len());
                assert!(lines.iter().all(|line| line.text.chars().count() < width), "{width}x{height} {lines:#?}");
            }
        }
        assert!(frame(&content(), &[], 80, 24).len() <= 24, "before the first moment");
    }

    #[test]
    fn agents_stand_in_the_chart_before_the_tasks_that_were_scheduled() {
        let lines: Vec<String> = frame(&content(), &past(45.0), 80, 24).into_iter().map(|line| line.text).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
