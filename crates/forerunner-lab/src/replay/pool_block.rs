//! The settings of a pool, to be pasted into the configuration.

use std::time::Duration;

use forerunner_core::format_duration;

use super::{
    advice::{Advice, Change},
    cell::Cell,
    study::Run,
};

/// Longest name of a pool.
const LONGEST_NAME: usize = 64;

/// Writes the block of the policy in its cell, with the cheapest change of settings that meets the objective. `None` for
/// the settings that a file cannot have.
pub fn write(cell: &Cell, run: &Run, advice: Option<&Advice>) -> Option<String> {
    let (mut share, mut min) = (cell.replay.limits.objective.share, cell.replay.limits.min);
    let settable = |change: &Change| matches!(change, Change::Share(_) | Change::Min(_));
    let change = advice.and_then(|advice| advice.remedies.iter().map(|remedy| remedy.change).find(settable));
    match change {
        Some(Change::Share(stricter)) => share = stricter,
        Some(Change::Min(more)) => min = more,
        _ => {}
    }
    let duration = |seconds: f64| format_duration(Duration::from_secs_f64(seconds));
    let (cold_start, within) = (cell.replay.limits.cold_start_s, cell.replay.limits.objective.within_s);
    Some(format!(
        "[pools.{}]\nmin = {min}\nmax = {}\ncold_start = \"{}\"\non_time = {{ share = {share}, within = \"{}\" }}\npolicy = {}\n\
         agent = {{ kind = \"process\", argv = [\"./your-agent\"] }}",
        name(&cell.trace),
        cell.replay.limits.max.max(min),
        duration(cold_start),
        duration(within),
        policy(run)?,
    ))
}

/// A name that a pool may have: that of the trace, as far as it goes.
fn name(trace: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let letters = trace.chars().flat_map(char::to_lowercase).map(|c| if fits(c) { c } else { '-' });
    let name: String = letters.take(LONGEST_NAME).collect();
    match name.trim_matches('-') {
        "" => "work".to_owned(),
        name => name.to_owned(),
    }
}

/// The policy as TOML: its name, or a table with its settings.
fn policy(run: &Run) -> Option<String> {
    let kind = run.asked.kind.name();
    if run.asked.params.is_empty() {
        return Some(format!("\"{kind}\""));
    }
    let pair = |setting: &str| {
        let (key, value) = setting.split_once('=').unwrap_or(("size", setting));
        let is_plain = value.parse::<f64>().is_ok() || matches!(value, "true" | "false");
        is_plain.then(|| format!("{key} = {value}"))
    };
    let settings: Option<Vec<String>> = run.asked.params.split(',').map(pair).collect();
    Some(format!("{{ kind = \"{kind}\", {} }}", settings?.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_trace_gives_a_name_that_a_pool_may_have() {
        for (trace, pool) in [("day", "day"), ("My Day.2", "my-day-2"), ("日本", "work"), ("", "work"), ("--a--", "a")]
        {
            assert_eq!(name(trace), pool);
        }
        assert_eq!(name(&"x".repeat(99)).len(), LONGEST_NAME);
    }
}
