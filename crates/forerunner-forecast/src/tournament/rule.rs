//! The rules that compete. They differ in the rate, the margin for chance and the stabilization window.

use super::{
    levels::{BEYOND, LEVELS},
    requirements::{PoolState, Requirements},
};
use crate::{announced::AnnouncedLoad, sizing::Load, trend::Rise};

/// Standard deviations by which the fast rate must exceed the forecast to take its place.
const SURGE_SIGMAS: f64 = 3.0;
/// The same for rules that do not react to surges early: what chance cannot explain.
const SURGE_SURELY_SIGMAS: f64 = 5.0;
/// Seconds for which a surge of a new pool is expected to last. A new pool knows no surge, and one of a few seconds that
/// counts for half a minute asks for more agents than are ever needed.
const SURGE_LASTS_S: f64 = 8.0;
/// Standard errors of its line by which a new pool doubts a rise. With a whole one a ramp makes too many tasks late.
const RISE_DOUBT: f64 = 0.75;
/// Seconds that the fast rate covers.
pub(crate) const FAST_S: f64 = 5.0;
/// Part of the margin that a load of which everything stays until the horizon can do without. A shortage that a new agent
/// mends within a fraction of a task makes few tasks late, one that outlasts a task makes many. Measured: at equal late
/// share the recorded loads need 0.6 times the margin at a cold start of 2 s that they need at 30 s.
const MENDED_SOON: f64 = 0.6;
/// Standard deviations added for chance to what came at this time before: as many as meet the objective before anything is
/// known.
const RECALL_MARGIN: f64 = 2.0;
/// Standard deviations added for chance while durations change, whatever the rule.
const CHANGE_MARGIN: f64 = 1.0;

/// What a rule uses as the rate at the horizon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of the rate forecasts, by its place in [`ForecastInputs::rates`].
    Rate(usize),
    /// The greatest of the quick averages and the trend: as much as there is reason to expect.
    Greatest,
    /// No forecast: the greatest number of tasks in the system within the stabilization window.
    Present,
    /// The same, and as many agents more as the margin is.
    Spares,
    /// One of the levels that the tasks in the system seldom exceed, by its place in [`ForecastInputs::levels`], or the tasks in
    /// the system with the margin where they do.
    Level(usize),
}

/// Places of the rate forecasts in [`ForecastInputs::rates`].
pub(crate) const EWMA_15: usize = 0;
pub(crate) const EWMA_60: usize = 1;
pub(crate) const EWMA_300: usize = 2;
pub(crate) const EWMA_900: usize = 3;
pub(crate) const HOLT: usize = 4;
pub(crate) const PEAK: usize = 5;
/// What came at the same point of the period before, or the 60 s average where there is no period.
pub(crate) const RECALL: usize = 6;
/// The expected tasks of sessions that pause, and of new ones; the 60 s average where no sessions are known.
pub(crate) const SESSIONS: usize = 7;
pub(crate) const RATES: usize = 8;

/// What is expected at one tick, whatever the pool: all inputs of rules except the state of their own pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ForecastInputs {
    /// Time of the tick on the window's clock, in seconds.
    pub t: f64,
    /// Seconds until an agent that starts now is ready.
    pub cold_s: f64,
    /// Seconds until an agent that starts at the next tick is ready.
    pub horizon_s: f64,
    /// Arrivals per second at the horizon by each forecast.
    pub rates: [f64; RATES],
    /// Whether sessions are known, so that [`SESSIONS`] differs from an average.
    pub by_sessions: bool,
    /// Arrivals per second over the last five seconds.
    pub fast: f64,
    /// What a clear rise of the last minute comes to at the horizon; nothing without one.
    pub rising: Rise,
    /// What came at this time of days before and is about to come again, in arrivals per second; 0 where nothing is.
    pub recalled: f64,
    /// Expected seconds on an agent of what is recalled.
    pub recalled_service_s: f64,
    /// Expected seconds on an agent.
    pub service_s: f64,
    /// The same over a longer past.
    pub service_slow_s: f64,
    /// Tasks on agents for longer than any duration known, which are assumed to stay.
    pub stuck: f64,
    /// Whether tasks on agents show that durations change.
    pub is_changing: bool,
    /// Whether a change of durations has passed so lately that tasks which came meanwhile wait still.
    pub is_recovering: bool,
    /// Most tasks in the system that ask for an agent each; infinite except while it is unknown whether tasks have
    /// become slower or have stalled.
    pub most_present: f64,
    /// Share of the tasks on agents now that are still there half-way to the horizon, and at it.
    pub still_half: f64,
    pub still_there: f64,
    /// Index of dispersion of arrivals about the forecast, at least 1.
    pub dispersion: f64,
    /// Tasks in the system that few arrivals find: see [`Levels`](super::levels::Levels).
    pub levels: [f64; LEVELS],
    /// The tasks that are known to come, in addition to all of the above.
    pub announced: AnnouncedLoad,
}

