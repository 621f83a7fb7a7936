//! Follow a task: server-sent events (WHATWG HTML, "Server-sent events").

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::{self, BufMut, Bytes, BytesMut},
};
use forerunner_service::status::{TaskEvent, TaskEventKind};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::MissedTickBehavior;

use crate::{api::Api, error::Problem, headers};

/// Interval of keep-alive comments in a silent stream: below the idle timeouts of common proxies (30 s and more).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A comment: readers ignore it.
const HEARTBEAT_FRAME: Bytes = Bytes::from_static(b": heartbeat\n\n");

pub(crate) async fn follow(api: Api, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let after = headers::last_event_id(&request)?;
    let Some(events) = api.service().follow(id.parse()?, after).await? else {
        // The one answer after which a browser does not connect again.
        return Ok(HttpResponse::NoContent().finish());
    };
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"));
    if request.method() == Method::HEAD {
        // A HEAD request waits for no event.
        return Ok(answer.finish());
    }
    Ok(answer.streaming(frames(events)))
}

/// Turns events into frames, until there are no more.
fn frames(events: impl Stream<Item = TaskEvent> + Unpin) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((events, heartbeat), |(mut events, mut heartbeat)| async move {
        let frame = tokio::select! {
            biased;
            event = events.next() => render(&event?),
            _ = heartbeat.tick() => HEARTBEAT_FRAME,
        };
        Some((Ok(frame), (events, heartbeat)))
    })
}

/// Encodes one event. JSON has no line break outside of strings, and only escaped ones inside, so one `data` line is
/// enough.
fn render(event: &TaskEvent) -> Bytes {
    let name = match event.kind {
        TaskEventKind::State { .. } => "state",
        TaskEventKind::Progress { .. } => "progress",
        TaskEventKind::Asked { .. } => "asked",
        TaskEventKind::Log { .. } => "log",
        TaskEventKind::Output { .. } => "output",
    };
    let mut frame = BytesMut::with_capacity(256);
    frame.put_slice(format!("id: {}\nevent: {name}\ndata: ", event.seq).as_bytes());
    frame.put(crate::json::bytes(event));
    frame.put_slice(b"\n\n");
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use forerunner_core::Timestamp;

    use super::*;

    fn progress(seq: u64) -> TaskEvent {
        let kind = TaskEventKind::Progress { text: "half\nway".to_owned() };
        TaskEvent { seq, at: Timestamp::from_micros(1_700_000_000_000_000), kind }
    }

    #[test]
    fn an_event_is_one_frame_of_three_lines() {
        insta::assert_snapshot!(String::from_utf8_lossy(&render(&progress(7))).trim_end(), @r#"
        id: 7
        event: progress
        data: {"seq":7,"at":"2023-11-14T22:13:20.000000Z","event":"progress","text":"half\nway"}
        "#);
    }

    #[actix_web::test]
    async fn a_silent_stream_says_every_15_seconds_that_it_is_alive() {
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let events = stream::iter([progress(1)]).chain(stream::pending());
        let mut frames = Box::pin(frames(events));
        assert!(frames.next().await.unwrap().unwrap().starts_with(b"id: 1"));
        assert_eq!(frames.next().await.unwrap().unwrap(), HEARTBEAT_FRAME);
        assert_eq!(begun.elapsed().as_secs(), HEARTBEAT.as_secs());
    }

    #[actix_web::test]
    async fn a_stream_ends_with_its_events() {
        let mut ended = Box::pin(frames(stream::empty()));
        assert!(ended.next().await.is_none());
    }
}
