//! The history of the last minutes of a pool.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::rig::Rig;

/// The history of a pool once it matches `is_there`.
async fn history_when(rig: &Rig, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let history = rig.get(path).await.json();
        if is_there(&history) {
            return history;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {path}");
}

#[actix_web::test]
async fn the_last_minutes_of_a_pool_agree_with_its_tasks() {
    let rig = Rig::start().await;
    for number in 0..5 {
        rig.finish(json!({ "input": number })).await;
    }
    let history = history_when(&rig, "/v1/pools/coder/history", |history| history["started"] == 5).await;
    let sum = |name: &str| {
        history["points"].as_array().unwrap().iter().map(|point| point[name].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sum("started"), sum("late")), (5, history["late"].as_u64().unwrap()));
    let wait = &history["wait_s"];
    assert!(wait["p50"].as_f64() <= wait["p99"].as_f64() && wait["p99"].as_f64() <= wait["max"].as_f64(), "{wait}");
    let newest = history["points"].as_array().unwrap().iter().rfind(|point| !point["busy"].is_null()).unwrap();
    for level in ["desired", "advised", "ready", "busy", "starting", "cooldown", "depth", "greatest_depth"] {
        assert!(newest[level].is_u64(), "{level}: {newest}");
    }
    assert_eq!((&history["pool"], &history["minutes"], &history["slot_s"]), (&"coder".into(), &15.into(), &5.0.into()));
    let pool = rig.get("/v1/pools/coder").await.json();
    assert_eq!((&pool["recent"]["started"], &pool["recent"]["wait_s"]), (&5.into(), wait));
}

#[actix_web::test]
async fn a_history_has_the_changes_of_size_with_their_reasons() {
    let rig = Rig::start().await;
    rig.send(TestRequest::patch().uri("/v1/pools/coder").set_json(json!({ "min": 3 }))).await;
    let grown = |history: &Value| history["changes"].as_array().unwrap().iter().any(|change| change["desired"] == 3);
    let history = history_when(&rig, "/v1/pools/coder/history?minutes=1", grown).await;
    let change = history["changes"].as_array().unwrap().iter().find(|change| change["desired"] == 3).unwrap().clone();
    assert!(change["before"].as_u64() < Some(3) && change["reason"].is_string(), "{change}");
    let decision = rig.get(&format!("/v1/pools/coder/decisions/{}", change["seq"])).await.json();
    assert_eq!((&decision["at"], &decision["detail"]), (&change["at"], &change["detail"]));
}

#[actix_web::test]
async fn only_minutes_that_are_kept_can_be_asked_for() {
    let rig = Rig::start().await;
    for bad in ["0", "61", "-1", "x", ""] {
        let refused = rig.get(&format!("/v1/pools/coder/history?minutes={bad}")).await.json();
        assert_eq!(refused["type"], "/problems/invalid-query", "{bad}");
        assert!(refused["detail"].as_str().unwrap().contains("use 1 to 60"), "{refused}");
    }
    assert_eq!(rig.get("/v1/pools/coder/history?minute=1").await.json()["type"], "/problems/invalid-query");
    assert_eq!(rig.get("/v1/pools/none/history").await.json()["type"], "/problems/no-pool");
}
