//! The service as its client sees it: JSON in, JSON out, problems as errors.

use std::{fmt, path::Path, time::Duration};

use actix_web::http::{Method, StatusCode, Uri, header};
use anyhow::Context;
use awc::{ClientRequest, error::SendRequestError};
use forerunner_console::{Usage, json::Answer};
use forerunner_core::TenantName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{exit::NotReachable, trust};

/// A connection to one service.
#[derive(Clone)]
pub struct Client {
    base: String,
    http: awc::Client,
}

/// Largest answer that is read: a full page of tasks with inputs of the usual limit.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A request to the service.
pub struct Call<'a> {
    method: Method,
    path: String,
    body: Option<Body<'a>>,
    headers: Vec<(&'static str, String)>,
    timeout: Duration,
}

enum Body<'a> {
    Value(&'a Value),
    Text(String),
}

impl<'a> Call<'a> {
    /// Creates a GET request.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, headers: Vec::new(), timeout: ANSWER_TIMEOUT }
    }

    /// Creates a POST request.
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    /// Creates a PATCH request.
    pub fn patch(path: impl Into<String>) -> Self {
        Self { method: Method::PATCH, ..Self::get(path) }
    }

    /// Creates a PUT request.
    pub fn put(path: impl Into<String>) -> Self {
        Self { method: Method::PUT, ..Self::get(path) }
    }

    /// Creates a DELETE request.
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// Sends a JSON body.
    pub fn body(mut self, body: &'a Value) -> Self {
        self.body = Some(Body::Value(body));
        self
    }

    /// Sends text that is JSON, as it is.
    pub fn json_text(mut self, text: String) -> Self {
        self.body = Some(Body::Text(text));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Allows the service this much time on top of the usual.
    pub fn patient(mut self, wait: Duration) -> Self {
        self.timeout = ANSWER_TIMEOUT.saturating_add(wait);
        self
    }
}

impl Client {
    /// Builds a client for `http://host:port` or `https://host:port`, which shows `token`, trusts the authorities in
    /// `cacert` beside those of the system, and acts for `tenant`.
    pub fn new(
        server: &str,
        token: Option<&str>,
        cacert: Option<&Path>,
        tenant: Option<&TenantName>,
    ) -> anyhow::Result<Self> {
        let base = server.trim_end_matches('/').to_owned();
        let is_encrypted = base.starts_with("https://");
        if !is_encrypted && !base.starts_with("http://") {
            let text =
                format!("server `{server}` is not an http:// or https:// address; write it like http://127.0.0.1:7077");
            return Err(Usage(text).into());
        }
        if let Err(error) = base.parse::<Uri>() {
            let text = format!("server `{server}` is not an address: {error}; write it like http://127.0.0.1:7077");
            return Err(Usage(text).into());
        }
        let connector = awc::Connector::new().timeout(CONNECT_TIMEOUT).limit(0);
        let connector = if is_encrypted { connector.rustls_0_23(trust::config(cacert)?) } else { connector };
        let http = awc::Client::builder().connector(connector).disable_redirects().disable_timeout();
        let http = match token {
            // It is in no argument of a process, and in no message.
            Some(token) => http.bearer_auth(token),
            None => http,
        };
        let http = match tenant {
            Some(tenant) => http.add_default_header(("Forerunner-Tenant", tenant.as_str())),
            None => http,
        };
        Ok(Self { base, http: http.finish() })
    }

    /// Returns the address of the service.
    pub fn server(&self) -> &str {
        &self.base
    }

    /// Requests the JSON at a path.
    pub async fn get(&self, path: impl Into<String>) -> anyhow::Result<Answer> {
        self.send(Call::get(path)).await
    }

    /// Makes a call and reads the answer.
    ///
    /// # Errors
    /// [`NotReachable`] without an answer, [`Problem`] when the service refuses.
    pub async fn send(&self, call: Call<'_>) -> anyhow::Result<Answer> {
        let mut request = self.request(call.method, &call.path).timeout(call.timeout);
        for (name, value) in call.headers {
            request = request.insert_header((name, value));
        }
        let sent = match call.body {
            Some(Body::Value(value)) => request.send_json(value),
            Some(Body::Text(text)) => request.content_type("application/json").send_body(text),
            None => request.send(),
        };
        let mut response = sent.await.map_err(|error| self.unreachable(&error))?.timeout(call.timeout);
        let status = response.status();
        let body = response.body().limit(MAX_ANSWER_BYTES).await.context("the answer could not be read to its end")?;
        answer(status, &body)
    }

