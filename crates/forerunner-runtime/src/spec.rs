//! The specification of a pool: the settings of an operator, validated together.

use std::{fmt, sync::Arc, time::Duration};

use forerunner_context::Dictionary;
use forerunner_core::{
    DependencySettings, Error, Isolation, PoolName, RestartPolicy, RetryPolicy, ScaleDownOrder, human_duration,
};
use forerunner_forecast::{FixedSettings, Objective, Policy, PolicyKind, PolicyLimits};
use serde::{Deserialize, Serialize};

use crate::{agent::DriverFactory, status::Mode};

/// Settings of a pool, apart from its name and its agents. Each has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSettings {
    /// Least number of warm agents.
    pub min: u32,
    /// Greatest number of agents.
    pub max: u32,
    /// The highest `max` that a change at run time may set. Without it the limit is twice `max` as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_max: Option<u32>,
    /// Most agents that start at the same time on one node. Without it the kind of agent sets the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_starting: Option<u32>,
    /// Agents that start at the same time on one node, up to `max_starting`. Without it the pool learns it from starts that slow
    /// each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_concurrency: Option<u32>,
    /// The objective: the share of tasks that start on time, and what that means.
    pub on_time: OnTime,
    /// The rule that sizes the pool.
    pub policy: PolicyKind,
    /// Another pool with the same agents. A pool without a history begins with what that one knows of them: durations, pauses of
    /// sessions and the cold start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learn_from: Option<PoolName>,
    /// Whether the pool applies decisions.
    pub mode: Mode,
    /// Time between two decisions.
    #[serde(with = "human_duration")]
    pub tick: Duration,
    /// The assumed time until an agent is ready, before the first measurement.
    #[serde(with = "human_duration")]
    pub cold_start: Duration,
    /// How long an idle agent that is not needed stays before it stops.
    #[serde(with = "human_duration")]
    pub cooldown: Duration,
    /// Which idle agent a scale-down stops first.
    pub scale_down: ScaleDownOrder,
    /// What an agent may run after a task of one tenant.
    pub isolation: Isolation,
    /// Limits of the queue.
    pub queue: QueueSettings,
    /// Defaults of tasks.
    pub task: TaskSettings,
    /// Settings of contexts.
    pub contexts: ContextSettings,
    /// How failed agents are restarted.
    pub restart: RestartPolicy,
    /// When failures are an outage of what the agents depend on.
    pub dependency: DependencySettings,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min: 1,
            max: 16,
            patch_max: None,
            max_starting: None,
            start_concurrency: None,
            on_time: OnTime::default(),
            policy: PolicyKind::default(),
            learn_from: None,
            mode: Mode::Act,
            tick: Duration::from_secs(1),
            cold_start: Duration::from_secs(5),
            cooldown: Duration::from_secs(5),
            scale_down: ScaleDownOrder::default(),
            isolation: Isolation::default(),
            queue: QueueSettings::default(),
            task: TaskSettings::default(),
            contexts: ContextSettings::default(),
            restart: RestartPolicy::default(),
            dependency: DependencySettings::default(),
        }
    }
}

/// The objective: `on_time = { share = 0.99, within = "1s" }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnTime {
    /// Share of tasks that start on time, in (0, 1).
    pub share: f64,
    /// On time means: at most this long from the due time to the start.
    #[serde(with = "human_duration")]
    pub within: Duration,
}

impl Default for OnTime {
    fn default() -> Self {
        Self { share: 0.99, within: Duration::from_secs(1) }
    }
}

/// Limits of a pool's queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Most waiting tasks, including delayed ones.
    pub limit: usize,
    /// Most bytes of the inputs of tasks that have not ended, whether they wait or run.
    pub limit_bytes: u64,
    /// Largest input, in bytes of JSON.
    pub max_input_bytes: usize,
    /// Largest output, in bytes of JSON.
    pub max_output_bytes: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { limit: 100_000, limit_bytes: 4 << 30, max_input_bytes: 1 << 20, max_output_bytes: 4 << 20 }
    }
}

/// Settings of a pool's contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextSettings {
    /// Limit of the bytes of stored contexts. Above it no new context may start; existing ones continue.
    pub limit_bytes: u64,
    /// File of a dictionary that was trained on contexts of such agents; empty for none. The code that builds the pool
    /// reads the file: see [`PoolSpec::dictionary`].
    pub dictionary: String,
}

impl Default for ContextSettings {
    fn default() -> Self {
        Self { limit_bytes: 16 << 30, dictionary: String::new() }
    }
}

/// Defaults of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskSettings {
    /// Longest time of one attempt.
    #[serde(with = "human_duration")]
    pub timeout: Duration,
    /// How long an agent may take to stop after a cancellation or a timeout. After that it is killed.
    #[serde(with = "human_duration")]
    pub cancel_grace: Duration,
    /// Most attempts, at least 1.
    pub max_attempts: u32,
    /// Crashes of an agent or a node after which the task is dead.
    pub max_crashes: u32,
    /// Delay before the second attempt. It doubles with each further attempt, with jitter.
    #[serde(with = "human_duration")]
    pub retry_initial: Duration,
    /// Longest delay before an attempt.
    #[serde(with = "human_duration")]
    pub retry_max: Duration,
}

impl Default for TaskSettings {
    fn default() -> Self {
        let retry = RetryPolicy::default();
        Self {
            timeout: Duration::from_secs(600),
            cancel_grace: Duration::from_secs(5),
            max_attempts: retry.max_attempts,
            max_crashes: retry.max_crashes,
            retry_initial: retry.initial,
            retry_max: retry.max,
        }
    }
}

