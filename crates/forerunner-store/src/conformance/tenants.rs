use std::{future::Future, sync::Arc};

use forerunner_core::{ContextId, Task, TaskId, TaskState, TenantName};

use super::lab::{Lab, at, context, key, pool, submission, succeeded};
use crate::{ContextCommit, ContextFilter, EnqueueOutcome, Settlement, Store, TaskFilter, TenantUsage, born_of};

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("cases use valid names")
}

/// A task of a tenant, by the names that the tenant gave.
fn task_of(lab: &Lab, number: i64, name: &TenantName) -> Task {
    let (context, key) = (context("chat").of_tenant(name), key("k").of_tenant(name));
    Task { tenant: name.clone(), context: Some(context), idempotency_key: Some(key), ..lab.task(number) }
}

/// The same names of two tenants are two contexts and two idempotency keys.
pub async fn names_of_two_tenants_never_meet<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let tenants = [TenantName::default(), tenant("acme"), tenant("bolt")];
    for (number, name) in (1..).zip(&tenants) {
        let (_, claimable) = lab.enqueue(task_of(&lab, number, name)).await;
        assert!(claimable, "nobody waits for the context of another tenant");
    }
    let claimed = lab.claim(9, 5).await;
    assert_eq!(claimed.iter().map(|task| task.tenant.clone()).collect::<Vec<_>>(), tenants);
    for task in &claimed {
        let context = task.context.clone().unwrap();
        assert_eq!((context.local(), context.tenant().is_none()), ("chat", task.tenant.is_default()));
        assert_eq!(task.idempotency_key.as_ref().unwrap().local(), "k");
        let frame = task.tenant.as_str().as_bytes().to_vec();
        let (born, pieces) = (born_of(task.id), Vec::new());
        let commit =
            ContextCommit { context, born, parent_version: 0, frame, full: true, size_bytes: 1, items: 1, pieces };
        let settlement = Settlement { context: Some(commit), ..lab.settlement(task, 6, succeeded()) };
        lab.settle_with(settlement).await.unwrap();
    }
    let names = async |of: Option<&TenantName>, after: Option<ContextId>, limit| {
        let (pool, tenant) = (pool("coder"), of.cloned());
        let found = lab.store.contexts(ContextFilter { pool, tenant, context: None, after, limit }).await.unwrap();
        found.into_iter().map(|found| found.context).collect::<Vec<_>>()
    };
    for name in &tenants {
        assert_eq!(names(Some(name), None, 9).await, [context("chat").of_tenant(name)], "{name}");
    }
    assert_eq!(names(Some(&tenant("ac")), None, 9).await, []);
    assert_eq!(names(None, None, 9).await.len(), 3);
    let acme = tenant("acme");
    assert_eq!(names(Some(&acme), Some(context("chat").of_tenant(&acme)), 9).await, [], "behind the last one");
    let twin = task_of(&lab, 9, &acme);
    let same = submission(Task { input: claimed[1].input.clone(), ..twin });
    let [Ok(EnqueueOutcome::Known(known))] = &lab.store.enqueue(vec![same]).await.unwrap()[..] else {
        panic!("its own key is known");
    };
    assert_eq!(known.id, claimed[1].id);
}

/// What a tenant has is counted until it ends.
pub async fn the_unfinished_tasks_of_a_tenant_are_counted<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let usage = async |name: &str| {
        let TenantUsage { tasks, input_bytes } = lab.store.tenant_usage(tenant(name)).await.unwrap();
        (tasks, input_bytes)
    };
    assert_eq!(usage("acme").await, (0, 0));
    // Each input has 7 bytes.
    for number in 1..=3 {
        lab.enqueue(Task { tenant: tenant("acme"), ..lab.task(number) }).await;
    }
    lab.enqueue(Task { tenant: tenant("acme"), run_at: at(100), ..lab.task(4) }).await;
    lab.enqueue(lab.task(5)).await;
    assert_eq!((usage("acme").await, usage("default").await, usage("bolt").await), ((4, 28), (1, 7), (0, 0)));
    let claimed = lab.claim(2, 6).await;
    assert_eq!(usage("acme").await, (4, 28), "tasks that run count");
    for task in &claimed {
        lab.settle(task, 7, succeeded()).await.unwrap();
    }
    assert_eq!(usage("acme").await, (2, 14));
}

