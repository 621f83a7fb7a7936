//! `forerunner acp`: a pool as an agent for editors, over the Agent Client Protocol (version 1) on standard input and output.
//!
//! - `peer` reads and writes the messages; `blocks` turns what an editor sends into text;
//! - `sessions` has the conversations: a session is a context of the pool;
//! - `turn` submits a prompt as a task, and passes on what its agent says and asks.

mod blocks;
mod peer;
mod sessions;
mod turn;

use std::rc::Rc;

use clap::Args;
use serde_json::{Value, json};

use self::{
    peer::{Fault, Incoming, Peer},
    sessions::Sessions,
};
use crate::server_args::ServerArgs;

/// The version of the protocol that is spoken.
const VERSION: u64 = 1;

/// Which pool.
#[derive(Debug, Args)]
pub struct AcpArgs {
    /// The pool that works on the prompts.
    #[arg(long, value_name = "POOL")]
    pool: String,
    /// Put the text of a prompt into an object, under this name. By default the input of the task is the text.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    field: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Serves one editor until it closes the standard input. Turns that run then are cancelled.
pub async fn run(args: AcpArgs) -> anyhow::Result<()> {
    let client = args.server.client()?;
    // An editor shows what stands on standard error, but not why each of its requests fails.
    client.get(format!("/v1/pools/{}", crate::client::encode(&args.pool))).await?;
    let (peer, mut incoming) = Peer::on_stdio();
    let front = Rc::new(AcpAgent { sessions: Sessions::new(client, args.pool, args.field), peer });
    while let Some(message) = incoming.next().await {
        match message {
            Incoming::Request { id, method, params } => {
                let front = Rc::clone(&front);
                actix_rt::spawn(async move {
                    let answer = front.answer(&method, &params).await;
                    front.peer.answer(&id, answer);
                });
            }
            Incoming::Notification { method, params } if method == "session/cancel" => {
                let front = Rc::clone(&front);
                actix_rt::spawn(async move { front.sessions.cancel(blocks::text_of(&params, "sessionId")).await });
            }
            Incoming::Notification { .. } => {}
        }
    }
    drop(incoming);
    front.sessions.cancel_all().await;
    front.peer.close().await;
    Ok(())
}

struct AcpAgent {
    sessions: Sessions,
    peer: Peer,
}

impl AcpAgent {
    async fn answer(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        match method {
            "initialize" => Ok(capabilities()),
            // There is nothing to log in to: the key is that of the command.
            "authenticate" => Ok(json!({})),
            "session/new" => Ok(json!({ "sessionId": self.sessions.begin() })),
            "session/load" => {
                let session = blocks::required(params, "sessionId")?;
                self.sessions.load(session, &self.peer).await.map(|()| json!({}))
            }
            "session/prompt" => {
                let session = blocks::required(params, "sessionId")?;
                let text = blocks::prompt(params)?;
                let reason = self.sessions.prompt(session, text, &self.peer).await?;
                Ok(json!({ "stopReason": reason }))
            }
            other => Err(Fault::no_method(other)),
        }
    }
}

fn capabilities() -> Value {
    json!({
        "protocolVersion": VERSION,
        "agentCapabilities": {
            "loadSession": true,
            "promptCapabilities": { "image": false, "audio": false, "embeddedContext": true },
        },
        "agentInfo": { "name": "forerunner", "title": "Forerunner", "version": env!("CARGO_PKG_VERSION") },
        "authMethods": [],
    })
}
