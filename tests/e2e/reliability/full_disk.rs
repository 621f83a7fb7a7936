//! A7: no space left.

use std::{path::Path, process::Command, time::Duration};

use forerunner_e2e::{Call, Pool, Service, Site, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const PAYLOAD: usize = 60_000;

/// A separate file system for a site, unmounted when it is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// Mounts it over a directory.
    fn small(directory: &'a Path) -> Self {
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(directory).output();
        let output = output.expect("mount is installed");
        assert!(output.status.success(), "this test needs root: {}", String::from_utf8_lossy(&output.stderr).trim());
        Self(directory)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // The system removes it once the last file in it is closed.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Submits until it is refused as something that passes; answers the accepted tasks.
async fn fill(service: &Service) -> Vec<String> {
    let mut accepted = Vec::new();
    let body = json!({ "input": "x".repeat(PAYLOAD) });
    for _ in 0..2_000 {
        let answer = service.client().ask(Call::submit("work", &body)).await;
        match answer.status {
            202 => accepted.push(answer.body["id"].as_str().unwrap_or_default().to_owned()),
            503 | 507 => {
                assert_eq!(answer.problem(), "store-unavailable", "{answer:?}");
                assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
                return accepted;
            }
            _ => panic!("{answer:?}"),
        }
    }
    panic!("it is never full");
}

async fn is_ready(service: &Service) -> bool {
    service.client().call(Call::get("/readyz")).await.is_ok_and(|answer| answer.status == 200)
}

/// Checks the file as another program sees it.
fn quick_check(site: &Site) -> Value {
    let check = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA quick_check').fetchone()[0])";
    let output = Command::new("python3").args(["-c", check]).arg(site.store()).output().expect("python3 is there");
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// Every accepted task ends after space is available again, and the file is intact.
async fn heals(site: &Site, service: Service, mut accepted: Vec<String>) -> Duration {
    let begun = tokio::time::Instant::now();
    eventually("it is ready again, without a restart", SOON, async || holds(is_ready(&service).await)).await;
    let healed = begun.elapsed();
    let client = service.client();
    accepted.push(client.submit("work", json!("there is room again")).await);
    client.ask(Call::new("POST", "/v1/pools/work:resume")).await;
    for task in &accepted {
        assert_eq!(client.ended(task).await["state"], "succeeded");
    }
    assert_eq!(service.stop(SOON).await, 0);
    assert_eq!(quick_check(site), "ok");
    healed
}

#[actix_rt::test]
#[ignore = "needs the right to mount; tests/run.sh runs it where the user has it"]
async fn a_full_disk_refuses_submissions_lets_running_tasks_finish_and_heals() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let _mount = Mount::small(outer.path());
    let site = Site::within(outer.path()).with("log.level = \"error\"", &[Pool::builtin("work").fixed(2)]);
    let ballast = site.path("ballast");
    std::fs::write(&ballast, vec![7; 4 << 20]).expect("there is room for ballast");
    let service = site.serve().await;
    let client = service.client();
    let running = client.submit("work", json!({ "service_s": 3 })).await;
    let path = format!("/v1/tasks/{running}");
    eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
    client.ask(Call::new("POST", "/v1/pools/work:pause")).await;
    let accepted = fill(&service).await;
    assert!(!is_ready(&service).await, "readiness tells");
    assert_eq!(client.ended(&running).await["state"], "succeeded", "what runs can finish");
    std::fs::remove_file(&ballast).expect("ballast can be dropped");
    let tasks = accepted.len();
    let healed = heals(&site, service, accepted).await;
    println!("A7: full after {tasks} tasks of {PAYLOAD} bytes; healed {healed:.1?} after space was back");
}

/// A limit on the size of files, which any user may set. The system reports it with another error, so the store cannot
/// recognise a full disk; it must survive that as well.
#[actix_rt::test]
async fn files_that_may_not_grow_refuse_submissions_and_heal() {
    let site = Site::new().with("log.level = \"error\"", &[Pool::builtin("work").fixed(2)]);
    // The signal of the limit would end the process.
    let limited = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let service = site.serve_under(&limited).await;
    service.client().ask(Call::new("POST", "/v1/pools/work:pause")).await;
    service.limit_files(Some(3 << 20));
    let accepted = fill(&service).await;
    assert!(!accepted.is_empty());
    service.limit_files(None);
    let tasks = accepted.len();
    let healed = heals(&site, service, accepted).await;
    println!("A7: files of 3 MiB at most, full after {tasks} tasks; healed {healed:.1?} after the limit was lifted");
}
