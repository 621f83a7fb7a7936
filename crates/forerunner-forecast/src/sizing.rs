//! How many agents a load needs.

/// What is known about the load at a moment ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Tasks on agents and waiting now, L.
    pub in_system: f64,
    /// Arrivals per second until then, lambda.
    pub rate: f64,
    /// Mean seconds on an agent, S.
    pub service_s: f64,
    /// Share of the tasks in the system now that are still there then, e, in [0, 1].
    pub still_there: f64,
    /// Index of dispersion of counts, D; 1 for Poisson arrivals.
    pub dispersion: f64,
}

impl Load {
    /// Expected tasks in service then: `L e + lambda S (1 - e)`.
    ///
    /// The present tasks that will still be there, plus those that will have arrived and not ended. The second term is
    /// exact for Poisson arrivals, since `1 - e` is the stationary residual life: the transient M/G/infinity queue
    /// (Eick, Massey & Whitt 1993, "The physics of the Mt/G/inf queue"). Little's law, L = lambda S, is its limit.
    pub fn mean(&self) -> f64 {
        self.in_system * self.still_there + self.rate * self.service_s * (1.0 - self.still_there)
    }

    /// Variance of the same: binomial for those here now, D times Poisson for the rest.
    pub fn variance(&self) -> f64 {
        let stay = self.in_system * self.still_there * (1.0 - self.still_there);
        stay + self.dispersion * self.rate * self.service_s * (1.0 - self.still_there)
    }

    /// Agents that have room for all tasks with the confidence of `z` standard deviations: `mean + z sqrt(variance)`.
    ///
    /// Modified-offered-load staffing (Jennings, Mandelbaum, Massey & Whitt 1996, "Server staffing to meet time-varying
    /// demand"); square-root staffing (Halfin & Whitt 1981) is its limit far ahead.
    pub fn need(&self, z: f64) -> f64 {
        self.mean() + z * self.variance().sqrt()
    }

    /// Expected tasks without an agent then, if there are `agents`: `E[(X - agents)+]` for normal X.
    pub fn waiting(&self, agents: f64) -> f64 {
        let (mean, sigma) = (self.mean(), self.variance().sqrt());
        if sigma <= 0.0 {
            return (mean - agents).max(0.0);
        }
        let short = (mean - agents) / sigma;
        sigma * (density(short) + short * normal(short))
    }
}

/// Mean number of agents at work: `arrivals` per second times `service_s` seconds. Source: Little (1961).
pub fn offered_load(arrivals: f64, service_s: f64) -> f64 {
    arrivals * service_s
}

/// Agents for a steady load of `offered` Erlang by the square-root rule, `offered + beta sqrt(offered)`, rounded up.
///
/// Source: Halfin & Whitt (1981), "Heavy-traffic limits for queues with many exponential servers".
pub fn square_root_staffing(offered: f64, beta: f64) -> u32 {
    (offered + beta * offered.max(0.0).sqrt()).ceil().max(0.0) as u32
}

/// Probability that a task has to wait in M/M/c with `agents` servers and `offered` Erlang, in [0, 1].
///
/// Erlang's C formula (Erlang 1917) by way of the Erlang B recursion, which stays in range for any size. 1 when the load
/// is not below the number of agents.
pub fn erlang_c(agents: u32, offered: f64) -> f64 {
    if offered <= 0.0 {
        return 0.0;
    }
    let c = f64::from(agents);
    if offered >= c {
        return 1.0;
    }
    let blocked = (1..=agents).fold(1.0, |b, k| offered * b / (f64::from(k) + offered * b));
    c * blocked / (c - offered * (1.0 - blocked))
}

