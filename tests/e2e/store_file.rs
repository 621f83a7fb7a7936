//! A store belongs to one node, of a version that supports it.

use std::{process::Command, time::Duration};

use forerunner_e2e::{Call, Finished, Pool, Site};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// Tries to serve on the site's store, which is to be refused.
async fn refused(site: &Site) -> Finished {
    let store = format!("sqlite:{}", site.store().display());
    let config = site.config().display().to_string();
    let program = site.program().within(SOON);
    program.run(["serve", "--log-format", "text", "--store", &store, "--config", &config]).await.ended(4)
}

#[actix_rt::test]
async fn a_second_node_on_the_same_store_is_refused_and_the_first_goes_on() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let second = refused(&site).await;
    assert!(second.stderr.contains("in use by another process"), "{}", second.stderr);
    assert!(second.stderr.contains("tasks.db"), "names the file: {}", second.stderr);
    assert_eq!(second.stdout, "", "it never claims to listen");
    let client = service.client();
    let task = client.submit("work", json!("still here")).await;
    assert_eq!(client.ended(&task).await["state"], "succeeded");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    assert_eq!(site.serve().await.stop(SOON).await, 0);
    let set =
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 999'); c.commit()";
    let status = Command::new("python3").args(["-c", set]).arg(site.store()).status();
    assert!(status.is_ok_and(|status| status.success()));
    let before = std::fs::read(site.store()).expect("the store is a file");
    let newer = refused(&site).await;
    assert!(newer.stderr.contains("schema version 999"), "{}", newer.stderr);
    assert!(newer.stderr.contains("run a newer forerunner"), "says what to do: {}", newer.stderr);
    assert!(std::fs::read(site.store()).expect("still there") == before, "nothing was changed");
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn a_node_whose_file_is_renamed_is_not_ready_until_the_file_is_back() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    let away = site.path("away.db");
    std::fs::rename(site.store(), &away).expect("it is there");
    let reasons = client.ask(Call::get("/readyz")).await.expect(503).to_string();
    assert!(reasons.contains("tasks.db was removed or renamed"), "{reasons}");
    let refused = client.ask(Call::submit("work", &json!({ "input": "lost?" }))).await.expect(503);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("put the same file back")), "{refused}");
    std::fs::rename(&away, site.store()).expect("it is there");
    client.get("/readyz").await;
    let task = client.submit("work", json!("kept")).await;
    assert_eq!(client.ended(&task).await["state"], "succeeded");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}
