//! The service of the demo, as the laboratory sees it: over HTTP, like any client.

use anyhow::Context;
use forerunner_console::fields;
use forerunner_core::Clock;
use forerunner_lab::demo::{self, PoolRole, Submission};
use forerunner_runtime::SystemClock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::stage::pool;
use crate::{
    client::{Call, Client},
    commands::serve::Service,
};

/// Tasks read back at once.
const PAGE: usize = 1_000;

/// A client of a service that runs in this process.
pub struct HttpService<'a> {
    client: Client,
    service: &'a Service,
}

impl<'a> HttpService<'a> {
    /// Prepares the client.
    pub fn new(service: &'a Service) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(&service.address, None, None, None)?, service })
    }
}

impl demo::Service for HttpService<'_> {
    fn store(&self) -> &str {
        self.service.store
    }

    async fn pool(&self, which: PoolRole) -> anyhow::Result<Value> {
        Ok(self.client.get(format!("/v1/pools/{}", pool(which))).await?.into_values())
    }

    /// The input sets the agent's working time, and what it adds to the context.
    async fn submit(&self, which: PoolRole, task: &Submission) -> anyhow::Result<Value> {
        let mut body = json!({ "input": { "service_s": task.service_s } });
        if let Some(due_in) = task.due_in.filter(|due_in| !due_in.is_zero()) {
            body["run_at"] = json!(SystemClock.now() + due_in);
        }
        if let Some((context, item)) = &task.turn {
            body["context"] = json!(context);
            body["input"]["context"] = json!({ "append": [item] });
        }
        Ok(self.client.send(Call::post(format!("/v1/pools/{}/tasks", pool(which))).body(&body)).await?.into_values())
    }

    async fn task(&self, id: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("/v1/tasks/{id}")).await?;
        // Outputs stay text, so that no number of them changes.
        let output = answer.members().get("output").and_then(|text| serde_json::from_str(text.get()).ok());
        let mut task = answer.into_values();
        task["output"] = output.unwrap_or_default();
        Ok(task)
    }

    async fn tasks(&self, which: PoolRole) -> anyhow::Result<Vec<Value>> {
        let mut tasks = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.client.get(format!("/v1/tasks?pool={}&limit={PAGE}{cursor}", pool(which))).await?;
            tasks.extend_from_slice(fields::list(&page, "tasks"));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(tasks),
            }
        }
    }

    async fn agents(&self, which: PoolRole) -> anyhow::Result<Vec<Value>> {
        let listed = self.client.get(format!("/v1/pools/{}/agents", pool(which))).await?;
        Ok(fields::list(&listed, "agents").to_vec())
    }

    fn kill(&self, pid: u32) -> anyhow::Result<()> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).context("an agent has a process")?;
        kill_process(process, Signal::KILL).with_context(|| format!("process {pid} cannot be killed"))
    }
}