/// Who asked to cancel a task is on it, whether it waited or ran.
pub async fn who_cancelled_a_task_is_noted<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (running, _) = lab.enqueue(lab.task(1)).await;
    let (waiting, _) = lab.enqueue(lab.task(2)).await;
    let (other, _) = lab.enqueue(lab.task(3)).await;
    let claimed = lab.claim(1, 4).await.remove(0);
    let by = async |task: TaskId| lab.get(task).await.report.and_then(|report| report.cancelled_by);
    let ops = Some("ops".parse().expect("cases use valid names"));
    lab.store.note_cancellation(vec![running, waiting, TaskId::from_parts(at(9), 9)], ops.clone()).await.unwrap();
    lab.cancel(waiting, 5).await;
    lab.store.cancel(running, at(5)).await.unwrap().unwrap();
    let mut report = forerunner_core::TaskReport::default();
    report.usage.insert("tokens".to_owned(), 7);
    let settlement = Settlement { report: Some(Box::new(report)), ..lab.settlement(&claimed, 6, super::lab::failed()) };
    lab.settle_with(settlement).await.unwrap();
    let used = lab.get(running).await.report.map(|report| report.usage);
    assert_eq!(used, Some([("tokens".to_owned(), 7)].into()), "what its agent reported is there as well");
    assert_eq!((by(running).await, by(waiting).await, by(other).await), (ops.clone(), ops, None));
    lab.store.note_cancellation(vec![waiting], None).await.unwrap();
    assert!(by(waiting).await.is_some(), "a task that has ended stays as it is");
}

/// A listing and a selection of a tenant have its tasks alone, with each other condition.
pub async fn tasks_are_listed_by_tenant<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let of = |name: &str, task: Task| Task { tenant: tenant(name), ..task };
    let mut labelled = of("acme", lab.task(1));
    labelled.labels.insert("team".to_owned(), "red".to_owned());
    let tasks = [
        labelled,
        of("default", lab.task(2)),
        of("bolt", lab.task(3)),
        Task { pool: pool("other"), ..of("acme", lab.task(4)) },
        Task { run_at: at(100), ..of("acme", lab.task(5)) },
    ];
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    lab.store.enqueue(tasks.map(submission).to_vec()).await.unwrap();
    for task in lab.claim(1, 6).await {
        lab.settle(&task, 7, succeeded()).await.unwrap();
    }
    let acme = TaskFilter { tenant: Some(tenant("acme")), limit: 10, ..TaskFilter::default() };
    let list = async |filter: &TaskFilter| {
        let page = lab.store.tasks(filter.clone()).await.unwrap();
        let selected = lab.store.select(filter.clone()).await.unwrap();
        let listed: Vec<_> = page.tasks.iter().map(|task| task.id).collect();
        assert_eq!(listed, selected.iter().map(|(task, _)| *task).collect::<Vec<_>>());
        listed
    };
    assert_eq!(list(&acme).await, [ids[4], ids[3], ids[0]]);
    assert_eq!(list(&TaskFilter { pool: Some(pool("coder")), ..acme.clone() }).await, [ids[4], ids[0]]);
    assert_eq!(list(&TaskFilter { states: vec![TaskState::Succeeded], ..acme.clone() }).await, [ids[0]]);
    let red = vec![("team".to_owned(), "red".to_owned())];
    assert_eq!(list(&TaskFilter { labels: red.clone(), ..acme.clone() }).await, [ids[0]]);
    let other = TaskFilter { tenant: Some(tenant("bolt")), ..acme.clone() };
    assert_eq!(list(&TaskFilter { labels: red, ..other.clone() }).await, []);
    assert_eq!(list(&other).await, [ids[2]]);
    assert_eq!(list(&TaskFilter { tenant: Some(TenantName::default()), ..acme.clone() }).await, [ids[1]]);
    assert_eq!(list(&TaskFilter { oldest_first: true, limit: 2, ..acme }).await, [ids[0], ids[3]]);
}
