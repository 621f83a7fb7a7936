//! Submitting many tasks at once.

use std::collections::BTreeSet;

use actix_web::test::TestRequest;
use forerunner_runtime::ThreadPlacement;
use forerunner_store::StoreError;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

fn batch(pool: &str, tasks: &Value) -> TestRequest {
    TestRequest::post().uri(&format!("/v1/pools/{pool}/tasks:batch")).set_json(json!({ "tasks": tasks }))
}

fn statuses(answer: &Answer) -> Vec<u64> {
    results(answer).iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.json()["results"].as_array().unwrap_or_else(|| panic!("no results: {}", answer.text())).clone()
}

fn ids(answer: &Answer) -> Vec<String> {
    results(answer).iter().map(|result| result["task"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[actix_web::test]
async fn a_batch_is_answered_with_an_outcome_for_each_task_in_its_order() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    let tasks = json!([
        { "input": { "text": "fix the build" }, "context": "repo-42", "labels": { "team": "blue" } },
        { "input": 2, "prioritty": 3 },
        { "input": 3, "idempotency_key": "order-3" },
    ]);
    let answer = rig.send(batch("coder", &tasks)).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_snapshot!(answer.redacted(), @r#"
    200 OK
    {
      "accepted": 2,
      "refused": 1,
      "results": [
        {
          "status": 202,
          "task": {
            "attempt": 0,
            "context": "repo-42",
            "id": "[id]",
            "labels": {
              "team": "blue"
            },
            "max_attempts": 15,
            "pool": "coder",
            "priority": 4,
            "run_at": "[time]",
            "state": "queued",
            "submitted_at": "[time]",
            "timeout": "10m"
          }
        },
        {
          "problem": {
            "column": 112,
            "detail": "tasks[1]: unknown field `prioritty`, expected one of `input`, `context`, `priority`, `run_at`, `deadline`, `timeout`, `max_attempts`, `labels`, `parent`, `idempotency_key` at line 1 column 112; did you mean `priority`?",
            "field": "prioritty",
            "index": 1,
            "line": 1,
            "nearest": "priority",
            "status": 400,
            "title": "The body has a field that the call does not know",
            "type": "/problems/unknown-field"
          },
          "status": 400
        },
        {
          "status": 202,
          "task": {
            "attempt": 0,
            "id": "[id]",
            "max_attempts": 15,
            "pool": "coder",
            "priority": 4,
            "run_at": "[time]",
            "state": "queued",
            "submitted_at": "[time]",
            "timeout": "10m"
          }
        }
      ]
    }
    "#);
}

#[actix_web::test]
async fn a_batch_is_stored_as_one_group() {
    for placement in [ThreadPlacement::Current, ThreadPlacement::Spread(1)] {
        let rig = Rig::placed(placement).await;
        let tasks: Vec<_> = (0..1_000).map(|number| json!({ "input": number })).collect();
        let answer = rig.send(batch("coder", &json!(tasks))).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["accepted"]), (200, &1_000.into()));
        assert_eq!(rig.store.groups(), [1_000]);
        let ids = ids(&answer);
        assert!(ids.is_sorted(), "in the order of the request");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1_000);
    }
}

#[actix_web::test]
async fn a_repeated_batch_makes_no_task_twice_and_a_key_is_one_task_also_within_a_batch() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    let tasks = json!([
        { "input": 1, "idempotency_key": "a" },
        { "input": 2, "idempotency_key": "b" },
        { "input": 1, "idempotency_key": "a" },
        { "input": 9, "idempotency_key": "b" },
    ]);
    let first = rig.send(batch("coder", &tasks)).await;
    assert_eq!(statuses(&first), [202, 202, 202, 422]);
    let replayed = |answer: &Answer| results(answer).iter().map(|one| one["replayed"] == true).collect::<Vec<_>>();
    assert_eq!(replayed(&first), [false, false, true, false]);
    assert_eq!(ids(&first)[2], ids(&first)[0]);
    assert_eq!(results(&first)[3]["problem"]["task"], ids(&first)[1]);
    let again = rig.send(batch("coder", &tasks)).await;
    assert_eq!((statuses(&again), replayed(&again)), (vec![202, 202, 202, 422], vec![true, true, true, false]));
    assert_eq!(ids(&again), ids(&first));
    let single = TestRequest::post().uri("/v1/pools/coder/tasks").set_json(json!({ "input": 2 }));
    let single = rig.send(single.insert_header(("Idempotency-Key", "b"))).await;
    assert_eq!((single.header("idempotency-replayed"), single.id()), (Some("true"), ids(&first)[1].clone()));
    assert_eq!(rig.get("/v1/pools/coder").await.json()["waiting"], 2);
}

