//! The configuration as values that are valid because they exist.

use std::{collections::BTreeMap, time::Duration};

use clap::ValueEnum;
use forerunner_agents::{AgentSpec, KINDS};
use forerunner_core::{Error, PoolName, format_duration, human_duration};
use forerunner_forecast::PolicyKind;
use forerunner_http::{HttpSettings, TlsSettings};
use forerunner_postgres::PostgresOptions;
use forerunner_runtime::{OnTime, PoolSettings, QueueSettings, TaskSettings};
use forerunner_service::auth::JwtSettings;
use forerunner_store::StoreError;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::{AuthConfig, schema::Node, secret};
use crate::store;

/// All settings of `forerunner serve`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Config {
    /// The node as a whole.
    pub node: NodeConfig,
    /// The store of tasks, results and contexts.
    pub store: StoreConfig,
    /// The HTTP service.
    pub http: HttpSettings,
    /// Who may call it.
    pub auth: AuthConfig,
    /// What is logged.
    pub log: LogConfig,
    /// How the service ends.
    pub shutdown: ShutdownConfig,
    /// The pools by name.
    pub pools: BTreeMap<PoolName, PoolConfig>,
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Threads that pools are spread over; the actors of one pool share one.
    pub threads: usize,
    /// How long the store has ended tasks.
    #[serde(with = "human_duration")]
    pub retention: Duration,
    /// How long the store has contexts that no task uses; without end if it is zero.
    #[serde(with = "human_duration")]
    pub context_retention: Duration,
    /// Most bytes of contexts in the node's cache, beside those in its agents.
    pub context_cache_bytes: usize,
    /// The greatest depth of a task that names its parent.
    pub max_depth: u32,
    /// Most schedules in the store.
    pub max_schedules: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let (retention, context_retention) = (Duration::from_secs(7 * 86_400), Duration::ZERO);
        Self {
            threads: 2,
            retention,
            context_retention,
            context_cache_bytes: 256 << 20,
            max_depth: 16,
            max_schedules: 1_000,
        }
    }
}

impl NodeConfig {
    /// Checks the settings.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_schedules > 10_000 {
            let (value, rule) = (self.max_schedules.to_string(), "use 10000 at most: nodes poll them".to_owned());
            return Err(Error::Setting { key: "node.max_schedules", value, rule });
        }
        if (1..=1_024).contains(&self.threads) {
            return Ok(());
        }
        let (value, rule) = (self.threads.to_string(), "use 1 to 1024".to_owned());
        Err(Error::Setting { key: "node.threads", value, rule })
    }
}

/// The store of tasks, results and contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:PATH`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `memory:` for a store that forgets.
    pub url: String,
    /// A file with the address, unless empty: a secret that an orchestrator provides.
    pub url_file: String,
    /// Most connections to PostgreSQL.
    pub connections: usize,
    /// Longest time to get one.
    #[serde(with = "human_duration")]
    pub connect_timeout: Duration,
    /// Longest time of each step of a transaction.
    #[serde(with = "human_duration")]
    pub call_timeout: Duration,
    /// Time between two rounds of vacuuming.
    #[serde(with = "human_duration")]
    pub vacuum_every: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let PostgresOptions { connections, connect_timeout, call_timeout, vacuum_every, .. } =
            PostgresOptions::default();
        let (url, url_file) = ("sqlite:forerunner.db".to_owned(), String::new());
        Self { url, url_file, connections, connect_timeout, call_timeout, vacuum_every }
    }
}

impl StoreConfig {
    /// Checks the form of the address; the rest is checked when it is opened.
    ///
    /// Only the scheme is shown, and the path of a file: an address may carry a password, or be one.
    pub fn validate(&self) -> Result<(), Error> {
        let kind = self.url.split_once(':').map(|(kind, _)| kind);
        let rule = match store::check_address(&self.url) {
            Ok(()) => return self.validate_postgres(),
            Err(StoreError::Address { reason, .. }) if kind == Some("sqlite") => reason,
            Err(_) => "use sqlite:PATH, memory: or the address of a PostgreSQL".to_owned(),
        };
        let is_known =
            matches!(kind, Some("sqlite" | "memory" | "postgres" | "postgresql")) || self.url.contains("://");
        let shown = kind.filter(|_| is_known).map(|kind| format!("{kind}:…"));
        let value = shown.unwrap_or_else(|| secret::HIDDEN.to_owned());
        Err(Error::Setting { key: "store.url", value, rule })
    }

