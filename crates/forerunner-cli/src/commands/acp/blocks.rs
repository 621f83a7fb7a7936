//! What an editor sends, as text.

use forerunner_console::json::Answer;
use serde_json::Value;

use super::peer::Fault;

/// Returns a text of the parameters, empty if it is not there.
pub fn text_of<'a>(params: &'a Value, name: &str) -> &'a str {
    params.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a text of the parameters.
///
/// # Errors
/// When it is not there.
pub fn required<'a>(params: &'a Value, name: &str) -> Result<&'a str, Fault> {
    match text_of(params, name) {
        "" => Err(Fault::invalid(format!("`{name}` is missing; send it as text"))),
        text => Ok(text),
    }
}

/// Returns the text of a prompt: its blocks, one after another. A file that the editor embeds is quoted, a link is named.
///
/// # Errors
/// When it has no blocks, or one that is no text.
pub fn prompt(params: &Value) -> Result<String, Fault> {
    let blocks = params.get("prompt").and_then(Value::as_array);
    let blocks =
        blocks.ok_or_else(|| Fault::invalid("`prompt` is missing; send a list of content blocks".to_owned()))?;
    let texts = blocks.iter().map(block).collect::<Result<Vec<_>, _>>()?;
    let text = texts.join("\n");
    if text.trim().is_empty() {
        return Err(Fault::invalid("the prompt is empty; send some text".to_owned()));
    }
    Ok(text)
}

fn block(block: &Value) -> Result<String, Fault> {
    match text_of(block, "type") {
        "text" => Ok(text_of(block, "text").to_owned()),
        "resource_link" => Ok(format!("{} ({})", text_of(block, "name"), text_of(block, "uri"))),
        "resource" => {
            let resource = &block["resource"];
            let text = resource.get("text").and_then(Value::as_str);
            let text = text.ok_or_else(|| unsupported("resource without text"))?;
            Ok(format!("{}:\n{}{text}\n{}", text_of(resource, "uri"), fence(text), fence(text).trim_end()))
        }
        other => Err(unsupported(other)),
    }
}

/// Three backquotes, or more where the text has some.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    format!("{}\n", "`".repeat(3.max(longest + 1)))
}

fn unsupported(what: &str) -> Fault {
    Fault::invalid(format!(
        "content of type `{what}` is not supported; send text, resource_link, or resource with text"
    ))
}

/// Returns a payload of a task as text: a text, the member `name` of an object if that is a text, or any JSON as it was
/// written.
pub fn payload(task: &Answer, payload: &str, name: &str) -> String {
    let members = task.members();
    let Some(payload) = members.get(payload) else { return String::new() };
    match serde_json::from_str(payload.get()) {
        Ok(Value::Null) => String::new(),
        Ok(Value::String(text)) => text,
        Ok(Value::Object(mut members)) => match members.remove(name) {
            Some(Value::String(text)) => text,
            _ => payload.get().to_owned(),
        },
        _ => payload.get().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(blocks: Value) -> Result<String, String> {
        prompt(&json!({ "prompt": blocks })).map_err(|fault| fault.message)
    }

    #[test]
    fn a_prompt_is_the_text_of_its_blocks() {
        let blocks = json!([
            { "type": "text", "text": "explain" },
            { "type": "resource_link", "name": "main.rs", "uri": "file:///src/main.rs" },
            { "type": "resource", "resource": { "uri": "file:///a.md", "text": "```\ncode\n```" } },
        ]);
        let text = "explain\nmain.rs (file:///src/main.rs)\nfile:///a.md:\n````\n```\ncode\n```\n````";
        assert_eq!(read(blocks).as_deref(), Ok(text));
    }

    #[test]
    fn a_prompt_that_is_no_text_is_refused_by_the_type_of_its_block() {
        for (blocks, says) in [
            (json!([]), "empty"),
            (json!([{ "type": "text", "text": " \n" }]), "empty"),
            (json!([{ "type": "image", "data": "" }]), "`image` is not supported"),
            (json!([{ "type": "resource", "resource": { "blob": "" } }]), "resource without text"),
            (json!([7]), "`` is not supported"),
            (json!("hello"), "`prompt` is missing"),
        ] {
            let refused = read(blocks).unwrap_err();
            assert!(refused.contains(says), "`{refused}` does not say `{says}`");
        }
    }

    #[test]
    fn a_payload_is_shown_as_text() {
        for (output, shown) in [
            (r#""done""#, "done"),
            (r#"{"text":"done","turn":2}"#, "done"),
            (r#"{"text":1e400}"#, r#"{"text":1e400}"#),
            (r#"{"n":2}"#, r#"{"n":2}"#),
            ("null", ""),
        ] {
            let task = Answer::read(format!(r#"{{"output":{output}}}"#).as_bytes()).unwrap();
            assert_eq!(payload(&task, "output", "text"), shown);
            assert_eq!(payload(&task, "input", "text"), "");
        }
    }
}