/// One competitor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    pub source: Source,
    /// Standard deviations added for chance.
    pub margin: f64,
    /// The stabilization window, in seconds: the pool has the greatest need of it.
    pub stabilization_s: f64,
    /// Whether a probable surge or a clear rise takes the forecast's place already, and not only a certain surge.
    pub surges_early: bool,
    /// How many times the variance of Poisson arrivals chance may have at most. Below that it counts as great as the
    /// recent errors of the forecasts.
    pub most_dispersion: f64,
    /// How much of its trust the rule has still to earn, from 1 in a new pool to 0 in one that knows its surges. Shadow
    /// pools show what a rule is worth that is trusted.
    pub unproven: f64,
}

impl Rule {
    /// Whether it goes by the returns of sessions.
    pub fn is_by_sessions(&self) -> bool {
        self.source == Source::Rate(SESSIONS)
    }

    /// The rule that does the same while no sessions are known.
    pub fn without_sessions(&self) -> Self {
        let source = if self.is_by_sessions() { Source::Rate(EWMA_60) } else { self.source };
        Self { source, ..*self }
    }

    /// The rule in words that an operator knows.
    pub fn words(&self) -> String {
        let source = match self.source {
            Source::Rate(EWMA_15) => "15 s average".into(),
            Source::Rate(EWMA_60) => "60 s average".into(),
            Source::Rate(EWMA_300) => "300 s average".into(),
            Source::Rate(EWMA_900) => "900 s average".into(),
            Source::Rate(HOLT) => "trend".into(),
            Source::Rate(PEAK) => "peak of the last minute".into(),
            Source::Rate(RECALL) => "the period before".into(),
            Source::Rate(_) => "returns of sessions".into(),
            Source::Greatest => "greatest of averages and trend".into(),
            Source::Present => "tasks present".into(),
            Source::Spares => {
                // Numbers of spares are eased between those of the grid, too.
                let spares = (self.margin * 10.0).round() / 10.0;
                format!("tasks present and {spares} spares, stabilisation {} s", self.stabilization_s)
            }
            Source::Level(at) => format!("level that {} % of tasks exceed", 100.0 * BEYOND[at]),
        };
        if self.source == Source::Spares {
            return source;
        }
        let early = if self.surges_early { ", early surge detection" } else { "" };
        // Margins are eased between those of the grid.
        format!("{source}{early}, margin {:.1} σ, stabilisation {} s", self.margin, self.stabilization_s)
    }

