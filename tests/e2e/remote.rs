//! Agents that dial in from elsewhere, with the package for Python.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use forerunner_e2e::{Call, Client, Proxy, Service, Signal, Site, eventually, holds, send};
use serde_json::{Value, json};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(120);

/// A process with remote agents. Dropping it kills them.
struct Agents(Child);

impl Agents {
    fn dial(site: &Site, server: &str, count: usize) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/forerunner-python/src");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/remote_agent.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).arg("gpu").arg(site.path("ran")).arg(count.to_string());
        command.env("PYTHONPATH", sources).env("FORERUNNER_SERVER", server);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("python3 is there"))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn serve(agents: usize) -> (Site, Service) {
    let pool =
        format!("[pools.gpu]\nmin = {agents}\nmax = {agents}\npolicy = \"fixed:{agents}\"\nagent.kind = \"remote\"\n");
    let site = Site::new().with(&pool, &[]);
    let service = site.serve().await;
    (site, service)
}

async fn until_ready(client: &Client, agents: u64) {
    eventually("the agents are ready", SOON, async || {
        let pool = client.get("/v1/pools/gpu").await;
        holds(pool["agents"]["ready"].as_u64().unwrap_or(0) + pool["agents"]["busy"].as_u64().unwrap_or(0) == agents)
    })
    .await;
}

/// Another system that runs agents, as the pool's provisioner asks it to. Dropping it stops them.
struct Fleet(PathBuf);

impl Fleet {
    /// A service whose pool has this provisioner. The system is away.
    async fn serve(agents: usize) -> (Site, Service, Self) {
        let site = Site::new();
        let directory = site.directory().to_owned();
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/forerunner-python/src");
        symlink(package.canonicalize().expect("the package is there"), directory.join("package")).expect("a link");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/fleet.py");
        let pool = format!(
            "[pools.gpu]\nmin = 0\nmax = {agents}\npolicy = \"fixed:{agents}\"\nagent.kind = \"remote\"\n\
             [pools.gpu.agent.provisioner]\nscale_down_delay = \"1s\"\n\
             argv = [\"python3\", {script:?}, {directory:?}, \"{{agents}}\"]\n"
        );
        let site = site.with(&pool, &[]);
        let service = site.serve().await;
        (site, service, Self(directory))
    }

    fn comes_back(&self, server: &str) {
        fs::write(self.0.join("address"), server).expect("it can be written");
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.0.join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn pids(&self) -> Vec<u32> {
        let pids = fs::read_to_string(self.0.join("fleet")).unwrap_or_default();
        serde_json::from_str(&pids).unwrap_or_default()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for pid in self.pids() {
            send(pid, Signal::KILL);
        }
    }
}

/// Submits tasks, and returns them once all have ended.
async fn run(client: &Client, tasks: usize, input: Value) -> Vec<Value> {
    let inputs: Vec<Value> = (0..tasks).map(|_| json!({ "input": input })).collect();
    let batch = Call::new("POST", "/v1/pools/gpu/tasks:batch").json(&json!({ "tasks": inputs }));
    let ids: Vec<String> = client.ask(batch).await.expect(200)["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|result| result["task"]["id"].as_str().expect("an id").to_owned())
        .collect();
    let mut ended = Vec::new();
    for id in ids {
        ended.push(client.ended(&id).await);
    }
    ended
}

fn assert_once(site: &Site, ended: &[Value]) {
    for task in ended {
        assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "{task}");
    }
    let ran = fs::read_to_string(site.path("ran")).expect("the agents wrote it");
    let distinct: BTreeSet<&str> = ran.lines().collect();
    assert_eq!((ran.lines().count(), distinct.len()), (ended.len(), ended.len()), "nothing lost, nothing twice");
}

#[actix_rt::test]
async fn a_connection_that_breaks_every_two_seconds_loses_nothing() {
    let (site, service) = serve(4).await;
    let address = service.address().trim_start_matches("http://").parse().expect("an address");
    let proxy = Proxy::to(address).await;
    let server = format!("http://{}", proxy.address());
    let _agents: Vec<Agents> = (0..4).map(|_| Agents::dial(&site, &server, 1)).collect();
    let client = service.client();
    until_ready(&client, 4).await;
    let before = proxy.connections();
    let cutting = async {
        loop {
            sleep(Duration::from_secs(2)).await;
            proxy.cut();
            sleep(Duration::from_millis(100)).await;
            proxy.resume();
        }
    };
    let ended = tokio::select! {
        ended = run(&client, 200, json!({ "seconds": 0.25 })) => ended,
        () = cutting => unreachable!("it goes on for ever"),
    };
    assert!(proxy.connections() >= before + 12, "{} connections", proxy.connections());
    assert_once(&site, &ended);
    let id = ended[0]["id"].as_str().expect("an id");
    let log = client.get(format!("/v1/tasks/{id}/logs")).await;
    assert_eq!(log["lines"][0]["text"], "runs {'seconds': 0.25}", "{log}");
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn two_hundred_remote_agents_serve_one_node() {
    let (site, service) = serve(200).await;
    let _agents = Agents::dial(&site, service.address(), 200);
    let client = service.client();
    until_ready(&client, 200).await;
    assert_once(&site, &run(&client, 1_000, json!({})).await);
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn an_agent_that_is_asked_to_end_finishes_its_task_and_another_takes_over() {
    let (site, service) = serve(1).await;
    let client = service.client();
    let mut first = Agents::dial(&site, service.address(), 1);
    until_ready(&client, 1).await;
    let long = client.submit("gpu", json!({ "seconds": 1.5 })).await;
    let path = format!("/v1/tasks/{long}");
    eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
    assert!(send(first.0.id(), Signal::TERM));
    let ended = client.ended(&long).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)), "{ended}");
    eventually("it ends by itself", SOON, async || first.0.try_wait().expect("a child").map(|_| ())).await;
    let _second = Agents::dial(&site, service.address(), 1);
    let next = client.submit("gpu", json!({})).await;
    assert_eq!(client.ended(&next).await["state"], "succeeded");
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_provisioner_starts_and_stops_the_agents_that_the_pool_wants() {
    let (site, service, fleet) = Fleet::serve(3).await;
    let client = service.client();
    // The system that runs agents is away: the node says so, and tries again.
    eventually("the failures are counted", SOON, async || {
        holds(client.metric("forerunner_provisioner_failures").await >= 2.0)
    })
    .await;
    let waiting = client.submit("gpu", json!({})).await;
    fleet.comes_back(service.address());
    until_ready(&client, 3).await;
    assert_eq!(fleet.asked(), ["3"], "the number is asked for once");
    let first = fleet.pids();
    assert_eq!(client.ended(&waiting).await["state"], "succeeded");
    let patch = Call::new("PATCH", "/v1/pools/gpu").json(&json!({ "max": 1 }));
    client.ask(patch).await.expect(200);
    eventually("the pool wants fewer agents", SOON, async || holds(fleet.asked() == ["3", "1"])).await;
    let mut ended = vec![client.get(format!("/v1/tasks/{waiting}")).await];
    ended.extend(run(&client, 20, json!({ "seconds": 0.05 })).await);
    assert_once(&site, &ended);
    let stays = fleet.pids();
    assert_eq!((stays.len(), stays[0]), (1, first[0]));
    eventually("the others have left", SOON, async || holds(first[1..].iter().all(|pid| !is_running(*pid)))).await;
    assert_eq!(client.metric("forerunner_provisioner_failures").await, 0.0);
    assert_eq!(client.metric("forerunner_provisioner_agents").await, 1.0);
    assert_eq!(service.stop(SOON).await, 0);
}
