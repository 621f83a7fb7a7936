//! Contexts: extended, stored, restored, cached.

use forerunner_core::{ContextId, TaskState};
use forerunner_runtime::testkit::{Act, Rig, Running, Script};

async fn turn(rig: &Running, context: &str, input: &str) -> String {
    let mut new = Running::task("p", input);
    new.context = Some(ContextId::new(context).unwrap());
    let task = rig.handle().submit(new).await.unwrap().task.id;
    let ended = rig.ended(task).await;
    assert_eq!(ended.state, TaskState::Succeeded, "{:?}", ended.error);
    ended.output.unwrap().as_str().to_owned()
}

#[actix_rt::test]
async fn a_context_grows_turn_by_turn_and_moves_between_agents() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Remember), |pool| (pool.min, pool.max) = (2, 2)).start().await;
    rig.until_ready("p", 2).await;
    for turns in 1..=40 {
        for context in ["red", "blue", "green"] {
            assert_eq!(turn(&rig, context, &format!("\"turn {turns} of {context}\"")).await, turns.to_string());
        }
    }
    let status = rig.handle().context(None, ContextId::new("red").unwrap()).await.unwrap();
    assert_eq!((status.version, status.items), (40, 40));
    assert!(status.stored_bytes > 0);
    rig.handle().delete_context(Some("p"), ContextId::new("red").unwrap()).await.unwrap();
    assert_eq!(turn(&rig, "red", "1").await, "1", "deleted for good");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_task_goes_to_the_agent_that_holds_its_context() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Remember), |pool| (pool.min, pool.max) = (4, 4)).start().await;
    rig.until_ready("p", 4).await;
    for _ in 0..5 {
        for context in ["red", "blue", "green"] {
            turn(&rig, context, "1").await;
        }
    }
    let runs = rig.log("p").runs();
    for (index, (agent, _)) in runs.iter().enumerate().skip(3) {
        assert_eq!(*agent, runs[index - 3].0, "run {index}");
    }
    let warm = rig.handle().context(None, ContextId::new("blue").unwrap()).await.unwrap().warm_on;
    assert_eq!(warm, vec![runs[1].0]);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_failed_attempt_leaves_its_context_as_it_was() {
    tokio::time::pause();
    let script = Script::choosing(|request| match (request.input.as_str(), request.attempt) {
        ("\"bad\"", _) => Act::Reject("no".into()),
        _ => Act::Remember,
    });
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 1)).start().await;
    turn(&rig, "red", "1").await;
    let mut new = Running::task("p", "\"bad\"");
    new.context = Some(ContextId::new("red").unwrap());
    let task = rig.handle().submit(new).await.unwrap().task.id;
    assert_eq!(rig.ended(task).await.state, TaskState::Failed);
    assert_eq!(turn(&rig, "red", "2").await, "2");
    rig.stop().await;
}
