//! The service of the demo, as the laboratory sees it: over HTTP, like any client.

use forerunner_console::fields;
use forerunner_lab::demo;
use serde_json::{Value, json};

use super::stage::POOL;
use crate::{
    client::{Call, Client},
    commands::serve::Service,
};

/// Tasks read back at once.
const PAGE: usize = 1_000;

/// A client of a service that runs in this process.
pub struct OverHttp<'a> {
    client: Client,
    service: &'a Service,
}

impl<'a> OverHttp<'a> {
    /// Prepares the client.
    pub fn new(service: &'a Service) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(&service.address)?, service })
    }
}

impl demo::Service for OverHttp<'_> {
    fn address(&self) -> &str {
        &self.service.address
    }

    fn store(&self) -> &str {
        self.service.store
    }

    async fn pool(&self) -> anyhow::Result<Value> {
        Ok(self.client.get(format!("/v1/pools/{POOL}")).await?.into_values())
    }

    /// The input sets the agent's working time.
    async fn submit(&self, service_s: f64) -> anyhow::Result<()> {
        let body = json!({ "input": { "service_s": service_s } });
        self.client.send(Call::post(format!("/v1/pools/{POOL}/tasks")).body(&body)).await.map(drop)
    }

    async fn tasks(&self) -> anyhow::Result<Vec<Value>> {
        let mut tasks = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.client.get(format!("/v1/tasks?pool={POOL}&limit={PAGE}{cursor}")).await?;
            tasks.extend_from_slice(fields::list(&page, "tasks"));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(tasks),
            }
        }
    }
}
