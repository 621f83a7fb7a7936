//! The node's status, and its shutdown.

use std::time::Duration;

use actix_web::{http::Method, test::TestRequest};
use forerunner_store::StoreError;
use serde_json::json;

use crate::rig::{Answer, Rig, hanging, submission};

#[actix_web::test]
async fn a_node_that_takes_traffic_is_live_and_ready() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/livez").await.text(), "ok\n");
    assert_eq!(rig.get("/readyz").await.json(), json!({ "status": "ready", "store": "memory" }));
}

#[actix_web::test]
async fn a_node_whose_store_fails_is_live_but_not_ready_and_says_why() {
    let rig = Rig::start().await;
    rig.store.fail_with(StoreError::Unavailable { store: "memory", reason: "disk gone".to_owned() });
    let answer = rig.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["reasons"][0].as_str().unwrap().contains("disk gone"), "{}", answer.text());
    assert_eq!(rig.get("/livez").await.status, 200);
}

#[actix_web::test]
async fn a_draining_node_fails_readiness_refuses_tasks_and_closes_connections() {
    let rig = Rig::start().await;
    rig.api.drain();
    assert!(rig.api.is_draining());
    assert_eq!(rig.get("/readyz").await.status, 503);
    let refused = rig.submit(json!({ "input": 1 })).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("5")));
    assert_eq!(rig.get("/v1/pools").await.status, 200);
}

/// Waits for a new task that does not end, and makes something happen once it runs.
async fn wait_while(rig: &Rig, wait: &str, happens: impl AsyncFnOnce()) -> Answer {
    let waits = rig.send(submission("coder", &hanging()).insert_header(("Prefer", wait)));
    let then = async {
        loop {
            let tasks = rig.get("/v1/tasks?state=running").await.json();
            if tasks["tasks"][0].is_object() {
                return happens().await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    futures_util::join!(waits, then).0
}

#[actix_web::test]
async fn a_task_that_is_waited_for_is_answered_as_it_stands_when_the_node_stops() {
    let mut rig = Rig::start().await;
    let node = rig.take_node();
    let answer = wait_while(&rig, "wait=60", async || {
        assert!(node.shutdown(Duration::ZERO).await.clean);
    })
    .await;
    assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (202, &"queued".into()), "{}", answer.text());
    assert!(answer.header("location").is_some_and(|location| location.starts_with("/v1/tasks/")));
}

#[actix_web::test]
async fn an_accepted_task_whose_store_fails_while_it_is_waited_for_is_answered_as_it_was() {
    let rig = Rig::start().await;
    let fault = StoreError::Unavailable { store: "memory", reason: "disk gone".to_owned() };
    let answer = wait_while(&rig, "wait=1", async || rig.store.fail_with(fault)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (202, &"queued".into()), "{}", answer.text());
}

#[actix_web::test]
async fn requests_are_counted_and_timed_by_route_and_not_by_path() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        rig.get("/v1/tasks/018bcfe5-6800-7000-8000-000000000000").await;
    }
    rig.get("/no/such/path").await;
    rig.send(TestRequest::default().method(Method::from_bytes(b"BREW").unwrap()).uri("/v1/pools")).await;
    let answer = rig.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for line in [
        r#"forerunner_http_requests_total{method="GET",route="/v1/tasks/{id}",status="404"} "#,
        r#"forerunner_http_requests_total{method="GET",route="none",status="404"} "#,
        r#"forerunner_http_requests_total{method="other",route="/v1/pools",status="405"} "#,
        r#"forerunner_http_request_duration_seconds_count{route="/v1/tasks/{id}"} "#,
        "forerunner_http_requests_in_flight ",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    assert!(!text.contains("/no/such/path"));
}

#[actix_web::test]
async fn the_index_lists_every_call_and_every_listed_call_is_routed() {
    let rig = Rig::start().await;
    let index = rig.get("/").await.text();
    let calls: Vec<_> = index.lines().skip(2).collect();
    assert!(calls.len() > 20, "{index}");
    for call in calls {
        let (method, path) = call.split_once(' ').unwrap();
        let path = path.trim().split(' ').next().unwrap();
        let path = path.replace("{id}", "018bcfe5-6800-7000-8000-000000000000").replace("{pool}", "small");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = rig.send(TestRequest::default().method(method).uri(&path.replace(['{', '}'], ""))).await;
        assert_ne!(answer.status, 405, "{call}");
        assert!(!answer.text().contains("there is no call"), "{call}: {}", answer.text());
    }
}

#[actix_web::test]
async fn heads_are_answered_wherever_gets_are() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(TestRequest::default().method(Method::HEAD).uri("/livez")).await.status, 200);
    let refused = rig.send(TestRequest::delete().uri("/v1/contexts/x")).await;
    assert_eq!(refused.status, 404);
    let refused = rig.send(TestRequest::put().uri("/v1/contexts/x")).await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, Some("GET, HEAD, DELETE")));
}

#[actix_web::test]
async fn a_pool_with_a_small_limit_takes_an_input_up_to_it() {
    let rig = Rig::start().await;
    let text = |len: usize| json!({ "input": "x".repeat(len - 2) });
    assert_eq!(rig.send(submission("small", &text(1_024)).insert_header(("Prefer", "wait=10"))).await.status, 200);
    let refused = rig.send(submission("small", &text(1_025))).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["limit"]), (413, &1_024.into()));
}

#[actix_web::test]
async fn a_node_that_shares_its_store_with_no_other_lists_itself() {
    let rig = Rig::start().await;
    let nodes = rig.get("/v1/nodes").await.json();
    let [node] = nodes["nodes"].as_array().unwrap().as_slice() else { panic!("one node: {nodes}") };
    assert_eq!((&node["leads"], &node["this"]), (&true.into(), &true.into()));
    assert!(node["pools"]["coder"]["ready"].is_u64(), "{node}");
}
