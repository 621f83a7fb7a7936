//! Endpoints that work on tasks.

use std::{sync::Arc, time::Duration};

use forerunner_agents::AgentSpec;
use forerunner_core::ErrorKind;
use forerunner_runtime::agent::{AgentError, Driver, DriverFactory};
use serde_json::{Value, json};

use crate::{
    conversation::{Conversation, start},
    provider::{Provider, Reply},
};

fn factory(provider: &Provider, more: Value) -> Arc<dyn DriverFactory> {
    let mut spec = json!({ "kind": "http", "url": format!("{}/task", provider.address) });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value::<AgentSpec>(spec).unwrap().factory().unwrap()
}

fn answer(body: Value) -> Reply {
    Reply::Json(200, vec![], body)
}

#[actix_rt::test]
async fn a_task_is_one_request_and_its_context_comes_back_changed() {
    let events = ["{\"progress\":\"half\"}", "{\"chunk\":\"he\"}", "{\"chunk\":\"llo\"}", "{\"output\":\"hello\"}"];
    let events = events.map(|event| format!("data: {event}\n\n")).to_vec();
    let provider = Provider::new([
        answer(json!({ "output": { "n": 1 }, "context": { "append": ["a", { "b": 1 }] } })),
        answer(json!({ "output": null, "context": { "replace": ["c"] } })),
        Reply::Events(events),
    ]);
    let mut driver = start(&factory(&provider, json!({ "headers": { "x-team": "blue" } }))).await.unwrap();
    let mut chat = Conversation::new("chat-1");
    assert_eq!(chat.turn(&mut driver, &json!({ "q": 1 })).await.unwrap(), json!({ "n": 1 }));
    assert_eq!(chat.items(), [json!("a"), json!({ "b": 1 })]);
    assert_eq!(chat.turn(&mut driver, &json!({ "q": 2 })).await.unwrap(), Value::Null);
    assert_eq!(chat.items(), [json!("c")]);
    assert_eq!(chat.turn(&mut driver, &json!({ "q": 3 })).await.unwrap(), json!("hello"));
    assert_eq!(chat.watcher.text(), "hello");

    let asked = provider.asked();
    assert_eq!((asked[1].path.as_str(), &asked[1].body["input"]), ("/task", &json!({ "q": 2 })));
    assert_eq!(asked[1].body["context"], json!({ "id": "chat-1", "version": 0, "items": ["a", { "b": 1 }] }));
    assert_eq!((&asked[1].body["attempt"], asked[1].header("x-team")), (&json!(1), Some("blue")));
    assert_eq!(asked[1].header("idempotency-key"), asked[1].body["task"].as_str());
    provider.stop().await;
}

#[actix_rt::test]
async fn failures_of_the_endpoint_store_nothing() {
    let provider = Provider::new([
        answer(json!({ "error": { "message": "bad order", "retryable": false } })),
        answer(json!({ "error": { "message": "model busy", "scope": "dependency", "retry_after_s": 3 } })),
        answer(json!({ "result": 1 })),
        Reply::Json(422, vec![], json!({ "detail": "wrong shape" })),
        Reply::Json(502, vec![], json!("bad gateway")),
        Reply::Events(vec!["data: {\"chunk\":\"he\"}\n\n".to_owned()]),
        answer(json!({ "output": "x".repeat(2_000) })),
    ]);
    let mut driver = start(&factory(&provider, json!({ "max_output_bytes": 1_024 }))).await.unwrap();
    let mut chat = Conversation::new("chat-1");
    for (words, kind, retryable, blames) in [
        ("bad order", ErrorKind::AgentError, false, false),
        ("model busy", ErrorKind::AgentError, true, true),
        ("`result`", ErrorKind::AgentError, false, false),
        ("wrong shape", ErrorKind::InvalidInput, false, false),
        ("bad gateway", ErrorKind::AgentError, true, true),
        ("without `output`", ErrorKind::AgentError, true, true),
        ("more than 1024 bytes", ErrorKind::TooLarge, false, false),
    ] {
        let error = chat.turn(&mut driver, &json!(1)).await.unwrap_err();
        assert!(error.message().contains(words), "{error}");
        let found = (error.kind(), error.is_retryable(), error.dependency_fault().is_some());
        assert_eq!(found, (kind, retryable, blames), "{error}");
    }
    assert!(chat.items().is_empty());
    provider.stop().await;
}

#[actix_rt::test]
async fn an_agent_is_warm_once_the_endpoint_is_healthy() {
    let refusals = [503, 503].map(|status| Reply::Json(status, vec![], json!({})));
    let provider = Provider::new(refusals);
    let health = format!("{}/health", provider.address);
    start(&factory(&provider, json!({ "health_url": health }))).await.unwrap();
    assert_eq!(provider.asked().len(), 3);
    assert!(provider.asked().iter().all(|asked| asked.path == "/health"));

    let never = std::iter::repeat_with(|| Reply::Json(503, vec![], json!({}))).take(1_000);
    let sick = Provider::new(never);
    let health = format!("{}/health", sick.address);
    let more = json!({ "health_url": health, "start_timeout": "600ms" });
    let factory = factory(&sick, more);
    let found: Result<Box<dyn Driver>, AgentError> =
        actix_rt::time::timeout(Duration::from_secs(30), start(&factory)).await.unwrap();
    let error = found.err().unwrap();
    assert!(error.message().contains("within 600ms (start_timeout): it answers 503"), "{error}");
    provider.stop().await;
    sick.stop().await;
}
