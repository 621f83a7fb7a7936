//! Ended tasks are removed after their retention.

use std::time::Duration;

use forerunner_runtime::testkit::{Act, Rig, Script};
use forerunner_store::TaskFilter;
use tokio::time::Instant;

#[actix_rt::test]
async fn ended_tasks_go_as_soon_as_they_may_however_many_there_are() {
    const TASKS: usize = 1_300;
    tokio::time::pause();
    let rig = Rig::new().retention(Duration::from_secs(20));
    let rig = rig.pool("p", Script::always(Act::Echo), |pool| (pool.min, pool.max) = (20, 20)).start().await;
    for number in 0..TASKS {
        rig.submit("p", &number.to_string()).await;
    }
    rig.until("p", "all done", |status| status.finished == TASKS as u64).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let begun = Instant::now();
    while !rig.handle().tasks(TaskFilter { limit: 1, ..TaskFilter::default() }).await.unwrap().tasks.is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    rig.stop().await;
}
