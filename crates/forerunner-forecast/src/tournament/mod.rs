//! A tournament of shadow pools: many rules replay the pool's own arrivals, and the cheapest that meets the objective is in
//! charge.

mod choice;
mod event_feed;
mod levels;
mod requirements;
mod rule;
mod schedule;
mod score;
mod shadow;
mod tuning;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub(crate) use self::levels::Levels;
pub(crate) use self::requirements::{PoolState, Requirements, whole};
pub(crate) use self::rule::{EWMA_15, EWMA_60, FAST_S, ForecastInputs, RATES, RECALL, Rule, SESSIONS};
pub use self::tuning::Tuning;
use self::{
    choice::{Choice, Criteria, Record, SPARED, choose},
    event_feed::EventFeed,
    rule::rules,
    schedule::Schedule,
    score::{Lateness, Score, Sums, block_ended, keep},
    shadow::{Segment, Shadow, slot_of},
};
use crate::{Observation, PolicyLimits, WhatIf};

/// Seconds of shadow time between two choices.
const CHOOSE_EVERY_S: f64 = 10.0;
/// Seconds that a shadow pool settles in before it is scored.
const SETTLE_S: f64 = 60.0;
/// Scored seconds and tasks before the first choice.
const LEARN_S: f64 = 300.0;
const LEARN_TASKS: f64 = 50.0;
/// Arrivals per second beyond which shadow pools rest: so busy a pool's margin is a small part of it, and replaying all of
/// its tasks under every rule is not worth that part.
const MOST_PER_S: f64 = 250.0;
/// Seconds that rules have competed in which their trust grows by two thirds of what is missing.
const TRUST_S: f64 = 1800.0;
/// Recent durations from which one longer than a given time is guessed.
const GUESSES: usize = 128;
/// Range of the goal, in shares of the allowance, as it is corrected by what really was late.
const GOAL: (f64, f64) = (0.3, 1.2);

/// The learned part, which survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    rules: Vec<Score>,
    tasks: Sums,
    seconds: Sums,
    /// Of the real pool.
    started: Sums,
    late: Lateness,
    chosen: usize,
    /// How far the margin moves from the rule's own (0) to the next smaller one (1).
    #[serde(alias = "ease")]
    blend: f64,
    meets: bool,
}

/// The tournament.
#[derive(Debug, Clone)]
pub(crate) struct Tournament {
    limits: PolicyLimits,
    tuning: Tuning,
    rules: Vec<Rule>,
    /// For each rule the one that differs by the next smaller margin alone.
    next_smaller_margin: Vec<Option<usize>>,
    margins: Vec<f64>,
    /// For each rule the one whose figures it has while no sessions are known: itself, or one before it.
    twins: Vec<usize>,
    /// Whether rules by sessions play.
    by_sessions: bool,
    shadows: Vec<Shadow>,
    scores: Scores,
    feed: EventFeed,
    pending_inputs: VecDeque<ForecastInputs>,
    schedule: Schedule,
    /// So many tasks come that shadow pools rest.
    resting: bool,
    /// Shadow time, on the window's clock; `None` before the first tick was replayed.
    clock: Option<f64>,
    settled_at: f64,
    begun_at: Option<f64>,
    cold_s: f64,
    choose_at: f64,
    /// Seconds that shadow pools have run since their scores were last read.
    unscored_s: f64,
    /// Counts guesses, so that each uses another of the recent durations.
    guesses: usize,
}

impl Tournament {
    /// A tournament that knows nothing.
    pub fn new(limits: PolicyLimits, tuning: Tuning) -> Self {
        let rules = rules();
        Self {
            shadows: vec![Shadow::new(limits.min); rules.len()],
            scores: Scores { rules: vec![Score::default(); rules.len()], meets: true, ..Scores::default() },
            next_smaller_margin: next_smaller_margin(&rules),
            margins: rules.iter().map(|rule| rule.margin).collect(),
            twins: twins(&rules),
            by_sessions: false,
            rules,
            limits,
            tuning,
            feed: EventFeed::default(),
            pending_inputs: VecDeque::new(),
            schedule: Schedule::default(),
            resting: false,
            unscored_s: 0.0,
            clock: None,
            settled_at: 0.0,
            begun_at: None,
            cold_s: limits.cold_start_s,
            choose_at: 0.0,
            guesses: 0,
        }
    }

