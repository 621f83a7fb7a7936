//! Following a task.

use actix_web::test::TestRequest;
use serde_json::json;

use crate::rig::Rig;

/// The numbers and names of the events in a body.
fn events(body: &str) -> Vec<(u64, &str)> {
    let frames = body.split("\n\n").filter(|frame| frame.starts_with("id: "));
    let fields = frames.map(|frame| {
        let mut lines = frame.lines();
        let id = lines.next().unwrap().strip_prefix("id: ").unwrap().parse().unwrap();
        (id, lines.next().unwrap().strip_prefix("event: ").unwrap())
    });
    fields.collect()
}

#[actix_web::test]
async fn a_stream_tells_what_happens_and_ends_with_the_task() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    let id = rig.submit(json!({ "input": { "do": "talk" } })).await.id();
    let path = format!("/v1/tasks/{id}/events");
    let (stream, ()) = futures_util::join!(rig.get(&path), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        rig.post("/v1/pools/coder:resume").await;
    });
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    let names: Vec<_> = events(&stream.text()).iter().map(|(_, name)| name.to_string()).collect();
    assert_eq!(names.first().unwrap(), "state");
    assert_eq!(names.last().unwrap(), "state");
    assert_eq!(names.iter().filter(|name| *name == "output").count(), 2, "{names:?}");
    assert!(stream.text().contains(r#""event":"progress","text":"half way""#), "{}", stream.text());
    assert!(stream.text().contains(r#""state":"succeeded""#), "{}", stream.text());
}

#[actix_web::test]
async fn a_reader_goes_on_after_the_last_event_it_has_seen() {
    let rig = Rig::start().await;
    let id = rig.finish(json!({ "input": { "do": "talk" } })).await.id();
    let path = format!("/v1/tasks/{id}/events");
    let all = rig.get(&path).await.text();
    let all = events(&all);
    let seen = all[0].0;
    let rest = rig.send(TestRequest::get().uri(&path).insert_header(("Last-Event-ID", seen.to_string()))).await.text();
    assert_eq!(events(&rest)[..all.len() - 1], all[1..]);
}

#[actix_web::test]
async fn the_head_of_a_stream_does_not_wait_for_events() {
    let rig = Rig::start().await;
    rig.post("/v1/pools/coder:pause").await;
    let id = rig.submit(json!({ "input": 1 })).await.id();
    let path = format!("/v1/tasks/{id}/events");
    let head = rig.send(TestRequest::default().method(actix_web::http::Method::HEAD).uri(&path)).await;
    assert_eq!((head.status.as_u16(), head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.text(), "");
}
