//! Runs attempts as requests to the endpoint.

use std::{sync::Arc, time::Duration};

use awc::http::StatusCode;
use forerunner_core::{Error, Payload, format_duration};
use forerunner_runtime::agent::{
    AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest, items::json_item,
};
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    OpenAiSpec, Wire,
    chat::ChatAnswer,
    limiter::Limiter,
    request::Ask,
    responses::{ResponsesAnswer, error_of},
    turn::Turn,
};
use crate::{
    AgentKind as _,
    endpoint::{Answer, Client, EventStream, PostError},
};

/// How long an attempt waits for its turn at the provider. A longer wait is left to the queue, which then gives out fewer
/// tasks.
const LONGEST_TURN: Duration = Duration::from_secs(2);
/// Longest time for which the provider is not asked again at its own word.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Bytes of a request in a token, about. Only for the estimate before the provider counts.
const BYTES_PER_TOKEN: u64 = 4;

/// Starts agents that are permits for requests.
pub(super) struct OpenAiFactory {
    spec: Arc<OpenAiSpec>,
    limiter: Arc<Mutex<Limiter>>,
}

impl OpenAiFactory {
    /// Checks the settings and wraps them.
    ///
    /// # Errors
    /// What [`AgentKind::validate`](crate::AgentKind::validate) refuses.
    pub(super) fn new(spec: OpenAiSpec) -> Result<Self, Error> {
        spec.validate()?;
        let limiter = Limiter::new(spec.requests_per_minute, spec.tokens_per_minute, Instant::now());
        Ok(Self { spec: Arc::new(spec), limiter: Arc::new(Mutex::new(limiter)) })
    }
}

impl DriverFactory for OpenAiFactory {
    fn kind(&self) -> &'static str {
        "openai"
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let (spec, limiter) = (Arc::clone(&self.spec), Arc::clone(&self.limiter));
        Box::pin(async move {
            let client = Client::new(&spec.base_url, &spec.endpoint).map_err(AgentError::retryable)?;
            check_health(&spec, &client).await?;
            Ok(Box::new(OpenAiDriver { spec, limiter, client }) as Box<dyn Driver>)
        })
    }
}

/// Opens the connection, and finds out whether the endpoint accepts the key.
async fn check_health(spec: &OpenAiSpec, client: &Client) -> Result<(), AgentError> {
    if spec.health_path.is_empty() {
        return Ok(());
    }
    let url = spec.url(&spec.health_path);
    let status = match timeout(spec.start_timeout, client.get(&url)).await {
        Err(_) => {
            let limit = format_duration(spec.start_timeout);
            return Err(AgentError::retryable(format!("{url} did not answer within {limit} (start_timeout)")));
        }
        Ok(status) => status.map_err(|why| AgentError::retryable(format!("{url} cannot be reached: {why}")))?,
    };
    match status {
        // Many servers have no list of models: it is enough that they answer.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(AgentError::retryable(format!(
            "{url} answers {status}; check `api_key_env` or `api_key_file` of the pool's agent"
        ))),
        status if status.is_success() => Ok(()),
        status => Err(AgentError::retryable(format!("{url} answers {status}"))),
    }
}

/// A permit for one request at a time.
struct OpenAiDriver {
    spec: Arc<OpenAiSpec>,
    limiter: Arc<Mutex<Limiter>>,
    client: Client,
}

impl OpenAiDriver {
    async fn attempt(&self, request: &AttemptRequest, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        let ask = Ask::of_input(&request.input)?;
        let body = ask.body(&self.spec, cx.items().iter().map(|item| item.bytes()), cx.id())?;
        let estimated = body.len() as u64 / BYTES_PER_TOKEN;
        self.wait_for_turn(estimated).await?;
        let answer = self.send(body).await?;
        let turn = match answer.is("text/event-stream") {
            true => self.read_stream(answer, cx).await?,
            false => self.read_whole(answer).await?,
        };
        if let Some(usage) = turn.usage {
            self.limiter.lock().correct(estimated, usage.input_tokens + usage.output_tokens);
            usage.counts().for_each(|(name, count)| cx.add_usage(name, count));
        }
        if cx.id().is_some() {
            for item in ask.messages.iter().chain(&turn.items) {
                cx.push_item(json_item(cx.items().len(), item.to_string())?)?;
            }
        }
        Payload::mended_value(&turn).map_err(|error| AgentError::fatal(error.to_string()))
    }

    /// Waits until the limits of the provider admit the request.
    async fn wait_for_turn(&self, tokens: u64) -> Result<(), AgentError> {
        let deadline = Instant::now() + LONGEST_TURN;
        loop {
            let now = Instant::now();
            let Err(wait) = self.limiter.lock().reserve(tokens, now) else { return Ok(()) };
            if now + wait > deadline {
                let message = "the provider's limit is used up (requests_per_minute, tokens_per_minute, Retry-After)";
                return Err(AgentError::dependency(message, Some(wait)));
            }
            sleep(wait).await;
        }
    }

    async fn send(&self, body: Vec<u8>) -> Result<Answer, AgentError> {
        let sent = self.client.post(&self.spec.url(self.spec.wire.path()), body, &[]).await;
        if let Err(PostError::Refused(failure)) = &sent
            && let Some(wait) = failure.retry_after
        {
            self.limiter.lock().close(Instant::now() + wait.min(LONGEST_RETRY_AFTER));
        }
        Ok(sent?)
    }

    async fn read_stream(&self, mut answer: Answer, cx: &AgentContext) -> Result<Turn, AgentError> {
        let mut events = EventStream::default();
        let (mut chat, mut responses) = (ChatAnswer::default(), ResponsesAnswer::default());
        while let Some(piece) = answer.next().await? {
            for data in events.feed(&piece) {
                if data == b"[DONE]" {
                    continue;
                }
                let event: Value = serde_json::from_slice(&data).map_err(|error| malformed(&error.to_string()))?;
                if let Some(error) = error_of(&event) {
                    return Err(failed(&error));
                }
                let text = match self.spec.wire {
                    Wire::Chat => chat.feed(&event),
                    Wire::Responses => responses.feed(&event),
                };
                if !text.is_empty() {
                    cx.output(text);
                }
            }
        }
        let turn = match self.spec.wire {
            Wire::Chat => chat.finish(),
            Wire::Responses => responses.finish(),
        };
        turn.ok_or_else(|| AgentError::dependency("the endpoint ended its stream before the answer was complete", None))
    }

    async fn read_whole(&self, answer: Answer) -> Result<Turn, AgentError> {
        let body = answer.whole().await?;
        let value: Value = serde_json::from_slice(&body).map_err(|error| malformed(&error.to_string()))?;
        if let Some(error) = error_of(&value) {
            return Err(failed(&error));
        }
        let turn = match self.spec.wire {
            Wire::Chat => ChatAnswer::whole(&value),
            Wire::Responses => ResponsesAnswer::whole(&value),
        };
        turn.ok_or_else(|| malformed("it has no answer"))
    }
}

/// An error that the endpoint reports within a successful answer.
fn failed(error: &Value) -> AgentError {
    let message = error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
    AgentError::dependency(format!("the endpoint failed: {message}"), None)
}

fn malformed(why: &str) -> AgentError {
    AgentError::dependency(
        format!("the endpoint's answer makes no sense: {why}; check `base_url` and `wire` of the pool's agent"),
        None,
    )
}

impl Driver for OpenAiDriver {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            let cancel = cx.cancellation();
            // The request that is dropped closes its connection, by which the endpoint learns of it.
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(AgentError::cancelled()),
                result = self.attempt(request, cx) => result,
            }
        })
    }
}
