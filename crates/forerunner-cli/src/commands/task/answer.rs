//! Answers what the agent of a task asked.

use clap::Args;
use forerunner_console::{Usage, fields, output::Output};
use serde_json::{Value, json};

use super::path;
use crate::{client::Call, render::task, server_args::ServerArgs};

/// Which question, and the answer.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The id of the task.
    id: String,
    /// The answer: the id or the kind of an option, allow or reject; JSON, or text, if the question has no options.
    answer: String,
    /// The id of the question; by default the one that is open.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Sends the answer, and shows the task.
pub async fn run(args: &AnswerArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let request = match &args.request {
        Some(request) => request.clone(),
        None => {
            let task = client.get(path(&args.id, "")?).await?;
            open(&task)?
        }
    };
    let body = json!({ "request": request, "answer": value(&args.answer) });
    let answered = client.send(Call::post(path(&args.id, ":answer")?).body(&body)).await?;
    out.show(&answered, || task::render(&answered))
}

/// The id of the question that waits for an answer.
fn open(task: &Value) -> anyhow::Result<String> {
    let open = fields::list(task, "requests").last().filter(|request| request.get("answer").is_none());
    let id = open.and_then(|request| request.get("id")).and_then(Value::as_str);
    let nothing = || Usage("the agent of the task asks nothing now; name a question with --request".to_owned());
    Ok(id.ok_or_else(nothing)?.to_owned())
}

/// JSON as it is; anything else is text.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_question_is_the_last_one_without_an_answer() {
        let task = json!({"requests": [{"id": "r1", "answer": "y"}, {"id": "r2"}]});
        assert_eq!(open(&task).unwrap(), "r2");
        for task in [json!({}), json!({"requests": [{"id": "r1", "answer": null}]})] {
            assert!(open(&task).unwrap_err().to_string().contains("--request"));
        }
        assert_eq!((value("allow"), value("{\"a\":1}"), value("7")), (json!("allow"), json!({"a": 1}), json!(7)));
    }
}
