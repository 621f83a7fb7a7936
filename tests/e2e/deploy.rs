//! The commands in `docs/deploy` work.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use forerunner_e2e::{Pool, Site, binary};
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

fn text_of(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The settings of the section `[Service]`, without comments.
fn settings_of(unit: &str) -> BTreeSet<String> {
    let text = text_of(unit);
    let section = text.split("[Service]").nth(1).and_then(|rest| rest.split("[Install]").next()).expect("a section");
    section.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_units_confine_agents_and_outlive_one_that_takes_all_memory() {
    let [one, several] = ["systemd/forerunner.service", "systemd/forerunner@.service"].map(settings_of);
    for setting in [
        "OOMPolicy=continue",
        "KillMode=mixed",
        "LimitNOFILE=65536",
        "TasksMax=4096",
        "NoNewPrivileges=yes",
        "PrivateUsers=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "SystemCallFilter=@system-service",
        "RemoveIPC=yes",
        "KeyringMode=private",
        "CapabilityBoundingSet=",
        "LoadCredential=forerunner.toml:/etc/forerunner/forerunner.toml",
    ] {
        assert!(one.contains(setting) && several.contains(setting), "{setting}");
    }
    let own = ["ExecStart=", "EnvironmentFile=", "StateDirectory=", "WorkingDirectory=", "MemoryHigh=", "MemoryMax="];
    let differing: Vec<&String> = one.symmetric_difference(&several).collect();
    assert_eq!(differing.len(), 2 * own.len(), "{differing:?}");
    for setting in differing {
        assert!(own.iter().any(|name| setting.starts_with(name)), "{setting} is in one of the units only");
    }
}

#[test]
fn the_container_and_the_pod_are_bounded_and_published_to_nobody() {
    let container = text_of("container/Containerfile");
    for part in [
        "-p 127.0.0.1:7077:7077",
        "--read-only",
        "--pids-limit",
        "--memory",
        "HEALTHCHECK",
        "USER 10001",
        "FROM ${BASE_IMAGE}",
        "FROM ${RUST_IMAGE}",
    ] {
        assert!(container.contains(part), "{part}");
    }
    for text in [container, text_of("README.md")] {
        assert!(!text.contains(" -p 7077:7077 ") || text.contains("`-p 7077:7077` would"), "a port for everybody");
    }
    let pod = text_of("kubernetes/deployment.yaml");
    for part in ["sizeLimit:", "readOnlyRootFilesystem: true", "memory: 2Gi", "automountServiceAccountToken: false"] {
        assert!(pod.contains(part), "{part}");
    }
    let policy = text_of("kubernetes/networkpolicy.yaml");
    for part in ["\"Ingress\", \"Egress\"", "prometheus", "169.254.0.0/16"] {
        assert!(policy.contains(part), "{part}");
    }
    assert!(text_of("kubernetes/namespace.yaml").contains("pod-security.kubernetes.io/enforce: restricted"));
}

/// The command of the container's health check.
fn health_check() -> Vec<String> {
    let text = text_of("container/Containerfile");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("CMD [\"bash\"")).expect("a health check");
    serde_json::from_str(&format!("[\"bash\"{line}")).expect("it is a JSON array, as in every container file")
}

#[actix_rt::test]
async fn the_health_check_of_the_container_asks_a_service_that_answers() {
    let site = Site::new().with("", &[Pool::builtin("work")]);
    let service = site.serve().await;
    let port = service.address().rsplit_once(':').expect("a port").1.to_owned();
    let [program, option, script] = health_check().try_into().expect("three words");
    let ask = async |port: &str| {
        let script = script.replace("/7077", &format!("/{port}"));
        let ended = Command::new(&program).args([&option, &script]).output();
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it ends").expect("bash is there").status
    };
    assert!(ask(&port).await.success(), "the service is well");
    assert_eq!(service.stop(LIMIT).await, 0);
    assert!(!ask(&port).await.success(), "nobody answers");
}
