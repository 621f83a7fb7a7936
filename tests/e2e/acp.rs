//! Agents that speak ACP, under the program: a conversation outlives its process and its node, and so does a question.

use std::{fs, path::Path, time::Duration};

use forerunner_e2e::{Call, Client, Service, Site, eventually, holds, is_alive};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// A service with one pool of the scripted agent that the driver is tested with.
async fn serve(site: &Site, agents: u32) -> Service {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/forerunner-agents/src/acp/tests/agent.py");
    let workspace = site.path("work");
    let text = format!(
        "http.listen = \"127.0.0.1:0\"\n[pools.coder]\nmin = {agents}\nmax = {agents}\n\
         policy = \"fixed:{agents}\"\n[pools.coder.agent]\nkind = \"acp\"\nargv = [\"python3\", \"-S\", {script:?}]\n\
         session_files = [\".fake/sessions/{{session}}.jsonl\"]\nworkspace = {workspace:?}\npermissions = \"ask\"\n"
    );
    fs::write(site.config(), text).expect("a fresh directory can be written to");
    site.serve().await
}

async fn turn(client: &Client, context: &str, prompt: &str) -> Value {
    let task = json!({ "input": prompt, "context": context });
    client.ask(Call::submit("coder", &task)).await.expect(202)
}

async fn says(client: &Client, context: &str, prompt: &str) -> String {
    let task = turn(client, context, prompt).await;
    let ended = client.ended(id(&task)).await;
    ended["output"]["text"].as_str().unwrap_or_else(|| panic!("{ended}")).to_owned()
}

fn id(task: &Value) -> &str {
    task["id"].as_str().expect("an id")
}

async fn waiting(client: &Client, task: &str) -> Value {
    eventually("the task waits for an answer", SOON, async || {
        let task = client.get(format!("/v1/tasks/{task}")).await;
        (task["state"] == "waiting").then_some(task)
    })
    .await
}

#[actix_rt::test]
async fn a_conversation_outlives_its_process_and_its_node() {
    let site = Site::new();
    let service = serve(&site, 2).await;
    let client = service.client();
    assert_eq!(says(&client, "chat", "@@ say alpha").await, "pong alpha");
    let died = turn(&client, "chat", "@@ die").await;
    client.ask(Call::new("POST", format!("/v1/tasks/{}:cancel", id(&died)))).await;
    client.ended(id(&died)).await;
    assert!(says(&client, "chat", "@@ recall").await.contains("alpha"), "its process has ended");
    service.kill();
    let service = serve(&site, 2).await;
    let client = service.client();
    let heard = says(&client, "chat", "@@ recall").await;
    assert!(heard.starts_with("heard: @@ say alpha"), "another node has its session: {heard}");
    let pids: Vec<u32> = client.get("/v1/pools/coder/agents").await["agents"]
        .as_array()
        .expect("agents")
        .iter()
        .filter_map(|agent| u32::try_from(agent["pid"].as_u64()?).ok())
        .collect();
    assert_eq!(service.stop(SOON).await, 0);
    eventually("no agent is left", SOON, async || holds(!pids.iter().any(|pid| is_alive(*pid)))).await;
}

#[actix_rt::test]
async fn a_question_outlives_its_node_and_is_answered_once() {
    let site = Site::new();
    let service = serve(&site, 1).await;
    let client = service.client();
    says(&client, "chat", "@@ say alpha").await;
    let (held, parked) = (turn(&client, "chat", "@@ ask one").await, turn(&client, "more", "@@ ask two").await);
    let asks = waiting(&client, id(&held)).await;
    assert_eq!((&asks["requests"][0]["prompt"], &asks["requests"][0]["id"]), (&json!("one"), &json!("r1")));
    waiting(&client, id(&parked)).await;
    assert_eq!(says(&client, "other", "@@ say beta").await, "pong beta", "the only agent is free");
    let pool = client.get("/v1/pools/coder").await;
    assert_eq!((&pool["depth"], &pool["running"]), (&json!(0), &json!(0)), "{pool}");
    let answer = |task: &Value, answer: &str| {
        let body = json!({ "request": "r1", "answer": answer });
        Call::new("POST", format!("/v1/tasks/{}:answer", id(task))).json(&body)
    };
    client.ask(answer(&held, "maybe")).await.expect(422);
    client.ask(answer(&held, "allow")).await.expect(202);
    assert_eq!(client.ended(id(&held)).await["output"]["text"], "choice yes");
    client.ask(answer(&held, "allow")).await.expect(200);
    client.ask(answer(&held, "reject")).await.expect(409);
    service.kill();
    let service = serve(&site, 1).await;
    let client = service.client();
    client.ask(answer(&parked, "reject")).await.expect(202);
    assert_eq!(client.ended(id(&parked)).await["output"]["text"], "choice no");
    let heard = says(&client, "chat", "@@ recall").await;
    assert!(heard.contains("alpha") && heard.contains("choice yes"), "{heard}");
    assert_eq!(service.stop(SOON).await, 0);
}
