//! How one decision is told.

use crate::{Forecast, Observation, ReasonCode, calendar::Habit, tournament::Rule};

/// What one decision was made from.
pub(super) struct Told<'a> {
    pub seen: &'a Observation,
    pub forecast: &'a Forecast,
    pub rule: &'a Rule,
    /// The habit that asks for more than the rule does.
    pub habit: Option<Habit>,
    /// The rate of the forecast in charge, before a surge or a rise took its place.
    pub rate: f64,
    pub need: f64,
    pub desired: u32,
    pub reason: ReasonCode,
    /// What to say where the objective is not met at a sensible price.
    pub complaint: Option<String>,
}

/// The numbers that decided, in words.
pub(super) fn explain(told: &Told) -> String {
    let Told { seen, forecast, rule, habit, rate, need, desired, reason, complaint } = told;
    let (need, hold_s) = (need.ceil(), rule.hold_s);
    let mut text = format!(
        "{:.1} tasks/s expected in {:.1} s (band {:.1}-{:.1}) x {:.1} s each: {need:.0} needed; {} now",
        forecast.rate_per_s,
        forecast.horizon_s,
        forecast.rate_low,
        forecast.rate_high,
        forecast.service_s,
        seen.size(),
    );
    let more = match reason {
        ReasonCode::Surge => format!("; arrivals outran the forecast of {rate:.1}/s"),
        ReasonCode::Backlog => format!("; {} waiting", seen.queue_depth),
        ReasonCode::Hold => format!("; {desired} kept, needed within the last {hold_s:.0} s"),
        ReasonCode::ForecastDown => format!("; not more than {desired} needed for {hold_s:.0} s"),
        ReasonCode::Bounded => format!("; the limit is {desired}"),
        ReasonCode::Learning => "; too little history to shrink by".to_owned(),
        _ => String::new(),
    };
    text.push_str(&more);
    if let Some(habit) = habit {
        text.push_str("; by ");
        text.push_str(habit.words());
    }
    if let Some(complaint) = complaint {
        text.push_str("; ");
        text.push_str(complaint);
    }
    text
}
