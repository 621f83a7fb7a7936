//! Agents that speak ACP, under the program: a conversation outlives its process and its node, and so does a question.

use std::{fs, path::Path, time::Duration};

use forerunner_e2e::{Browser, Call, Client, Service, Site, eventually, holds, is_alive};
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
    client.ask(answer(&held, "maybe")).await.expect(400);
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

#[actix_rt::test]
async fn a_question_is_answered_on_the_dashboard() {
    let site = Site::new();
    let service = serve(&site, 1).await;
    let client = service.client();
    let task = turn(&client, "chat", "@@ ask <b>rm</b> -r build").await;
    waiting(&client, id(&task)).await;
    let mut browser = Browser::start(1280, 800).await;
    browser.open(service.address()).await;
    browser.until("document.querySelector('#questions').innerText.includes('<b>rm</b> -r build')", SOON).await;
    assert!(!browser.evaluate("document.querySelector('#questions-card').hidden").await.as_bool().unwrap_or(true));
    let press =
        "[...document.querySelectorAll('#questions button')].find((button) => button.innerText === 'no').click()";
    browser.evaluate(press).await;
    assert_eq!(client.ended(id(&task)).await["output"]["text"], "choice no");
    browser.until("document.querySelector('#questions-card').hidden", SOON).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[actix_rt::test]
async fn a_cancelled_question_is_closed_in_its_process() {
    let site = Site::new();
    let service = serve(&site, 1).await;
    let client = service.client();
    let task = turn(&client, "chat", "@@ ask rm").await;
    waiting(&client, id(&task)).await;
    let directories = async |count: usize| {
        eventually("the working directories are those of open sessions", SOON, async || {
            holds(fs::read_dir(site.path("work").join("coder")).is_ok_and(|found| found.count() == count))
        })
        .await;
    };
    // That of the conversation, and that of the session in advance.
    directories(2).await;
    client.ask(Call::new("POST", format!("/v1/tasks/{}:cancel", id(&task)))).await;
    assert_eq!(client.ended(id(&task)).await["state"], "cancelled");
    // The conversation never began, so its directory goes with the question.
    directories(1).await;
    assert_eq!(says(&client, "chat", "@@ say on").await, "pong on");
    directories(2).await;
    client.ask(Call::new("DELETE", "/v1/contexts/chat?pool=coder")).await.expect(204);
    directories(1).await;
    assert_eq!(service.stop(SOON).await, 0);
}
