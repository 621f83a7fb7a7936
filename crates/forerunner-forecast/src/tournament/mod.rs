//! A tournament of shadow pools: many rules replay the pool's own arrivals, and the cheapest that meets the objective is in
//! charge.

mod choice;
mod feed;
mod rule;
mod score;
mod shadow;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub(crate) use self::rule::{EWMA_60, FAST_S, Needs, Outlook, RATES, Rule, Source, Standing, whole};
use self::{
    choice::{Choice, Terms, choose},
    feed::Feed,
    rule::rules,
    score::{Score, Sums, keep},
    shadow::{Shadow, ShadowTask, Stretch},
};
use crate::{Observation, PolicyLimits};

/// Seconds of shadow time between two choices.
const CHOOSE_EVERY_S: f64 = 10.0;
/// Seconds that a shadow pool settles in before it is scored.
const SETTLE_S: f64 = 60.0;
/// Scored seconds and tasks before the first choice.
const LEARN_S: f64 = 60.0;
const LEARN_TASKS: f64 = 50.0;
/// Share of the objective's allowance that is aimed at, so that chance does not break it.
const AIM: f64 = 0.85;
/// Price cap, in service times per late task and allowed share.
const MOST_PRICE: f64 = 0.3;

/// The learned part, which survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    rules: Vec<Score>,
    tasks: Sums,
    seconds: Sums,
    /// Of the real pool.
    started: Sums,
    late: Sums,
    chosen: usize,
    meets: bool,
}

/// The tournament.
#[derive(Debug, Clone)]
pub(crate) struct Tournament {
    limits: PolicyLimits,
    rules: Vec<Rule>,
    shadows: Vec<Shadow>,
    scores: Scores,
    feed: Feed,
    outlooks: VecDeque<Outlook>,
    tasks: Vec<ShadowTask>,
    /// Shadow time, on the window's clock; `None` before the first tick was replayed.
    clock: Option<f64>,
    settled_at: f64,
    choose_at: f64,
    /// Counts guesses, so that each takes another of the recent durations.
    guesses: usize,
}

impl Tournament {
    pub fn new(limits: PolicyLimits) -> Self {
        let rules = rules();
        Self {
            shadows: vec![Shadow::new(limits.min); rules.len()],
            scores: Scores { rules: vec![Score::default(); rules.len()], meets: true, ..Scores::default() },
            rules,
            limits,
            feed: Feed::default(),
            outlooks: VecDeque::new(),
            tasks: Vec::new(),
            clock: None,
            settled_at: 0.0,
            choose_at: 0.0,
            guesses: 0,
        }
    }

    /// The rule in charge.
    pub fn rule(&self) -> &Rule {
        &self.rules[self.scores.chosen]
    }

    /// Takes in what the real pool saw between `from` and `to`.
    pub fn observe(&mut self, from: f64, to: f64, shift_s: f64, seen: &Observation) {
        self.feed.observe(from, to, shift_s, seen);
        let keep = keep(to - from);
        self.scores.started.add(keep, seen.started as f64);
        self.scores.late.add(keep, seen.late.min(seen.started) as f64);
    }

    /// Lets the shadow pools catch up to `delay_s` ago, and chooses again when it is time.
    pub fn play(&mut self, outlook: Outlook, delay_s: f64, recent: &[f64]) {
        let now = outlook.t;
        self.outlooks.push_back(outlook);
        while let Some(next) = self.outlooks.front().copied().filter(|next| next.t <= now - delay_s) {
            self.outlooks.pop_front();
            self.replay(&next, now, recent);
        }
    }

    fn replay(&mut self, outlook: &Outlook, now: f64, recent: &[f64]) {
        let guesses = &mut self.guesses;
        self.feed.take(outlook.t, now, &mut self.tasks, || {
            *guesses += 1;
            recent.get(*guesses % recent.len().max(1)).copied().unwrap_or(outlook.service_s)
        });
        let from = self.clock.unwrap_or_else(|| {
            self.settled_at = outlook.t + SETTLE_S + outlook.cold_s;
            outlook.t
        });
        self.clock = Some(outlook.t);
        let dt = outlook.t - from;
        let scored = if outlook.t > self.settled_at { 1.0 } else { 0.0 };
        let keep = if scored > 0.0 { keep(dt) } else { [1.0; 2] };
        self.scores.tasks.add(keep, scored * self.tasks.len() as f64);
        self.scores.seconds.add(keep, scored * dt);
        for ((shadow, rule), score) in self.shadows.iter_mut().zip(&self.rules).zip(&mut self.scores.rules) {
            let Stretch { cost_s, late } = shadow.play(from, &self.tasks, rule, outlook, &self.limits);
            score.cost_s.add(keep, scored * cost_s);
            score.late.add(keep, scored * late);
        }
        if outlook.t >= self.choose_at {
            self.choose_at = outlook.t + CHOOSE_EVERY_S;
            self.choose(outlook.service_s);
        }
    }

    fn choose(&mut self, service_s: f64) {
        let scores = &mut self.scores;
        if scores.seconds.long() < LEARN_S || scores.tasks.long() < LEARN_TASKS {
            return;
        }
        let allowed = 1.0 - self.limits.objective.share;
        let price = MOST_PRICE / allowed * service_s;
        let real = scores.late.long() / scores.started.long().max(1.0);
        let goal = (AIM * allowed + (AIM * allowed - real)).clamp(0.3 * allowed, 1.7 * allowed);
        let terms = Terms { goal, price };
        let Choice { rule, meets } = choose(&scores.rules, &scores.tasks, &scores.seconds, terms, scores.chosen);
        (scores.chosen, scores.meets) = (rule, meets);
    }
}
