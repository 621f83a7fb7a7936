//! Vacuums the tables whose rows change all the time, and reports what prevents that.
//!
//! A claim reads past every row that was claimed and not yet vacuumed. The database's own vacuum runs once a minute at
//! most; under load that is too seldom.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Object, Pool};
use forerunner_core::Timestamp;
use forerunner_store::{DroppedPartitions, OldestTransaction, StoreError, VacuumStatus, backend::DamageCount};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::{is_spent, reason, unavailable},
    link,
    oldest_transaction::OpenSnapshots,
    partitions,
    scan_cursors::ScanCursors,
};

/// The tables that change with every task. Locked ones are left for the next time.
const VACUUM: &str = "VACUUM (SKIP_LOCKED) live, context_queue, nodes, tasks_with_events";
/// Requests to cancel leases that have ended since.
const DROP_CANCELLATIONS: &str = "DELETE FROM cancellations c WHERE NOT EXISTS (SELECT FROM live t WHERE t.id = c.id \
                                  AND t.node = c.node AND t.state = 2 AND t.cancel_epoch = t.epoch)";
/// Longest time of a round: a table that takes longer is left to the database.
const LIMIT: Duration = Duration::from_secs(60);
/// The reason why the database retains dead rows for so long is logged, and not again for as long.
const OLD: Duration = Duration::from_secs(300);

/// Time until the first check of where claims begin, and after a failed one.
const FIRST_SCAN: Duration = Duration::from_secs(1);
/// Time between two rounds of removing what is past the retention, by whichever node.
const DROP_EVERY: Duration = Duration::from_secs(20);

/// Claims the turn of a period, unless another node had it: records the time, by the clock of the database.
const TURN: &str = "INSERT INTO settings AS n (key, text) SELECT $2, now::text \
                    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS now) AS clock \
                    ON CONFLICT (key) DO UPDATE SET text = excluded.text \
                    WHERE excluded.text::int8 - n.text::int8 >= $1 RETURNING key";
/// A request to remove what is past the retention.
pub(crate) struct DropExpired {
    pub now: Timestamp,
    pub retention: Duration,
    pub reply: oneshot::Sender<Result<Option<DroppedPartitions>, StoreError>>,
}

/// Vacuums once a period, and removes history when asked to, on one node at a time.
pub(crate) struct Maintainer {
    pub pool: Pool,
    pub period: Duration,
    pub requests: mpsc::UnboundedReceiver<DropExpired>,
    pub cursors: Arc<ScanCursors>,
    /// Where it reports its result.
    pub seen: watch::Sender<Option<VacuumStatus>>,
    /// Tasks that were set aside, on whichever node.
    pub damaged: Arc<DamageCount>,
}

impl Maintainer {
    /// Runs until it is dropped.
    pub async fn serve(mut self) {
        let period = self.period.max(Duration::from_millis(1));
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut snapshots = OpenSnapshots::default();
        let mut next_scan = Instant::now() + FIRST_SCAN;
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    // A lost database is reported by the calls that need it.
                    let vacuumed = self.round(async |client| {
                        clean(client, period).await?;
                        let upkeep = snapshots.status(client).await?;
                        warn(client, &upkeep).await?;
                        self.damaged.note_there(count_damaged(client).await?);
                        Ok(upkeep)
                    });
                    match vacuumed.await {
                        Ok(upkeep) => drop(self.seen.send(Some(upkeep))),
                        Err(error) => tracing::debug!(%error, "the store was not cleaned up"),
                    }
                }
                () = sleep_until(next_scan) => {
                    let cursors = &self.cursors;
                    let pause = self.round(async |client| cursors.scan(client).await).await;
                    next_scan = Instant::now() + pause.unwrap_or(FIRST_SCAN);
                }
                Some(DropExpired { now, retention, reply }) = self.requests.recv() => {
                    let outcome = self.round(async |client| drop_expired(client, now, retention).await).await;
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
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if is_spent(&error) {
                    drop(Object::take(client));
                }
                Err(unavailable(reason(&error)))
            }
            Err(_) => {
                drop(Object::take(client));
                Err(unavailable(format!("cleaning up took longer than {LIMIT:?}")))
            }
        }
    }
}

/// How many tasks are set aside because they cannot be read.
pub(crate) async fn count_damaged(client: &Object) -> Result<u64, tokio_postgres::Error> {
    let rows = client.query_typed("SELECT count(*) FROM damaged", &[]).await?;
    rows.first().map_or(Ok(0), |row| Ok(row.try_get::<_, i64>(0)?.unsigned_abs()))
}

/// Answers whether it is this node's turn: nobody had it for so long.
async fn is_our_turn(client: &Object, note: &str, since: Duration) -> Result<bool, tokio_postgres::Error> {
    let since = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let params: [(&(dyn ToSql + Sync), Type); 2] = [(&since, Type::INT8), (&note, Type::TEXT)];
    Ok(!client.query_typed(TURN, &params).await?.is_empty())
}

async fn drop_expired(
    client: &Object,
    now: Timestamp,
    retention: Duration,
) -> Result<DroppedPartitions, tokio_postgres::Error> {
    if !is_our_turn(client, "store/retired_at", DROP_EVERY / 2).await? {
        return Ok(DroppedPartitions::default());
    }
    partitions::make_ahead(client, Some(now.as_micros()), retention).await?;
    partitions::drop_expired(client, (now - retention).as_micros()).await
}

async fn clean(client: &Object, period: Duration) -> Result<(), tokio_postgres::Error> {
    // Half a period suffices, so that a node whose turn it was does not miss the next one by a hair.
    if is_our_turn(client, "store/vacuumed_at", period / 2).await? {
        client.batch_execute(DROP_CANCELLATIONS).await?;
        client.batch_execute(VACUUM).await?;
    }
    Ok(())
}

/// Logs what has made the database retain dead rows for long, on one node at a time.
async fn warn(client: &Object, upkeep: &VacuumStatus) -> Result<(), tokio_postgres::Error> {
    let Some(holder) = upkeep.holder.as_ref().filter(|holder| holder.seconds >= OLD.as_secs_f64()) else {
        return Ok(());
    };
    if is_our_turn(client, "store/warned_at", OLD).await? {
        let OldestTransaction { name, program, role, state, seconds, remedy } = holder;
        let dead_rows: u64 = upkeep.dead_rows.iter().map(|(_, rows)| rows).sum();
        tracing::warn!(
            holder = name,
            program,
            role,
            state,
            age_s = seconds.round(),
            dead_rows,
            remedy,
            "a transaction has been open for long, so the database keeps dead rows and slows down; end it by the remedy, and \
             set idle_in_transaction_session_timeout for its role"
        );
    }
    Ok(())
}
