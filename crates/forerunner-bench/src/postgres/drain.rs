//! A backlog that was there before the pool, worked off.

use std::time::Duration;

use tokio::time::Instant;

use super::{open, start};
use crate::{Error, Options, backlog, ours::POOL};

/// Tasks of the backlog.
pub(super) const TASKS: usize = 20_000;
/// The same where only whether it works is seen.
const FEW_TASKS: usize = 200;
/// Longest time of the measurement.
const LIMIT: Duration = Duration::from_secs(120);
/// Interval between two checks of the rest: short relative to the whole.
const LOOK: Duration = Duration::from_millis(2);

/// Tasks per second, from the first that ended to the last.
pub(super) fn sample(options: &Options, url: &str) -> Result<Vec<f64>, Error> {
    let tasks = if options.sample < Duration::from_millis(100) { FEW_TASKS } else { TASKS };
    backlog::filled(open(url)?, tasks)?;
    actix_rt::System::new().block_on(async {
        let ours = start(url).await?;
        let handle = ours.runtime.handle();
        let begun = Instant::now();
        let already = handle.pool(POOL).await?.finished;
        loop {
            let finished = handle.pool(POOL).await?.finished;
            if finished == tasks as u64 {
                let rate = (finished - already) as f64 / begun.elapsed().as_secs_f64();
                ours.runtime.shutdown().await;
                return Ok(vec![rate]);
            }
            if begun.elapsed() > LIMIT {
                let what = format!("{finished} of {tasks} tasks ended in {LIMIT:?}");
                return Err(Error::Wrong { who: "the pool", what });
            }
            tokio::time::sleep(LOOK).await;
        }
    })
}
