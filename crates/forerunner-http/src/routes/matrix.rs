//! Roles × calls × own and other pools, from the table of calls itself: a call without a row does not compile, and one
//! whose row is not enforced fails here.

use actix_web::{
    App,
    http::Method,
    test::{self, TestRequest},
};
use forerunner_runtime::testkit::{Rig, Running, Script};
use forerunner_service::{
    Service,
    auth::{Auth, KeyRing, NewApiKey, Permission, Role, create},
};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::calls;
use crate::{api::Api, settings::HttpSettings};

const OWN: &str = "own";
const OTHER: &str = "other";

struct Node {
    running: Running,
    api: Api,
}

impl Node {
    async fn start() -> Self {
        tokio::time::pause();
        let script = || Script::answers("\"done\"");
        let rig = Rig::new().pool(OWN, script(), |pool| pool.min = 0).pool(OTHER, script(), |pool| pool.min = 0);
        let running = rig.start().await;
        let settings = HttpSettings::default();
        let auth = Auth::keys(KeyRing::default());
        let service = Service::with_auth(running.handle(), settings.limits(), auth);
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let api = Api::with_fronts(settings, service, prometheus, Vec::new());
        Self { running, api }
    }

    /// Makes a key of a role for the pool `own`.
    async fn key(&self, role: Role) -> String {
        let text = format!(r#"{{"name": "{0}", "role": "{0}", "pools": ["{OWN}"], "max_priority": 5}}"#, role.as_str());
        let new: NewApiKey = serde_json::from_str(&text).unwrap();
        let made = create(self.running.store().as_ref(), new, None, self.api.service().time()).await.unwrap();
        self.api.service().refresh_keys().await.unwrap();
        made.token.reveal().to_owned()
    }

    /// Makes a key of a role for a tenant, in all pools.
    async fn key_of(&self, tenant: &str, role: Role) -> String {
        let text = format!(r#"{{"name": "{tenant}-{0}", "role": "{0}", "tenant": "{tenant}"}}"#, role.as_str());
        let new: NewApiKey = serde_json::from_str(&text).unwrap();
        let made = create(self.running.store().as_ref(), new, None, self.api.service().time()).await.unwrap();
        self.api.service().refresh_keys().await.unwrap();
        made.token.reveal().to_owned()
    }

    /// Returns status and body of an answer.
    async fn send(&self, request: TestRequest, key: Option<&str>) -> (u16, String) {
        let app = test::init_service(App::new().configure(|config| self.api.configure(config))).await;
        let request = match key {
            Some(key) => request.insert_header(("Authorization", format!("Bearer {key}"))),
            None => request,
        };
        let answer = test::call_service(&app, request.to_request()).await;
        let is_challenged = answer.headers().contains_key("www-authenticate");
        assert_eq!(is_challenged, answer.status() == 401, "who is not known is told how to be");
        let status = answer.status().as_u16();
        // An event stream of a task that waits does not end.
        let is_stream = answer.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if is_stream { "".into() } else { test::read_body(answer).await };
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// A request for a call, about a task or a pool.
fn request(method: &str, path: &str, pool: &str, task: &str) -> TestRequest {
    let path = path.replace("{pool}", pool).replace("{id}", task).replace("{schedule}", pool);
    let path = path
        .replace("{context}", "c")
        .replace("{key}", "nobodyxx")
        .replace("{name}", "no-pool")
        .replace("{tenant}", "default");
    let path = path.replace("{seq}", "1").replace("{file}", "dashboard.css");
    let request = TestRequest::with_uri(&path).method(Method::from_bytes(method.as_bytes()).unwrap());
    if matches!(method, "POST" | "PATCH" | "PUT") { request.set_json(serde_json::json!({})) } else { request }
}

async fn submit(node: &Node, key: &str, pool: &str) -> (u16, String) {
    let body = serde_json::json!({ "input": "s3cret input", "run_at": "2099-01-01T00:00:00Z" });
    let request = TestRequest::post().uri(&format!("/v1/pools/{pool}/tasks")).set_json(body);
    node.send(request, Some(key)).await
}

#[actix_web::test]
async fn each_role_may_do_what_its_row_says_and_nothing_else() {
    let node = Node::start().await;
    let operator = node.key(Role::Operate).await;
    let (_, task) = submit(&node, &operator, OWN).await;
    let task = serde_json::from_str::<serde_json::Value>(&task).unwrap()["id"].as_str().unwrap().to_owned();
    let mut keys = Vec::new();
    for role in Role::ALL.iter().filter(|role| **role != Role::Operate) {
        keys.push((*role, node.key(*role).await));
    }
    keys.push((Role::Operate, operator));
    let mut cells = 0;
    for call in calls() {
        let (status, body) = node.send(request(call.method, call.path, OWN, &task), None).await;
        assert_eq!(
            status == 401,
            call.needs != Permission::Open,
            "{} {} without a key: {body}",
            call.method,
            call.path
        );
        for (role, key) in &keys {
            let (status, body) = node.send(request(call.method, call.path, OWN, &task), Some(key)).await;
            let is_blind = call.needs == Permission::ReadPayloads && !role.sees_payloads();
            let may = role.may(call.needs) && !is_blind;
            let place = format!("{} {} as {}: {status} {body}", call.method, call.path, role.as_str());
            assert_eq!(status == 403, !may, "{place}");
            assert_ne!(status, 401, "{place}");
            let named = [format!("\"role\":\"{}\"", role.as_str()), format!("\"needs\":\"{}\"", call.needs.as_str())];
            assert!(may || named.iter().all(|member| body.contains(member)), "{place}");
            cells += 1;
        }
    }
    assert_eq!(cells, calls().count() * Role::ALL.len());
    node.running.stop().await;
}

#[actix_web::test]
async fn what_belongs_to_others_is_not_there() {
    let node = Node::start().await;
    let store = node.running.store();
    let admin = create(
        store.as_ref(),
        serde_json::from_str(r#"{"name": "root", "role": "admin"}"#).unwrap(),
        None,
        node.api.service().time(),
    );
    let root = admin.await.unwrap().token.reveal().to_owned();
    let key = node.key(Role::Admin).await;
    let (status, task) = submit(&node, &root, OTHER).await;
    assert_eq!(status, 202, "{task}");
    let task = serde_json::from_str::<serde_json::Value>(&task).unwrap()["id"].as_str().unwrap().to_owned();
    let schedule = serde_json::json!({ "name": OTHER, "pool": OTHER, "every": "1h", "input": 1 });
    let made = node.send(TestRequest::post().uri("/v1/schedules").set_json(schedule), Some(&root)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let named = ["{pool}", "{id}", "{schedule}"];
    let of_others = calls().filter(|call| named.iter().any(|part| call.path.contains(part)));
    for call in of_others {
        let mut asked = request(call.method, call.path, OTHER, &task);
        asked = match (call.method, call.path) {
            ("POST", "/v1/pools/{pool}/tasks") => asked.set_json(serde_json::json!({ "input": 1 })),
            ("POST", "/v1/pools/{pool}/tasks:batch") => {
                asked.set_json(serde_json::json!({ "tasks": [{ "input": 1 }] }))
            }
            ("PATCH", "/v1/pools/{pool}") => asked.set_json(serde_json::json!({ "max": 3 })),
            ("POST", "/v1/tasks/{id}:answer") => asked.set_json(serde_json::json!({ "request": "r1", "answer": 1 })),
            ("PATCH", "/v1/tasks/{id}") => asked.set_json(serde_json::json!({ "priority": 5 })),
            ("PATCH", "/v1/schedules/{schedule}") => asked.set_json(serde_json::json!({ "enabled": false })),
            _ => asked,
        };
        let (status, body) = node.send(asked, Some(&key)).await;
        // A batch is answered task by task.
        let is_gone = status == 404 || body.contains("\"status\":404");
        assert!(is_gone && !body.contains("s3cret"), "{} {}: {status} {body}", call.method, call.path);
    }
    for list in ["/v1/tasks", "/v1/contexts", "/v1/pools", "/v1/schedules", "/v1/keys"] {
        let (status, body) = node.send(TestRequest::get().uri(list), Some(&key)).await;
        assert!(status == 200 && !body.contains(OTHER) && !body.contains(&task), "{list}: {status} {body}");
        assert!(!body.contains("root"), "a key with all pools is not a key of this one's: {body}");
    }
    let (_, body) = node.send(TestRequest::get().uri("/v1/pools/nobody"), Some(&key)).await;
    assert!(body.contains(OWN) && !body.contains(OTHER), "the pools that a refusal names: {body}");
    for verb in ["cancel", "retry", "delete"] {
        let all = TestRequest::post().uri(&format!("/v1/tasks:{verb}")).set_json(serde_json::json!({ "all": true }));
        let (status, body) = node.send(all, Some(&key)).await;
        assert!(status == 200 && body.contains("\"matched\":0"), "{verb}: {status} {body}");
    }
    let body = serde_json::json!({ "pool": OWN, "to": OTHER });
    assert_eq!(node.send(TestRequest::post().uri("/v1/tasks:move").set_json(body), Some(&key)).await.0, 404);
    let wider = serde_json::json!({ "name": "wider", "role": "submit" });
    assert_eq!(node.send(TestRequest::post().uri("/v1/keys").set_json(wider), Some(&key)).await.0, 403);
    node.running.stop().await;
}

/// Submits a task of a tenant to a context of hers, and makes a schedule; returns the id of the task.
async fn belongings(node: &Node, key: &str, tenant: &str) -> String {
    let body = serde_json::json!({
        "input": format!("s3cret of {tenant}"), "context": "c", "run_at": "2099-01-01T00:00:00Z",
    });
    let request = TestRequest::post().uri("/v1/pools/own/tasks").insert_header(("Idempotency-Key", "k")).set_json(body);
    let (status, task) = node.send(request, Some(key)).await;
    assert_eq!(status, 202, "{task}");
    let name = format!("nightly-{tenant}");
    let schedule = serde_json::json!({ "name": name, "pool": OWN, "every": "1h", "input": 1, "context": "c" });
    let made = node.send(TestRequest::post().uri("/v1/schedules").set_json(schedule), Some(key)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    serde_json::from_str::<serde_json::Value>(&task).unwrap()["id"].as_str().unwrap().to_owned()
}

/// A valid body for each call that has one.
fn with_body(request: TestRequest, method: &str, path: &str) -> TestRequest {
    match (method, path) {
        ("POST", "/v1/pools/{pool}/tasks") => request.set_json(serde_json::json!({ "input": 1 })),
        ("POST", "/v1/pools/{pool}/tasks:batch") => request.set_json(serde_json::json!({ "tasks": [{ "input": 1 }] })),
        ("PATCH", "/v1/pools/{pool}") => request.set_json(serde_json::json!({ "max": 3 })),
        ("PATCH", "/v1/tasks/{id}") => request.set_json(serde_json::json!({ "priority": 5 })),
        ("PATCH", "/v1/schedules/{schedule}") => request.set_json(serde_json::json!({ "enabled": false })),
        ("POST", "/v1/tasks/{id}:answer") => request.set_json(serde_json::json!({ "request": "r", "answer": 1 })),
        ("POST", path) if path.starts_with("/v1/tasks:") => {
            let moves = path.ends_with(":move");
            request.set_json(if moves {
                serde_json::json!({ "all": true, "to": OTHER })
            } else {
                serde_json::json!({ "all": true })
            })
        }
        _ => request,
    }
}

/// Roles × calls × own and other tenant. Each call about a task, a schedule or a key of another tenant is answered as if
/// there were none, to every role; and no answer of any call has anything of the other tenant.
#[actix_web::test]
async fn what_belongs_to_another_tenant_is_not_there_for_any_role() {
    let node = Node::start().await;
    let [acme, bolt] = [node.key_of("acme", Role::Admin).await, node.key_of("bolt", Role::Admin).await];
    let tasks = [belongings(&node, &acme, "acme").await, belongings(&node, &bolt, "bolt").await];
    assert_ne!(tasks[0], tasks[1], "the same idempotency key is another one for another tenant");
    let (_, foreign_keys) = node.send(TestRequest::get().uri("/v1/keys"), Some(&bolt)).await;
    let foreign_keys: serde_json::Value = serde_json::from_str(&foreign_keys).unwrap();
    let foreign_key = foreign_keys["keys"][0]["id"].as_str().unwrap();
    let mut cells = 0;
    for role in Role::ALL {
        let key = if *role == Role::Admin { acme.clone() } else { node.key_of("acme", *role).await };
        for call in calls() {
            let of_foreign =
                call.path.replace("{schedule}", "nightly-bolt").replace("{key}", foreign_key).replace("{pool}", OWN);
            let asked = request(call.method, &of_foreign, OWN, &tasks[1]);
            let asked = with_body(asked, call.method, call.path);
            let (status, body) = node.send(asked, Some(&key)).await;
            let place = format!("{} {} as {}: {status} {body}", call.method, call.path, role.as_str());
            let is_blind = call.needs == Permission::ReadPayloads && !role.sees_payloads();
            let may = role.may(call.needs) && !is_blind;
            let is_named = ["{id}", "{schedule}", "{key}"].iter().any(|part| call.path.contains(part));
            assert!(!may || !is_named || status == 404, "{place}");
            let is_open = call.needs == Permission::Open;
            // A refusal names what was asked for.
            let name = if is_named { "bolt-admin" } else { "nightly-bolt\"" };
            let marks = ["s3cret of bolt", name, "bolt-admin", "\"bolt\""];
            assert!(is_open || !marks.iter().any(|mark| body.contains(mark)), "{place}");
            cells += 1;
        }
    }
    assert_eq!(cells, calls().count() * Role::ALL.len());
    // Nothing of it was changed, and it is all there for its own tenant.
    let (_, own) = node.send(TestRequest::get().uri(&format!("/v1/tasks/{}", tasks[1])), Some(&bolt)).await;
    assert!(
        own.contains("s3cret of bolt") && own.contains("\"context\":\"c\"") && own.contains("\"priority\":4"),
        "{own}"
    );
    assert!(own.contains("\"submitted_by\":\"bolt-admin\"") && own.contains("\"tenant\":\"bolt\""), "{own}");
    let (status, own) = node.send(TestRequest::get().uri("/v1/schedules/nightly-bolt"), Some(&bolt)).await;
    assert!(status == 200 && own.contains("\"enabled\":true"), "{own}");
    node.running.stop().await;
}

#[actix_web::test]
async fn an_operator_has_all_tenants_or_acts_for_one() {
    let node = Node::start().await;
    let [acme, bolt] = [node.key_of("acme", Role::Submit).await, node.key_of("bolt", Role::Submit).await];
    let text = r#"{"name": "root", "role": "admin"}"#;
    let (store, new) = (node.running.store(), serde_json::from_str(text).unwrap());
    let made = create(store.as_ref(), new, None, node.api.service().time()).await.unwrap();
    let root = made.token.reveal().to_owned();
    node.api.service().refresh_keys().await.unwrap();
    for (key, name) in [(&acme, "acme"), (&bolt, "bolt")] {
        let body = serde_json::json!({ "input": name, "context": "c", "run_at": "2099-01-01T00:00:00Z" });
        let request = TestRequest::post().uri("/v1/pools/own/tasks").set_json(body);
        assert_eq!(node.send(request, Some(key)).await.0, 202);
    }
    let list = |tenant: Option<&str>| {
        let request = TestRequest::get().uri("/v1/tasks?context=c");
        tenant
            .map_or(TestRequest::get().uri("/v1/tasks"), |tenant| request.insert_header(("Forerunner-Tenant", tenant)))
    };
    let (_, all) = node.send(list(None), Some(&root)).await;
    assert!(all.contains("\"tenant\":\"acme\"") && all.contains("\"tenant\":\"bolt\""), "{all}");
    let (_, one) = node.send(list(Some("acme")), Some(&root)).await;
    assert!(one.contains("\"tenant\":\"acme\"") && !one.contains("bolt"), "{one}");
    let (status, body) = node.send(list(Some("bolt")), Some(&acme)).await;
    assert!(status == 403 && body.contains("belongs to tenant `acme`"), "{status} {body}");
    for bad in ["Bolt", "a b", ""] {
        assert_eq!(node.send(list(Some(bad)), Some(&root)).await.0, 400, "{bad}");
    }
    let operator = node.key_of("acme", Role::Operate).await;
    let pause = || TestRequest::post().uri("/v1/pools/own:pause");
    let (status, body) = node.send(pause(), Some(&operator)).await;
    assert!(status == 403 && body.contains("for all tenants"), "a pool belongs to all of them: {status} {body}");
    assert_eq!(node.send(pause(), Some(&root)).await.0, 200);
    node.running.stop().await;
}

#[actix_web::test]
async fn a_key_gives_no_higher_priority_than_it_may_and_sees_no_payload_unless_told() {
    let node = Node::start().await;
    let (submitter, reader) = (node.key(Role::Submit).await, node.key(Role::Read).await);
    let with = |priority: u8| {
        let body = serde_json::json!({ "input": "s3cret", "priority": priority, "run_at": "2099-01-01T00:00:00Z" });
        TestRequest::post().uri("/v1/pools/own/tasks").set_json(body)
    };
    let (status, body) = node.send(with(6), Some(&submitter)).await;
    assert!(status == 403 && body.contains("\"limit\":5"), "{status} {body}");
    let (status, task) = node.send(with(5), Some(&submitter)).await;
    assert_eq!(status, 202, "{task}");
    let task = serde_json::from_str::<serde_json::Value>(&task).unwrap()["id"].as_str().unwrap().to_owned();
    let shown = TestRequest::get().uri(&format!("/v1/tasks/{task}"));
    assert!(node.send(shown, Some(&submitter)).await.1.contains("s3cret"));
    let shown = TestRequest::get().uri(&format!("/v1/tasks/{task}"));
    let (status, body) = node.send(shown, Some(&reader)).await;
    assert!(status == 200 && !body.contains("s3cret") && !body.contains("\"input\""), "{status} {body}");
    let higher = TestRequest::patch().uri(&format!("/v1/tasks/{task}")).set_json(serde_json::json!({ "priority": 9 }));
    assert_eq!(node.send(higher, Some(&submitter)).await.0, 403);
    node.running.stop().await;
}

#[actix_web::test]
async fn a_handler_that_nobody_guards_reaches_nothing() {
    let node = Node::start().await;
    let request = TestRequest::default().app_data(node.api.clone()).to_http_request();
    let api = <Api as actix_web::FromRequest>::extract(&request).await.unwrap();
    assert!(api.service().pools().await.unwrap().is_empty());
    assert!(api.service().pool(OWN).await.is_err() && api.service().require(Permission::AnyKey).is_err());
    node.running.stop().await;
}
