//! The policy that sizes a pool for what will arrive by the time a new agent is ready.

mod explain;
mod learned;
mod needs_before;
pub(crate) mod sanitize;
mod settings;

use self::{
    explain::{Explanation, explain},
    learned::Learned,
    needs_before::{NeedsBefore, Turn},
    sanitize::{bounded, sanitized},
};
use crate::{
    AnnouncedDemand, Decision, Error, Forecast, Observation, Policy, PolicyLimits, ReasonCode, WhatIf,
    announced::{Ahead, AnnouncedLoad, without},
    forecaster::RateForecast,
    sessions,
    sizing::Load,
    tournament::{
        EWMA_15, EWMA_60, FAST_S, ForecastInputs, PoolState, RATES, RECALL, Requirements, SESSIONS, Tournament, Tuning,
        whole,
    },
    trend::{Trend, rising_rate},
    window::Sample,
};

pub use self::settings::PredictiveSettings;

/// Seconds after a restore in which the pool does not shrink: the time constant of the forecast that is in charge at first.
const SETTLE_S: f64 = 60.0;
/// Seconds that the completion rate reported with a forecast is averaged over.
const RECENT_S: f64 = 60.0;
/// Fewest seconds over which arrivals count as a rate: a new pool counts on no more until it has seen so many.
const LEAST_S: f64 = 2.0;
/// Shadow pools replay this many mean service times late, so that most true durations are known, within these seconds.
const DELAY_SERVICES: f64 = 4.0;
const DELAY_S: (f64, f64) = (20.0, 120.0);
/// Part of the tasks that an agent starts on average within the objective's time which is counted on.
const STARTS_COUNTED: f64 = 0.9;

