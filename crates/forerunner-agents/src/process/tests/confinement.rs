//! What an agent inherits of the node, and what it does not.

use std::os::unix::fs::PermissionsExt;

use super::{super::DEFAULT_ENV_PASS, *};

/// An agent that answers with the value of the Python expression that is its input.
fn evaluator() -> Rig {
    Rig::python("hello()\nserve(lambda request: answer(request, {'output': eval(request['params']['input'])}))")
}

async fn eval(rig: &Rig, expression: &str) -> String {
    let mut driver = rig.start().await;
    let output = run(&mut driver, &serde_json::to_string(expression).unwrap()).await.unwrap();
    stop(driver).await;
    output
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_sees_only_the_environment_it_is_given() {
    // Cargo sets this variable for tests; it stands for a secret of the node.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let rig = evaluator().with(|spec| drop(spec.env.insert("MODEL".into(), "small".into())));
    let names = "[each.split('=')[0] for each in open('/proc/self/environ').read().split('\\0') if each]";
    let names: Vec<String> = serde_json::from_str(&eval(&rig, names).await).unwrap();
    assert!(names.contains(&"MODEL".into()) && names.contains(&"PATH".into()), "{names:?}");
    let allowed = |name: &String| name == "MODEL" || DEFAULT_ENV_PASS.contains(&name.as_str());
    assert!(names.iter().all(allowed), "{names:?}");

    let rig = evaluator().with(|spec| spec.env_pass.push("CARGO_MANIFEST_DIR".into()));
    assert!(eval(&rig, "os.environ['CARGO_MANIFEST_DIR']").await.contains("forerunner-agents"));
}

#[tokio::test(flavor = "current_thread")]
async fn limits_hold_in_the_agent() {
    let rig = evaluator().with(|spec| {
        spec.limits.address_space_bytes = Some(1 << 30);
        spec.limits.cpu_s = Some(100);
        spec.limits.open_files = Some(64);
        spec.limits.processes = Some(5_000);
    });
    let limits: String = serde_json::from_str(&eval(&rig, "open('/proc/self/limits').read()").await).unwrap();
    for (name, value) in [
        ("Max address space", "1073741824"),
        ("Max cpu time", "100"),
        ("Max open files", "64"),
        ("Max processes", "5000"),
        ("Max core file size", "0"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{line}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_takes_too_much_memory_fails_only_its_task() {
    let rig = evaluator().with(|spec| spec.limits.address_space_bytes = Some(512 << 20));
    let error = run_and_fail(&mut rig.start().await, r#""len(bytes(1 << 30))""#).await;
    assert_replaced(&error, ErrorKind::AgentLost, "MemoryError");
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_gains_no_privileges_and_leads_its_group() {
    let status = eval(&evaluator(), "open('/proc/self/status').read()").await;
    assert!(status.contains(r"NoNewPrivs:\t1\n"), "{status}");
    assert_eq!(eval(&evaluator(), "os.getpgrp() == os.getpid()").await, "true");
    // PR_GET_PDEATHSIG is 2.
    let signal = "(lambda c: (__import__('ctypes').CDLL(None).prctl(2, c.byref(n := c.c_int())), n.value))(__import__('ctypes'))[1]";
    assert_eq!(eval(&evaluator(), signal).await, "9");
    // Nothing of the node is open in the agent: only three pipes, and the directory that it lists.
    assert_eq!(eval(&evaluator(), "len(os.listdir('/proc/self/fd'))").await, "4");
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_has_a_directory_of_its_own_or_the_one_it_is_given() {
    let mut driver = evaluator().start().await;
    let cwd: String = serde_json::from_str(&run(&mut driver, "\"os.getcwd()\"").await.unwrap()).unwrap();
    assert_eq!(fs::metadata(&cwd).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(run(&mut driver, "\"os.listdir() + [open('left', 'w').write('1')]\"").await.unwrap(), "[1]");
    stop(driver).await;
    eventually("the directory is removed", || !fs::exists(&cwd).unwrap()).await;

    let home = tempfile::tempdir().unwrap();
    let rig = evaluator().with(|spec| spec.cwd = Some(home.path().to_owned()));
    let cwd: String = serde_json::from_str(&eval(&rig, "os.getcwd()").await).unwrap();
    assert_eq!(fs::canonicalize(cwd).unwrap(), fs::canonicalize(home.path()).unwrap());
    assert!(home.path().exists());
}

#[tokio::test(flavor = "current_thread")]
async fn no_agent_outlives_the_runtime_that_drives_it() {
    let rig = Rig::python("hello()\ntime.sleep(1000)");
    let rig = rig.with(|spec| spec.cwd = Some(std::env::temp_dir()));
    let spec = rig.spec.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let driver = runtime.block_on(ProcessFactory::new(spec).unwrap().launch(start_request())).unwrap();
        let pid = driver.pid().unwrap();
        runtime.spawn(async move {
            let _driver = driver;
            std::future::pending::<()>().await;
        });
        pid
    });
    let pid = thread.join().unwrap();
    eventually("it was killed", || !runs(pid)).await;
}
