//! Every row of the table of problems, provoked.

use std::collections::BTreeSet;

use actix_web::test::TestRequest;
use forerunner_http::{PROBLEMS, ProblemType};
use forerunner_runtime::ThreadPlacement;
use forerunner_store::StoreError;
use insta::assert_snapshot;
use serde_json::{Value, json};

use forerunner_core::ApiKeyId;
use forerunner_service::auth::{Role, Token};
use forerunner_store::{ApiKeyStore, ApiKeyWrite, MOST_API_KEYS};

use crate::{
    auth::Keyed,
    connections,
    rig::{Answer, Rig, hanging, submission},
    wire,
};

const ABSENT: &str = "/v1/tasks/018bcfe5-6800-7000-8000-000000000000";

/// The problems that were seen.
#[derive(Default)]
struct SeenProblems(BTreeSet<&'static str>);

impl SeenProblems {
    /// Checks that an answer is a well-formed problem of the kind named.
    fn note(&mut self, name: &str, answer: &Answer) {
        let body = answer.json();
        let kind = ProblemType::named(name).unwrap();
        assert_eq!(body["type"], format!("/problems/{name}"), "{body:#}");
        assert_eq!(answer.status, kind.status, "{body:#}");
        assert_eq!((&body["status"], &body["title"]), (&kind.status.into(), &kind.title.into()));
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body:#}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let delayed = matches!(
            name,
            "queue-full"
                | "queue-bytes-full"
                | "contexts-full"
                | "tenant-limit"
                | "busy"
                | "overloaded"
                | "shutting-down"
                | "store-unavailable"
        );
        assert_eq!(answer.headers.contains_key("retry-after"), delayed, "{name}");
        self.0.insert(kind.name);
    }

    fn note_wire(&mut self, name: &str, response: &str) {
        assert!(response.contains(&format!("\"type\":\"/problems/{name}\"")), "{response}");
        self.0.insert(ProblemType::named(name).unwrap().name);
    }
}

#[actix_web::test]
async fn every_row_of_the_table_is_provoked() {
    let mut seen = SeenProblems::default();
    bad_requests(&mut seen).await;
    absent_things(&mut seen).await;
    conflicts(&mut seen).await;
    callers(&mut seen).await;
    bad_bodies_on_the_wire(&mut seen).await;
    crowds_on_the_wire(&mut seen).await;
    failing_stores(&mut seen).await;
    nodes_on_their_way_down(&mut seen).await;
    let all: BTreeSet<_> = PROBLEMS.iter().map(|problem| problem.name).collect();
    assert_eq!(seen.0, all);
}

