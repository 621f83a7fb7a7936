//! Conversations, in one process and in several.

use super::*;

#[tokio::test]
async fn a_conversation_has_its_memory_in_one_process() {
    for words in ["", "v2"] {
        let rig = Rig::new(words);
        let mut agent = rig.start().await;
        let (mut first, mut second) = (Talk::new("a"), Talk::new("b"));
        assert_eq!(first.says(&mut agent, "@@ say alpha").await, "pong alpha");
        assert_eq!(second.says(&mut agent, "@@ say beta").await, "pong beta");
        let heard = first.says(&mut agent, "@@ recall").await;
        assert!(heard.contains("alpha") && !heard.contains("beta"), "{words}: {heard}");
        assert_ne!(first.says(&mut agent, "@@ where").await, second.says(&mut agent, "@@ where").await);
        agent_stops(agent).await;
    }
}

async fn agent_stops(agent: AcpDriver) {
    timeout(SOON, Box::new(agent).stop(Duration::from_secs(5))).await.unwrap();
}

#[tokio::test]
async fn a_conversation_goes_on_in_another_process_with_its_session() {
    for words in ["", "resume", "v2"] {
        let rig = Rig::new(words);
        let (mut first, mut second) = (rig.start().await, rig.start().await);
        let mut talk = Talk::new("chat");
        talk.says(&mut first, "@@ say alpha").await;
        let place = talk.says(&mut first, "@@ where").await;
        assert_eq!(
            talk.says(&mut second, "@@ where").await,
            place,
            "{words}: the working directory is the context's own"
        );
        let heard = talk.says(&mut second, "@@ recall").await;
        assert!(heard.starts_with("heard: @@ say alpha | pong alpha"), "{words}: it has the session: {heard}");
    }
}

#[tokio::test]
async fn without_its_session_a_conversation_goes_on_from_its_transcript() {
    for words in ["no-files", "no-load"] {
        let rig = Rig::new(words);
        let (mut first, mut second) = (rig.start().await, rig.start().await);
        let mut talk = Talk::new("chat");
        talk.says(&mut first, "@@ say alpha").await;
        let heard = talk.says(&mut second, "@@ recall").await;
        assert!(heard.contains("This conversation began in another session") && heard.contains("alpha"), "{heard}");
    }
}

#[tokio::test]
async fn a_process_does_not_trust_a_session_that_another_one_continued() {
    for words in ["", "close", "resume close"] {
        let rig = Rig::new(words);
        let (mut first, mut second) = (rig.start().await, rig.start().await);
        let mut talk = Talk::new("chat");
        talk.says(&mut first, "@@ say alpha").await;
        talk.says(&mut second, "@@ say beta").await;
        let heard = talk.says(&mut first, "@@ recall").await;
        assert!(heard.contains("alpha") && heard.contains("beta"), "{words}: {heard}");
    }
}

#[tokio::test]
async fn what_a_failed_attempt_said_is_forgotten() {
    let rig = Rig::new("close");
    let mut agent = rig.start().await;
    let mut talk = Talk::new("chat");
    talk.says(&mut agent, "@@ say alpha").await;
    talk.run(&mut agent, &attempt("@@ refuse gamma")).await.unwrap_err();
    let heard = talk.says(&mut agent, "@@ recall").await;
    assert!(heard.contains("alpha") && !heard.contains("gamma"), "{heard}");
}

#[tokio::test]
async fn sessions_are_closed_as_others_need_the_room() {
    let rig = Rig::new("close").with(|spec| spec.sessions_per_agent = 2);
    let mut agent = rig.start().await;
    let mut talks: Vec<Talk> = (0..4).map(|number| Talk::new(&format!("chat-{number}"))).collect();
    for round in 0..2 {
        for (number, talk) in talks.iter_mut().enumerate() {
            talk.says(&mut agent, &format!("@@ say w{number}r{round}")).await;
        }
    }
    assert_eq!(agent.resident_contexts().unwrap().contexts.len(), 2);
    for (number, talk) in talks.iter_mut().enumerate() {
        let heard = talk.says(&mut agent, "@@ recall").await;
        assert!(heard.contains(&format!("w{number}r0")) && heard.contains(&format!("w{number}r1")), "{heard}");
    }
}

#[tokio::test]
async fn a_session_in_advance_may_arrive_at_any_time() {
    let rig = Rig::new("slow-new").with(|spec| spec.load_timeout = Duration::from_secs(20));
    for prompt in ["@@ tool 1", "@@ say a", "@@ ask x"] {
        let mut agent = rig.start().await;
        for idle in [50, 1_000] {
            let _asked = timeout(Duration::from_millis(idle), agent.died()).await;
            Talk::new("a").says(&mut agent, prompt).await;
            assert_eq!(Talk::new("b").says(&mut agent, "@@ say b").await, "pong b", "{prompt}");
        }
    }
}

#[tokio::test]
async fn a_task_without_a_context_leaves_no_session_and_no_directory() {
    let rig = Rig::new("close");
    let mut agent = rig.start().await;
    let place = alone(&mut agent, &attempt("@@ where")).await.unwrap();
    assert!(!alone(&mut agent, &attempt("@@ recall")).await.unwrap().contains("where"));
    for _ in 0..600 {
        if !std::path::Path::new(&place).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{place} is still there");
}
