//! What `docs/deploy` tells people to run does what it says.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use forerunner_e2e::{Site, binary};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(150);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy")
}

/// Ports that are free now, all at once so that they differ.
fn free_ports<const N: usize>() -> [String; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("there is a free port"));
    listeners.map(|listener| listener.local_addr().expect("a listener has an address").port().to_string())
}

#[actix_rt::test]
async fn two_nodes_behind_haproxy_are_restarted_one_after_the_other_and_no_task_fails() {
    let names = ["HTTP_PORT", "NODE1_PORT", "NODE2_PORT", "STATE_PORT", "PG_PORT"];
    let mut script = Command::new(directory().join("two-nodes/run.sh"));
    script.env("FORERUNNER", binary()).envs(names.into_iter().zip(free_ports::<5>())).stdin(Stdio::null());
    let output = tokio::time::timeout(LIMIT, script.kill_on_drop(true).output()).await;
    let output = output.expect("the script comes to its end").expect("it can be started");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    for node in [1, 2] {
        assert!(told.contains(&format!("node {node}: stopped cleanly")), "{told}");
    }
    println!("{}", told.lines().last().unwrap_or_default());
}

#[actix_rt::test]
async fn the_configurations_of_the_examples_would_run() {
    let site = Site::new();
    for name in ["two-nodes/forerunner.toml", "kubernetes/forerunner.toml", "systemd/forerunner.toml"] {
        let file = directory().join(name);
        let _ = site.program().run(["config".into(), "check".into(), file.into_os_string()]).await.ended(0);
    }
}
