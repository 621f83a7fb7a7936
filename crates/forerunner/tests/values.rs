//! Values that a pool in the same process gets as they are.

use std::sync::atomic::{AtomicU32, Ordering};

use forerunner::{Agent, AgentContext, AgentError, Pool, Runtime, RuntimeBuilder, TaskState, ThreadPlacement};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    name: String,
    counts: Vec<Option<i64>>,
    /// No JSON has it.
    #[serde(skip)]
    note: String,
}

fn order(note: &str) -> Order {
    Order { name: "\u{e9} \"quoted\"".to_owned(), counts: vec![Some(i64::MIN), None, Some(7)], note: note.to_owned() }
}

/// Returns its input. Fails at the first attempt of an order that is named so.
struct Returns {
    attempts: AtomicU32,
}

impl Agent for Returns {
    type Input = Order;
    type Output = Order;

    async fn run(&mut self, order: Order, _: &mut AgentContext) -> Result<Order, AgentError> {
        if order.note == "fails once" && self.attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(AgentError::retryable("not yet"));
        }
        Ok(order)
    }
}

fn builder() -> RuntimeBuilder {
    let pool = Pool::new("p", || async { Ok(Returns { attempts: AtomicU32::new(0) }) }).size(1..=1);
    let pool = pool.settings(|settings| settings.task.retry_initial = std::time::Duration::from_millis(1));
    Runtime::builder().pool(pool).placement(ThreadPlacement::Current)
}

#[actix_rt::test]
async fn a_store_in_memory_passes_values_and_a_listing_shows_their_json() {
    let runtime = builder().start().await.unwrap();
    let task = runtime.submit("p", order("secret")).await.unwrap();
    let id = task.id();
    assert_eq!(task.result::<Order>().await.unwrap(), order("secret"), "the note has no JSON form");
    let shown = runtime.handle().task(id).await.unwrap();
    assert_eq!(shown.state, TaskState::Succeeded);
    assert_eq!(shown.input.as_str(), serde_json::to_string(&order("")).unwrap());
    assert_eq!(shown.output.unwrap().as_str(), shown.input.as_str());
    runtime.shutdown().await;
}

#[actix_rt::test]
async fn an_input_of_another_type_goes_by_json_and_one_that_does_not_fit_is_refused() {
    let runtime = builder().start().await.unwrap();
    let json = serde_json::json!({ "name": "n", "counts": [1, null] });
    let task = runtime.submit("p", json).await.unwrap();
    assert_eq!(task.result::<Order>().await.unwrap().counts, [Some(1), None]);
    let task = runtime.submit("p", 7_u8).await.unwrap();
    assert_eq!(task.ended().await.unwrap().state, TaskState::Failed);
    runtime.shutdown().await;
}

#[actix_rt::test]
async fn a_retry_gets_the_same_input() {
    let runtime = builder().start().await.unwrap();
    let task = runtime.submit("p", order("fails once")).await.unwrap();
    let ended = task.ended().await.unwrap();
    assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 2));
    assert_eq!(ended.output.unwrap().value::<Order>(), Some(&order("fails once")));
    runtime.shutdown().await;
}

#[actix_rt::test]
async fn a_store_on_disk_gets_json() {
    let files = tempfile::tempdir().unwrap();
    let runtime = builder().sqlite(files.path().join("tasks.db")).start().await.unwrap();
    let task = runtime.submit("p", order("lost")).await.unwrap();
    assert_eq!(task.result::<Order>().await.unwrap(), order(""));
    runtime.shutdown().await;
}
