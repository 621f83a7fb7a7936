//! Runs attempts as requests to the endpoint.

use std::{sync::Arc, time::Duration};

use forerunner_core::{Error, Payload, format_duration};
use forerunner_runtime::agent::{
    AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest, items::json_item,
};
use futures_util::future::LocalBoxFuture;
use tokio::time::{sleep, timeout};

use super::{
    HttpSpec,
    message::{self, Change, Message},
};
use crate::{
    AgentKind as _,
    endpoint::{Answer, Client, EventStream},
};

/// How long to wait between two questions for the endpoint's health.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// Starts agents that are permits for requests.
pub(super) struct HttpFactory {
    spec: Arc<HttpSpec>,
}

impl HttpFactory {
    /// Checks the settings and wraps them.
    ///
    /// # Errors
    /// What [`AgentKind::validate`](crate::AgentKind::validate) refuses.
    pub(super) fn new(spec: HttpSpec) -> Result<Self, Error> {
        spec.validate()?;
        Ok(Self { spec: Arc::new(spec) })
    }
}

impl DriverFactory for HttpFactory {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let spec = Arc::clone(&self.spec);
        Box::pin(async move {
            let client = Client::new(&spec.url, &spec.endpoint).map_err(AgentError::retryable)?;
            if let Some(url) = &spec.health_url {
                wait_for_health(url, &spec).await?;
            }
            Ok(Box::new(HttpDriver { spec, client }) as Box<dyn Driver>)
        })
    }
}

/// Asks until the endpoint answers 2xx.
async fn wait_for_health(url: &str, spec: &HttpSpec) -> Result<(), AgentError> {
    let client = Client::new(url, &spec.endpoint).map_err(AgentError::retryable)?;
    let mut last = "no answer".to_owned();
    let healthy = async {
        loop {
            match client.get(url).await {
                Ok(status) if status.is_success() => return,
                Ok(status) => last = format!("it answers {status}"),
                Err(why) => last = why,
            }
            sleep(HEALTH_INTERVAL).await;
        }
    };
    let ended = timeout(spec.start_timeout, healthy).await;
    ended.map_err(|_| {
        let limit = format_duration(spec.start_timeout);
        AgentError::retryable(format!("{url} was not ready within {limit} (start_timeout): {last}"))
    })
}

/// A permit for one request at a time.
struct HttpDriver {
    spec: Arc<HttpSpec>,
    client: Client,
}

impl HttpDriver {
    async fn attempt(&self, request: &AttemptRequest, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        let body = message::body(request, cx)?;
        // The same for each attempt of the task, so that an endpoint may answer with what it did already.
        let key = ("idempotency-key", request.task.to_string());
        let trace = request.traceparent.clone().map(|trace| ("traceparent", trace));
        let headers: Vec<_> = [key].into_iter().chain(trace).collect();
        let answer = self.client.post(&self.spec.url, body, &headers).await?;
        let (output, change) = match answer.is("text/event-stream") {
            true => read_stream(answer, cx).await?,
            false => match message::read(&answer.whole().await?)? {
                Message::Result { output, change } => (output, change),
                Message::Progress(_) | Message::Chunk(_) => return Err(no_result()),
            },
        };
        apply(change, cx)?;
        Ok(output)
    }
}

async fn read_stream(mut answer: Answer, cx: &AgentContext) -> Result<(Payload, Change), AgentError> {
    let mut events = EventStream::default();
    let mut result = None;
    while let Some(piece) = answer.next().await? {
        for data in events.feed(&piece) {
            match message::read(&data)? {
                Message::Progress(text) => cx.progress(text),
                Message::Chunk(text) => cx.output(text),
                Message::Result { output, change } => result = Some((output, change)),
            }
        }
    }
    result.ok_or_else(no_result)
}

fn apply(change: Change, cx: &mut AgentContext) -> Result<(), AgentError> {
    match change {
        Change::None => Ok(()),
        Change::Append(items) => {
            items.into_iter().try_for_each(|item| cx.push_item(json_item(cx.items().len(), item)?))
        }
        Change::Replace(items) => {
            let items = items.into_iter().enumerate().map(|(index, item)| json_item(index, item));
            let items: Vec<_> = items.collect::<Result<_, _>>()?;
            cx.replace_items(items)
        }
    }
}

fn no_result() -> AgentError {
    AgentError::dependency("the endpoint ended its answer without `output` or `error`", None)
}

impl Driver for HttpDriver {
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
