//! A6: the disk fails to sync.

use std::time::Duration;

use forerunner_e2e::{Call, Pool, Site, count, eventually, holds};

use super::load::Load;

const SOON: Duration = Duration::from_secs(60);
/// Syncs of the opening, which do not fail: a node that cannot open its store does not start.
const OPENING: u64 = 12;
/// Tasks that are submitted in addition to those that are needed to reach the faults.
const TASKS: u64 = 60;
const CONNECTIONS: u64 = 4;

#[actix_rt::test]
#[ignore = "needs the right to trace processes; tests/run.sh runs it where the user has it"]
async fn what_could_not_be_synced_is_not_acknowledged_and_nothing_acknowledged_is_missing() {
    let positions = count(4, 50);
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for position in 0..positions {
        let (repeated, told) = one_position(OPENING + 2 * position, position % 2 == 0).await;
        refused += repeated;
        slowest = slowest.max(told);
    }
    assert!(refused >= positions, "each position met a submission: {refused}");
    println!(
        "A6: {positions} positions, {refused} submissions refused and repeated; readiness failed after {slowest:.0?} at most"
    );
}

/// Lets syncs fail from one position on: a few, or all until the node is killed. Returns how many submissions were
/// rejected, and how long readiness took to fail.
async fn one_position(first: u64, heals: bool) -> (u64, Duration) {
    let site = Site::new();
    let pool = Pool::writing("work", &site.effects()).fixed(2).set("task.retry_initial = \"20ms\"");
    let site = site.with("log.level = \"error\"", &[pool]);
    // The file is created first, so that only its opening precedes the faults.
    assert_eq!(site.serve().await.stop(SOON).await, 0);
    let when = if heals { format!("{first}..{}", first + 3) } else { format!("{first}+") };
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
    let strace =
        ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &inject];
    let mut service = site.serve_under(&strace).await;
    let load = Load::new(&site, &service);
    // Each sync serves one submission of each connection at most.
    let tasks = TASKS + CONNECTIONS * first;
    let breaking = async {
        let mut told = Duration::ZERO;
        if !heals {
            eventually("a submission is refused", SOON, async || holds(load.repeated.get() > 0)).await;
            let begun = tokio::time::Instant::now();
            eventually("readiness fails", SOON, async || {
                let answer = load.client().call(Call::get("/readyz")).await;
                holds(answer.is_ok_and(|answer| answer.status == 503))
            })
            .await;
            told = begun.elapsed();
        } else {
            eventually("the load goes on", SOON, async || holds(load.acknowledged() >= tasks)).await;
        }
        assert!(service.is_running(), "a disk that fails is no reason to end");
        service.kill();
        site.empty(SOON).await;
        let service = site.serve().await;
        load.turn_to(&service);
        (service, told)
    };
    let ((service, told), ()) = futures_util::join!(breaking, load.submit_all(CONNECTIONS, tasks, 0.0));
    load.see_all_ended(SOON).await;
    assert_eq!(service.stop(SOON).await, 0);
    // A claim that could not be written is void, and its attempt may be run once more in the same life.
    let mut history = load.history.borrow_mut();
    history.orphans(&site);
    let counts = history.check_clients();
    assert_eq!(counts.acknowledged as u64, tasks);
    assert_eq!(counts.ended, counts.acknowledged, "{counts:?}");
    (load.repeated.get(), told)
}
