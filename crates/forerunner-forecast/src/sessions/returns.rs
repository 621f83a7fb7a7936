//! How many tasks come within the horizon: returns of sessions that pause, of those that will pause by then, and new ones.

use super::{
    Sessions,
    pauses::{BEGINS_S, CLASSES, CLOSED_S, Hazards, class_after},
};
use crate::rate::sane;

/// Parts of the horizon. A session may have a turn in each.
pub(super) const PARTS: usize = 8;

/// What returns are forecast for.
pub(crate) struct Ahead<F, G> {
    /// Seconds ahead.
    pub horizon_s: f64,
    /// Shares of tasks that are on an agent for longer than so many seconds.
    pub survival: F,
    /// Share of the tasks on agents now that are still there so many seconds on.
    pub still_there: G,
}

/// Expected numbers by the class that a session has with the turn, and the part of the horizon.
type Expected = [[f64; PARTS]; CLASSES];

impl Sessions {
    /// Expected arrivals per second from now to the horizon. Sessions that come, have their turn and return count again: the
    /// renewal equation (Feller 1941), in steps.
    pub fn rate<F: Fn([f64; PARTS]) -> [f64; PARTS], G: Fn(f64) -> f64>(&self, ahead: &Ahead<F, G>) -> f64 {
        let hazards = self.pauses.hazards();
        let dt = ahead.horizon_s / PARTS as f64;
        let mut arrivals: Expected = [[0.0; PARTS]; CLASSES];
        arrivals[0] = [self.new.value().unwrap_or(0.0) * dt; PARTS];
        self.add_returns(&mut arrivals, dt, &hazards);
        // Where events of two parts meet, each counts as if it were in the middle of its part.
        let middle = |parts: usize| (parts as f64 + 0.5) * dt;
        let ended = (ahead.survival)(std::array::from_fn(middle)).map(|lasting| 1.0 - lasting);
        let left: [f64; PARTS] = std::array::from_fn(|part| {
            ((ahead.still_there)(part as f64 * dt) - (ahead.still_there)((part + 1) as f64 * dt)).max(0.0)
        });
        let back: Expected = hazards.map(|hazard| std::array::from_fn(|parts| hazard.within(0.0, middle(parts))));
        let step = |row: &[f64; PARTS], parts: usize| row[parts] - if parts > 0 { row[parts - 1] } else { 0.0 };
        for part in 0..PARTS {
            for class in 0..CLASSES {
                let turns = (0..=part).map(|came| arrivals[class][came] * step(&ended, part - came));
                let ends = f64::from(self.busy[class]) * left[part] + turns.sum::<f64>();
                for later in part..PARTS {
                    let returns = ends * step(&back[class], later - part);
                    arrivals[class_after(class, (later - part) as f64 * dt)][later] += returns;
                }
            }
        }
        sane(arrivals.iter().flatten().sum::<f64>() / ahead.horizon_s)
    }

    /// Adds the returns of sessions that pause now.
    fn add_returns(&self, arrivals: &mut Expected, dt: f64, hazards: &Hazards) {
        for (class, counts) in self.idle.counts().iter().enumerate() {
            for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let end_s = BEGINS_S.get(bin + 1).copied().unwrap_or(CLOSED_S);
                let age_s = 0.5 * (BEGINS_S[bin] + end_s);
                let horizon_s = PARTS as f64 * dt;
                if end_s - BEGINS_S[bin] >= horizon_s {
                    // The chance hardly changes meanwhile.
                    let each = f64::from(*count) * hazards[class].within(age_s, horizon_s) / PARTS as f64;
                    arrivals[class_after(class, age_s)].iter_mut().for_each(|arrivals| *arrivals += each);
                    continue;
                }
                let mut before = 0.0;
                for (part, ahead_s) in (1..=PARTS).map(|steps| steps as f64 * dt).enumerate() {
                    let within = hazards[class].within(age_s, ahead_s);
                    arrivals[class_after(class, age_s + ahead_s)][part] += f64::from(*count) * (within - before);
                    before = within;
                }
            }
        }
    }
}
