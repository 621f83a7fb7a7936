//! Bulk operations, and operations on one waiting or ended task.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, hanging, submission};

async fn bulk(rig: &Rig, verb: &str, body: Value) -> Answer {
    rig.send(TestRequest::post().uri(&format!("/v1/tasks:{verb}")).set_json(body)).await
}

async fn done(rig: &Rig, verb: &str, body: Value) -> Value {
    let answer = bulk(rig, verb, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn patch(rig: &Rig, id: &str, body: Value) -> Answer {
    rig.send(TestRequest::patch().uri(&format!("/v1/tasks/{id}")).set_json(body)).await
}

async fn depth(rig: &Rig) -> Value {
    rig.get("/v1/pools/coder").await.json()["waiting"].clone()
}

#[actix_web::test]
async fn many_tasks_are_cancelled_sent_back_and_removed_after_a_look() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    for number in 0..25 {
        rig.submit(json!({ "input": number, "labels": { "batch": "a", "odd": (["no", "yes"][number % 2]) } })).await;
    }
    let other = rig.submit(json!({ "input": "other" })).await.id();
    let of_a = |more: Value| {
        let mut body = json!({ "pool": "coder", "labels": { "batch": "a" } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let look = done(&rig, "cancel", of_a(json!({ "dry_run": true }))).await;
    assert_eq!(look, json!({ "matched": 25, "done": 25, "refused": 0, "dry_run": true }));
    assert_eq!(depth(&rig).await, 26, "nothing was done");
    let first = done(&rig, "cancel", of_a(json!({ "limit": 10 }))).await;
    assert_eq!((&first["done"], first["next"].is_string()), (&json!(10), true));
    let rest = done(&rig, "cancel", of_a(json!({ "cursor": first["next"] }))).await;
    assert_eq!(rest, json!({ "matched": 15, "done": 15, "refused": 0, "dry_run": false }));
    assert_eq!(depth(&rig).await, 1, "the queue knows that they are gone");
    assert_eq!(done(&rig, "cancel", of_a(json!({}))).await["matched"], 0, "a call can be repeated");

    let none = done(&rig, "retry", of_a(json!({}))).await;
    assert_eq!(none["matched"], 0, "what was cancelled is sent back only where that is said");
    let both = json!({ "states": ["cancelled"], "labels": { "batch": "a", "odd": "yes" } });
    assert_eq!(done(&rig, "retry", both).await["done"], 12);
    assert_eq!(depth(&rig).await, 13);
    let removed = done(&rig, "delete", of_a(json!({ "states": ["cancelled", "queued"] }))).await;
    assert_eq!((&removed["matched"], &removed["done"], &removed["refused"]), (&json!(25), &json!(13), &json!(12)));
    assert_eq!((&removed["reasons"][0]["state"], &removed["reasons"][0]["count"]), (&json!("queued"), &json!(12)));
    let left = rig.get("/v1/tasks?label=batch:a&label=odd:yes&state=queued,running&limit=100").await.json();
    assert_eq!(left["tasks"].as_array().unwrap().len(), 12);
    rig.post("/v1/pools/coder:resume").await;
    rig.until(&other, "succeeded").await;
    rig.until(left["tasks"][11]["id"].as_str().unwrap(), "succeeded").await;
}

#[actix_web::test]
async fn agents_are_told_when_their_tasks_are_cancelled_with_many() {
    let rig = Rig::start().await;
    let running = rig.submit(hanging()).await.id();
    rig.until(&running, "running").await;
    let report = done(&rig, "cancel", json!({ "pool": "coder" })).await;
    assert_eq!((&report["done"], &report["stopping"]), (&json!(1), &json!(1)));
    rig.until(&running, "cancelled").await;
}

#[actix_web::test]
async fn a_wait_for_a_task_ends_when_it_is_cancelled_with_many() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    let waiting = rig.send(submission("coder", &json!({ "input": 1 })).insert_header(("Prefer", "wait=10")));
    let cancelling = async {
        while depth(&rig).await == 0 {
            tokio::task::yield_now().await;
        }
        done(&rig, "cancel", json!({ "all": true })).await
    };
    let (waited, cancelled) = tokio::join!(waiting, cancelling);
    assert_eq!((&waited.json()["state"], &cancelled["done"]), (&json!("cancelled"), &json!(1)));
}

#[actix_web::test]
async fn what_says_nothing_about_which_tasks_is_refused() {
    let rig = Rig::start().await;
    for verb in ["cancel", "retry", "delete"] {
        let answer = bulk(&rig, verb, json!({})).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(&format!("the tasks to {verb}")), "{}", answer.text());
    }
    assert_eq!(bulk(&rig, "cancel", json!({ "pol": "coder" })).await.json()["nearest"], "pool");
    assert_eq!(rig.post("/v1/tasks:cancel").await.status, 415, "a page of another site cannot declare JSON");
}

#[actix_web::test]
async fn a_task_that_has_ended_is_removed_with_all_that_is_kept_of_it() {
    let rig = Rig::start().await;
    let keyed = || submission("coder", &json!({ "input": "secret" })).insert_header(("Idempotency-Key", "k-1"));
    let id = rig.send(keyed().insert_header(("Prefer", "wait=10"))).await.id();
    let path = format!("/v1/tasks/{id}");
    let other_site = TestRequest::delete().uri(&path).insert_header(("Sec-Fetch-Site", "cross-site"));
    assert_eq!(rig.send(other_site).await.status, 403);
    let removed = rig.delete(&path).await;
    assert_eq!((removed.status.as_u16(), removed.body.len()), (204, 0));
    for gone in [rig.get(&path).await, rig.delete(&path).await, rig.get(&format!("{path}/events")).await] {
        assert_eq!(gone.status, 404);
    }
    let again = rig.send(keyed()).await;
    assert_eq!(again.header("idempotency-replayed"), None, "the key is free");
    assert_ne!(again.id(), id);
    let running = rig.submit(hanging()).await.id();
    rig.until(&running, "running").await;
    let refused = rig.delete(&format!("/v1/tasks/{running}")).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["state"]), (409, &json!("running")));
    assert!(refused.text().contains("cancel it first"), "{}", refused.text());
}

