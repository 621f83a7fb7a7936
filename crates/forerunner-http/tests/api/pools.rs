//! Seeing and steering pools.

use actix_web::test::TestRequest;
use insta::assert_snapshot;
use serde_json::json;

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
