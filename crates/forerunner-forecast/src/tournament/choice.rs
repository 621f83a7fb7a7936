//! Which rule to put in charge.

use super::score::{Score, Sums};

/// Relative gain that a challenger needs, so that equals do not take turns.
const TAKE_OVER: f64 = 0.99;

/// What a choice is made under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Terms {
    /// Share of tasks that may be late.
    pub goal: f64,
    /// Most instance-seconds worth paying for one task less that is late.
    pub price: f64,
}

/// The rule chosen and whether it meets the goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub rule: usize,
    pub meets: bool,
}

/// A rule's figures as a choice sees them: per second, both windows weighed alike.
#[derive(Debug, Clone, Copy)]
struct Figures {
    cost: f64,
    late: f64,
}

/// Picks the cheapest rule that meets the goal; where the goal is not worth its price, the rule with the least cost plus
/// price times late tasks.
///
/// Few late tasks prove little, so one standard deviation is added to each count: with little history a careful rule wins.
pub(crate) fn choose(scores: &[Score], tasks: &Sums, seconds: &Sums, terms: Terms, current: usize) -> Choice {
    let blend = |sums: &Sums| 0.5 * (sums.short() / seconds.short().max(1.0) + sums.long() / seconds.long().max(1.0));
    let arrivals = blend(tasks);
    let evidence = seconds.long().max(1.0);
    let figures = |score: &Score| {
        let late = blend(&score.late);
        let doubt = (late * evidence + 1.0).sqrt() / evidence;
        Figures { cost: blend(&score.cost_s), late: late + doubt }
    };
    let allowed = terms.goal * arrivals;
    let best = |value: &dyn Fn(Figures) -> f64| {
        let of = |rule: usize| value(figures(&scores[rule]));
        let best = (0..scores.len()).min_by(|&a, &b| of(a).total_cmp(&of(b))).unwrap_or(current);
        if of(best) < TAKE_OVER * of(current) || !of(current).is_finite() { best } else { current }
    };
    let weighed = best(&|f| f.cost + terms.price * f.late);
    if figures(&scores[weighed]).late > allowed {
        return Choice { rule: weighed, meets: false };
    }
    Choice { rule: best(&|f| if f.late <= allowed { f.cost } else { f64::INFINITY }), meets: true }
}
