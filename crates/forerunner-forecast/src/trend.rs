//! Straight lines through series: is something changing, how fast, and how sure is that.

use crate::{
    rate::sane,
    window::{Point, Sample, Window},
};

/// Step of the series behind a trend, in seconds.
pub const STEP_S: u32 = 10;

/// A weighted least-squares line `value = mean + slope (t - mid)`.
///
/// The standard error is that of the residuals about the line (Draper & Smith, "Applied Regression Analysis", §1.4),
/// so noise that the weights do not explain widens it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trend {
    /// Change per second.
    pub slope: f64,
    /// Standard error of the slope; 0 when the points lie on the line.
    pub stderr: f64,
    /// Weighted mean of the values.
    pub mean: f64,
    /// Weighted mean of the times, in seconds.
    pub mid: f64,
    /// Points behind it.
    pub points: usize,
}

impl Trend {
    /// Fits a line; `None` with fewer than four points or all at one time: two more than a line has parameters.
    pub fn fit(points: impl Iterator<Item = Point> + Clone) -> Option<Self> {
        let (mut n, mut w, mut wt, mut wy) = (0, 0.0, 0.0, 0.0);
        for p in points.clone() {
            n += 1;
            w += p.weight;
            wt += p.weight * p.t;
            wy += p.weight * p.value;
        }
        if n < 4 || w <= 0.0 {
            return None;
        }
        let (mid, mean) = (wt / w, wy / w);
        let (mut stt, mut sty, mut syy) = (0.0, 0.0, 0.0);
        for p in points {
            let (dt, dy) = (p.t - mid, p.value - mean);
            stt += p.weight * dt * dt;
            sty += p.weight * dt * dy;
            syy += p.weight * dy * dy;
        }
        if stt <= 0.0 {
            return None;
        }
        let slope = sty / stt;
        let variance = (syy - slope * sty).max(0.0) / (n - 2) as f64;
        Some(Self { slope: sane(slope), stderr: sane((variance / stt).sqrt()), mean, mid, points: n })
    }

    /// Fits a line through the whole window's history of a quantity.
    pub fn of(window: &Window, what: Sample) -> Option<Self> {
        Self::of_last(window, what, f64::INFINITY)
    }

    /// The same through the last `last_s` seconds of it.
    pub fn of_last(window: &Window, what: Sample, last_s: f64) -> Option<Self> {
        // Collected once: the series is summed from the buckets, and the fit goes over it twice.
        let mut points = [Point { t: 0.0, value: 0.0, weight: 0.0 }; 64];
        let mut n = 0;
        let step = STEP_S.max((window.span_s() / 60.0).ceil() as u32);
        let series = window.series(what, step).filter(|point| point.t >= window.now() - last_s);
        for (slot, point) in points.iter_mut().zip(series) {
            *slot = point;
            n += 1;
        }
        Self::fit(points[..n].iter().copied())
    }

    /// Whether the slope is more than `sigmas` standard errors from none.
    pub fn is_clear(&self, sigmas: f64) -> bool {
        self.slope.abs() > sigmas * self.stderr
    }
}

/// Steps of five seconds that the search for a rise covers.
const RISE_STEPS: u64 = 12;
const RISE_STEP_S: u32 = 5;
/// Standard errors the slope must be above none, or chance would count as a rise every few minutes.
const RISE_SIGMAS: f64 = 3.0;

/// What a rise comes to at a moment ahead, in arrivals per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rise {
    pub rate: f64,
    /// Standard error of it, by that of the slope.
    pub error: f64,
}

impl Rise {
    /// The rate less so many standard errors.
    pub fn less(&self, errors: f64) -> f64 {
        self.rate - errors * self.error
    }
}

