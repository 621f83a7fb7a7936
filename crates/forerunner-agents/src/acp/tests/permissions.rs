//! Permissions, and tasks that wait for the answer.

use super::*;
use crate::acp::PermissionRule;

#[tokio::test]
async fn permissions_are_answered_by_rules_and_chosen_by_their_kind() {
    let rule = |path: &str, decision| PermissionRule { tool: Some("edit".into()), path: Some(path.into()), decision };
    for words in ["", "v2"] {
        let rig = Rig::new(words).with(|spec| {
            spec.permissions = PermissionMode::Deny;
            spec.rules = vec![rule("src/**", PermissionMode::Allow)];
        });
        let mut agent = rig.start().await;
        let mut talk = Talk::new("chat");
        assert_eq!(talk.says(&mut agent, "@@ edit src/a.rs").await, "choice yes");
        assert_eq!(talk.says(&mut agent, "@@ edit src/../secret").await, "choice no");
        assert_eq!(talk.says(&mut agent, "@@ ask rm").await, "choice no");
    }
}

#[tokio::test]
async fn a_turn_that_asks_is_held_while_its_agent_serves_others() {
    for words in ["", "v2"] {
        let rig = Rig::new(words).with(|spec| spec.permissions = PermissionMode::Ask);
        let mut agent = rig.start().await;
        let (mut asking, mut other) = (Talk::new("asking"), Talk::new("other"));
        asking.says(&mut agent, "@@ say alpha").await;
        let request = attempt("@@ ask touch file");
        let mut cx = asking.context(&request, CancellationToken::new());
        timeout(SOON, agent.run(&request, &mut cx)).await.unwrap().unwrap();
        let question = cx.question().cloned().expect("it asks");
        assert_eq!((question.prompt.as_str(), question.options.len()), ("touch file", 3));
        assert_eq!(cx.items(), asking.items, "nothing is stored meanwhile");
        assert_eq!(other.says(&mut agent, "@@ say beta").await, "pong beta");
        let again = answered(&request, question, "allow");
        assert_eq!(asking.run(&mut agent, &again).await.unwrap(), "choice yes");
        let heard = asking.says(&mut agent, "@@ recall").await;
        assert_eq!(heard.matches("touch file").count(), 1, "the turn went on, and did not begin anew: {heard}");
    }
}

#[tokio::test]
async fn an_answer_outlives_the_process_that_asked() {
    let rig = Rig::new("").with(|spec| spec.permissions = PermissionMode::Ask);
    let mut agent = rig.start().await;
    let mut talk = Talk::new("chat");
    talk.says(&mut agent, "@@ say alpha").await;
    let request = attempt("@@ ask touch file");
    let mut cx = talk.context(&request, CancellationToken::new());
    timeout(SOON, agent.run(&request, &mut cx)).await.unwrap().unwrap();
    let question = cx.question().cloned().unwrap();
    drop(agent);
    let mut another = rig.start().await;
    let again = answered(&request, question, "reject");
    assert_eq!(talk.run(&mut another, &again).await.unwrap(), "choice no", "it is not asked twice");
    assert!(talk.says(&mut another, "@@ recall").await.contains("alpha"));
}

#[tokio::test]
async fn without_a_context_the_turn_ends_and_begins_anew_with_the_answer() {
    let rig = Rig::new("").with(|spec| spec.permissions = PermissionMode::Ask);
    let mut agent = rig.start().await;
    let request = attempt("@@ ask touch file");
    let mut cx = AgentContext::detached(request.task);
    timeout(SOON, agent.run(&request, &mut cx)).await.unwrap().unwrap();
    let again = answered(&request, cx.question().cloned().unwrap(), "yes");
    assert_eq!(alone(&mut agent, &again).await.unwrap(), "choice yes");
    assert_eq!(alone(&mut agent, &attempt("@@ say beta")).await.unwrap(), "pong beta");
}

#[tokio::test]
async fn another_task_of_the_context_ends_a_question_that_nobody_will_answer() {
    let rig = Rig::new("no-end-until-dismissed").with(|spec| spec.permissions = PermissionMode::Ask);
    let mut agent = rig.start().await;
    let mut talk = Talk::new("chat");
    talk.says(&mut agent, "@@ say alpha").await;
    let request = attempt("@@ ask touch file");
    let mut cx = talk.context(&request, CancellationToken::new());
    timeout(SOON, agent.run(&request, &mut cx)).await.unwrap().unwrap();
    let heard = talk.says(&mut agent, "@@ recall").await;
    assert!(heard.contains("alpha") && !heard.contains("touch file"), "{heard}");
}

#[tokio::test]
async fn an_agent_may_end_a_cancelled_turn_as_if_nothing_had_happened() {
    let rig = Rig::new("end-turn-on-cancel");
    let mut agent = rig.start().await;
    let mut talk = Talk::new("chat");
    let (request, cancel) = (attempt("@@ slow"), CancellationToken::new());
    let mut cx = talk.context(&request, cancel.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    });
    let error = timeout(SOON, agent.run(&request, &mut cx)).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_agent_usable()), (forerunner_core::ErrorKind::Cancelled, true), "{error:?}");
    assert_eq!(talk.says(&mut agent, "@@ say on").await, "pong on");
}
