//! What a schedule is: when, what, and how occurrences that meet or were missed are treated.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{cron::CronTiming, timing::Timing};
use crate::{
    ContextId, Error, IdempotencyKey, Labels, NewTask, Payload, PoolName, Priority, ScheduleName, TenantName,
    Timestamp, duration::optional_duration, format_duration, ids::shortened,
};

/// The shortest interval of a schedule.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval, jitter and expiry.
const LONGEST: Duration = Duration::from_secs(3_660 * 86_400);
/// Occurrences in which the jitter is compared with the gaps.
const COMPARED: usize = 100;
/// The label by which the tasks of a schedule are found.
const LABEL: &str = "schedule";

/// What happens to an occurrence whose time comes while a task of an earlier one has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It is submitted, whatever the earlier tasks do.
    Queue,
    /// The earlier tasks are cancelled, then it is submitted.
    CancelRunning,
}

/// What happens to occurrences that were missed: more than a minute late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are skipped.
    None,
    /// The newest is submitted, unless a newer one is due; the others are skipped.
    #[default]
    Latest,
    /// The newest 1,000 are submitted one after another; the others are skipped.
    All,
}

/// A schedule as it is written: one of `cron`, `every` and `at`, and what to submit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScheduleDefinition {
    /// Its name.
    pub name: ScheduleName,
    /// The pool that its tasks are submitted to.
    pub pool: PoolName,
    /// A cron expression: minute, hour, day of the month, month, day of the week, and seconds before them if need be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// With `cron` only: the zone whose clocks it means, by its name in the IANA database; `UTC` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Submits a task each time that this has passed, such as `15m`; at least `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub every: Option<Duration>,
    /// With `every` only: the first time; by default one interval after the schedule was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// Submits one task at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What the agent is given.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub input: Payload,
    /// The tenant that its tasks belong to. A caller that has one tenant leaves it out.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub tenant: TenantName,
    /// The conversation that its tasks belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextId>,
    /// How urgent its tasks are; 4 by default.
    #[serde(default)]
    pub priority: Priority,
    /// A task that has not ended this long after it was due expires.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub expires_after: Option<Duration>,
    /// Longest run of one attempt; the pool's `task.timeout` by default.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub timeout: Option<Duration>,
    /// Attempts in all; the pool's `task.max_attempts` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Pairs of text to filter its tasks by; they have `schedule` with its name besides.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub labels: Labels,
    /// What happens while a task of an earlier occurrence has not ended; `skip` by default.
    #[serde(default)]
    pub overlap: Overlap,
    /// What happens to occurrences that were missed; `latest` by default.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Delays each occurrence by up to this, by a time of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub jitter: Option<Duration>,
    /// Whether it submits tasks; true by default.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

impl ScheduleDefinition {
    /// A schedule with nothing but a name, a pool and an input. One of `cron`, `every` and `at` is to be set.
    pub fn new(name: ScheduleName, pool: PoolName, input: Payload) -> Self {
        Self {
            name,
            pool,
            cron: None,
            time_zone: None,
            every: None,
            starts_at: None,
            at: None,
            input,
            tenant: TenantName::default(),
            context: None,
            priority: Priority::default(),
            expires_after: None,
            timeout: None,
            max_attempts: None,
            labels: Labels::new(),
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            jitter: None,
            enabled: true,
        }
    }
}

/// A schedule whose definition is valid.
#[derive(Debug, Clone)]
pub struct Schedule {
    definition: Arc<ScheduleDefinition>,
    timing: Timing,
}

impl Schedule {
    /// Checks a definition. Intervals without a start count from `created_at`.
    ///
    /// # Errors
    /// [`Error::Schedule`] with the field, the value and the remedy.
    pub fn new(definition: ScheduleDefinition, created_at: Timestamp) -> Result<Self, Error> {
        let timing = timing_of(&definition, created_at)?;
        check_durations(&definition)?;
        let schedule = Self { definition: Arc::new(definition), timing };
        schedule.check_occurrences(created_at)?;
        Ok(schedule)
    }

    /// Returns the definition.
    pub fn definition(&self) -> &ScheduleDefinition {
        &self.definition
    }

