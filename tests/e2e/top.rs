//! `forerunner top` against a service.

use std::time::Duration;

use forerunner_e2e::{Call, Pool, Service, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

async fn begin() -> (Site, Service) {
    let site = Site::new().with("", &[Pool::builtin("spare").fixed(1), Pool::builtin("work").fixed(2)]);
    let service = site.serve().await;
    let client = service.client();
    for number in 0..7 {
        client.submit("work", json!({ "number": number })).await;
    }
    client.settled("work", SOON).await;
    (site, service)
}

#[actix_rt::test]
async fn one_frame_is_printed_and_agrees_with_the_api() {
    let (site, service) = begin().await;
    let top = |line: &[&str]| {
        let line: Vec<String> = ["top"].iter().chain(line).map(|word| (*word).to_owned()).collect();
        site.program().env("FORERUNNER_SERVER", service.address()).run(line)
    };
    let often = json!({ "name": "often", "pool": "work", "every": "1h", "input": null });
    let _ = service.client().ask(Call::new("POST", "/v1/schedules").json(&often)).await.expect(201);
    let frame = top(&["--once", "work"]).await.ended(0).stdout;
    for part in [
        "▸ work",
        "  spare",
        "arrivals",
        "wait p99",
        "DECISIONS",
        "AGENTS",
        "SCHEDULES",
        "every 1h",
        "work: process, 2–2; rule fixed",
    ] {
        assert!(frame.contains(part), "{part} is missing:\n{frame}");
    }
    assert!(!frame.contains('\u{1b}') && !frame.contains("quits"), "nothing steers what is no terminal");
    // Without a terminal the output is plain by default.
    assert!(top(&[]).await.ended(0).stdout.contains("▸ spare"));
    let seen = top(&["work", "--once", "--output", "json"]).await.ended(0).json();
    assert_eq!((&seen["pool"], &seen["ready"]["status"]), (&json!("work"), &json!("ready")));
    let work = seen["pools"].as_array().and_then(|pools| pools.iter().find(|pool| pool["name"] == "work")).cloned();
    let told = service.client().get("/v1/pools/work").await;
    assert_eq!(
        work.map(|pool| (pool["finished"].clone(), pool["max"].clone())),
        Some((told["finished"].clone(), json!(2)))
    );
    assert_eq!(seen["agents"].as_array().map(Vec::len), Some(2));

    let none = top(&["nobody", "--once"]).await.ended(1);
    assert!(none.stderr.contains("no-pool"), "{}", none.stderr);
    let away = site.program().run(["top", "--once", "--server", "http://127.0.0.1:1"]).await.ended(3);
    assert!(away.stderr.contains("forerunner serve"), "{}", away.stderr);
}

#[actix_rt::test]
async fn objects_come_one_a_second_until_nobody_reads_them() {
    let (site, service) = begin().await;
    let script = "\"$0\" top work --output json --server \"$1\" | head -n 2";
    let binary = forerunner_e2e::binary();
    let piped = tokio::process::Command::new("sh").args(["-c", script]).arg(binary).arg(service.address()).output();
    let output = tokio::time::timeout(SOON, piped).await.expect("it ends once head has ended").expect("it starts");
    let lines: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|seen| seen["pools"].as_array().map(Vec::len) == Some(2)));
    assert!(lines[0]["history"]["at"].as_str() < lines[1]["history"]["at"].as_str());
    drop(site);
}

#[actix_rt::test]
async fn a_terminal_is_as_it_was_however_it_ends() {
    let (_site, service) = begin().await;
    // `script` provides a terminal, and passes on the key presses after the first frames.
    let script = "(sleep 3; printf \"$2\") | script -qec \"'$0' top work --server $1\" /dev/null";
    for pressed in ["q", "\\003"] {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", script]).arg(forerunner_e2e::binary()).args([service.address(), pressed]).kill_on_drop(true);
        shell.env("TERM", "xterm").stdin(std::process::Stdio::null());
        let output = tokio::time::timeout(SOON, shell.output()).await.expect("a key ends it").expect("it starts");
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{pressed}: {seen}");
        let (entered, left) = (seen.find("\u{1b}[?1049h"), seen.rfind("\u{1b}[?1049l"));
        assert!(entered.is_some() && left > seen.rfind("arrivals"), "{pressed}: {seen:?}");
        assert!(
            seen.rfind("\u{1b}[?25h") > seen.rfind("\u{1b}[?25l"),
            "{pressed}: the cursor is shown again: {seen:?}"
        );
    }
}