impl TaskSettings {
    /// Returns the retry policy of a task that does not set its own number of attempts.
    pub fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts.max(1),
            max_crashes: self.max_crashes.max(1),
            initial: self.retry_initial,
            max: self.retry_max,
        }
    }
}

impl PoolSettings {
    /// The limit of a pool's agents.
    pub const MAX_AGENTS: u32 = 100_000;

    /// Validates the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid setting, its value and the rule.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: String, rule: String| Err(Error::Setting { key, value, rule });
        if self.min > self.max {
            return refuse("min", self.min.to_string(), format!("use at most max = {}", self.max));
        }
        if self.max == 0 || self.max > Self::MAX_AGENTS {
            return refuse("max", self.max.to_string(), format!("use 1 to {}", Self::MAX_AGENTS));
        }
        let ceiling = self.ceiling();
        if !(self.max..=Self::MAX_AGENTS).contains(&ceiling) {
            let rule = format!("use max = {} to {}", self.max, Self::MAX_AGENTS);
            return refuse("patch_max", ceiling.to_string(), rule);
        }
        if self.max_starting == Some(0) {
            return refuse("max_starting", "0".into(), "use 1 or more".into());
        }
        if self.start_concurrency == Some(0) {
            let rule = "use 1 or more, or leave it out to let the pool learn it";
            return refuse("start_concurrency", "0".into(), rule.into());
        }
        if let (Some(at_once), Some(most)) = (self.start_concurrency, self.max_starting)
            && at_once > most
        {
            return refuse("start_concurrency", at_once.to_string(), format!("use at most max_starting = {most}"));
        }
        if let PolicyKind::Fixed(FixedSettings { size }) = self.policy
            && !(self.min..=self.max).contains(&size)
        {
            let rule = format!("use a size from min = {} to max = {}", self.min, self.max);
            return refuse("policy", self.policy.to_string(), rule);
        }
        if !(self.on_time.share > 0.0 && self.on_time.share < 1.0) {
            return refuse("on_time.share", self.on_time.share.to_string(), "use more than 0 and less than 1".into());
        }
        if self.tick < Duration::from_millis(50) || self.tick > Duration::from_secs(60) {
            return refuse("tick", forerunner_core::format_duration(self.tick), "use 50ms to 60s".into());
        }
        if self.queue.limit == 0 {
            return refuse("queue.limit", "0".into(), "use 1 or more".into());
        }
        if self.queue.limit_bytes < self.queue.max_input_bytes as u64 {
            let rule = format!("use at least queue.max_input_bytes = {}", self.queue.max_input_bytes);
            return refuse("queue.limit_bytes", self.queue.limit_bytes.to_string(), rule);
        }
        if self.contexts.limit_bytes == 0 {
            return refuse("contexts.limit_bytes", "0".into(), "use 1 or more".into());
        }
        if self.task.max_attempts == 0 {
            return refuse("task.max_attempts", "0".into(), "use 1 or more".into());
        }
        if self.task.timeout.is_zero() {
            return refuse("task.timeout", "0s".into(), "use more than 0s".into());
        }
        self.dependency.validate()?;
        self.restart.validate()
    }

    /// Returns the highest `max` that a change at run time may set.
    pub fn ceiling(&self) -> u32 {
        self.patch_max.unwrap_or_else(|| self.max.saturating_mul(2).min(Self::MAX_AGENTS.max(self.max)))
    }

    /// Returns the limits for a policy.
    pub fn limits(&self) -> PolicyLimits {
        PolicyLimits {
            min: self.min,
            max: self.max,
            cold_start_s: self.cold_start.as_secs_f64(),
            tick_s: self.tick.as_secs_f64(),
            objective: Objective { share: self.on_time.share, within_s: self.on_time.within.as_secs_f64() },
        }
    }
}

/// A pool to run: its name, its settings, and the factory of its agents.
#[derive(Clone)]
pub struct PoolSpec {
    /// Its name.
    pub name: PoolName,
    /// Its settings.
    pub settings: PoolSettings,
    /// Starts its agents.
    pub agents: Arc<dyn DriverFactory>,
    /// Creates its policy, instead of the one that the settings name.
    pub policy: Option<Arc<PolicyFactory>>,
    /// The dictionary for its contexts, trained on such contexts.
    pub dictionary: Option<Dictionary>,
}

/// Creates a policy for a pool's bounds; called again when they change.
pub type PolicyFactory = dyn Fn(PolicyLimits) -> Box<dyn Policy> + Send + Sync;

impl PoolSpec {
    /// Validates the settings and creates the specification.
    ///
    /// # Errors
    /// [`Error::Name`] or [`Error::Setting`].
    pub fn new(name: &str, settings: PoolSettings, agents: Arc<dyn DriverFactory>) -> Result<Self, Error> {
        settings.validate()?;
        Ok(Self { name: PoolName::new(name)?, settings, agents, policy: None, dictionary: None })
    }

    /// Sizes the pool with a custom policy.
    #[must_use]
    pub fn policy(mut self, make: impl Fn(PolicyLimits) -> Box<dyn Policy> + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(make));
        self
    }
}

impl PoolSpec {
    /// Compresses the changes of contexts with a dictionary that was trained on contexts of such agents.
    ///
    /// The store has the dictionary for as long as a stored context needs it. It contains text of its training data.
    #[must_use]
    pub fn dictionary(mut self, dictionary: Dictionary) -> Self {
        self.dictionary = Some(dictionary);
        self
    }
}

impl fmt::Debug for PoolSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSpec")
            .field("name", &self.name)
            .field("agents", &self.agents.kind())
            .finish_non_exhaustive()
    }
}