/// The arrival rate `ahead_s` seconds on if it continues to rise as in the last minute; `None` without a clear rise.
///
/// A line through complete steps of five seconds. Its error is at least that of Poisson counts, since evenly spaced
/// arrivals would make any wobble clear. Averages lag a ramp by their time constant, and forecasts that know trends can
/// be judged only a horizon later; this is what bridges that time.
pub(crate) fn rising_rate(window: &Window, ahead_s: f64) -> Option<Rise> {
    let step = u64::from(RISE_STEP_S);
    let end = (window.now() / f64::from(RISE_STEP_S)) as u64;
    let points = (end.saturating_sub(RISE_STEPS)..end).filter_map(|k| {
        let (sum, weight) = window.total(Sample::Arrivals, k * step, (k + 1) * step);
        let t = (k as f64 + 0.5) * f64::from(RISE_STEP_S);
        (weight > 0.0).then(|| Point { t, value: sum / weight, weight })
    });
    let trend = Trend::fit(points)?;
    let spread = (f64::from(RISE_STEP_S) * trend.points as f64).powi(3) / 12.0;
    let error = trend.stderr.max((trend.mean / spread).sqrt());
    let clear = trend.points as u64 > RISE_STEPS / 2 && trend.slope > RISE_SIGMAS * error;
    let ahead_s = window.now() + ahead_s - trend.mid;
    clear.then(|| Rise { rate: sane(trend.mean + trend.slope * ahead_s), error: sane(error * ahead_s) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f64]) -> Vec<Point> {
        values.iter().enumerate().map(|(i, &value)| Point { t: i as f64, value, weight: 1.0 }).collect()
    }

    #[test]
    fn a_straight_line_is_found_exactly() {
        let trend = Trend::fit(line(&[1.0, 3.0, 5.0, 7.0]).into_iter()).expect("four points");
        assert!((trend.slope - 2.0).abs() < 1e-12 && trend.stderr < 1e-6);
        assert!(trend.is_clear(3.0));
        assert_eq!((trend.mean, trend.mid, trend.points), (4.0, 1.5, 4));
    }

    #[test]
    fn the_standard_error_matches_a_hand_worked_case() {
        // y = 1, 2, 2, 3: slope 0.6, residual sum of squares 0.2, s^2 = 0.1, Stt = 5, so the error is sqrt(0.02).
        let trend = Trend::fit(line(&[1.0, 2.0, 2.0, 3.0]).into_iter()).expect("four points");
        assert!((trend.slope - 0.6).abs() < 1e-12);
        assert!((trend.stderr - 0.02f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn noise_is_not_a_trend() {
        let trend = Trend::fit(line(&[5.0, 1.0, 6.0, 2.0, 5.5, 1.5]).into_iter()).expect("six points");
        assert!(!trend.is_clear(2.0), "{trend:?}");
    }

    fn arrivals(seconds: u32, rate: impl Fn(f64) -> f64) -> Window {
        let (mut window, mut sum) = (Window::new(300, 0.0), 0.0);
        for t in 1..=seconds {
            let before = sum as u64;
            sum += rate(f64::from(t));
            let seen = crate::Observation { arrivals: sum as u64 - before, ..Default::default() };
            window.record(f64::from(t), 0.0, &seen);
        }
        window
    }

    #[test]
    fn a_ramp_is_carried_on_and_constant_or_falling_rates_are_not() {
        let ramp = arrivals(120, |t| 5.0 + (t - 60.0).max(0.0) * 0.2);
        let Rise { rate: ahead, error } = rising_rate(&ramp, 20.0).expect("5 to 17 per second within a minute");
        assert!((ahead - 21.0).abs() < 1.5, "17 now, 4 more in 20 s: {ahead}");
        assert!(0.0 < error && 3.0 * error < ahead, "a clear rise: {error}");
        assert_eq!(rising_rate(&arrivals(120, |_| 5.0), 20.0), None);
        assert_eq!(rising_rate(&arrivals(120, |t| 20.0 - t * 0.1), 20.0), None);
    }

    #[test]
    fn too_few_points_are_no_line() {
        assert_eq!(Trend::fit(line(&[1.0, 2.0, 3.0]).into_iter()), None);
        assert_eq!(Trend::fit(vec![Point { t: 1.0, value: 2.0, weight: 1.0 }; 9].into_iter()), None);
    }
}
