//! Which rule to put in charge.

use super::score::{Score, Sums};

/// Relative gain that a challenger needs, so that equals do not take turns.
const TAKE_OVER: f64 = 0.98;

/// Standard deviations added to every count of late tasks: few late tasks prove little, and the best of many rules is
/// partly lucky. The correction by what really was late mends the rest.
const DOUBT: f64 = 0.6;

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
/// Counts of late tasks are taken with a doubt that fades with history, so with little of it a careful rule wins.
pub(crate) fn choose(scores: &[Score], tasks: &Sums, seconds: &Sums, terms: Terms, current: usize) -> Choice {
    let blend = |sums: &Sums| 0.5 * (sums.short() / seconds.short().max(1.0) + sums.long() / seconds.long().max(1.0));
    let arrivals = blend(tasks);
    let evidence = seconds.long().max(1.0);
    let figures = |score: &Score| {
        let late = blend(&score.late);
        let doubt = DOUBT * (late * evidence + 1.0).sqrt() / evidence;
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

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: [f64; 2] = [1.0; 2];

    fn sums(value: f64) -> Sums {
        let mut sums = Sums::default();
        sums.add(STILL, value);
        sums
    }

    /// Three rules over 1000 s and 10,000 tasks: cheap and late, middling, dear and punctual.
    fn scores() -> [Score; 3] {
        [(2000.0, 800.0), (3000.0, 60.0), (9000.0, 0.0)]
            .map(|(cost, late)| Score { cost_s: sums(cost), late: sums(late) })
    }

    fn chosen(goal: f64, price: f64) -> Choice {
        choose(&scores(), &sums(10_000.0), &sums(1000.0), Terms { goal, price }, 0)
    }

    #[test]
    fn the_cheapest_rule_that_meets_the_goal_is_chosen() {
        assert_eq!(chosen(0.1, 1000.0), Choice { rule: 0, meets: true });
        assert_eq!(chosen(0.01, 1000.0), Choice { rule: 1, meets: true });
        assert_eq!(chosen(0.001, 1000.0), Choice { rule: 2, meets: true });
    }

    #[test]
    fn a_goal_that_is_not_worth_its_price_is_not_met() {
        // The last step costs 6000 instance-seconds for 60 tasks.
        assert_eq!(chosen(0.001, 50.0), Choice { rule: 1, meets: false });
        assert_eq!(chosen(0.00001, 1000.0), Choice { rule: 2, meets: false });
    }

    #[test]
    fn little_history_proves_little() {
        let few = choose(&[Score::default(); 2], &sums(10.0), &sums(100.0), Terms { goal: 0.01, price: 1.0 }, 1);
        assert_eq!(few, Choice { rule: 1, meets: false });
    }
}