/// Quantile of the standard normal distribution, for `p` in (0, 1).
///
/// Acklam's rational approximation (2003), relative error below 1.2e-9; `p` outside counts as the nearest inside.
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, k| sum * x + k);
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return poly(&C, q) / poly(&D, q);
    }
    if p > 1.0 - 0.02425 {
        return -normal_quantile(1.0 - p);
    }
    let q = p - 0.5;
    q * poly(&A, q * q) / poly(&B, q * q)
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Distribution of the standard normal, absolute error below 7.5e-8 (Abramowitz & Stegun 1964, 26.2.17).
pub(crate) fn normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.2316419 * x.abs());
    let poly = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
    let tail = density(x) * poly;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_match_hand_worked_numbers() {
        // (L, lambda, S, e, D, z) and L e + lambda S (1-e) + z sqrt(L e (1-e) + D lambda S (1-e)).
        let table = [
            // Nothing here, nothing coming.
            (0.0, 0.0, 5.0, 0.5, 1.0, 2.0, 0.0),
            // Far ahead: Little plus the square root, 16 + 2 sqrt 16.
            (40.0, 2.0, 8.0, 0.0, 1.0, 2.0, 24.0),
            // At once: everybody is still there.
            (40.0, 2.0, 8.0, 1.0, 1.0, 2.0, 40.0),
            // Half way: 10 + 8 + 1 * sqrt(5 + 8).
            (20.0, 2.0, 8.0, 0.5, 1.0, 1.0, 18.0 + 13f64.sqrt()),
            // The same with bursts, D = 4: 18 + sqrt(5 + 32).
            (20.0, 2.0, 8.0, 0.5, 4.0, 1.0, 18.0 + 37f64.sqrt()),
        ];
        for (in_system, rate, service_s, still_there, dispersion, z, expected) in table {
            let load = Load { in_system, rate, service_s, still_there, dispersion };
            assert!((load.need(z) - expected).abs() < 1e-9, "{load:?}: {} instead of {expected}", load.need(z));
        }
    }

    #[test]
    fn slower_service_needs_more() {
        let fast = Load { in_system: 10.0, rate: 2.0, service_s: 5.0, still_there: 0.3, dispersion: 1.0 };
        assert!(Load { service_s: 6.0, ..fast }.need(2.0) > fast.need(2.0));
    }

    #[test]
    fn expected_waiting_matches_the_normal_loss() {
        let load = Load { in_system: 0.0, rate: 2.0, service_s: 8.0, still_there: 0.0, dispersion: 1.0 };
        // At the mean: sigma / sqrt(2 pi) = 4 * 0.39894.
        assert!((load.waiting(16.0) - 1.59577).abs() < 1e-4);
        assert!(load.waiting(40.0) < 1e-6);
        assert!((load.waiting(0.0) - 16.0).abs() < 1e-3);
    }

    #[test]
    fn erlang_c_matches_published_values() {
        // 4 Erlang on 5 servers; 30 on 33; 30 on 36: the first is in every textbook.
        for (agents, offered, expected) in [(5, 4.0, 0.5541), (33, 30.0, 0.4905), (36, 30.0, 0.2119), (1, 0.5, 0.5)] {
            let p = erlang_c(agents, offered);
            assert!((p - expected).abs() < 5e-5, "{agents} {offered}: {p}");
        }
        assert_eq!(erlang_c(3, 3.0), 1.0);
        assert_eq!(erlang_c(3, 0.0), 0.0);
    }

    #[test]
    fn quantiles_and_distribution_agree() {
        for (p, z) in [(0.5, 0.0), (0.9, 1.281552), (0.95, 1.644854), (0.99, 2.326348), (0.01, -2.326348)] {
            assert!((normal_quantile(p) - z).abs() < 1e-5, "{p}");
            assert!((normal(z) - p).abs() < 1e-6, "{z}");
        }
        assert!(normal_quantile(f64::MIN_POSITIVE).is_finite() && normal_quantile(1.0).is_finite());
    }

    #[test]
    fn little_and_the_square_root() {
        assert_eq!(offered_load(2.0, 8.0), 16.0);
        assert_eq!(square_root_staffing(16.0, 1.0), 20);
        assert_eq!(square_root_staffing(0.0, 1.0), 0);
    }
}
