//! Tenants that share a node, its pools and its agents: nothing of one reaches another.

use std::{fs, time::Duration};

use forerunner_e2e::{Call, Client, Nodes, PgServer, Pool, Site};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// What an agent runs that looks for the marks of others, and leaves its own: in its memory and in its directory.
fn looking(tenant: &str) -> String {
    format!(
        "import os, sys\n\
         sys.marks = getattr(sys, 'marks', [])\n\
         files = sorted(name for name in os.listdir('.') if name.startswith('mark-'))\n\
         sys.marks.append('{tenant}')\n\
         open('mark-{tenant}', 'w').close()\n\
         out = {{'marks': sys.marks, 'files': files}}"
    )
}

fn with_key(call: Call, key: &str) -> Call {
    call.header("Authorization", format!("Bearer {key}"))
}

/// Starts a service with keys, and returns the first one.
async fn first_key(site: &Site) -> (String, String) {
    let file = site.path("first.key").display().to_string();
    let made = ["key", "generate", "bootstrap", "--role", "admin", "--out", &file];
    let _ = site.program().run(made).await.ended(0);
    let key = fs::read_to_string(&file).expect("a key").trim().to_owned();
    (key, format!("auth.mode = \"keys\"\nauth.bootstrap_key_file = \"{file}\""))
}

async fn key_of(client: &Client, root: &str, tenant: &str) -> String {
    let body = json!({ "name": format!("{tenant}-app"), "role": "submit", "tenant": tenant });
    let made = client.ask(with_key(Call::new("POST", "/v1/keys").json(&body), root)).await.expect(201);
    made["secret"].as_str().expect("a key").to_owned()
}

/// Has agents look for marks, a task of each tenant after the other, in contexts of the same names.
async fn look_for_marks(clients: &[Client], keys: &[(String, String)], tasks: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for number in 0..tasks {
        let (tenant, key) = &keys[number % keys.len()];
        let mut task = json!({ "input": looking(tenant) });
        if number % 2 == 0 {
            task["context"] = "chat".into();
        }
        let client = &clients[number % clients.len()];
        let submitted = client.ask(with_key(Call::submit("work", &task), key).wait(60)).await.expect(200);
        let output = &submitted["output"];
        let marks = output["marks"].as_array().expect("marks").iter().map(|mark| mark.as_str().unwrap_or_default());
        assert!(marks.clone().all(|mark| mark == tenant), "{tenant} found {output}");
        let files = output["files"].as_array().expect("files");
        assert!(files.iter().all(|file| file == &format!("mark-{tenant}")), "{tenant} found {output}");
        assert_eq!(submitted["tenant"], **tenant);
        found.push(output.clone());
    }
    found
}

#[actix_rt::test]
async fn agents_of_a_shared_pool_find_nothing_of_another_tenant() {
    let site = Site::new();
    let (root, lines) = first_key(&site).await;
    let site = site.with(&lines, &[Pool::python("work").fixed(2)]);
    let service = site.serve().await;
    let client = service.client();
    let mut keys = Vec::new();
    for tenant in ["acme", "bolt", "cube"] {
        keys.push((tenant.to_owned(), key_of(&client, &root, tenant).await));
    }
    let clients = [client];
    look_for_marks(&clients, &keys, 24).await;
    // The check can fail: an agent that serves the same tenant again finds its own marks.
    let again = look_for_marks(&clients, &keys[..1], 6).await;
    assert!(again.iter().any(|output| output["marks"].as_array().is_some_and(|marks| marks.len() > 1)), "{again:?}");
    let metrics = clients[0].ask(with_key(Call::get("/metrics"), &root)).await.body.to_string();
    assert!(metrics.contains("forerunner_agents_renewed_total"), "three tenants share two agents");

    let server = service.address().to_owned();
    let run = async |arguments: &[&str], key: &str, code: i32| {
        let line = arguments.iter().copied().chain(["--server", &server, "--output", "json"]);
        site.program().env("FORERUNNER_TOKEN", key).run(line).await.ended(code)
    };
    let of = |listed: &Value| {
        let tasks = listed["tasks"].as_array().expect("tasks").clone();
        tasks.iter().map(|task| task["tenant"].as_str().unwrap_or("default").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(&run(&["task", "list", "--limit", "100"], &root, 0).await.json()).len(), 24 + 6);
    assert_eq!(of(&run(&["task", "list", "--tenant", "acme"], &root, 0).await.json()), ["acme"; 8 + 6]);
    assert_eq!(of(&run(&["task", "list"], &keys[1].1, 0).await.json()), ["bolt"; 8]);
    let refused = run(&["task", "list", "--tenant", "acme"], &keys[1].1, 1).await;
    assert!(refused.stderr.contains("belongs to tenant `bolt`"), "{}", refused.stderr);
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn nodes_on_one_database_divide_tenants_as_one_does() {
    let (server, site) = (PgServer::start(false), Site::new());
    let (root, lines) = first_key(&site).await;
    let nodes = Nodes::start(&server.database(), 2, &lines, |_| vec![Pool::python("work").fixed(2)]).await;
    let clients = nodes.clients();
    let mut keys = Vec::new();
    for tenant in ["acme", "bolt"] {
        keys.push((tenant.to_owned(), key_of(&clients[0], &root, tenant).await));
    }
    // The other node reads its keys every 2 s.
    tokio::time::sleep(Duration::from_secs(5)).await;
    look_for_marks(&clients, &keys, 12).await;
    for (tenant, key) in &keys {
        let listed = clients[1].ask(with_key(Call::get("/v1/tasks?limit=100"), key)).await.expect(200);
        let tasks = listed["tasks"].as_array().expect("tasks");
        assert!(tasks.len() == 6 && tasks.iter().all(|task| task["tenant"] == **tenant), "{listed}");
        let context = clients[1].ask(with_key(Call::get("/v1/tasks?context=chat&limit=100"), key)).await.expect(200);
        assert!(context["tasks"].as_array().is_some_and(|tasks| tasks.iter().all(|task| task["tenant"] == **tenant)));
    }
}
