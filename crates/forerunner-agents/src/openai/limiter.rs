//! Keeps the requests of a pool below the limits of its provider.

use std::time::Duration;

use tokio::time::Instant;

/// Over how much of a minute the limit may be used at once.
const BURST: f64 = 1.0 / 12.0;

/// The limits of a provider: requests and tokens in a minute, each a token bucket.
#[derive(Debug)]
pub(super) struct Limiter {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// When the provider accepts requests again, if it sent that time.
    closed_until: Option<Instant>,
}

impl Limiter {
    /// Makes full buckets. A limit of 0 is none.
    pub(super) fn new(requests_per_minute: u32, tokens_per_minute: u64, now: Instant) -> Self {
        let bucket = |per_minute: f64| (per_minute > 0.0).then(|| Bucket::new(per_minute, now));
        Self {
            requests: bucket(f64::from(requests_per_minute)),
            tokens: bucket(tokens_per_minute as f64),
            closed_until: None,
        }
    }

    /// Reserves a request of about `tokens` tokens.
    ///
    /// # Errors
    /// How long to wait before it is worth asking again. Nothing is reserved then.
    pub(super) fn reserve(&mut self, tokens: u64, now: Instant) -> Result<(), Duration> {
        let closed = self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = |bucket: &mut Option<Bucket>, count| bucket.as_mut().map_or(Duration::ZERO, |b| b.wait(count, now));
        let waits = [closed, wait(&mut self.requests, 1.0), wait(&mut self.tokens, tokens as f64)];
        match waits.into_iter().max().unwrap_or_default() {
            Duration::ZERO => {}
            longest => return Err(longest),
        }
        for (bucket, count) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens as f64)] {
            if let Some(bucket) = bucket {
                bucket.level -= count;
            }
        }
        Ok(())
    }

    /// Replaces an estimate by what was used.
    pub(super) fn correct(&mut self, estimated: u64, used: u64) {
        if let Some(bucket) = &mut self.tokens {
            bucket.level = (bucket.level + estimated as f64 - used as f64).min(bucket.capacity);
        }
    }

    /// The provider asks to wait until `until`.
    pub(super) fn close(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(Some(until));
    }
}

/// A token bucket. A request that is larger than the bucket is admitted when the bucket is full, and leaves a debt.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    capacity: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: f64, now: Instant) -> Self {
        let capacity = (per_minute * BURST).max(1.0);
        Self { per_s: per_minute / 60.0, capacity, level: capacity, at: now }
    }

    fn wait(&mut self, count: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level, self.at) = ((self.level + passed * self.per_s).min(self.capacity), now.max(self.at));
        let missing = count.min(self.capacity) - self.level;
        match missing > 1e-6 {
            true => Duration::from_secs_f64((missing / self.per_s).max(0.001)),
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_admits_a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(60, 0, start);
        for _ in 0..5 {
            assert_eq!(limiter.reserve(0, start), Ok(()));
        }
        let wait = limiter.reserve(0, start).unwrap_err();
        assert!((wait.as_secs_f64() - 1.0).abs() < 0.01, "{wait:?}");
        assert_eq!(limiter.reserve(0, start + wait), Ok(()));
        assert!(limiter.reserve(0, start + wait).is_err());
    }

    #[test]
    fn tokens_are_corrected_by_what_was_used() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0, 1_200, start);
        assert_eq!(limiter.reserve(500, start), Ok(()), "larger than the bucket of 100, which is full");
        assert!((limiter.reserve(1, start).unwrap_err().as_secs_f64() - 401.0 / 20.0).abs() < 0.1);
        limiter.correct(500, 100);
        assert_eq!(limiter.reserve(0, start), Ok(()));
        assert!((limiter.reserve(20, start).unwrap_err().as_secs_f64() - 1.0).abs() < 0.1);
    }

    #[test]
    fn a_provider_that_asks_to_wait_is_obeyed() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0, 0, start);
        limiter.close(start + Duration::from_secs(5));
        limiter.close(start + Duration::from_secs(2));
        assert_eq!(limiter.reserve(1, start + Duration::from_secs(1)), Err(Duration::from_secs(4)));
        assert_eq!(limiter.reserve(1, start + Duration::from_secs(5)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_requests_than_the_limit_and_its_burst(
            per_minute in 1_u32..600,
            gaps in prop::collection::vec(0_u64..3_000, 1..400),
        ) {
            let start = Instant::now();
            let mut limiter = Limiter::new(per_minute, 0, start);
            let (mut now, mut admitted) = (start, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if limiter.reserve(0, now).is_ok() {
                    admitted.push(now);
                }
            }
            let most = f64::from(per_minute) + (f64::from(per_minute) * BURST).max(1.0) + 1.0;
            for (index, first) in admitted.iter().enumerate() {
                let minute = Duration::from_secs(60);
                let count = admitted[index..].iter().take_while(|at| at.duration_since(*first) < minute).count();
                prop_assert!(count as f64 <= most, "{count} of {most}");
            }
        }
    }
}
