//! Agents that fail, and agents that are hostile: each fails its own task at most.

use super::*;

#[tokio::test]
async fn silence_ends_a_turn_unless_a_tool_runs() {
    let rig = Rig::new("").with(|spec| spec.stall_timeout = Duration::from_millis(500));
    let mut agent = rig.start().await;
    assert_eq!(alone(&mut agent, &attempt("@@ tool 1.5")).await.unwrap(), "tool done");
    let error = alone(&mut agent, &attempt("@@ hang")).await.unwrap_err();
    assert!(error.message().contains("stall_timeout = 0.5 s") && error.is_retryable(), "{error}");
    assert!(error.is_agent_usable(), "it ended the turn when it was cancelled");
    let rig = Rig::new("ignore-cancel").with(|spec| {
        (spec.stall_timeout, spec.cancel_grace) = (Duration::from_millis(300), Duration::from_millis(300));
    });
    let error = alone(&mut rig.start().await, &attempt("@@ hang")).await.unwrap_err();
    assert!(!error.is_agent_usable() && error.is_retryable(), "{error}");
}

#[tokio::test]
async fn forged_messages_mean_nothing_and_the_adapters_words_are_no_answer() {
    let rig = Rig::new("").with(|spec| spec.notices = vec!["Warning:".to_owned()]);
    let mut agent = rig.start().await;
    assert_eq!(alone(&mut agent, &attempt("@@ forge")).await.unwrap(), "real");
    assert_eq!(alone(&mut agent, &attempt("@@ notice x")).await.unwrap(), "pong x");
}

#[tokio::test]
async fn files_are_written_for_an_agent_below_its_working_directory_only() {
    let rig = Rig::new("");
    let mut agent = rig.start().await;
    let mut talk = Talk::new("chat");
    assert_eq!(talk.says(&mut agent, "@@ write sub/a.txt hello").await, "wrote {}");
    let place = talk.says(&mut agent, "@@ where").await;
    assert_eq!(fs::read_to_string(format!("{place}/sub/a.txt")).unwrap(), "hello");
    let outside = rig.dir.path().join("outside");
    for path in [outside.display().to_string(), format!("{place}/../outside")] {
        let answer = talk.says(&mut agent, &format!("@@ write {path} hello")).await;
        assert!(answer.contains("-326"), "{answer}");
    }
    std::os::unix::fs::symlink(rig.dir.path(), format!("{place}/link")).unwrap();
    let answer = talk.says(&mut agent, &format!("@@ write {place}/link/outside hello")).await;
    assert!(answer.contains("-32603") && !outside.exists(), "{answer}");
}

#[tokio::test]
async fn nothing_of_an_agent_that_minds_no_signal_remains() {
    let rig = Rig::new("ignore-term ignore-eof child");
    let agent = rig.start().await;
    let pid = agent.process_id();
    let family: Vec<String> = family(pid);
    assert!(family.len() >= 2, "{family:?}");
    timeout(SOON, Box::new(agent).stop(Duration::from_millis(600))).await.unwrap();
    for process in family {
        assert!(!is_alive(&process), "{process} of agent {pid} is left");
    }
}

/// Whether a process runs. One that has ended may still have an entry, until its parent or process 1 reads its status.
fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The process and its children.
fn family(pid: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid.to_string()).chain(children.split_whitespace().map(str::to_owned)).collect()
}
