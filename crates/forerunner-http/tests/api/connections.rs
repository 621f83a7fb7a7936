//! Connections that are many, slow, silent, or closed.

use std::{net::SocketAddr, time::Duration};

use forerunner_http::HttpSettings;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    rig::{hanging, prometheus},
    wire::{Serving, converse, listen, listen_for, serving_with},
};

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BATCH: &str =
    "POST /v1/pools/coder/tasks:batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

/// Names a host that is not the node's.
pub async fn another_host() -> String {
    let serving = serving_with(|_| {}).await;
    let answer = closing(serving.addr, "GET /v1/tasks", "Host: evil.test\r\n").await;
    serving.control.stop(false).await;
    answer
}

/// Makes a request while the only connection waits for a task.
pub async fn one_too_many() -> String {
    let (serving, wait) = with_a_wait(1).await;
    let answer = closing(serving.addr, "GET /v1/tasks", "Host: localhost\r\n").await;
    drop(wait);
    serving.control.stop(false).await;
    answer
}

async fn closing(addr: SocketAddr, call: &str, headers: &str) -> String {
    converse(addr, format!("{call} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await
}

/// Serves a few connections, of which one waits for a task.
async fn with_a_wait(most: usize) -> (Serving, TcpStream) {
    let serving = serving_with(|settings| settings.max_connections = most).await;
    let id = serving.rig.submit(hanging()).await.id();
    let mut wait = TcpStream::connect(serving.addr).await.unwrap();
    // Both requests arrive in one piece, so the wait was read when the first one is answered.
    let call = format!("{LIVEZ}GET /v1/tasks/{id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=50\r\n\r\n");
    wait.write_all(call.as_bytes()).await.unwrap();
    listen_for(&mut wait, "ok\n").await;
    serving.rig.until(&id, "running").await;
    (serving, wait)
}

/// Repeats a request until the answer has `status`.
async fn until_status(addr: SocketAddr, status: &str) {
    let begun = Instant::now();
    loop {
        let answer = closing(addr, "GET /v1/tasks", "Host: localhost\r\n").await;
        if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{answer}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn the_head_of_a_second_request_has_its_time_like_that_of_the_first() {
    let serving = serving_with(|settings| settings.head_timeout = Duration::from_millis(300)).await;
    for rest in ["GET /li", "\r\n"] {
        let mut socket = TcpStream::connect(serving.addr).await.unwrap();
        socket.write_all(LIVEZ.as_bytes()).await.unwrap();
        listen_for(&mut socket, "ok\n").await;
        socket.write_all(rest.as_bytes()).await.unwrap();
        let answer = listen(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn a_body_that_nobody_reads_does_not_keep_its_connection() {
    let serving = serving_with(|settings| settings.head_timeout = Duration::from_millis(300)).await;
    let socket = TcpStream::connect(serving.addr).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let head = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    let trickle = actix_web::rt::spawn(async move {
        while writer.write_all(b"1\r\na\r\n").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let mut heard = Vec::new();
    // However it ends: the client still sends.
    let _ = timeout(Duration::from_secs(10), reader.read_to_end(&mut heard)).await.expect("the connection ends");
    assert!(heard.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&heard));
    trickle.abort();
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn who_hangs_up_during_a_wait_gives_his_place_back() {
    let (serving, wait) = with_a_wait(1).await;
    let refused = closing(serving.addr, "GET /v1/tasks", "Host: localhost\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
    drop(wait);
    until_status(serving.addr, "200").await;
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn who_hangs_up_on_a_stream_of_events_gives_his_place_back() {
    let serving = serving_with(|settings| settings.max_connections = 1).await;
    let id = serving.rig.submit(hanging()).await.id();
    let mut stream = TcpStream::connect(serving.addr).await.unwrap();
    let call = format!("GET /v1/tasks/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(call.as_bytes()).await.unwrap();
    listen_for(&mut stream, "event: state").await;
    drop(stream);
    until_status(serving.addr, "200").await;
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn who_only_closes_his_own_side_still_gets_a_quick_answer() {
    let serving = serving_with(|_| {}).await;
    let mut socket = TcpStream::connect(serving.addr).await.unwrap();
    socket.write_all(LIVEZ.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    assert!(listen(&mut socket).await.ends_with("ok\n"));
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn monitors_are_answered_beyond_the_limit_and_idle_connections_make_room() {
    let (serving, wait) = with_a_wait(2).await;
    let mut idle = TcpStream::connect(serving.addr).await.unwrap();
    idle.write_all(LIVEZ.as_bytes()).await.unwrap();
    listen_for(&mut idle, "ok\n").await;
    let id = serving.rig.submit(hanging()).await.id();
    let mut second = TcpStream::connect(serving.addr).await.unwrap();
    let call = format!("GET /v1/tasks/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    second.write_all(call.as_bytes()).await.unwrap();
    listen_for(&mut second, "event: state").await;
    assert_eq!(listen(&mut idle).await, "", "the idle one is closed");
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut socket = TcpStream::connect(serving.addr).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let answer = listen(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    }
    drop(wait);
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn one_address_cannot_take_all_connections() {
    let serving = serving_with(|settings| settings.max_connections_per_peer = 1).await;
    let mut first = TcpStream::connect(serving.addr).await.unwrap();
    first.write_all(LIVEZ.as_bytes()).await.unwrap();
    listen_for(&mut first, "ok\n").await;
    let refused = closing(serving.addr, "GET /v1/tasks", "Host: localhost\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("1 from one address"), "{refused}");
    drop(first);
    until_status(serving.addr, "200").await;
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let serving = serving_with(|settings| settings.write_timeout = Duration::from_secs(1)).await;
    serving.rig.post("/v1/pools/coder:pause").await;
    let labels: serde_json::Map<_, _> = (0..64).map(|n| (format!("{n:0>200}"), "v".repeat(256).into())).collect();
    for _ in 0..80 {
        serving.rig.submit(json!({ "input": 1, "labels": labels })).await;
    }
    let mut socket = TcpStream::connect(serving.addr).await.unwrap();
    socket.write_all(b"GET /v1/tasks?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    while !prometheus().render().contains("forerunner_http_connections_closed_total{reason=\"not_read\"}") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the connection is kept");
        sleep(Duration::from_millis(50)).await;
    }
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn a_page_ends_after_2_mib_and_its_cursor_goes_on() {
    let serving = serving_with(|_| {}).await;
    serving.rig.post("/v1/pools/coder:pause").await;
    let labels: serde_json::Map<_, _> = (0..64).map(|n| (format!("{n:0>200}"), "v".repeat(256).into())).collect();
    for _ in 0..90 {
        serving.rig.submit(json!({ "input": 1, "labels": labels })).await;
    }
    let first = serving.rig.get("/v1/tasks?limit=1000").await;
    assert!((2 << 20..3 << 20).contains(&first.body.len()), "{} bytes", first.body.len());
    let (first, mut seen) = (first.json(), Vec::new());
    seen.extend(first["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()));
    let rest =
        serving.rig.get(&format!("/v1/tasks?limit=1000&cursor={}", first["next"].as_str().unwrap())).await.json();
    seen.extend(rest["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()));
    assert!(rest.get("next").is_none());
    let all: std::collections::BTreeSet<_> = seen.iter().map(ToString::to_string).collect();
    assert_eq!((seen.len(), all.len()), (90, 90));
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn bodies_are_refused_once_all_together_are_over_the_budget() {
    let small = |settings: &mut HttpSettings| {
        (settings.memory_bytes, settings.body_timeout) = (16 << 20, Duration::from_secs(60));
    };
    let serving = serving_with(small).await;
    let unfinished = format!("{BATCH}Content-Length: 8388608\r\n\r\n{}", " ".repeat((8 << 20) - 100));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(serving.addr).await.unwrap();
        socket.write_all(unfinished.as_bytes()).await.unwrap();
        held.push(socket);
    }
    let body = format!("{{\"tasks\":[]{}}}", " ".repeat(8_000));
    let begun = Instant::now();
    loop {
        let answer =
            converse(serving.addr, format!("{BATCH}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
                .await;
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(answer.contains("retry-after: 1") && answer.contains("/problems/overloaded"), "{answer}");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{answer}");
        sleep(Duration::from_millis(50)).await;
    }
    drop(held);
    until_batch_is_taken(&serving, &body).await;
    serving.control.stop(false).await;
}

async fn until_batch_is_taken(serving: &Serving, body: &str) {
    let begun = Instant::now();
    loop {
        let request = format!("{BATCH}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = converse(serving.addr, request).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{answer}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_header_name_that_is_too_long_is_answered_431() {
    let serving = serving_with(|_| {}).await;
    for before in ["", LIVEZ] {
        let name = "x".repeat(70_000);
        let request = format!("{before}GET /livez HTTP/1.1\r\nHost: localhost\r\n{name}: 1\r\n\r\n");
        let mut socket = TcpStream::connect(serving.addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let _ = timeout(Duration::from_secs(10), socket.read_to_end(&mut heard)).await.expect("the connection ends");
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.contains("HTTP/1.1 431 ") || !before.is_empty(), "{heard}");
    }
    assert!(converse(serving.addr, LIVEZ.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await.ends_with("ok\n"));
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn a_body_that_comes_with_an_upgrade_is_read_as_announced() {
    let serving = serving_with(|_| {}).await;
    let head =
        "POST /v1/pools/coder/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    let call = format!("{head}Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{{\"input\":1}}{LIVEZ}");
    let answer = converse(serving.addr, call).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn a_client_that_sends_ahead_of_a_wait_costs_no_processor_time_and_is_answered_in_the_end() {
    let serving = serving_with(|_| {}).await;
    let id = serving.rig.submit(hanging()).await.id();
    let socket = TcpStream::connect(serving.addr).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let wait = format!("GET /v1/tasks/{id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=1\r\n\r\n");
    let ahead = actix_web::rt::spawn(async move {
        let sent = writer.write_all((wait + &LIVEZ.repeat(10_000)).as_bytes()).await;
        (writer, sent)
    });
    let (mut heard, mut answers) = ([0; 65_536], 0);
    while answers < 10_000 {
        let read = timeout(Duration::from_secs(20), reader.read(&mut heard)).await.expect("all are answered").unwrap();
        assert!(read > 0, "the connection ends after {answers} answers");
        answers += heard[..read].windows(3).filter(|bytes| bytes == b"ok\n").count();
        // An answer that is cut in two by a read counts in neither: nine in ten will do.
        if answers > 9_000 {
            break;
        }
    }
    ahead.await.unwrap().1.unwrap();
    serving.control.stop(false).await;
}

#[actix_web::test]
async fn monitors_have_a_listener_of_their_own_on_a_socket_that_is_gone_in_the_end() {
    let dir = std::env::temp_dir().join(format!("forerunner-admin-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("admin.sock");
    let serving = serving_with(|settings| settings.admin_listen = format!("unix:{}", path.display())).await;
    for (call, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/tasks", 404)] {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        let request = format!("GET {call} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut heard = String::new();
        socket.read_to_string(&mut heard).await.unwrap();
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    }
    serving.stopped().await;
    assert!(!path.exists());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[actix_web::test]
async fn answers_are_of_their_type_and_kept_nowhere() {
    let serving = serving_with(|_| {}).await;
    for path in ["/v1/tasks", "/v1/tasks/17", "/metrics", "/nowhere", "/problems"] {
        let answer = serving.rig.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(serving.rig.get("/dashboard/forms.js").await.header("cache-control"), Some("no-cache"));
    serving.control.stop(false).await;
}