/// Forecasts arrivals and durations at the horizon and keeps the agents that the load there needs.
///
/// The horizon is the measured cold start plus a tick: what an agent asked for now can still help. The size is a
/// quantile of the concurrency there ([`Load::need`]), not a target utilisation. It rises at once and falls only to the
/// greatest need of the stabilization window. Two reactive layers complement the forecast: a surge overrides the rate, and a
/// backlog that the agents present and starting cannot take adds agents. Shadow pools choose the forecast, the margin and the
/// window in charge: they replay the pool's recent past under some 340 rules.
#[derive(Debug, Clone)]
pub struct Predictive {
    settings: PredictiveSettings,
    limits: PolicyLimits,
    learned: Learned,
    tournament: Tournament,
    /// Seconds to add to an observation's time to get the window's. A tick at least, so that time 0 has one before it.
    shift_s: f64,
    /// Seconds to add to it to get the calendar's, on which no tick is lost or won at a restart.
    calendar_shift_s: f64,
    /// Whether nothing was observed since the start or the restore.
    fresh: bool,
    /// Until this time on the window's clock the first announcement counts as early: it may have been known for long before
    /// the start or the restore.
    news_until: f64,
    /// Until this time on the window's clock the pool does not shrink, because of a restore.
    settles_at: f64,
    needs_before: NeedsBefore,
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
            learned: Learned { desired: limits.min, ..Learned::new(&settings) },
            tournament: Tournament::new(limits, tuning),
            shift_s: limits.tick_s,
            calendar_shift_s: limits.tick_s,
            fresh: true,
            news_until: SETTLE_S,
            settles_at: 0.0,
            needs_before: NeedsBefore::default(),
        })
    }

    /// Seconds until an agent asked for now is ready.
    fn cold_start_s(&self, seen: &Observation) -> f64 {
        // A node that has just begun has started no agent yet, and neither has one that takes over from another.
        let measured = seen.cold_start_s.filter(|s| *s > 0.0).or(self.learned.cold_start_s);
        measured.unwrap_or(self.limits.cold_start_s)
    }

    /// Records what was seen and returns its time on the window's clock.
    fn observe(&mut self, seen: &Observation) -> f64 {
        let cold_s = self.cold_start_s(seen);
        let horizon_s = cold_s + self.limits.tick_s;
        let learned = &mut self.learned;
        learned.cold_start_s = seen.cold_start_s.filter(|s| *s > 0.0).or(learned.cold_start_s);
        let mut now = seen.t + self.shift_s;
        let today = seen.t + self.calendar_shift_s;
        let mut since_s = today - learned.calendar.now();
        if std::mem::take(&mut self.fresh) {
            since_s = since_s.min(self.limits.tick_s);
            // What the first observation reports counts as if it had happened within one tick.
            learned.skip_to(now - self.limits.tick_s);
        }
        let before = learned.window.now();
        now = now.max(before);
        let is_first = now <= self.news_until;
        let announced = learned.announcements.observe(now, horizon_s, is_first, seen);
        if !seen.announced.is_empty() {
            self.news_until = f64::NEG_INFINITY;
        }
        // A task that waits for the turn before needs no agent yet.
        let (seen, announced) = learned.sessions.observe((now, now - before), announced, seen);
        let seen = &*seen;
        // Rates are learned from what nobody announced.
        let rest = &*without(announced, seen);
        let arrivals = rest.arrivals as f64;
        learned.window.record(now, self.shift_s, rest);
        learned.calendar.observe(today, since_s, arrivals, horizon_s);
        learned.rates.observe(&learned.window, arrivals, now - before, horizon_s);
        let was_slower = learned.service.factor() > 1.0;
        let shift = learned.service.observe(now - before, seen);
        let turn = Turn::of(was_slower, &learned.service, shift);
        self.needs_before.follow(turn, &mut learned.recent_needs);
        learned.observed_s += now - before;
        let in_system = f64::from(seen.in_flight) + f64::from(seen.queue_depth);
        if learned.announcements.are_any() {
            let present = self.announced_load(now, seen).present;
            self.learned.levels.observe(now - before, arrivals, (in_system - present).max(0.0));
        } else {
            learned.levels.observe(now - before, arrivals, in_system);
        }
        self.tournament.observe(before, now, self.shift_s, seen);
        now
    }

    /// What is expected now, by every forecast.
    fn inputs(&self, seen: &Observation) -> ForecastInputs {
        let learned = &self.learned;
        let window = &learned.window;
        let cold_s = self.cold_start_s(seen);
        let horizon_s = cold_s + self.limits.tick_s;
        let service_s = learned.service.forecast(window, horizon_s).mean_s;
        let still_there = |ahead_s| learned.service.still_there(ahead_s, service_s);
        let mut rates = [0.0; RATES];
        if let Some(members) = learned.rates.members(window.now(), horizon_s) {
            rates[..members.len()].copy_from_slice(&members);
            let least = members[EWMA_15].min(members[EWMA_60]);
            let recalled = learned.rates.recalled(window.now() + horizon_s);
            rates[RECALL] = recalled.map_or(members[EWMA_60], |rate| rate.max(least));
            rates[SESSIONS] = match learned.sessions.are_known() {
                true => learned.sessions.rate(&sessions::Ahead {
                    horizon_s,
                    survival: |ages_s| learned.service.survival_at(ages_s, service_s),
                    still_there,
                }),
                false => members[EWMA_60],
            };
        }
        // The first tasks come at once, and a rate over a second or two would be that of a burst.
        let known = (learned.observed_s / LEAST_S).min(1.0);
        rates.iter_mut().for_each(|rate| *rate *= known);
        // In a stall more tasks wait than are ever present otherwise, and more agents would not help.
        let rate = rates[EWMA_15].max(rates[EWMA_60]);
        let most_present = if learned.service.is_guessed() { (rate * service_s).max(1.0) } else { f64::INFINITY };
        let recalled = learned.calendar.recalled().map_or(0.0, |recalled| recalled.rate);
        ForecastInputs {
            t: window.now(),
            cold_s,
            horizon_s,
            rates,
            by_sessions: learned.sessions.are_known(),
            fast: known * window.rate(Sample::Arrivals, FAST_S).unwrap_or(0.0),
            rising: rising_rate(window, horizon_s).unwrap_or_default(),
            recalled,
            // The few tasks of a quiet hour are weak evidence of the durations of a busy one.
            recalled_service_s: if recalled > 0.0 { service_s.max(learned.service.recent_mean_s()) } else { service_s },
            service_s,
            service_slow_s: learned.service.slow_mean_s() * learned.service.factor(),
            stuck: learned.service.stuck(),
            is_changing: learned.service.is_unsettled(),
            is_recovering: learned.service.is_recovering(),
            most_present,
            still_half: still_there(0.5 * horizon_s),
            still_there: still_there(horizon_s),
            dispersion: learned.rates.dispersion().max(1.0),
            levels: learned.levels.levels(),
            announced: self.announced_load(window.now(), seen),
        }
    }

    /// What is known to come about the horizon.
    fn announced_load(&self, now: f64, seen: &Observation) -> AnnouncedLoad {
        let learned = &self.learned;
        if !learned.announcements.are_any() {
            return AnnouncedLoad::default();
        }
        let cold_s = self.cold_start_s(seen);
        let horizon_s = cold_s + self.limits.tick_s;
        let max_starting = seen.max_starting.map_or(f64::INFINITY, f64::from);
        let service = learned.service.forecast(&learned.window, horizon_s);
        let starts = learned.service.starts_within(self.limits.objective.within_s, service.mean_s);
        let starts_per_agent = (STARTS_COUNTED * starts).max(1.0);
        let survival = learned.service.survival(service.mean_s);
        let still_there = |ahead_s| learned.service.still_there(ahead_s, service.mean_s);
        let ahead = Ahead { now, cold_s, horizon_s, max_starting, starts_per_agent, survival, still_there };
        learned.announcements.load(ahead)
    }

    /// The announced tasks in figures for people and programs.
    fn announced_demand(&self, requirements: &Requirements, horizon_s: f64) -> AnnouncedDemand {
        let (now, announcements) = (self.learned.window.now(), &self.learned.announcements);
        let next = announcements.next(now);
        AnnouncedDemand {
            within_horizon: announcements.within(now, horizon_s),
            agents: whole(bounded(requirements.announced)),
            next_in_s: next.map(|(seconds, _)| seconds),
            next_tasks: next.map_or(0, |(_, tasks)| tasks),
        }
    }

    fn expectation(&self, seen: &Observation, inputs: &ForecastInputs, rate: f64) -> Forecast {
        let learned = &self.learned;
        let window = &learned.window;
        let horizon_s = inputs.cold_s + self.limits.tick_s;
        let band = learned.rates.forecast(window, horizon_s).unwrap_or(RateForecast::NOTHING);
        let load = Load {
            in_system: f64::from(seen.in_flight) + f64::from(seen.queue_depth),
            rate,
            service_s: inputs.service_s,
            still_there: inputs.still_there,
            dispersion: 1.0,
        };
        Forecast {
            horizon_s,
            rate_per_s: rate,
            sessions_rate_per_s: learned.sessions.are_known().then_some(inputs.rates[SESSIONS]),
            rate_low: band.low.min(rate),
            rate_high: band.high.max(rate),
            service_s: inputs.service_s,
            depth: bounded(load.waiting(f64::from(seen.size()))),
            completion_rate_per_s: window.rate(Sample::Completions, RECENT_S).unwrap_or(0.0),
            capacity_per_s: window.rate(Sample::Capacity, window.span_s()).unwrap_or(0.0),
            capacity_trend: Trend::of(window, Sample::Capacity).map_or(0.0, |trend| trend.slope),
            service_change: learned.service.factor(),
            completion_trend: Trend::of(window, Sample::Completions).map_or(0.0, |trend| trend.slope),
            service_trend: Trend::of(window, Sample::Service).map_or(0.0, |trend| trend.slope),
            announced: AnnouncedDemand::default(),
        }
    }

    /// Goes on from what is known. The next observation has `t = 0` or later.
    fn begin_with(&mut self, mut learned: Learned) {
        let begin = learned.window.now();
        self.tournament.resume(std::mem::take(&mut learned.scores));
        self.calendar_shift_s = learned.calendar.now();
        self.learned = learned;
        self.shift_s = begin + self.limits.tick_s;
        self.fresh = true;
        // Nothing is known about the time away, so the size before it stays for a while.
        self.settles_at = begin + SETTLE_S;
        self.news_until = begin + SETTLE_S;
    }

    /// Seconds that shadow pools are behind.
    fn delay_s(&self) -> f64 {
        (DELAY_SERVICES * self.learned.service.mean_s()).clamp(DELAY_S.0, DELAY_S.1)
    }
}

