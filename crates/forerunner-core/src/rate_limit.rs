//! A limit of a rate, with room for bursts.

use crate::Error;

/// At most `per_s` a second, and up to `burst` at once.
///
/// Source: the generic cell rate algorithm of ITU-T I.371, in its form of virtual scheduling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    per_s: f64,
    burst: u32,
}

/// How much of a limit is used: the time at which all of it is free again, in seconds of any clock that does not go back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RateMeter {
    free_at_s: f64,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLeft {
    /// How many are allowed now.
    pub remaining: u32,
    /// Seconds until all of the burst is allowed again.
    pub reset_s: f64,
}

impl RateLimit {
    /// Checks a limit. Without a burst, a second's worth may come at once.
    ///
    /// # Errors
    /// [`Error::Setting`] when a rate is not from 0.001 to 1,000,000, or a burst is 0.
    pub fn new(per_s: f64, burst: Option<u32>) -> Result<Self, Error> {
        let refuse = |key, value: String, rule: &str| Err(Error::Setting { key, value, rule: rule.to_owned() });
        if !(0.001..=1e6).contains(&per_s) {
            return refuse("submits_per_s", per_s.to_string(), "use 0.001 to 1000000");
        }
        match burst {
            Some(0) => refuse("burst", "0".to_owned(), "use 1 or more"),
            Some(burst) => Ok(Self { per_s, burst }),
            None => Ok(Self { per_s, burst: per_s.ceil() as u32 }),
        }
    }

    /// Returns how many may come at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Returns how many may come in a second.
    pub const fn per_s(&self) -> f64 {
        self.per_s
    }

    /// Takes `count` from the limit, or returns the seconds after which to try again.
    ///
    /// More than a burst is allowed once all of the limit is free. It is paid for afterwards.
    ///
    /// # Errors
    /// The seconds to wait; nothing was taken.
    pub fn take(&self, meter: &mut RateMeter, now_s: f64, count: u32) -> Result<RateLeft, f64> {
        let free_at = meter.free_at_s.max(now_s);
        let needed = f64::from(count.min(self.burst)) / self.per_s;
        let wait = free_at + needed - now_s - f64::from(self.burst) / self.per_s;
        // A rest of the sums below is no reason to wait.
        if wait > 1e-9 {
            return Err(wait);
        }
        meter.free_at_s = free_at + f64::from(count) / self.per_s;
        Ok(self.left(meter, now_s))
    }

    /// Returns what is left.
    pub fn left(&self, meter: &RateMeter, now_s: f64) -> RateLeft {
        let used_s = (meter.free_at_s - now_s).max(0.0);
        let remaining = (f64::from(self.burst) - used_s * self.per_s + 1e-6).max(0.0) as u32;
        RateLeft { remaining, reset_s: used_s }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let limit = RateLimit::new(10.0, Some(3)).unwrap();
        let mut meter = RateMeter::default();
        let mut take = |now_s: f64| limit.take(&mut meter, now_s, 1).map(|left| left.remaining);
        assert_eq!([take(5.0), take(5.0), take(5.0)], [Ok(2), Ok(1), Ok(0)]);
        assert!(take(5.0).is_err_and(|wait| (wait - 0.1).abs() < 1e-6));
        assert_eq!((take(5.1), take(9.0)), (Ok(0), Ok(2)));
    }

    #[test]
    fn a_batch_above_the_burst_waits_for_all_of_it_and_is_paid_for_afterwards() {
        let limit = RateLimit::new(10.0, Some(5)).unwrap();
        let mut meter = RateMeter::default();
        assert_eq!(limit.take(&mut meter, 0.0, 1).unwrap().remaining, 4);
        assert!(limit.take(&mut meter, 0.0, 50).is_err());
        assert_eq!(limit.take(&mut meter, 0.1, 50).unwrap().remaining, 0);
        assert!(limit.take(&mut meter, 4.5, 1).is_err_and(|wait| (wait - 0.2).abs() < 1e-6), "50 of 10 a second");
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for (per_s, burst) in [(0.0, None), (-1.0, None), (f64::NAN, None), (1e9, None), (1.0, Some(0))] {
            assert!(RateLimit::new(per_s, burst).is_err(), "{per_s} {burst:?}");
        }
        assert_eq!(RateLimit::new(0.5, None).unwrap().burst(), 1);
    }

    proptest! {
        #[test]
        fn no_span_has_more_than_its_share_and_a_burst(gaps in prop::collection::vec(0.0..0.5_f64, 1..200), per_s in 0.5..50.0_f64, burst in 1..20_u32) {
            let limit = RateLimit::new(per_s, Some(burst)).unwrap();
            let (mut meter, mut now, mut taken) = (RateMeter::default(), 0.0, 0_u32);
            for gap in &gaps {
                now += gap;
                match limit.take(&mut meter, now, 1) {
                    Ok(_) => taken += 1,
                    Err(wait) => prop_assert!(limit.take(&mut meter.clone(), now + wait + 1e-6, 1).is_ok()),
                }
            }
            prop_assert!(f64::from(taken) <= per_s * now + f64::from(burst) + 1e-3, "{} in {} s", taken, now);
        }
    }
}
