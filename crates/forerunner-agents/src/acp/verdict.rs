//! What the end of a turn makes of the attempt. A turn that failed may claim that it ended well.

use forerunner_core::ErrorKind;
use forerunner_runtime::agent::AgentError;

use super::{
    rpc::{INVALID_PARAMS, RpcError},
    turn::{TurnMachine, TurnState},
    update::StopReason,
};
use crate::process::short;

/// JSON-RPC's codes for a side that does not understand the other one.
const NOT_UNDERSTOOD: [i64; 3] = [-32_700, -32_600, -32_601];

/// Returns why the attempt failed; nothing if it has a result.
///
/// `failures` are texts with which an answer begins that is none. With `retries_refusals` a refusal may be a model that
/// does not answer.
pub(super) fn failure(turn: &TurnMachine, failures: &[String], retries_refusals: bool) -> Option<AgentError> {
    if turn.is_cancelled() {
        // Some agents end a turn that was cancelled as if nothing had happened.
        return Some(AgentError::cancelled());
    }
    match turn.state() {
        TurnState::Refused(error) => Some(refused(error)),
        TurnState::Idle(stop) => match stop {
            StopReason::Refusal if retries_refusals => {
                Some(AgentError::retryable("the agent ended the turn with `refusal`"))
            }
            StopReason::Refusal => {
                Some(AgentError::fatal("the agent refuses to continue: it ended the turn with `refusal`"))
            }
            // Codex ends a turn so, and others go on without the tool.
            StopReason::Cancelled if turn.was_refused() => {
                Some(AgentError::fatal("the agent ended the turn because a permission was refused"))
            }
            StopReason::Cancelled => Some(AgentError::retryable("the agent cancelled the turn without a request")),
            StopReason::Error(why) => Some(AgentError::retryable(format!("the turn failed: {}", short(why)))),
            StopReason::EndTurn | StopReason::MaxTokens | StopReason::MaxTurnRequests | StopReason::Other(_) => {
                hidden(turn, failures)
            }
        },
        _ => Some(AgentError::retryable("the turn has not ended")),
    }
}

/// A failure that the reason of the end does not show.
fn hidden(turn: &TurnMachine, failures: &[String]) -> Option<AgentError> {
    if let Some(why) = turn.failure() {
        return Some(AgentError::retryable(format!("the turn failed: {}", short(why))));
    }
    let text = turn.text();
    let begin = text.trim_start();
    if failures.iter().any(|failure| begin.starts_with(failure.as_str())) {
        return Some(AgentError::retryable(format!("the turn failed: {}", short(begin))));
    }
    let is_empty = begin.is_empty() && turn.tools().is_empty();
    is_empty.then(|| AgentError::retryable("the agent ended the turn without an answer and without a tool call"))
}

fn refused(error: &RpcError) -> AgentError {
    let what = format!("the agent answers with error {}: {}", error.code, short(&error.message));
    match error.code {
        code if NOT_UNDERSTOOD.contains(&code) => AgentError::protocol(what),
        INVALID_PARAMS => AgentError::new(ErrorKind::AgentError, what, true, true),
        _ => AgentError::retryable(what),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::*;
    use crate::acp::{
        turn::TurnEvent,
        update::{ToolStatus, Update},
    };

    fn verdict(events: Vec<TurnEvent>, retries_refusals: bool) -> Option<(ErrorKind, bool, bool)> {
        let now = Instant::now();
        let mut turn = TurnMachine::new(1, Arc::new([]), Duration::from_secs(60), now);
        events.into_iter().for_each(|event| drop(turn.step(event, now)));
        let failure = failure(&turn, &["Retrying".to_owned()], retries_refusals)?;
        Some((failure.kind(), failure.is_retryable(), failure.is_agent_usable()))
    }

    #[test]
    fn the_end_of_a_turn_by_what_came_before() {
        let text = |text: &str| TurnEvent::Update(Update::Text { message: None, text: text.into() });
        let tool =
            || TurnEvent::Update(Update::Tool { id: "t".into(), title: Some("ls".into()), status: ToolStatus::Ended });
        let end = |stop: StopReason| TurnEvent::Answered(Ok(Some(stop)));
        let refusal = |code| TurnEvent::Answered(Err(RpcError::new(code, "no")));
        let failed = TurnEvent::Update(Update::Failure("systemError".into()));
        let retry = Some((ErrorKind::AgentError, true, true));
        let fatal = Some((ErrorKind::AgentError, false, true));
        for (events, retries, expected) in [
            (vec![text("hi"), end(StopReason::EndTurn)], false, None),
            (vec![tool(), end(StopReason::EndTurn)], false, None),
            (vec![text("hi"), end(StopReason::MaxTokens)], false, None),
            (vec![end(StopReason::EndTurn)], false, retry),
            (vec![text("sorry"), failed, end(StopReason::EndTurn)], false, retry),
            (vec![text("Retrying in 3 s"), end(StopReason::EndTurn)], false, retry),
            (vec![text("no"), end(StopReason::Refusal)], false, fatal),
            (vec![text("no"), end(StopReason::Refusal)], true, retry),
            (vec![text("x"), end(StopReason::Cancelled)], false, retry),
            (vec![TurnEvent::Replied(false), end(StopReason::Cancelled)], false, fatal),
            (vec![TurnEvent::Replied(true), end(StopReason::Cancelled)], false, retry),
            (vec![text("x"), end(StopReason::Error("503".into()))], false, retry),
            (
                vec![text("x"), TurnEvent::Cancel, end(StopReason::EndTurn)],
                false,
                Some((ErrorKind::Cancelled, false, true)),
            ),
            (vec![refusal(-32_603)], false, retry),
            (vec![refusal(-32_602)], false, retry),
            (vec![refusal(-32_601)], false, Some((ErrorKind::AgentProtocol, true, false))),
        ] {
            let shown = format!("{events:?}");
            assert_eq!(verdict(events, retries), expected, "{shown}");
        }
    }
}
