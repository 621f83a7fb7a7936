//! The other subcommands, against a service and without one.

use std::{fs, time::Duration};

use forerunner_e2e::{Finished, Pool, Service, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// The program beside a running service.
struct Desk {
    site: Site,
    service: Service,
}

impl Desk {
    async fn open() -> Self {
        let site = Site::new().with("", &[Pool::builtin("work").fixed(1), Pool::builtin("spare")]);
        let service = site.serve().await;
        Self { site, service }
    }

    async fn run(&self, line: &[&str]) -> Finished {
        self.site.program().env("FORERUNNER_SERVER", self.service.address()).run(line).await
    }

    /// Runs a command that is to succeed, and reads its JSON.
    async fn json(&self, line: &[&str]) -> Value {
        let line: Vec<&str> = line.iter().copied().chain(["--output", "json"]).collect();
        self.run(&line).await.ended(0).json()
    }

    /// Runs a command that is to succeed, and returns its text.
    async fn text(&self, line: &[&str]) -> String {
        self.run(line).await.ended(0).stdout
    }

    async fn close(self) {
        assert_eq!(self.service.stop(SOON).await, 0);
        self.site.empty(SOON).await;
    }
}

fn id(task: &Value) -> &str {
    task["id"].as_str().expect("a task has an id")
}

#[actix_rt::test]
async fn tasks_are_submitted_shown_listed_cancelled_and_sent_back() {
    let desk = Desk::open().await;
    let done = desk.json(&["submit", "work", "--input", "{\"a\":1}", "--label", "team=blue", "--wait"]).await;
    assert_eq!((&done["state"], &done["output"]["echo"]), (&json!("succeeded"), &json!({ "a": 1 })));
    assert_eq!(desk.json(&["task", "get", id(&done)]).await["output"], done["output"]);
    assert!(desk.text(&["task", "get", id(&done)]).await.contains("succeeded"));

    let slow = desk.json(&["submit", "work", "--input", "{\"service_s\":300}", "--priority", "9"]).await;
    let listed = desk.json(&["task", "list", "--pool", "work", "--label", "team=blue"]).await;
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(1), "{listed}");
    assert!(desk.text(&["task", "list"]).await.contains(id(&slow)));
    desk.json(&["task", "cancel", id(&slow)]).await;
    let watched = desk.run(&["task", "watch", id(&slow)]).await.ended(1);
    assert!(watched.stderr.contains("cancelled"), "{}", watched.stderr);
    assert_eq!(desk.json(&["task", "get", id(&slow)]).await["state"], "cancelled");
    let back = desk.json(&["task", "retry", id(&slow)]).await;
    assert_eq!((&back["state"], &back["attempt"]), (&json!("queued"), &json!(0)), "{back}");
    desk.json(&["task", "cancel", id(&slow)]).await;

    let many = desk.json(&["submit", "work", "--count", "25", "--wait=30"]).await;
    assert_eq!(many.as_array().map(Vec::len), Some(25));
    let keyed = ["submit", "work", "--idempotency-key", "k", "--input", "7", "--wait"];
    assert_eq!(desk.json(&keyed).await["id"], desk.json(&keyed).await["id"], "a key makes one task");
    desk.close().await;
}

#[actix_rt::test]
async fn pools_are_listed_shown_resized_paused_and_explained() {
    let desk = Desk::open().await;
    let pools = desk.json(&["pool", "list"]).await;
    let names: Vec<&Value> = pools["pools"].as_array().into_iter().flatten().map(|pool| &pool["name"]).collect();
    assert_eq!(names, ["spare", "work"]);
    assert!(desk.text(&["pool", "list"]).await.contains("work"));
    assert_eq!(desk.json(&["pool", "show", "work"]).await["kind"], "process");
    assert!(desk.text(&["pool", "show", "work"]).await.contains("running"));
    assert_eq!(desk.json(&["pool", "pause", "work"]).await["state"], "paused");
    let waits = desk.run(&["submit", "work", "--wait=1"]).await.ended(1);
    assert!(waits.stderr.contains("still queued"), "{}", waits.stderr);
    assert_eq!(desk.json(&["pool", "resume", "work"]).await["state"], "running");
    let resized = desk.json(&["pool", "resize", "spare", "--min", "2", "--max", "5"]).await;
    assert_eq!((&resized["min"], &resized["max"]), (&json!(2), &json!(5)));
    desk.json(&["submit", "work", "--wait"]).await;
    let agents = desk.json(&["pool", "agents", "work"]).await;
    assert!(agents["agents"][0]["pid"].is_u64(), "{agents}");
    let decision = desk.json(&["explain", "decision", "work"]).await;
    assert!(decision["seq"].is_u64() && decision["reason"].is_string(), "{decision}");
    let seq = decision["seq"].to_string();
    assert_eq!(desk.json(&["explain", "decision", "work", &seq]).await["at"], decision["at"]);
    assert!(desk.text(&["explain", "decision", "work"]).await.contains("arrivals"));
    desk.close().await;
}

#[actix_rt::test]
async fn the_document_of_the_api_is_the_same_with_and_without_a_service() {
    let desk = Desk::open().await;
    let printed = desk.site.program().run(["openapi"]).await.ended(0);
    assert_eq!(printed.json(), desk.service.client().get("/openapi.json").await);
    assert!(printed.json()["paths"]["/v1/pools/{pool}/tasks:batch"]["post"].is_object());
    desk.close().await;
}

