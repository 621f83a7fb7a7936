//! Which rule to put in charge.

use super::{
    score::{Score, Sums},
    tuning::Tuning,
};

/// Relative gain that a challenger needs, so that equals do not take turns.
const TAKE_OVER: f64 = 0.98;

/// Standard deviations added to every count of late tasks: few late tasks prove little, and the best of many rules is
/// partly lucky. The correction by what really was late mends the rest.
const DOUBT: f64 = 1.0;

/// The prior: a rule of [`Tuning::prior_margin`] just meets the objective, and each further standard deviation divides late
/// tasks by e to the power of this. What a calm quarter of an hour has shown does not prove that load will stay calm.
const PRIOR_SLOPE: f64 = 1.2;

/// Part of the late tasks that no rule could have helped which does not count against any: to be dearer afterwards does not
/// undo a burst that nobody could foresee.
pub(crate) const SPARED: f64 = 1.0;

/// What a choice is made under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Criteria<'a> {
    /// Share of tasks that may be late.
    pub goal: f64,
    /// Share that the objective allows.
    pub allowed: f64,
    /// Most instance-seconds worth paying for one task less that is late.
    pub price: f64,
    pub tuning: &'a Tuning,
}

/// What the shadow pools have shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub scores: &'a [Score],
    /// Standard deviations that each rule adds for chance.
    pub margins: &'a [f64],
    /// For each rule the one that differs by the next smaller margin alone.
    pub next_smaller_margin: &'a [Option<usize>],
    pub tasks: &'a Sums,
    pub seconds: &'a Sums,
}

/// The rule chosen and whether it meets the goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub rule: usize,
    /// How far its margin may move from its own (0) to the next smaller one (1).
    pub blend: f64,
    pub meets: bool,
}

/// A rule's figures as a choice sees them: per second, both windows weighed alike.
#[derive(Debug, Clone, Copy)]
struct RuleScore {
    cost: f64,
    late: f64,
}

/// Picks the cheapest rule that meets the goal; where the goal is not worth its price, the rule with the least cost plus
/// price times late tasks.
///
/// Margins come in steps, and a step may make ten times fewer tasks late. Between a rule that meets the goal and the
/// one with the next smaller margin that does not, cost is assumed to be linear in the margin and the count of late
/// tasks exponential, as in the tail of a distribution; the margin that just meets the goal is what the rule is
/// compared with, and is used.
///
/// Counts of late tasks have a doubt that fades with history, so with little history a careful rule wins.
pub(crate) fn choose(record: Record<'_>, criteria: Criteria<'_>, current: usize) -> Choice {
    let Record { scores, next_smaller_margin, tasks, seconds, .. } = record;
    let per_s = |sums: &Sums| 0.5 * (sums.short() / seconds.short().max(1.0) + sums.long() / seconds.long().max(1.0));
    let arrivals = per_s(tasks);
    let allowed = criteria.goal * arrivals;
    let rule_scores = rule_scores(record, per_s, criteria.allowed * arrivals, criteria.tuning);
    let best = |value: &dyn Fn(usize) -> f64| {
        let best = (0..scores.len()).min_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap_or(current);
        if value(best) < TAKE_OVER * value(current) || !value(current).is_finite() { best } else { current }
    };
    let weighed = best(&|rule| rule_scores[rule].cost + criteria.price * rule_scores[rule].late);
    if rule_scores[weighed].late > allowed {
        return Choice { rule: weighed, blend: 0.0, meets: false };
    }
    let blend = |rule: usize| {
        let bold =
            next_smaller_margin[rule].map(|bold| rule_scores[bold]).filter(|bold| bold.late > allowed && allowed > 0.0);
        bold.map_or(0.0, |bold| {
            ((allowed / rule_scores[rule].late).ln() / (bold.late / rule_scores[rule].late).ln()).clamp(0.0, 1.0)
        })
    };
    let eased = |rule: usize| {
        let own = rule_scores[rule];
        let bold = next_smaller_margin[rule].map_or(own, |bold| rule_scores[bold]);
        if own.late <= allowed { own.cost + blend(rule) * (bold.cost - own.cost) } else { f64::INFINITY }
    };
    let costs: Vec<f64> = (0..scores.len()).map(eased).collect();
    let rule = best(&|rule| costs[rule]);
    Choice { rule, blend: blend(rule), meets: true }
}