    /// What [`Requirements::basis`] counts, in words.
    pub fn basis(&self) -> &'static str {
        match self.source {
            Source::Rate(_) | Source::Greatest => "busy on average",
            Source::Present | Source::Spares => "tasks present",
            Source::Level(_) => "tasks at most as a rule",
        }
    }

    /// How many agents more than that, in words.
    pub fn spare(&self) -> String {
        match self.source {
            Source::Spares => "fixed spares".to_owned(),
            _ => format!("margin {:.1} σ", self.margin),
        }
    }

    /// The rate this rule sizes for, and whether a surge decided it.
    pub fn rate(&self, inputs: &ForecastInputs) -> (f64, bool) {
        let rate = match self.source {
            Source::Rate(at) => inputs.rates[at],
            Source::Greatest => [EWMA_15, EWMA_60, HOLT].map(|at| inputs.rates[at]).into_iter().fold(0.0, f64::max),
            Source::Present | Source::Spares | Source::Level(_) => return (0.0, false),
        };
        // Both layers only add: what they see has begun, and what the forecast sees is the long run.
        let sigmas = if self.surges_early { SURGE_SIGMAS } else { SURGE_SURELY_SIGMAS };
        let sigma = (rate.max(1.0 / FAST_S) / FAST_S).sqrt();
        let surge = inputs.fast > rate + sigmas * sigma;
        let rising = if self.surges_early { inputs.rising.less(self.unproven * RISE_DOUBT) } else { 0.0 };
        (if surge { self.surging(rate, sigma, inputs) } else { rate }.max(rising), surge)
    }

    /// The rate in a surge.
    ///
    /// A surge is found because it is extreme, so part of it is chance. A new pool counts what chance does not explain, and
    /// for as long as a surge may last.
    fn surging(&self, rate: f64, sigma: f64, inputs: &ForecastInputs) -> f64 {
        let excess = inputs.fast - rate - self.unproven * SURGE_SIGMAS * sigma;
        rate + excess * (SURGE_LASTS_S / (self.unproven * inputs.horizon_s)).min(1.0)
    }

    /// What this rule asks for in a pool of this state.
    pub fn requirements(&self, pool: &PoolState, inputs: &ForecastInputs) -> Requirements {
        let pool = &pool.with_at_most(inputs.most_present);
        let in_system = pool.in_system();
        let recalled = recalled_need(in_system, inputs);
        let (rate, surge) = self.rate(inputs);
        let own = self.need(in_system, rate, inputs);
        let announced = self.announced_need(in_system, own.need, inputs);
        let forecast = own.need + announced;
        let known_until_horizon = self.known_until_horizon(in_system, rate, inputs);
        let backlog = if self.forecasts() { self.backlog_need(pool, inputs, rate) } else { 0.0 };
        let rest = self.rest(pool, rate, own, backlog, inputs);
        Requirements {
            forecast,
            basis: own.basis,
            announced,
            backlog,
            rest,
            until_horizon: own.until_horizon,
            known_until_horizon,
            recalled,
            surge,
        }
    }

    /// Agents for announced tasks beyond the `own` need.
    ///
    /// Early announcements come on top of the forecast. Of late ones it may have learned, so the greater counts.
    fn announced_need(&self, in_system: f64, own: f64, inputs: &ForecastInputs) -> f64 {
        let known = inputs.announced;
        if known == AnnouncedLoad::default() {
            return 0.0;
        }
        let free = self.free(in_system, inputs, inputs.still_there);
        (known.early - free).max(in_system * inputs.still_there + known.all - own).max(0.0)
    }

    /// Agents for the most tasks at once between now and the horizon, announced ones included; 0 where nothing is announced.
    fn known_until_horizon(&self, in_system: f64, rate: f64, inputs: &ForecastInputs) -> f64 {
        if inputs.announced == AnnouncedLoad::default() {
            return 0.0;
        }
        let stuck = inputs.stuck.min(in_system);
        inputs.announced.most(|still_there| match self.forecasts() {
            true => stuck + self.load(in_system - stuck, rate, inputs, still_there).need(self.z(inputs)),
            false => self.need(in_system, rate, inputs).need - self.free(in_system, inputs, still_there),
        })
    }

    /// Agents of announced tasks that have ended when a share of the tasks in the system is still there.
    ///
    /// A rule without a forecast wants an agent for each task present, and assumes that tasks come as others leave.
    fn free(&self, in_system: f64, inputs: &ForecastInputs, still_there: f64) -> f64 {
        if self.forecasts() { 0.0 } else { inputs.announced.present.min(in_system) * (1.0 - still_there) }
    }

    /// The load when a share of the tasks in the system now is still there.
    fn load(&self, in_system: f64, rate: f64, inputs: &ForecastInputs, still_there: f64) -> Load {
        let dispersion = inputs.dispersion.min(self.most_dispersion);
        let service_s = if matches!(self.source, Source::Rate(EWMA_900 | SESSIONS)) {
            inputs.service_slow_s
        } else {
            inputs.service_s
        };
        Load { in_system, rate, service_s, still_there, dispersion }
    }

    /// Standard deviations added for chance.
    fn z(&self, inputs: &ForecastInputs) -> f64 {
        // Nobody knows how far a change goes; the mean that is expected then has a margin of its own.
        let is_unusual = inputs.is_changing || (inputs.is_recovering && !self.forecasts());
        let margin = if is_unusual { CHANGE_MARGIN } else { self.margin };
        margin * (1.0 - MENDED_SOON * inputs.still_there)
    }

    /// Whether the rule has a rate to size for, and so a backlog to react to.
    fn forecasts(&self) -> bool {
        matches!(self.source, Source::Rate(_) | Source::Greatest)
    }

    /// What this rule would ask for if nothing were announced.
    fn rest(&self, pool: &PoolState, rate: f64, own: Need, backlog: f64, inputs: &ForecastInputs) -> f64 {
        let known = inputs.announced;
        if known == AnnouncedLoad::default() {
            return own.need.max(backlog);
        }
        let present = known.present.min(pool.in_system());
        let need = self.need(pool.in_system() - present, rate, inputs).need;
        // Announced tasks that wait are the last to have come; others that wait need their agents for longer.
        let waiting = (pool.waiting - present).max(0.0);
        let alone = ForecastInputs { announced: AnnouncedLoad::default(), ..*inputs };
        let others = PoolState { waiting, ..*pool };
        let backlog = if self.forecasts() { self.backlog_need(&others, &alone, rate) } else { 0.0 };
        need.max(backlog)
    }

    /// Agents that drain a backlog, but never more than tasks present and those that may come until the horizon.
    fn backlog_need(&self, pool: &PoolState, inputs: &ForecastInputs, rate: f64) -> f64 {
        let AnnouncedLoad { early_before_ready, late_before_ready, .. } = inputs.announced;
        let arrivals = early_before_ready + late_before_ready.max(rate * inputs.horizon_s);
        backlog_need(pool, inputs, rate, self.unproven).min(self.most(pool.in_system(), arrivals, inputs))
    }

    /// Agents for all tasks present and so many `arrivals` until the horizon, with the margin of these.
    fn most(&self, in_system: f64, arrivals: f64, inputs: &ForecastInputs) -> f64 {
        let dispersion = inputs.dispersion.min(self.most_dispersion);
        in_system + arrivals + self.z(inputs) * (dispersion * arrivals).sqrt()
    }

    /// What the rule's own forecast asks for, with so many tasks in the system.
    fn need(&self, in_system: f64, rate: f64, inputs: &ForecastInputs) -> Need {
        // Arrivals other than announced tasks are chance; the announced ones are known.
        let by_chance = (in_system - inputs.announced.present).max(1.0);
        let present = match self.source {
            Source::Present => Some((in_system + self.margin * by_chance.sqrt(), in_system)),
            Source::Spares => Some((in_system + self.margin, in_system)),
            Source::Level(at) => {
                let level = inputs.levels[at];
                Some((level.max(in_system + self.margin * by_chance.sqrt()), level.max(in_system)))
            }
            Source::Rate(_) | Source::Greatest => None,
        };
        if let Some((need, basis)) = present.filter(|_| !inputs.is_changing && !inputs.is_recovering) {
            return Need { need, basis, until_horizon: in_system };
        }
        // The number of tasks present rises only after tasks have become slower.
        let rate = if self.forecasts() { rate } else { inputs.rates[EWMA_60] };
        let stuck = inputs.stuck.min(in_system);
        let load = |still_there| self.load(in_system - stuck, rate, inputs, still_there);
        let z = self.z(inputs);
        let ahead = load(inputs.still_there);
        // A rule of tasks present keeps its own margin or spares, for the tasks that are expected then.
        let expected = stuck + ahead.mean();
        let own = match self.source {
            Source::Spares => expected + self.margin,
            Source::Present | Source::Level(_) => expected + self.margin * expected.max(1.0).sqrt(),
            Source::Rate(_) | Source::Greatest => 0.0,
        };
        // The margin is for what may come: tasks present need an agent each at most.
        let need = (stuck + ahead.need(z)).max(own).min(self.most(in_system, rate * inputs.horizon_s, inputs));
        let until_horizon = need.max(stuck + load(inputs.still_half).need(z)).max(in_system);
        Need { need, basis: stuck + ahead.mean(), until_horizon }
    }
}

