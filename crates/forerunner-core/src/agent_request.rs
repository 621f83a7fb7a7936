//! What agents ask of people, and what they answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Payload, Timestamp};

/// A question that an agent asks, before it has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What kind of answer it needs.
    pub kind: RequestKind,
    /// The question, for people.
    pub prompt: String,
    /// The ways to answer. Without any, every JSON value is an answer.
    pub options: Vec<RequestOption>,
    /// A JSON schema of the answer.
    pub schema: Option<Payload>,
    /// What it is about, such as the tool call and its input.
    pub details: Option<Payload>,
    /// The same for the same question: an attempt that begins anew finds its answer by it.
    pub fingerprint: String,
    /// How long the task waits for the answer.
    pub timeout: Duration,
}

/// The kind of a question. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Whether the agent may do something.
    Permission,
    /// Anything else.
    Question,
}

/// One way to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestOption {
    /// What an answer names.
    pub id: String,
    /// The text, for people.
    pub name: String,
    /// What it means: `allow_once`, `allow_always`, `reject_once`, `reject_always`, or another word of the agent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// A question of a task's agent, with its answer once there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentRequest {
    /// Its id within the task.
    pub id: String,
    /// What kind of answer it needs.
    pub kind: RequestKind,
    /// The question, for people.
    pub prompt: String,
    /// The ways to answer. Without any, every JSON value is an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<RequestOption>,
    /// A JSON schema of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value, nullable = false))]
    pub schema: Option<Payload>,
    /// What it is about, such as the tool call and its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value, nullable = false))]
    pub details: Option<Payload>,
    /// The same for the same question.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// When the agent asked.
    pub asked_at: Timestamp,
    /// When the task ends if nobody has answered.
    pub expires_at: Timestamp,
    /// The deadline that the task had before; it has it again once the question is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub task_deadline: Option<Timestamp>,
    /// The answer: the id of an option, if there are options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value, nullable = false))]
    pub answer: Option<Payload>,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub answered_at: Option<Timestamp>,
}

/// What an answer makes of the questions of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answering {
    /// The questions with the answer, to be stored.
    Store(Vec<AgentRequest>),
    /// The same answer was given before.
    Repeated,
}

/// Why an answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The agent asked nothing of this id.
    #[error("the agent did not ask `{request}`; {open}")]
    NotAsked {
        /// The id in the call.
        request: String,
        /// What is open, and what to do.
        open: String,
    },
    /// It has another answer.
    #[error("request `{request}` was answered {answer} before; read the task, its agent has that answer")]
    OtherAnswer {
        /// The id.
        request: String,
        /// The answer that it has.
        answer: String,
    },
    /// The answer is none of the options.
    #[error("request `{request}` cannot be answered {answer}; use one of {options}")]
    NoOption {
        /// The id.
        request: String,
        /// The answer in the call.
        answer: String,
        /// The ids of the options.
        options: String,
    },
}

impl AgentRequest {
    /// Reads the list that a task has. Entries of an unknown form are left out.
    pub fn list(requests: Option<&Payload>) -> Vec<Self> {
        let list = requests.and_then(|list| list.read::<Vec<serde_json::Value>>().ok()).unwrap_or_default();
        list.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
    }

    /// Writes the list of a task.
    ///
    /// # Errors
    /// When a question is nested deeper than payloads may be.
    pub fn to_payload(requests: &[Self]) -> Result<Payload, Error> {
        Payload::mended_value(requests)
    }

    /// Returns the question that waits for an answer. There is one at most: an agent asks one after the other.
    pub fn open(requests: &[Self]) -> Option<&Self> {
        requests.last().filter(|request| request.answer.is_none())
    }

    /// Returns about how many bytes it has.
    pub fn size_bytes(&self) -> usize {
        let details =
            [&self.details, &self.schema, &self.answer].into_iter().flatten().map(Payload::len).sum::<usize>();
        let options = self.options.iter().map(|option| option.id.len() + option.name.len()).sum::<usize>();
        self.prompt.len() + details + options
    }

    /// Returns whether a task waits for an answer, or did until it ended.
    pub fn has_open(requests: Option<&Payload>) -> bool {
        requests.is_some() && Self::open(&Self::list(requests)).is_some()
    }

    /// Adds a question that the agent of a task with this `deadline` asks at `now`.
    pub fn ask(requests: &mut Vec<Self>, question: Question, deadline: Option<Timestamp>, now: Timestamp) {
        let patience = now + question.timeout;
        requests.push(Self {
            id: format!("r{}", requests.len() + 1),
            kind: question.kind,
            prompt: question.prompt,
            options: question.options,
            schema: question.schema,
            details: question.details,
            fingerprint: question.fingerprint,
            asked_at: now,
            expires_at: deadline.map_or(patience, |deadline| deadline.min(patience)),
            task_deadline: deadline,
            answer: None,
            answered_at: None,
        });
    }