    /// Returns the first occurrence after a moment, before jitter; `None` if there is none.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.timing.next_after(after)
    }

    pub(crate) const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Returns when an occurrence is due: its time and its jitter, which is the same whoever asks.
    pub fn due(&self, occurrence: Timestamp) -> Timestamp {
        let jitter_us = self.jitter().as_micros();
        let drawn = u128::from(scatter(self.definition.name.as_str(), occurrence));
        let delay = u64::try_from((drawn * jitter_us) >> 64).unwrap_or(0);
        // Whole milliseconds: people read it.
        occurrence + Duration::from_millis(delay / 1_000)
    }

    /// Returns the longest delay of an occurrence.
    pub fn jitter(&self) -> Duration {
        self.definition.jitter.unwrap_or_default()
    }

    /// Returns the times at which its undecided occurrences are due from `now` on, up to `until`: at most `most`.
    pub fn upcoming(&self, decided: Timestamp, now: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        if !self.definition.enabled {
            return Vec::new();
        }
        let after = decided.max(now - self.jitter());
        let due = self.timing.between(after, until).map(|at| self.due(at)).filter(|due| *due > now && *due <= until);
        due.take(most).collect()
    }

    /// Returns the task of an occurrence that is due at `due`.
    pub fn task(&self, due: Timestamp, key: IdempotencyKey) -> NewTask {
        let definition = &*self.definition;
        let mut labels = definition.labels.clone();
        labels.entry(LABEL.to_owned()).or_insert_with(|| definition.name.as_str().to_owned());
        NewTask {
            context: definition.context.as_ref().map(|context| context.of_tenant(&definition.tenant)),
            tenant: definition.tenant.clone(),
            priority: definition.priority,
            run_at: Some(due),
            deadline: definition.expires_after.map(|after| due + after),
            timeout: definition.timeout,
            max_attempts: definition.max_attempts,
            labels,
            idempotency_key: Some(key.of_tenant(&definition.tenant)),
            ..NewTask::new(definition.pool.clone(), definition.input.clone())
        }
    }

    /// Refuses a schedule that never comes, and a jitter that would change the order of occurrences.
    fn check_occurrences(&self, created_at: Timestamp) -> Result<(), Error> {
        let Some(first) = self.next_after(created_at) else {
            // A single time in the past is refused when the schedule is created: it may be stored, with its only run
            // behind it.
            let Some(cron) = &self.definition.cron else { return Ok(()) };
            return Err(Error::Schedule {
                field: "cron",
                value: shortened(cron),
                rule: "no date matches it; correct day and month".to_owned(),
            });
        };
        let jitter = self.jitter();
        if jitter.is_zero() {
            return Ok(());
        }
        let times: Vec<_> =
            self.timing.between(first - Duration::from_micros(1), Timestamp::MAX).take(COMPARED).collect();
        let least = times.windows(2).map(|pair| pair[1].since(pair[0])).min();
        match least.filter(|least| jitter > *least) {
            Some(least) => Err(Error::Schedule {
                field: "jitter",
                value: format_duration(jitter),
                rule: format!("occurrences are {} apart; use that at most", format_duration(least)),
            }),
            None => Ok(()),
        }
    }
}

fn timing_of(definition: &ScheduleDefinition, created_at: Timestamp) -> Result<Timing, Error> {
    let misplaced = |field, value: String, of: &str| Error::Schedule {
        field,
        value,
        rule: format!("it goes with `{of}` only; leave it out"),
    };
    if let (None, Some(zone)) = (&definition.cron, &definition.time_zone) {
        return Err(misplaced("time_zone", shortened(zone), "cron"));
    }
    if let (None, Some(start)) = (definition.every, definition.starts_at) {
        return Err(misplaced("starts_at", start.to_string(), "every"));
    }
    match (&definition.cron, definition.every, definition.at) {
        (Some(cron), None, None) => {
            let zone = definition.time_zone.as_deref().unwrap_or("UTC");
            Ok(Timing::Cron(Box::new(CronTiming::parse(cron, zone)?)))
        }
        (None, Some(every), None) if every < SHORTEST_INTERVAL || every > LONGEST => Err(Error::Schedule {
            field: "every",
            value: format_duration(every),
            rule: format!("use {} to {}", format_duration(SHORTEST_INTERVAL), format_duration(LONGEST)),
        }),
        (None, Some(every), None) => {
            Ok(Timing::Every { every, from: definition.starts_at.unwrap_or(created_at + every) })
        }
        (None, None, Some(at)) => Ok(Timing::At(at)),
        (None, None, None) => Err(one_of_three("none of them")),
        _ => Err(one_of_three("more than one of them")),
    }
}

fn one_of_three(found: &str) -> Error {
    let rule = "give one of `cron`, `every` and `at`".to_owned();
    Error::Schedule { field: "the time of the schedule", value: found.to_owned(), rule }
}

fn check_durations(definition: &ScheduleDefinition) -> Result<(), Error> {
    for (field, span) in [("jitter", definition.jitter), ("expires_after", definition.expires_after)] {
        if let Some(span) = span.filter(|span| *span > LONGEST || (span.is_zero() && field == "expires_after")) {
            let rule = format!("use more than 0s, and {} at most", format_duration(LONGEST));
            return Err(Error::Schedule { field, value: format_duration(span), rule });
        }
    }
    Ok(())
}

/// A number that differs from schedule to schedule and from occurrence to occurrence, and is the same on all nodes and
/// in all versions: FNV-1a over the name, then splitmix64 (Steele, Lea and Flood 2014).
fn scatter(name: &str, occurrence: Timestamp) -> u64 {
    let fnv = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut z = fnv.wrapping_add((occurrence.as_micros() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
