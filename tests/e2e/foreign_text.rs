//! Text of others that passes through the program: its numbers, its control characters, its files.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    thread,
    time::Duration,
};

use forerunner_e2e::{Finished, Pool, Service, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Numbers that 64 bits cannot represent, or that have several notations.
const NUMBERS: &str = "[18446744073709551616,1000000000000000000001,0.12345678901234567890123,1e400,-0,1E5,1.0]";
/// Control sequences of terminals, characters that change the direction of text, and invisible ones.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;t\u{7}\r\n\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{200b}\u{feff}";
const TASK: &str = "019f0000-0000-7000-8000-000000000000";

fn closed_up(json: &str) -> String {
    json.split_whitespace().collect()
}

async fn ask(site: &Site, service: &Service, input: &str, line: &[&str]) -> Finished {
    site.program().env("FORERUNNER_SERVER", service.address()).input(input).run(line).await
}

#[actix_rt::test]
async fn numbers_pass_the_command_line_and_the_built_in_agent_as_they_were_written() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let marked = site.path("marked.json");
    fs::write(&marked, format!("\u{feff}{NUMBERS}\r\n")).expect("it can be written");
    let file = format!("@{}", marked.display());
    let mut ids = Vec::new();
    for given in [NUMBERS, &file, "-"] {
        let line = ["submit", "work", "--input", given, "--context", "sums", "--wait", "--output", "json"];
        let done = ask(&site, &service, NUMBERS, &line).await.ended(0);
        assert!(closed_up(&done.stdout).contains(&format!("\"echo\":{NUMBERS}")), "{given}: {}", done.stdout);
        let id = done.stdout.split('"').nth(3).expect("an id comes first, and 1e400 is beyond this reader");
        ids.push(id.to_owned());
    }
    let lines = format!("\u{feff}{{\"input\":{NUMBERS}}}\r\n");
    let sent = ask(&site, &service, &lines, &["submit", "work", "--file", "-"]).await.ended(0);
    ids.push(sent.stdout.trim().to_owned());
    for id in &ids {
        for (line, named) in
            [(&["task", "get", id, "--output", "json"][..], "\"input\":"), (&["task", "get", id], "input")]
        {
            let shown = ask(&site, &service, "", line).await.ended(0);
            assert!(closed_up(&shown.stdout).contains(&format!("{named}{NUMBERS}")), "{line:?}: {}", shown.stdout);
        }
    }
    // The agent keeps the items of a context as received, so the next task finds what this one appended.
    let append = format!("{{\"context\":{{\"append\":{NUMBERS}}},\"n\":1e400}}");
    for (input, echo, items) in [(append.as_str(), "{\"n\":1e400}", 3), (NUMBERS, NUMBERS, 10)] {
        let line = ["submit", "work", "--input", input, "--context", "sums", "--wait", "--output", "json"];
        let done = ask(&site, &service, "", &line).await.ended(0);
        let shown = closed_up(&done.stdout);
        assert!(shown.contains(&format!("\"echo\":{echo},\"items\":{items}")), "{shown}");
    }
    assert_eq!(service.stop(SOON).await, 0);
}

/// A service whose every text is [`EVIL`].
fn evil_service(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = format!("http://{}", listener.local_addr().expect("a listener has an address"));
    let body = evil(0).to_string();
    // It ends with the process of the tests.
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream, status, &body))));
    address
}

fn evil(depth: u32) -> Value {
    const TEXTS: [&str; 24] = [
        "id",
        "pool",
        "name",
        "kind",
        "version",
        "task",
        "agent",
        "context",
        "why",
        "title",
        "detail",
        "type",
        "status",
        "reason",
        "rule",
        "text",
        "chunk",
        "policy",
        "mode",
        "cause",
        "started_at",
        "next",
        "input",
        "output",
    ];
    let mut value: Value = TEXTS.iter().map(|name| ((*name).to_owned(), json!(format!("{name}{EVIL}")))).collect();
    value["state"] = json!(if depth == 0 { "failed".to_owned() } else { format!("state{EVIL}") });
    value["labels"] = json!({ format!("key{EVIL}"): EVIL });
    value["error"] = json!({ "kind": EVIL, "message": EVIL });
    if depth < 2 {
        for name in ["tasks", "pools", "agents", "nodes", "decisions", "prices", "others"] {
            value[name] = json!([evil(depth + 1)]);
        }
        for name in ["placement", "decision", "forecast", "history"] {
            value[name] = evil(depth + 1);
        }
    }
    value
}

