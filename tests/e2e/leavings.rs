//! What agents leave behind, and what they can do to their node.

use std::{fs, time::Duration};

use forerunner_e2e::{Call, Client, Pool, Site, eventually, holds, is_alive};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn run(client: &Client, code: &str) -> Value {
    let done = client.ask(Call::submit("work", &json!({ "input": code })).wait(30)).await.expect(200);
    assert_eq!(done["state"], "succeeded", "{done}");
    done["output"].clone()
}

/// Starts a daemon in the usual way, and leaves a file in the agent's directory.
const DAEMON: &str = r#"
import os
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    child = os.fork()
    if child == 0:
        for descriptor in range(3):
            os.close(descriptor)
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os.write(writing, str(child).encode())
    os._exit(0)
os.wait()
open("left", "w").write("x")
out = int(os.read(reading, 20))
"#;

async fn daemon(client: &Client) -> u32 {
    let pid = run(client, DAEMON).await.as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id");
    assert!(is_alive(pid));
    pid
}

#[actix_rt::test]
async fn what_agents_left_ends_with_their_node_or_at_the_next_start_if_the_node_was_killed() {
    let site = Site::new().with("", &[Pool::python("work").fixed(1)]);
    let temporary = site.path("tmp");
    fs::create_dir(&temporary).expect("a fresh directory can be written to");
    let variable = format!("TMPDIR={}", temporary.display());
    let left =
        || fs::read_dir(&temporary).expect("it is there").flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();

    let service = site.serve_under(&["env", &variable]).await;
    let orphan = daemon(&service.client()).await;
    let of_killed = left();
    service.kill();
    assert_eq!((is_alive(orphan), of_killed.len()), (true, 1), "nobody is there to end it");

    let service = site.serve_under(&["env", &variable]).await;
    let other = daemon(&service.client()).await;
    eventually("what was left is gone", SOON, async || {
        holds(!is_alive(orphan) && left().iter().all(|name| !of_killed.contains(name)))
    })
    .await;
    assert!(is_alive(other), "what belongs to a living agent goes on");
    assert_eq!(service.stop(SOON).await, 0);
    assert_eq!((is_alive(other), left().len()), (false, 0));
}

#[actix_rt::test]
async fn agents_of_the_nodes_own_user_cannot_read_its_environment_or_memory() {
    let site = Site::new().with("", &[Pool::python("work").fixed(1)]);
    // Root may read everything, unless it is an ordinary user but for its name.
    let no_tracing = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let is_root = rustix::process::geteuid().is_root();
    let service = site.serve_under(if is_root { &no_tracing } else { &[] }).await;
    let code = r#"
import os
def read(name):
    try:
        with open(f"/proc/{name}/environ", "rb") as environment:
            return b"PATH=" in environment.read()
    except PermissionError:
        return False
def open_memory():
    try:
        open(f"/proc/{os.getppid()}/mem", "rb+").close()
        return True
    except PermissionError:
        return False
out = [read(os.getppid()), open_memory(), read("self")]
"#;
    assert_eq!(run(&service.client(), code).await, json!([false, false, true]));
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_missing_directory_for_temporary_files_is_named() {
    let site = Site::new().with("log.level = \"warn\"", &[Pool::python("work").fixed(1)]);
    let service = site.serve_under(&["env", "TMPDIR=/no/such/directory"]).await;
    let client = service.client();
    eventually("the pool names it", SOON, async || {
        let pool = client.get("/v1/pools/work").await;
        let reason = pool["reason"].as_str().unwrap_or_default().to_owned();
        let log = fs::read_to_string(site.path("log")).unwrap_or_default();
        holds((reason + &log).contains("/no/such/directory (TMPDIR"))
    })
    .await;
    assert_eq!(service.stop(SOON).await, 0);
}
