//! Rows of a store that cannot be read: the program continues with all others, and reports them.

use std::{path::Path, process::Command, time::Duration};

use forerunner_e2e::{Call, Pool, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// Damages a store that is not open.
fn damage(store: &Path, sql: &str) {
    let run = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let status = Command::new("python3").args(["-c", run]).arg(store).arg(sql).status();
    assert!(status.is_ok_and(|status| status.success()));
}

#[actix_rt::test]
async fn a_task_that_cannot_be_read_is_shown_and_the_others_run() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    client.ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    let mut tasks = Vec::new();
    for number in 0..5 {
        tasks.push(client.submit("work", json!(number)).await);
    }
    assert_eq!(service.stop(SOON).await, 0);
    damage(&site.store(), "UPDATE inputs SET labels = '[1' WHERE task = 3");

    let service = site.serve().await;
    let client = service.client();
    client.ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
    let bad = tasks.remove(2);
    for task in &tasks {
        assert_eq!(client.ended(task).await["state"], "succeeded");
    }
    let damaged = eventually("it is set aside", SOON, async || {
        client.tasks("state=damaged").await.into_iter().find(|task| task["id"] == bad.as_str())
    });
    assert_eq!(damaged.await["error"]["kind"], "damaged");
    assert_eq!(client.tasks("").await.len(), 5);
    let ready = client.get("/readyz").await;
    assert!(ready["warnings"][0].as_str().is_some_and(|warning| warning.contains("--state damaged")), "{ready}");
    let server = service.address();
    let listed = site.program().run(["task", "list", "--state", "damaged", "--server", server]).await.ended(0);
    assert!(listed.stdout.contains(&bad), "{}", listed.stdout);
    let given_up = client.ask(Call::new("POST", format!("/v1/tasks/{bad}:cancel"))).await.expect(200);
    assert_eq!(given_up["state"], "cancelled");
    let ready = client.get("/readyz").await;
    assert_eq!(ready["warnings"], json!(null), "{ready}");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn a_reader_that_comes_back_after_a_restart_hears_the_end() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    let task = client.submit("work", json!(1)).await;
    client.ended(&task).await;
    let last = client.events(&task).await.last().and_then(|event| event["seq"].as_u64()).expect("it has ended");
    assert_eq!(service.stop(SOON).await, 0);
    let service = site.serve().await;
    let client = service.client();
    // Another client reads the task first.
    assert_eq!(client.events(&task).await.len(), 1);
    for known in [4, last - 1, u64::MAX] {
        let heard = client.events_after(&task, known, 1).await;
        assert_eq!(heard[0]["state"], "succeeded", "after {known}");
    }
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}
