//! Tasks that agents submit.

use forerunner_core::{NewTask, TaskId, TaskState, Timestamp};
use forerunner_runtime::{
    Error,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::Refusal;

#[actix_rt::test]
async fn a_chain_of_tasks_that_submit_each_other_ends() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |pool| pool.min = 1).start().await;
    let handle = rig.handle();
    let child = |parent: TaskId| NewTask { parent: Some(parent), ..Running::task("p", "1") };
    let mut task = rig.submit("p", "1").await;
    for depth in 1..=16 {
        // Alternately one by one and in a batch.
        let submitted = match depth % 2 {
            0 => handle.submit(child(task)).await.unwrap(),
            _ => handle.submit_batch(vec![child(task)]).await.remove(0).unwrap(),
        };
        assert_eq!((submitted.task.parent, submitted.task.depth), (Some(task), depth));
        task = submitted.task.id;
        let ended = rig.ended(task).await;
        assert_eq!((ended.state, ended.depth), (TaskState::Succeeded, depth));
    }
    let error = handle.submit(child(task)).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::TooDeep { depth: 17, limit: 16, .. })), "{error}");
    assert!(error.to_string().ends_with("or raise node.max_depth"), "{error}");
    let nobody = TaskId::from_parts(Timestamp::default(), 7);
    let error = handle.submit(child(nobody)).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::NoParent { parent }) if parent == nobody), "{error}");
    assert_eq!(handle.pool("p").await.unwrap().waiting, 0, "what was refused takes no place");
    rig.stop().await;
}
