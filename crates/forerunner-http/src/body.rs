//! Reads request bodies within bounds: of size, before more than the limit is read, and of time.
//!
//! actix-web bounds the time of a request's head but not of its body: one byte every half second is read for ever.

use std::{marker::PhantomData, rc::Rc, time::Duration};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header,
    web::{Bytes, BytesMut},
};
use forerunner_core::format_duration;
use forerunner_service::{Budget, Reservation, Service};
use futures_util::{StreamExt, future::LocalBoxFuture};
use tokio::time::{Instant, sleep_until};

use crate::{api::Api, error::Problem, net::Connection, problems};

/// Slowest rate of a body that has not ended: far below any network worth the name.
const MIN_BYTES_PER_SEC: f64 = 1024.0;
/// The same while memory is short: then slow clients delay others.
const MIN_BYTES_PER_SEC_IF_TIGHT: f64 = 64.0 * 1024.0;
/// Room for the fields around an input.
pub(crate) const ENVELOPE_BYTES: usize = 16 << 10;
/// Most bytes of a batch, unless one task may have more: a thousand tasks of 8 KiB. The batch is in memory until all
/// tasks are stored.
pub(crate) const MAX_BATCH_BYTES: usize = 8 << 20;

/// The body of a request that is declared as JSON and not encoded. It counts in the budget until it is dropped. `L` is
/// its limit.
pub struct JsonBody<L = PathLimit> {
    /// The text.
    pub bytes: Bytes,
    _reservation: Reservation,
    _limit: PhantomData<L>,
}

/// How many bytes a body may have.
pub trait BodyLimit: 'static {
    /// Returns the most bytes, for this request.
    ///
    /// # Errors
    /// The request names a pool that is not there.
    fn of(service: &Service, request: &HttpRequest) -> Result<usize, Problem>;
}

/// A call on a pool is bounded by the pool's settings. Any other has no input in its body.
pub struct PathLimit;
/// A body with many tasks.
pub struct BatchLimit;
/// A call that names its pool in the body: bounded by the pool that accepts most.
pub struct AnyPoolLimit;

impl BodyLimit for PathLimit {
    fn of(service: &Service, request: &HttpRequest) -> Result<usize, Problem> {
        let input = match request.match_info().get("pool") {
            Some(pool) => service.max_input_bytes(pool)?,
            None => 0,
        };
        Ok(input.saturating_add(ENVELOPE_BYTES))
    }
}

impl BodyLimit for BatchLimit {
    fn of(service: &Service, request: &HttpRequest) -> Result<usize, Problem> {
        Ok(PathLimit::of(service, request)?.max(MAX_BATCH_BYTES))
    }
}

impl BodyLimit for AnyPoolLimit {
    fn of(service: &Service, _request: &HttpRequest) -> Result<usize, Problem> {
        Ok(service.largest_input_bytes().saturating_add(ENVELOPE_BYTES))
    }
}

impl<L: BodyLimit> FromRequest for JsonBody<L> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let checked =
            check_head(request).and_then(|()| bounds_of(request, L::of(Api::of(request).service(), request)?));
        let payload = payload.take();
        Box::pin(async move {
            let (bytes, _reservation) = checked?.read(payload).await?;
            Ok(Self { bytes, _reservation, _limit: PhantomData })
        })
    }
}

/// The limits of a body: its size and its time.
struct Bounds {
    announced: Option<usize>,
    /// Where the body ends although more follows: actix-http takes everything after a request for a web socket as its
    /// body.
    ends_at: Option<usize>,
    limit: usize,
    span: Duration,
    service: Service,
    connection: Option<Rc<Connection>>,
}

fn check_head(request: &HttpRequest) -> Result<(), Problem> {
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING) {
        let detail = format!("content encoding {encoding:?} is not accepted; send the JSON text as it is");
        // RFC 9110 §12.5.3: the header lists accepted encodings.
        return Err(Problem::new(problems::UNSUPPORTED_ENCODING, detail).header(header::ACCEPT_ENCODING, "identity"));
    }
    let declared = request.content_type();
    if is_json(declared) {
        return Ok(());
    }
    let fault = match declared {
        "" => "no content type is declared".to_owned(),
        other => format!("content type `{other}` is not accepted"),
    };
    let detail = format!("{fault}; send `Content-Type: application/json`");
    Err(Problem::new(problems::UNSUPPORTED_MEDIA_TYPE, detail).header(header::ACCEPT, "application/json"))
}

