//! The partitions of `ended`: made ahead of time, and dropped when all in them is past the retention.
//!
//! Each is as wide as a seventh of the retention, in whole hours, so there are about eight of them, and a task stays at
//! most a seventh of the retention too long. One node at a time maintains them. Each change is a transaction of its own
//! that waits only a moment for locks, since all later transactions wait behind it.

use std::time::Duration;

use deadpool_postgres::Object;
use forerunner_core::Timestamp;
use forerunner_store::DroppedPartitions;
use tokio_postgres::types::{ToSql, Type};

use crate::ended::PURGE_REST;

const HOUR: i64 = 3_600_000_000;
/// How many partitions there are beyond the one of now.
const AHEAD: i64 = 2;
/// Most tasks that one statement deletes.
const BATCH: i64 = 10_000;
/// Most statements of that kind in a round.
const BATCHES: usize = 20;
/// Lets one node at a time maintain the partitions. "FrRh" in ASCII.
const LOCK: i64 = 0x4672_5268;

/// The partitions with their bounds, the oldest first.
const LIST: &str = "\
SELECT relname, (bounds[1])::int8, (bounds[2])::int8 FROM (
    SELECT c.relname, regexp_match(pg_get_expr(c.relpartbound, c.oid), $$FROM \\('(-?\\d+)'\\) TO \\('(-?\\d+)'\\)$$) AS bounds
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('ended')
) p WHERE bounds IS NOT NULL ORDER BY 2";

/// Frees the keys of a partition's tasks, in the order of their ids from one on; answers the last of them.
fn free_keys(partition: &str) -> String {
    format!(
        "WITH p AS MATERIALIZED (SELECT pool, key, id FROM {partition} WHERE key IS NOT NULL AND id > $1 ORDER BY id LIMIT $2), \
         k AS (DELETE FROM idempotency_keys USING p WHERE idempotency_keys.pool = p.pool AND idempotency_keys.key = p.key AND idempotency_keys.id = p.id) \
         SELECT id FROM p ORDER BY id DESC LIMIT 1"
    )
}

type Outcome<T> = Result<T, tokio_postgres::Error>;

/// A partition: its table, and the times of ends in it, from the first to before the second.
struct Partition {
    name: String,
    from: i64,
    to: i64,
}

/// How wide partitions are for a retention, in microseconds.
fn width(retention: Duration) -> i64 {
    let seventh = i64::try_from(retention.as_micros() / 7).unwrap_or(i64::MAX / 2);
    (seventh.saturating_add(HOUR - 1) / HOUR).clamp(1, 24 * 366) * HOUR
}

/// The bounds of the partitions that are to be made, so that there are enough from `now` on.
///
/// The first one begins where the last one ends. If that time has passed, tasks that ended since are in the table for
/// the rest, where they must stay: the first one then begins with the next hour, and with this one if there was none at
/// all.
fn missing(last_end: Option<i64>, now: i64, width: i64) -> Vec<(i64, i64)> {
    let this_hour = now.div_euclid(HOUR) * HOUR;
    let mut from = match last_end {
        None => this_hour,
        Some(end) if end > now => end,
        Some(_) => this_hour + HOUR,
    };
    let mut bounds = Vec::new();
    while from <= now + AHEAD * width {
        // On whole multiples of the width, so that days begin at midnight.
        let to = (from.div_euclid(width) + 1) * width;
        bounds.push((from, to));
        from = to;
    }
    bounds
}

/// The table of the partition that begins then: `ended_20261127t05`.
fn name(from: i64) -> String {
    let hour: String = Timestamp::from_micros(from).to_string().chars().filter(|c| *c != '-').take(11).collect();
    format!("ended_{}", hour.to_lowercase())
}

/// The partitions there are, over a connection.
async fn list(client: &Object) -> Outcome<Vec<Partition>> {
    let rows = client.query_typed(LIST, &[]).await?;
    let partitions = rows
        .iter()
        .map(|row| Ok(Partition { name: row.try_get::<_, String>(0)?, from: row.try_get(1)?, to: row.try_get(2)? }));
    partitions.collect()
}

/// Runs a change of tables in a transaction of its own.
async fn change(client: &Object, sql: &str) -> Outcome<()> {
    let settings = "SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '5s'";
    let outcome = client.batch_execute(&format!("BEGIN; {settings}; {sql}; COMMIT")).await;
    if outcome.is_err() {
        client.batch_execute("ROLLBACK").await?;
    }
    outcome
}

