//! A pool whose agents are permits for requests to a model.

use std::{fs, time::Duration};

use forerunner_e2e::{Call, ModelServer, Site, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

#[actix_rt::test]
async fn a_conversation_with_a_model_outlives_an_outage_and_the_node() {
    let site = Site::new();
    let model = ModelServer::start("e2e/model_server.py", site.directory()).await;
    let base_url = format!("{}/v1", model.address());
    fs::write(site.path("key"), "s3cret\n").expect("a file");
    let pool = format!(
        "[pools.chat]\nmin = 2\nmax = 4\nagent = {{ kind = \"openai\", base_url = {base_url:?}, model = \"m\", \
         api_key_file = {:?} }}\n",
        site.path("key")
    );
    let site = site.with(&pool, &[]);
    let service = site.serve().await;
    let client = service.client();
    let say = |text: &str| json!({ "input": text, "context": "chat-1" });
    let turn = async |client: &forerunner_e2e::Client, text: &str| -> Value {
        client.ask(Call::submit("chat", &say(text)).wait(50)).await.expect(200)
    };
    assert_eq!(turn(&client, "red").await["output"]["text"], "red;");
    let second = turn(&client, "green").await;
    assert_eq!(second["output"]["text"], "red;green;");
    assert_eq!(second["output"]["usage"]["input_tokens"], 2);

    // While the model is down tasks wait, and none fails.
    fs::write(site.path("down"), "").expect("a file");
    let mut waiting = Vec::new();
    for number in 0..20 {
        waiting.push(client.submit("chat", json!(format!("number {number}"))).await);
    }
    let delayed = client.ask(Call::submit("chat", &say("blue"))).await.expect(202);
    eventually("the circuit opens", SOON, async || {
        holds(client.get("/v1/pools/chat").await["dependency"]["state"] != "closed")
    })
    .await;
    fs::remove_file(site.path("down")).expect("the file");
    for task in &waiting {
        assert_eq!(client.ended(task).await["state"], "succeeded");
    }
    let blue = client.ended(delayed["id"].as_str().expect("an id")).await;
    assert_eq!(blue["output"]["text"], "red;green;blue;");

    assert_eq!(service.stop(SOON).await, 0);
    let service = site.serve().await;
    assert_eq!(turn(&service.client(), "white").await["output"]["text"], "red;green;blue;white;");
    let agents = service.client().get("/v1/pools/chat/agents").await.to_string();
    assert!(!agents.contains("s3cret"), "{agents}");
    assert_eq!(service.stop(SOON).await, 0);
}