    /// Opens a stream of server-sent events, behind the event `after` if there was one.
    pub async fn stream(&self, path: &str, after: Option<&str>) -> anyhow::Result<EventBody> {
        let mut request = self.request(Method::GET, path).insert_header((header::ACCEPT, "text/event-stream"));
        if let Some(after) = after {
            request = request.insert_header(("Last-Event-ID", after));
        }
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let body = response.body().limit(MAX_ANSWER_BYTES).await.context("the answer could not be read to its end")?;
        Err(answer(response.status(), &body).err().unwrap_or_else(|| anyhow::anyhow!("the service sent no events")))
    }

    fn request(&self, method: Method, path: &str) -> ClientRequest {
        self.http.request(method, format!("{}{path}", self.base))
    }

    fn unreachable(&self, error: &SendRequestError) -> anyhow::Error {
        match error {
            SendRequestError::Url(reason) => {
                Usage(format!("server `{}` is not an address: {reason}", self.base)).into()
            }
            other => NotReachable { server: self.base.clone(), reason: other.to_string() }.into(),
        }
    }
}

/// A stream of server-sent events, as bytes.
pub type EventBody = awc::ClientResponse;

fn answer(status: StatusCode, body: &[u8]) -> anyhow::Result<Answer> {
    if !status.is_success() {
        return Err(Problem::read(status, body).into());
    }
    let body = if body.is_empty() { b"null" } else { body };
    Answer::read(body).context("the answer is not JSON; is this a forerunner service?")
}

/// A refusal: RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Names the kind of problem, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names the kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    /// When to try again, in seconds, if that may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// Returns whether it is of the kind with this name, such as `queue-full`.
    pub fn is(&self, name: &str) -> bool {
        self.kind.rsplit('/').next() == Some(name)
    }

    fn read(status: StatusCode, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.title.is_empty() {
            problem.title = status.canonical_reason().unwrap_or("refused").to_lowercase();
        }
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = if self.detail.is_empty() { &self.title } else { &self.detail };
        if self.status == 0 {
            // There was no answer.
            return f.write_str(sentence);
        }
        write!(f, "{sentence} ({}", self.status)?;
        match self.kind.rsplit(['/', ':']).next() {
            Some(kind) if !kind.is_empty() && self.kind != "about:blank" => write!(f, ", {kind})"),
            _ => write!(f, ")"),
        }
    }
}

impl std::error::Error for Problem {}

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Writes text so that it is one segment of a path, or one value of a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_by_its_detail_status_and_kind() {
        let body = br#"{"type":"https://forerunner.dev/problems/queue-full","title":"queue full","status":429,"detail":"pool `coder` is full: 10 tasks waiting, limit 10; retry later or raise queue.limit"}"#;
        let error = answer(StatusCode::TOO_MANY_REQUESTS, body).expect_err("a problem");
        insta::assert_snapshot!(error, @"pool `coder` is full: 10 tasks waiting, limit 10; retry later or raise queue.limit (429, queue-full)");
    }

    #[test]
    fn a_refusal_without_a_problem_body_still_says_something() {
        let error = answer(StatusCode::BAD_GATEWAY, b"<html>").expect_err("a problem");
        insta::assert_snapshot!(error, @"bad gateway (502)");
    }

    #[test]
    fn what_is_not_safe_in_a_path_is_encoded() {
        assert_eq!(encode("repo/42?x=a b&c"), "repo%2F42%3Fx%3Da%20b%26c");
        assert_eq!(encode("a-b_c.d~é"), "a-b_c.d~%C3%A9");
    }

    #[test]
    fn addresses_without_http_are_refused() {
        for address in ["localhost:7077", "ftp://localhost", "http://", "http://bad host", "https://"] {
            let error = Client::new(address, None, None, None).err().expect("not an address");
            assert_eq!(crate::exit::code(&error), 2, "{error}");
        }
    }
}
