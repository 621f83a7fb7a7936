//! The policy that sizes a pool for what will arrive by the time a new agent is ready.

pub(crate) mod clean;
mod memory;
mod picture;
mod settings;

use self::{
    clean::{bounded, clean},
    memory::Memory,
    picture::{Told, explain},
};
use crate::{
    Decision, Error, Forecast, Observation, Policy, PolicyLimits, ReasonCode, WhatIf,
    forecaster::RateForecast,
    sizing::Load,
    tournament::{EWMA_15, EWMA_60, FAST_S, Needs, Outlook, RATES, RECALL, Standing, Tournament, Tuning, whole},
    trend::{Trend, rising_rate},
    window::Sample,
};

pub use self::settings::PredictiveSettings;

/// Seconds after a restore in which the pool does not shrink: the time constant of the forecast that is in charge at first.
const SETTLE_S: f64 = 60.0;
/// Seconds that the completion rate reported with a forecast is averaged over.
const RECENT_S: f64 = 60.0;
/// Shadow pools replay this many mean service times late, so that most true durations are known, within these seconds.
const DELAY_SERVICES: f64 = 4.0;
const DELAY_S: (f64, f64) = (20.0, 120.0);

/// Forecasts arrivals and durations at the horizon and keeps the agents that the load there needs.
///
/// The horizon is the measured cold start plus a tick: what an agent asked for now can still help. The size is a
/// quantile of the concurrency there ([`Load::need`]), not a target utilisation. It rises at once and falls only to the
/// greatest need of the hold. Above the forecast work two reactive layers: a surge overrides the rate, and a backlog
/// that the agents present and starting cannot take adds agents. Which forecast, margin and hold are in charge is decided by
/// shadow pools, which relive the pool's recent past under some 340 rules.
#[derive(Debug, Clone)]
pub struct Predictive {
    settings: PredictiveSettings,
    limits: PolicyLimits,
    memory: Memory,
    tournament: Tournament,
    /// Seconds to add to an observation's time to get the window's. A tick at least, so that time 0 has one before it.
    shift_s: f64,
    /// Whether nothing was observed since the start or the restore.
    fresh: bool,
    /// Until this time on the window's clock the pool does not shrink, because of a restore.
    settles_at: f64,
}

impl Predictive {
    /// Makes the policy from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: PredictiveSettings, limits: PolicyLimits) -> Result<Self, Error> {
        Self::tuned(settings, limits, Tuning::default())
    }

    /// The same with other constants than the chosen ones, to cross-validate the choice.
    ///
    /// # Errors
    /// As [`Predictive::new`].
    pub fn tuned(settings: PredictiveSettings, limits: PolicyLimits, tuning: Tuning) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            limits,
            // A pool begins with its least size, so that wanting no more than it is no change.
            memory: Memory { desired: limits.min, ..Memory::new(&settings) },
            tournament: Tournament::new(limits, tuning),
            shift_s: limits.tick_s,
            fresh: true,
            settles_at: 0.0,
        })
    }

    /// Seconds until an agent asked for now is ready.
    fn cold_start_s(&self, seen: &Observation) -> f64 {
        seen.cold_start_s.filter(|s| *s > 0.0).unwrap_or(self.limits.cold_start_s)
    }

    /// Takes in what was seen and returns its time on the window's clock.
    fn observe(&mut self, seen: &Observation) -> f64 {
        let horizon_s = self.cold_start_s(seen) + self.limits.tick_s;
        let memory = &mut self.memory;
        let mut now = seen.t + self.shift_s;
        if std::mem::take(&mut self.fresh) {
            // What the first observation reports is taken to have happened within one tick.
            memory.skip_to(now - self.limits.tick_s);
        }
        let before = memory.window.now();
        now = now.max(before);
        memory.window.record(now, self.shift_s, seen);
        memory.rates.observe(&memory.window, seen.arrivals as f64, now - before, horizon_s);
        memory.service.observe(now - before, seen);
        memory.observed_s += now - before;
        let in_system = f64::from(seen.in_flight) + f64::from(seen.queue_depth);
        memory.levels.observe(now - before, seen.arrivals as f64, in_system);
        self.tournament.observe(before, now, self.shift_s, seen);
        now
    }

    /// What is expected now, by every forecast.
    fn outlook(&self, seen: &Observation) -> Outlook {
        let memory = &self.memory;
        let window = &memory.window;
        let cold_s = self.cold_start_s(seen);
        let horizon_s = cold_s + self.limits.tick_s;
        let service_s = memory.service.forecast(window, horizon_s).mean_s;
        let mut rates = [0.0; RATES];
        if let Some(members) = memory.rates.members(window.now(), horizon_s) {
            rates[..members.len()].copy_from_slice(&members);
            let least = members[EWMA_15].min(members[EWMA_60]);
            let recalled = memory.rates.recalled(window.now() + horizon_s);
            rates[RECALL] = recalled.map_or(members[EWMA_60], |rate| rate.max(least));
        }
        Outlook {
            t: window.now(),
            cold_s,
            rates,
            fast: window.rate(Sample::Arrivals, FAST_S).unwrap_or(0.0),
            rising: rising_rate(window, horizon_s).unwrap_or(0.0),
            service_s,
            service_slow_s: memory.service.slow_mean_s(),
            still_half: memory.service.still_there(0.5 * horizon_s, service_s),
            still_there: memory.service.still_there(horizon_s, service_s),
            dispersion: memory.rates.dispersion().max(1.0),
            levels: memory.levels.levels(),
        }
    }

    fn expectation(&self, seen: &Observation, outlook: &Outlook, rate: f64) -> Forecast {
        let memory = &self.memory;
        let window = &memory.window;
        let horizon_s = outlook.cold_s + self.limits.tick_s;
        let band = memory.rates.forecast(window, horizon_s).unwrap_or(RateForecast::NOTHING);
        let load = Load {
            in_system: f64::from(seen.in_flight) + f64::from(seen.queue_depth),
            rate,
            service_s: outlook.service_s,
            still_there: outlook.still_there,
            dispersion: 1.0,
        };
        Forecast {
            horizon_s,
            rate_per_s: rate,
            rate_low: band.low.min(rate),
            rate_high: band.high.max(rate),
            service_s: outlook.service_s,
            depth: bounded(load.waiting(f64::from(seen.size()))),
            completion_rate_per_s: window.rate(Sample::Completions, RECENT_S).unwrap_or(0.0),
            completion_trend: Trend::of(window, Sample::Completions).map_or(0.0, |trend| trend.slope),
            service_trend: Trend::of(window, Sample::Service).map_or(0.0, |trend| trend.slope),
        }
    }

    /// Seconds that shadow pools are behind.
    fn delay_s(&self) -> f64 {
        (DELAY_SERVICES * self.memory.service.mean_s()).clamp(DELAY_S.0, DELAY_S.1)
    }
}

