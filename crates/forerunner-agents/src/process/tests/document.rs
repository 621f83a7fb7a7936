//! `docs/agent-protocol.md` describes what the code does.

use std::process::Command;

use forerunner_core::Payload;
use serde_json::value::RawValue;

use super::*;
use crate::process::protocol::{
    AgentInfo, AnnouncedLimits, AskedBefore, Compression, Content, ContextDrop, ContextLoad, ContextRef, Initialize,
    LoadStep, Message, NoParams, OfferedDictionary, TaskCancel, TaskResult, TaskRun, parse_line, request_line,
};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const TASK: &str = "0199a3c0-9a10-7000-8000-000000000002";

/// The lines of all blocks that are opened with "```" and `kind`.
fn lines(kind: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{REPOSITORY}/docs/agent-protocol.md")).unwrap();
    let blocks = text.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n')).filter(|(opening, _)| *opening == kind);
    blocks.flat_map(|(_, lines)| lines.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn the_requests_are_those_that_the_node_writes() {
    let spec = ProcessSpec::new(["agent"]);
    let initialize = Initialize {
        protocol: 3,
        oldest_protocol: 1,
        pool: "coder",
        agent: "0199a3c0-8e51-7000-8000-000000000001".to_owned(),
        compression: &[Compression::Zstd],
        dictionary: Some(OfferedDictionary {
            id: "a1b2c3d4".to_owned(),
            path: "/tmp/forerunner-dictionary/dictionary.zstd".into(),
            bytes: 65_536,
        }),
        limits: AnnouncedLimits {
            max_line_bytes: spec.max_line_bytes,
            max_output_bytes: spec.max_output_bytes,
            cancel_grace_s: spec.cancel_grace.as_secs_f64(),
            stop_grace_s: spec.stop_grace.as_secs_f64(),
            compression_window_bytes: Some(spec.compression_window_bytes),
        },
    };
    let run = TaskRun {
        task: TASK.to_owned(),
        attempt: 1,
        depth: 2,
        input: &Payload::parse(r#"{"text":"hello"}"#).unwrap(),
        context: Some(ContextRef { id: "repo-42", version: 7, items: 3 }),
        deadline: "2026-01-31T12:00:00Z".parse().unwrap(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        requests: Vec::new(),
    };
    let answer = Payload::from_value("main").unwrap();
    let asked = AskedBefore { id: "r1", key: "branch", prompt: "Which branch?", answer: Some(&answer) };
    let again = TaskRun {
        context: None,
        requests: vec![asked],
        traceparent: None,
        deadline: run.deadline,
        task: TASK.to_owned(),
        ..run
    };
    let cancel = TaskCancel { task: TASK.to_owned() };
    let (system, user) = (raw(r#"{"role":"system","text":"be brief"}"#), raw(r#"{"role":"user","text":"hello"}"#));
    let load = |version, base, content| ContextLoad { id: "repo-42", version, base, content };
    let (full, rest) = (Content::Items(vec![&system]), Content::Items(vec![&user]));
    let edit = Content::Edit(vec![LoadStep::Copy(0, 2), LoadStep::Insert(vec![&user]), LoadStep::Copy(4, 1)]);
    let expected = [
        request_line(1, "initialize", &initialize),
        request_line(2, "task/run", &run),
        request_line(3, "task/cancel", &cancel),
        request_line(4, "context/load", &load(7, None, &full)),
        request_line(5, "context/load", &load(9, Some(7), &rest)),
        request_line(6, "context/load", &load(10, Some(9), &edit)),
        request_line(7, "context/drop", &ContextDrop { id: "repo-42" }),
        request_line(8, "ping", &NoParams {}),
        request_line(9, "shutdown", &NoParams {}),
        request_line(10, "task/run", &again),
    ]
    .map(|line| String::from_utf8(line.unwrap()).unwrap().trim_end().to_owned());
    assert_eq!(lines("json node"), expected);
}

#[test]
fn the_answers_are_understood() {
    let result = |line: &str| match parse_line(line.as_bytes(), true).unwrap() {
        Message::Answer { result, .. } => result,
        other => panic!("{other:?}"),
    };
    let infos = lines("json agent initialize");
    let infos = infos.iter().map(|line| serde_json::from_str(result(line).unwrap().get()).unwrap());
    let [plain, packs, primed]: [AgentInfo; 3] = infos.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(
        [packs.compression, primed.compression, plain.compression],
        [Some(Compression::Zstd), Some(Compression::Zstd), None]
    );
    assert_eq!([packs.dictionary, primed.dictionary, plain.dictionary], [None, Some("a1b2c3d4".to_owned()), None]);
    assert_eq!((plain.protocol, plain.capabilities.contexts, plain.capabilities.streaming), (3, 64, true));
    let answers = lines("json agent task/run");
    for answer in &answers[..4] {
        serde_json::from_str::<TaskResult>(result(answer).unwrap().get()).unwrap();
    }
    assert_eq!(result(&answers[4]).unwrap_err().retryable(), Some(true));
    let others = lines("json agent");
    let known =
        others.iter().filter(|line| !matches!(parse_line(line.as_bytes(), true), Err(_) | Ok(Message::Unknown)));
    assert_eq!((known.count(), others.len()), (12, 12));
}

#[test]
fn the_shell_line_works() {
    let line = &lines("sh")[0];
    let output = Command::new("sh").args(["-c", line]).current_dir(REPOSITORY).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<Message> = answers.lines().map(|line| parse_line(line.as_bytes(), true).unwrap()).collect();
    let answered = messages.iter().filter_map(|message| match message {
        Message::Answer { id, result: Ok(_) } => Some(*id),
        _ => None,
    });
    assert_eq!(answered.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(messages.len(), 5, "{answers}");
}

#[test]
fn the_limits_have_the_documented_defaults() {
    let text = fs::read_to_string(format!("{REPOSITORY}/docs/agent-protocol.md")).unwrap();
    let spec = ProcessSpec::new(["agent"]);
    for (name, duration) in [
        ("start_timeout", spec.start_timeout),
        ("load_timeout", spec.load_timeout),
        ("ping_timeout", spec.ping_timeout),
        ("ping_after", spec.ping_after),
        ("write_timeout", spec.write_timeout),
        ("cancel_grace", spec.cancel_grace),
        ("stop_grace", spec.stop_grace),
    ] {
        let row = format!("| `{name}` | {} s |", duration.as_secs());
        assert!(text.contains(&row), "{row}");
    }
    for (name, bytes) in [("max_line_bytes", spec.max_line_bytes), ("max_output_bytes", spec.max_output_bytes)] {
        let row = format!("| `{name}` | {} MiB |", bytes >> 20);
        assert!(text.contains(&row), "{row}");
    }
    let row = format!("| `stderr_ring_bytes` | {} KiB |", spec.stderr_ring_bytes >> 10);
    assert!(text.contains(&row), "{row}");
}
