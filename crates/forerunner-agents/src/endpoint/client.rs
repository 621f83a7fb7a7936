//! Sends requests to an endpoint, over a connection that stays open between them.

use std::{rc::Rc, time::Duration};

use awc::{
    ClientResponse, Connector,
    http::{
        StatusCode,
        header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
    },
};
use forerunner_core::format_duration;
use forerunner_runtime::agent::AgentError;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{EndpointSettings, Failure, tls};

/// How long an unused connection stays open. Providers and balancers close theirs after one to several minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(50);
/// Most of the body of a refusal that is read, in bytes.
const MOST_REFUSAL_BYTES: usize = 16 << 10;

/// A connection to an endpoint. It belongs to one agent and to that agent's thread.
pub(crate) struct Client {
    http: awc::Client,
    settings: Rc<EndpointSettings>,
    key: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Client {
    /// Prepares a connection to `url`. It opens with the first request.
    ///
    /// # Errors
    /// When the key cannot be read, or no authority is trusted. The error names the setting.
    pub(crate) fn new(url: &str, settings: &EndpointSettings) -> Result<Self, String> {
        let key = settings.api_key()?;
        let mut connector = Connector::new()
            .timeout(settings.connect_timeout)
            .handshake_timeout(settings.connect_timeout)
            .limit(1)
            .conn_keep_alive(KEEP_ALIVE)
            .conn_lifetime(Duration::from_secs(3_600));
        if url.starts_with("https:") {
            connector = connector.rustls_0_23(tls::client_config(settings.ca_file.as_deref())?.into());
        }
        // The endpoint may think for long, and redirects would carry the key elsewhere.
        let http = awc::Client::builder().connector(connector).disable_timeout().disable_redirects().finish();
        let mut headers = Vec::new();
        for (name, value) in &settings.headers {
            headers.extend(HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok()));
        }
        if let Some(key) = &key {
            let is_bearer = settings.api_key_header.eq_ignore_ascii_case("authorization");
            let value = if is_bearer { format!("Bearer {key}") } else { key.clone() };
            let name = HeaderName::try_from(settings.api_key_header.as_str()).ok();
            headers.extend(name.zip(HeaderValue::try_from(value).ok()));
        }
        Ok(Self { http, settings: Rc::new(settings.clone()), key, headers })
    }

    /// Asks for `url` and returns the status of the answer, whose body is discarded.
    ///
    /// # Errors
    /// When the endpoint cannot be reached, in words for people.
    pub(crate) async fn get(&self, url: &str) -> Result<StatusCode, String> {
        let mut request = self.http.get(url);
        for (name, value) in &self.headers {
            request = request.insert_header((name.clone(), value.clone()));
        }
        let limit = self.settings.stall_timeout;
        let answer = timeout(limit, request.send()).await.map_err(|_| silent(limit))?;
        let mut answer = answer.map_err(|error| self.without_key(&error.to_string()))?;
        // Read to its end, so that the connection can be used again.
        let mut read = 0;
        while let Ok(Some(Ok(piece))) = timeout(limit, answer.next()).await
            && read < self.settings.max_output_bytes
        {
            read += piece.len();
        }
        Ok(answer.status())
    }

    /// Sends a JSON body to `url` and returns the beginning of a successful answer.
    ///
    /// # Errors
    /// What [`Failure::into_error`] says of a refusal. An endpoint that cannot be reached is a fault of the dependency.
    pub(crate) async fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        more: &[(&'static str, String)],
    ) -> Result<Answer, PostError> {
        let mut request = self.http.post(url).insert_header((CONTENT_TYPE, "application/json"));
        request = request.insert_header((ACCEPT, "application/json, text/event-stream"));
        for (name, value) in more {
            request = request.insert_header((*name, value.as_str()));
        }
        for (name, value) in &self.headers {
            request = request.insert_header((name.clone(), value.clone()));
        }
        let limit = self.settings.stall_timeout;
        let unreachable = |why: String| PostError::Attempt(AgentError::dependency(why, None));
        let answer = timeout(limit, request.send_body(body)).await.map_err(|_| unreachable(silent(limit)))?;
        let answer = answer.map_err(|error| {
            unreachable(format!("the endpoint cannot be reached: {}", self.without_key(&error.to_string())))
        })?;
        let status = answer.status();
        let answer =
            Answer { answer, limit, left: self.settings.max_output_bytes, max: self.settings.max_output_bytes };
        if status.is_success() {
            return Ok(answer);
        }
        let headers = answer.answer.headers().clone();
        let body = answer.beginning(MOST_REFUSAL_BYTES).await;
        let mut failure = Failure::new(status, &headers, &body);
        failure.message = self.without_key(&failure.message);
        Err(PostError::Refused(failure))
    }

    /// Hides the key, which an endpoint may repeat when it refuses it.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "(key)"),
            None => text.to_owned(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum PostError {
    /// The endpoint refuses the request.
    Refused(Failure),
    /// The attempt failed otherwise.
    Attempt(AgentError),
}

impl From<PostError> for AgentError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Refused(failure) => failure.into_error(),
            PostError::Attempt(error) => error,
        }
    }
}

/// A successful answer, as it arrives.
pub(crate) struct Answer {
    answer: ClientResponse,
    limit: Duration,
    left: usize,
    max: usize,
}

impl Answer {
    /// Returns whether the answer has this media type, whatever its parameters.
    pub(crate) fn is(&self, media_type: &str) -> bool {
        let header = self.answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let found = header.and_then(|header| header.split(';').next()).map(str::trim);
        found.is_some_and(|found| found.eq_ignore_ascii_case(media_type))
    }

    /// Returns the next piece of the body, or `None` at its end.
    ///
    /// # Errors
    /// When the endpoint breaks off, is silent for too long or sends too much.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, AgentError> {
        let piece = match timeout(self.limit, self.answer.next()).await {
            Err(_) => return Err(AgentError::dependency(silent(self.limit), None)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                return Err(AgentError::dependency(format!("the endpoint broke off its answer: {error}"), None));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        self.left = self.left.checked_sub(piece.len()).ok_or_else(|| {
            AgentError::too_large(format!(
                "the answer has more than {} bytes; ask for less, or raise `max_output_bytes` of the pool's agent",
                self.max
            ))
        })?;
        Ok(Some(piece.to_vec()))
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// As [`Answer::next`].
    pub(crate) async fn whole(mut self) -> Result<Vec<u8>, AgentError> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Reads at most `most` bytes of the body, or what arrives of it.
    async fn beginning(mut self, most: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < most
            && let Ok(Some(piece)) = self.next().await
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(most);
        body
    }
}

fn silent(limit: Duration) -> String {
    format!("the endpoint was silent for {} (stall_timeout)", format_duration(limit))
}
