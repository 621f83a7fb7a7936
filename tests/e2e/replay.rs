//! Checking the forecast on one's own data: `replay`, `advise`, `history export`.

use std::{fmt::Write, fs, time::Duration};

use forerunner_e2e::{Browser, Finished, Pool, Site};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// A site with a trace of 25 minutes: two tasks a second, and every five minutes a burst of forty.
fn site() -> Site {
    let site = Site::new();
    let mut text = String::from("arrival_s,service_s,context_tokens,output_tokens,session\n");
    for tenth in 0..15_000_u32 {
        let burst = tenth % 3_000 > 2_900 && tenth % 3_000 <= 2_940;
        for n in 0..u32::from(tenth % 5 == 0) + u32::from(burst) {
            let service = 2.0 + f64::from((tenth * 7 + n) % 30) / 10.0;
            // A session pauses for longer than a task takes, so that none waits for the one before it.
            let session = tenth % 200 * 2 + n;
            writeln!(text, "{},{service},{},,{session}", f64::from(tenth) / 10.0, 100 + tenth % 900).expect("a text");
        }
    }
    fs::write(site.path("day.csv"), text).expect("it can be written");
    site
}

async fn run(site: &Site, line: &[&str]) -> Finished {
    site.program().run(line).await
}

fn row<'a>(rows: &'a Value, policy: &str) -> &'a Value {
    let found = rows.as_array().into_iter().flatten().find(|row| row["policy"] == policy);
    found.unwrap_or_else(|| panic!("no {policy} in {rows}"))
}

#[actix_rt::test]
async fn a_replay_compares_every_policy_and_writes_a_page() {
    let site = site();
    let line = ["replay", "day.csv", "--cold-start", "5s", "--report", "day.html", "--output", "json"];
    let rows = run(&site, &line).await.ended(0).json();
    for policy in ["perfect", "service-times", "predictive", "utilisation", "fixed"] {
        let row = row(&rows, policy);
        for key in
            ["late_share", "instance_s", "ratio_to_perfect", "peak_pool", "scale_actions", "reversals", "cold_start_s"]
        {
            assert!(row[key].is_number(), "{key} of {row}");
        }
        for key in ["mean", "p50", "p95", "p99", "max"] {
            assert!(row["wait_s"][key].is_number(), "{key} of {row}");
        }
        assert_eq!((&row["trace"], &row["tasks"]), (&"day".into(), &row_tasks(&rows)), "{row}");
        assert!(row["params"].is_string(), "{row}");
    }
    assert_eq!(row(&rows, "perfect")["ratio_to_perfect"], 1.0);
    let coverage = row(&rows, "predictive")["band_coverage"].as_f64();
    assert!(coverage.is_some_and(|share| (0.5..=1.0).contains(&share)), "bands of 90 % are judged: {coverage:?}");
    assert!(row(&rows, "utilisation")["band_coverage"].is_null(), "who forecasts nothing has no band");
    assert!(row(&rows, "fixed")["late_share"].as_f64().is_some_and(|late| late <= 0.01), "the least that meets it");
    assert!(row(&rows, "service-times")["instance_s"].as_f64() <= row(&rows, "perfect")["instance_s"].as_f64());

    let page = fs::read_to_string(site.path("day.html")).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.len() < 3_000_000, "{} bytes", page.len());
    for outside in ["http://", "https://", "<link", "src=", "@import"] {
        assert!(!page.contains(outside), "the page needs nothing but itself, and has {outside}");
    }
    let again = run(&site, &line).await.ended(0).json();
    assert_eq!(rows, again, "the same trace gives the same figures");

    let table = run(&site, &["replay", "day.csv", "--cold-start", "2s,5s"]).await.ended(0).stdout;
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("day, cold start 2s") && table.contains("day, cold start 5s"), "{table}");
}

fn row_tasks(rows: &Value) -> Value {
    rows[0]["tasks"].clone()
}

#[actix_rt::test]
async fn objectives_have_a_price_and_a_table_for_the_manual() {
    let site = site();
    let line = ["replay", "day.csv", "--cold-start", "5s", "--what-if", "0.9,0.99", "--output", "json"];
    let rows = run(&site, &line).await.ended(0).json();
    let shares: Vec<&Value> = rows
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["policy"] == "predictive")
        .map(|row| &row["objective"]["share"])
        .collect();
    assert_eq!(shares, [0.9, 0.99]);
    fs::write(site.path("manual.md"), "# Manual\n<!-- replay:begin -->\nstale\n<!-- replay:end -->\nend\n")
        .expect("written");
    run(&site, &["replay", "day.csv", "--cold-start", "5s", "--table", "manual.md"]).await.ended(0).stdout.clear();
    let manual = fs::read_to_string(site.path("manual.md")).expect("still there");
    assert!(manual.starts_with("# Manual\n") && manual.ends_with("\nend\n") && !manual.contains("stale"), "{manual}");
    assert!(manual.contains("| day | 5s |") && manual.contains("- mean late share "), "{manual}");
}

