//! `forerunner task`: see and steer tasks.

mod answer;
mod attempts;
mod bulk;
mod export;
mod filter;
mod import;
pub mod logs;
mod moves;
mod update;

use clap::{Args, Subcommand};
use forerunner_console::{
    Usage, fields,
    output::{Output, render, table},
};
use serde_json::{Value, json};

use self::{
    answer::AnswerArgs, bulk::BulkArgs, export::ExportArgs, filter::FilterArgs, import::ImportArgs, moves::MoveArgs,
    update::UpdateArgs,
};
use super::watch;
use crate::{
    client::{Call, encode},
    render::task,
    server_args::ServerArgs,
};

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Show one task.
    Get(TaskArg),
    /// List tasks, newest first.
    List(ListArgs),
    /// Cancel a task that has not ended, or all that meet conditions.
    Cancel(BulkArgs),
    /// Return an ended task to its queue, or all that meet conditions; default: those that failed or are dead.
    Retry(BulkArgs),
    /// Remove a task that has ended, or all that meet conditions, with all their data.
    #[command(visible_alias = "purge")]
    Delete(BulkArgs),
    /// Move waiting tasks to another pool: those named, or all that meet conditions.
    Move(MoveArgs),
    /// Show the attempts of a task, with the last lines of its agents.
    Attempts(TaskArg),
    /// Show the last lines that the agents of a task wrote to its log, also while it runs.
    Logs(TaskArg),
    /// Change the priority or the time of a waiting task.
    Update(UpdateArgs),
    /// Run a delayed task now.
    RunNow(TaskArg),
    /// Write tasks as JSON lines, with inputs and outputs, the oldest first.
    Export(ExportArgs),
    /// Submit the waiting tasks of an export; a repeated import creates no task twice.
    Import(ImportArgs),
    /// Answer what the agent of a task asked.
    Answer(AnswerArgs),
    /// Follow a task to its end.
    Watch(TaskArg),
}

/// Which task.
#[derive(Debug, Args)]
pub struct TaskArg {
    /// Its id.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which tasks.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most this many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// The page behind another: `next` of that one.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Sees and steers tasks.
pub async fn run(command: TaskCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        TaskCommand::Get(args) => attempts::get(&args.id, &args.server, out).await,
        TaskCommand::Attempts(args) => attempts::list(&args.id, &args.server, out).await,
        TaskCommand::Logs(args) => logs::show(&args.id, &args.server, out).await,
        TaskCommand::Cancel(args) => one_or_many(&args, "cancel", out).await,
        TaskCommand::Retry(args) => one_or_many(&args, "retry", out).await,
        TaskCommand::Delete(args) => match args.one()? {
            Some(id) => delete(id, &args, out).await,
            None => bulk::run(&args.which, "delete", None, out).await,
        },
        TaskCommand::Move(args) => moves::run(&args, out).await,
        TaskCommand::Export(args) => export::run(&args, out).await,
        TaskCommand::Import(args) => import::run(&args, out).await,
        TaskCommand::Update(args) => {
            let body = args.body()?;
            show(&args.server, out, Call::patch(path(&args.id, "")?).body(&body)).await
        }
        TaskCommand::Answer(args) => answer::run(&args, out).await,
        TaskCommand::RunNow(args) => {
            let body = json!({ "run_at": "now" });
            one(&args, out, Call::patch(path(&args.id, "")?).body(&body)).await
        }
        TaskCommand::Watch(args) => watch::run(&args.server.client()?, &path(&args.id, "/events")?, out).await,
        TaskCommand::List(args) => list(&args, out).await,
    }
}

fn path(id: &str, verb: &str) -> anyhow::Result<String> {
    let id: forerunner_core::TaskId = id.parse().map_err(|error: forerunner_core::Error| Usage(error.to_string()))?;
    Ok(format!("/v1/tasks/{id}{verb}"))
}

async fn one(args: &TaskArg, out: &Output, call: Call<'_>) -> anyhow::Result<()> {
    show(&args.server, out, call).await
}

async fn show(server: &ServerArgs, out: &Output, call: Call<'_>) -> anyhow::Result<()> {
    let task = server.client()?.send(call).await?;
    out.show(&task, || task::render(&task))
}

async fn one_or_many(args: &BulkArgs, action: &'static str, out: &Output) -> anyhow::Result<()> {
    match args.one()? {
        Some(id) => show(&args.which.server, out, Call::post(path(id, &format!(":{action}"))?)).await,
        None => bulk::run(&args.which, action, None, out).await,
    }
}

async fn delete(id: &str, args: &BulkArgs, out: &Output) -> anyhow::Result<()> {
    args.which.server.client()?.send(Call::delete(path(id, "")?)).await?;
    out.show(&json!({ "id": id, "deleted": true }), || format!("deleted {id}"))
}

async fn list(args: &ListArgs, out: &Output) -> anyhow::Result<()> {
    let page = args.server.client()?.get(list_path(args)?).await?;
    out.show(&page, || render_page(&page))
}

fn list_path(args: &ListArgs) -> anyhow::Result<String> {
    let cursor = args.cursor.as_ref().map(|cursor| format!("&cursor={}", encode(cursor))).unwrap_or_default();
    Ok(format!("/v1/tasks?limit={}{}{cursor}", args.limit, args.filter.query()?))
}

fn render_page(page: &Value) -> String {
    let rows = fields::list(page, "tasks").iter().map(|task| {
        let error = fields::text(task, "error.kind");
        let note = if error == fields::NOTHING { String::new() } else { error };
        ["id", "pool", "state", "attempt"]
            .map(|name| fields::text(task, name))
            .into_iter()
            .chain([fields::time(task, "submitted_at"), note])
    });
    let rows: Vec<[String; 6]> = rows.filter_map(|row| row.collect::<Vec<_>>().try_into().ok()).collect();
    if rows.is_empty() {
        return "no tasks match".to_owned();
    }
    let mut text = render(&table(["id", "pool", "state", "attempt", "submitted (UTC)", "error"], rows));
    if let Some(cursor) = fields::at(page, "next").and_then(Value::as_str) {
        text.push_str(&format!("\nolder ones: add --cursor {cursor}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_a_table_and_says_how_to_go_on() {
        let task = json!({"id": "0199-x", "pool": "coder", "state": "queued", "attempt": 0, "submitted_at": "2026-01-31T12:00:00Z"});
        let page = json!({"tasks": [task], "next": "abc"});
        insta::assert_snapshot!(render_page(&page), @r"
        ID      POOL   STATE   ATTEMPT  SUBMITTED (UTC)      ERROR
        0199-x  coder  queued  0        2026-01-31 12:00:00
        older ones: add --cursor abc
        ");
        assert_eq!(render_page(&json!({"tasks": []})), "no tasks match");
    }
}
