//! What an operator may set about the HTTP service.

use std::time::Duration;

use forerunner_core::{Error, format_duration, human_duration};
use forerunner_service::{Limits, auth::Network};
use serde::{Deserialize, Serialize};

use crate::{hosts, net::Listen, tls::TlsSettings};

/// Settings of the HTTP service. Each has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The address to listen on, as `host:port` or `unix:PATH`. Port 0 selects a free one.
    pub listen: String,
    /// The address on which `/livez`, `/readyz` and `/metrics` are answered independently of all other load; empty for
    /// nowhere else.
    pub admin_listen: String,
    /// Names by which clients call the node, beside those of loopback: hosts without a port, `*.DOMAIN`, or `*` for any.
    pub hosts: Vec<String>,
    /// Encryption of connections.
    pub tls: TlsSettings,
    /// Proxies whose `X-Forwarded-For` counts: addresses and networks.
    pub trusted_proxies: Vec<Network>,
    /// Threads that serve requests.
    pub workers: usize,
    /// Most open connections, all workers together.
    pub max_connections: usize,
    /// Most open connections of one address; 0 for as many as there may be in all.
    pub max_connections_per_peer: usize,
    /// How long the head of a request may take.
    #[serde(with = "human_duration")]
    pub head_timeout: Duration,
    /// Time limit of a body, and the span over which its rate is measured: in each span an unfinished body must receive
    /// 1 KiB per second.
    #[serde(with = "human_duration")]
    pub body_timeout: Duration,
    /// The span over which the rate is measured at which a client reads its answer: at least 1 KiB per second.
    #[serde(with = "human_duration")]
    pub write_timeout: Duration,
    /// Most bytes of bodies and answers in flight, over all connections.
    pub memory_bytes: usize,
    /// Longest wait for a result that `Prefer: wait` can request.
    #[serde(with = "human_duration")]
    pub max_wait: Duration,
    /// How long an idle connection stays open.
    #[serde(with = "human_duration")]
    pub keep_alive: Duration,
    /// How long requests in flight may take when the service stops. Counted in whole seconds.
    #[serde(with = "human_duration")]
    pub shutdown_grace: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7077".to_owned(),
            admin_listen: String::new(),
            hosts: Vec::new(),
            tls: TlsSettings::default(),
            trusted_proxies: Vec::new(),
            workers: 2,
            max_connections: 10_000,
            max_connections_per_peer: 0,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            memory_bytes: 256 << 20,
            max_wait: Duration::from_secs(50),
            keep_alive: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl HttpSettings {
    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first bad one, its value and the rule.
    pub fn validate(&self) -> Result<(), Error> {
        listens("http.listen", &self.listen)?;
        self.admin_listen().map_or(Ok(()), |listen| listens("http.admin_listen", listen))?;
        self.hosts.iter().try_for_each(|name| is_a_host(name))?;
        self.tls.validate()?;
        // actix-server supports no more workers.
        in_range("http.workers", self.workers, 1, 512)?;
        in_range("http.max_connections", self.max_connections, 1, 1_000_000)?;
        in_range("http.max_connections_per_peer", self.max_connections_per_peer, 0, 1_000_000)?;
        lasts("http.head_timeout", self.head_timeout, Duration::from_millis(100), Duration::from_secs(60))?;
        lasts("http.body_timeout", self.body_timeout, Duration::from_millis(100), Duration::from_secs(600))?;
        lasts("http.write_timeout", self.write_timeout, Duration::from_secs(1), Duration::from_secs(600))?;
        in_range("http.memory_bytes", self.memory_bytes, LEAST_MEMORY_BYTES, usize::MAX >> 1)?;
        lasts("http.max_wait", self.max_wait, Duration::ZERO, Duration::from_secs(600))?;
        lasts("http.keep_alive", self.keep_alive, Duration::from_secs(1), Duration::from_secs(3_600))?;
        lasts("http.shutdown_grace", self.shutdown_grace, Duration::ZERO, Duration::from_secs(3_600))
    }

    /// Returns the limits that apply to every front.
    pub const fn limits(&self) -> Limits {
        Limits { max_wait: self.max_wait, memory_bytes: self.memory_bytes }
    }

    /// Where the admin listener is to be, if there is to be one.
    pub(crate) fn admin_listen(&self) -> Option<&str> {
        Some(self.admin_listen.as_str()).filter(|listen| !listen.is_empty())
    }

    /// Connections of one worker, so that all workers together have the limit, rounded up.
    pub(crate) const fn connections_per_worker(&self) -> usize {
        self.max_connections.div_ceil(self.workers)
    }

    /// Connections of one address, if there is a limit.
    pub(crate) fn connections_per_peer(&self) -> Option<usize> {
        Some(self.max_connections_per_peer).filter(|most| *most > 0)
    }

    /// The grace in whole seconds, rounded up.
    pub(crate) fn grace_secs(&self) -> u64 {
        self.shutdown_grace.as_secs() + u64::from(self.shutdown_grace.subsec_nanos() > 0)
    }
}

