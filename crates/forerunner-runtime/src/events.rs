//! A task's events as a stream.

use std::collections::VecDeque;

use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    completion_watchers::Subscription,
    handle::EventStream,
    status::{TaskEvent, TaskEventKind},
};

struct State {
    events: VecDeque<TaskEvent>,
    live: tokio::sync::broadcast::Receiver<TaskEvent>,
    newest: u64,
    ended: bool,
}

/// Streams the events so far, then new ones, each number once. Ends after a terminal state.
pub(crate) fn stream(subscription: Subscription) -> EventStream {
    // A reader that has the end already gets nothing more.
    let ended = subscription.ended && subscription.events.is_empty();
    let state =
        State { events: subscription.events.into(), live: subscription.live, newest: subscription.after, ended };
    Box::pin(stream::unfold(state, |mut state| async move {
        if state.ended {
            return None;
        }
        let event = next(&mut state).await?;
        state.newest = event.seq;
        state.ended = matches!(&event.kind, TaskEventKind::State { state, .. } if state.is_terminal());
        Some((event, state))
    }))
}

async fn next(state: &mut State) -> Option<TaskEvent> {
    if let Some(event) = state.events.pop_front() {
        return Some(event);
    }
    loop {
        match state.live.recv().await {
            Ok(event) if event.seq > state.newest => return Some(event),
            Ok(_) => {}
            // The numbers show the gap.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
