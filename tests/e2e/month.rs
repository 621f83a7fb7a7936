//! Situations of the first month: many tasks at once, reasons of failures, a move to another store.

use std::time::Duration;

use forerunner_e2e::{Finished, Pool, Service, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn run(site: &Site, service: &Service, line: &[&str]) -> Finished {
    site.program().env("FORERUNNER_SERVER", service.address()).run(line).await
}

async fn json(site: &Site, service: &Service, line: &[&str]) -> Value {
    let line: Vec<&str> = line.iter().copied().chain(["--output", "json"]).collect();
    run(site, service, &line).await.ended(0).json()
}

#[actix_rt::test]
async fn many_tasks_are_cancelled_sent_back_deleted_and_moved_to_another_store() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let ask = async |line: &[&str]| json(&site, &service, line).await;
    ask(&["pool", "pause", "work"]).await;
    ask(&["submit", "work", "--count", "40", "--label", "batch=a"]).await;
    ask(&["submit", "work", "--input", "\"kept\"", "--label", "batch=b", "--idempotency-key", "k"]).await;

    drop(run(&site, &service, &["task", "cancel"]).await.ended(2));
    let look = ask(&["task", "cancel", "--label", "batch=a", "--dry-run"]).await;
    assert_eq!((&look["matched"], &look["done"], &look["dry_run"]), (&json!(40), &json!(40), &json!(true)));
    assert_eq!(ask(&["task", "cancel", "--label", "batch=a"]).await["done"], 40);
    assert_eq!(ask(&["task", "cancel", "--label", "batch=a"]).await["matched"], 0);
    let back = ask(&["task", "retry", "--label", "batch=a", "--state", "cancelled", "--ended-after", "1h"]).await;
    assert_eq!(back["done"], 40);
    let refused = run(&site, &service, &["task", "delete", "--pool", "work", "--state", "queued"]).await.ended(0);
    assert!(refused.stdout.contains("41 queued: it has not ended; cancel it first"), "{}", refused.stdout);
    ask(&["task", "cancel", "--label", "batch=a"]).await;
    assert_eq!(ask(&["task", "purge", "--ended-after", "1h"]).await["done"], 40);
    let left = ask(&["task", "list", "--state", "queued,cancelled"]).await;
    assert_eq!(left["tasks"].as_array().map(Vec::len), Some(1));

    let lines = run(&site, &service, &["task", "export"]).await.ended(0).stdout;
    assert_eq!(lines.lines().count(), 1, "{lines}");
    let other = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let target = other.serve().await;
    for known in [0, 1] {
        let program = other.program().env("FORERUNNER_SERVER", target.address()).input(&lines);
        let moved = program.run(&["task", "import", "-", "--output", "json"]).await.ended(0).json();
        assert_eq!((&moved["accepted"], &moved["known"]), (&json!(1), &json!(known)), "{moved}");
    }
    let there = json(&other, &target, &["task", "list", "--label", "batch=b"]).await;
    assert_eq!(there["tasks"].as_array().map(Vec::len), Some(1), "an import makes no task twice");
    for (site, service) in [(site, service), (other, target)] {
        assert_eq!(service.stop(SOON).await, 0);
        site.empty(SOON).await;
    }
}

/// An agent that writes to its standard error and refuses every task.
fn failing() -> Pool {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
    let script = format!(
        "import sys\nsys.path.insert(0, {examples:?})\nimport protocol_agent as agent\ndef work(task, text, memory):\n    \
         print('loading the model\\nno GPU found', file=sys.stderr, flush=True)\n    \
         raise agent.AgentError(-32000, 'cannot work', retryable=True)\nagent.work = work\nagent.main()\n"
    );
    Pool::of("broken", ["python3", "-B", "-c", &script]).fixed(1).set("task.retry_initial = \"10ms\"")
}

#[actix_rt::test]
async fn why_a_task_failed_is_told_attempt_by_attempt_with_the_last_lines_of_its_agents() {
    let site = Site::new().with("", &[failing(), Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let task = json(&site, &service, &["submit", "broken", "--input", "1", "--max-attempts", "3"]).await;
    let id = task["id"].as_str().expect("an id");
    drop(run(&site, &service, &["task", "watch", id]).await.ended(1));
    let attempts = json(&site, &service, &["task", "attempts", id]).await["attempts"].clone();
    let told: Vec<_> =
        attempts.as_array().into_iter().flatten().map(|one| (&one["attempt"], &one["outcome"])).collect();
    let (retried, dead) = (json!("retried"), json!("dead"));
    assert_eq!(told, [(&json!(1), &retried), (&json!(2), &retried), (&json!(3), &dead)]);
    for attempt in attempts.as_array().into_iter().flatten() {
        assert_eq!(attempt["error"]["message"], "cannot work");
        assert!(
            attempt["log"].as_str().is_some_and(|log| log.ends_with("loading the model\nno GPU found")),
            "{attempt}"
        );
        assert!(attempt["agent"].is_string() && attempt["node"].is_string(), "{attempt}");
    }
    let shown = run(&site, &service, &["task", "get", id]).await.ended(0).stdout;
    assert!(shown.contains("OUTCOME") && shown.contains("cannot work"), "{shown}");
    assert!(run(&site, &service, &["task", "attempts", id]).await.ended(0).stdout.contains("  no GPU found"));
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn a_delayed_task_is_moved_run_at_once_and_removed() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let task = json(&site, &service, &["submit", "work", "--run-at", "2100-01-01T00:00:00Z"]).await;
    let id = task["id"].as_str().expect("an id");
    let moved = json(&site, &service, &["task", "update", id, "--priority", "9", "--run-at", "1h"]).await;
    assert_eq!((&moved["priority"], &moved["state"]), (&json!(9), &json!("scheduled")));
    drop(run(&site, &service, &["task", "delete", id]).await.ended(1));
    json(&site, &service, &["task", "run-now", id]).await;
    drop(run(&site, &service, &["task", "watch", id]).await.ended(0));
    json(&site, &service, &["task", "delete", id]).await;
    drop(run(&site, &service, &["task", "get", id]).await.ended(1));
    drop(run(&site, &service, &["task", "update", id]).await.ended(2));
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}