    /// Continues with what was learned. Shadow pools begin anew, so they settle before they are scored again.
    pub fn resume(&mut self, scores: Scores) {
        let fresh = Self::new(self.limits, self.tuning);
        *self = Self { scores: scores.with_sessions(&fresh.twins), ..fresh };
    }

    /// Continues under other bounds: shadow pools move to them with their next decisions.
    pub fn set_bounds(&mut self, min: u32, max: u32) {
        self.limits = PolicyLimits { min, max, ..self.limits };
    }

    /// What was learned.
    pub fn scores(&self) -> &Scores {
        &self.scores
    }

    /// The rule in charge.
    pub fn rule(&self) -> Rule {
        let rule = self.rules[self.scores.chosen];
        let smaller = self.next_smaller_margin[self.scores.chosen].map_or(rule.margin, |next| self.rules[next].margin);
        let margin = rule.margin + self.scores.blend * (smaller - rule.margin);
        // Before anything is known, a need expires after the time in which new agents could be ready.
        let stabilization_s =
            if self.scores.chosen == 0 { rule.stabilization_s.max(self.cold_s) } else { rule.stabilization_s };
        let unproven = (-self.scores.seconds.long() / TRUST_S).exp();
        Rule { margin, stabilization_s, unproven, ..rule }
    }

    /// Whether no rule has proven itself yet, so that the cautious first one is in charge.
    pub fn is_learning(&self) -> bool {
        self.scores.seconds.long() < LEARN_S || self.scores.tasks.long() < LEARN_TASKS
    }

    /// Puts the rule at this place in charge; false if there are fewer.
    #[cfg(test)]
    pub fn put_in_charge(&mut self, rule: usize) -> bool {
        (self.scores.chosen, self.scores.blend) = (rule.min(self.rules.len() - 1), 0.0);
        rule < self.rules.len()
    }

    /// Records what the real pool saw between `from` and `to`.
    pub fn observe(&mut self, from: f64, to: f64, shift_s: f64, seen: &Observation) {
        if !self.resting {
            self.feed.observe(from, to, shift_s, seen);
        }
        let begun_s = to - *self.begun_at.get_or_insert(from);
        if begun_s < SETTLE_S + 2.0 * self.cold_s {
            return;
        }
        let keep = keep(to - from);
        self.scores.started.add(keep, seen.started as f64);
        self.scores.late.add(keep, seen.late.min(seen.started) as f64);
        if block_ended(from, to) {
            self.scores.late.end_block();
        }
    }

    /// Lets the shadow pools catch up to `delay_s` ago, and chooses again when it is time.
    pub fn play(&mut self, inputs: ForecastInputs, delay_s: f64, recent: &[f64]) {
        let now = inputs.t;
        self.cold_s = inputs.cold_s;
        if inputs.rates[EWMA_60] > MOST_PER_S {
            return self.rest();
        }
        self.resting = false;
        self.pending_inputs.push_back(inputs);
        while let Some(next) = self.pending_inputs.front().copied().filter(|next| next.t <= now - delay_s) {
            self.pending_inputs.pop_front();
            self.replay(&next, now, recent);
        }
    }

    /// Forgets what waits to be replayed; scores stay.
    fn rest(&mut self) {
        if std::mem::replace(&mut self.resting, true) {
            return;
        }
        if self.clock.take().is_some() || !self.pending_inputs.is_empty() {
            self.schedule = Schedule::default();
            self.shadows.iter_mut().for_each(|shadow| *shadow = Shadow::new(self.limits.min));
            self.pending_inputs.clear();
        }
        self.feed.clear();
    }

