//! The meaning of an agent's error for the task.

use forerunner_core::ErrorKind;
use forerunner_runtime::agent::AgentError;

use super::protocol::{RpcError, code, short};

/// Converts the error of an answer to `task/run` or `context/load` into that of the attempt.
///
/// `was_cancelled` is whether the node cancelled the task.
pub(super) fn task_error(error: &RpcError, was_cancelled: bool) -> AgentError {
    let message = || short(&error.message).into_owned();
    match error.code {
        code::CANCELLED if was_cancelled => AgentError::cancelled(),
        code::CANCELLED => AgentError::retryable(format!("the agent stopped without a request: {}", message())),
        code::INVALID_PARAMS => AgentError::invalid_input(message()),
        code::TOO_LARGE => AgentError::too_large(message()),
        code::PARSE | code::INVALID_REQUEST | code::METHOD_NOT_FOUND => AgentError::protocol(format!(
            "the agent does not understand the node: {} (code {}); see docs/agent-protocol.md",
            message(),
            error.code
        )),
        _ => AgentError::new(ErrorKind::AgentError, message(), error.retryable().unwrap_or(true), true)
            .blaming(error.dependency()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forerunner_core::DependencyFault;

    use super::*;

    #[test]
    fn an_agent_may_blame_what_it_depends_on() {
        let fault = |retry_after| Some(DependencyFault { retry_after });
        for (data, dependency) in [
            (
                r#"{"retryable":true,"scope":"dependency","retry_after_s":2.5}"#,
                fault(Some(Duration::from_millis(2_500))),
            ),
            (r#"{"scope":"dependency","x":{"deep":[1]}}"#, fault(None)),
            (r#"{"scope":"dependency","retry_after_s":-1}"#, fault(None)),
            (r#"{"scope":"dependency","retry_after_s":1e300}"#, fault(None)),
            (r#"{"scope":"dependency","retry_after_s":"soon"}"#, fault(None)),
            (r#"{"scope":"task","retry_after_s":5}"#, None),
            (r#"{"scope":{"dependency":1}}"#, None),
            (r#"["dependency"]"#, None),
        ] {
            let text = format!(r#"{{"code":-32000,"message":"503","data":{data}}}"#);
            let error = task_error(&serde_json::from_str(&text).unwrap(), false);
            assert_eq!((error.dependency_fault(), error.is_retryable()), (dependency, true), "{text}");
        }
    }

    #[test]
    fn codes_become_kinds() {
        use ErrorKind::{AgentError as Failed, AgentProtocol, Cancelled, InvalidInput, TooLarge};
        // code, data, cancelled before → kind, retryable, usable
        let table = [
            (code::FAILED, "null", false, Failed, true, true),
            (code::FAILED, r#"{"retryable":false}"#, false, Failed, false, true),
            (code::FAILED, r#"{"retryable":true}"#, true, Failed, true, true),
            (code::INTERNAL, "null", false, Failed, true, true),
            (42, "[1]", false, Failed, true, true),
            (code::CANCELLED, "null", true, Cancelled, false, true),
            (code::CANCELLED, "null", false, Failed, true, true),
            (code::INVALID_PARAMS, "null", false, InvalidInput, false, true),
            (code::TOO_LARGE, "null", false, TooLarge, false, true),
            (code::METHOD_NOT_FOUND, "null", false, AgentProtocol, true, false),
            (code::PARSE, "null", false, AgentProtocol, true, false),
        ];
        for (code, data, was_cancelled, kind, retryable, usable) in table {
            let text = format!(r#"{{"code":{code},"message":"no","data":{data}}}"#);
            let error = task_error(&serde_json::from_str(&text).unwrap(), was_cancelled);
            let found = (error.kind(), error.is_retryable(), error.is_agent_usable());
            assert_eq!(found, (kind, retryable, usable), "{text}");
        }
    }
}
