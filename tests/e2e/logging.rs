//! The log, and the line with the service's address, without a reader that is able to read them.

use std::{
    fs::File,
    io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe},
    net::TcpStream,
    os::fd::OwnedFd,
    time::Duration,
};

use forerunner_e2e::{Call, Client, Pool, Service, Site, eventually, holds};
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// A pool that works, and one whose agents end at once: each end is a line of the log.
fn site() -> Site {
    let broken =
        Pool::of("broken", ["false"]).set("restart = { intensity = 1000, backoff = \"50ms\", max_backoff = \"50ms\" }");
    Site::new().with("shutdown.grace = \"20s\"", &[Pool::builtin("work").fixed(1), broken.set("min = 1")])
}

fn full_disk() -> OwnedFd {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

/// A full pipe, and its end without a reader. `flags` are those of the writing end.
fn full_pipe(flags: OFlags) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("a pipe has flags");
    while writer.write(&[b'x'; 1024]).is_ok() {}
    let refused = writer.write(b"x").expect_err("it is full");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&writer, flags).expect("a pipe has flags");
    (reader, writer)
}

async fn agents_have_failed(client: &Client) {
    eventually("agents end, and the log is told", SOON, async || {
        holds(client.metric("forerunner_agent_failures_total").await >= 5.0)
    })
    .await;
}

/// Everything that depends on threads that log: tasks run, calls are answered, and the node stops on request.
async fn works(service: Service) {
    let client = service.client();
    agents_have_failed(&client).await;
    for pool in ["work", "broken"] {
        client.get(format!("/v1/pools/{pool}")).await;
        client.get(format!("/v1/pools/{pool}/forecast")).await;
        client.ask(Call::new("PATCH", format!("/v1/pools/{pool}")).json(&json!({ "max": 1 }))).await.expect(200);
    }
    let task = client.submit("work", json!("still here")).await;
    assert_eq!(client.ended(&task).await["state"], "succeeded");
    assert_eq!(client.ask(Call::get("/readyz")).await.status, 200);
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_log_that_cannot_be_written_is_counted_and_stops_nothing() {
    let (reader, gone) = pipe().expect("a pipe");
    drop(reader);
    for stderr in [full_disk(), gone.into()] {
        let site = site();
        let service = site.serve_logging_to(stderr).await;
        let client = service.client();
        eventually("lost lines are counted", SOON, async || {
            holds(client.metric("forerunner_log_lines_lost_total").await >= 5.0)
        })
        .await;
        works(service).await;
    }
}

#[actix_rt::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    for flags in [OFlags::empty(), OFlags::NONBLOCK] {
        let (_unread, writer) = full_pipe(flags);
        works(site().serve_logging_to(writer).await).await;
    }
}

#[actix_rt::test]
async fn a_service_without_standard_error_works() {
    works(site().serve_under(&["sh", "-c", "exec \"$@\" 2>&-", "sh"]).await).await;
}

#[actix_rt::test]
async fn a_log_that_is_read_late_is_whole_as_long_as_it_is_short() {
    let (mut reader, writer) = full_pipe(OFlags::empty());
    let site = site();
    let service = site.serve_logging_to(writer).await;
    agents_have_failed(&service.client()).await;
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(service.client().metric("forerunner_log_lines_lost_total").await, 0.0);
    assert_eq!(service.stop(SOON).await, 0);
    let text = read.join().expect("no panic").expect("text");
    assert!(
        text.contains("serving") && text.contains("an agent ended unexpectedly") && text.contains("stopped"),
        "{text}"
    );
}

#[actix_rt::test]
async fn a_service_whose_standard_output_takes_nothing_listens_all_the_same() {
    let (_unread, full) = full_pipe(OFlags::empty());
    let (reader, gone) = pipe().expect("a pipe");
    drop(reader);
    for stdout in [full_disk(), gone.into(), full.into()] {
        let site = site();
        works(Service::start_saying_nothing(&site, stdout).await).await;
    }
}

#[actix_rt::test]
async fn requests_that_cannot_be_read_are_counted_and_not_logged() {
    const BAD: usize = 300;
    let site = site();
    let service = site.serve().await;
    let address = service.address().trim_start_matches("http://").to_owned();
    for _ in 0..BAD {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(b"\0\r\n\r\n").expect("it is taken");
        // Answered with 400.
        stream.read_to_end(&mut Vec::new()).expect("the connection is closed in order");
    }
    let client = service.client();
    eventually("each is counted", SOON, async || {
        holds(client.metric("forerunner_http_connection_errors_total").await >= BAD as f64)
    })
    .await;
    assert_eq!(service.stop(SOON).await, 0);
    let log = std::fs::read_to_string(site.path("log")).expect("the log is a file");
    assert!(!log.contains("actix_http"), "{log}");
}