/// Every rule's cost and late tasks a second, the latter with doubt and prior; `allowed` are late tasks a second.
fn rule_scores(record: Record<'_>, per_s: impl Fn(&Sums) -> f64, allowed: f64, tuning: &Tuning) -> Vec<RuleScore> {
    let late: Vec<f64> = record.scores.iter().map(|score| per_s(&score.late.expected(tuning))).collect();
    let unavoidable = SPARED * late.iter().copied().fold(f64::INFINITY, f64::min);
    let (evidence, arrivals) = (record.seconds.long().max(1.0), per_s(record.tasks).max(1.0));
    let weight = tuning.prior_s / evidence;
    let rule_scores = |((score, late), margin): ((&Score, f64), &f64)| {
        let late = late - unavoidable;
        // A shortage of a given length makes more tasks late where more arrive, and proves the same.
        let doubt = DOUBT * ((late * evidence + 1.0) * arrivals).sqrt() / evidence;
        let prior = allowed * (PRIOR_SLOPE * (tuning.prior_margin - margin)).exp();
        RuleScore { cost: per_s(&score.cost_s), late: (late + doubt + weight * prior) / (1.0 + weight) }
    };
    record.scores.iter().zip(late).zip(record.margins).map(rule_scores).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::score::Lateness, *};

    const STILL: [f64; 2] = [1.0; 2];

    fn sums(value: f64) -> Sums {
        let mut sums = Sums::default();
        sums.add(STILL, value);
        sums
    }

    /// Late tasks in four blocks.
    fn often(late: f64) -> Lateness {
        let mut often = Lateness::default();
        for _ in 0..4 {
            often.add(STILL, 0.25 * late);
            often.end_block();
        }
        often
    }

    /// Three rules over 1000 s and 10,000 tasks: cheap and late, middling, dear and punctual.
    fn scores() -> [Score; 3] {
        [(2000.0, 800.0), (3000.0, 60.0), (9000.0, 0.0)]
            .map(|(cost, late)| Score { cost_s: sums(cost), late: often(late) })
    }

    fn chosen(goal: f64, price: f64) -> Choice {
        let (scores, tasks, seconds) = (scores(), sums(10_000.0), sums(1000.0));
        choose(
            Record {
                scores: &scores,
                margins: &[9.0; 3],
                next_smaller_margin: &[None; 3],
                tasks: &tasks,
                seconds: &seconds,
            },
            Criteria { goal, allowed: goal, price, tuning: &Tuning::default() },
            0,
        )
    }

    #[test]
    fn the_cheapest_rule_that_meets_the_goal_is_chosen() {
        assert_eq!(chosen(0.1, 1000.0), Choice { rule: 0, blend: 0.0, meets: true });
        assert_eq!(chosen(0.01, 1000.0), Choice { rule: 1, blend: 0.0, meets: true });
        assert_eq!(chosen(0.001, 1000.0), Choice { rule: 2, blend: 0.0, meets: true });
    }

    #[test]
    fn a_goal_that_is_not_worth_its_price_is_not_met() {
        // The last step costs 6000 instance-seconds for 60 tasks.
        assert_eq!(chosen(0.001, 50.0), Choice { rule: 1, blend: 0.0, meets: false });
        assert_eq!(chosen(0.00001, 1000.0), Choice { rule: 2, blend: 0.0, meets: false });
    }

    #[test]
    fn little_history_proves_little() {
        let (scores, tasks, seconds) = ([Score::default(); 2], sums(10.0), sums(100.0));
        let record = Record {
            scores: &scores,
            margins: &[9.0; 2],
            next_smaller_margin: &[None; 2],
            tasks: &tasks,
            seconds: &seconds,
        };
        let criteria = Criteria { goal: 0.01, allowed: 0.01, price: 1.0, tuning: &Tuning::default() };
        let few = choose(record, criteria, 1);
        assert_eq!(few, Choice { rule: 1, blend: 0.0, meets: false });
    }
}