#[actix_web::test]
async fn a_delayed_task_runs_now_and_a_waiting_one_is_put_off() {
    let rig = Rig::start().await;
    let delayed = rig.submit(json!({ "input": 1, "run_at": "2100-01-01T00:00:00Z" })).await.id();
    let moved = patch(&rig, &delayed, json!({ "run_at": "now" })).await;
    assert_eq!((moved.status.as_u16(), &moved.json()["state"]), (200, &json!("queued")));
    rig.until(&delayed, "succeeded").await;
    assert_eq!(patch(&rig, &delayed, json!({ "priority": 9 })).await.status, 409);

    rig.post("/v1/pools/coder:pause").await;
    let waiting = rig.submit(json!({ "input": 2 })).await.id();
    let put_off = patch(&rig, &waiting, json!({ "priority": 0, "run_at": "2100-01-01T00:00:00Z" })).await.json();
    assert_eq!((&put_off["state"], &put_off["priority"]), (&json!("scheduled"), &json!(0)));
    assert_eq!(rig.get("/v1/tasks?due_after=2099-01-01T00:00:00Z").await.json()["tasks"][0]["id"], json!(waiting));
    for (body, word) in [
        (json!({}), "nothing to change"),
        (json!({ "priority": 10 }), "priority"),
        (json!({ "run_at": "soon" }), "soon"),
        (json!({ "prio": 1 }), "priority"),
    ] {
        let refused = patch(&rig, &waiting, body).await;
        assert!(refused.status == 400 && refused.text().contains(word), "{}", refused.text());
    }
    assert_eq!(patch(&rig, "01a20a46-0e18-7000-9c35-126828780415", json!({ "priority": 1 })).await.status, 404);
}

#[actix_web::test]
async fn a_listing_takes_windows_of_time_and_several_states() {
    let rig = Rig::start().await;
    let first = rig.finish(json!({ "input": 1 })).await.json();
    let second = rig.finish(json!({ "input": { "do": "fail" } })).await.json();
    let ids = async |query: String| {
        let page = rig.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        let tasks = page.json()["tasks"].as_array().unwrap().clone();
        tasks.iter().map(|task| task["id"].clone()).collect::<Vec<_>>()
    };
    let (one, two) = (first["id"].clone(), second["id"].clone());
    assert_eq!(ids("state=succeeded,failed".to_owned()).await, [two.clone(), one.clone()]);
    assert_eq!(ids("state=succeeded&state=dead&created_after=1h".to_owned()).await, std::slice::from_ref(&one));
    let from = second["submitted_at"].as_str().unwrap();
    assert_eq!(ids(format!("created_after={from}")).await, std::slice::from_ref(&two));
    assert_eq!(ids(format!("created_before={from}")).await, [one]);
    let end = second["finished_at"].as_str().unwrap();
    assert_eq!(ids(format!("ended_after={end}")).await, [two]);
    assert!(ids("ended_before=1h".to_owned()).await.is_empty());
    assert_eq!(rig.get("/v1/tasks?ended_before=tomorrow").await.status, 400);
}

