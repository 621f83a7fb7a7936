//! Maintenance of a node, independent of its pools: leases, retention, the clock.

use std::{sync::Arc, time::Duration};

use actix::Recipient;
use forerunner_core::Timestamp;
use forerunner_store::{LEASE, Store};
use tokio::time::Instant;

use crate::{deps::Deps, metrics, queue::messages::ClockSetBack};

/// Interval of the renewals of leases: they survive two failures in a row.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Interval of the checks of the clock.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// Interval of the maintenance.
const MAINTENANCE: Duration = Duration::from_secs(30);
/// How long events remain in the store after the end of their task.
const EVENTS: Duration = Duration::from_secs(60);
/// Ended tasks whose events are removed in one call.
const EVENTS_BATCH: usize = 10_000;
/// Ended tasks that are removed in one call: the store is busy with it for some ten milliseconds.
const PURGE_BATCH: usize = 500;
/// Contexts that are removed in one call.
const EXPIRY_BATCH: usize = 1_000;

/// Removes abandoned waits, old events and unused contexts at intervals.
pub(super) async fn run_maintenance(deps: Arc<Deps>, context_retention: Duration) {
    let mut interval = tokio::time::interval(MAINTENANCE);
    loop {
        interval.tick().await;
        let now = deps.now();
        deps.watch.sweep(now);
        deps.store.vacuum_status().iter().for_each(metrics::set_vacuum_status);
        if let Err(error) = deps.store.prune_events(now - EVENTS, EVENTS_BATCH).await {
            tracing::warn!(%error, "cannot prune old task events");
        }
        let (cached, cached_bytes) = deps.contexts.size();
        metrics::set_cached_contexts(cached, cached_bytes);
        if !context_retention.is_zero() {
            expire_contexts(&*deps.store, now - context_retention).await;
        }
    }
}

/// Removes ended tasks as fast as they end. Between two batches the store is free for as long as the last batch took.
pub(super) async fn remove_old_tasks(deps: Arc<Deps>, retention: Duration) {
    let rest = (retention / 4).clamp(Duration::from_secs(1), MAINTENANCE);
    let mut total = 0;
    loop {
        let begun = Instant::now();
        let removed = remove_batch(&*deps.store, deps.now(), retention).await;
        total += removed;
        if removed == PURGE_BATCH {
            tokio::time::sleep(begun.elapsed()).await;
            continue;
        }
        if total > 0 {
            tracing::info!(removed = total, "removed tasks that ended longer ago than the retention");
        }
        total = 0;
        tokio::time::sleep(rest).await;
    }
}

async fn remove_batch(store: &dyn Store, now: Timestamp, retention: Duration) -> usize {
    let removed = match store.drop_expired_partitions(now, retention).await {
        Ok(Some(dropped)) => Ok(dropped.tasks),
        Ok(None) => store.purge(now - retention, PURGE_BATCH).await,
        Err(error) => Err(error),
    };
    removed.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot remove old tasks");
        0
    })
}

async fn expire_contexts(store: &dyn Store, before: Timestamp) {
    match store.expire_contexts(before, EXPIRY_BATCH).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed contexts that were unused for their retention"),
        Err(error) => tracing::warn!(%error, "cannot remove old contexts"),
    }
}

/// Renews the leases of a node that has its store alone.
pub(super) async fn renew_leases(deps: Arc<Deps>) {
    let mut interval = tokio::time::interval(HEARTBEAT);
    loop {
        interval.tick().await;
        if let Err(error) = deps.store.renew(deps.node, deps.now() + LEASE).await {
            tracing::warn!(%error, "cannot renew the node's leases");
        }
    }
}

/// Checks whether the clock was set back. If so, adjusts the due times of retries, so that none waits longer.
pub(super) async fn watch_clock(deps: Arc<Deps>, queues: Vec<Recipient<ClockSetBack>>) {
    let mut interval = tokio::time::interval(CLOCK_CHECK);
    let mut pending = Duration::ZERO;
    loop {
        interval.tick().await;
        let (now, back) = deps.clock.check();
        pending += back.unwrap_or_default();
        if pending.is_zero() {
            continue;
        }
        match deps.store.clock_set_back(now, pending).await {
            Ok(tasks) => {
                tracing::warn!(
                    by_s = pending.as_secs_f64(),
                    tasks,
                    "the clock was set back; adjusting the due times of retries"
                );
                queues.iter().for_each(|queue| queue.do_send(ClockSetBack(pending)));
                pending = Duration::ZERO;
            }
            Err(error) => {
                tracing::warn!(%error, "the clock was set back; cannot adjust the due times of retries")
            }
        }
    }
}
