//! Carries texts between one WebSocket and one connection of an agent.

use std::time::Duration;

use actix_ws::{AggregatedMessage, CloseCode, MessageStream, Session};
use forerunner_agents::remote::Connection;
use forerunner_http::Api;
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Interval of pings. The agent takes a connection for dead after three times as long without any sign.
const PING: Duration = Duration::from_secs(10);
/// A socket without any sign of the agent for this long is dead.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one message may take to be sent.
const SENDING: Duration = Duration::from_secs(30);
/// Longest message: the largest line that a pool can allow.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Serves until the agent or the session ends, or the socket breaks.
pub(crate) async fn serve(api: Api, mut connection: Connection, mut session: Session, stream: MessageStream) {
    let stream =
        stream.max_frame_size(MAX_MESSAGE_BYTES).aggregate_continuations().max_continuation_size(MAX_MESSAGE_BYTES);
    let mut stream = std::pin::pin!(stream);
    if send(&mut session, connection.hello()).await.is_none() {
        return;
    }
    let mut ticks = interval(PING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        tokio::select! {
            message = stream.next() => {
                heard_at = Instant::now();
                match message {
                    Some(Ok(AggregatedMessage::Text(text))) => match connection.receive(&text) {
                        Ok(None) => {}
                        Ok(Some(reply)) => if send(&mut session, reply).await.is_none() { return },
                        // The session has ended, which closes the socket below.
                        Err(what) => tracing::debug!(what, "a remote agent broke the protocol"),
                    },
                    Some(Ok(AggregatedMessage::Ping(bytes))) => if session.pong(&bytes).await.is_err() { return },
                    Some(Ok(AggregatedMessage::Pong(_))) => {}
                    // A break: the agent may come back.
                    Some(Ok(AggregatedMessage::Binary(_) | AggregatedMessage::Close(_)) | Err(_)) | None => return,
                }
            }
            text = connection.next() => match text {
                Some(text) => if send(&mut session, text).await.is_none() { return },
                None => {
                    let _gone = session.close(Some(CloseCode::Normal.into())).await;
                    return;
                }
            },
            _ = ticks.tick() => {
                if heard_at.elapsed() >= SILENCE || session.ping(b"").await.is_err() {
                    return;
                }
                if api.is_draining() && connection.is_idle() {
                    let _gone = session.close(Some(CloseCode::Away.into())).await;
                    return;
                }
            }
        }
    }
}

/// Sends a text; `None` when the socket is broken, or the agent does not read.
async fn send(session: &mut Session, text: String) -> Option<()> {
    timeout(SENDING, session.text(text)).await.ok()?.ok()
}
