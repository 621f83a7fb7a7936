//! Bounds how fast one place in the code fills the log.
//!
//! A failure of every task, or a line that every client can cause, would otherwise fill the disk. Each place may write
//! [`BURST`] lines at once and [`PER_SECOND`] a second from then on. The rest counts as lost.

use std::collections::HashMap;

use parking_lot::Mutex;

use forerunner_console::line_writer::LineWriter;
use tokio::time::Instant;
use tracing::{Event, Level, Metadata, callsite::Identifier};
use tracing_subscriber::layer::{Context, Filter};

/// Lines that one place may write at once.
const BURST: f64 = 1_000.0;
/// Lines a second that it may write for long: some 30 kB.
const PER_SECOND: f64 = 100.0;

/// Accepts lines within the bounds. Details (debug and below) are not bounded: an operator wants to see them all.
pub struct Throttle {
    writer: LineWriter,
    places: Mutex<HashMap<Identifier, Budget>>,
}

impl Throttle {
    /// Reports suppressed lines to `writer`.
    pub fn new(writer: LineWriter) -> Self {
        Self { writer, places: Mutex::default() }
    }

    fn has_room(&self, place: Identifier) -> bool {
        let now = Instant::now();
        let mut places = self.places.lock();
        places.entry(place).or_insert_with(|| Budget::full(now)).take(now)
    }
}

impl<S> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let passes = *metadata.level() > Level::INFO || self.has_room(metadata.callsite());
        if !passes {
            self.writer.lose();
        }
        passes
    }
}

/// A bucket of tokens.
struct Budget {
    lines: f64,
    at: Instant,
}

impl Budget {
    const fn full(now: Instant) -> Self {
        Self { lines: BURST, at: now }
    }

    /// Removes a line from it, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        self.lines = (self.lines + refill).min(BURST);
        self.at = now;
        let has_one = self.lines >= 1.0;
        self.lines -= f64::from(u8::from(has_one));
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::{io::pipe, time::Duration};

    use forerunner_console::line_writer::Watcher;
    use tracing_subscriber::{Layer, fmt, layer::SubscriberExt};

    use super::*;

    #[test]
    fn lines_of_one_place_above_its_budget_are_counted_as_lost_and_those_of_another_are_written() {
        let (_unread, pipe) = pipe().expect("a pipe");
        let writer = LineWriter::start("test", pipe.into(), Watcher::NONE).expect("a thread");
        let (lines, throttle) = (writer.clone(), Throttle::new(writer.clone()));
        let layer = fmt::layer().with_writer(move || lines.clone()).with_filter(throttle);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            (0..5_000).for_each(|_| tracing::warn!("again"));
            let lost = writer.lost();
            assert!((3_000..=4_000).contains(&lost), "{lost} lost");
            tracing::warn!("another place");
            (0..2_000).for_each(|_| tracing::debug!("details"));
            assert_eq!(writer.lost(), lost);
        });
    }

    #[test]
    fn a_place_may_write_a_burst_and_then_so_much_a_second() {
        let begun = Instant::now();
        let mut budget = Budget::full(begun);
        let mut written = |at: Instant| (0..5_000).filter(|_| budget.take(at)).count();
        assert_eq!(written(begun), 1_000);
        assert_eq!(written(begun + Duration::from_secs(1)), 100);
        assert_eq!(written(begun + Duration::from_secs(3_600)), 1_000);
    }
}
