//! Damaged tasks: those that the store set aside because their rows cannot be read. The node counts them and notifies
//! their watchers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::Addr;
use forerunner_core::{PoolName, TaskState};
use forerunner_store::DamagedTasks;

use crate::{
    deps::Deps,
    metrics,
    queue::{QueueActor, messages::Counted},
};

/// Interval of the checks.
const PERIOD: Duration = Duration::from_secs(1);

/// Observes the damaged tasks of a store.
pub(crate) async fn watch(deps: Arc<Deps>, queues: BTreeMap<PoolName, Addr<QueueActor>>) {
    let mut interval = tokio::time::interval(PERIOD);
    let mut known = DamagedTasks::default();
    loop {
        interval.tick().await;
        let damaged = deps.store.damaged();
        metrics::set_damaged(damaged.there, damaged.found.saturating_sub(known.found));
        if damaged.found > known.found && !deps.shared {
            recount(&deps, &queues).await;
            notify_watchers(&deps).await;
        }
        known = damaged;
    }
}

/// Counts the waiting tasks again: a task that was set aside no longer has a place.
async fn recount(deps: &Deps, queues: &BTreeMap<PoolName, Addr<QueueActor>>) {
    for (pool, queue) in queues {
        // A failing store is logged by the claims.
        let Ok(counts) = deps.store.counts(pool.clone()).await else { continue };
        let (waiting, claimable) = (Some(counts.waiting()), counts.claimable);
        queue.do_send(Counted { claimable, waiting, next_due: counts.next_due, nodes: 1 });
    }
}

/// Notifies the watchers of tasks that were set aside.
async fn notify_watchers(deps: &Deps) {
    for task in deps.watch.all() {
        if let Ok(Some(task)) = deps.store.task(task).await
            && task.state == TaskState::Damaged
        {
            deps.watch.finish(Arc::new(task), deps.now());
        }
    }
}

/// The warning of readiness about damaged tasks, if there are any. Other tasks are not affected, so the node takes
/// traffic.
pub(crate) fn warning(damaged: DamagedTasks) -> Option<String> {
    let there = damaged.there;
    (there > 0).then(|| {
        format!(
            "{there} {} cannot be read and {} set aside; see `forerunner task list --state damaged`",
            if there == 1 { "task" } else { "tasks" },
            if there == 1 { "is" } else { "are" },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_counts_the_damaged_tasks() {
        assert_eq!(warning(DamagedTasks::default()), None);
        let one = warning(DamagedTasks { there: 1, found: 0 }).unwrap();
        assert!(one.starts_with("1 task cannot be read and is set aside; "), "{one}");
        let two = warning(DamagedTasks { there: 2, found: 2 }).unwrap();
        assert!(two.starts_with("2 tasks cannot be read and are set aside; "), "{two}");
    }
}
