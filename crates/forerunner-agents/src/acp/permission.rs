//! What an agent may do: decided by rules, before a person is asked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// What becomes of a permission that an agent asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionMode {
    /// The node grants it.
    Allow,
    /// The node refuses it.
    Deny,
    /// The task waits for the answer of a person.
    #[default]
    Ask,
}

/// A rule for some permissions. The first rule that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionRule {
    /// The kind of the tool, such as `execute` or `edit`; any if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// A pattern of paths, such as `src/**`: relative to the working directory of the context, or absolute. `*` is any part
    /// of a name, `**` any part of a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What becomes of it.
    pub decision: PermissionMode,
}

/// The kinds of tools of the protocol.
pub(super) const TOOL_KINDS: [&str; 10] =
    ["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other"];

/// A permission that an agent asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Permission {
    pub session: String,
    /// What it is for, for people.
    pub title: String,
    /// The kind of the tool.
    pub tool: String,
    /// The paths that the tool call names.
    pub paths: Vec<String>,
    /// The input of the tool, if the agent shows it.
    pub input: Option<Value>,
    pub options: Vec<PermissionOption>,
}

/// One way to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PermissionOption {
    pub option_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    session_id: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    tool_call: Option<Value>,
    #[serde(default)]
    subject: Option<Value>,
    #[serde(default)]
    options: Vec<PermissionOption>,
}

impl Permission {
    /// Reads the parameters of `session/request_permission`, of both versions; `None` if they make no sense.
    pub fn read(params: &RawValue) -> Option<Self> {
        let params: Params = serde_json::from_str(params.get()).ok()?;
        let subject = params.subject.as_ref();
        let call = params.tool_call.as_ref().or_else(|| subject.and_then(|subject| subject.get("toolCall")));
        let member = |name: &str| call.or(subject).and_then(|call| call.get(name));
        let text = |name: &str| member(name).and_then(Value::as_str).map(str::to_owned);
        let locations = member("locations").and_then(Value::as_array).into_iter().flatten();
        let paths = locations.filter_map(|at| Some(at.get("path")?.as_str()?.to_owned())).collect();
        let title = params.title.clone().or_else(|| text("title"));
        let title = title.or_else(|| text("toolCallId")).unwrap_or_else(|| "a permission".to_owned());
        let tool = text("kind").unwrap_or_else(|| "other".to_owned());
        let input = member("rawInput").or_else(|| member("command")).cloned().filter(|input| !input.is_null());
        Some(Self { session: params.session_id, title, tool, paths, input, options: params.options })
    }

    /// Returns the option that grants it, or refuses it: for this time, if there is such an option.
    ///
    /// Identifiers and order differ between agents. The kind is part of the protocol.
    pub fn option(&self, allow: bool) -> Option<&PermissionOption> {
        let kinds = if allow { ["allow_once", "allow_always"] } else { ["reject_once", "reject_always"] };
        kinds.iter().find_map(|kind| self.options.iter().find(|option| option.kind == *kind))
    }

    /// Whether an answer with the option of this id grants it.
    pub fn is_grant(&self, id: &str) -> bool {
        self.options.iter().any(|option| option.option_id == id && option.kind.starts_with("allow"))
    }

    /// What is the same when an agent asks the same once more, in another session with another working directory.
    pub fn fingerprint(&self, cwd: &str) -> String {
        let input = self.input.as_ref().map(Value::to_string).unwrap_or_default();
        let asked = format!("{}\n{}\n{input}", self.tool, self.title).replace(cwd, ".");
        forerunner_context::ItemHash::of(asked.as_bytes()).to_string()
    }
}

/// Decides by the rules, then by `mode`. `cwd` is the working directory of the session.
pub(super) fn decide(
    permission: &Permission,
    mode: PermissionMode,
    rules: &[PermissionRule],
    cwd: &str,
) -> PermissionMode {
    let paths: Vec<String> = permission.paths.iter().map(|path| absolute(path, cwd)).collect();
    let rule = rules.iter().find(|rule| rule.matches(&permission.tool, &paths, cwd));
    rule.map_or(mode, |rule| rule.decision)
}

impl PermissionRule {
    fn matches(&self, tool: &str, paths: &[String], cwd: &str) -> bool {
        if self.tool.as_deref().is_some_and(|wanted| wanted != tool) {
            return false;
        }
        let Some(pattern) = &self.path else { return true };
        let pattern = absolute(pattern, cwd);
        let mut matches = paths.iter().map(|path| is_match(pattern.as_bytes(), path.as_bytes()));
        match self.decision {
            // A tool call that names no path, or one path outside of the pattern, is not granted by it.
            PermissionMode::Allow => !paths.is_empty() && matches.all(|is_match| is_match),
            PermissionMode::Deny | PermissionMode::Ask => matches.any(|is_match| is_match),
        }
    }
}