/// A batch of the usual size, and its answer.
const LEAST_MEMORY_BYTES: usize = 16 << 20;

fn in_range(key: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Setting { key, value: value.to_string(), rule: format!("use {least} to {most}") })
}

/// Checks only the form: whether the host has an address is known when the service starts.
fn listens(key: &'static str, listen: &str) -> Result<(), Error> {
    if Listen::parse(listen).is_some() {
        return Ok(());
    }
    let rule = "use HOST:PORT, such as 127.0.0.1:7077, or unix:PATH".to_owned();
    Err(Error::Setting { key, value: listen.to_owned(), rule })
}

fn is_a_host(name: &str) -> Result<(), Error> {
    if hosts::is_configurable(name) {
        return Ok(());
    }
    let rule = "use names without scheme and port, such as forerunner.internal, *.example.org, or * for any".to_owned();
    Err(Error::Setting { key: "http.hosts", value: format!("`{name}`"), rule })
}

fn lasts(key: &'static str, value: Duration, least: Duration, most: Duration) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let rule = format!("use {} to {}", format_duration(least), format_duration(most));
    Err(Error::Setting { key, value: format_duration(value), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_their_text_form() {
        let settings = HttpSettings::default();
        settings.validate().unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<HttpSettings>(&text).unwrap(), settings);
    }

    #[test]
    fn the_longest_wait_ends_before_proxies_cut_it() {
        // nginx (`proxy_read_timeout`) and ELB close a silent connection after 60 s.
        assert!(HttpSettings::default().max_wait < std::time::Duration::from_secs(60));
    }

    #[test]
    fn a_bad_setting_is_refused_with_its_name_and_its_range() {
        let error = HttpSettings { workers: 0, ..HttpSettings::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "`http.workers` = 0 is not valid; use 1 to 512");
        for listen in ["nonsense", ":7077", "127.0.0.1:99999", "7077"] {
            let error = HttpSettings { listen: listen.to_owned(), ..HttpSettings::default() }.validate().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`http.listen` = {listen} is not valid")), "{error}");
        }
        HttpSettings { listen: "[::1]:0".to_owned(), ..HttpSettings::default() }.validate().unwrap();
        let error = HttpSettings { body_timeout: Duration::ZERO, ..HttpSettings::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "`http.body_timeout` = 0s is not valid; use 100ms to 10m");
        assert!(serde_json::from_str::<HttpSettings>(r#"{"worker": 3}"#).is_err());
    }

    #[test]
    fn limits_of_workers_and_seconds_are_rounded_up() {
        let settings = HttpSettings {
            workers: 3,
            max_connections: 10,
            shutdown_grace: Duration::from_millis(1_500),
            ..HttpSettings::default()
        };
        assert_eq!(settings.connections_per_worker(), 4);
        assert_eq!(settings.grace_secs(), 2);
    }
}
