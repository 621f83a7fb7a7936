//! The times of a connection, and when it is to end. Pure: the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A client that has closed its side may still read: some programs send everything and shut down their side. The answer
/// continues for this long.
const PEER_LEFT_GRACE: Duration = Duration::from_secs(1);
/// Slowest rate at which an answer may be read: far below any network worth the name.
const MIN_BYTES_PER_SEC: f64 = 1024.0;

/// How long a connection may be in each phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For the head of a request, and for the first byte of the first one.
    pub(crate) head: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// The span over which the rate of an answer that is not read at once is measured.
    pub(crate) write: Duration,
}

/// Why the service ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The head of a request did not end in time.
    SlowHead,
    /// No request arrived.
    Idle,
    /// The client closed its side while a request was answered.
    PeerLeft,
    /// The client does not read its answer.
    NotRead,
    /// The connection was idle, and others need the place.
    Evicted,
}

impl End {
    /// Returns the label of the metric.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::PeerLeft => "peer_left",
            Self::NotRead => "not_read",
            Self::Evicted => "evicted",
        }
    }
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of the next request has arrived.
    Idle { since: Instant },
    /// The head of a request is arriving.
    Head { since: Instant },
    /// A request is answered.
    AnswerGuard,
}

/// An answer that the client did not read at once.
#[derive(Debug, Clone, Copy)]
struct StalledAnswer {
    since: Instant,
    /// Bytes read since then.
    taken: usize,
}

/// The times of one connection.
#[derive(Debug)]
pub(crate) struct Lifetime {
    phase: Phase,
    /// Whether a request was answered.
    has_served: bool,
    peer_left: Option<Instant>,
    blocked: Option<StalledAnswer>,
}

impl Lifetime {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { phase: Phase::Idle { since: now }, has_served: false, peer_left: None, blocked: None }
    }

    /// Notes that bytes arrived; 0 means that the client closed its side.
    pub(crate) fn received(&mut self, bytes: usize, now: Instant) {
        if bytes == 0 {
            self.peer_left.get_or_insert(now);
        } else if matches!(self.phase, Phase::Idle { .. }) {
            self.phase = Phase::Head { since: now };
        }
    }

    pub(crate) const fn begin_answer(&mut self) {
        self.phase = Phase::AnswerGuard;
    }

    pub(crate) const fn end_answer(&mut self, now: Instant) {
        self.has_served = true;
        self.phase = Phase::Idle { since: now };
    }

    /// Notes that the client read bytes.
    pub(crate) const fn written(&mut self, bytes: usize) {
        if let Some(blocked) = &mut self.blocked {
            blocked.taken += bytes;
        }
    }

    /// Notes that the client reads no more bytes at present.
    pub(crate) fn write_blocked(&mut self, now: Instant) {
        self.blocked.get_or_insert(StalledAnswer { since: now, taken: 0 });
    }

    /// Notes that the client has read everything.
    pub(crate) const fn flushed(&mut self) {
        self.blocked = None;
    }

    pub(crate) const fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::AnswerGuard)
    }

    /// Returns since when the connection has no request and no unread answer; `None` if it has.
    pub(crate) const fn idle_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle { since } if self.blocked.is_none() => Some(since),
            _ => None,
        }
    }

    /// Returns why the connection is over, if it is.
    pub(crate) fn verdict(&mut self, limits: &Limits, now: Instant) -> Option<End> {
        if self.peer_left.is_some_and(|left| now - left >= PEER_LEFT_GRACE) {
            return Some(End::PeerLeft);
        }
        if self.is_unread(limits.write, now) {
            return Some(End::NotRead);
        }
        match self.phase {
            Phase::Head { since } if now - since >= limits.head => Some(End::SlowHead),
            Phase::Idle { since } if now - since >= self.idle_limit(limits) => Some(End::Idle),
            _ => None,
        }
    }

    const fn idle_limit(&self, limits: &Limits) -> Duration {
        if self.has_served { limits.idle } else { limits.head }
    }

    /// Each span is measured by itself, so that a client cannot save up bytes.
    fn is_unread(&mut self, span: Duration, now: Instant) -> bool {
        let Some(blocked) = self.blocked.filter(|blocked| now - blocked.since >= span) else { return false };
        self.blocked = Some(StalledAnswer { since: now, taken: 0 });
        (blocked.taken as f64) < span.as_secs_f64() * MIN_BYTES_PER_SEC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { head: Duration::from_secs(5), idle: Duration::from_secs(60), write: Duration::from_secs(30) };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_head_has_its_time_on_every_request_of_a_connection() {
        let t = Instant::now();
        let mut first = Lifetime::new(t);
        assert_eq!(first.verdict(&LIMITS, t + secs(4)), None);
        assert_eq!(first.verdict(&LIMITS, t + secs(5)), Some(End::Idle));
        let mut later = Lifetime::new(t);
        later.received(20, t);
        later.begin_answer();
        later.end_answer(t + secs(1));
        assert_eq!(later.verdict(&LIMITS, t + secs(60)), None);
        assert_eq!(later.verdict(&LIMITS, t + secs(61)), Some(End::Idle));
        later.received(1, t + secs(50));
        later.received(1, t + secs(54));
        assert_eq!(later.verdict(&LIMITS, t + secs(54)), None);
        assert_eq!(later.verdict(&LIMITS, t + secs(55)), Some(End::SlowHead));
    }

    #[test]
    fn an_answer_may_take_long_but_not_without_its_client() {
        let t = Instant::now();
        let mut lifetime = Lifetime::new(t);
        lifetime.received(20, t);
        lifetime.begin_answer();
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(500)), None);
        lifetime.received(0, t + secs(500));
        lifetime.received(0, t + secs(501));
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(500)), None);
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(501)), Some(End::PeerLeft));
    }

    #[test]
    fn an_answer_must_be_read_at_a_rate_in_each_span() {
        let t = Instant::now();
        let mut lifetime = Lifetime::new(t);
        lifetime.begin_answer();
        lifetime.write_blocked(t);
        lifetime.written(40_000);
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(30)), None);
        lifetime.write_blocked(t + secs(31));
        lifetime.written(20_000);
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(59)), None);
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(60)), Some(End::NotRead));
        lifetime.flushed();
        assert_eq!(lifetime.verdict(&LIMITS, t + secs(1_000)), None);
    }
}
