//! An agent that served one tenant never serves another with the same instance.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use forerunner_core::{ContextId, Isolation, NewTask, Payload, TaskId, TenantName};
use forerunner_runtime::{
    PoolSettings,
    agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest},
    testkit::{Rig, Running},
};
use futures_util::future::LocalBoxFuture;

/// Starts instances that leave a mark for whoever comes next.
#[derive(Default)]
struct Marking {
    started: AtomicU64,
    stopped: Arc<AtomicU64>,
    fails_from: Option<u64>,
}

/// An instance with a memory: the inputs of all its tasks.
struct Marked {
    seen: Mutex<Vec<String>>,
    stopped: Arc<AtomicU64>,
}

impl Driver for Marked {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        _: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(request.input.as_str().to_owned());
        let found = Payload::parse(&format!("[{}]", seen.join(",")));
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            Ok(found.unwrap())
        })
    }

    fn stop(self: Box<Self>, _: std::time::Duration) -> LocalBoxFuture<'static, ()> {
        self.stopped.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

impl DriverFactory for Marking {
    fn kind(&self) -> &'static str {
        "marking"
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let driver = Marked { seen: Mutex::default(), stopped: Arc::clone(&self.stopped) };
        let is_refused = self.fails_from.is_some_and(|from| number >= from);
        Box::pin(async move {
            if is_refused { Err(AgentError::lost("no more")) } else { Ok(Box::new(driver) as Box<dyn Driver>) }
        })
    }
}

fn of(tenant: u64, context: Option<u64>) -> NewTask {
    let tenant = TenantName::new(format!("t{tenant}")).unwrap();
    let input = Payload::parse(&format!("\"{tenant}\"")).unwrap();
    let context = context.map(|number| ContextId::new(format!("c{number}")).unwrap().of_tenant(&tenant));
    NewTask { tenant, context, ..NewTask::new("p".parse().unwrap(), input) }
}

/// The tenants whose tasks the instance of a task had run by its end.
async fn seen_with(running: &Running, task: TaskId) -> Vec<String> {
    let output = running.ended(task).await.output.expect("it succeeded");
    let mut tenants: Vec<String> = serde_json::from_str(output.as_str()).unwrap();
    tenants.dedup();
    tenants
}

fn rig(agents: &Arc<Marking>, size: u32, isolation: Isolation) -> Rig {
    let settings = move |pool: &mut PoolSettings| (pool.min, pool.max, pool.isolation) = (size, size, isolation);
    Rig::new().pool_of("p", Arc::clone(agents) as Arc<dyn DriverFactory>, settings)
}

#[actix_rt::test]
async fn ten_thousand_tasks_of_twenty_tenants_share_agents_and_nothing_else() {
    tokio::time::pause();
    let agents = Arc::new(Marking::default());
    let running = rig(&agents, 4, Isolation::default()).start().await;
    let (mut tasks, mut state) = (Vec::new(), 7_u64);
    for number in 0..10_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (tenant, context) = (state >> 33, (number % 3 == 0).then_some(state >> 40 & 3));
        tasks.push((tenant % 20, running.handle().submit(of(tenant % 20, context)).await.unwrap().task.id));
    }
    for (tenant, task) in tasks {
        assert_eq!(seen_with(&running, task).await, [format!("t{tenant}")]);
    }
    let (started, stopped) = (agents.started.load(Ordering::Relaxed), agents.stopped.load(Ordering::Relaxed));
    assert_eq!((started - stopped, started > 4), (4, true), "instances are replaced, and the old ones stop");
    running.stop().await;
}

#[actix_rt::test]
async fn one_tenant_keeps_its_instances() {
    tokio::time::pause();
    let agents = Arc::new(Marking::default());
    let running = rig(&agents, 2, Isolation::default()).start().await;
    for number in 0..50 {
        let task = running.handle().submit(of(1, Some(number % 5))).await.unwrap().task.id;
        running.ended(task).await;
    }
    assert_eq!(agents.started.load(Ordering::Relaxed), 2);
    running.stop().await;
}

#[actix_rt::test]
async fn tenants_that_trust_each_other_share_an_instance_and_tasks_may_have_one_each() {
    tokio::time::pause();
    for (isolation, expected, started) in [(Isolation::Pool, 2, 1), (Isolation::Task, 1, 3)] {
        let agents = Arc::new(Marking::default());
        let running = rig(&agents, 1, isolation).start().await;
        for tenant in [1, 2] {
            let task = running.handle().submit(of(tenant, None)).await.unwrap().task.id;
            let seen = seen_with(&running, task).await;
            assert_eq!(seen.len(), if tenant == 1 { 1 } else { expected }, "{isolation:?}: {seen:?}");
        }
        running.until_ready("p", 1).await;
        assert_eq!(agents.started.load(Ordering::Relaxed), started, "{isolation:?}");
        running.stop().await;
    }
}

#[actix_rt::test]
async fn a_task_whose_agent_cannot_be_replaced_runs_elsewhere() {
    tokio::time::pause();
    let agents = Arc::new(Marking { fails_from: Some(1), ..Marking::default() });
    let running = rig(&agents, 1, Isolation::default()).start().await;
    let first = running.handle().submit(of(1, None)).await.unwrap().task.id;
    running.ended(first).await;
    let second = running.handle().submit(of(2, None)).await.unwrap().task.id;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let waiting = running.handle().task(second).await.unwrap();
    assert_eq!((waiting.attempt, waiting.crashes), (0, 0), "it never began");
    assert!(agents.started.load(Ordering::Relaxed) > 2, "the pool goes on trying");
    running.stop().await;
}