/// Makes the partitions that will be needed, as wide as this retention requires. They begin now by the clock of the
/// database, unless another time is given.
pub(crate) async fn make_ahead(client: &Object, now: Option<i64>, retention: Duration) -> Outcome<()> {
    let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    let now = match now {
        Some(now) => now,
        None => client.query_typed(clock, &[]).await?.first().map_or(Ok(0), |row| row.try_get(0))?,
    };
    let mut last_end = list(client).await?.last().map(|last| last.to);
    if last_end.is_none() && !client.query_typed("SELECT 1 FROM ended_rest LIMIT 1", &[]).await?.is_empty() {
        last_end = Some(i64::MIN);
    }
    for (from, to) in missing(last_end, now, width(retention)) {
        let name = name(from);
        // Another node may be as far; a node that comes later finds it.
        let sql = format!(
            "SELECT pg_advisory_xact_lock({LOCK}); \
             CREATE TABLE IF NOT EXISTS {name} PARTITION OF ended FOR VALUES FROM ({from}) TO ({to})"
        );
        change(client, &sql).await?;
    }
    Ok(())
}

/// Removes what ended before the retention.
pub(crate) async fn drop_expired(client: &Object, before: i64) -> Outcome<DroppedPartitions> {
    let mut retired = DroppedPartitions::default();
    for _ in 0..BATCHES {
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&before, Type::INT8), (&BATCH, Type::INT8)];
        let removed = client.query_typed(PURGE_REST, &params).await?.len();
        retired.tasks += removed;
        if i64::try_from(removed).is_ok_and(|removed| removed < BATCH) {
            break;
        }
    }
    for partition in list(client).await?.iter().filter(|partition| partition.to <= before) {
        let mut last = uuid::Uuid::nil();
        let sql = free_keys(&partition.name);
        loop {
            let params: [(&(dyn ToSql + Sync), Type); 2] = [(&last, Type::UUID), (&BATCH, Type::INT8)];
            let Some(row) = client.query_typed(&sql, &params).await?.into_iter().next() else { break };
            last = row.try_get(0)?;
        }
        change(client, &format!("DROP TABLE IF EXISTS {}", partition.name)).await?;
        let (from, to) = (Timestamp::from_micros(partition.from), Timestamp::from_micros(partition.to));
        tracing::info!(table = partition.name, %from, %to, "dropped the history of tasks that ended before the retention");
        retired.partitions += 1;
    }
    Ok(retired)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR;
    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    #[test]
    fn a_seventh_of_the_retention_is_a_partition() {
        let hours = |retention| width(Duration::from_secs(retention)) / HOUR;
        assert_eq!((hours(0), hours(3_600), hours(86_400), width(WEEK) / HOUR, hours(90 * 86_400)), (1, 1, 4, 24, 309));
        assert_eq!(width(Duration::MAX), 24 * 366 * HOUR);
    }

    #[test]
    fn partitions_follow_each_other_without_a_gap_and_reach_ahead() {
        let now = 20_000 * DAY + 5 * HOUR + 7;
        let first = missing(None, now, width(WEEK));
        assert_eq!(first[0], (now - 7, 20_001 * DAY));
        assert!(first.windows(2).all(|pair| pair[0].1 == pair[1].0), "{first:?}");
        assert_eq!((first.len(), name(first[1].0).as_str()), (3, "ended_20241005t00"));
        let last = first[2].1;
        assert_eq!(missing(Some(last), now, width(WEEK)), []);
        assert_eq!(missing(Some(last), now + DAY, width(WEEK)), [(last, last + DAY)]);
    }

    #[test]
    fn another_retention_changes_those_that_are_not_made_yet() {
        let now = 20_000 * DAY + 5 * HOUR;
        assert_eq!(missing(Some(20_000 * DAY + 6 * HOUR), now, DAY)[0], (20_000 * DAY + 6 * HOUR, 20_001 * DAY));
    }

    #[test]
    fn after_a_time_without_any_node_the_next_hour_begins_a_partition() {
        let now = 20_000 * DAY + 5 * HOUR + 7;
        assert_eq!(missing(Some(19_000 * DAY), now, DAY)[0], (20_000 * DAY + 6 * HOUR, 20_001 * DAY));
    }
}