#[actix_rt::test]
async fn exit_codes_tell_failure_from_wrong_usage_and_from_no_service() {
    let desk = Desk::open().await;
    for (line, code, said) in [
        (&["task", "get", "01a20a46-0000-7000-8000-000000000000"][..], 1, "no-task"),
        (&["pool", "show", "nobody"], 1, "no-pool"),
        (&["submit", "nobody"], 1, "no-pool"),
        (&["task", "get", "nonsense"], 2, "nonsense"),
        (&["submit", "work", "--input", "{"], 2, "input"),
        (&["pool", "resize", "work"], 2, "--max"),
        (&["sumbit"], 2, "submit"),
        (&["task", "list", "--server", "http://127.0.0.1:1"], 3, "forerunner serve"),
    ] {
        let ended = desk.run(line).await.ended(code);
        assert!(ended.stderr.contains(said), "{line:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{line:?}: errors go to standard error");
    }
    desk.close().await;
}

#[actix_rt::test]
async fn a_configuration_is_shown_with_its_origins_and_checked() {
    let site = Site::new().with("node.retention = \"1d\"", &[Pool::builtin("work").set("max = 7")]);
    let file = site.config().display().to_string();
    let show = |line: &[&str]| {
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        site.program().env("FORERUNNER__LOG__LEVEL", "warn").run(line)
    };
    let rows = show(&["config", "show", "--config", &file, "--set", "pools.work.max=9", "--output", "json"]).await;
    let rows = rows.ended(0).json();
    let row = |key: &str| {
        let rows = rows.as_array().expect("rows");
        rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}")).clone()
    };
    assert_eq!((&row("pools.work.max")["value"], &row("pools.work.max")["origin"]), (&json!(9), &json!("flag:--set")));
    assert_eq!(row("log.level")["origin"], "env:FORERUNNER__LOG__LEVEL");
    assert!(row("node.retention")["origin"].as_str().is_some_and(|origin| origin.contains("forerunner.toml:2")));
    assert_eq!(row("http.workers")["origin"], "default");
    assert_eq!(row("pools.work.agent.env.E2E_MARKER")["value"], "(hidden)");
    assert!(show(&["config", "show", "--config", &file]).await.ended(0).stdout.contains("pools.work.max"));

    let checked = site.program().run(["config", "check", &file, "--output", "json"]).await.ended(0).json();
    assert_eq!((&checked["valid"], &checked["pools"]), (&json!(true), &json!(["work"])));
    let bad = site.path("bad.toml");
    fs::write(&bad, "[pools.work]\nmaxx = 3\nagent = { kind = \"simulated\" }\n").expect("it can be written");
    let refused = site.program().run(["config".as_ref(), "check".as_ref(), bad.as_os_str()]).await.ended(2);
    assert!(
        refused.stderr.contains("bad.toml:2") && refused.stderr.contains("did you mean `max`?"),
        "{}",
        refused.stderr
    );
    let none = site.program().run(["serve", "--config", "/dev/null"]).await.ended(2);
    assert!(none.stderr.contains("[pools.coder]"), "says how to write a pool: {}", none.stderr);
}

#[actix_rt::test]
async fn a_reader_that_went_away_is_no_error() {
    let site = Site::new();
    let trace = site.path("trace.csv");
    fs::write(&trace, "arrival_s,service_s\n0,1\n400,1\n").expect("it can be written");
    let trace = trace.display().to_string();
    for (line, code) in [
        (&["completions", "bash"][..], 0),
        (&["openapi"], 0),
        (&["--help"], 0),
        (&["config", "show"], 0),
        (&["replay", "--policy", "fixed:1", &trace], 0),
        (&["config", "check", "/nowhere/forerunner.toml"], 2),
        (&["sumbit"], 2),
    ] {
        assert_eq!(site.program().run_unread(line).await, code, "{line:?}");
    }
}

#[actix_rt::test]
async fn a_submission_reaches_the_service_whoever_reads_the_answer_and_no_command_panics() {
    let desk = Desk::open().await;
    let program = || desk.site.program().env("FORERUNNER_SERVER", desk.service.address());
    let closed = || desk.site.program_without_stdout().env("FORERUNNER_SERVER", desk.service.address());
    let full = || fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let done = desk.json(&["submit", "work", "--input", "1", "--wait"]).await;
    let task = id(&done);
    let lines = "{\"input\":1,\"labels\":{\"from\":\"file\"}}\n".repeat(50);
    for line in [
        &["task", "list"][..],
        &["task", "get", task],
        &["task", "watch", task],
        &["task", "attempts", task],
        &["task", "export"],
        &["pool", "list"],
        &["node", "list"],
        &["top", "--once"],
        &["explain", "decision", "work"],
        &["config", "show"],
        &["completions", "bash"],
    ] {
        for format in ["table", "json"] {
            let line = [line, &["--output", format]].concat();
            assert_eq!(program().run_unread(&line).await, 0, "unread: {line:?}");
            assert_eq!(program().run_into(full(), &line).await, 1, "full: {line:?}");
            let code = closed().run(&line).await.code;
            assert!(matches!(code, 0 | 1), "closed: {line:?} ended with {code}");
        }
    }
    let submit = ["submit", "work", "--count", "50", "--input", "1", "--label"];
    let submitted = async |from: &str| {
        let listed = desk.json(&["task", "list", "--limit", "1000", "--label", &format!("from={from}")]).await;
        listed["tasks"].as_array().map(Vec::len)
    };
    program().run_unread(submit.iter().chain(&["from=unread"])).await;
    program().run_into(full(), submit.iter().chain(&["from=full"])).await;
    closed().run(submit.iter().chain(&["from=closed"])).await;
    program().input(&lines).run_unread(["submit", "work", "--file", "-"]).await;
    for from in ["unread", "full", "closed", "file"] {
        assert_eq!(submitted(from).await, Some(50), "{from}");
    }
    desk.close().await;
}
