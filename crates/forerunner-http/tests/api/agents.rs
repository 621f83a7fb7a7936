//! Agents whose behaviour is in their input.

use std::{sync::Arc, time::Duration};

use forerunner_core::{Payload, Question, RequestKind};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest};
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

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Driver>) })
    }
}

impl Driver for Scripted {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            let script: Value = request.input.read()?;
            match script["do"].as_str() {
                Some("fail") => return Err(AgentError::fatal("told to fail")),
                Some("hang") => {
                    cx.cancelled().await;
                    return Err(AgentError::cancelled());
                }
                Some("remember") => cx.push(&script)?,
                Some("ask") => match request.requests.last().and_then(|asked| asked.answer.clone()) {
                    Some(answer) => return Ok(answer),
                    None => cx.ask(question()),
                },
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

fn question() -> Question {
    Question {
        kind: RequestKind::Question,
        prompt: "which colour?".to_owned(),
        options: Vec::new(),
        schema: None,
        details: None,
        fingerprint: "colour".to_owned(),
        timeout: Duration::from_secs(600),
    }
}
