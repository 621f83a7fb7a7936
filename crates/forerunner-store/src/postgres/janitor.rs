//! Keeps the tables small whose rows come and go all the time, and says what keeps them from being so.
//!
//! A claim reads past every row that was claimed and not yet vacuumed away. The database's own vacuum comes once a minute
//! at most; under load that is too seldom.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use forerunner_core::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_postgres::types::{ToSql, Type};

use super::{
    failure::{reason, unavailable},
    link, partitions,
};
use crate::{Retired, StoreError};

/// The tables that change with every task. What is locked is left for the next time.
const VACUUM: &str = "VACUUM (SKIP_LOCKED) ready, line, nodes, spoken";
/// Longest time of a round: a table that takes longer is the database's own affair.
const LIMIT: Duration = Duration::from_secs(60);
/// A transaction that is open for so long keeps rows of all tables from being removed.
const OLD: Duration = Duration::from_secs(300);

/// Time between two rounds of removing what is past the retention, by whichever node.
const RETIRES: Duration = Duration::from_secs(20);

/// Takes the turn of a period, unless another node had it: notes when it was taken, by the clock of the database.
const TURN: &str = "INSERT INTO notes AS n (key, text) SELECT $2, now::text \
                    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS now) AS clock \
                    ON CONFLICT (key) DO UPDATE SET text = excluded.text \
                    WHERE excluded.text::int8 - n.text::int8 >= $1 RETURNING key";
/// The oldest transaction that others have to keep rows for, and how many seconds it has been open.
const OLDEST: &str = "SELECT pid, COALESCE(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::int8 \
                      FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND datname = current_database() \
                      AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1";

/// A wish that what is past the retention be removed.
pub(super) struct Retire {
    pub now: Timestamp,
    pub retention: Duration,
    pub reply: oneshot::Sender<Result<Option<Retired>, StoreError>>,
}

/// Vacuums once a period, and removes history when asked to, on one node at a time.
pub(super) struct Janitor {
    pub pool: Pool,
    pub period: Duration,
    pub wishes: mpsc::UnboundedReceiver<Retire>,
}

impl Janitor {
    /// Runs until it is dropped.
    pub async fn serve(mut self) {
        let period = self.period.max(Duration::from_millis(1));
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    // A database that is away is said by those who need it.
                    if let Err(error) = self.round(async |client| clean(client, period).await).await {
                        tracing::debug!(%error, "the store was not cleaned up");
                    }
                }
                Some(Retire { now, retention, reply }) = self.wishes.recv() => {
                    let outcome = self.round(async |client| retire(client, now, retention).await).await;
                    // Nobody may be waiting for it.
                    drop(reply.send(outcome.map(Some)));
                }
            }
        }
    }

    async fn round<T>(
        &self,
        work: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let client = link::connect(&self.pool).await?;
        match timeout(LIMIT, work(&client)).await {
            Ok(outcome) => outcome.map_err(|error| unavailable(reason(&error))),
            Err(_) => {
                drop(Object::take(client));
                Err(unavailable(format!("cleaning up took longer than {LIMIT:?}")))
            }
        }
    }
}

/// Answers whether it is this node's turn: half a period suffices, so that a node whose turn it was does not miss the next one
/// by a hair.
async fn is_our_turn(client: &Object, note: &str, period: Duration) -> Result<bool, tokio_postgres::Error> {
    let since = i64::try_from(period.as_micros() / 2).unwrap_or(i64::MAX);
    let params: [(&(dyn ToSql + Sync), Type); 2] = [(&since, Type::INT8), (&note, Type::TEXT)];
    Ok(!client.query_typed(TURN, &params).await?.is_empty())
}

async fn retire(client: &Object, now: Timestamp, retention: Duration) -> Result<Retired, tokio_postgres::Error> {
    if !is_our_turn(client, "store/retired_at", RETIRES).await? {
        return Ok(Retired::default());
    }
    partitions::make_ahead(client, Some(now.as_micros()), retention).await?;
    partitions::retire(client, (now - retention).as_micros()).await
}

async fn clean(client: &Object, period: Duration) -> Result<(), tokio_postgres::Error> {
    if !is_our_turn(client, "store/vacuumed_at", period).await? {
        return Ok(());
    }
    client.batch_execute(VACUUM).await?;
    for row in client.query_typed(OLDEST, &[]).await? {
        let (pid, program, age_s): (i32, String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if age_s.is_some_and(|age| age.unsigned_abs() >= OLD.as_secs()) {
            tracing::warn!(
                pid,
                program,
                age_s,
                "a transaction that is open for long keeps dead rows alive, and claims slow; end it with pg_terminate_backend"
            );
        }
    }
    Ok(())
}
