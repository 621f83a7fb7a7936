//! How an attempt ends: its outcome, and whether its agent can go on.

use std::{any::Any, sync::Arc};

use forerunner_core::{AgentRequest, ErrorKind, Outcome, Payload, Question, Task, TaskError, TaskReport};

use super::{
    AgentContext, AgentDeps, AgentError,
    cancel::{CancelHandle, CancelReason},
    items,
    sink::AttemptSink,
};
use crate::status::TaskEventKind;

/// What decides how an attempt ends, besides its answer.
pub(super) struct Ending<'a> {
    pub(super) task: &'a Task,
    pub(super) deps: &'a Arc<AgentDeps>,
    pub(super) cancel: &'a CancelHandle,
}

impl Ending<'_> {
    /// Checks an output. A value of this process needs no check: the compiler knows its type, and it has no text yet.
    pub(super) fn valid(&self, answer: Result<Payload, AgentError>) -> Result<Payload, AgentError> {
        let output = answer?;
        match output.is_value() {
            true => Ok(output),
            false => items::output(output, self.deps.pool.settings.queue.max_output_bytes),
        }
    }

    /// Returns the outcome, and why the agent cannot be used again, if it cannot. `refusal` is why its change of the
    /// context cannot be stored.
    pub(super) fn outcome(
        &self,
        answer: Result<Payload, AgentError>,
        question: Option<Box<Question>>,
        refusal: Option<TaskError>,
    ) -> (Outcome, Option<String>) {
        match (answer, question, refusal) {
            (Ok(_), Some(question), _) => (self.asked(*question), None),
            (Ok(_), None, Some(refusal)) => (Outcome::Rejected(refusal), None),
            (Ok(output), None, None) => (Outcome::Succeeded(output), None),
            (Err(error), ..) => {
                let broken = (!error.is_agent_usable()).then(|| error.message().to_owned());
                (self.failed(error), broken)
            }
        }
    }

    /// Returns what the task reports after this attempt; `None` if the attempt adds nothing to it.
    pub(super) fn report(&self, cx: Option<&mut AgentContext>) -> Option<Box<TaskReport>> {
        let log = self.deps.pool.node.logs.take(self.task.id, self.task.epoch).unwrap_or_default();
        let usage = cx.map(AgentContext::take_usage).unwrap_or_default();
        if usage.is_empty() && log.is_empty() {
            return None;
        }
        let mut report = self.task.report.clone().unwrap_or_default();
        report.add(TaskReport { usage, log, ..TaskReport::default() });
        Some(report)
    }

    fn failed(&self, error: AgentError) -> Outcome {
        match self.cancel.reason() {
            Some(CancelReason::AgentStops | CancelReason::LeaseLost) if error.kind() == ErrorKind::Cancelled => {
                Outcome::Released
            }
            _ => error.into_outcome(),
        }
    }

    /// Returns the outcome of an attempt whose agent asks a person, and reports the question to those who follow the task.
    fn asked(&self, question: Question) -> Outcome {
        let now = self.deps.pool.now();
        let mut requests = AgentRequest::list(self.task.requests.as_deref());
        AgentRequest::ask(&mut requests, question, self.task.deadline, now);
        match AgentRequest::to_payload(&requests) {
            Ok(payload) => {
                if let Some(open) = requests.pop() {
                    let sink = AttemptSink::of(self.task, self.deps.clone());
                    sink.send(TaskEventKind::Asked { request: Box::new(open) });
                }
                Outcome::Asked(payload)
            }
            Err(error) => Outcome::Rejected(TaskError::new(ErrorKind::TooLarge, format!("the question: {error}"))),
        }
    }
}

/// Returns a driver's answer, or its panic as an error.
pub(super) fn caught<T>(answer: Result<Result<T, AgentError>, Box<dyn Any + Send>>) -> Result<T, AgentError> {
    answer.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> AgentError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("the agent panicked: {}", text.unwrap_or("with a value that is no text"));
    AgentError::new(ErrorKind::AgentPanicked, message, true, false)
}