#[actix_web::test]
async fn attempts_are_told_with_their_errors_and_go_with_the_task() {
    let rig = Rig::start().await;
    let attempts = async |id: &str| rig.get(&format!("/v1/tasks/{id}/attempts")).await.json()["attempts"].clone();
    let good = rig.finish(json!({ "input": 1 })).await.id();
    let one = attempts(&good).await;
    assert_eq!(
        (&one[0]["attempt"], &one[0]["outcome"], one.as_array().unwrap().len()),
        (&json!(1), &json!("succeeded"), 1)
    );
    let bad = rig.finish(json!({ "input": { "do": "fail" } })).await.id();
    rig.post("/v1/pools/coder:pause").await;
    rig.post(&format!("/v1/tasks/{bad}:retry")).await;
    let kept = attempts(&bad).await;
    assert_eq!((&kept[0]["outcome"], &kept[0]["error"]["message"]), (&json!("failed"), &json!("told to fail")));
    assert!(kept[0]["started_at"].as_str() <= kept[0]["ended_at"].as_str() && kept[0]["agent"].is_string());
    rig.post(&format!("/v1/tasks/{bad}:cancel")).await;
    rig.delete(&format!("/v1/tasks/{bad}")).await;
    assert_eq!(rig.get(&format!("/v1/tasks/{bad}/attempts")).await.status, 404);
}

#[actix_web::test]
async fn tasks_that_wait_go_to_another_pool() {
    let rig = Rig::start().await;
    for pool in ["coder", "small"] {
        rig.post(&format!("/v1/pools/{pool}:pause")).await;
    }
    let first = rig.submit(json!({ "input": 1 })).await.id();
    let second = rig.submit(json!({ "input": 2 })).await.id();
    let talk = rig.submit(json!({ "input": 3, "context": "talk" })).await.id();
    let all = |more: Value| {
        let mut body = json!({ "pool": "coder", "to": "small" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let look = done(&rig, "move", all(json!({ "dry_run": true }))).await;
    assert_eq!((&look["matched"], &look["done"], &look["refused"]), (&json!(3), &json!(1), &json!(2)));
    assert!(look["reasons"][0]["reason"].as_str().unwrap().contains("context"), "{look}");
    let moved = done(&rig, "move", all(json!({}))).await;
    assert_eq!((&moved["done"], &moved["refused"]), (&json!(1), &json!(2)), "the pool takes one task");
    assert_eq!(look["reasons"], moved["reasons"], "a look says what is done then");
    let reason = &moved["reasons"][1];
    assert_eq!((&reason["example"], &reason["count"]), (&json!(second), &json!(1)));
    assert!(reason["reason"].as_str().unwrap().contains("queue.limit"), "{moved}");
    assert_eq!(rig.get(&format!("/v1/tasks/{first}")).await.json()["pool"], "small");
    let full = patch(&rig, &second, json!({ "pool": "small" })).await;
    assert_eq!((full.status.as_u16(), &full.json()["pool"]), (429, &json!("small")));
    rig.post("/v1/pools/small:resume").await;
    rig.until(&first, "succeeded").await;
    let moved = patch(&rig, &second, json!({ "pool": "small" })).await;
    assert_eq!((moved.status.as_u16(), &moved.json()["pool"]), (200, &json!("small")));
    rig.until(&second, "succeeded").await;
    for (task, body, status, words) in [
        (&talk, json!({ "pool": "small" }), 409, "a context stays in its pool"),
        (&second, json!({ "pool": "coder" }), 409, "only a task that waits can be"),
        (&talk, json!({ "pool": "nobody" }), 404, "the pools are coder, small"),
        (&talk, json!({ "pool": "small", "priority": 9 }), 400, "`pool` is changed alone"),
        (&talk, json!({ "pool": "No Pool" }), 400, "No Pool"),
    ] {
        let refused = patch(&rig, task, body).await;
        assert!(refused.status == status && refused.text().contains(words), "{}", refused.text());
    }
    let unknown = bulk(&rig, "move", json!({ "pool": "coder", "to": "nobody" })).await;
    assert!(unknown.status == 404 && unknown.text().contains("coder, small"), "{}", unknown.text());
    assert_eq!(bulk(&rig, "move", json!({ "pool": "coder" })).await.status, 400, "it says not where to");
    assert_eq!(bulk(&rig, "cancel", json!({ "pool": "coder", "to": "small" })).await.status, 400);
}