#[actix_web::test]
async fn a_queue_that_fills_takes_what_stands_first_and_says_when_to_send_the_rest() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/small:pause").await;
    let tasks = json!([{ "input": "x".repeat(2_000) }, { "input": 1 }, { "input": 2 }, { "input": 3 }]);
    let answer = rig.send(batch("small", &tasks)).await;
    assert_eq!((answer.status.as_u16(), statuses(&answer)), (200, vec![413, 202, 429, 429]));
    assert_eq!((&answer.json()["accepted"], &answer.json()["refused"]), (&1.into(), &3.into()));
    for (index, result) in results(&answer).iter().enumerate().skip(2) {
        let problem = &result["problem"];
        assert_eq!((&problem["type"], &problem["index"]), (&"/problems/queue-full".into(), &index.into()));
        assert!(problem["retry_after_s"].as_u64().is_some_and(|secs| secs >= 1), "{problem}");
        assert_eq!(result.get("task"), None);
    }
}

#[actix_web::test]
async fn a_batch_that_none_of_can_be_told_is_refused_as_a_whole() {
    let rig = Rig::start().await;
    let refused = async |request: TestRequest| rig.send(request).await.json()["type"].clone();
    let raw = |body: &'static str| {
        TestRequest::post()
            .uri("/v1/pools/coder/tasks:batch")
            .insert_header(("Content-Type", "application/json"))
            .set_payload(body)
    };
    assert_eq!(refused(raw("{\"tasks\":[")).await, "/problems/invalid-json");
    assert_eq!(refused(raw("[{\"input\":1}]")).await, "/problems/invalid-body");
    assert_eq!(refused(raw("{\"tasks\":[],\"pool\":1}")).await, "/problems/unknown-field");
    assert_eq!(refused(batch("poet", &json!([]))).await, "/problems/no-pool");
    let keyed = batch("coder", &json!([{ "input": 1 }])).insert_header(("Idempotency-Key", "k"));
    let keyed = rig.send(keyed).await;
    assert_eq!((keyed.status.as_u16(), &keyed.json()["header"]), (400, &"Idempotency-Key".into()));
    let large: Vec<_> = (0..9).map(|_| json!({ "input": "x".repeat(1 << 20) })).collect();
    assert_eq!(refused(batch("coder", &json!(large))).await, "/problems/payload-too-large");
    assert_eq!(
        rig.send(batch("coder", &json!([]))).await.json(),
        json!({ "accepted": 0, "refused": 0, "results": [] })
    );
    assert_eq!(rig.store.groups(), Vec::<usize>::new(), "nothing was stored");
}

#[actix_web::test]
async fn a_node_that_can_take_nothing_says_so_in_the_status() {
    let rig = Rig::start().await;
    rig.store.fail_with(StoreError::Unavailable { store: "memory", reason: "disk gone".to_owned() });
    let tasks = json!([{ "input": 1 }, { "input": 2, "colour": "red" }]);
    let answer = rig.send(batch("coder", &tasks)).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")));
    assert_eq!(rig.get("/v1/pools/coder").await.json()["waiting"], 0, "the places were given back");
    let rig = Rig::start().await;
    rig.api.drain();
    let answer = rig.send(batch("coder", &tasks)).await;
    assert_eq!(answer.json()["type"], "/problems/shutting-down");
}
