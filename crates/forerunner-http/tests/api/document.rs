//! Compares every answer of these tests with the OpenAPI document.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex, OnceLock},
    time::Duration,
};

use actix_web::test::TestRequest;
use forerunner_http::openapi_json;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::rig::{self, Answer, Rig, submission};

const PROBLEM: &str = "application/problem+json";

/// Returns the document.
fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(&openapi_json()).unwrap())
}

/// Returns the schemas, closed: a member that is answered and not described is a fault.
fn closed_schemas() -> &'static Value {
    static SCHEMAS: OnceLock<Value> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let mut schemas = document()["components"]["schemas"].clone();
        let mut parts = BTreeSet::new();
        note_parts(&schemas, &mut parts);
        for (name, schema) in schemas.as_object_mut().unwrap() {
            let has_members = schema.get("properties").is_some() || schema.get("allOf").is_some();
            if has_members && !parts.contains(name) {
                schema["unevaluatedProperties"] = false.into();
            }
        }
        schemas
    })
}

/// Notes the schemas that others are made of.
fn note_parts(value: &Value, parts: &mut BTreeSet<String>) {
    let named = value.get("allOf").and_then(Value::as_array).into_iter().flatten();
    parts.extend(named.filter_map(|part| Some(part["$ref"].as_str()?.rsplit('/').next()?.to_owned())));
    match value {
        Value::Object(members) => members.values().for_each(|member| note_parts(member, parts)),
        Value::Array(items) => items.iter().for_each(|item| note_parts(item, parts)),
        _ => {}
    }
}

/// Returns what checks a value against a schema of the document; each is built once.
fn validator(schema: &Value) -> Arc<Validator> {
    static BUILT: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap();
    let build = || {
        let schema = json!({ "allOf": [schema], "components": { "schemas": closed_schemas() } });
        Arc::new(jsonschema::options().should_validate_formats(true).build(&schema).unwrap())
    };
    built.entry(schema.to_string()).or_insert_with(build).clone()
}

/// Returns the operation of a method and a path, if there is one.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    let paths = document()["paths"].as_object().unwrap();
    let (_, item) = paths.iter().find(|(template, _)| fits(template, path))?;
    item.get(&method)
}

/// Whether a path is one of a template: verbs (`:cancel`) are no part of a name or an id, but may be of a context.
fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let parts_fit = wanted.by_ref().zip(given.by_ref()).all(|(wanted, given)| match wanted.split_once('}') {
        Some((name, verb)) => {
            let name_fits =
                |name_given: &str| !name_given.is_empty() && (name == "{context" || !name_given.contains(':'));
            given.strip_suffix(verb).is_some_and(name_fits)
        }
        None => wanted == given,
    });
    parts_fit && template.split('/').count() == path.split('/').count()
}