async fn bad_requests(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    let raw = |body: &'static str| {
        let request =
            TestRequest::post().uri("/v1/pools/coder/tasks").insert_header(("Content-Type", "application/json"));
        rig.send(request.set_payload(body))
    };
    seen.note("invalid-json", &raw("{\"input\": ").await);
    seen.note("invalid-body", &raw("{}").await);
    seen.note("invalid-body", &raw(r#"{"input": 1, "priority": 12}"#).await);
    seen.note("invalid-body", &raw(r#"{"input": 1, "timeout": "soon"}"#).await);
    for body in [
        r#"["hello", null, 4, null, null, null, null, {}]"#,
        r#"{"input": "\ud800"}"#,
        r#"{"input": 1, "timeout": "0s"}"#,
        r#"{"input": 1, "timeout": "9999999d"}"#,
        r#"{"input": 1, "max_attempts": 0}"#,
    ] {
        seen.note("invalid-body", &raw(body).await);
    }
    let many: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), "x".into())).collect();
    // With a colon or an equals sign in its name, a label's name and value would be ambiguous in a filter.
    let unnameable = [json!({ "urn:team": "x" }), json!({ "a=b": "x" })];
    let long = [json!(many), json!({ "team": "x".repeat(257) }), json!({ "x".repeat(257): "blue" })];
    for labels in unnameable.into_iter().chain(long) {
        let labelled = submission("coder", &json!({ "input": 1, "labels": labels }));
        seen.note("invalid-body", &rig.send(labelled).await);
    }
    seen.note("unknown-field", &raw(r#"{"input": 1, "prioritty": 3}"#).await);
    let parent = raw(r#"{"input": 1, "parent": "task-7"}"#).await;
    assert!(parent.text().contains("task id `task-7` is not a UUID; copy it from the answer"), "{}", parent.text());
    seen.note("invalid-body", &parent);
    let plain = TestRequest::post().uri("/v1/pools/coder/tasks").set_payload("input=1");
    seen.note("unsupported-media-type", &rig.send(plain).await);
    let packed = submission("coder", &json!({ "input": 1 })).insert_header(("Content-Encoding", "gzip"));
    seen.note("unsupported-encoding", &rig.send(packed).await);
    let spaced = submission("coder", &json!({ "input": 1 })).insert_header(("Idempotency-Key", "a b"));
    seen.note("invalid-header", &rig.send(spaced).await);
    let unnumbered = TestRequest::get().uri(&format!("{ABSENT}/events")).insert_header(("Last-Event-ID", "x"));
    seen.note("invalid-header", &rig.send(unnumbered).await);
    seen.note("invalid-value", &rig.get("/v1/tasks/17").await);
    seen.note("invalid-value", &rig.get("/v1/tasks?state=done").await);
    seen.note("invalid-value", &rig.get("/v1/pools/coder/decisions/first").await);
    let crossed = TestRequest::patch().uri("/v1/pools/coder").set_json(json!({ "min": 9, "max": 3 }));
    seen.note("invalid-value", &rig.send(crossed).await);
    for query in ["limit=0", "limit=many", "colour=red", "cursor=2", "label=team"] {
        seen.note("invalid-query", &rig.get(&format!("/v1/tasks?{query}")).await);
    }
    let forged = TestRequest::post().uri("/v1/pools/coder:pause").insert_header(("Sec-Fetch-Site", "cross-site"));
    seen.note("cross-site", &rig.send(forged).await);
    seen.note("payload-too-large", &rig.send(submission("small", &json!({ "input": "x".repeat(2_000) }))).await);
    seen.note("payload-too-large", &rig.send(submission("small", &json!({ "input": "x".repeat(20_000) }))).await);
    let tasks: Vec<_> = (0..1_001).map(|number| json!({ "input": number })).collect();
    let many = TestRequest::post().uri("/v1/pools/coder/tasks:batch").set_json(json!({ "tasks": tasks }));
    seen.note("batch-too-large", &rig.send(many).await);
}

async fn absent_things(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    seen.note("not-found", &rig.get("/v2/tasks").await);
    seen.note("not-found", &rig.get("/problems/none").await);
    seen.note("not-found", &rig.post(&format!("{ABSENT}:explode")).await);
    seen.note("method-not-allowed", &rig.post("/v1/tasks").await);
    seen.note("no-pool", &rig.get("/v1/pools/poet").await);
    seen.note("no-pool", &rig.send(submission("poet", &json!({ "input": 1 }))).await);
    seen.note("no-task", &rig.get(ABSENT).await);
    seen.note("no-task", &rig.post(&format!("{ABSENT}:cancel")).await);
    seen.note("no-task", &rig.get(&format!("{ABSENT}/events")).await);
    seen.note("no-context", &rig.get("/v1/contexts/nobody").await);
    seen.note("no-decision", &rig.get("/v1/pools/coder/decisions/4096").await);
    seen.note("no-schedule", &rig.get("/v1/schedules/never").await);
    seen.note("no-schedule", &rig.delete("/v1/schedules/never").await);
    seen.note("no-history", &rig.get("/v1/pools/coder/what-if").await);
}

async fn conflicts(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    let schedule = |name: &str| {
        let body = json!({ "name": name, "pool": "coder", "every": "1h", "input": 1 });
        rig.send(TestRequest::post().uri("/v1/schedules").set_json(body))
    };
    assert_eq!(schedule("one").await.status, 201);
    seen.note("schedule-conflict", &schedule("one").await);
    assert_eq!(schedule("two").await.status, 201);
    seen.note("schedules-full", &schedule("three").await);
    let nothing = TestRequest::post().uri("/v1/pools/small:learn").set_json(json!({ "from_pool": "coder" }));
    seen.note("not-learnable", &rig.send(nothing).await);
    let done = rig.finish(json!({ "input": { "do": "remember" }, "context": "chat" })).await.id();
    seen.note("wrong-state", &rig.post(&format!("/v1/tasks/{done}:retry")).await);
    rig.submit(json!({ "input": { "do": "hang" }, "context": "chat" })).await;
    seen.note("context-in-use", &rig.delete("/v1/contexts/chat").await);
    let waits = rig.submit(json!({ "input": 1, "context": "chat" })).await.id();
    let elsewhere = TestRequest::patch().uri(&format!("/v1/tasks/{waits}")).set_json(json!({ "pool": "small" }));
    seen.note("not-movable", &rig.send(elsewhere).await);
    let keyed = |input: Value| submission("coder", &json!({ "input": input })).insert_header(("Idempotency-Key", "k"));
    rig.send(keyed(json!(1))).await;
    seen.note("idempotency-key-reused", &rig.send(keyed(json!(2))).await);
    let orphan = ABSENT.trim_start_matches("/v1/tasks/");
    seen.note("no-parent", &rig.submit(json!({ "input": 1, "parent": orphan })).await);
    let mut parent = done.clone();
    for depth in 1..=16 {
        let child = rig.submit(json!({ "input": 1, "parent": parent })).await;
        assert_eq!((&child.json()["depth"], &child.json()["parent"]), (&json!(depth), &json!(parent)));
        parent = child.id();
    }
    let deep = rig.submit(json!({ "input": 1, "parent": parent })).await;
    assert_eq!((&deep.json()["depth"], &deep.json()["limit"]), (&json!(17), &json!(16)));
    seen.note("too-deep", &deep);
    rig.post("/v1/pools/small:pause").await;
    rig.send(submission("small", &hanging())).await;
    let full = rig.send(submission("small", &hanging())).await;
    assert_eq!((&full.json()["limit"], full.header("retry-after")), (&1.into(), Some("1")));
    seen.note("queue-full", &full);
    full_of_bytes(seen).await;
}

async fn full_of_bytes(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    let wide = |fill: &str| submission("small", &json!({ "input": { "do": "hang", "fill": fill } }));
    let running = rig.send(wide(&"x".repeat(900))).await.id();
    rig.until(&running, "running").await;
    let full = rig.send(wide(&"x".repeat(100))).await;
    assert_eq!((&full.json()["limit"], full.header("retry-after")), (&1_024.into(), Some("1")));
    assert!(full.text().contains("raise queue.limit_bytes"), "{}", full.text());
    seen.note("queue-bytes-full", &full);
    let pool = rig.get("/v1/pools/small").await.json();
    assert_eq!((&pool["input_limit_bytes"], &pool["waiting"]), (&json!(1_024), &json!(0)));
    assert!(pool["input_bytes"].as_u64().is_some_and(|bytes| (900..1_000).contains(&bytes)), "{pool:#}");
    rig.post(&format!("/v1/tasks/{running}:cancel")).await;
    rig.until(&running, "cancelled").await;
    assert_eq!(rig.get("/v1/pools/small").await.json()["input_bytes"], 0);

    let turn = |context: &str| submission("small", &json!({ "input": { "do": "remember" }, "context": context }));
    let wait = ("Prefer", "wait=10");
    assert_eq!(rig.send(turn("one").insert_header(wait)).await.json()["state"], "succeeded");
    let refused = rig.send(turn("two")).await;
    assert_eq!((&refused.json()["context"], refused.header("retry-after")), (&json!("two"), Some("60")));
    seen.note("contexts-full", &refused);
    assert_eq!(rig.send(turn("one").insert_header(wait)).await.json()["state"], "succeeded", "what is there goes on");
    assert_eq!(rig.send(submission("small", &json!({ "input": 1 })).insert_header(wait)).await.status, 200);
}

async fn callers(seen: &mut SeenProblems) {
    let mut node = Keyed::start().await;
    node.rig.api = node.api.clone();
    seen.note("unauthenticated", &node.rig.get("/v1/pools").await);
    let token = Token::generate(Role::Metrics).unwrap();
    let key = json!({ "name": "scrape", "role": "metrics", "sha256": String::from(token.hash()) });
    let write = |id: ApiKeyId, text: String| ApiKeyWrite { id, expected: None, next: Some((1, text)) };
    node.rig.store.write_api_key(write(token.id().clone(), key.to_string())).await.unwrap().unwrap();
    node.api.service().refresh_keys().await.unwrap();
    let as_metrics =
        TestRequest::get().uri("/v1/pools").insert_header(("Authorization", format!("Bearer {}", token.reveal())));
    seen.note("forbidden", &node.rig.send(as_metrics).await);

    let rig = Rig::start().await;
    let make = || TestRequest::post().uri("/v1/keys").set_json(json!({ "name": "ci", "role": "read" }));
    assert_eq!(rig.send(make()).await.status, 201);
    seen.note("api-key-conflict", &rig.send(make()).await);
    let limit = |limits: serde_json::Value| TestRequest::put().uri("/v1/tenants/default").set_json(limits);
    assert_eq!(rig.send(limit(json!({ "tasks": 0 }))).await.status, 200);
    let refused = rig.send(submission("coder", &json!({ "input": 1 }))).await;
    assert_eq!(refused.json()["limited"], "tasks");
    seen.note("tenant-limit", &refused);
    assert_eq!(rig.send(limit(json!({ "submits_per_s": 0.001, "burst": 1 }))).await.status, 200);
    let first = rig.send(submission("coder", &json!({ "input": 1 }))).await;
    assert_eq!((first.status.as_u16(), first.header("ratelimit")), (202, Some("\"tenant\";r=0;t=1000")));
    let refused = rig.send(submission("coder", &json!({ "input": 1 }))).await;
    assert_eq!(refused.header("ratelimit-policy"), Some("\"tenant\";q=1;w=1000"));
    assert!(refused.header("retry-after").is_some_and(|secs| (990..=1_000).contains(&secs.parse().unwrap())));
    seen.note("tenant-limit", &refused);
    let batch = json!({ "tasks": [{ "input": 1 }, { "input": 2 }] });
    let batch = rig.send(TestRequest::post().uri("/v1/pools/coder/tasks:batch").set_json(batch)).await.json();
    assert_eq!(batch["results"][1]["status"], 429, "{batch}");
    assert_eq!(rig.send(limit(json!({}))).await.status, 200);
    assert_eq!(rig.send(submission("coder", &json!({ "input": 1 }))).await.status, 202, "without limits");
    seen.note("no-api-key", &rig.post("/v1/keys/nobodyxx:revoke").await);
    for number in 1..MOST_API_KEYS {
        let id = ApiKeyId::new(format!("{number:08}")).unwrap();
        rig.store.write_api_key(write(id, "{}".to_owned())).await.unwrap().unwrap();
    }
    let other = TestRequest::post().uri("/v1/keys").set_json(json!({ "name": "other", "role": "read" }));
    seen.note("api-keys-full", &rig.send(other).await);
}

async fn bad_bodies_on_the_wire(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    let server = rig.server();
    let (addr, control) = (server.addrs()[0], server.control());
    server.spawn();
    seen.note_wire("request-timeout", &wire::stalled_body(addr).await);
    seen.note_wire("broken-body", &wire::broken_body(addr).await);
    control.stop(false).await;
}

async fn crowds_on_the_wire(seen: &mut SeenProblems) {
    seen.note_wire("misdirected", &connections::another_host().await);
    seen.note_wire("overloaded", &connections::one_too_many().await);
    let rig = Rig::start().await;
    rig.finish(json!({ "input": 1 })).await;
    // A replay of one task is short: the more at once, the surer two of them meet.
    let mut refused = None;
    for _ in 0..20 {
        let all = (0..8).map(|_| rig.get("/v1/pools/coder/what-if"));
        let answers = futures_util::future::join_all(all).await;
        refused = answers.into_iter().find(|answer| answer.status != 200);
        if refused.is_some() {
            break;
        }
    }
    seen.note("busy", &refused.expect("two replays at once"));
}

async fn failing_stores(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    rig.store.fail_with(StoreError::Unavailable { store: "memory", reason: "disk gone".to_owned() });
    seen.note("store-unavailable", &rig.submit(json!({ "input": 1 })).await);
    seen.note("not-ready", &rig.get("/readyz").await);
    rig.store.fail_with(StoreError::Damaged { place: "here".to_owned(), reason: "bad page".to_owned() });
    seen.note("internal", &rig.get(ABSENT).await);
}

async fn nodes_on_their_way_down(seen: &mut SeenProblems) {
    let rig = Rig::start().await;
    rig.api.drain();
    seen.note("shutting-down", &rig.submit(json!({ "input": 1 })).await);
    let mut rig = Rig::placed(ThreadPlacement::Spread(1)).await;
    assert_eq!(rig.get("/v1/pools/coder").await.status, 200);
    rig.stop_node().await;
    seen.note("outcome-unknown", &rig.get("/v1/pools/coder").await);
}

#[actix_web::test]
async fn a_problem_says_what_is_wrong_where_and_what_would_do() {
    let rig = Rig::start().await;
    let request = TestRequest::post().uri("/v1/pools/coder/tasks").insert_header(("Content-Type", "application/json"));
    let answer = rig.send(request.set_payload("{\n  \"input\": 1,\n  \"prioritty\": 3\n}")).await;
    assert_snapshot!(answer.text(), @r#"{"type":"/problems/unknown-field","title":"The body has a field that the call does not know","status":400,"detail":"unknown field `prioritty`, expected one of `input`, `context`, `priority`, `run_at`, `deadline`, `timeout`, `max_attempts`, `labels`, `parent` at line 3 column 13; did you mean `priority`?","column":13,"field":"prioritty","line":3,"nearest":"priority"}"#);
    assert_snapshot!(rig.get("/v1/pools/poet").await.text(), @r#"{"type":"/problems/no-pool","title":"There is no such pool","status":404,"detail":"there is no pool `poet`; the pools are coder, small","pool":"poet"}"#);
    assert_snapshot!(rig.get("/problems/queue-full").await.text(), @r"
    queue-full (429)

    The queue of the pool is at its limit.
    Try again after `Retry-After`, or raise `queue.limit`.
    ");
}
