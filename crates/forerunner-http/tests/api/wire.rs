//! What only a socket shows: slow, oversized and broken bodies, closed connections.

use std::{net::SocketAddr, time::Duration};

use forerunner_http::HttpSettings;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::rig::{Rig, hanging};

const HEAD: &str = "POST /v1/pools/coder/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

/// Announces more than it sends, and stops.
pub async fn stalled_body(addr: SocketAddr) -> String {
    converse(addr, format!("{HEAD}Content-Length: 100\r\n\r\n{{\"input\"")).await
}

/// Sends a chunk with an invalid size.
pub async fn broken_body(addr: SocketAddr) -> String {
    converse(addr, format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"inp\r\nzz\r\n")).await
}

/// Sends a text and reads until the server closes the connection.
pub async fn converse(addr: SocketAddr, text: String) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    listen(&mut socket).await
}

pub async fn listen(socket: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let ended = timeout(Duration::from_secs(10), socket.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "the connection stays open after\n{}", String::from_utf8_lossy(&heard));
    String::from_utf8_lossy(&heard).into_owned()
}

/// Listens until the answer's head is there, and `wanted` in it or after it.
pub async fn listen_for(socket: &mut TcpStream, wanted: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(wanted) {
        let mut piece = [0; 4096];
        let read = timeout(Duration::from_secs(10), socket.read(&mut piece)).await.expect(&heard).unwrap();
        assert!(read > 0, "no `{wanted}` in\n{heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    heard
}

pub struct Serving {
    pub rig: Rig,
    pub addr: SocketAddr,
    pub control: forerunner_http::HttpControl,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serving() -> Serving {
    serving_with(|_| {}).await
}

/// Serves with other settings than the usual ones.
pub async fn serving_with(set: impl FnOnce(&mut HttpSettings)) -> Serving {
    let mut rig = Rig::start().await;
    set(&mut rig.settings);
    let server = rig.server();
    let (addr, control) = (server.addrs()[0], server.control());
    Serving { rig, addr, control, served: server.spawn() }
}

impl Serving {
    /// Stops it, and waits until it has.
    pub async fn stopped(self) {
        self.control.stop(false).await;
        self.served.await.unwrap().unwrap();
    }
}

#[actix_web::test]
async fn a_body_that_stalls_is_answered_408_and_the_connection_closed() {
    let serving = serving().await;
    let begun = Instant::now();
    let answer = stalled_body(serving.addr).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn a_body_that_trickles_is_answered_408() {
    let serving = serving().await;
    let mut socket = TcpStream::connect(serving.addr).await.unwrap();
    socket.write_all(format!("{HEAD}Content-Length: 10000\r\n\r\n").as_bytes()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let trickle = actix_web::rt::spawn(async move {
        while writer.write_all(b" ").await.is_ok() {
            sleep(Duration::from_millis(50)).await
        }
    });
    let mut heard = Vec::new();
    let _ = timeout(Duration::from_secs(10), reader.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&heard));
    trickle.abort();
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn a_body_may_take_long_as_long_as_it_comes_at_a_rate() {
    let serving = serving().await;
    let body = json!({ "input": "x".repeat(6 * 4_096) }).to_string();
    let mut socket = TcpStream::connect(serving.addr).await.unwrap();
    let head = format!("{HEAD}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(4_096) {
        sleep(Duration::from_millis(200)).await;
        socket.write_all(piece).await.unwrap();
    }
    let answer = listen(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn an_announced_body_over_the_limit_is_refused_before_it_is_sent() {
    let serving = serving().await;
    let answer = converse(serving.addr, format!("{HEAD}Content-Length: 1000000000\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn an_unannounced_body_is_refused_once_it_is_over_the_limit() {
    let serving = serving().await;
    let mut socket = TcpStream::connect(serving.addr).await.unwrap();
    let head = HEAD.replace("coder", "small");
    socket.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    for _ in 0..10 {
        socket.write_all(format!("1000\r\n{}\r\n", " ".repeat(4_096)).as_bytes()).await.unwrap();
    }
    let answer = listen_for(&mut socket, "payload-too-large").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn a_compressed_body_is_refused_unread() {
    let serving = serving().await;
    let answer = converse(
        serving.addr,
        format!("{HEAD}Connection: close\r\nContent-Encoding: zstd\r\nContent-Length: 4\r\n\r\n(\u{2f}\u{1}a"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(answer.contains("accept-encoding: identity"), "{answer}");
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn a_head_that_stalls_is_cut_off() {
    let mut rig = Rig::start().await;
    rig.settings.head_timeout = Duration::from_millis(300);
    let server = rig.server();
    let (addr, control) = (server.addrs()[0], server.control());
    server.spawn();
    let answer = converse(addr, "GET /livez HTTP/1.1\r\nHost:".to_owned()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    control.stop(true).await;
}

#[actix_web::test]
async fn a_kept_connection_is_closed_after_its_next_answer_once_the_node_drains() {
    let serving = serving().await;
    let mut socket = TcpStream::connect(serving.addr).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = listen_for(&mut socket, "ok\n").await;
    assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
    serving.control.drain();
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = listen(&mut socket).await;
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    serving.control.stop(true).await;
}

#[actix_web::test]
async fn stopping_ends_waits_and_event_streams_and_then_the_server() {
    let serving = serving().await;
    let id = serving.rig.submit(hanging()).await.id();
    let mut stream = TcpStream::connect(serving.addr).await.unwrap();
    stream
        .write_all(format!("GET /v1/tasks/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await
        .unwrap();
    listen_for(&mut stream, "event: state").await;
    let mut wait = TcpStream::connect(serving.addr).await.unwrap();
    wait.write_all(format!("GET /v1/tasks/{id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\n\r\n").as_bytes())
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let (stopped, streamed, waited) =
        futures_util::join!(serving.control.stop(true), listen(&mut stream), listen(&mut wait));
    let () = stopped;
    assert!(streamed.ends_with("0\r\n\r\n"), "{streamed}");
    assert!(waited.contains("\"state\":\"running\""), "{waited}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    serving.served.await.unwrap().unwrap();
}
