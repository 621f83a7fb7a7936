//! What was seen of real agents, and what hostile ones may do: a table of behaviours and what each of them costs.

use super::*;
use crate::acp::PermissionMode;

/// What became of an attempt, in words: its text, or its failure.
async fn outcome(agent: &mut AcpDriver, prompt: &str) -> String {
    match Talk::new("chat").run(agent, &attempt(prompt)).await {
        Ok(text) => text,
        Err(error) => {
            let retry = if error.is_retryable() { "retry" } else { "final" };
            let agent = if error.is_agent_usable() { "usable" } else { "gone" };
            format!("{} {retry} {agent}", error.kind())
        }
    }
}

#[tokio::test]
async fn what_an_agent_does_in_a_turn_costs_that_turn_at_most() {
    const FAILS: &str = "agent_error retry usable";
    const BREAKS: &str = "agent_protocol retry gone";
    for (prompt, expected) in [
        // Ends of turns.
        ("@@ empty", FAILS),
        ("@@ refuse", "agent_error final usable"),
        ("@@ system-error", FAILS),
        ("@@ rpc-error", FAILS),
        ("@@ unknown-method", BREAKS),
        ("@@ no-reason", "answer"),
        ("@@ new-reason", "answer"),
        ("@@ twice", FAILS),
        // Messages that are none, or nobody's.
        ("@@ garbage", BREAKS),
        ("@@ batch", BREAKS),
        ("@@ zero-bytes", BREAKS),
        ("@@ long-line", BREAKS),
        ("@@ flood", BREAKS),
        ("@@ string-id", FAILS),
        ("@@ null-id", "pong "),
        ("@@ half-line", BREAKS),
        ("@@ forge", "real"),
        ("@@ odd-updates x", "pong x"),
        ("@@ surrogate x", "\u{fffd} pong x"),
        ("@@ bytes x", "\u{fffd} pong x"),
        ("@@ commands x", "pong x"),
        ("@@ many-tools x", "pong x"),
        // Requests.
        ("@@ terminal", "got {\"code\": -32601, \"message\": \"this client does not have `terminal/create`\"}"),
        ("@@ foreign-file", "read {\"code\": -32602, \"message\": \"there is no such session\"}"),
        ("@@ malformed-permission x", "pong x"),
        ("@@ no-allow rm", "choice cancelled"),
        ("@@ no-options rm", "choice cancelled"),
        ("@@ two rm", "choices yes yes"),
        // Processes.
        ("@@ die", "agent_lost retry gone"),
        ("@@ close-output", "agent_lost retry gone"),
        ("@@ orphan x", "pong x"),
        ("@@ hang", FAILS),
    ] {
        let rig = Rig::new("").with(|spec| {
            (spec.stall_timeout, spec.max_output_bytes) = (Duration::from_millis(700), 8 << 20);
        });
        let mut agent = rig.start().await;
        let found = outcome(&mut agent, prompt).await;
        assert_eq!(found, expected, "{prompt}");
        if !found.ends_with("gone") {
            assert_eq!(outcome(&mut agent, "@@ say on").await, "pong on", "{prompt}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_does_not_become_warm_does_not_start_and_says_why() {
    for (words, expected) in [
        ("dies-at-start", "exit status: 4"),
        ("silent-initialize", "did not answer `initialize` within start_timeout = 2 s"),
        ("silent-new", "did not answer `session/new` within start_timeout"),
        ("version-99", "speaks version 99"),
        ("no-auth", "Authentication required"),
        ("no-session", "without a `sessionId`"),
        ("no-modes", "no such mode"),
    ] {
        let rig = Rig::new(words).with(|spec| {
            (spec.start_timeout, spec.mode) = (Duration::from_secs(2), Some("ask".to_owned()));
        });
        let Err(error) = rig.launch().await else { panic!("{words}: it starts") };
        assert!(error.message().contains(expected), "{words}: {error}");
    }
}

#[tokio::test]
async fn sessions_that_are_confused_fail_their_attempt() {
    for (words, prompts, expected) in [
        // One id for two conversations would mix them.
        ("same-session", ["@@ say a", "@@ say b"], "agent_protocol retry gone"),
        ("silent-close close", ["@@ refuse", "@@ say b"], "pong b"),
        ("leading-session no-files", ["@@ say a", "@@ say b"], "pong b"),
        ("silent-prompt", ["@@ say a", "@@ say b"], "agent_error retry gone"),
    ] {
        let rig = Rig::new(words).with(|spec| {
            (spec.stall_timeout, spec.cancel_grace) = (Duration::from_millis(500), Duration::from_millis(300));
        });
        let mut agent = rig.start().await;
        let (mut first, mut second) = (Talk::new("a"), Talk::new("b"));
        let begun = first.run(&mut agent, &attempt(prompts[0])).await;
        if begun.is_err_and(|error| !error.is_agent_usable()) {
            assert!(expected.ends_with("gone"), "{words}");
            continue;
        }
        let found = match second.run(&mut agent, &attempt(prompts[1])).await {
            Ok(text) => text,
            Err(error) => format!("{} retry gone: {}", error.kind(), error.message()),
        };
        assert!(found.starts_with(expected), "{words}: {found}");
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_loaded_goes_on_from_its_transcript() {
    for words in ["no-files", "no-files load-internal", "no-load", "resume no-files", "resume close no-files"] {
        let rig = Rig::new(words);
        let mut talk = Talk::new("chat");
        talk.says(&mut rig.start().await, "@@ say alpha").await;
        let heard = talk.says(&mut rig.start().await, "@@ recall").await;
        assert!(heard.contains("alpha"), "{words}: {heard}");
    }
    // Of a session that is too large the transcript remains.
    let rig = Rig::new("").with(|spec| spec.max_session_bytes = 10);
    let mut talk = Talk::new("chat");
    talk.says(&mut rig.start().await, "@@ say alpha").await;
    assert!(talk.says(&mut rig.start().await, "@@ recall").await.contains("This conversation began"));
}

#[tokio::test]
async fn an_agent_that_does_not_answer_a_load_is_replaced() {
    let rig = Rig::new("silent-load").with(|spec| spec.load_timeout = Duration::from_millis(500));
    let mut talk = Talk::new("chat");
    talk.says(&mut rig.start().await, "@@ say alpha").await;
    let error = talk.run(&mut rig.start().await, &attempt("@@ recall")).await.unwrap_err();
    assert!(error.message().contains("did not answer `session/load`") && !error.is_agent_usable(), "{error}");
}

#[tokio::test]
async fn an_idle_agent_may_report_and_must_not_flood() {
    for (words, expected) in [
        ("idle-garbage", Some("no message of JSON-RPC")),
        ("idle-death", Some("ended with exit status: 9")),
        ("idle-flood", Some("max_idle_bytes")),
        ("idle-permission", None),
        ("late-updates", None),
    ] {
        let rig = Rig::new(words).with(|spec| spec.max_idle_bytes = 1 << 20);
        let mut agent = rig.start().await;
        let mut talk = Talk::new("chat");
        talk.says(&mut agent, "@@ say alpha").await;
        let died = timeout(Duration::from_secs(3), agent.died()).await;
        match expected {
            Some(expected) => {
                let error = died.unwrap_or_else(|_| panic!("{words}: it goes on"));
                assert!(error.message().contains(expected), "{words}: {error}");
            }
            None => {
                assert!(died.is_err(), "{words}: {died:?}");
                assert_eq!(talk.says(&mut agent, "@@ say beta").await, "pong beta", "{words}");
            }
        }
    }
}

#[tokio::test]
async fn a_question_that_nobody_will_answer_is_answered_cancelled() {
    for (words, prompt, expected) in [
        ("", "@@ ask rm", "choice cancelled"),
        ("v2", "@@ ask rm", "choice cancelled"),
        ("", "@@ two rm", "choices cancelled cancelled"),
    ] {
        let rig = Rig::new(words).with(|spec| spec.permissions = PermissionMode::Ask);
        let mut agent = rig.start().await;
        let talk = Talk::new("asking");
        let request = attempt(prompt);
        let mut cx = talk.context(&request, CancellationToken::new());
        timeout(SOON, agent.run(&request, &mut cx)).await.unwrap().unwrap();
        assert_eq!(agent.waiting_tasks(), [request.task]);
        let directory = agent.held[0].session.cwd.clone();
        agent.release(request.task);
        assert!(agent.waiting_tasks().is_empty());
        let sessions = agent.place.home.join(".fake/sessions");
        let mut told = String::new();
        for _ in 0..200 {
            let _idle = timeout(Duration::from_millis(50), agent.died()).await;
            let files =
                fs::read_dir(&sessions).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
            told = files.collect();
            if told.contains(expected) && !directory.exists() {
                break;
            }
        }
        assert!(told.contains(expected), "{words} {prompt}: {told}");
        assert!(!directory.exists(), "a conversation that never began leaves no directory");
        assert_eq!(alone(&mut agent, &attempt("@@ say on")).await.unwrap(), "pong on");
    }
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_replaced() {
    let rig = Rig::new("").with(|spec| spec.write_timeout = Duration::from_millis(500));
    let mut agent = rig.start().await;
    let pid = rustix::process::Pid::from_raw(agent.process_id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let error = Talk::new("chat").run(&mut agent, &attempt(&"x".repeat(2 << 20))).await.unwrap_err();
    assert!(error.message().contains("write_timeout") && !error.is_agent_usable(), "{error}");
}
