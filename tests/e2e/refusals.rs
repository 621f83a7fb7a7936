//! What the node refuses over the wire, and that it is none the worse for it.

use std::time::Duration;

use forerunner_e2e::{Call, Client, Pool, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const TASKS: &str = "/v1/pools/work/tasks";
const NO_TASK: &str = "/v1/tasks/01a20a46-0000-7000-8000-000000000000";

fn post(path: &str, body: &str) -> Call {
    Call::new("POST", path).header("Content-Type", "application/json").bytes(body)
}

/// A call, and the status and problem that it is to be answered with.
fn refusals() -> Vec<(Call, u16, &'static str)> {
    let task = json!({ "input": 1 });
    let large = format!("{{\"input\":\"{}\"}}", "x".repeat(2_000));
    let huge = format!("{{\"input\":\"{}\"}}", "x".repeat(64_000));
    let deep = format!("{{\"input\":{}{}}}", "[".repeat(500), "]".repeat(500));
    vec![
        (post(TASKS, "{\"input\":"), 400, "invalid-json"),
        (post(TASKS, ""), 400, "invalid-json"),
        (post(TASKS, &deep), 400, "invalid-body"),
        (post(TASKS, "[]"), 400, "invalid-body"),
        (post(TASKS, "{}"), 400, "invalid-body"),
        (post(TASKS, "{\"input\":1,\"prioritty\":3}"), 400, "unknown-field"),
        (post(TASKS, "{\"input\":1,\"priority\":11}"), 400, "invalid-body"),
        (post(TASKS, "{\"input\":1,\"context\":\"a b\"}"), 400, "invalid-body"),
        (Call::submit("work", &task).header("Idempotency-Key", ""), 400, "invalid-header"),
        (Call::get("/v1/tasks?limit=0"), 400, "invalid-query"),
        (Call::get("/v1/tasks?cursor=nonsense"), 400, "invalid-query"),
        (Call::get("/v1/tasks?colour=red"), 400, "invalid-query"),
        (Call::submit("No%20Pool", &task), 404, "no-pool"),
        (Call::submit("nobody", &task), 404, "no-pool"),
        (Call::get("/v1/pools/nobody"), 404, "no-pool"),
        (Call::get(NO_TASK), 404, "no-task"),
        (Call::get("/v1/contexts/none?pool=work"), 404, "no-context"),
        (Call::get("/v1/pools/work/decisions/999999"), 404, "no-decision"),
        (Call::get("/v1/nothing"), 404, "not-found"),
        (Call::new("DELETE", TASKS), 405, "method-not-allowed"),
        (Call::new("PUT", "/v1/pools/work"), 405, "method-not-allowed"),
        (post(TASKS, &large), 413, "payload-too-large"),
        (post(TASKS, &huge), 413, "payload-too-large"),
        (Call::new("POST", TASKS).bytes("{\"input\":1}"), 415, "unsupported-media-type"),
        (post(TASKS, "{\"input\":1}").header("Content-Encoding", "zstd"), 415, "unsupported-encoding"),
        (Call::new("POST", "/v1/pools/work:pause").header("Sec-Fetch-Site", "cross-site"), 403, "cross-site"),
    ]
}

#[actix_rt::test]
async fn every_refusal_says_what_is_wrong_and_the_next_task_works() {
    let pool = Pool::builtin("work").fixed(1).set("queue.max_input_bytes = 1024");
    let site = Site::new().with("", &[pool]);
    let service = site.serve().await;
    let client = service.client();
    let mut faults = Vec::new();
    for (call, status, problem) in refusals() {
        let asked: String = format!("{call:?}").chars().take(200).collect();
        let answer = client.ask(call).await;
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        let is_whole = answer.header("content-type") == "application/problem+json" && !detail.is_empty();
        if (answer.status, answer.problem()) != (status, problem) || answer.body["status"] != status || !is_whole {
            faults.push(format!("{asked}: not {status} {problem}, but {} {}", answer.status, answer.body));
        }
        assert_eq!(client.ask(Call::get(format!("/problems/{problem}"))).await.status, 200, "explained: {problem}");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_bad_ids_are_refused(&client).await;
    assert_works(&client).await;
    assert_eq!(client.tasks("pool=work").await.len(), 1, "nothing that was refused was kept");
    assert_eq!(service.stop(SOON).await, 0);
}

/// An id that is none names no task.
async fn assert_bad_ids_are_refused(client: &Client) {
    for id in ["x", "01a20a46", "%00", "..%2f..", "01a20a46-0000-7000-8000-00000000000g"] {
        let answer = client.ask(Call::get(format!("/v1/tasks/{id}"))).await;
        assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
        assert_ne!(answer.problem(), "", "{id}: {answer:?}");
    }
}

async fn assert_works(client: &Client) {
    let task = client.submit("work", json!("as if nothing had happened")).await;
    assert_eq!(client.ended(&task).await["state"], "succeeded");
}

#[actix_rt::test]
async fn a_full_queue_says_when_to_come_back_and_takes_tasks_again() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1).set("queue.limit = 3")]);
    let service = site.serve().await;
    let client = service.client();
    client.ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    let body = json!({ "input": 1 });
    let mut accepted = Vec::new();
    for _ in 0..3 {
        accepted.push(client.submit("work", json!(1)).await);
    }
    let full = client.ask(Call::submit("work", &body)).await;
    assert_eq!((full.status, full.problem()), (429, "queue-full"), "{full:?}");
    let seconds: u64 = full.header("retry-after").parse().expect("Retry-After is whole seconds");
    assert_eq!(full.body["retry_after_s"].as_u64(), Some(seconds));
    assert_eq!((&full.body["depth"], &full.body["limit"]), (&json!(3), &json!(3)));
    client.ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
    for task in accepted {
        assert_eq!(client.ended(&task).await["state"], "succeeded");
    }
    assert_works(&client).await;
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_key_is_good_for_one_task_and_an_ended_task_cannot_be_sent_back() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    let keyed = |input: Value| Call::submit("work", &json!({ "input": input })).header("Idempotency-Key", "one");
    let first = client.ask(keyed(json!(1)).wait(30)).await.expect(200);
    let same = client.ask(keyed(json!(1))).await;
    assert_eq!((same.header("idempotency-replayed"), &same.body["id"]), ("true", &first["id"]));
    let other = client.ask(keyed(json!(2))).await;
    assert_eq!((other.status, other.problem()), (422, "idempotency-key-reused"), "{other:?}");
    assert_eq!(other.body["task"], first["id"]);
    let id = first["id"].as_str().expect("an id");
    let back = client.ask(Call::new("POST", format!("/v1/tasks/{id}:retry"))).await;
    assert_eq!((back.status, back.problem()), (409, "wrong-state"), "{back:?}");
    assert_works(&client).await;
    assert_eq!(service.stop(SOON).await, 0);
}
