//! Moves waiting tasks to another pool.

use anyhow::Context;
use clap::Args;
use forerunner_console::{Usage, json::Answer, output::Output};
use serde::Serialize;
use serde_json::{Value, json};

use super::{bulk, path, render_page};
use crate::client::Call;

/// Tasks, and the pool to move them to.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The ids of tasks; without any, the tasks that meet the conditions.
    ids: Vec<String>,
    /// The pool that they go to: one of the node's.
    #[arg(long, value_name = "POOL")]
    to: String,
    #[command(flatten)]
    which: bulk::SelectionArgs,
}

/// The tasks after the move, each as the service wrote it.
#[derive(Debug, Serialize)]
struct TaskList {
    tasks: Vec<Answer>,
}

/// Moves the tasks named, one after the other, or those that meet the conditions.
pub async fn run(args: &MoveArgs, out: &Output) -> anyhow::Result<()> {
    if args.ids.is_empty() {
        return bulk::run(&args.which, "move", Some(("to", json!(args.to))), out).await;
    }
    if args.which.is_given() {
        return Err(Usage("ids name the tasks; leave the conditions, --all and --dry-run out".to_owned()).into());
    }
    let paths = args.ids.iter().map(|id| path(id, "")).collect::<anyhow::Result<Vec<_>>>()?;
    let (client, body) = (args.which.server.client()?, json!({ "pool": args.to }));
    let mut moved: Vec<Answer> = Vec::with_capacity(paths.len());
    for path in &paths {
        let so_far = || format!("after {} of {} tasks were moved", moved.len(), paths.len());
        let task = client.send(Call::patch(path.as_str()).body(&body)).await.with_context(so_far)?;
        moved.push(task);
    }
    let page = json!({ "tasks": moved.iter().map(|task| (**task).clone()).collect::<Vec<Value>>() });
    out.show(&TaskList { tasks: moved }, || render_page(&page))
}
