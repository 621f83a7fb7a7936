//! HTTP, as any program would speak it to the service.

use std::{fmt, time::Duration};

use awc::http::{Method, header::HeaderMap};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::eventually;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(90);
/// Longest time until a store is available again after a fault.
const AWAY: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const LARGEST: usize = 64 << 20;

/// A client of one service.
#[derive(Clone)]
pub struct Client {
    http: awc::Client,
    base: String,
}

/// A request: a method, a path, headers, and a body as it is sent.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: JSON as it is, anything else as text.
    pub body: Value,
}

/// There was no complete answer, so whether the call took effect is unknown.
#[derive(Debug)]
pub struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer: {}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

impl Call {
    /// A call with this method, such as `GET`.
    ///
    /// # Panics
    /// If it is no method.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        let method = method.parse().expect("a method");
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Creates a GET request.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// Submits a task.
    pub fn submit(pool: &str, task: &Value) -> Self {
        Self::new("POST", format!("/v1/pools/{pool}/tasks")).json(task)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").bytes(body.to_string())
    }

    /// Sends these bytes as the body.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits for the end of the task, this long at most.
    #[must_use]
    pub fn wait(self, seconds: u32) -> Self {
        self.header("Prefer", format!("wait={seconds}"))
    }
}

impl Answer {
    /// Returns a header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the last part of a problem's type; empty if it is none.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default()
    }

    /// Asserts the status and returns the body.
    ///
    /// # Panics
    /// If it was another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

impl Client {
    pub(crate) fn of(base: &str) -> Self {
        let connector = awc::Connector::new().timeout(Duration::from_secs(5)).limit(0);
        let http = awc::Client::builder().connector(connector).disable_redirects().timeout(LIMIT).finish();
        Self { http, base: base.to_owned() }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// [`NoAnswer`] when the connection fails before the answer is complete.
    pub async fn call(&self, call: Call) -> Result<Answer, NoAnswer> {
        let lost = |error: &dyn fmt::Display| NoAnswer(error.to_string());
        let mut request = self.http.request(call.method, format!("{}{}", self.base, call.path));
        for (name, value) in call.headers {
            request = request.append_header((name, value));
        }
        let mut response = request.send_body(call.body).await.map_err(|error| lost(&error))?;
        let bytes = response.body().limit(LARGEST).await.map_err(|error| lost(&error))?;
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// Makes a call that must be answered.
    ///
    /// # Panics
    /// If it is not.
    pub async fn ask(&self, call: Call) -> Answer {
        let asked = format!("{} {}", call.method, call.path);
        self.call(call).await.unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// Reads a path. While the store is unreachable the answer requests a retry, and this repeats the call.
    ///
    /// # Panics
    /// If the answer is neither that nor 200, or the store is unreachable for too long.
    pub async fn get(&self, path: impl Into<String>) -> Value {
        let path = path.into();
        let begun = Instant::now();
        loop {
            let answer = self.ask(Call::get(path.as_str())).await;
            if answer.problem() != "store-unavailable" || begun.elapsed() > AWAY {
                return answer.expect(200);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Reads a metric, summed over its labels; 0 if it is not there.
    ///
    /// # Panics
    /// If the metrics cannot be read.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await;
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = metrics.as_str().unwrap_or_default().lines().filter(of_it);
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Submits an input and returns the task's id.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn submit(&self, pool: &str, input: Value) -> String {
        let answer = self.ask(Call::submit(pool, &json!({ "input": input }))).await;
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
        answer.body["id"].as_str().expect("an accepted task has an id").to_owned()
    }

    /// Waits for the end of a task and returns it.
    ///
    /// # Panics
    /// If it has not ended after a minute.
    pub async fn ended(&self, task: &str) -> Value {
        let task = self.ask(Call::get(format!("/v1/tasks/{task}")).wait(60)).await.expect(200);
        assert!(!task["finished_at"].is_null(), "has not ended: {task}");
        task
    }

    /// Reads all tasks that meet a filter such as `pool=coder&state=succeeded`, page by page, newest first.
    ///
    /// # Panics
    /// If a page is refused.
    pub async fn tasks(&self, filter: &str) -> Vec<Value> {
        let (mut tasks, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(format!("/v1/tasks?limit=1000&{filter}{cursor}")).await;
            tasks.append(page["tasks"].as_array_mut().expect("a page has tasks"));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return tasks,
            }
        }
    }

    /// Waits until all tasks of a pool have ended and returns them.
    ///
    /// The pool's counters only show when it is worth a check: a task between the queue and an agent is in neither.
    ///
    /// # Panics
    /// If some have not ended after `limit`.
    pub async fn settled(&self, pool: &str, limit: Duration) -> Vec<Value> {
        let path = format!("/v1/pools/{pool}");
        eventually("all tasks end", limit, async || {
            let counters = self.get(&path).await;
            if counters["waiting"] != 0 || counters["running"] != 0 {
                return None;
            }
            let tasks = self.tasks(&format!("pool={pool}")).await;
            tasks.iter().all(|task| !task["finished_at"].is_null()).then_some(tasks)
        })
        .await
    }

    /// Follows a task to its end and returns the data of its events.
    ///
    /// # Panics
    /// If the stream breaks off, or does not end in a minute and a half.
    pub async fn events(&self, task: &str) -> Vec<Value> {
        self.events_after(task, 0, usize::MAX).await
    }

    /// Follows a task after the event with this number, until it ends or there were `most` events. Returns the data of
    /// its events.
    ///
    /// # Panics
    /// If the stream breaks off, or takes longer than a minute and a half.
    pub async fn events_after(&self, task: &str, last: u64, most: usize) -> Vec<Value> {
        let url = format!("{}/v1/tasks/{task}/events", self.base);
        let request = self.http.get(url).insert_header(("Last-Event-ID", last.to_string()));
        let mut stream = request.send().await.expect("events are sent");
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        let read = async {
            while events.len() < most
                && let Some(piece) = stream.next().await
            {
                bytes.extend_from_slice(&piece.expect("a stream that ends is whole"));
                while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
                    let frame: Vec<u8> = bytes.drain(..end + 2).collect();
                    events.extend(data_of(&frame));
                }
            }
        };
        tokio::time::timeout(LIMIT, read).await.expect("the stream of a task that ends does so too");
        events.truncate(most);
        events
    }
}

/// The data of an event in a frame of server-sent events; none in a comment.
fn data_of(frame: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(frame).expect("events are text");
    let data = text.lines().find_map(|line| line.strip_prefix("data:"))?;
    Some(serde_json::from_str(data.trim()).expect("the data of an event is JSON"))
}
