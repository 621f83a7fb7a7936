//! Writes tasks as JSON lines, with inputs and outputs.

use clap::Args;
use forerunner_console::{
    fields,
    output::{Output, count, note},
    progress,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::filter::FilterArgs;
use crate::{client::Client, server_args::ServerArgs};

/// Tasks that are read at the same time.
const AT_ONCE: usize = 16;
/// Tasks in one request.
const PAGE: usize = 1_000;

/// Which tasks.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Writes a line for each task that meets the conditions, the oldest first: so an import preserves the order of
/// conversations.
pub async fn run(args: &ExportArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let ids = ids(&client, &args.filter.query()?).await?;
    let bar = progress::bar(ids.len() as u64, "tasks");
    let mut tasks = stream::iter(ids.into_iter().rev())
        .map(|id| {
            let client = client.clone();
            async move { whole(&client, &id).await }
        })
        .buffered(AT_ONCE);
    let (mut written, mut gone) = (0, 0);
    while let Some(task) = tasks.try_next().await? {
        bar.inc(1);
        match task {
            Some(task) => {
                written += 1;
                out.file(&task)?;
            }
            None => gone += 1,
        }
    }
    bar.finish_and_clear();
    if gone > 0 {
        note(&format!("{} tasks were removed meanwhile; {} were written", count(gone), count(written)));
    }
    Ok(())
}

/// The ids of all tasks that meet the conditions, the newest first.
async fn ids(client: &Client, query: &str) -> anyhow::Result<Vec<String>> {
    let (mut ids, mut place) = (Vec::new(), String::new());
    loop {
        let page = client.get(format!("/v1/tasks?limit={PAGE}{query}{place}")).await?;
        ids.extend(fields::list(&page, "tasks").iter().map(|task| fields::text(task, "id")));
        match page.get("next").and_then(Value::as_str) {
            Some(next) => place = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

/// A task as a line, with its attempts if they add something; `None` if it was removed meanwhile. The text of the
/// service is not changed: no number changes.
async fn whole(client: &Client, id: &str) -> anyhow::Result<Option<String>> {
    let task = match client.get(format!("/v1/tasks/{id}")).await {
        Ok(task) => task,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let attempt = task.get("attempt").and_then(Value::as_u64).unwrap_or(0);
    if attempt <= 1 && fields::at(&task, "error").is_none() {
        return Ok(Some(serde_json::to_string(&task)?));
    }
    let attempts = client.get(format!("/v1/tasks/{id}/attempts")).await?;
    let mut members = task.members();
    members.extend(attempts.members().into_iter().filter(|(name, _)| name == "attempts"));
    Ok(Some(serde_json::to_string(&members)?))
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<crate::client::Problem>().is_some_and(|problem| problem.is("no-task"))
}
