//! The sentence that explains one decision to people.

use crate::{
    Forecast, Observation, ReasonCode,
    calendar::Habit,
    service::Shift,
    tournament::{Requirements, Rule},
};

/// The numbers that one decision follows from.
pub(super) struct Explanation<'a> {
    pub seen: &'a Observation,
    pub forecast: &'a Forecast,
    pub rule: &'a Rule,
    pub requirements: &'a Requirements,
    /// Whether the margin is still the cautious one from before the pool's load is known.
    pub is_learning: bool,
    /// The habit that asks for more agents than the rule does.
    pub habit: Option<Habit>,
    /// Arrivals per second of the forecast in charge, before a surge or a rise replaces them.
    pub rate: f64,
    /// Agents needed before bounds and stabilization.
    pub need: f64,
    pub desired: u32,
    pub reason: ReasonCode,
    /// A change of durations that tasks on agents show.
    pub shift: Option<Shift>,
    /// Names what the objective would cost, where the pool misses it.
    pub warning: Option<String>,
}

/// Writes the sentence. Its sums add up: all numbers of agents are whole.
pub(super) fn explain(explanation: &Explanation) -> String {
    let Explanation { seen, forecast, rule, habit, rate, desired, reason, shift, warning, .. } = explanation;
    let window_s = rule.stabilization_s;
    let mut text = format!(
        "{:.1} tasks/s expected in {:.1} s (band {:.1}-{:.1}), {:.1} s each: {}; {} now",
        forecast.rate_per_s,
        forecast.horizon_s,
        forecast.rate_low,
        forecast.rate_high,
        forecast.service_s,
        sum(explanation),
        seen.size(),
    );
    let more = match reason {
        ReasonCode::Surge => format!("; arrivals exceed the forecast of {rate:.1} tasks/s"),
        ReasonCode::Backlog => format!("; tasks waiting: {}", seen.queue_depth),
        ReasonCode::Stabilizing => {
            format!("; the pool keeps {desired} because it needed them in the last {window_s:.0} s")
        }
        ReasonCode::ForecastDown => format!("; the pool has needed at most {desired} for {window_s:.0} s"),
        ReasonCode::Bounded => format!("; the limit is {desired}"),
        ReasonCode::Learning => "; the pool does not shrink yet: too little history".to_owned(),
        _ => String::new(),
    };
    text.push_str(&more);
    if let Some(shift) = shift {
        text.push_str(&changed(shift));
    }
    if let Some(next_in_s) = forecast.announced.next_in_s {
        let tasks = match forecast.announced.next_tasks {
            1 => "1 task is".to_owned(),
            tasks => format!("{tasks} tasks are"),
        };
        match seen.utc_s {
            Some(now) => text.push_str(&format!("; {tasks} scheduled for {}", time_of_day(now + next_in_s))),
            None => text.push_str(&format!("; {tasks} scheduled in {next_in_s:.1} s")),
        }
    }
    if let Some(habit) = habit {
        text.push_str("; by ");
        text.push_str(habit.words());
    }
    if let Some(warning) = warning {
        text.push_str("; ");
        text.push_str(warning);
    }
    text
}

/// Names a change of durations: `; tasks slow down: 9.5 s instead of 2.0 s, those on agents counted`.
fn changed(shift: &Shift) -> String {
    let Shift { before_s, after_s } = shift;
    let how = if after_s > before_s { "slow down" } else { "speed up" };
    format!("; tasks {how}: {after_s:.1} s instead of {before_s:.1} s, those on agents counted")
}

/// The time of day in UTC of so many seconds since 1970: `09:00:00`.
fn time_of_day(utc_s: f64) -> String {
    // To the second that is meant: reports of when a task is due differ by less than half of one.
    let second = ((utc_s + 0.05).max(0.0) as u64) % 86_400;
    format!("{:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

/// How the need comes about: `20 busy on average + 6 spare (margin 1.4 σ) + 40 announced = 66 needed`.
fn sum(explanation: &Explanation) -> String {
    let Explanation { rule, requirements, is_learning, need, .. } = explanation;
    let forecast = requirements.forecast.ceil().max(0.0);
    let announced = requirements.announced.ceil().clamp(0.0, forecast);
    let own = forecast - announced;
    let basis = requirements.basis.round().min(own).max(0.0);
    let learning = if *is_learning { ", still learning" } else { "" };
    let spare = own - basis;
    let known = if announced > 0.0 { format!(" + {announced:.0} announced") } else { String::new() };
    let sum = format!(
        "{basis:.0} {} + {spare:.0} spare ({}{learning}){known} = {forecast:.0} needed",
        rule.basis(),
        rule.spare()
    );
    match need.ceil() {
        need if need > forecast && requirements.backlog > requirements.forecast => {
            format!("{sum}, {need:.0} to clear the backlog")
        }
        need if need != forecast => format!("{sum}, {need:.0} with what the calendar expects"),
        _ => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_whole_seconds_in_utc() {
        for (utc_s, text) in
            [(0.0, "00:00:00"), (32_400.0, "09:00:00"), (32_399.98, "09:00:00"), (1_796_000_399.2, "00:59:59")]
        {
            assert_eq!(time_of_day(utc_s), format!("{text} UTC"));
        }
    }
}