fn answer(stream: TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let is_stream = head.contains("/events ");
    let (kind, body) = match is_stream {
        true => ("text/event-stream", format!("id: 1\ndata: {body}\n\n")),
        false => ("application/json", body.to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    (&stream).write_all(format!("{head}{body}").as_bytes())
}

/// Asserts that the output of a command has no effect on a terminal.
#[track_caller]
fn assert_harmless(line: &[&str], ended: &Finished) {
    let hidden = |c: &char| EVIL.contains(*c) && *c != '\n' && !c.is_ascii_graphic();
    for text in [&ended.stdout, &ended.stderr] {
        let found: String = text.chars().filter(hidden).collect();
        assert!(found.is_empty(), "{line:?} wrote {}", found.escape_unicode());
    }
    assert_ne!(ended.code, 101, "{line:?} panicked: {}", ended.stderr);
}

#[actix_rt::test]
async fn nothing_that_a_service_answers_acts_on_the_terminal() {
    let site = Site::new();
    for status in ["200 OK", "400 Bad Request"] {
        let server = evil_service(status);
        for line in [
            &["task", "get", TASK][..],
            &["task", "list"],
            &["task", "watch", TASK],
            &["submit", "a", "--wait"],
            &["submit", "a", "--count", "2"],
            &["submit", "a", "--file", "-"],
            &["pool", "list"],
            &["pool", "show", "a"],
            &["pool", "agents", "a"],
            &["pool", "what-if", "a"],
            &["node", "list"],
            &["top", "--once"],
            &["explain", "decision", "a"],
            &["explain", "task", TASK],
        ] {
            for format in ["table", "json"] {
                let line = [line, &["--output", format]].concat();
                let run = site.program().env("FORERUNNER_SERVER", &server).input("{\"input\":1}\n").run(&line);
                assert_harmless(&line, &run.await);
            }
        }
    }
}

#[actix_rt::test]
async fn nothing_that_an_argument_holds_acts_on_the_terminal() {
    let site = Site::new();
    let evil = format!("x{EVIL}");
    for line in [
        &[evil.as_str()][..],
        &["task", "get", &evil],
        &["task", "list", "--state", &evil],
        &["submit", "a", "--input", &evil],
        &["submit", "a", "--file", &evil],
        &["submit", "a", "--label", &evil],
        &["node", "list", "--server", &evil],
        &["config", "check", &evil],
        &["serve", "--pool", &evil],
        &["serve", "--set", &evil],
        &["replay", &evil],
    ] {
        let ended = site.program().run(line).await;
        assert_harmless(line, &ended);
        assert_ne!((ended.code, ended.stderr.as_str()), (0, ""), "{line:?} is refused with words");
    }
}

#[actix_rt::test]
async fn a_configuration_that_others_can_write_is_read_only_when_it_is_named() {
    let site = Site::new().with("", &[Pool::builtin("work")]);
    let mode = |mode: u32| fs::set_permissions(site.config(), fs::Permissions::from_mode(mode)).expect("its mode");
    let show = async |line: &[&str]| site.program().run([&["config", "show", "--changed"], line].concat()).await;
    mode(0o644);
    let shown = show(&[]).await.ended(0);
    assert!(shown.stderr.contains(&site.config().display().to_string()), "names the file: {}", shown.stderr);
    mode(0o666);
    let refused = show(&[]).await.ended(2);
    for part in [site.config().to_str().expect("a plain path"), "others may write it", "--config"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let served = site.program().run(["serve", "--store", "memory:"]).await.ended(2);
    assert!(served.stderr.contains("others may write it"), "{}", served.stderr);
    let _ = show(&["--config", "forerunner.toml"]).await.ended(0);
}

#[actix_rt::test]
async fn variables_of_agents_keep_their_names_and_secrets_are_shown_nowhere() {
    let site = Site::new().with("", &[]);
    let url = "postgres://me@127.0.0.1:1/t?password=s3cret";
    let line = ["config", "show", "--pool", "coder=process:agent --token s3cret", "--store", url];
    for format in ["table", "json"] {
        let run = site
            .program()
            .env("FORERUNNER__POOLS__CODER__AGENT__ENV__API_KEY", "314159")
            .run(line.iter().copied().chain(["--output", format]));
        let shown = run.await.ended(0);
        assert!(shown.stdout.contains("pools.coder.agent.env.API_KEY"), "{}", shown.stdout);
        for secret in ["s3cret", "314159"] {
            assert!(!shown.stdout.contains(secret) && !shown.stderr.contains(secret), "{}", shown.stdout);
        }
    }
    for (key, value) in [("pools.coder.agent.env", "314159"), ("store.url", "s3cret"), ("store.url", "314159")] {
        let set = format!("{key}={value}");
        let refused =
            site.program().run(["config", "show", "--pool", "coder=process:agent", "--set", &set]).await.ended(2);
        assert!(refused.stderr.contains(key) && !refused.stderr.contains(value), "{}", refused.stderr);
    }
}

#[actix_rt::test]
async fn a_service_that_others_can_reach_is_warned_of() {
    for (host, warned) in [("127.0.0.1", false), ("0.0.0.0", true)] {
        let site = Site::new().with("", &[Pool::builtin("work")]);
        let config = fs::read_to_string(site.config()).expect("a file").replace("127.0.0.1", host)
            + "\n[auth]\nmode = \"off\"\n";
        fs::write(site.config(), config).expect("it can be written");
        let service = site.serve().await;
        // A separate thread writes the log, so a line may follow the address.
        let deadline = tokio::time::Instant::now() + SOON;
        let mut log = fs::read_to_string(site.path("log")).expect("a log");
        while !log.contains("serving listen") && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
            log = fs::read_to_string(site.path("log")).expect("a log");
        }
        assert_eq!(log.contains("without authentication"), warned, "{host}: {log}");
        assert!(log.contains("configuration read") && log.contains("forerunner.toml"), "{log}");
        assert_eq!(service.stop(SOON).await, 0);
    }
}
