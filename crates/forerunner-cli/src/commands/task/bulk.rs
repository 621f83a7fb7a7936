//! Cancel, retry, delete or move one task, or all that meet conditions.

use anyhow::Context;
use clap::Args;
use forerunner_console::{
    Usage, fields,
    output::{Output, count, pairs},
    progress,
};
use serde_json::{Value, json};

use super::filter::FilterArgs;
use crate::{client::Call, server_args::ServerArgs};

/// One task by its id, or the tasks that meet conditions.
#[derive(Debug, Args)]
pub struct BulkArgs {
    /// The id of one task; without it, the tasks that meet the conditions.
    pub id: Option<String>,
    #[command(flatten)]
    pub which: SelectionArgs,
}

/// The tasks that meet conditions.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// All tasks: required without a condition.
    #[arg(long)]
    all: bool,
    /// Change nothing, and report what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

impl BulkArgs {
    /// The id, if the command is for one task.
    pub fn one(&self) -> anyhow::Result<Option<&str>> {
        match &self.id {
            Some(_) if self.which.is_given() => {
                Err(Usage("an id names one task; leave the conditions, --all and --dry-run out".to_owned()).into())
            }
            id => Ok(id.as_deref()),
        }
    }
}

impl SelectionArgs {
    /// Returns whether a condition selects tasks, or the command is for many.
    pub fn is_given(&self) -> bool {
        self.all || self.dry_run || !self.filter.is_empty()
    }
}

/// Applies an operation to all tasks that meet the conditions, call by call. `more` is a member of the body beside
/// them.
pub async fn run(
    args: &SelectionArgs,
    action: &'static str,
    more: Option<(&str, Value)>,
    out: &Output,
) -> anyhow::Result<()> {
    let mut body = args.filter.body()?;
    if body.is_empty() && !args.all {
        let text =
            format!("no condition selects the tasks to {action}; name one by its id, add conditions, or add --all");
        return Err(Usage(text).into());
    }
    body.insert("all".to_owned(), json!(args.all));
    body.insert("dry_run".to_owned(), json!(args.dry_run));
    body.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let mut body = Value::Object(body);
    let client = args.server.client()?;
    let path = format!("/v1/tasks:{action}");
    let bar = progress::counter(if args.dry_run { "checked" } else { "tasks" });
    let mut total = Total::new(args.dry_run);
    loop {
        let call = Call::post(path.as_str()).body(&body);
        let report = client.send(call).await.with_context(|| total.so_far(action))?;
        total.add(&report);
        bar.set_position(total.matched);
        match report.get("next").and_then(Value::as_str) {
            Some(next) => body["cursor"] = json!(next),
            None => break,
        }
    }
    bar.finish_and_clear();
    out.show(&total.json(), || total.render(action))
}

/// The sum of all calls.
struct Total {
    matched: u64,
    done: u64,
    stopping: u64,
    refused: u64,
    gone: u64,
    dry_run: bool,
    reasons: Vec<Value>,
}

impl Total {
    const fn new(dry_run: bool) -> Self {
        Self { matched: 0, done: 0, stopping: 0, refused: 0, gone: 0, dry_run, reasons: Vec::new() }
    }

    fn add(&mut self, report: &Value) {
        let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.matched += number("matched");
        self.done += number("done");
        self.stopping += number("stopping");
        self.refused += number("refused");
        self.gone += number("gone");
        for reason in fields::list(report, "reasons") {
            let is_same = |known: &&mut Value| ["state", "reason"].iter().all(|name| known[name] == reason[name]);
            match self.reasons.iter_mut().find(is_same) {
                Some(known) => {
                    let sum = [&*known, reason].map(|one| one["count"].as_u64().unwrap_or(0)).iter().sum::<u64>();
                    known["count"] = json!(sum);
                }
                None => self.reasons.push(reason.clone()),
            }
        }
    }

    fn json(&self) -> Value {
        let Self { matched, done, stopping, refused, gone, dry_run, reasons } = self;
        json!({
            "matched": matched, "done": done, "stopping": stopping, "refused": refused, "reasons": reasons, "gone": gone,
            "dry_run": dry_run,
        })
    }

    /// Reports what was done when a later call fails: the command can be repeated.
    fn so_far(&self, action: &str) -> String {
        format!("after {} of {} tasks ({action}); the command can be repeated", count(self.done), count(self.matched))
    }

    fn render(&self, action: &str) -> String {
        let done = match (action, self.dry_run) {
            ("cancel", false) => "cancelled",
            ("retry", false) => "retried",
            ("delete", false) => "deleted",
            ("move", false) => "moved",
            ("cancel", true) => "would be cancelled",
            ("retry", true) => "would be retried",
            ("move", true) => "would be moved",
            _ => "would be deleted",
        };
        let mut rows = vec![("matched", count(self.matched)), (done, count(self.done))];
        let more = [("of them asked to stop", self.stopping), ("refused", self.refused), ("gone meanwhile", self.gone)];
        rows.extend(more.into_iter().filter(|(_, number)| *number > 0).map(|(name, number)| (name, count(number))));
        let mut text = pairs(rows);
        for reason in &self.reasons {
            let (number, state, why) =
                (fields::text(reason, "count"), fields::text(reason, "state"), fields::text(reason, "reason"));
            text.push_str(&format!("\n{number} {state}: {why} (such as {})", fields::text(reason, "example")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_calls_are_added_up() {
        let mut total = Total::new(false);
        let reason = |count| json!([{ "state": "running", "count": count, "reason": "it has not ended; cancel it first", "example": "0199-x" }]);
        total.add(&json!({ "matched": 10_000, "done": 9_999, "refused": 1, "reasons": reason(1), "next": "1-a" }));
        total.add(&json!({ "matched": 3, "done": 0, "refused": 2, "reasons": reason(2), "gone": 1 }));
        insta::assert_snapshot!(total.render("delete"), @r"
        matched         10,003
        deleted         9,999
        refused         3
        gone meanwhile  1
        3 running: it has not ended; cancel it first (such as 0199-x)
        ");
        assert_eq!(total.json()["reasons"][0]["count"], json!(3));
        assert!(total.so_far("delete").contains("9,999 of 10,003"));
    }
}
