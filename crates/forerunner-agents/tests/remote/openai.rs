//! Models behind an OpenAI-compatible endpoint.

use std::{sync::Arc, time::Duration};

use forerunner_agents::AgentSpec;
use forerunner_core::ErrorKind;
use forerunner_runtime::agent::{AgentError, DriverFactory};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    conversation::{Conversation, attempt, start},
    provider::{Provider, Reply},
};

fn factory(provider: &Provider, more: Value) -> Arc<dyn DriverFactory> {
    let mut spec = json!({ "kind": "openai", "base_url": format!("{}/v1", provider.address), "model": "small" });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value::<AgentSpec>(spec).unwrap().factory().unwrap()
}

fn completion(text: &str) -> Reply {
    let message = json!({ "role": "assistant", "content": text });
    let usage = json!({ "prompt_tokens": 7, "completion_tokens": 2 });
    let choices = json!([{ "index": 0, "message": message, "finish_reason": "stop" }]);
    Reply::Json(200, vec![], json!({ "model": "small-2", "choices": choices, "usage": usage }))
}

fn refusal(status: u16, headers: Vec<(&'static str, String)>, message: &str) -> Reply {
    Reply::Json(status, headers, json!({ "error": { "message": message } }))
}

/// The start of an agent without a request.
const NO_HEALTH: &str = "";

#[actix_rt::test]
async fn a_conversation_goes_on_with_what_was_said_and_streams_its_answers() {
    let chunk = |delta: &Value, end: &Value| {
        format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": end }] }))
    };
    let stream = [
        chunk(&json!({ "role": "assistant", "content": "blue " }), &Value::Null),
        chunk(&json!({ "content": "whale" }), &Value::Null),
        chunk(&json!({}), &json!("stop")),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n".to_owned(),
    ];
    // Cut at a place that is no boundary of events.
    let text = stream.concat();
    let (first, second) = text.split_at(text.len() / 3 + 5);
    let models = Reply::Json(200, vec![], json!({ "data": [] }));
    let provider = Provider::new([
        models,
        Reply::Events(vec![first.to_owned(), second.to_owned()]),
        completion("blue whale again"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "s3cret\n").unwrap();
    let factory = factory(&provider, json!({ "instructions": "be short", "api_key_file": key }));
    let mut driver = start(&factory).await.unwrap();
    let mut chat = Conversation::new("chat-1");

    let output = chat.turn(&mut driver, &json!("name an animal")).await.unwrap();
    assert_eq!(output["text"], "blue whale");
    assert_eq!((&output["finish_reason"], &output["usage"]["input_tokens"]), (&json!("stop"), &json!(9)));
    assert_eq!(chat.watcher.text(), "blue whale");
    chat.turn(&mut driver, &json!({ "prompt": "again", "temperature": 0 })).await.unwrap();

    let asked = provider.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]);
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Bearer s3cret")));
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let said = [message("user", "name an animal"), message("assistant", "blue whale"), message("user", "again")];
    let expected: Vec<Value> = std::iter::once(message("system", "be short")).chain(said.clone()).collect();
    assert_eq!(asked[2].body["messages"], json!(expected));
    assert_eq!((&asked[2].body["temperature"], &asked[2].body["prompt_cache_key"]), (&json!(0), &json!("chat-1")));
    assert_eq!(chat.items(), [&said[..], &[message("assistant", "blue whale again")]].concat());
    provider.stop().await;
}

#[actix_rt::test]
async fn the_responses_form_is_streamed_too() {
    let output = json!([{ "type": "message", "id": "m", "role": "assistant",
        "content": [{ "type": "output_text", "text": "hello" }] }]);
    let response =
        json!({ "status": "completed", "output": output, "usage": { "input_tokens": 3, "output_tokens": 1 } });
    let event = |event: &Value| format!("event: x\ndata: {event}\n\n");
    let events = vec![
        event(&json!({ "type": "response.output_text.delta", "delta": "hello" })),
        event(&json!({ "type": "response.completed", "response": response })),
    ];
    let provider = Provider::new([Reply::Events(events)]);
    let factory = factory(&provider, json!({ "wire": "responses", "health_path": NO_HEALTH }));
    let mut chat = Conversation::new("chat-1");
    let output = chat.turn(&mut start(&factory).await.unwrap(), &json!("hi")).await.unwrap();
    assert_eq!((&output["text"], &output["usage"]["output_tokens"]), (&json!("hello"), &json!(1)));
    assert_eq!(chat.watcher.text(), "hello");
    let asked = provider.asked();
    assert_eq!((asked[0].path.as_str(), &asked[0].body["store"]), ("/v1/responses", &json!(false)));
    assert_eq!(chat.items().len(), 2);
    provider.stop().await;
}

#[actix_rt::test]
async fn refusals_blame_the_task_or_the_provider_and_store_nothing() {
    let wait = vec![("retry-after", "30".to_owned())];
    let broken = vec!["data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n".to_owned()];
    let provider = Provider::new([
        refusal(400, vec![], "context_length_exceeded"),
        refusal(401, vec![], "wrong key s3cret"),
        refusal(503, vec![], "overloaded"),
        Reply::Events(broken),
        Reply::Events(vec!["data: {\"error\":{\"message\":\"engine died\"}}\n\n".to_owned()]),
        Reply::Json(200, vec![], json!({ "hello": "world" })),
        refusal(429, wait, "slow down"),
        completion("never asked for"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "s3cret").unwrap();
    let factory = factory(&provider, json!({ "health_path": NO_HEALTH, "api_key_file": key }));
    let mut driver = start(&factory).await.unwrap();
    let mut chat = Conversation::new("chat-1");
    for (words, kind, blames) in [
        ("context_length_exceeded", ErrorKind::InvalidInput, false),
        ("wrong key (key); check the key", ErrorKind::AgentError, true),
        ("overloaded", ErrorKind::AgentError, true),
        ("before the answer was complete", ErrorKind::AgentError, true),
        ("engine died", ErrorKind::AgentError, true),
        ("check `base_url` and `wire`", ErrorKind::AgentError, true),
        ("slow down", ErrorKind::AgentError, true),
    ] {
        let error = chat.turn(&mut driver, &json!("hi")).await.unwrap_err();
        assert!(error.message().contains(words), "{error}");
        assert_eq!((error.kind(), error.dependency_fault().is_some()), (kind, blames), "{error}");
        assert!(error.is_agent_usable() && error.is_retryable() == blames);
    }
    // Another agent of the pool does not even ask before the provider's time is over.
    let error = chat.turn(&mut start(&factory).await.unwrap(), &json!("hi")).await.unwrap_err();
    let wait = error.dependency_fault().unwrap().retry_after.unwrap();
    assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
    assert_eq!(provider.asked().len(), 7);
    assert!(chat.items().is_empty());
    provider.stop().await;
}

#[actix_rt::test]
async fn a_silent_provider_and_a_cancelled_task_end_the_request() {
    let piece = || vec!["data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n".to_owned()];
    let provider = Provider::new([Reply::Stall(piece()), Reply::Stall(piece()), completion("well again")]);
    let factory = factory(&provider, json!({ "health_path": NO_HEALTH, "stall_timeout": "300ms" }));
    let mut driver = start(&factory).await.unwrap();
    let mut chat = Conversation::new("chat-1");
    let error = chat.turn(&mut driver, &json!("hi")).await.unwrap_err();
    assert!(error.message().contains("silent for 300ms") && error.dependency_fault().is_some(), "{error}");

    let cancel = CancellationToken::new();
    let mut cx = chat.context(cancel.clone());
    let request = attempt(&json!("hi"));
    let canceller = async {
        while chat.watcher.text() != "halfhalf" {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
    };
    let ended = async { tokio::join!(driver.run(&request, &mut cx), canceller).0 };
    let ended = actix_rt::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    assert_eq!(ended.unwrap_err(), AgentError::cancelled());
    assert_eq!(chat.turn(&mut driver, &json!("hi")).await.unwrap()["text"], "well again");
    provider.stop().await;
}

#[actix_rt::test]
async fn an_agent_is_warm_once_the_endpoint_accepts_its_key() {
    for (reply, message) in [
        (Reply::Json(200, vec![], json!({})), None),
        (refusal(404, vec![], "no such page"), None),
        (refusal(401, vec![], "no"), Some("check `api_key_env` or `api_key_file`")),
        (refusal(503, vec![], "no"), Some("503")),
    ] {
        let provider = Provider::new([reply]);
        let found = start(&factory(&provider, json!({}))).await.err();
        match message {
            None => assert_eq!(found.map(|error| error.to_string()), None),
            Some(words) => assert!(found.unwrap().message().contains(words)),
        }
        provider.stop().await;
    }
    let provider = Provider::new([]);
    let gone = factory(&provider, json!({}));
    provider.stop().await;
    assert!(start(&gone).await.err().unwrap().message().contains("cannot be reached"));
}
