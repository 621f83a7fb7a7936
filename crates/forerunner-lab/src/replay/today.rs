//! The answer for somebody who runs a pool today: what would change, in agent-hours and money, and what to paste.

use std::time::Duration;

use forerunner_console::{
    output::{Output, count, late, render, right_from, seconds, table},
    text::wrap,
};
use forerunner_core::format_duration;

use super::{
    advice::{Advice, Change, Remedy},
    cell::Cell,
    pool_block,
    price::Price,
    study::{Run, Study},
};

/// Widest line of an answer.
const WIDTH: usize = 79;

/// Writes the answers of all cells that have one; empty if none has.
pub fn answers(study: &Study, price: Option<&Price>, out: &Output) -> String {
    let texts = (0..study.cells.len()).filter_map(|cell| answer(study, cell, price, out));
    texts.fold(String::new(), |all, text| format!("{all}\n\n{text}"))
}

fn answer(study: &Study, at: usize, price: Option<&Price>, out: &Output) -> Option<String> {
    let (cell, ours) = (&study.cells[at], study.ours(at)?);
    let today = study.today(at);
    let advice = study.advice.iter().find(|advice| advice.cell == at);
    if today.is_none() && advice.is_none() {
        return None;
    }
    let mut parts = Vec::new();
    let cold_start = duration(cell.replay.limits.cold_start_s);
    if let Some(today) = today {
        parts.push(out.strong(&format!("{}, cold start {cold_start}: today and with `{}`", cell.trace, label(ours))));
        parts.push(compare(today, ours, price));
        parts.push(wrap(&verdict(cell, today, ours, price), WIDTH, 0));
        parts.push(wrap(&objective(today, ours), WIDTH, 0));
    }
    parts.extend(advice.map(|advice| remedies(cell, ours, advice, price)));
    parts.extend(flat(cell, ours, advice));
    if let Some(block) = pool_block::write(cell, ours, advice) {
        parts.push(format!("{}\n{block}", out.strong("To paste into forerunner.toml:")));
    }
    Some(parts.join("\n"))
}

fn compare(today: &Run, ours: &Run, price: Option<&Price>) -> String {
    let row = |name: &str, run: &Run| {
        let hours = run.report.instance_s / 3_600.0;
        [
            format!("{name}{}", label(run)),
            late(run.report.late_share),
            seconds(run.report.wait_s.p99),
            count(u64::from(run.report.peak_pool)),
            tenths(hours),
            price.map_or_else(String::new, |price| price.show(price.of(hours))),
        ]
    };
    let money = if price.is_some() { "money" } else { "" };
    let header = ["rule", "late", "wait p99", "peak", "agent-hours", money];
    let mut shown = table(header, [row("today: ", today), row("", ours)]);
    right_from(&mut shown, 1);
    render(&shown)
}

/// What changes with our rule, and over which time.
fn verdict(cell: &Cell, today: &Run, ours: &Run, price: Option<&Price>) -> String {
    let hours = (today.report.instance_s - ours.report.instance_s) / 3_600.0;
    let counted_s = (cell.span_s - cell.replay.warm_up_s).max(1.0);
    let share = 100.0 * hours.abs() / (today.report.instance_s / 3_600.0).max(f64::MIN_POSITIVE);
    let (verb, amount) = if hours >= 0.0 { ("saves", hours) } else { ("costs", -hours) };
    let more = if hours >= 0.0 { "" } else { " more" };
    let money = |price: &Price| {
        let a_day = price.of(amount) * 86_400.0 / counted_s;
        format!(": {}, or {} a day at this rate", price.show(price.of(amount)), price.show(a_day))
    };
    format!(
        "`{}` {verb} {} agent-hours{more} ({share:.0} %) in {}{}.",
        label(ours),
        tenths(amount),
        seconds(counted_s),
        price.map_or_else(String::new, money),
    )
}

fn objective(today: &Run, ours: &Run) -> String {
    let met = |run: &Run| if run.report.meets_objective() { "meets" } else { "misses" };
    format!("Today's rule {} the objective, `{}` {} it.", met(today), label(ours), met(ours))
}

fn remedies(cell: &Cell, ours: &Run, advice: &Advice, price: Option<&Price>) -> String {
    let begin = format!(
        "`{}` misses the objective at a cold start of {}: {} late, {} allowed. It would be met with",
        label(ours),
        duration(cell.replay.limits.cold_start_s),
        late(ours.report.late_share),
        late(1.0 - cell.replay.limits.objective.share),
    );
    let line = |remedy: &Remedy| {
        let change = match remedy.change {
            Change::Share(share) => format!("on_time.share = {share}"),
            Change::Min(min) => format!("min = {min}"),
            Change::ColdStart(0.0) => "agents that start at once".to_owned(),
            Change::ColdStart(seconds) => format!("a cold start of {}", duration(seconds)),
            Change::Fixed(size) => format!("a fixed pool of {size}, which only hindsight knows"),
        };
        let money = price.map_or_else(String::new, |price| format!(", {}", price.show(price.of(remedy.agent_hours))));
        let (late, hours) = (late(remedy.late_share), tenths(remedy.agent_hours));
        wrap(&format!("- {change}: {late} late, {hours} agent-hours{money}"), WIDTH, 2)
    };
    let lines = advice.remedies.iter().map(line);
    std::iter::once(wrap(&begin, WIDTH, 0)).chain(lines).collect::<Vec<_>>().join("\n")
}

/// Adds a line if a fixed pool costs less.
fn flat(cell: &Cell, ours: &Run, advice: Option<&Advice>) -> Option<String> {
    let counted_s = (cell.span_s - cell.replay.warm_up_s).max(0.0);
    let fixed_s = f64::from(cell.least_fixed) * counted_s;
    let is_cheaper = advice.is_none() && fixed_s < ours.report.instance_s;
    is_cheaper.then(|| {
        let text = format!(
            "A fixed pool of {} would have met the objective for less: {} agent-hours. Only hindsight knows that size.",
            cell.least_fixed,
            tenths(fixed_s / 3_600.0)
        );
        wrap(&text, WIDTH, 0)
    })
}

fn label(run: &Run) -> String {
    let name = run.asked.kind.name();
    if run.asked.params.is_empty() { name.to_owned() } else { format!("{name}:{}", run.asked.params) }
}

fn duration(seconds: f64) -> String {
    format_duration(Duration::from_secs_f64(seconds))
}

/// Hours with a digit behind the point where that matters.
fn tenths(hours: f64) -> String {
    if hours < 1_000.0 { format!("{hours:.1}") } else { count(hours.round() as u64) }
}
