//! The agent from the manual.

use std::time::Duration;

use forerunner_e2e::{Call, Pool, Site, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

#[actix_rt::test]
async fn the_example_agent_remembers_a_conversation_and_tells_how_it_goes() {
    let site = Site::new().with("", &[Pool::echo("echo").fixed(2)]);
    let service = site.serve().await;
    let client = service.client();
    let mut sizes = Vec::new();
    for turn in 1..=3 {
        let task = json!({ "input": format!("turn {turn}"), "context": "repo-42" });
        let done = client.ask(Call::submit("echo", &task).wait(30)).await.expect(200);
        assert_eq!(done["output"], json!({ "echo": format!("turn {turn}"), "turn": turn }), "{done}");
        let context = client.get("/v1/contexts/repo-42?pool=echo").await;
        assert_eq!(context["items"], 2 * turn, "{context}");
        sizes.push(context["size_bytes"].as_u64().expect("a size"));
    }
    assert!(sizes.is_sorted_by(|smaller, larger| smaller < larger), "{sizes:?}");
    assert_events(&client.events(&client.submit("echo", json!("one two three")).await).await);
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

fn assert_events(events: &[Value]) {
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).cloned().collect::<Vec<_>>();
    let output: String = of("output").iter().filter_map(|event| event["chunk"].as_str().map(str::to_owned)).collect();
    assert_eq!(output, "one two three ", "{events:?}");
    assert_eq!(of("progress")[0]["text"], "echoed 3 words");
    assert_eq!(events.last().map(|event| &event["state"]), Some(&json!("succeeded")), "{events:?}");
    assert!(events.is_sorted_by(|one, next| one["seq"].as_u64() < next["seq"].as_u64()), "{events:?}");
}

#[actix_rt::test]
async fn a_conversation_goes_on_after_a_restart_with_agents_that_never_saw_it() {
    let site = Site::new().with("", &[Pool::echo("echo").fixed(1)]);
    for turn in 1..=3 {
        let service = site.serve().await;
        let task = json!({ "input": "again", "context": "repo-42" });
        let done = service.client().ask(Call::submit("echo", &task).wait(30)).await.expect(200);
        assert_eq!(done["output"]["turn"], turn, "{done}");
        service.kill();
        site.empty(Duration::from_secs(2)).await;
    }
}

#[actix_rt::test]
async fn a_cancelled_task_stops_in_the_middle_of_a_sentence_and_its_agent_goes_on() {
    let site = Site::new().with("", &[Pool::echo("echo").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    let task = client.submit("echo", json!("word ".repeat(1_200))).await;
    let path = format!("/v1/tasks/{task}");
    eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
    let agent = client.get("/v1/pools/echo/agents").await["agents"][0]["pid"].clone();
    assert_eq!(client.ask(Call::new("POST", format!("{path}:cancel"))).await.status, 202);
    assert_eq!(client.ended(&task).await["state"], "cancelled");
    let next = client.submit("echo", json!("next")).await;
    assert_eq!(client.ended(&next).await["state"], "succeeded");
    assert_eq!(client.get("/v1/pools/echo/agents").await["agents"][0]["pid"], agent, "the same process");
    assert_eq!(service.stop(SOON).await, 0);
}
