//! Agents that do what their input says.

use std::sync::Arc;

use forerunner_core::Payload;
use forerunner_runtime::agent::{AgentContext, AgentError, Driver, DriverFactory, Job, Seat};
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

pub struct Scripted;

impl Scripted {
    pub fn factory() -> Arc<dyn DriverFactory> {
        Arc::new(Self)
    }
}

impl DriverFactory for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn start(&self, _seat: Seat) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Driver>) })
    }
}

impl Driver for Scripted {
    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            let script: Value = job.input.read()?;
            match script["do"].as_str() {
                Some("fail") => return Err(AgentError::fatal("told to fail")),
                Some("hang") => {
                    cx.cancelled().await;
                    return Err(AgentError::cancelled());
                }
                Some("remember") => cx.push(&script)?,
                Some("talk") => {
                    cx.progress("half way");
                    cx.output("4");
                    cx.output("2");
                }
                _ => {}
            }
            Ok(Payload::from_value(&json!({ "done": script }))?)
        })
    }
}