#[actix_rt::test]
async fn traces_that_cannot_be_used_are_refused_with_file_line_and_remedy() {
    let site = Site::new();
    for (text, said) in [
        ("", "has no tasks"),
        ("arrival_s,service_s\n", "has no tasks"),
        ("arrival,service\n1,2\n", "column `arrival_s` is missing from the header `arrival,service`"),
        ("arrival_s,service_s\n1,2\n2,-3\n", "bad.csv`, line 3: `service_s` is `-3`"),
        ("arrival_s,service_s\n1,x\n", "line 2: `service_s` is `x`"),
        ("arrival_s,service_s\n1,NaN\n", "`service_s` is `NaN`"),
        ("arrival_s,service_s\n1700000000,1\n", "seconds since the begin of the trace"),
        ("arrival_s,service_s\n1,1e300\n", "`service_s` is `1e300`"),
        ("arrival_s,service_s\n1,2,3\n", "line: 2"),
    ] {
        fs::write(site.path("bad.csv"), text).expect("written");
        let ended = run(&site, &["replay", "bad.csv"]).await.ended(2);
        assert!(ended.stderr.contains(said) && ended.stdout.is_empty(), "{text:?}: {}", ended.stderr);
    }
    for (line, said) in [
        (&["replay", "none.csv"][..], "none.csv"),
        (&["replay", "bad.csv", "--policy", "clairvoyant"], "predictive"),
        (&["replay", "bad.csv", "--share", "99"], "0.99"),
        (&["replay", "bad.csv", "--cold-start", "soon"], "250ms"),
        (&["replay"], "TRACE"),
    ] {
        let ended = run(&site, line).await.ended(2);
        assert!(ended.stderr.contains(said), "{line:?}: {}", ended.stderr);
    }
    let unsorted = "arrival_s,service_s\n5,1\n1,2\n";
    fs::write(site.path("short.csv"), unsorted).expect("written");
    let ended = run(&site, &["replay", "short.csv", "--cold-start", "1s", "--output", "json"]).await.ended(0);
    assert_eq!(row(&ended.json(), "predictive")["tasks"], 2, "a short trace counts from its begin, in any order");
    assert!(ended.stderr.contains("every task counts"), "{}", ended.stderr);
}

#[actix_rt::test]
async fn a_trace_may_come_through_a_pipe_and_in_other_forms() {
    let site = site();
    let day = fs::read_to_string(site.path("day.csv")).expect("a trace");
    let replay = ["replay", "-", "--cold-start", "5s", "--policy", "predictive", "--output", "json"];
    let figures = |rows: &Value| row(rows, "predictive")["instance_s"].as_f64().expect("a number");
    let by_pipe = site.program().input(&day).run(replay).await.ended(0).json();
    let by_name =
        run(&site, &["replay", "day.csv", "--cold-start", "5s", "--policy", "predictive", "--output", "json"]).await;
    assert_eq!(figures(&by_pipe), figures(&by_name.ended(0).json()));
    let (mut lines, mut spans) = (String::new(), Vec::new());
    for line in day.lines().skip(1) {
        let mut cells = line.split(',').map(|cell| cell.parse::<f64>().expect("a number"));
        let (arrival, service) = (cells.next().expect("arrival"), cells.next().expect("service"));
        let begin = 1_700_000_000_000_i64 + (arrival * 1e3).round() as i64;
        let end = begin + (service * 1e3).round() as i64;
        writeln!(lines, "{{\"when\":{begin},\"done\":{end}}}").expect("a text");
        spans.push(format!("{{\"startTimeUnixNano\":\"{begin}000000\",\"endTimeUnixNano\":\"{end}000000\"}}"));
    }
    let otlp = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}]}}]}}]}}", spans.join(","));
    let mapped = [&replay[..], &["--map", "arrival=when,end=done"]].concat();
    for (text, line) in [(&lines, &mapped[..]), (&otlp, &replay[..])] {
        let ended = site.program().input(text).run(line).await.ended(0);
        assert!((figures(&ended.json()) / figures(&by_pipe) - 1.0).abs() < 0.001, "{}", ended.stderr);
        assert!(ended.stderr.contains("2023-11-14T22:13:20Z"), "{}", ended.stderr);
    }
    let unmapped = site.program().input(&lines).run(replay).await.ended(2).stderr;
    assert!(unmapped.contains("looks like JSON") && unmapped.contains("--map") && unmapped.len() < 400, "{unmapped}");
}

