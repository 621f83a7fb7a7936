//! What a task costs the server's processor, with tasks in batches.

use std::{fs, time::Duration};

use tokio::time::Instant;
use tokio_postgres::Client;

use super::{group_commit::Batches, open, server};
use crate::{Error, stored::Caller};

pub(super) const OURS: &str = "forerunner's store, batches of 500";
pub(super) const BARE: &str = "bare group commit, batches of 500";

/// Tasks of a batch.
const BATCH: usize = 500;

/// Microseconds of the server for one task through the store: accept, claim and end.
pub(super) async fn ours(url: &str, warm_up: Duration, sample: Duration) -> Result<Vec<f64>, Error> {
    let meter = Meter::new(url).await?;
    let store = open(url)?;
    let mut caller = Caller::new(&store, 0)?;
    caller.cycle(BATCH, Instant::now() + warm_up).await?;
    let begun = meter.read().await?;
    let done = caller.cycle(BATCH, Instant::now() + sample).await?;
    let micros = meter.since(begun, done).await?;
    store.close().await?;
    Ok(vec![micros])
}

/// The same for the barest group commit: accept and end.
pub(super) async fn bare(url: &str, warm_up: Duration, sample: Duration) -> Result<Vec<f64>, Error> {
    let meter = Meter::new(url).await?;
    let mut bare = Batches::start(url).await?;
    bare.cycle(BATCH, Instant::now() + warm_up).await?;
    let begun = meter.read().await?;
    let done = bare.cycle(BATCH, Instant::now() + sample).await?;
    Ok(vec![meter.since(begun, done).await?])
}

/// Reads how long the processes of a database ran, from Linux.
struct Meter(Client);

impl Meter {
    async fn new(url: &str) -> Result<Self, Error> {
        Ok(Self(server::connect(url).await?))
    }

    /// Nanoseconds of all sessions but the own one.
    async fn read(&self) -> Result<u64, Error> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                   AND backend_type = 'client backend'";
        let mut total = 0;
        for row in self.0.query(sql, &[]).await? {
            let process: i32 = row.try_get(0)?;
            let text = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
            let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
            total += nanos.ok_or_else(|| Error::Wrong { who: "/proc", what: text })?;
        }
        Ok(total)
    }

    /// Microseconds a task since a reading.
    async fn since(&self, begun: u64, tasks: u64) -> Result<f64, Error> {
        let nanos = self.read().await?.saturating_sub(begun);
        Ok(nanos as f64 / 1e3 / tasks.max(1) as f64)
    }
}