/// How the real pool stands.
fn standing(seen: &Observation) -> Standing {
    Standing {
        waiting: f64::from(seen.queue_depth),
        in_flight: f64::from(seen.in_flight),
        draining: f64::from(seen.draining),
        ready: f64::from(seen.ready),
        starting: f64::from(seen.starting),
    }
}

impl Policy for Predictive {
    fn name(&self) -> &'static str {
        "predictive"
    }

    fn interval_s(&self) -> f64 {
        self.limits.tick_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let seen = &*clean(seen, self.memory.window.now() - self.shift_s);
        let now = self.observe(seen);
        let outlook = self.outlook(seen);
        self.tournament.play(outlook, self.delay_s(), self.memory.service.recent());
        let rule = self.tournament.rule();
        let standing = standing(seen);
        let needs = rule.needs(&standing, &outlook);
        let need = bounded(needs.greatest());
        self.memory.hold.push(now, need);
        let held = self.memory.hold.greatest_since(now - rule.hold_s).map_or(need, |(_, held)| held);
        let mut wanted = bounded(needs.wanted(held, standing.size()));
        let learning = !self.memory.has_learned() || now < self.settles_at;
        if learning {
            wanted = wanted.max(f64::from(self.memory.desired));
        }
        let unbounded = whole(wanted);
        let desired = self.limits.clamp(unbounded);
        let before = std::mem::replace(&mut self.memory.desired, desired);
        let Needs { forecast: ahead, backlog, surge, .. } = needs;
        let reason = match () {
            () if desired < unbounded => ReasonCode::Bounded,
            () if desired > before && backlog > ahead => ReasonCode::Backlog,
            () if desired > before && surge => ReasonCode::Surge,
            () if desired > before => ReasonCode::ForecastUp,
            () if learning => ReasonCode::Learning,
            () if desired < before => ReasonCode::ForecastDown,
            () if f64::from(desired) > need.ceil() && desired > self.limits.min => ReasonCode::Hold,
            () => ReasonCode::Steady,
        };
        let rate = match rule.rate(&outlook) {
            (rate, _) if rate > 0.0 => rate,
            _ => outlook.rates[EWMA_60],
        };
        let forecast = self.expectation(seen, &outlook, bounded(rate));
        let complaint = self.tournament.complaint();
        let told = Told { seen, forecast: &forecast, rule: &rule, rate, need, desired, reason, complaint };
        Decision { desired, need, reason, detail: explain(&told), rule: rule.words().into(), forecast: Some(forecast) }
    }

    fn band_coverage(&self) -> Option<f64> {
        self.memory.rates.coverage()
    }

    fn what_if(&self, shares: &[f64]) -> Vec<WhatIf> {
        self.tournament.what_if(shares)
    }

    fn save(&self) -> Option<String> {
        // Nothing in the memory can fail to be written: plain numbers in plain structures.
        let memory = Memory { scores: self.tournament.scores().clone(), ..self.memory.clone() };
        serde_json::to_string(&memory).ok()
    }

    fn restore(&mut self, saved: &str, away_s: f64) -> bool {
        let Ok(mut memory) = serde_json::from_str::<Memory>(saved) else { return false };
        if !memory.is_sound() || memory.window.span_s() != f64::from(self.settings.window_s) {
            return false;
        }
        let before = memory.window.now();
        let begin = before + if away_s.is_finite() { away_s.max(0.0) } else { 0.0 };
        memory.skip_to(begin);
        self.tournament.resume(std::mem::take(&mut memory.scores));
        self.memory = memory;
        self.shift_s = begin + self.limits.tick_s;
        self.fresh = true;
        // Nothing is known about the time away, so the size before it stays for a while.
        self.settles_at = begin + SETTLE_S;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Objective;
    use proptest::prelude::*;

    fn limits() -> PolicyLimits {
        PolicyLimits { min: 1, max: 200, cold_start_s: 10.0, tick_s: 1.0, objective: Objective::default() }
    }

    fn policy() -> Predictive {
        Predictive::new(PredictiveSettings::default(), limits()).expect("defaults are in range")
    }

    /// One second in which `n` tasks come and go, `service_s` each, on a pool that just suffices.
    fn second(t: f64, n: u64, service_s: f64) -> Observation {
        let busy = (n as f64 * service_s) as u32;
        Observation {
            t,
            arrivals: n,
            completions: n,
            mean_service_s: Some(service_s),
            completed: (0..n).map(|i| (i, service_s)).collect(),
            started: n,
            in_flight: busy,
            ready: 2,
            ..Observation::default()
        }
    }

    fn run(policy: &mut Predictive, from: u32, to: u32, n: u64) -> Decision {
        (from..=to).map(|t| policy.decide(&second(f64::from(t), n, 5.0))).last().expect("at least one second")
    }

    #[test]
    fn a_steady_load_gets_its_offered_load_and_a_margin() {
        let decision = run(&mut policy(), 0, 900, 4);
        assert!((20..=32).contains(&decision.desired), "20 Erlang: {decision:?}");
        let forecast = decision.forecast.expect("it forecasts");
        assert!((forecast.rate_per_s - 4.0).abs() < 0.1 && (forecast.service_s - 5.0).abs() < 0.1, "{forecast:?}");
        assert!((forecast.completion_rate_per_s - 4.0).abs() < 0.1 && forecast.depth < 1.0, "{forecast:?}");
        assert!(decision.detail.starts_with("4.0 tasks/s expected in 11.0 s (band "), "{}", decision.detail);
    }

    #[test]
    fn the_first_second_is_sized_for_what_it_brings() {
        let first = Observation { t: 0.0, arrivals: 10, queue_depth: 10, ready: 1, ..Observation::default() };
        let decision = policy().decide(&first);
        assert!(decision.desired >= 10, "{decision:?}");
        let idle = policy().decide(&Observation { ready: 1, ..Observation::default() });
        assert_eq!((idle.desired, idle.reason), (1, ReasonCode::Learning), "nothing came, so nothing changes");
    }

    #[test]
    fn it_rises_at_once_and_falls_after_the_hold() {
        let mut policy = policy();
        let before = run(&mut policy, 0, 600, 2).desired;
        let peak = run(&mut policy, 601, 640, 8).desired;
        assert!(peak > 2 * before, "{before} then {peak}");
        let after = policy.decide(&second(641.0, 2, 5.0));
        assert!(after.desired >= peak - 1, "held: {after:?}");
        let after = run(&mut policy, 642, 3000, 2);
        assert!(after.desired <= before + 3, "let go: {after:?}");
    }

    #[test]
    fn shadow_pools_lower_the_cost_of_a_calm_load_and_price_other_objectives() {
        let mut policy = policy();
        let before = run(&mut policy, 0, 120, 4);
        let after = run(&mut policy, 121, 1800, 4);
        assert!(after.desired <= before.desired && after.rule != before.rule, "{before:?} then {after:?}");
        let prices = policy.what_if(&[0.5, 0.99, 0.999]);
        assert!(prices.iter().all(|price| price.reachable), "{prices:?}");
        assert!(prices.windows(2).all(|pair| pair[0].agents <= pair[1].agents), "{prices:?}");
        assert!((15.0..40.0).contains(&prices[1].agents), "20 Erlang: {prices:?}");
        assert!(self::policy().what_if(&[0.99]).is_empty(), "nothing is known yet");
        assert!(policy.save().expect("it has a memory").len() < 200_000);
    }

    #[test]
    fn a_restart_neither_forgets_nor_shrinks_the_pool() {
        let mut before = policy();
        let desired = run(&mut before, 0, 600, 6).desired;
        let saved = before.save().expect("it has a memory");
        assert!(saved.starts_with("{\"version\":4,"), "{}", &saved[..40]);
        let mut after = policy();
        assert!(after.restore(&saved, 120.0));
        let quiet = Observation { t: 1.0, ready: desired, ..Observation::default() };
        assert!(after.decide(&quiet).desired >= desired, "one quiet second after a gap of two minutes is no lull");
        let still = after.decide(&Observation { t: 50.0, ..quiet });
        assert!(still.desired >= desired, "nor are fifty: {still:?}");
        // Thirty tasks are on agents.
        let again = run(&mut after, 51, 110, 6);
        assert!(again.desired >= 30 && (again.forecast.expect("set").service_s - 5.0).abs() < 0.1, "{again:?}");
    }

    #[test]
    fn a_pool_with_few_tasks_shrinks_again() {
        let mut policy = policy();
        let burst = Observation { t: 0.0, arrivals: 10, queue_depth: 10, ready: 1, ..Observation::default() };
        assert!(policy.decide(&burst).desired >= 10);
        let done =
            Observation { t: 8.0, completions: 10, mean_service_s: Some(4.0), ready: 11, ..Observation::default() };
        assert!(policy.decide(&done).desired >= 10, "too little is known");
        let quiet = |t| Observation { t, ready: 11, ..Observation::default() };
        let last = (9..2000).map(|t| policy.decide(&quiet(f64::from(t))).desired).last();
        assert_eq!(last, Some(1));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_up() {
        let mut policy = policy();
        let saved = policy.save().expect("it has a memory");
        for text in ["", "{}", "[1]", &saved.replace("\"version\":4", "\"version\":9"), &saved[..saved.len() / 2]] {
            assert!(!policy.restore(text, 1.0), "{text}");
        }
        assert!(policy.restore(&saved, f64::NAN));
    }

    #[test]
    fn irregular_ticks_change_little() {
        let mut policy = policy();
        let regular = run(&mut self::policy(), 0, 600, 4).desired;
        let mut last = 0;
        for t in 1..=600 {
            let whole = second(f64::from(t), 4, 5.0);
            let early =
                Observation { t: f64::from(t) - 0.7, arrivals: 1, completions: 0, completed: vec![], ..whole.clone() };
            policy.decide(&Observation { started: 0, mean_service_s: None, ..early });
            last = policy.decide(&Observation { arrivals: 3, ..whole }).desired;
        }
        assert!(last.abs_diff(regular) <= 3, "{last} against {regular}");
    }

    fn anything() -> impl Strategy<Value = Observation> {
        let number = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(1e300), 0.0..1e4f64];
        let count = prop_oneof![Just(0u64), Just(u64::MAX), 0..1000u64];
        let size = prop_oneof![Just(0u32), Just(u32::MAX), 0..100u32];
        let pairs = proptest::collection::vec((0..9u64, number.clone()), 0..4);
        (
            (number.clone(), count.clone(), count.clone(), proptest::option::of(number.clone())),
            (size.clone(), size.clone(), size.clone(), size),
            (proptest::option::of(number.clone()), proptest::option::of(number), count.clone(), count),
            (pairs.clone(), pairs),
        )
            .prop_map(|(a, b, c, d)| Observation {
                t: a.0,
                arrivals: a.1,
                completions: a.2,
                mean_service_s: a.3,
                queue_depth: b.0,
                in_flight: b.1,
                ready: b.2,
                starting: b.3,
                mean_context_tokens: c.0,
                cold_start_s: c.1,
                started: c.2,
                late: c.3,
                arrived: d.0,
                completed: d.1,
                ..Observation::default()
            })
    }

    proptest! {
        // Each case runs hundreds of shadows.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_observations_give_finite_needs_within_the_limits(seen in proptest::collection::vec(anything(), 1..40)) {
            let mut policy = policy();
            for seen in &seen {
                let decision = policy.decide(seen);
                prop_assert!((1..=200).contains(&decision.desired));
                prop_assert!(decision.need.is_finite() && decision.need >= 0.0);
                let forecast = decision.forecast.expect("it forecasts");
                for x in [forecast.rate_per_s, forecast.rate_low, forecast.rate_high, forecast.service_s, forecast.depth] {
                    prop_assert!(x.is_finite() && x >= 0.0, "{forecast:?}");
                }
            }
            let saved = policy.save().expect("it has a memory");
            prop_assert!(self::policy().restore(&saved, 10.0), "{saved}");
        }
    }
}