/// What a rule's own forecast asks for, in agents.
#[derive(Debug, Clone, Copy)]
struct Need {
    need: f64,
    /// The part of it that is no margin.
    basis: f64,
    /// Greatest between now and the horizon.
    until_horizon: f64,
}

/// Agents for what came at this time of days before, whatever the rule; 0 where nothing is about to come.
fn recalled_need(in_system: f64, inputs: &ForecastInputs) -> f64 {
    let ForecastInputs { recalled: rate, recalled_service_s: service_s, still_there, .. } = *inputs;
    if rate == 0.0 {
        return 0.0;
    }
    let load = Load { in_system, rate, service_s, still_there, dispersion: 1.0 };
    load.need(RECALL_MARGIN * (1.0 - MENDED_SOON * still_there))
}

/// Agents that drain a backlog; 0 without tasks left over.
///
/// Within a cold start the idle agents take a task each, the busy ones as many as they finish, and the starting ones, which
/// are ready half-way on average, half as many, but at least one.
/// What then still waits is drained over the longer of a cold start and a task. The agents for that come to those for the
/// load if the rule is `unproven`, and to all that there are if it is trusted: then the backlog is the load that counts.
fn backlog_need(pool: &PoolState, inputs: &ForecastInputs, rate: f64, unproven: f64) -> f64 {
    let ForecastInputs { cold_s, service_s, announced, .. } = *inputs;
    let AnnouncedLoad { early_before_ready, late_before_ready, .. } = announced;
    if pool.waiting + early_before_ready + late_before_ready == 0.0 {
        return 0.0;
    }
    let busy = (pool.in_flight - pool.draining - inputs.stuck).max(0.0);
    let rounds = cold_s / service_s;
    let taken = pool.ready + pool.starting * (0.5 * rounds).max(1.0) + busy * rounds;
    let coming = early_before_ready + late_before_ready.max(rate * cold_s);
    let left = pool.waiting + coming - taken;
    if left <= 0.0 {
        return 0.0;
    }
    let drain = left * service_s / cold_s.max(service_s);
    let (size, load) = (pool.size(), rate * service_s);
    let (careful, bold) = (size.max(load + drain), size.max(load) + drain);
    bold + unproven * (careful - bold)
}