    fn validate_postgres(&self) -> Result<(), Error> {
        // Two: one that writes, and one for calls that must not wait for it.
        if !(2..=1_000).contains(&self.connections) {
            let (value, rule) = (self.connections.to_string(), "use 2 to 1000".to_owned());
            return Err(Error::Setting { key: "store.connections", value, rule });
        }
        let limits = [
            ("store.connect_timeout", self.connect_timeout, Duration::from_millis(100)..=Duration::from_secs(60)),
            ("store.call_timeout", self.call_timeout, Duration::from_millis(100)..=Duration::from_secs(60)),
            ("store.vacuum_every", self.vacuum_every, Duration::from_secs(1)..=Duration::from_secs(86_400)),
        ];
        for (key, value, allowed) in limits {
            if !allowed.contains(&value) {
                let [least, most] = [allowed.start(), allowed.end()].map(|bound| format_duration(*bound));
                return Err(Error::Setting {
                    key,
                    value: format_duration(value),
                    rule: format!("use {least} to {most}"),
                });
            }
        }
        Ok(())
    }

    /// How a store in PostgreSQL is opened.
    pub fn postgres(&self) -> PostgresOptions {
        PostgresOptions {
            connections: self.connections,
            connect_timeout: self.connect_timeout,
            call_timeout: self.call_timeout,
            vacuum_every: self.vacuum_every,
            ..PostgresOptions::default()
        }
    }
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or filters such as `info,forerunner_runtime=debug`.
    pub level: String,
    /// How a line is written.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

impl LogConfig {
    /// Validates the filters: those without a `=` must be levels.
    ///
    /// The filter itself would accept any other word, such as a misspelled level, as the name of a part of the program,
    /// and log nothing but that.
    pub fn validate(&self) -> Result<(), Error> {
        let is_level = |filter: &str| LEVELS.iter().any(|level| filter.eq_ignore_ascii_case(level));
        let is_filter = |filter: &str| filter.contains(['=', '[']) && EnvFilter::try_new(filter).is_ok();
        let mut filters = self.level.split(',').filter(|filter| !filter.is_empty()).peekable();
        let fault = match filters.peek() {
            None => Some("it is empty".to_owned()),
            Some(_) => filters
                .find(|filter| !(is_level(filter) || is_filter(filter)))
                .map(|word| format!("`{word}` is neither a level nor a filter")),
        };
        let Some(fault) = fault else { return Ok(()) };
        let rule = format!("{fault}; use {}, or filters such as info,forerunner_runtime=debug", LEVELS.join(", "));
        Err(Error::Setting { key: "log.level", value: format!("`{}`", self.level), rule })
    }
}

/// Words that a filter of the log may have without naming a part of the program.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the service ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownConfig {
    /// How long running tasks may continue after SIGTERM before they are released.
    #[serde(with = "human_duration")]
    pub grace: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(30) }
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolConfig {
    /// What its agents are.
    pub agent: AgentSpec,
    /// Everything else.
    #[serde(flatten)]
    pub settings: PoolSettings,
}

/// The values of the claim with the role are the operator's.
fn jwt_schema() -> Node {
    Node::of::<JwtSettings>().with("roles", Node::Named(Box::new(Node::Value)))
}

/// Returns every key there is.
pub fn schema() -> Node {
    Node::table([
        ("node", Node::of::<NodeConfig>()),
        ("store", Node::of::<StoreConfig>()),
        ("http", Node::of::<HttpSettings>().with("tls", Node::of::<TlsSettings>())),
        ("auth", Node::of::<AuthConfig>().with("jwt", jwt_schema())),
        ("log", Node::of::<LogConfig>()),
        ("shutdown", Node::of::<ShutdownConfig>()),
        ("pools", Node::Named(Box::new(pool_schema()))),
    ])
}

/// The settings of one policy.
pub(super) fn policy_schema(kind: &str) -> Option<Node> {
    // A policy whose settings have no defaults has one number.
    let policy = kind.parse::<PolicyKind>().or_else(|_| format!("{kind}:1").parse());
    let template = serde_json::to_value(policy.ok()?).expect("settings are numbers and truth values");
    Some(Node::of_template(&template))
}

/// The settings of all policies: the keys that are allowed where none is named.
fn any_policy() -> Node {
    PolicyKind::NAMES.iter().copied().filter_map(policy_schema).fold(Node::table([]), Node::or)
}

/// The settings of all kinds of agents.
fn any_agent() -> Node {
    let kinds = KINDS.iter().map(|kind| Node::of_template(&(kind.template)()));
    kinds.fold(Node::table([("kind", Node::Value)]), Node::or)
}

fn pool_schema() -> Node {
    Node::of::<PoolSettings>()
        .with("agent", any_agent())
        .with("policy", any_policy())
        .with("on_time", Node::of::<OnTime>())
        .with("queue", Node::of::<QueueSettings>())
        .with("task", Node::of::<TaskSettings>())
        .with("contexts", Node::of::<forerunner_runtime::ContextSettings>())
        .with("restart", Node::of::<forerunner_core::RestartPolicy>())
        .with("dependency", Node::of::<forerunner_core::DependencySettings>())
}
