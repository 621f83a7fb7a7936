use std::{future::Future, sync::Arc};

use forerunner_core::{
    Answered, ErrorKind, LeaseEpoch, Next, Payload, Priority, RetryPolicy, Task, TaskError, TaskState,
};
use proptest::prelude::*;

use super::{
    lab::{Lab, at, context, failed, id, key, node, pool, retry, submission, succeeded, trouble},
    model::Model,
    property::{check, ensure},
};
use crate::{BulkAction, BulkOutcome, Cancelled, Claim, Rescue, Settlement, Store, TaskChange, TaskFilter};

/// Random sequences per run.
const CASES: u32 = 200;
/// Operations per sequence, at most.
const OPERATIONS: usize = 60;

#[derive(Debug, Clone)]
enum Operation {
    Enqueue { context: Option<u8>, key: Option<(u8, u8)>, priority: u8, delay: i64, deadline: Option<i64> },
    Claim { node: u8, limit: usize, starts: usize },
    Settle { place: usize, stale: bool, end: u8, delay: i64 },
    Cancel { place: usize },
    RetryTask { place: usize },
    Answer { place: usize },
    Sweep,
    RescueAllBut { node: u8 },
    RescueExpired,
    Purge { age: i64 },
    Bulk { action: u8, places: Vec<usize> },
    Update { place: usize, priority: Option<u8>, delay: Option<i64> },
}

fn operation() -> impl Strategy<Value = (i64, Operation)> {
    let rarely = |strategy: std::ops::Range<u8>| prop::option::weighted(0.3, strategy);
    let delay = prop_oneof![3 => Just(0_i64), 1 => 1..20_i64];
    let enqueue = (
        prop::option::weighted(0.6, 0..3_u8),
        prop::option::weighted(0.2, (0..3_u8, 0..2_u8)),
        rarely(0..10),
        delay.clone(),
        prop::option::weighted(0.2, 1..30_i64),
    );
    let enqueue = enqueue.prop_map(|(context, key, priority, delay, deadline)| Operation::Enqueue {
        context,
        key,
        priority: priority.unwrap_or(4),
        delay,
        deadline,
    });
    let settle = (any::<usize>(), prop::bool::weighted(0.1), 0..9_u8, delay);
    let settle = settle.prop_map(|(place, stale, end, delay)| Operation::Settle { place, stale, end, delay });
    let what = prop_oneof![
        8 => enqueue,
        6 => (0..2_u8, 0..4_usize, prop_oneof![2 => Just(usize::MAX), 1 => 0..2_usize])
            .prop_map(|(node, limit, starts)| Operation::Claim { node, limit, starts }),
        6 => settle,
        2 => any::<usize>().prop_map(|place| Operation::Cancel { place }),
        1 => any::<usize>().prop_map(|place| Operation::RetryTask { place }),
        2 => any::<usize>().prop_map(|place| Operation::Answer { place }),
        3 => Just(Operation::Sweep),
        1 => (0..2_u8).prop_map(|node| Operation::RescueAllBut { node }),
        1 => Just(Operation::RescueExpired),
        1 => (0..30_i64).prop_map(|age| Operation::Purge { age }),
        2 => (0..3_u8, prop::collection::vec(any::<usize>(), 1..8))
            .prop_map(|(action, places)| Operation::Bulk { action, places }),
        2 => (any::<usize>(), prop::option::of(0..10_u8), prop::option::of(-3..10_i64))
            .prop_map(|(place, priority, delay)| Operation::Update { place, priority, delay }),
    ];
    (0..4_i64, what)
}

/// A store and the model beside it.
struct Pair {
    lab: Lab,
    model: Model,
    now: i64,
}

/// Whatever is done in whatever order: the same answers, the same tasks, the same counts.
pub async fn random_operations_agree_with_a_simple_model<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    check(CASES, prop::collection::vec(operation(), 1..OPERATIONS), async |operations| {
        let mut pair = Pair { lab: Lab::new(open().await), model: Model::default(), now: 0 };
        for (step, operation) in operations {
            pair.now += step;
            let doing = format!("{operation:?} at {}", pair.now);
            pair.run(operation).await.map_err(|reason| format!("{doing}: {reason}"))?;
            pair.compare().await.map_err(|reason| format!("after {doing}: {reason}"))?;
        }
        pair.lab.store.close().await.map_err(|error| error.to_string())
    })
    .await;
}