    /// Decides what the answer to the question `id` makes of the questions of a task.
    ///
    /// # Errors
    /// When the agent did not ask that, it has another answer, or the answer is none of the options.
    pub fn answer(requests: &[Self], id: &str, answer: &Payload, now: Timestamp) -> Result<Answering, AnswerError> {
        let Some(at) = requests.iter().position(|request| request.id == id) else {
            let open = Self::open(requests).map_or_else(
                || "it asks nothing now; read the task".to_owned(),
                |open| format!("it asks `{}`", open.id),
            );
            return Err(AnswerError::NotAsked { request: id.to_owned(), open });
        };
        let answer = requests[at].resolved(answer)?;
        match &requests[at].answer {
            Some(given) if given.canonical() == answer.canonical() => Ok(Answering::Repeated),
            Some(given) => Err(AnswerError::OtherAnswer { request: id.to_owned(), answer: given.as_str().to_owned() }),
            None => {
                let mut answered = requests.to_vec();
                (answered[at].answer, answered[at].answered_at) = (Some(answer), Some(now));
                Ok(Answering::Store(answered))
            }
        }
    }

    /// The answer in the form that is stored. `allow` and `reject` name the option of that meaning: for this time, if there
    /// is one.
    fn resolved(&self, answer: &Payload) -> Result<Payload, AnswerError> {
        if self.options.is_empty() {
            return Ok(answer.clone());
        }
        let text: Option<String> = answer.read().ok();
        let kinds: &[&str] = match text.as_deref() {
            Some("allow") => &["allow_once", "allow_always"],
            Some("reject" | "deny") => &["reject_once", "reject_always"],
            _ => &[],
        };
        let by_id = text.as_deref().and_then(|text| self.options.iter().find(|option| option.id == text));
        let by_kind = || {
            let named = text.as_deref().and_then(|text| self.options.iter().find(|option| option.kind == text));
            named.or_else(|| kinds.iter().find_map(|kind| self.options.iter().find(|option| option.kind == *kind)))
        };
        let refuse = || AnswerError::NoOption {
            request: self.id.clone(),
            answer: answer.as_str().chars().take(100).collect(),
            options: self.options.iter().map(|option| format!("`{}`", option.id)).collect::<Vec<_>>().join(", "),
        };
        let option = by_id.or_else(by_kind).ok_or_else(refuse)?;
        Payload::mended_value(&option.id).map_err(|_| refuse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn question(options: &[(&str, &str)]) -> Question {
        let option = |(id, kind): &(&str, &str)| RequestOption {
            id: (*id).to_owned(),
            name: String::new(),
            kind: (*kind).to_owned(),
        };
        Question {
            kind: RequestKind::Permission,
            prompt: "may I?".into(),
            options: options.iter().map(option).collect(),
            schema: None,
            details: None,
            fingerprint: "f".into(),
            timeout: Duration::from_micros(50),
        }
    }

    fn asked(options: &[(&str, &str)]) -> Vec<AgentRequest> {
        let mut requests = Vec::new();
        AgentRequest::ask(&mut requests, question(options), Some(at(30)), at(10));
        requests
    }

    fn text(text: &str) -> Payload {
        Payload::from_value(text).unwrap()
    }

    #[test]
    fn a_question_expires_with_its_task_at_the_latest() {
        let requests = asked(&[]);
        assert_eq!((requests[0].id.as_str(), requests[0].expires_at), ("r1", at(30)));
        let mut more = requests;
        AgentRequest::ask(&mut more, question(&[]), None, at(10));
        assert_eq!((more[1].id.as_str(), more[1].expires_at, more[1].task_deadline), ("r2", at(60), None));
        let stored = AgentRequest::to_payload(&more).unwrap();
        assert_eq!(AgentRequest::list(Some(&stored)), more);
        assert!(AgentRequest::list(Some(&text("no list"))).is_empty());
    }

    #[test]
    fn an_answer_names_an_option_by_id_or_by_meaning() {
        let requests = asked(&[("always", "allow_always"), ("y", "allow_once"), ("n", "reject_once")]);
        for (answer, stored) in [("y", "y"), ("allow", "y"), ("allow_always", "always"), ("reject", "n"), ("deny", "n")]
        {
            let Ok(Answering::Store(answered)) = AgentRequest::answer(&requests, "r1", &text(answer), at(20)) else {
                panic!("{answer}");
            };
            assert_eq!((answered[0].answer.clone(), answered[0].answered_at), (Some(text(stored)), Some(at(20))));
            assert_eq!(AgentRequest::open(&answered), None);
        }
        for wrong in [text("maybe"), Payload::null(), Payload::parse(r#"{"a":1}"#).unwrap()] {
            let error = AgentRequest::answer(&requests, "r1", &wrong, at(20)).unwrap_err().to_string();
            assert!(error.ends_with("use one of `always`, `y`, `n`"), "{error}");
        }
    }

    #[test]
    fn an_answer_is_given_once() {
        let Ok(Answering::Store(answered)) = AgentRequest::answer(&asked(&[]), "r1", &text("a"), at(20)) else {
            panic!()
        };
        assert_eq!(AgentRequest::answer(&answered, "r1", &text("a"), at(21)), Ok(Answering::Repeated));
        let other = AgentRequest::answer(&answered, "r1", &text("b"), at(21)).unwrap_err();
        assert!(matches!(other, AnswerError::OtherAnswer { .. }), "{other}");
        let unknown = AgentRequest::answer(&answered, "r9", &text("a"), at(21)).unwrap_err().to_string();
        assert_eq!(unknown, "the agent did not ask `r9`; it asks nothing now; read the task");
    }
}