fn is_json(declared: &str) -> bool {
    let kind = declared.trim();
    kind.eq_ignore_ascii_case("application/json")
        || (kind.to_ascii_lowercase().starts_with("application/") && kind.to_ascii_lowercase().ends_with("+json"))
}

fn bounds_of(request: &HttpRequest, limit: usize) -> Result<Bounds, Problem> {
    let api = Api::of(request);
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    match announced {
        Some(size) if size > limit => Err(too_large(limit).with("size", size)),
        _ => Ok(Bounds {
            announced,
            ends_at: announced.filter(|_| request.headers().contains_key(header::UPGRADE)),
            limit,
            span: api.settings().body_timeout,
            service: api.service().clone(),
            connection: Connection::of(request),
        }),
    }
}

impl Bounds {
    async fn read(self, mut payload: Payload) -> Result<(Bytes, Reservation), Problem> {
        let _reading = self.connection.as_ref().map(Connection::read_body);
        // Allocates nothing for announced bytes, and copies nothing of a body that arrives in one piece.
        let mut body = BytesMut::new();
        let budget = self.service.budget();
        let mut reservation = budget.empty();
        let mut pace = MinimumRate::new(self.span, budget.clone());
        while let Some(chunk) = pace.next(&mut payload).await? {
            if body.len() + chunk.len() > self.limit {
                return Err(too_large(self.limit));
            }
            if !reservation.grow(chunk.len()) {
                return Err(self.service.limits().no_memory().into());
            }
            if body.is_empty() && Some(chunk.len()) == self.announced {
                return Ok((chunk, reservation));
            }
            body.extend_from_slice(&chunk);
            if let Some(end) = self.ends_at.filter(|end| body.len() >= *end) {
                body.truncate(end);
                break;
            }
        }
        Ok((body.freeze(), reservation))
    }
}

/// Limits the time of a body: it must end within a span, or arrive at the least rate in each span.
struct MinimumRate {
    span: Duration,
    budget: Budget,
    ends: Instant,
    /// Bytes since the span began.
    brought: usize,
}

impl MinimumRate {
    fn new(span: Duration, budget: Budget) -> Self {
        Self { span, budget, ends: Instant::now() + span, brought: 0 }
    }

    async fn next(&mut self, payload: &mut Payload) -> Result<Option<Bytes>, Problem> {
        loop {
            tokio::select! {
                biased;
                chunk = payload.next() => {
                    let chunk = chunk.transpose().map_err(|error| broken(&error))?;
                    self.brought += chunk.as_ref().map_or(0, Bytes::len);
                    return Ok(chunk);
                }
                () = sleep_until(self.ends) => self.next_span()?,
            }
        }
    }

    fn next_span(&mut self) -> Result<(), Problem> {
        let rate = if self.budget.is_tight() { MIN_BYTES_PER_SEC_IF_TIGHT } else { MIN_BYTES_PER_SEC };
        let least = self.span.as_secs_f64() * rate;
        if (self.brought as f64) < least {
            let span = format_duration(self.span);
            let detail = format!("the body had {} bytes after {span} and no end; send it without pauses", self.brought);
            return Err(Problem::new(problems::REQUEST_TIMEOUT, detail).close_connection());
        }
        (self.ends, self.brought) = (Instant::now() + self.span, 0);
        Ok(())
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body has more than {limit} bytes; send less at once, or raise queue.max_input_bytes");
    Problem::new(problems::PAYLOAD_TOO_LARGE, detail).with("limit", limit).close_connection()
}

fn broken(error: &PayloadError) -> Problem {
    Problem::new(problems::BROKEN_BODY, format!("the body could not be read: {error}; send it again"))
        .close_connection()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_by_its_type_and_its_suffix() {
        for kind in ["application/json", "Application/JSON", "application/merge-patch+json"] {
            assert!(is_json(kind), "{kind}");
        }
        for kind in ["", "text/json", "application/x-www-form-urlencoded", "application/jsonl", "text/plain+json"] {
            assert!(!is_json(kind), "{kind}");
        }
    }
}