impl Pair {
    async fn run(&mut self, operation: Operation) -> Result<(), String> {
        let now = at(self.now);
        match operation {
            Operation::Enqueue { .. } => return self.enqueue(operation).await,
            Operation::Settle { .. } => return self.settle(operation).await,
            Operation::Claim { node: number, limit, starts } => {
                let (node, lease_until) = (node(number.into()), at(self.now + 10));
                let claim = Claim { pool: pool("coder"), node, limit, starts, now, lease_until };
                let expected = self.model.claim(&claim);
                let tasks = self.lab.store.claim(claim).await.map_err(|error| error.to_string())?;
                let found: Vec<_> = tasks.iter().map(|task| task.id).collect();
                ensure!(found == expected, "claimed {found:?}, not {expected:?}");
                let stored = self.model.tasks();
                ensure!(tasks.iter().all(|task| stored.contains(task)), "claimed something that is not stored");
            }
            Operation::Cancel { place } => {
                let Some(id) = self.model.pick(place).map(|task| task.id) else { return Ok(()) };
                let expected = self.model.cancel(id, now);
                let answer = self.lab.store.cancel(id, now).await.unwrap();
                let found = match &answer {
                    Ok(Cancelled::Done { was_claimable, claimable, .. }) => Some((*was_claimable, *claimable)),
                    _ => None,
                };
                ensure!(found == expected, "{answer:?}, not {expected:?}");
            }
            Operation::RetryTask { place } => {
                let Some(id) = self.model.pick(place).map(|task| task.id) else { return Ok(()) };
                let expected = self.model.retry(id, now);
                let found = self.lab.store.retry(id, now).await.unwrap().ok();
                ensure!(found == expected, "{found:?}, not {expected:?}");
            }
            Operation::Answer { place } => {
                let Some(id) = self.model.pick_in(TaskState::Waiting, place).map(|task| task.id) else { return Ok(()) };
                let (asked, requests) = (Payload::trusted("[1]"), Payload::trusted(r#"["yes"]"#));
                let answered = Answered { task: id, asked, requests, deadline: Some(at(self.now + 50)) };
                let expected = self.model.answer(answered.clone());
                let found = self.lab.store.answer(answered, now).await.unwrap().ok();
                ensure!(found == expected, "{found:?}, not {expected:?}");
            }
            Operation::Sweep => {
                let expected = self.model.sweep(now);
                let found = self.lab.store.sweep(pool("coder"), now).await.unwrap();
                ensure!(found == expected, "{found:?}, not {expected:?}");
            }
            Operation::RescueAllBut { node: number } => {
                let node = node(number.into());
                let expected = self.model.rescue(|holder, _| holder != node, now);
                let found = self.lab.store.rescue(Rescue::AllBut { node, now }).await.unwrap();
                ensure!(found == expected, "{found:?}, not {expected:?}");
            }
            Operation::RescueExpired => {
                let expected = self.model.rescue(|_, until| until < now, now);
                let found = self.lab.store.rescue(Rescue::Expired { now }).await.unwrap();
                ensure!(found == expected, "{found:?}, not {expected:?}");
            }
            Operation::Bulk { .. } => return self.bulk(operation).await,
            Operation::Update { .. } => return self.update(operation).await,
            Operation::Purge { age } => {
                let before = at(self.now - age);
                let expected = self.model.purge(before);
                let found = self.lab.store.purge(before, usize::MAX).await.unwrap();
                ensure!(found == expected, "purged {found}, not {expected}");
            }
        }
        Ok(())
    }

    async fn enqueue(&mut self, operation: Operation) -> Result<(), String> {
        let Operation::Enqueue { context: line, key: pair, priority, delay, deadline } = operation else {
            return Ok(());
        };
        let mut task = Task {
            context: line.map(|number| context(&format!("c{number}"))),
            priority: Priority::new(priority.into()).unwrap(),
            run_at: at(self.now + delay),
            deadline: deadline.map(|ahead| at(self.now + ahead)),
            retry: RetryPolicy { max_crashes: 2, ..RetryPolicy::default() },
            ..self.lab.task(self.now)
        };
        if let Some((name, body)) = pair {
            task.idempotency_key = Some(key(&format!("k{name}")));
            task.input = Payload::trusted(body.to_string());
        }
        let submission = submission(task.clone());
        let expected = self.model.enqueue(task, submission.fingerprint);
        let found = self.lab.store.enqueue(vec![submission]).await.unwrap().remove(0).ok();
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    }

    async fn bulk(&mut self, operation: Operation) -> Result<(), String> {
        let Operation::Bulk { action, places } = operation else { return Ok(()) };
        let action = [BulkAction::Cancel, BulkAction::Retry, BulkAction::Delete][usize::from(action)].clone();
        let mut ids: Vec<_> = places.iter().filter_map(|place| self.model.pick(*place)).map(|task| task.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let unknown = id(9_999_999);
        ids.push(unknown);
        let expected = in_order(self.model.bulk(&action, &ids, at(self.now)));
        ids.push(ids[0]);
        let found = in_order(self.lab.store.bulk(action, ids, at(self.now)).await.unwrap());
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    }

    async fn update(&mut self, operation: Operation) -> Result<(), String> {
        let Operation::Update { place, priority, delay } = operation else { return Ok(()) };
        let Some(id) = self.model.pick(place).map(|task| task.id) else { return Ok(()) };
        let priority = priority.map(|priority| Priority::new(priority.into()).unwrap());
        let change = TaskChange { priority, run_at: delay.map(|delay| at(self.now + delay)) };
        let expected = self.model.update(id, change, at(self.now));
        let found = self.lab.store.update(id, change, at(self.now)).await.unwrap().ok();
        let found = found.map(|updated| (updated.claimable, *updated.task));
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    }

    async fn settle(&mut self, operation: Operation) -> Result<(), String> {
        let Operation::Settle { place, stale, end, delay } = operation else { return Ok(()) };
        let Some(task) = self.model.pick_in(TaskState::Running, place) else { return Ok(()) };
        let (id, epoch, now) = (task.id, LeaseEpoch(task.epoch.0 - u64::from(stale).min(task.epoch.0)), at(self.now));
        let next = match end {
            0 | 1 => succeeded(),
            2 => failed(),
            3 if self.now % 3 == 0 => {
                Next::Retry { run_at: at(self.now + delay), error: trouble(), crash: false, counts: false }
            }
            3 => retry(at(self.now + delay)),
            4 => Next::Retry { run_at: at(self.now + delay), error: crash(), crash: true, counts: true },
            5 => Next::Finish { state: TaskState::Dead, output: None, error: Some(crash()) },
            6 => Next::Finish { state: TaskState::Cancelled, output: None, error: Some(trouble()) },
            7 => Next::Wait { requests: Payload::trusted("[1]"), until: Some(at(self.now + delay)) },
            _ => Next::Release,
        };
        let expected = self.model.settle(id, epoch, now, next.clone());
        let settlement = Settlement::new(id, epoch, now, next);
        let found = self.lab.settle_with(settlement).await.ok();
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    }

    async fn compare(&self) -> Result<(), String> {
        let (expected, found) = (self.model.counts(), self.lab.counts().await);
        ensure!(found == expected, "counts are {found:?}, not {expected:?}");
        let filter = TaskFilter { pool: Some(pool("coder")), limit: 1_000, ..TaskFilter::default() };
        let (expected, page) = (self.model.tasks(), self.lab.store.tasks(filter).await.unwrap());
        ensure!(page.tasks == expected, "tasks are {:#?}, not {expected:#?}", page.tasks);
        let queued = TaskFilter { states: vec![TaskState::Queued], limit: 1_000, ..TaskFilter::default() };
        let page = self.lab.store.tasks(queued).await.unwrap();
        let expected: Vec<_> = expected.into_iter().filter(|task| task.state == TaskState::Queued).collect();
        ensure!(page.tasks == expected, "queued are {:#?}, not {expected:#?}", page.tasks);
        Ok(())
    }
}

/// Why an attempt that crashed its agent failed.
fn crash() -> TaskError {
    TaskError::new(ErrorKind::AgentLost, "it is gone")
}

/// Lists without their order, which stores need not keep.
fn in_order(mut outcome: BulkOutcome) -> BulkOutcome {
    for changed in outcome.pools.values_mut() {
        changed.done.sort_unstable();
        changed.stopping.sort_unstable();
    }
    outcome.refused.sort_unstable_by_key(|refusal| refusal.task);
    outcome
}
