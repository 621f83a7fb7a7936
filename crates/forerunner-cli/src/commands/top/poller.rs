//! Requests all data of a frame: one JSON value, which is also the output of `--output json`.

use std::time::Duration;

use forerunner_console::fields;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    client::{Client, Problem, encode},
    exit::NotReachable,
};

/// Time limit of all answers of a poll.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of requested decisions: more than a screen has lines for.
const DECISIONS: usize = 50;

/// Number of requested schedules. Their answers contain inputs, and come with each poll.
const SCHEDULES: usize = 50;

/// Polls one service.
pub struct Poller {
    client: Client,
    /// The pool in depth; the first one if there is none.
    pool: Option<String>,
}

impl Poller {
    /// Polls the service of `client`.
    pub const fn new(client: Client, pool: Option<String>) -> Self {
        Self { client, pool }
    }

    /// Selects the pool after the current one, or the one before it.
    pub fn choose(&mut self, seen: &Value, after: bool) {
        let names: Vec<&str> = fields::list(seen, "pools").iter().filter_map(|pool| pool["name"].as_str()).collect();
        if names.is_empty() {
            return;
        }
        let at = names.iter().position(|name| seen["pool"] == *name).unwrap_or(0);
        let step = if after { 1 } else { names.len() - 1 };
        self.pool = Some(names[(at + step) % names.len()].to_owned());
    }

    /// Requests all data of a frame.
    ///
    /// # Errors
    /// [`NotReachable`] without an answer in time, [`Problem`] when the service rejects a request.
    pub async fn poll(&self) -> anyhow::Result<Value> {
        let silent = || NotReachable {
            server: self.client.server().to_owned(),
            reason: format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()),
        };
        timeout(REQUEST_TIMEOUT, self.ask()).await.map_err(|_| silent())?
    }

    async fn ask(&self) -> anyhow::Result<Value> {
        let pools = self.list("/v1/pools", "pools").await?;
        let nodes = self.list("/v1/nodes", "nodes").await?;
        let first = || pools.as_array().and_then(|pools| pools.first()?["name"].as_str().map(str::to_owned));
        let pool = self.pool.clone().or_else(first);
        let mut seen = json!({
            "server": self.client.server(),
            "ready": self.readiness().await?,
            "nodes": nodes,
            "pools": pools,
            "pool": pool,
            "schedules": self.list(&format!("/v1/schedules?limit={SCHEDULES}"), "schedules").await?,
        });
        if let Some(pool) = pool {
            let base = format!("/v1/pools/{}", encode(&pool));
            seen["history"] = self.client.get(format!("{base}/history?minutes=15")).await?.into_values();
            seen["decisions"] = self.list(&format!("{base}/decisions?limit={DECISIONS}"), "decisions").await?;
            seen["agents"] = self.list(&format!("{base}/agents"), "agents").await?;
        }
        Ok(seen)
    }

    async fn list(&self, path: &str, name: &str) -> anyhow::Result<Value> {
        Ok(self.client.get(path).await?.into_values()[name].take())
    }

    /// A node that accepts no traffic still shows its state.
    async fn readiness(&self) -> anyhow::Result<Value> {
        match self.client.get("/readyz").await {
            Ok(ready) => Ok(ready.into_values()),
            Err(error) => match error.downcast_ref::<Problem>() {
                Some(problem) => Ok(json!({ "status": "not-ready", "detail": problem.detail })),
                None => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_chosen_in_a_circle() {
        let pools = json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }]);
        let mut poller = Poller::new(Client::new("http://127.0.0.1:1", None, None, None).expect("an address"), None);
        let mut chosen = |at: &str, after| {
            poller.choose(&json!({ "pools": pools, "pool": at }), after);
            poller.pool.clone().expect("there are some")
        };
        assert_eq!(
            [chosen("a", true), chosen("c", true), chosen("a", false), chosen("c", false)],
            ["b", "a", "c", "b"]
        );
    }

    #[test]
    fn where_there_are_no_pools_none_is_chosen() {
        let mut poller = Poller::new(Client::new("http://127.0.0.1:1", None, None, None).expect("an address"), None);
        poller.choose(&json!({ "pools": [] }), true);
        assert_eq!(poller.pool, None);
    }
}