#[actix_rt::test]
async fn todays_rule_is_compared_in_money_and_the_answer_can_be_pasted() {
    let site = site();
    let line = ["replay", "day.csv", "--cold-start", "30s", "--today", "fixed:90", "--price", "$0.42/h"];
    let told = run(&site, &line).await.ended(0).stdout;
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in ["today: fixed:90", "AGENT-HOURS", "$", "a day at this rate", "[pools.day]"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    let rows = run(&site, &[&line[..], &["--output", "json"]].concat()).await.ended(0).json();
    let today = rows.as_array().into_iter().flatten().find(|row| row["today"] == true).expect("a row of today");
    assert_eq!((&today["policy"], &today["peak_pool"]), (&"fixed".into(), &90.into()), "{today}");
    let hours = today["agent_hours"].as_f64().expect("hours");
    assert!((today["money"].as_f64().expect("money") - 0.42 * hours).abs() < 1e-9, "{today}");

    // Bursts of forty at once, which no rule can know the first time: it names what would do.
    let ours = row(&rows, "predictive");
    assert_eq!(ours["meets_objective"], false, "{ours}");
    assert!(told.contains("misses the objective") && told.contains("would be met with"), "{told}");
    let met_by = ours["met_by"].as_array().expect("remedies");
    assert!(met_by.iter().all(|remedy| remedy["late_share"].as_f64().is_some_and(|late| late <= 0.01)), "{met_by:?}");
    assert!(met_by.iter().any(|remedy| remedy["change"]["fixed"].is_u64()), "{met_by:?}");

    let block = ours["pool_settings"].as_str().expect("a block").replace("./your-agent", "true");
    fs::write(site.path("pasted.toml"), block).expect("written");
    let checked = run(&site, &["config", "check", "pasted.toml"]).await.ended(0);
    assert!(checked.stdout.contains("valid"), "{}", checked.stdout);
    for (flags, said) in [(["--today", "clairvoyant"], "predictive"), (["--price", "cheap"], "0.42/h")] {
        let ended = run(&site, &[&["replay", "day.csv"], &flags[..]].concat()).await.ended(2);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[actix_rt::test]
async fn the_page_draws_every_row_that_is_clicked() {
    let site = site();
    let line = ["replay", "day.csv", "--cold-start", "2s,5s", "--today", "hpa:target=0.5", "--report", "day.html"];
    run(&site, &line).await.ended(0).stdout.clear();
    let mut browser = Browser::start(1280, 900).await;
    browser.open(&format!("file://{}", site.path("day.html").display())).await;
    browser.until("document.querySelectorAll('#table tbody tr').length > 12", SOON).await;
    let rows = browser.evaluate("document.querySelectorAll('#table tbody tr').length").await.as_u64().expect("rows");
    assert!(browser.text("#timeline-note").await.starts_with("predictive"), "ours is drawn first");
    let mut drawn = std::collections::HashSet::new();
    for index in 0..rows {
        let script = format!(
            "document.querySelectorAll('#table tbody tr')[{index}].click(), document.querySelectorAll('#plots svg path').length"
        );
        let paths = browser.evaluate(&script).await.as_u64().expect("a count");
        let (note, name) = (browser.text("#timeline-note").await, browser.text("tr.shown button").await);
        assert!(
            paths >= 5 && note.starts_with(name.split(' ').next().unwrap_or_default()),
            "{name}: {paths} paths, {note}"
        );
        let shapes = browser.evaluate("document.getElementById('plots').innerHTML").await.to_string();
        assert!(drawn.insert(format!("{name} {shapes}")), "{name} looks like another");
    }
    browser.evaluate("document.querySelector('#table button').focus()").await;
    assert_eq!(
        browser.evaluate("document.activeElement.tagName").await,
        "BUTTON",
        "rows are reached with the keyboard"
    );
    browser.evaluate("(() => { const c = document.getElementById('cells'); c.value = 1; c.dispatchEvent(new Event('change')); })()").await;
    assert!(browser.text("#about").await.contains("5.00 s"), "{}", browser.text("#about").await);
    let foreign: Vec<String> =
        browser.requested().await.into_iter().filter(|url| url.contains("//") && !url.starts_with("file:")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[actix_rt::test]
async fn advice_on_what_a_replay_saw_is_what_the_replay_did() {
    let site = site();
    for policy in ["predictive", "utilisation"] {
        let line = ["replay", "day.csv", "--cold-start", "5s", "--max", "60", "--policy", policy];
        let files = ["--timeline", "timeline.csv", "--observations", "seen.jsonl"];
        run(&site, &[&line[..], &files[..]].concat()).await.ended(0).stdout.clear();
        let seen = fs::read_to_string(site.path("seen.jsonl")).expect("observations");
        let advise = ["advise", "--cold-start", "5s", "--min", "1", "--max", "60", "--policy", policy];
        let advised = site.program().input(&seen).run(advise).await.ended(0).stdout;
        let timeline = fs::read_to_string(site.path("timeline.csv")).expect("a timeline");
        let advised: Vec<String> = seen
            .lines()
            .zip(advised.lines())
            .map(|(seen, advised)| {
                let read = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
                format!("{},{}", read(seen)["t"].as_f64().expect("a time"), read(advised)["desired"])
            })
            .collect();
        assert!(advised.len() > 1_400, "{}", advised.len());
        assert!(timeline.lines().skip(1).eq(advised.iter()), "{policy}");
    }
}

#[actix_rt::test]
async fn advice_ends_at_a_line_that_is_none_and_says_which() {
    let site = Site::new();
    let good = r#"{"t":1,"arrivals":5,"completions":0,"mean_service_s":null,"queue_depth":5,"in_flight":0,"ready":0,"starting":1,"unknown":[]}"#;
    let input = format!("{good}\nnonsense\n{good}\n");
    let ended = site.program().input(&input).run(["advise", "--max", "9"]).await.ended(2);
    assert!(ended.stderr.contains("line 2") && ended.stdout.lines().count() == 1, "{}", ended.stderr);
    let went_on = site.program().input(&input).run(["advise", "--max", "9", "--keep-going"]).await.ended(0);
    let answers: Vec<Value> = went_on.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((answers.len(), &answers[1]["line"]), (3, &2.into()), "{answers:?}");
    assert!(answers[0]["desired"].as_u64().is_some_and(|desired| (5..=9).contains(&desired)), "{}", answers[0]);
    assert_eq!(site.program().run(["advise"]).await.ended(0).stdout, "", "no input is no error");
}

#[actix_rt::test]
async fn the_history_of_a_service_can_be_replayed() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(2), Pool::builtin("spare")]);
    let service = site.serve().await;
    let client = |line: &'static [&'static str]| site.program().env("FORERUNNER_SERVER", service.address()).run(line);
    client(&["submit", "work", "--count", "30", "--input", "{\"service_s\":0.02}", "--wait=30"])
        .await
        .ended(0)
        .stdout
        .clear();
    client(&["submit", "work", "--context", "secret-name", "--wait=30"]).await.ended(0).stdout.clear();

    let exported = client(&["history", "export", "--pool", "work", "-o", "past.csv.gz", "--output", "json"]).await;
    let summary = exported.ended(0).json();
    assert_eq!((&summary["tasks"], &summary["contexts"]), (&31.into(), &1.into()), "{summary}");
    let text = client(&["history", "export", "--pool", "work"]).await.ended(0).stdout;
    assert_eq!(client(&["history", "export", "--pool", "work", "-o", "-"]).await.ended(0).stdout, text);
    assert_eq!(text.lines().count(), 32, "{text}");
    assert!(!text.contains("secret-name"), "ids may tell something about people");
    let named = client(&["history", "export", "--pool", "work", "--keep-context-ids"]).await.ended(0).stdout;
    assert!(named.contains("secret-name"), "{named}");
    let none = client(&["history", "export", "--pool", "spare"]).await.ended(1);
    assert!(none.stderr.contains("no finished tasks"), "{}", none.stderr);

    let prices = client(&["pool", "what-if", "work", "--share", "0.9,0.99", "--output", "json"]).await.ended(0).json();
    assert_eq!((&prices["tasks"], &prices["prices"][1]["share"]), (&31.into(), &0.99.into()), "{prices}");
    assert!(prices["prices"][0]["agent_seconds"].is_number() && prices["truncated"] == false, "{prices}");
    let no_history = client(&["pool", "what-if", "spare"]).await.ended(1);
    assert!(no_history.stderr.contains("no-history"), "{}", no_history.stderr);

    let rows = client(&["replay", "past.csv.gz", "--cold-start", "1s", "--output", "json"]).await.ended(0).json();
    assert_eq!(row(&rows, "predictive")["tasks"], 31);
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_pool_that_was_seeded_begins_with_what_the_recording_needs() {
    let pool = "[pools.work]\nmax = 40\nagent = { kind = \"simulated\", cold_start = \"100ms\" }\n";
    let site = Site::new().with(pool, &[]);
    let mut text = String::from("arrival_s,service_s\n");
    for half in 0..1_200 {
        writeln!(text, "{},4", f64::from(half) / 2.0).expect("a text");
    }
    fs::write(site.path("past.csv"), text).expect("written");
    let flag = "exec \"$0\" \"$@\" --seed-history work=past.csv";
    let service = site.serve_under(&["sh", "-c", flag]).await;
    let status = service.client().get("/v1/pools/work").await;
    let desired = status["desired"].as_u64().expect("a size");
    assert!((8..=20).contains(&desired), "two tasks a second of four seconds: {status}");
    assert_eq!(service.stop(SOON).await, 0);
    let log = fs::read_to_string(site.path("log")).expect("a log");
    assert!(log.contains("learned from a recording"), "{log}");
    // The second start keeps what the pool knows.
    let service = site.serve_under(&["sh", "-c", flag]).await;
    assert_eq!(service.stop(SOON).await, 0);
    let log = fs::read_to_string(site.path("log")).expect("a log");
    assert!(log.contains("the seed is not used"), "{log}");
    let config = site.config();
    let line = ["serve", "--config", config.to_str().expect("text"), "--seed-history", "other=past.csv"];
    let refused = site.program().run(line).await.ended(2);
    assert!(refused.stderr.contains("POOL=FILE") && refused.stderr.contains("work"), "{}", refused.stderr);
}

#[actix_rt::test]
async fn a_running_pool_learns_from_a_recording_and_another_one_from_it() {
    let site = Site::new().with("", &[Pool::builtin("work"), Pool::builtin("spare")]);
    let service = site.serve().await;
    let client = |line: &'static [&'static str]| site.program().env("FORERUNNER_SERVER", service.address()).run(line);
    let mut text = String::from("due,took_ms,chat\n");
    for second in 0..900 {
        writeln!(text, "2026-01-05T09:{:02}:{:02}Z,4000,{}", second / 60, second % 60, second % 7).expect("a text");
    }
    fs::write(site.path("past.csv"), &text).expect("written");
    const MAP: &str = "arrival=due,duration=took_ms,session=chat";
    let learned = client(&["pool", "learn", "work", "past.csv", "--map", MAP]).await.ended(0);
    assert!(learned.stdout.contains("work has learned from 900 tasks in 14 min 59 s"), "{}", learned.stdout);
    let json = client(&["pool", "learn", "work=past.csv", "--map", MAP, "--replace", "--output", "json"])
        .await
        .ended(0)
        .json();
    assert_eq!(
        (&json["pool"], &json["tasks"], &json["span_s"]),
        (&"work".into(), &900.into(), &899.0.into()),
        "{json}"
    );
    let other = client(&["pool", "learn", "spare", "--from", "work"]).await.ended(0);
    assert!(other.stdout.contains("spare has learned from work"), "{}", other.stdout);
    fs::write(site.path("few.csv"), "arrival_s,service_s\n0,1\n5,1\n").expect("written");
    for (line, code, text) in [
        (&["pool", "learn", "past.csv"][..], 2, "--map"),
        (&["pool", "learn", "few.csv"], 2, "pools are spare, work"),
        (&["pool", "learn", "none", "few.csv"], 1, "there is no pool `none`"),
        (&["pool", "learn", "work", "none.csv"], 2, "none.csv"),
        (&["pool", "learn", "work", "few.csv"], 1, "--replace"),
        (&["pool", "learn", "work", "few.csv", "--ended", "2999-01-01T00:00:00Z", "--replace"], 1, "in the past"),
        (&["pool", "learn", "work", "few.csv", "--from", "spare"], 2, "takes the place of a file"),
        (&["pool", "learn", "work"], 2, "work"),
    ] {
        let refused = client(line).await.ended(code);
        assert!(refused.stderr.contains(text), "{line:?}: {}", refused.stderr);
    }
    assert_eq!(service.stop(SOON).await, 0);
}