/// Margins and stabilization windows of the 60 s average, which wins on most calm loads.
const FINE: ([f64; 9], [f64; 5]) = ([0.0, 0.5, 1.0, 1.4, 1.8, 2.3, 2.9, 3.7, 5.0], [1.0, 10.0, 30.0, 90.0, 300.0]);
/// Of the other forecasts.
const COARSE: ([f64; 5], [f64; 3]) = ([0.5, 1.2, 2.0, 3.0, 4.5], [5.0, 30.0, 180.0]);
/// Of the rules without a forecast.
const PRESENT: ([f64; 5], [f64; 6]) = ([0.0, 1.0, 2.0, 3.0, 4.5], [30.0, 120.0, 300.0, 600.0, 1200.0, 2400.0]);

/// Agents more than tasks, and stabilization windows, of the rules with spares.
const SPARES: ([f64; 6], [f64; 3]) = ([1.0, 2.0, 3.0, 4.0, 6.0, 9.0], [5.0, 60.0, 600.0]);
/// Of the rules with a level.
const ABOVE_LEVEL: ([f64; 2], [f64; 2]) = ([0.0, 1.0], [5.0, 120.0]);

/// Of the rule in charge at first. Its window is a cold start where that is longer.
const PRIOR_MARGIN: f64 = 2.5;
/// Before rules have competed, a few misses are a poor measure of chance. With none of it a pool is late on a ramp.
const PRIOR_DISPERSION: f64 = 1.5;
pub(crate) const PRIOR_STABILIZATION_S: f64 = 10.0;

/// All competitors, always in the same order. The first is the one in charge until others have proven themselves.
pub(crate) fn rules() -> Vec<Rule> {
    let prior = Rule {
        source: Source::Greatest,
        margin: PRIOR_MARGIN,
        stabilization_s: PRIOR_STABILIZATION_S,
        surges_early: true,
        most_dispersion: PRIOR_DISPERSION,
        unproven: 0.0,
    };
    let mut rules = vec![prior];
    let mut add = |source, margins: &[f64], windows: &[f64], surges_early| {
        for &stabilization_s in windows {
            rules.extend(margins.iter().map(|&margin| Rule {
                source,
                margin,
                stabilization_s,
                surges_early,
                // Their margins compete, so that each load finds the margin for its own chance.
                most_dispersion: 1.0,
                unproven: 0.0,
            }));
        }
    };
    for surges_early in [true, false] {
        add(Source::Rate(EWMA_60), &FINE.0, &FINE.1, surges_early);
        for at in [EWMA_15, EWMA_300, EWMA_900, HOLT, PEAK, RECALL] {
            add(Source::Rate(at), &COARSE.0, &COARSE.1, surges_early);
        }
    }
    add(Source::Present, &PRESENT.0, &PRESENT.1, false);
    add(Source::Spares, &SPARES.0, &SPARES.1, false);
    for at in 0..LEVELS {
        add(Source::Level(at), &ABOVE_LEVEL.0, &ABOVE_LEVEL.1, false);
    }
    // Last, so that what was learned without them can be restored.
    add(Source::Rate(SESSIONS), &FINE.0, &FINE.1[..4], false);
    rules
}
