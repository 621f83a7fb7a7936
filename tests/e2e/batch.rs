//! Tasks submitted many at once, over the wire and from files.

use std::{collections::BTreeSet, fs, time::Duration};

use forerunner_e2e::{Call, Finished, Pool, Service, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn submit(site: &Site, service: &Service, line: &[&str]) -> Finished {
    let line = ["submit", "work"].iter().chain(line);
    site.program().env("FORERUNNER_SERVER", service.address()).run(line).await
}

fn ids(run: &Finished) -> BTreeSet<&str> {
    run.stdout.lines().collect()
}

#[actix_rt::test]
async fn a_file_is_submitted_once_however_often_and_past_a_full_queue_and_a_kill() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1).set("queue.limit = 60")]);
    let service = site.serve().await;
    // Nothing ends before the kill, so everything afterwards comes from the disk.
    service.client().ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    let file = site.path("tasks.jsonl");
    let mut lines: Vec<String> =
        (1..=150).map(|n| json!({ "input": n, "labels": { "n": n.to_string() } }).to_string()).collect();
    lines[2] = r#"{"input": 3, "prioritty": 9}"#.to_owned();
    lines[4] = "hello".to_owned();
    fs::write(&file, lines.join("\n")).expect("it can be written");
    let line = ["--file", file.to_str().expect("text"), "--key-prefix", "import"];

    let stuck = submit(&site, &service, &[&line[..], &["--max-wait", "1s"]].concat()).await.ended(1);
    assert_eq!(ids(&stuck).len(), 60, "{}", stuck.stderr);
    for said in ["line 3: unknown field `prioritty`", "at column", "did you mean `priority`?", "line 5: it is not JSON"]
    {
        assert!(stuck.stderr.contains(said), "{said}: {}", stuck.stderr);
    }
    assert!(stuck.stderr.contains("line 63: pool `work` is full"), "{}", stuck.stderr);
    service.kill();

    let service = site.serve().await;
    service.client().ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
    let all = submit(&site, &service, &line).await.ended(1);
    assert!(all.stderr.contains("148 accepted") && all.stderr.contains("2 refused"), "{}", all.stderr);
    assert_eq!(ids(&all).len(), 148);
    assert!(ids(&stuck).is_subset(&ids(&all)), "what was accepted before the kill is known after it");
    let tasks = service.client().settled("work", SOON).await;
    let inputs: BTreeSet<&str> = tasks.iter().filter_map(|task| task["labels"]["n"].as_str()).collect();
    assert_eq!((tasks.len(), inputs.len()), (148, 148), "each once");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn tasks_come_from_a_pipe_and_outcomes_go_to_programs() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let run = async |text: &str, line: &[&str]| {
        let line: Vec<&str> = ["submit", "work", "--file", "-"].into_iter().chain(line.iter().copied()).collect();
        site.program().env("FORERUNNER_SERVER", service.address()).input(text).run(line).await
    };
    let text = "{\"input\":1}\n\n{\"input\":2,\"idempotency_key\":\"two\"}\n{\"input\":3,\"priority\":77}\n";
    let told = run(text, &["--output", "json"]).await.ended(1);
    let told: Vec<Value> = told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let places: Vec<_> = told.iter().map(|one| (one["line"].as_u64(), one["status"].as_u64())).collect();
    assert_eq!(places, [(Some(1), Some(202)), (Some(3), Some(202)), (Some(4), Some(400))], "{told:?}");
    assert_eq!(
        (&told[2]["problem"]["type"], &told[2]["problem"]["line"]),
        (&json!("/problems/invalid-body"), &json!(4))
    );
    let again = run("{\"input\":2,\"idempotency_key\":\"two\"}", &[]).await.ended(0);
    assert_eq!(again.stdout.trim(), told[1]["task"]["id"], "a key of its own is kept");
    assert!(again.stderr.contains("1 known"), "{}", again.stderr);
    assert_eq!(run("", &[]).await.ended(0).stdout, "", "nothing to do is no failure");
    for (line, code) in [(&["--key-prefix", "a b"][..], 2), (&["--server", "http://127.0.0.1:1"], 3)] {
        assert_eq!(run("{\"input\":1}", line).await.code, code, "{line:?}");
    }
    assert!(submit(&site, &service, &["--file", "none.jsonl"]).await.ended(2).stderr.contains("none.jsonl"));
    let nobody = site.program().env("FORERUNNER_SERVER", service.address()).input("{\"input\":1}\n");
    assert!(nobody.run(["submit", "nobody", "--file", "-"]).await.ended(1).stderr.contains("no-pool"));
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}