/// Makes a path absolute, without `.` and `..`.
fn absolute(path: &str, cwd: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    for name in whole.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// Matches `*` within a name and `**` across names. Two places to return to bound the time by the product of the lengths.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut name_star: Option<(usize, usize)> = None;
    let mut path_star: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            // `src/**` matches `src/a`, and `**/a` matches `a` at the top.
            (path_star, name_star) = (Some((p, t)), None);
            continue;
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            name_star = Some((p, t));
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if p < pattern.len() && t < text.len() && pattern[p] == text[t] {
            (p, t) = (p + 1, t + 1);
            continue;
        }
        match (&mut name_star, &mut path_star) {
            (Some((after, from)), _) if *from < text.len() && text[*from] != b'/' => {
                *from += 1;
                (p, t) = (*after, *from);
            }
            (_, Some((after, from))) if *from < text.len() => {
                *from += 1;
                (p, t) = (*after, *from);
                name_star = None;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(text: &str) -> Permission {
        Permission::read(&serde_json::from_str::<Box<RawValue>>(text).unwrap()).unwrap()
    }

    #[test]
    fn a_permission_is_read_in_both_versions() {
        let first = permission(
            r#"{"sessionId":"s","toolCall":{"toolCallId":"1","title":"touch a","kind":"execute","rawInput":{"command":"touch a"},
                "locations":[{"path":"/w/a"}]},"options":[{"optionId":"y","name":"Yes","kind":"allow_once"}]}"#,
        );
        assert_eq!((first.title.as_str(), first.tool.as_str(), first.paths.len()), ("touch a", "execute", 1));
        let second = permission(
            r#"{"sessionId":"s","title":"Run touch a","subject":{"type":"tool_call","toolCall":{"toolCallId":"1","kind":"execute"}},
                "options":[{"optionId":"n","name":"No","kind":"reject_once"}]}"#,
        );
        assert_eq!((second.title.as_str(), second.tool.as_str()), ("Run touch a", "execute"));
        assert_ne!(first.fingerprint("/w"), second.fingerprint("/w"));
        let elsewhere = permission(
            r#"{"sessionId":"t","toolCall":{"toolCallId":"2","title":"touch a","kind":"execute","rawInput":{"command":"touch a","cwd":"/v"}},
                "options":[]}"#,
        );
        let here = Permission { input: Some(serde_json::json!({"command": "touch a", "cwd": "/w"})), ..first.clone() };
        assert_eq!(here.fingerprint("/w"), elsewhere.fingerprint("/v"), "the working directory does not matter");
        assert!(first.is_grant("y") && !second.is_grant("n"));
        assert!(Permission::read(&serde_json::from_str::<Box<RawValue>>("[]").unwrap()).is_none());
    }

    #[test]
    fn an_option_is_chosen_by_its_kind_whatever_its_id_and_place() {
        let asked = permission(
            r#"{"sessionId":"s","options":[{"optionId":"a","kind":"allow_always"},{"optionId":"b","kind":"allow_once"},
                {"optionId":"allow_once","kind":"reject_once"}]}"#,
        );
        let id = |allow| asked.option(allow).map(|option| option.option_id.as_str());
        assert_eq!((id(true), id(false)), (Some("b"), Some("allow_once")));
        let none = Permission { options: Vec::new(), ..asked };
        assert_eq!(none.option(true), None);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |tool: Option<&str>, path: Option<&str>, decision| PermissionRule {
            tool: tool.map(str::to_owned),
            path: path.map(str::to_owned),
            decision,
        };
        let rules = [
            rule(Some("edit"), Some("secret/**"), PermissionMode::Deny),
            rule(Some("edit"), Some("**"), PermissionMode::Ask),
            rule(Some("read"), Some("/w/**"), PermissionMode::Allow),
            rule(Some("execute"), None, PermissionMode::Deny),
        ];
        let asked = |tool: &str, paths: &[&str]| Permission {
            session: "s".into(),
            title: "t".into(),
            tool: tool.into(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            input: None,
            options: Vec::new(),
        };
        use PermissionMode::{Allow, Ask, Deny};
        for (tool, paths, expected) in [
            ("edit", &["src/a"][..], Allow),
            ("edit", &["/w/secret/a"], Deny),
            ("edit", &["/w/src/../secret/a"], Deny),
            ("edit", &["/w/src/a", "/w/secret/b"], Deny),
            ("read", &["/w/a"], Allow),
            ("read", &["/w/a", "/etc/passwd"], Ask),
            ("read", &["/w/../etc/passwd"], Ask),
            ("read", &[], Ask),
            ("execute", &[], Deny),
            ("fetch", &[], Ask),
        ] {
            let mode = if tool == "edit" { Allow } else { Ask };
            let rules = if tool == "edit" { &rules[..1] } else { &rules[2..] };
            assert_eq!(decide(&asked(tool, paths), mode, rules, "/w"), expected, "{tool} {paths:?}");
        }
        assert_eq!(decide(&asked("edit", &["x"]), Allow, &rules, "/w"), Ask);
    }

    #[test]
    fn patterns_match_names_and_paths() {
        for (pattern, text, expected) in [
            ("/w/*.rs", "/w/a.rs", true),
            ("/w/*.rs", "/w/b/a.rs", false),
            ("/w/**/*.rs", "/w/b/c/a.rs", true),
            ("/w/**", "/w/", true),
            ("/w/**", "/ww", false),
            ("/w/a*b*c", "/w/aXbYc", true),
            ("**", "/anything", true),
            ("/w", "/w", true),
            ("/w", "/wx", false),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let long = format!("/{}", "a".repeat(5_000));
        assert!(!is_match(format!("/{}b", "*a".repeat(50)).as_bytes(), long.as_bytes()), "it ends soon");
    }
}