    fn replay(&mut self, inputs: &ForecastInputs, now: f64, recent: &[f64]) {
        let Self { feed, guesses, .. } = self;
        self.schedule.put(self.clock.map(slot_of), |tasks| {
            feed.take(inputs.t, now, tasks, |above_s| guess(guesses, recent, above_s, inputs.service_s));
        });
        let from = self.clock.unwrap_or_else(|| {
            self.settled_at = inputs.t + SETTLE_S + 2.0 * inputs.cold_s;
            inputs.t
        });
        self.clock = Some(inputs.t);
        let dt = inputs.t - from;
        if inputs.by_sessions && !std::mem::replace(&mut self.by_sessions, true) {
            let places = (0..self.rules.len()).filter(|at| self.twins[*at] != *at);
            places.for_each(|at| self.shadows[at] = self.shadows[self.twins[at]].clone());
        }
        let play = |rule: &Rule| self.by_sessions || !rule.is_by_sessions();
        for (shadow, rule) in self.shadows.iter_mut().zip(&self.rules).filter(|(_, rule)| play(rule)) {
            shadow.play(&self.schedule, rule, inputs, &self.limits);
        }
        if inputs.t > self.settled_at {
            let keep = keep(dt);
            self.scores.tasks.add(keep, self.schedule.len() as f64);
            self.scores.seconds.add(keep, dt);
            self.unscored_s += dt;
        } else {
            self.shadows.iter_mut().for_each(|shadow| _ = shadow.take());
        }
        if inputs.t >= self.choose_at {
            self.choose_at = inputs.t + CHOOSE_EVERY_S;
            self.score();
            self.choose(inputs.service_s);
        }
    }

    /// Adds what shadow pools have played since the last time to their scores.
    fn score(&mut self) {
        let ended = block_ended(self.choose_at - CHOOSE_EVERY_S, self.choose_at);
        let keep = keep(std::mem::take(&mut self.unscored_s));
        let segments: Vec<Segment> = self.shadows.iter_mut().map(Shadow::take).collect();
        for (at, score) in self.scores.rules.iter_mut().enumerate() {
            let Segment { cost_s, late } = segments[if self.by_sessions { at } else { self.twins[at] }];
            score.cost_s.add(keep, cost_s);
            score.late.add(keep, late);
            if ended {
                score.late.end_block();
            }
        }
    }

    fn choose(&mut self, service_s: f64) {
        if self.is_learning() {
            return;
        }
        let (scores, tuning) = (&mut self.scores, &self.tuning);
        let allowed = 1.0 - self.limits.objective.share;
        let price = tuning.price / allowed * service_s;
        // What was really late beyond the aim has to be made up for, and what was not may be spent.
        let least = scores.rules.iter().map(|score| score.late.expected(tuning).short()).fold(f64::INFINITY, f64::min);
        let (started, aim) = (scores.started.short(), tuning.aim * allowed);
        let late =
            (scores.late.expected(tuning).short() - SPARED * least * started / scores.tasks.short().max(1.0)).max(0.0);
        let real = (late + tuning.few_tasks * aim) / (started + tuning.few_tasks);
        let goal = (2.0 * aim - real).clamp(GOAL.0 * allowed, GOAL.1 * allowed);
        let criteria = Criteria { goal, allowed, price, tuning };
        let record = Record {
            scores: &scores.rules,
            margins: &self.margins,
            next_smaller_margin: &self.next_smaller_margin,
            tasks: &scores.tasks,
            seconds: &scores.seconds,
        };
        let Choice { rule, blend, meets } = choose(record, criteria, scores.chosen);
        (scores.chosen, scores.blend, scores.meets) = (rule, blend, meets);
    }

    /// What each share of punctual tasks would have cost over about the last four hours; empty before that is known.
    pub fn what_if(&self, shares: &[f64]) -> Vec<WhatIf> {
        let scores = &self.scores;
        let (seconds, tasks) = (scores.seconds.long(), scores.tasks.long());
        if seconds < LEARN_S || tasks < LEARN_TASKS {
            return Vec::new();
        }
        shares.iter().map(|&share| self.price_of(share, seconds, tasks)).collect()
    }

