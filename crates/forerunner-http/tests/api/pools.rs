//! Seeing and steering pools.

use actix_web::test::TestRequest;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::rig::{Rig, submission};

#[actix_web::test]
async fn a_pool_shows_its_bounds_its_agents_and_its_load() {
    let rig = Rig::start().await;
    rig.finish(json!({ "input": 1 })).await;
    let pool = rig.get("/v1/pools/coder").await.json();
    assert_eq!(
        (&pool["name"], &pool["state"], &pool["kind"]),
        (&"coder".into(), &"running".into(), &"scripted".into())
    );
    assert_eq!((&pool["min"], &pool["max"], &pool["finished"]), (&1.into(), &16.into(), &1.into()));
    let pools = rig.get("/v1/pools").await.json();
    let names: Vec<_> = pools["pools"].as_array().unwrap().iter().map(|pool| &pool["name"]).collect();
    assert_eq!(names, ["coder", "small"]);
}

#[actix_web::test]
async fn agents_are_listed_one_by_one() {
    let rig = Rig::start().await;
    let warm = submission("small", &json!({ "input": 1 })).insert_header(("Prefer", "wait=10"));
    rig.send(warm).await;
    let agents = loop {
        let agents = rig.get("/v1/pools/small/agents").await;
        if agents.json()["agents"][0]["state"] == "ready" {
            break agents;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_snapshot!(agents.redacted(), @r#"
    200 OK
    {
      "agents": [
        {
          "cold_start_s": "[seconds]",
          "context": null,
          "context_bytes": 0,
          "contexts_resident": 0,
          "id": "[id]",
          "last_used": "[time]",
          "pid": null,
          "pool": "small",
          "started_at": "[time]",
          "state": "ready",
          "task": null,
          "tasks": 1
        }
      ]
    }
    "#);
}

#[actix_web::test]
async fn a_pool_is_resized_paused_and_resumed() {
    let rig = Rig::start().await;
    let patch = TestRequest::patch().uri("/v1/pools/coder").set_json(json!({ "min": 2, "max": 3, "mode": "advise" }));
    let patched = rig.send(patch).await.json();
    assert_eq!((&patched["min"], &patched["max"], &patched["mode"]), (&2.into(), &3.into(), &"advise".into()));
    assert_eq!(rig.post("/v1/pools/coder:pause").await.json()["state"], "paused");
    assert_eq!(rig.post("/v1/pools/coder:resume").await.json()["state"], "running");
}

#[actix_web::test]
async fn a_pool_tells_what_it_expects_and_what_it_decided() {
    let rig = Rig::start().await;
    let decision = loop {
        let decisions = rig.get("/v1/pools/coder/decisions?limit=1").await.json();
        if let Some(newest) = decisions["decisions"].get(0) {
            break newest.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let one = rig.get(&format!("/v1/pools/coder/decisions/{}", decision["seq"])).await.json();
    assert!(one["reason"].is_string() && one["detail"].is_string() && one["inputs"].is_object(), "{one:#}");
    let forecast = rig.get("/v1/pools/coder/forecast").await.json();
    assert!(forecast["policy"].is_string() && forecast["history"].is_array(), "{forecast:#}");
}

#[actix_web::test]
async fn an_autoscaler_is_told_of_running_waiting_and_expected_work() {
    let rig = Rig::start().await;
    let scaler = rig.get("/v1/pools/coder/scaler").await.json();
    assert_eq!((&scaler["running"], &scaler["queued"]), (&0.into(), &0.into()));
    assert_eq!(scaler["agents"], scaler["forecast"]);
    assert_eq!(rig.get("/v1/pools/none/scaler").await.json()["type"], "/problems/no-pool");
}

#[actix_web::test]
async fn other_objectives_are_priced_from_what_has_run() {
    let rig = Rig::start().await;
    let none = rig.get("/v1/pools/coder/what-if").await;
    assert_eq!((none.status.as_u16(), &none.json()["type"]), (409, &"/problems/no-history".into()));
    for number in 0..3 {
        rig.finish(json!({ "input": number })).await;
    }
    let priced = rig.get("/v1/pools/coder/what-if?share=0.9,0.99").await.json();
    assert_eq!((&priced["tasks"], &priced["policy"], &priced["max"]), (&3.into(), &"predictive".into(), &16.into()));
    let shares: Vec<_> = priced["prices"].as_array().unwrap().iter().map(|price| &price["share"]).collect();
    assert_eq!(shares, [0.9, 0.99]);
    for price in priced["prices"].as_array().unwrap() {
        assert!(price["agent_seconds"].is_number() && price["meets_objective"].is_boolean(), "{price}");
        assert!(price["wait_s"]["p99"].is_number() && price["late_share"].is_number(), "{price}");
    }
    assert_eq!(rig.get("/v1/pools/coder/what-if?share=99").await.json()["type"], "/problems/invalid-query");
    assert_eq!(rig.get("/v1/pools/nobody/what-if").await.json()["type"], "/problems/no-pool");
}

fn learn(pool: &str, body: &Value) -> TestRequest {
    TestRequest::post().uri(&format!("/v1/pools/{pool}:learn")).set_json(body)
}

#[actix_web::test]
async fn a_running_pool_learns_from_a_recording_and_another_pool_from_it() {
    let rig = Rig::start().await;
    let tasks: Vec<_> = (0..2_000).map(|second| json!({ "arrival_s": second, "service_s": 4.0 })).collect();
    let report = rig.send(learn("coder", &json!({ "tasks": tasks }))).await.json();
    assert_eq!(
        (&report["pool"], &report["tasks"], &report["span_s"]),
        (&"coder".into(), &2_000.into(), &1_999.0.into())
    );
    assert_eq!(report["policy"], "predictive");
    let again = rig.send(learn("coder", &json!({ "tasks": tasks[..50] }))).await;
    assert_eq!((again.status.as_u16(), &again.json()["type"]), (409, &"/problems/not-learnable".into()));
    assert!(again.json()["detail"].as_str().unwrap().contains("tasks already"), "{}", again.json());
    let replaced = rig.send(learn("coder", &json!({ "tasks": tasks[..50], "replace": true }))).await;
    assert_eq!(replaced.status, 200, "{}", replaced.json());
    let other = rig.send(learn("small", &json!({ "from_pool": "coder" }))).await.json();
    assert_eq!((&other["from_pool"], &other["tasks_before"]), (&"coder".into(), &0.into()), "{other}");
}

#[actix_web::test]
async fn what_cannot_be_learned_is_refused_with_its_place() {
    let rig = Rig::start().await;
    let task = json!({ "arrival_s": 0, "service_s": 1 });
    for (body, kind, text) in [
        (json!({}), "invalid-value", "name `tasks` of a recording, or `from_pool`"),
        (json!({ "tasks": [task], "from_pool": "small" }), "invalid-value", "and not both"),
        (json!({ "tasks": [] }), "invalid-value", "`tasks` has 0 tasks"),
        (
            json!({ "tasks": [task, { "arrival_s": 1, "service_s": -2 }] }),
            "invalid-value",
            "`tasks[1].service_s` is -2",
        ),
        (json!({ "tasks": [{ "arrival_s": 0 }] }), "invalid-body", "service_s"),
        (json!({ "tasks": [{ "arrival_s": 0, "service_s": 1, "sesion": "a" }] }), "unknown-field", "sesion"),
        (json!({ "tasks": [task], "ended_at": "2999-01-01T00:00:00Z" }), "invalid-value", "name a time in the past"),
        (json!({ "from_pool": "coder" }), "invalid-value", "the pool itself"),
        (json!({ "from_pool": "poet" }), "no-pool", "there is no pool `poet`"),
        (json!({ "from_pool": "small" }), "not-learnable", "has learned from no task yet"),
    ] {
        let answer = rig.send(learn("coder", &body)).await.json();
        assert_eq!(answer["type"], format!("/problems/{kind}"), "{body}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(text), "{body}: {answer}");
    }
    assert_eq!(rig.send(learn("poet", &json!({ "tasks": [task] }))).await.json()["type"], "/problems/no-pool");
}
