//! A node whose system provides too few threads, processes or files; and many agents at once.

use std::{fs, process::Command, time::Duration};

use forerunner_e2e::{Call, Client, Pool, Service, Signal, Site, count, eventually, holds, send};
use rustix::process::{Resource, geteuid, getrlimit};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const SOON: Duration = Duration::from_secs(60);
const WHAT_IF: &str = "/v1/pools/work/what-if";
/// The limit of processes does not apply to root. This user is root in every other respect.
const NOT_ROOT: [&str; 7] = [
    "setpriv",
    "--reuid=54329",
    "--regid=54329",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--",
];
/// An agent that starts in a moment and answers every call alike.
const SMALL_AGENT: &str = r#"
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

fn log(site: &Site) -> String {
    fs::read_to_string(site.path("log")).unwrap_or_default()
}

async fn run(client: &Client, code: &str) -> Value {
    let task = json!({ "input": code, "max_attempts": 1 });
    client.ask(Call::submit("work", &task).wait(50)).await.expect(200)
}

/// The processes of the agents that are ready.
async fn agents(client: &Client) -> Vec<u32> {
    let answer = client.get("/v1/pools/work/agents").await;
    let ready = |agent: &&Value| agent["state"] == "ready";
    let pid = |agent: &Value| agent["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    answer["agents"].as_array().expect("a list").iter().filter(ready).filter_map(pid).collect()
}

async fn until_ready(client: &Client, agents_wanted: usize) {
    eventually("the agents are ready", SOON, async || holds(agents(client).await.len() == agents_wanted)).await;
}

/// Limits how many processes and threads there may be of the service's user for it to add another one; `None` lifts the
/// limit. Root may not do it to others everywhere, so the user of the service does it.
fn limit_processes(service: &Service, wrapper: &[&str], count: Option<u64>) {
    let most = count.or(getrlimit(Resource::Nproc).maximum).map_or("unlimited".to_owned(), |count| count.to_string());
    let limit = ["prlimit".to_owned(), format!("--pid={}", service.pid()), format!("--nproc={most}:")];
    let mut line = wrapper.iter().map(|word| (*word).to_owned()).chain(limit);
    let done = Command::new(line.next().unwrap_or_default()).args(line).status();
    assert!(done.is_ok_and(|status| status.success()), "its limit of processes becomes {most}");
}

async fn stop(service: Service, site: &Site) {
    assert_eq!(service.stop(SOON).await, 0);
    assert!(!log(site).contains("panicked"), "{}", log(site));
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn where_no_thread_can_be_had_calls_are_answered_and_the_agents_that_are_there_go_on() {
    let site = Site::new().with("", &[Pool::python("work").fixed(2)]);
    let wrapper: &[&str] = if geteuid().is_root() { &NOT_ROOT } else { &[] };
    let service = site.serve_under(wrapper).await;
    let client = service.client();
    until_ready(&client, 2).await;
    assert_eq!(run(&client, "out = 1").await["output"], 1);
    client.ask(Call::get(WHAT_IF)).await.expect(200);

    // Fewer than it has: no thread and no process can be added.
    limit_processes(&service, wrapper, Some(1));
    let refused = client.ask(Call::get(WHAT_IF)).await;
    assert_eq!((refused.status, refused.problem()), (503, "overloaded"), "{refused:?}");
    assert_ne!(refused.header("retry-after"), "");
    assert!(refused.body["detail"].as_str().is_some_and(|why| why.contains("limit of processes")), "{refused:?}");
    assert_eq!(run(&client, "import os\nos.kill(os.getpid(), 9)").await["state"], "dead");
    eventually("the node says why it cannot replace the agent", SOON, async || {
        holds(log(&site).contains("the system allows no more processes or threads"))
    })
    .await;
    for number in 0..20 {
        let done = run(&client, &format!("out = {number}")).await;
        assert_eq!((&done["state"], &done["output"]), (&json!("succeeded"), &json!(number)), "{done}");
    }
    assert_eq!(agents(&client).await.len(), 1);

    limit_processes(&service, wrapper, None);
    client.ask(Call::get(WHAT_IF)).await.expect(200);
    until_ready(&client, 2).await;
    stop(service, &site).await;
}

#[actix_rt::test]
async fn idle_connections_leave_files_to_agents_and_answers_to_monitors() {
    const FILES: u32 = 300;
    let site = Site::new().with("", &[Pool::python("work").fixed(4)]);
    let service = site.serve_under(&["sh", "-c", &format!("ulimit -n {FILES} && exec \"$@\""), "sh"]).await;
    let client = service.client();
    until_ready(&client, 4).await;
    let address = service.address().trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    for _ in 0..FILES + 50 {
        let Ok(mut stream) = TcpStream::connect(&address).await else { continue };
        let sent = stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await;
        idle.extend(sent.is_ok().then_some(stream));
    }
    assert!(idle.len() > FILES as usize / 2, "{} of the connections are there", idle.len());
    let before = agents(&client).await;
    for agent in &before {
        send(*agent, Signal::KILL);
    }
    eventually("four others are ready", SOON, async || {
        let now = agents(&client).await;
        holds(now.len() == 4 && now.iter().all(|agent| !before.contains(agent)))
    })
    .await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(client.ask(Call::get(path)).await.status, 200, "{path}");
    }
    assert_eq!(run(&client, "out = 1").await["output"], 1);
    for fault in ["no file descriptor left", "Too many open files", "os error 24"] {
        assert!(!log(&site).contains(fault), "{}", log(&site));
    }
    drop(idle);
    stop(service, &site).await;
}

#[actix_rt::test]
async fn many_agents_start_without_one_being_blamed_and_the_pool_answers_meanwhile() {
    let wanted = count(150, 2_000);
    let at_once = 16;
    let settings = format!("min = {wanted}\nmax = {wanted}\nmax_starting = {at_once}");
    let site = Site::new().with("", &[Pool::of("work", ["/bin/sh", "-c", SMALL_AGENT]).set(&settings)]);
    let service = site.serve().await;
    let client = service.client();
    let mut answers = 0;
    eventually("all agents are ready", SOON * 5, async || {
        let pool = client.get("/v1/pools/work").await;
        answers += 1;
        let starting = pool["agents"]["starting"].as_u64().expect("a number");
        assert!(starting <= at_once, "{starting} start at once: {pool}");
        assert_eq!(pool["state"], "running", "no start failed: {pool}");
        holds(pool["agents"]["ready"] == wanted)
    })
    .await;
    assert!(answers > 1, "the pool answered while the agents started");
    let failed = client.metric("forerunner_agent_failures_total").await;
    assert_eq!(failed, 0.0, "{}", log(&site));
    assert!(!log(&site).contains("did not read its standard input"), "{}", log(&site));
    stop(service, &site).await;
}
