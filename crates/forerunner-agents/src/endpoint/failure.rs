//! The meaning of an endpoint's refusal for the task.

use std::time::{Duration, SystemTime};

use awc::http::{
    StatusCode,
    header::{HeaderMap, HttpDate},
};
use forerunner_core::DependencyFault;
use forerunner_runtime::agent::AgentError;
use serde::Deserialize;
use serde_json::Value;

/// Longest part of an endpoint's own words in an error, in characters.
const MOST_CHARS: usize = 300;

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// How long the endpoint asks callers to wait.
    pub(crate) retry_after: Option<Duration>,
    /// The endpoint's own words.
    pub(crate) message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        Self { status, retry_after: retry_after(headers), message: message(body) }
    }

    /// Converts the answer into the error of an attempt.
    ///
    /// Requests that are wrong in themselves fail without a retry. Everything else is a fault of the endpoint, or of
    /// how this pool reaches it: the task waits until the endpoint works.
    pub(crate) fn into_error(self) -> AgentError {
        let Self { status, retry_after, message } = self;
        let text = match message.is_empty() {
            true => format!("the endpoint answers {status}"),
            false => format!("the endpoint answers {status}: {message}"),
        };
        match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                AgentError::invalid_input(text)
            }
            StatusCode::PAYLOAD_TOO_LARGE => AgentError::too_large(text),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                AgentError::dependency(format!("{text}; check the key of the pool's agents"), retry_after)
            }
            StatusCode::NOT_FOUND => {
                AgentError::dependency(format!("{text}; check the address and the model"), retry_after)
            }
            _ => AgentError::dependency(text, retry_after),
        }
    }
}

/// Reads how long to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3).
///
/// A date is compared with the `Date` of the answer: the clock of the node may differ from that of the endpoint.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let milliseconds = text("retry-after-ms").and_then(seconds).map(|ms| ms / 1_000);
    milliseconds.or_else(|| {
        let value = text("retry-after")?;
        let date = |text: &str| text.parse::<HttpDate>().ok().map(SystemTime::from);
        let until = || Some(date(value)?.duration_since(date(text("date")?)?).unwrap_or_default());
        seconds(value).or_else(until)
    })
}

/// Finds the endpoint's own words in its answer: `error.message`, `error`, `message` or `detail`, or else all of it.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let value: Option<Value> = serde_json::from_str(&text).ok();
    let words = value.as_ref().and_then(|value| {
        let error = value.get("error");
        let candidates =
            [error.and_then(|error| error.get("message")), error, value.get("message"), value.get("detail")];
        candidates.into_iter().flatten().find_map(Value::as_str)
    });
    short(words.unwrap_or(&text))
}

/// Cuts text for people: one line of at most [`MOST_CHARS`] characters.
fn short(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The members of an error by which an endpoint blames what it depends on, as in the agent protocol.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Blame {
    scope: Option<String>,
    retry_after_s: Option<f64>,
}

/// Reads `scope` and `retry_after_s` of an error.
pub(crate) fn dependency_of(error: &Value) -> Option<DependencyFault> {
    let blame: Blame = serde_json::from_value(error.clone()).unwrap_or_default();
    let retry_after = blame.retry_after_s.and_then(|s| Duration::try_from_secs_f64(s).ok());
    (blame.scope.as_deref() == Some("dependency")).then_some(DependencyFault { retry_after })
}

#[cfg(test)]
mod tests {
    use awc::http::header::{HeaderName, HeaderValue};
    use forerunner_core::ErrorKind;

    use super::*;

    fn failure(status: u16, headers: &[(&str, &str)], body: &str) -> Failure {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        Failure::new(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
    }

    #[test]
    fn a_status_says_whether_the_task_or_the_endpoint_is_at_fault() {
        use ErrorKind::{AgentError as Failed, InvalidInput, TooLarge};
        for (status, kind, blames) in [
            (400, InvalidInput, false),
            (422, InvalidInput, false),
            (413, TooLarge, false),
            (401, Failed, true),
            (404, Failed, true),
            (408, Failed, true),
            (429, Failed, true),
            (500, Failed, true),
            (503, Failed, true),
            (529, Failed, true),
            (302, Failed, true),
        ] {
            let error = failure(status, &[], "").into_error();
            assert_eq!((error.kind(), error.dependency_fault().is_some()), (kind, blames), "{status}");
            assert_eq!(error.is_retryable(), blames, "{status}");
            assert!(error.is_agent_usable());
        }
    }

    #[test]
    fn the_time_to_wait_is_read_in_its_three_forms() {
        let s = |seconds| Some(Duration::from_secs_f64(seconds));
        let noon = ("date", "Tue, 01 Dec 2026 12:00:00 GMT");
        for (headers, expected) in [
            (vec![("retry-after", "7")], s(7.0)),
            (vec![("retry-after", "1.5")], s(1.5)),
            (vec![("retry-after", "Tue, 01 Dec 2026 12:00:30 GMT"), noon], s(30.0)),
            (vec![("retry-after", "Tue, 01 Dec 2026 11:00:00 GMT"), noon], s(0.0)),
            (vec![("retry-after", "Tue, 01 Dec 2026 12:00:30 GMT")], None),
            (vec![("retry-after-ms", "250"), ("retry-after", "1")], s(0.25)),
            (vec![("retry-after", "-3")], None),
            (vec![("retry-after", "soon")], None),
            (vec![("retry-after", "1e999")], None),
            (vec![], None),
        ] {
            assert_eq!(failure(429, &headers, "").retry_after, expected, "{headers:?}");
        }
    }

    #[test]
    fn the_words_of_the_endpoint_are_found_and_cut() {
        for (body, words) in [
            (r#"{"error":{"message":"no such model","code":"x"}}"#, "no such model"),
            (r#"{"error":"overloaded"}"#, "overloaded"),
            (r#"{"message":"bad"}"#, "bad"),
            (r#"{"detail":"missing"}"#, "missing"),
            ("<html>\n  502\n</html>", "<html> 502 </html>"),
            ("", ""),
        ] {
            assert_eq!(failure(500, &[], body).message, words, "{body}");
        }
        assert_eq!(failure(500, &[], &"é".repeat(1_000)).message.chars().count(), MOST_CHARS + 1);
    }

    #[test]
    fn an_error_may_blame_what_the_endpoint_depends_on() {
        let fault = |text: &str| dependency_of(&serde_json::from_str(text).unwrap());
        let seconds = Duration::from_secs(2);
        let waits = Some(DependencyFault { retry_after: Some(seconds) });
        assert_eq!(fault(r#"{"scope":"dependency","retry_after_s":2}"#), waits);
        assert_eq!(fault(r#"{"scope":"dependency","retry_after_s":-2}"#), Some(DependencyFault { retry_after: None }));
        assert_eq!(fault(r#"{"scope":"task","retry_after_s":2}"#), None);
        assert_eq!(fault(r#""dependency""#), None);
    }
}
