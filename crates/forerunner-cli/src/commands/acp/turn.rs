//! One turn: a prompt that becomes a task.

use forerunner_console::{fields, json::Answer};
use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};

use super::{
    blocks,
    peer::{Fault, Peer},
    sessions::{Sessions, unguessable, update},
};
use crate::{
    client::{Call, Client, encode},
    commands::watch::Events,
};

/// What is known of a turn that runs.
#[derive(Debug, Default)]
pub struct Turn {
    task: Option<String>,
    is_cancelled: bool,
}

impl Turn {
    /// Notes its task. Returns whether the turn was cancelled meanwhile.
    pub fn started(&mut self, task: &str) -> bool {
        self.task = Some(task.to_owned());
        self.is_cancelled
    }

    /// Notes that it is to end. Returns the task to cancel, if there is one yet.
    pub fn cancel(&mut self) -> Option<String> {
        self.is_cancelled = true;
        self.task.clone()
    }
}

/// Cancels a task. One that has ended, or that cannot be cancelled now, goes on to its end, which the turn shows.
pub async fn cancel(client: &Client, task: &str) {
    let _refused = client.send(Call::post(format!("/v1/tasks/{}:cancel", encode(task)))).await;
}

/// Submits the prompt, passes on what its agent says and asks, and returns why the turn ended.
///
/// # Errors
/// When the service refuses the task, or the task does not succeed.
pub async fn run(sessions: &Sessions, session: &str, text: String, peer: &Peer) -> Result<&'static str, Fault> {
    let client = sessions.client();
    let body = json!({ "input": sessions.input(text), "context": session });
    let call = Call::post(format!("/v1/pools/{}/tasks", encode(sessions.pool()))).body(&body);
    let accepted = client.send(call.header("Idempotency-Key", unguessable())).await.map_err(Fault::failed)?;
    let task = fields::text(&accepted, "id");
    if sessions.started(session, &task) {
        cancel(client, &task).await;
    }
    let path = format!("/v1/tasks/{}", encode(&task));
    let mut shown = Shown { peer, session, has_output: false };
    let mut questions: FuturesUnordered<LocalBoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut events = Events::of(client, format!("{path}/events"));
    loop {
        tokio::select! {
            event = events.next() => match event.map_err(Fault::failed)? {
                Some(event) if fields::text(&event, "event") == "asked" => {
                    questions.push(Box::pin(ask(client, &task, event, session, peer)));
                }
                Some(event) => shown.event(&event),
                None => break,
            },
            Some(()) = questions.next(), if !questions.is_empty() => {}
        }
    }
    let ended = client.get(path).await.map_err(Fault::failed)?;
    shown.end(&ended)
}

/// What the editor has seen of a turn.
struct Shown<'a> {
    peer: &'a Peer,
    session: &'a str,
    has_output: bool,
}

impl Shown<'_> {
    fn event(&mut self, event: &Value) {
        match fields::text(event, "event").as_str() {
            "output" => {
                self.has_output = true;
                update(self.peer, self.session, "agent_message_chunk", &fields::text(event, "chunk"));
            }
            "progress" => {
                update(self.peer, self.session, "agent_thought_chunk", &format!("{}\n", fields::text(event, "text")));
            }
            _ => {}
        }
    }

    /// Shows the output of an agent that has streamed nothing, and returns the reason of the end.
    fn end(&self, task: &Answer) -> Result<&'static str, Fault> {
        match fields::text(task, "state").as_str() {
            "succeeded" => {
                if !self.has_output {
                    update(self.peer, self.session, "agent_message_chunk", &blocks::payload(task, "output", "text"));
                }
                Ok("end_turn")
            }
            "cancelled" => Ok("cancelled"),
            state => {
                let (id, message) = (fields::text(task, "id"), fields::text(task, "error.message"));
                Err(Fault::failed(format!("task {id} ended as {state}: {message}")))
            }
        }
    }
}

/// Asks the editor what the agent asked, and answers the task. A question without options has no form in the protocol: it
/// is shown, and the command line or the dashboard answers it.
async fn ask(client: &Client, task: &str, event: Answer, session: &str, peer: &Peer) {
    let request = &event["request"];
    let (id, prompt) = (blocks::text_of(request, "id"), blocks::text_of(request, "prompt"));
    let options = request["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    if options.is_empty() {
        let hint = format!("{prompt}\n(answer with: forerunner task answer {task} ANSWER)\n");
        return update(peer, session, "agent_message_chunk", &hint);
    }
    let options: Vec<Value> = options.iter().map(option).collect();
    let call = json!({ "toolCallId": format!("{task}/{id}"), "title": prompt, "status": "pending" });
    let params = json!({ "sessionId": session, "toolCall": call, "options": options });
    let chosen = peer.request("session/request_permission", &params).await;
    let chosen = chosen.as_ref().and_then(|chosen| chosen.pointer("/outcome/optionId")?.as_str());
    match chosen {
        Some(chosen) => {
            let body = json!({ "request": id, "answer": chosen });
            // Somebody else may have answered it meanwhile.
            let _refused = client.send(Call::post(format!("/v1/tasks/{}:answer", encode(task))).body(&body)).await;
        }
        // The protocol answers so when the editor cancels the turn, which it also says in a message of its own.
        None => cancel(client, task).await,
    }
}

fn option(option: &Value) -> Value {
    let (id, name) = (blocks::text_of(option, "id"), blocks::text_of(option, "name"));
    let kind = match blocks::text_of(option, "kind") {
        "" => "allow_once",
        kind => kind,
    };
    json!({ "optionId": id, "name": if name.is_empty() { id } else { name }, "kind": kind })
}