    /// The cheapest rule that would have had `share` of the tasks on time, or else the most punctual one.
    fn price_of(&self, share: f64, seconds: f64, tasks: f64) -> WhatIf {
        let late = |rule: usize| self.scores.rules[rule].late.all().long() / tasks;
        let cost = |rule: usize| self.scores.rules[rule].cost_s.long() / seconds;
        let allowed = 1.0 - share;
        let all = 0..self.rules.len();
        let cheapest = all.clone().filter(|&rule| late(rule) <= allowed).min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        let punctual = || all.min_by(|&a, &b| late(a).total_cmp(&late(b)).then(cost(a).total_cmp(&cost(b))));
        let rule = cheapest.or_else(punctual).unwrap_or(self.scores.chosen);
        WhatIf {
            share,
            reachable: cheapest.is_some(),
            on_time_share: 1.0 - late(rule),
            agents: cost(rule),
            rule: self.rules[rule].words(),
        }
    }

    /// Warns where the pool misses its objective: what the objective needs, and what the pool reaches instead.
    pub fn warning(&self) -> Option<String> {
        if self.scores.meets {
            return None;
        }
        let share = self.limits.objective.share;
        let best = self.what_if(&[share]).pop()?;
        let chosen = self.scores.rules[self.scores.chosen];
        let on_time = 100.0 * (1.0 - chosen.late.all().long() / self.scores.tasks.long().max(1.0));
        let agents = chosen.cost_s.long() / self.scores.seconds.long().max(1.0);
        let objective = 100.0 * share;
        Some(if best.reachable {
            format!(
                "the objective of {objective} % on time would take {:.0} agents; the pool aims at {on_time:.1} % with {agents:.0}",
                best.agents
            )
        } else {
            let (most, at) = (100.0 * best.on_time_share, best.agents);
            format!(
                "no rule reaches the objective of {objective} % on time; the best reaches {most:.1} % with {at:.0} agents, this one {on_time:.1} % with {agents:.0}"
            )
        })
    }
}

/// One of the recent durations that is longer than `above_s`, each in turn; where few are, half as much again.
fn guess(guesses: &mut usize, recent: &[f64], above_s: f64, service_s: f64) -> f64 {
    for _ in 0..GUESSES {
        *guesses += 1;
        let Some(&guess) = recent.get(*guesses % recent.len().max(1)) else { return service_s.max(above_s) };
        if guess > above_s {
            return guess;
        }
    }
    1.5 * above_s
}

/// For each rule the one that does the same while no sessions are known.
fn twins(rules: &[Rule]) -> Vec<usize> {
    let twin = |(at, rule): (usize, &Rule)| {
        let alike = rule.without_sessions();
        rules.iter().position(|other| *other == alike).unwrap_or(at)
    };
    rules.iter().enumerate().map(twin).collect()
}

/// For each rule the one that differs by the next smaller margin alone.
fn next_smaller_margin(rules: &[Rule]) -> Vec<Option<usize>> {
    let alike = |one: &Rule, other: &Rule| Rule { margin: other.margin, ..*one } == *other;
    let of = |rule: &Rule| {
        let smaller = rules.iter().enumerate().filter(|(_, other)| alike(rule, other) && other.margin < rule.margin);
        smaller.max_by(|one, other| one.1.margin.total_cmp(&other.1.margin)).map(|(index, _)| index)
    };
    rules.iter().map(of).collect()
}

impl Scores {
    /// What was learned before there were rules by sessions: these have done what the 60 s average has, in whose place they
    /// are while no sessions are known.
    fn with_sessions(mut self, twins: &[usize]) -> Self {
        for twin in &twins[self.rules.len().min(twins.len())..] {
            self.rules.push(self.rules.get(*twin).copied().unwrap_or_default());
        }
        self
    }

    /// Whether this could have been learned by the rules there are.
    pub fn is_sound(&self) -> bool {
        let sums = [&self.tasks, &self.seconds, &self.started];
        let all = rules();
        let others = all.iter().filter(|rule| !rule.is_by_sessions()).count();
        [all.len(), others].contains(&self.rules.len())
            && self.chosen < self.rules.len()
            && (0.0..=1.0).contains(&self.blend)
            && sums.into_iter().all(Sums::is_sound)
            && self.late.is_sound()
            && self.rules.iter().all(|score| score.cost_s.is_sound() && score.late.is_sound())
    }
}

#[cfg(test)]
mod tests;
