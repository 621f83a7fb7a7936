//! Rows that cannot be used: counted, the first one shown, and too many refused.

use forerunner_console::output::count;

/// Share of the rows that may be left out without being asked for.
const MOST_SHARE: f64 = 0.01;

/// The rows left out so far.
#[derive(Debug, Default)]
pub struct BadRows {
    count: u64,
    first: Option<String>,
}

impl BadRows {
    /// Counts rows; `why` is asked for the first one only.
    pub fn add(&mut self, rows: u64, why: impl FnOnce() -> String) {
        if rows > 0 && self.first.is_none() {
            self.first = Some(why());
        }
        self.count += rows;
    }

    /// Adds those that were counted elsewhere.
    pub fn join(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }

    /// Decides whether so many rows may be left out of `all`. The message names the first of them.
    ///
    /// # Errors
    /// When there are too many, or no row is left.
    pub fn judge(self, place: &str, all: u64, skip_bad: bool) -> Result<Option<String>, String> {
        let Some(first) = self.first else { return Ok(None) };
        let bad = self.count;
        if bad == all {
            return Err(match all {
                1 => first,
                _ => format!("{first} (none of the {} rows can be used)", count(all)),
            });
        }
        let counted = format!("{} of {} rows cannot be used", count(bad), count(all));
        if !skip_bad && bad as f64 > MOST_SHARE * all as f64 {
            return Err(format!("{first} ({counted}; --skip-bad leaves them out)"));
        }
        Ok(Some(format!("trace `{place}`: {counted} and are left out; the first: {first}")))
    }
}