/// Compares an answer with the document.
pub fn check(answer: &Answer) {
    let (method, path) = &answer.call;
    let kind = answer.header("content-type").unwrap_or_default();
    let place = format!("{method} {path}: {} {kind}", answer.status);
    let Some(operation) = operation(method, path) else {
        let name = answer.json()["type"].clone();
        assert!(name == "/problems/not-found" || name == "/problems/method-not-allowed", "{place}: {name}");
        return;
    };
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{place} is not in the document: {}", String::from_utf8_lossy(&answer.body));
    for name in ["location", "preference-applied", "idempotency-replayed", "retry-after", "accept", "accept-encoding"] {
        let described =
            response["headers"].as_object().into_iter().flatten().any(|(known, _)| known.eq_ignore_ascii_case(name));
        assert!(described || answer.header(name).is_none(), "{place}: header {name} is not in the document");
    }
    if answer.body.is_empty() {
        return;
    }
    let media = kind.split(';').next().unwrap_or_default();
    let content = &response["content"][media];
    assert!(content.is_object(), "{place}: the type is not in the document");
    if media.starts_with("text/") {
        return;
    }
    let body = answer.json();
    let faults: Vec<_> = validator(&content["schema"]).iter_errors(&body).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{place} does not fit the document: {faults:#?}\n{body:#}");
    if media == PROBLEM {
        let name = body["type"].as_str().unwrap_or_default().trim_start_matches("/problems/");
        assert!(content["examples"][name].is_object(), "{place}: {name} is not in the document");
    }
}

/// Every operation, by method and path.
fn operations() -> BTreeSet<(String, &'static str)> {
    let paths = document()["paths"].as_object().unwrap();
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let methods = item.as_object().unwrap().keys().map(|method| method.to_uppercase());
        methods.map(|method| (method, path.as_str())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[actix_web::test]
async fn every_call_of_the_document_can_be_made_and_answers_what_it_says() {
    let rig = Rig::start().await;
    let task = rig.finish(json!({ "input": { "do": "remember" }, "context": "chat" })).await.id();
    let id = |rest: &str| format!("/v1/tasks/{task}{rest}");
    let hanging = rig.submit(rig::hanging()).await.id();
    let failed = rig.finish(json!({ "input": { "do": "fail" } })).await.id();
    let asking = rig.submit(json!({ "input": { "do": "ask" } })).await.id();
    rig.until(&asking, "waiting").await;
    let removed = rig.finish(json!({ "input": 1 })).await.id();
    let delayed = rig.submit(json!({ "input": 1, "run_at": "2100-01-01T00:00:00Z" })).await.id();
    let key = async |name: &str| {
        let new = json!({ "name": name, "role": "submit", "pools": ["coder"], "networks": ["10.0.0.0/8"], "expires_in": "1h" });
        let made = rig.send(TestRequest::post().uri("/v1/keys").set_json(new)).await.json();
        made["key"]["id"].as_str().unwrap().to_owned()
    };
    let (rotated, revoked) = (key("rotated").await, key("revoked").await);
    let decision = loop {
        let decisions = rig.get("/v1/pools/coder/decisions?limit=1").await.json();
        if let Some(newest) = decisions["decisions"].get(0) {
            break newest["seq"].to_string();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let post = |path: &str| TestRequest::post().uri(path);
    let get = |path: &str| TestRequest::get().uri(path);
    let requests = vec![
        submission("coder", &json!({ "input": 1 })),
        post("/v1/pools/coder/tasks:batch").set_json(json!({ "tasks": [{ "input": 1 }, { "input": 2, "colour": 3 }] })),
        get("/v1/tasks?limit=1"),
        get(&id("")),
        post(&format!("/v1/tasks/{hanging}:cancel")),
        post(&format!("/v1/tasks/{failed}:retry")),
        post("/v1/tasks:cancel").set_json(json!({ "states": ["queued"], "dry_run": true })),
        post("/v1/tasks:retry").set_json(json!({ "pool": "nobody" })),
        post("/v1/tasks:delete").set_json(json!({ "created_before": "9d" })),
        post("/v1/tasks:move").set_json(json!({ "pool": "nobody", "to": "coder", "dry_run": true })),
        TestRequest::patch().uri(&format!("/v1/tasks/{delayed}")).set_json(json!({ "priority": 9, "run_at": "now" })),
        TestRequest::delete().uri(&format!("/v1/tasks/{removed}")),
        get(&format!("/v1/tasks/{asking}")),
        post(&format!("/v1/tasks/{asking}:answer")).set_json(json!({ "request": "r1", "answer": "red" })),
        get(&id("/logs")),
        get(&id("/attempts")),
        get(&id("/placement")),
        get(&id("/events")),
        post("/v1/schedules").set_json(json!({
            "name": "nightly", "pool": "coder", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "input": 1,
            "context": "chat", "expires_after": "1h", "timeout": "1m", "max_attempts": 2, "labels": { "team": "docs" },
            "overlap": "queue", "catch_up": "all", "jitter": "30s",
        })),
        get("/v1/schedules?limit=1"),
        post("/v1/schedules/nightly:run"),
        get("/v1/schedules/nightly"),
        TestRequest::patch().uri("/v1/schedules/nightly").set_json(json!({ "every": "1h", "context": null })),
        post("/v1/schedules/nightly:pause"),
        post("/v1/schedules/nightly:resume"),
        TestRequest::delete().uri("/v1/schedules/nightly"),
        get("/v1/pools"),
        get("/v1/pools/coder"),
        TestRequest::patch().uri("/v1/pools/coder").set_json(json!({ "max": 9 })),
        post("/v1/pools/coder:pause"),
        post("/v1/pools/coder:resume"),
        post("/v1/pools/coder:learn")
            .set_json(json!({ "tasks": [{ "arrival_s": 0.0, "service_s": 1.0 }], "replace": true })),
        get("/v1/pools/coder/agents"),
        get("/v1/pools/coder/forecast"),
        get("/v1/pools/coder/decisions"),
        get(&format!("/v1/pools/coder/decisions/{decision}")),
        get("/v1/pools/coder/history"),
        get("/v1/pools/coder/scaler"),
        get("/v1/pools/coder/what-if"),
        get("/v1/contexts"),
        get("/v1/contexts/chat?pool=coder"),
        TestRequest::delete().uri("/v1/contexts/chat"),
        get("/v1/keys"),
        post("/v1/keys").set_json(json!({ "name": "ci", "role": "read" })),
        post(&format!("/v1/keys/{rotated}:rotate")).set_json(json!({ "overlap": "1h" })),
        post(&format!("/v1/keys/{revoked}:revoke")),
        TestRequest::put().uri("/v1/tenants/acme").set_json(json!({ "submits_per_s": 0.5, "burst": 9, "tasks": 5 })),
        get("/v1/tenants"),
        get("/v1/nodes"),
        get("/metrics"),
        get("/livez"),
        get("/readyz"),
        get("/problems"),
        get("/problems/queue-full"),
        get("/openapi.json"),
        get("/dashboard/dashboard.js"),
        get("/"),
    ];
    let mut made = BTreeSet::new();
    for request in requests {
        // Which checks the answer against the document.
        let answer = rig.send(request).await;
        let (method, path) = &answer.call;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text());
        made.extend(operations().into_iter().filter(|(known, template)| known == method && fits(template, path)));
    }
    assert_eq!(made, operations());
}

#[actix_web::test]
async fn the_document_is_served_and_all_that_it_refers_to_is_there() {
    let rig = Rig::start().await;
    let served = rig.get("/openapi.json").await;
    assert_eq!(served.text(), openapi_json());
    let document = served.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut named = BTreeSet::new();
    note_references(&document, &mut named);
    for reference in &named {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap().keys();
    let unused: Vec<_> = schemas.filter(|name| !named.contains(&format!("#/components/schemas/{name}"))).collect();
    assert_eq!(unused, ["TaskEvent"], "told of in text, since events are a stream");
    let ids: Vec<_> = operations()
        .iter()
        .map(|(method, path)| operation(method, path).unwrap()["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "names of operations are unique");
}

fn note_references(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            named.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| note_references(member, named));
        }
        Value::Array(items) => items.iter().for_each(|item| note_references(item, named)),
        _ => {}
    }
}

#[actix_web::test]
async fn an_answer_that_is_not_described_would_be_noticed() {
    let rig = Rig::start().await;
    let task = rig.finish(json!({ "input": "hello", "context": "chat" })).await.json();
    let of_tasks = validator(&json!({ "$ref": "#/components/schemas/Task" }));
    assert!(of_tasks.is_valid(&task), "{task}");
    for (member, value) in [("colour", json!(1)), ("state", json!("done")), ("id", json!(7)), ("run_at", json!("soon"))]
    {
        let mut other = task.clone();
        other[member] = value;
        assert!(!of_tasks.is_valid(&other), "{member}");
    }
    let mut without = task.clone();
    without.as_object_mut().unwrap().remove("id");
    assert!(!of_tasks.is_valid(&without));
    let of_pools = validator(&json!({ "$ref": "#/components/schemas/PoolStatus" }));
    let mut pool = rig.get("/v1/pools/coder").await.json();
    assert!(of_pools.is_valid(&pool), "{pool}");
    pool["decision"]["colour"] = json!(1);
    assert!(!of_pools.is_valid(&pool), "a member deep inside");
}