/// The state of the real pool.
fn pool_state(seen: &Observation) -> PoolState {
    PoolState {
        waiting: f64::from(seen.queue_depth),
        in_flight: f64::from(seen.in_flight),
        draining: f64::from(seen.draining),
        ready: f64::from(seen.ready),
        starting: f64::from(seen.starting),
    }
}

/// Whether the pool has neither tasks nor agents, and none are on their way.
fn is_empty(seen: &Observation, pool: &PoolState) -> bool {
    seen.arrivals == 0 && pool.in_system() == 0.0 && pool.size() == 0.0
}

impl Policy for Predictive {
    fn name(&self) -> &'static str {
        "predictive"
    }

    fn interval_s(&self) -> f64 {
        self.limits.tick_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let seen = &*sanitized(seen, self.learned.window.now() - self.shift_s);
        let now = self.observe(seen);
        let inputs = self.inputs(seen);
        self.tournament.play(inputs, self.delay_s(), self.learned.service.recent());
        let rule = self.tournament.rule();
        let pool = pool_state(seen);
        let is_asleep = self.learned.desired == 0 && is_empty(seen, &pool);
        let requirements = match is_asleep {
            true => rule.requirements(&pool, &inputs).asleep(&rule),
            false => rule.requirements(&pool, &inputs),
        };
        let need = bounded(requirements.greatest());
        let rest = bounded(requirements.rest);
        self.learned.recent_needs.push(now, rest);
        // The window of a rule that has just come into charge may reach back to before the pool was empty.
        let recent = self.learned.recent_needs.greatest_since(now - rule.stabilization_s).filter(|_| !is_asleep);
        let recent = recent.map_or(rest, |(_, need)| need);
        // Agents that were asked for and have not begun to start, since only so many start at once, are asked for still.
        let asked = pool.size().max(f64::from(self.learned.desired));
        let mut wanted = bounded(requirements.wanted(recent, pool.size(), asked));
        let recalled =
            self.learned.calendar.recalled().filter(|_| requirements.is_recalled(recent, pool.size(), asked));
        let need = if recalled.is_some() { wanted } else { need };
        let learning = !self.learned.has_learned() || now < self.settles_at;
        // Agents for announced tasks alone stop when these have ended, whatever the pool has learned.
        let mut for_rest = bounded(recent.max(requirements.recalled));
        if learning {
            for_rest = for_rest.max(f64::from(self.learned.desired_for_rest.unwrap_or(self.learned.desired)));
            wanted = wanted.max(for_rest);
        }
        self.learned.desired_for_rest = Some(self.limits.clamp(whole(for_rest)));
        let desired = self.limits.clamp(whole(wanted));
        let before = std::mem::replace(&mut self.learned.desired, desired);
        let Requirements { forecast: ahead, announced, backlog, surge, .. } = requirements;
        let reason = match () {
            // In the way of what is wanted now. That more was needed a while ago is no reason to raise the bound.
            () if desired < whole(bounded(requirements.wanted(need, pool.size(), asked))) => ReasonCode::Bounded,
            () if desired > before && backlog > ahead => ReasonCode::Backlog,
            () if desired > before && whole(ahead - announced) <= before => ReasonCode::Announced,
            () if desired > before && surge => ReasonCode::Surge,
            () if desired > before => ReasonCode::ForecastUp,
            () if learning => ReasonCode::Learning,
            () if desired < before => ReasonCode::ForecastDown,
            () if f64::from(desired) > need.ceil() && desired > self.limits.min => ReasonCode::Stabilizing,
            () => ReasonCode::Steady,
        };
        let rate = match rule.rate(&inputs) {
            (rate, _) if rate > 0.0 => rate,
            _ => inputs.rates[EWMA_60],
        };
        let mut forecast = self.expectation(seen, &inputs, bounded(rate.max(inputs.recalled)));
        forecast.announced = self.announced_demand(&requirements, forecast.horizon_s);
        let warning = self.tournament.warning();
        let habit = recalled.map(|recalled| recalled.habit);
        let explanation = Explanation {
            seen,
            forecast: &forecast,
            rule: &rule,
            requirements: &requirements,
            is_learning: self.tournament.is_learning(),
            habit,
            rate,
            need,
            desired,
            reason,
            shift: self.learned.service.shift(),
            warning,
        };
        let rule = habit.map_or_else(|| rule.words(), |habit| format!("{}; else {}", habit.words(), rule.words()));
        Decision { desired, need, reason, detail: explain(&explanation), rule: rule.into(), forecast: Some(forecast) }
    }

    fn set_bounds(&mut self, min: u32, max: u32) -> bool {
        self.limits = PolicyLimits { min, max, ..self.limits };
        self.tournament.set_bounds(min, max);
        true
    }

    fn band_coverage(&self) -> Option<f64> {
        self.learned.rates.coverage()
    }

    fn what_if(&self, shares: &[f64]) -> Vec<WhatIf> {
        self.tournament.what_if(shares)
    }

    fn return_chances(&self) -> Vec<(f64, f64)> {
        let cold_s = self.learned.cold_start_s.unwrap_or(self.limits.cold_start_s);
        self.learned.sessions.return_chances(cold_s + self.limits.tick_s)
    }

    fn save(&self) -> Option<String> {
        // Nothing in the memory can fail to be written: plain numbers in plain structures.
        let learned = Learned { scores: self.tournament.scores().clone(), ..self.learned.clone() };
        serde_json::to_string(&learned).ok()
    }

    fn restore(&mut self, saved: &str, away_s: f64) -> bool {
        let Some(mut learned) = Learned::read(saved, &self.settings) else { return false };
        learned.pass(away_s);
        learned.service.resume();
        self.begin_with(learned);
        true
    }

    fn learned_tasks(&self) -> u64 {
        self.learned.service.completed() as u64
    }

    fn teach(&mut self, saved: &str, away_s: f64) -> bool {
        let Some(recorded) = Learned::read(saved, &self.settings) else { return false };
        let known = std::mem::replace(&mut self.learned, Learned::new(&self.settings));
        self.begin_with(known.taught_by(recorded, away_s));
        true
    }

    fn adopt(&mut self, saved: &str) -> bool {
        let Some(other) = Learned::read(saved, &self.settings) else { return false };
        self.learned.adopt(other);
        true
    }
}

#[cfg(test)]
mod tests;
