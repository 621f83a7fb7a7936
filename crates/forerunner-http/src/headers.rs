//! Request headers that change what a call does, and response headers that report it.

use std::time::Duration;

use actix_web::{
    HttpRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use forerunner_core::{IdempotencyKey, TenantName};
use forerunner_service::RateStatus;

use crate::{error::Problem, problems};

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Names the tenant that a caller acts for.
pub(crate) const TENANT: &str = "Forerunner-Tenant";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Names the preferences that the node applied (RFC 7240 §3).
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Reports that the same submission was accepted before.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Reads `Prefer: wait=N` (RFC 7240 §4.3): how long the client would wait for a result. The service bounds it.
///
/// A preference that cannot be understood is no error but none (§2).
pub(crate) fn wait(request: &HttpRequest) -> Option<Duration> {
    let preferences = request.headers().get_all(PREFER).filter_map(|value| value.to_str().ok());
    let secs = preferences.flat_map(|value| value.split(',')).find_map(wait_secs)?;
    Some(Duration::from_secs(secs))
}

fn wait_secs(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let value = value.trim().trim_matches('"');
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // Of digits alone, only too many cannot be read.
    is_number.then(|| value.parse().unwrap_or(u64::MAX))
}

/// Reads `Forerunner-Tenant`: the one tenant that a caller of several acts for.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Option<TenantName>, Problem> {
    let mut values = headers.get_all(TENANT);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(TENANT, "the request has several Forerunner-Tenant headers; send one".to_owned()));
    }
    let tenant = text(TENANT, value)?.parse();
    tenant.map(Some).map_err(|error: forerunner_core::Error| invalid(TENANT, error.to_string()))
}

/// Writes what a tenant may submit, in the form of the IETF draft on headers of rate limits (version 10).
pub(crate) fn rate_limit(RateStatus { limit, left }: &RateStatus) -> [(HeaderName, String); 2] {
    let window = (f64::from(limit.burst()) / limit.per_s()).ceil().max(1.0);
    let policy = format!("\"tenant\";q={};w={window:.0}", limit.burst());
    let now = format!("\"tenant\";r={};t={:.0}", left.remaining, left.reset_s.ceil());
    [(HeaderName::from_static("ratelimit-policy"), policy), (HeaderName::from_static("ratelimit"), now)]
}

/// Reads `Idempotency-Key`, with or without the quotes of a structured field.
pub(crate) fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let detail = "the request has several Idempotency-Key headers; send one";
        return Err(invalid("Idempotency-Key", detail.to_owned()));
    }
    let text = text("Idempotency-Key", value)?;
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match IdempotencyKey::new(bare) {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(invalid("Idempotency-Key", error.to_string())),
    }
}

/// Rejects `Idempotency-Key` on a batch: a client that sends one expects that the call can be repeated.
pub(crate) fn no_idempotency_key(request: &HttpRequest) -> Result<(), Problem> {
    if request.headers().contains_key(IDEMPOTENCY_KEY) {
        let detail = "a batch has no key of its own; give each task an `idempotency_key` in the body";
        return Err(invalid("Idempotency-Key", detail.to_owned()));
    }
    Ok(())
}

/// Reads `traceparent` of W3C Trace Context. A value that is not valid is ignored, as its §3.2.2 demands.
pub(crate) fn traceparent(request: &HttpRequest) -> Option<String> {
    let mut values = request.headers().get_all("traceparent");
    let value = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && is_traceparent(value)).then(|| value.to_owned())
}

/// `00-<32 hexadecimal digits>-<16>-<2>`, in lower case, of which the first two are not all zeros. A later version may be
/// longer.
fn is_traceparent(text: &str) -> bool {
    const LONGEST: usize = 256;
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, parent, flags, rest @ ..] = parts.as_slice() else { return false };
    let is_whole = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let is_known = *version != "ff" && (rest.is_empty() || *version != "00");
    is_whole && is_known && some(trace) && some(parent) && text.len() <= LONGEST
}

/// Reads `Last-Event-ID`: the number of the last event a reader has seen, 0 for none.
pub(crate) fn last_event_id(request: &HttpRequest) -> Result<u64, Problem> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(0) };
    let text = text("Last-Event-ID", value)?;
    let refuse = |_| invalid("Last-Event-ID", format!("event id `{text}` is not a number; send one that was received"));
    text.parse().map_err(refuse)
}

fn text<'a>(name: &'static str, value: &'a HeaderValue) -> Result<&'a str, Problem> {
    value.to_str().map_err(|_| invalid(name, format!("header {name} is not visible ASCII")))
}

fn invalid(name: &'static str, detail: String) -> Problem {
    Problem::new(problems::INVALID_HEADER, detail).with("header", name)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_wait_is_found_among_preferences() {
        for (header, secs) in [
            ("wait=30", Some(30)),
            ("respond-async, wait=5", Some(5)),
            ("Wait = \"7\"; q=1", Some(7)),
            ("wait=600", Some(600)),
            ("wait=99999999999999999999", Some(u64::MAX)),
            ("wait=0", Some(0)),
            ("wait=-1", None),
            ("wait=", None),
            ("wait=soon", None),
            ("return=minimal", None),
        ] {
            let request = TestRequest::default().insert_header(("Prefer", header)).to_http_request();
            assert_eq!(wait(&request), secs.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn a_trace_is_read_if_it_is_valid() {
        let trace = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (header, is_valid) in [
            (format!("00-{trace}"), true),
            (format!(" 00-{trace} "), true),
            (format!("cc-{trace}-what-is-new"), true),
            (format!("00-{trace}-more"), false),
            (format!("ff-{trace}"), false),
            (format!("00-{}", trace.to_uppercase()), false),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false),
            ("00-0af7".to_owned(), false),
            (format!("cc-{trace}-{}", "x".repeat(300)), false),
        ] {
            let request = TestRequest::default().insert_header(("traceparent", header.as_str())).to_http_request();
            assert_eq!(traceparent(&request).as_deref(), is_valid.then(|| header.trim()), "{header}");
        }
    }

    #[test]
    fn two_keys_in_one_request_are_refused() {
        let request = TestRequest::default().append_header(("Idempotency-Key", "a"));
        let request = request.append_header(("Idempotency-Key", "a")).to_http_request();
        assert!(idempotency_key(&request).unwrap_err().to_string().contains("several"));
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        for header in ["order-7", "\"order-7\""] {
            let request = TestRequest::default().insert_header(("Idempotency-Key", header)).to_http_request();
            assert_eq!(idempotency_key(&request).unwrap().unwrap().as_str(), "order-7");
        }
    }
}
