//! Submitting, reading and steering tasks.

use actix_web::test::TestRequest;
use insta::assert_snapshot;
use serde_json::json;

use crate::rig::{Rig, hanging, submission};

#[actix_web::test]
async fn a_submission_is_answered_with_the_accepted_task_and_where_to_find_it() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    let body = json!({
        "input": { "text": "fix the build" }, "context": "repo-42", "priority": 7, "deadline": "2100-01-01T00:00:00Z",
        "timeout": "30s", "max_attempts": 2, "labels": { "team": "blue" }
    });
    let answer = rig.submit(body).await;
    assert_eq!(answer.header("location").unwrap(), format!("/v1/tasks/{}", answer.id()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_snapshot!(answer.redacted(), @r#"
    202 Accepted
    {
      "attempt": 0,
      "context": "repo-42",
      "deadline": "[time]",
      "id": "[id]",
      "labels": {
        "team": "blue"
      },
      "max_attempts": 2,
      "pool": "coder",
      "priority": 7,
      "run_at": "[time]",
      "state": "queued",
      "submitted_at": "[time]",
      "timeout": "30s"
    }
    "#);
}

#[actix_web::test]
async fn a_client_that_prefers_to_wait_gets_the_result() {
    let rig = Rig::start().await;
    let answer = rig.finish(json!({ "input": "hello" })).await;
    assert_eq!(answer.header("preference-applied"), Some("wait"));
    assert_snapshot!(answer.redacted(), @r#"
    200 OK
    {
      "agent": "[id]",
      "attempt": 1,
      "finished_at": "[time]",
      "id": "[id]",
      "max_attempts": 15,
      "output": {
        "done": "hello"
      },
      "pool": "coder",
      "priority": 4,
      "run_at": "[time]",
      "service_s": "[seconds]",
      "started_at": "[time]",
      "state": "succeeded",
      "submitted_at": "[time]",
      "timeout": "10m",
      "wait_agent_s": "[seconds]",
      "wait_context_s": "[seconds]",
      "wait_s": "[seconds]"
    }
    "#);
}

#[actix_web::test]
async fn a_client_that_waits_for_its_submission_costs_no_read_of_the_store() {
    let rig = Rig::start().await;
    assert_eq!(rig.finish(json!({ "input": "hello" })).await.status, 200);
    assert_eq!(rig.store.reads(), 0);
}

#[actix_web::test]
async fn who_submits_a_known_task_again_and_waits_gets_the_result_of_the_first_one() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/small:pause").await;
    let request = |wait: &'static str| {
        let keyed = submission("small", &json!({ "input": "once" })).insert_header(("Idempotency-Key", "order-7"));
        keyed.insert_header(("Prefer", wait))
    };
    let first = rig.send(request("wait=0")).await;
    // The queue is full, but the task with the known key needs no place.
    let again = rig.send(request("wait=0")).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16(), again.id()), (202, 202, first.id()));
    let (waited, _) = futures_util::join!(rig.send(request("wait=10")), rig.post("/v1/pools/small:resume"));
    let ended = rig.send(request("wait=10")).await;
    for answer in [waited, ended] {
        assert_eq!((answer.status.as_u16(), answer.id()), (200, first.id()), "{}", answer.text());
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
        assert_eq!(answer.header("preference-applied"), Some("wait"));
    }
}

#[actix_web::test]
async fn a_wait_that_is_too_short_is_answered_with_the_task_as_it_stands() {
    let rig = Rig::start().await;
    let request = submission("coder", &hanging()).insert_header(("Prefer", "wait=0"));
    let answer = rig.send(request).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("preference-applied"), Some("wait"));
    let shown =
        rig.send(TestRequest::get().uri(answer.header("location").unwrap()).insert_header(("Prefer", "wait=1")));
    assert_eq!(shown.await.json()["state"], "running");
}

