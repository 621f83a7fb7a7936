//! What a line announces, in seconds from the line's own time.

/// Two numbers of seconds that are the same but for rounding.
fn same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-6 * one.abs().max(1.0)
}

/// Distinguishes the two forms of announcements: seconds from `t`, as documented, or times on the clock of `t`. In the
/// second form the numbers do not decrease from line to line.
#[derive(Debug, Default)]
pub(super) struct AnnouncedClock {
    last: Option<(f64, Vec<(f64, u64)>)>,
    is_absolute: bool,
}

impl AnnouncedClock {
    /// Returns the announcements in seconds from `t`.
    pub(super) fn read(&mut self, t: f64, announced: Vec<(f64, u64)>) -> Vec<(f64, u64)> {
        if !self.is_absolute
            && let Some((before, last)) = &self.last
        {
            self.is_absolute = stood_still(last, &announced, *before, t);
        }
        let shift = if self.is_absolute { t } else { 0.0 };
        let relative = announced.iter().map(|&(due_s, tasks)| (due_s - shift, tasks)).collect();
        if self.last.as_ref().is_none_or(|(before, _)| t > *before) {
            self.last = Some((t, announced));
        }
        relative
    }
}

/// Whether everything that was announced at `before` and is not over at `t` is announced again with the same number,
/// instead of one that is smaller by the time in between.
fn stood_still(last: &[(f64, u64)], now: &[(f64, u64)], before: f64, t: f64) -> bool {
    let is_there = |due: f64| now.iter().any(|&(again, _)| same(again, due));
    let mut ahead = last.iter().map(|&(due, _)| due).filter(|due| *due > t).peekable();
    let is_any = ahead.peek().is_some();
    let came_nearer = last.iter().map(|&(due, _)| due - (t - before)).filter(|due| *due > 0.0).all(is_there);
    t > before && is_any && !came_nearer && ahead.all(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(f64, &[(f64, u64)])]) -> Vec<(f64, u64)> {
        let mut clock = AnnouncedClock::default();
        lines.iter().map(|(t, announced)| clock.read(*t, announced.to_vec())).last().expect("a line")
    }

    #[test]
    fn seconds_from_the_line_are_taken_as_they_are() {
        assert_eq!(read(&[(0.0, &[(50.0, 40)]), (1.0, &[(49.0, 40)])]), [(49.0, 40)]);
        // A task per second, each announced five seconds ahead: the same lines for ever.
        let steady: &[(f64, u64)] = &[(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1), (5.0, 1)];
        assert_eq!(read(&[(0.0, steady), (1.0, steady), (2.0, steady)]), steady);
        assert_eq!(read(&[(0.0, &[(50.0, 40)]), (1.0, &[])]), [], "cancelled");
    }

    #[test]
    fn times_on_the_clock_of_the_line_are_recognised() {
        assert_eq!(read(&[(100.0, &[(150.0, 40)]), (101.0, &[(150.0, 40), (160.0, 2)])]), [(49.0, 40), (59.0, 2)]);
        assert_eq!(read(&[(100.0, &[(150.0, 40)]), (101.0, &[(150.0, 40)]), (102.0, &[])]), []);
    }
}
