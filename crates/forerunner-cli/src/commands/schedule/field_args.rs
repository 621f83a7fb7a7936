//! The fields of a schedule, as flags.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, ValueEnum};
use forerunner_core::{format_duration, parse_duration};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::commands::{label::Label, submit};

/// The fields of a schedule.
#[derive(Debug, Args)]
#[group(id = "FieldArgs", multiple = true)]
pub struct FieldArgs {
    /// The pool that runs its tasks.
    #[arg(long)]
    pool: Option<String>,
    /// When, as a cron expression: minute, hour, day of the month, month, day of the week.
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["every", "at"])]
    cron: Option<String>,
    /// The zone whose clocks the expression means, such as Europe/Berlin [default: UTC].
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// An interval, such as 15m.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "at")]
    every: Option<Duration>,
    /// The first time of an interval.
    #[arg(long, value_name = "TIME")]
    starts_at: Option<String>,
    /// Once, at this time, such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// The conversation that its tasks belong to.
    #[arg(long, value_name = "ID")]
    context: Option<String>,
    /// Priority of its tasks: 0 (last) to 9 (first) [default: 4].
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// A task that has not ended so long after it was due expires.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expires_after: Option<Duration>,
    /// Longest run of one attempt, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Attempts in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// A label of its tasks; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// What happens to an occurrence while a task of an earlier one has not ended [default: skip].
    #[arg(long, value_enum)]
    overlap: Option<Overlap>,
    /// What happens to occurrences that were missed [default: latest].
    #[arg(long, value_enum)]
    catch_up: Option<CatchUp>,
    /// Delay each occurrence by up to this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    jitter: Option<Duration>,
}

/// What happens to an occurrence while a task of an earlier one has not ended.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Overlap {
    /// It is skipped.
    Skip,
    /// It is submitted as well.
    Queue,
    /// The earlier tasks are cancelled.
    CancelRunning,
}

/// What happens to occurrences that were missed.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum CatchUp {
    /// They are skipped.
    None,
    /// The newest is submitted.
    Latest,
    /// The newest 1,000 are submitted.
    All,
}

impl FieldArgs {
    /// The fields that were given, in the form of the service. The input is sent unchanged, so that no number changes.
    pub fn body(&self) -> anyhow::Result<BTreeMap<String, Box<RawValue>>> {
        let mut body = BTreeMap::new();
        let durations = [
            ("every", self.every),
            ("expires_after", self.expires_after),
            ("timeout", self.timeout),
            ("jitter", self.jitter),
        ];
        for (name, duration) in durations {
            put(&mut body, name, &duration.map(format_duration))?;
        }
        let texts = [
            ("pool", &self.pool),
            ("cron", &self.cron),
            ("time_zone", &self.time_zone),
            ("starts_at", &self.starts_at),
            ("at", &self.at),
            ("context", &self.context),
        ];
        for (name, text) in texts {
            put(&mut body, name, text)?;
        }
        put(&mut body, "priority", &self.priority)?;
        put(&mut body, "max_attempts", &self.max_attempts)?;
        put(&mut body, "overlap", &self.overlap)?;
        put(&mut body, "catch_up", &self.catch_up)?;
        let labels: BTreeMap<_, _> = self.labels.iter().map(|label| (&label.key, &label.value)).collect();
        put(&mut body, "labels", &(!labels.is_empty()).then_some(labels))?;
        if let Some(input) = &self.input {
            body.insert("input".to_owned(), submit::input(input)?);
        }
        Ok(body)
    }
}

fn put<T: Serialize>(body: &mut BTreeMap<String, Box<RawValue>>, name: &str, value: &Option<T>) -> anyhow::Result<()> {
    if let Some(value) = value {
        body.insert(name.to_owned(), to_raw_value(value)?);
    }
    Ok(())
}
