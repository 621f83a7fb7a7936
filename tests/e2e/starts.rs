//! Agents that wait for each other when they start: processes with a lock, of which a pool learns how many to start at once.

use std::time::Duration;

use forerunner_e2e::{Call, Pool, Site, eventually, holds};
use serde_json::json;

const SOON: Duration = Duration::from_secs(120);

/// An agent that is ready half a second after it gets the lock of the file in its argument. Answers every call alike.
const LOCKED_AGENT: &str = r#"
exec 9>"$1"
flock 9
sleep 0.5
flock -u 9
while IFS= read -r line; do
    id=${line#*\"id\":}
    id=${id%%,*}
    case $line in
        *'"method":"initialize"'*) result='{"protocol":2,"agent":{"name":"sh"}}' ;;
        *) result='{"output":null}' ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

#[actix_rt::test]
async fn a_pool_of_processes_that_wait_for_a_lock_starts_few_at_once() {
    let settings = "min = 14\nmax = 40";
    let site = Site::new();
    let lock = site.path("lock");
    let argv = ["/bin/sh", "-c", LOCKED_AGENT, "agent", lock.to_str().expect("text")];
    let site = site.with("", &[Pool::of("work", argv).set(settings)]);
    let service = site.serve().await;
    let client = service.client();
    let ready = async |count: u32| {
        eventually("agents are ready", SOON, async || {
            holds(client.get("/v1/pools/work").await["agents"]["ready"] == count)
        })
        .await;
    };
    ready(14).await;
    let first = client.get("/v1/pools/work").await["starts"].clone();
    assert_eq!((&first["at_once"], &first["is_learned"]), (&64.into(), &false.into()), "{first}");
    // These start alone, each half a second.
    for min in [15, 16] {
        client.ask(Call::new("PATCH", "/v1/pools/work").json(&json!({ "min": min }))).await.expect(200);
        ready(min).await;
    }
    let learned = client.get("/v1/pools/work").await;
    let at_once = learned["starts"]["at_once"].as_u64().expect("a number");
    assert!(learned["starts"]["is_learned"] == true && at_once <= 3, "{learned}");
    assert!(learned["cold_start_s"]["p90"].as_f64().expect("a time") < 3.0, "{learned}");
    let shown = site.program().env("FORERUNNER_SERVER", service.address()).run(["pool", "show", "work"]).await.ended(0);
    assert!(shown.stdout.contains("at once, learned: "), "{}", shown.stdout);
    // More agents keep to it.
    client.ask(Call::new("PATCH", "/v1/pools/work").json(&json!({ "min": 24 }))).await.expect(200);
    let mut most = 0;
    eventually("agents are ready", SOON, async || {
        let agents = &client.get("/v1/pools/work").await["agents"];
        most = most.max(agents["starting"].as_u64().expect("a number"));
        holds(agents["ready"] == 24)
    })
    .await;
    assert!(most <= at_once, "{most} started at once");
    assert_eq!(service.stop(SOON).await, 0);
}