#[actix_web::test]
async fn a_task_is_shown_with_its_payloads_and_why_it_failed() {
    let rig = Rig::start().await;
    let id = rig.finish(json!({ "input": { "do": "fail" } })).await.id();
    assert_snapshot!(rig.get(&format!("/v1/tasks/{id}")).await.redacted(), @r#"
    200 OK
    {
      "agent": "[id]",
      "attempt": 1,
      "error": {
        "kind": "agent_error",
        "message": "told to fail"
      },
      "finished_at": "[time]",
      "id": "[id]",
      "input": {
        "do": "fail"
      },
      "max_attempts": 15,
      "pool": "coder",
      "priority": 4,
      "run_at": "[time]",
      "service_s": "[seconds]",
      "started_at": "[time]",
      "state": "failed",
      "submitted_at": "[time]",
      "timeout": "10m",
      "wait_agent_s": "[seconds]",
      "wait_context_s": "[seconds]",
      "wait_s": "[seconds]"
    }
    "#);
}

#[actix_web::test]
async fn a_repeated_submission_is_answered_with_the_known_task() {
    let rig = Rig::start().await;
    let request = || submission("coder", &json!({ "input": 1 })).insert_header(("Idempotency-Key", "order-7"));
    let first = rig.send(request().insert_header(("Prefer", "wait=10"))).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (200, None));
    let second = rig.send(request()).await;
    assert_eq!((second.status.as_u16(), second.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(second.id(), first.id());
}

#[actix_web::test]
async fn a_known_task_that_has_not_ended_is_answered_as_accepted() {
    let rig = Rig::start().await;
    let request = || submission("coder", &hanging()).insert_header(("Idempotency-Key", "\"order-8\""));
    let first = rig.send(request()).await;
    let second = rig.send(request()).await;
    assert_eq!((second.status.as_u16(), second.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(second.id(), first.id());
}

#[actix_web::test]
async fn a_listing_is_filtered_and_paged_newest_first_without_payloads() {
    let rig = Rig::start().await;
    for number in 0..5 {
        rig.finish(json!({ "input": number, "labels": { "parity": (["even", "odd"][number % 2]) } })).await;
    }
    let first = rig.get("/v1/tasks?pool=coder&state=succeeded&label=parity:even&limit=2").await.json();
    assert_eq!(first["tasks"].as_array().unwrap().len(), 2);
    assert!(first["tasks"][0].get("input").is_none() && first["tasks"][0].get("output").is_none());
    assert!(first["tasks"][0]["id"].as_str() > first["tasks"][1]["id"].as_str());
    let cursor = first["next"].as_str().unwrap();
    let rest = rig.get(&format!("/v1/tasks?label=parity:even&limit=2&cursor={cursor}")).await.json();
    assert_eq!(rest["tasks"].as_array().unwrap().len(), 1);
    assert!(rest.get("next").is_none());
    assert_eq!(rig.get("/v1/tasks?state=running").await.json(), json!({ "tasks": [] }));
}

#[actix_web::test]
async fn a_running_task_can_be_cancelled_and_a_cancelled_one_sent_back() {
    let rig = Rig::start().await;
    let id = rig.submit(hanging()).await.id();
    rig.until(&id, "running").await;
    assert_eq!(rig.post(&format!("/v1/tasks/{id}:cancel")).await.status, 202);
    rig.until(&id, "cancelled").await;
    rig.post("/v1/pools/coder:pause").await;
    let sent_back = rig.post(&format!("/v1/tasks/{id}:retry")).await;
    assert_eq!((sent_back.status.as_u16(), sent_back.json()["state"].as_str()), (200, Some("queued")));
    let cancelled = rig.post(&format!("/v1/tasks/{id}:cancel")).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.json()["state"].as_str()), (200, Some("cancelled")));
}

#[actix_web::test]
async fn a_context_can_be_seen_and_removed() {
    let rig = Rig::start().await;
    rig.finish(json!({ "input": { "do": "remember" }, "context": "chat/7:a" })).await;
    let path = "/v1/contexts/chat%2F7:a?pool=coder";
    assert_snapshot!(rig.get(path).await.redacted(), @r#"
    200 OK
    {
      "frames": 1,
      "id": "chat/7:a",
      "items": 1,
      "pool": "coder",
      "shared_bytes": 0,
      "size_bytes": 17,
      "stored_bytes": 33,
      "updated_at": "[time]",
      "version": 1,
      "warm_on": [
        "[id]"
      ]
    }
    "#);
    let removed = rig.delete(path).await;
    assert_eq!((removed.status.as_u16(), removed.body.len()), (204, 0));
    assert_eq!(rig.get(path).await.status, 404);
}

#[actix_web::test]
async fn contexts_are_listed_by_pages() {
    let rig = Rig::start().await;
    for context in ["b", "a:1", "c"] {
        rig.finish(json!({ "input": { "do": "remember" }, "context": context })).await;
    }
    let ids = |page: &serde_json::Value| {
        let contexts = page["contexts"].as_array().unwrap().clone();
        contexts.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let page = rig.get("/v1/contexts?limit=2").await.json();
    assert_eq!((ids(&page), &page["next"]), (vec!["a:1".to_owned(), "b".to_owned()], &json!("1-coder:b")));
    let page = rig.get("/v1/contexts?limit=2&pool=coder&cursor=1-coder:b").await.json();
    assert_eq!((ids(&page), page.get("next")), (vec!["c".to_owned()], None));
    assert_eq!(rig.get("/v1/contexts?cursor=coder:b").await.status, 400);
    assert_eq!(rig.get("/v1/contexts?pool=nobody").await.status, 404);
}

#[actix_web::test]
async fn a_task_tells_what_its_context_took() {
    let rig = Rig::start().await;
    let first = rig.finish(json!({ "input": { "do": "remember" }, "context": "chat" })).await.json();
    assert_eq!((&first["context_cost"]["source"], &first["context_cost"]["full_bytes"]), (&json!("new"), &json!(19)));
    let second = rig.finish(json!({ "input": { "do": "remember" }, "context": "chat" })).await.json();
    assert_ne!(second["context_cost"]["source"], json!("new"));
    let plain = rig.finish(json!({ "input": "hello" })).await.json();
    assert_eq!(plain.get("context_cost"), None);
}

#[actix_web::test]
async fn why_a_task_went_to_its_agent_can_be_asked() {
    let rig = Rig::start().await;
    let id = rig.finish(json!({ "input": "hello", "context": "repo-42" })).await.id();
    let placed = rig.get(&format!("/v1/tasks/{id}/placement")).await.json();
    assert_eq!((&placed["task"], &placed["placement"]["context"]), (&json!(id), &json!("repo-42")));
    assert_eq!(placed["agent"], placed["placement"]["chosen"]["agent"]);
    // The other agent may not have started yet.
    let reason = placed["placement"]["reason"].as_str().unwrap_or_default();
    assert!(["room", "only_idle"].contains(&reason), "{reason}");
    let plain = rig.finish(json!({ "input": "hello" })).await.id();
    let plain = rig.get(&format!("/v1/tasks/{plain}/placement")).await.json();
    assert!(plain["placement"].is_null() && plain["why"].as_str().is_some_and(|why| why.contains("no context")));
    let unknown = rig.get("/v1/tasks/01a20a46-0f24-7000-9c16-4fd6227eb6af/placement").await;
    assert!(unknown.redacted().starts_with("404"), "{}", unknown.redacted());
}
