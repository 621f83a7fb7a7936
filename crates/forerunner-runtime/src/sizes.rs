//! The bytes of inputs and contexts of each pool, measured in the store at intervals.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{admission::Admission, contexts::ContextRoom, deps::PoolDeps, metrics};

/// Interval of the sums of inputs, where other nodes change tasks as well or a report is missing.
const INPUTS: Duration = Duration::from_secs(10);
/// Interval of the measurements of contexts.
const CONTEXTS: Duration = Duration::from_secs(60);
/// The pause between two measurements is at least this many times as long as a measurement.
const REST: u32 = 20;

/// Measures a pool at intervals.
pub(crate) async fn watch(pool: Arc<PoolDeps>, admission: Arc<Admission>, room: Arc<ContextRoom>) {
    let mut next_contexts = Instant::now();
    loop {
        let begun = Instant::now();
        if begun >= next_contexts {
            measure_contexts(&pool, &room).await;
            next_contexts = Instant::now() + CONTEXTS.max(begun.elapsed() * REST);
        }
        let begun = Instant::now();
        if pool.node.shared || admission.take_unsure() {
            sum_inputs(&pool, &admission).await;
        }
        metrics::set_stored_bytes(&pool.name, admission.bytes(), room.stored());
        tokio::time::sleep(INPUTS.max(begun.elapsed() * REST)).await;
    }
}

async fn measure_contexts(pool: &PoolDeps, room: &ContextRoom) {
    match pool.node.store.context_bytes(pool.name.clone()).await {
        Ok(bytes) => room.set_measured(&pool.name, bytes),
        Err(error) => tracing::debug!(pool = %pool.name, %error, "the contexts of the pool could not be measured"),
    }
}

async fn sum_inputs(pool: &PoolDeps, admission: &Admission) {
    match pool.node.store.input_bytes(pool.name.clone()).await {
        Ok(bytes) => admission.count_bytes(bytes),
        Err(error) => {
            admission.note_unsure();
            tracing::debug!(pool = %pool.name, %error, "the inputs of the pool could not be summed");
        }
    }
}
