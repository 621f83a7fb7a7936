//! Stops of agents: by request, by signal, by force; and nothing remains.

use super::*;
use forerunner_runtime::agent::DriverFactory;

/// Starts a grandchild and writes both process ids to its notes, before and after it is warm.
const FAMILY: &str = r#"
import subprocess
child = subprocess.Popen(["sleep", "1000"])
with open(os.environ["NOTES"], "w") as notes:
    notes.write("%d\n%d\n" % (os.getpid(), child.pid))
"#;

async fn family(rig: &Rig) -> Vec<u32> {
    eventually("the grandchild is there", || rig.read_notes().len() == 2).await;
    rig.read_notes().iter().map(|line| line.parse().unwrap()).collect()
}

async fn assert_gone(pids: &[u32]) {
    eventually("the agent was reaped", || !exists(pids[0])).await;
    eventually("the grandchild is gone", || !runs(pids[1])).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_is_asked_to_stop_may_tidy_up() {
    let rig =
        Rig::python("hello()\nserve(echo)\ntime.sleep(0.2)\nopen(os.environ['NOTES'], 'w').write('tidy')").with_notes();
    let driver = rig.start().await;
    let pid = driver.pid().unwrap();
    stop(driver).await;
    assert!(!exists(pid));
    assert_eq!(rig.read_notes(), ["tidy"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_does_not_listen_is_told_by_a_signal() {
    let rig = Rig::python(
        r#"
def told(*_):
    open(os.environ["NOTES"], "w").write("told")
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
hello()
time.sleep(1000)
"#,
    )
    .with_notes()
    .with(|spec| spec.stop_grace = Duration::from_secs(2));
    stop(rig.start().await).await;
    assert_eq!(rig.read_notes(), ["told"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_minds_nothing_is_killed_with_its_family() {
    let rig =
        Rig::python(&format!("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FAMILY}\nhello()\ntime.sleep(1000)"));
    let rig = rig.with_notes().with(|spec| spec.stop_grace = Duration::from_millis(400));
    let driver = rig.start().await;
    let pids = family(&rig).await;
    let begin = Instant::now();
    stop(driver).await;
    assert!((Duration::from_millis(400)..Duration::from_secs(3)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    assert!(!exists(pids[0]));
    assert_gone(&pids).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_grandchild_does_not_outlive_a_polite_agent() {
    let rig = Rig::python(&format!("{FAMILY}\nhello()\nserve(echo)")).with_notes();
    let driver = rig.start().await;
    let pids = family(&rig).await;
    stop(driver).await;
    assert_gone(&pids).await;
}

#[tokio::test(flavor = "current_thread")]
async fn dropping_a_driver_kills_the_whole_family() {
    let rig = Rig::python(&format!("{FAMILY}\nhello()\nserve(echo)")).with_notes();
    let driver = rig.start().await;
    let pids = family(&rig).await;
    assert!(runs(pids[0]) && runs(pids[1]));
    drop(driver);
    assert_gone(&pids).await;
}

#[tokio::test(flavor = "current_thread")]
async fn dropping_a_start_kills_the_whole_family() {
    let rig = Rig::python(&format!("{FAMILY}\ntime.sleep(1000)")).with_notes();
    let pids = tokio::select! {
        _ = rig.launch() => panic!("it never gets warm"),
        pids = family(&rig) => pids,
    };
    assert_gone(&pids).await;
}

#[tokio::test(flavor = "current_thread")]
async fn dropping_a_task_leaves_a_driver_that_can_be_stopped() {
    let rig = Rig::python("hello()\nreceive()\ntime.sleep(1000)");
    let mut driver = rig.start().await;
    assert!(timeout(Duration::from_millis(100), run(&mut driver, "1")).await.is_err());
    let begin = Instant::now();
    let pid = driver.pid().unwrap();
    stop(driver).await;
    assert!(!exists(pid));
    assert!(begin.elapsed() < Duration::from_secs(2), "a busy agent is told by a signal at once");
}

#[tokio::test(flavor = "current_thread")]
async fn fifty_agents_leave_nothing_behind() {
    let rig = Rig::python("hello()\nserve(echo)");
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    for round in 0..50 {
        let mut driver = rig.start().await;
        let pid = driver.pid().unwrap();
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(run(&mut driver, "1").await.unwrap(), "1");
        if round % 2 == 0 {
            stop(driver).await;
            assert!(!exists(pid), "a zombie was left");
        } else {
            drop(driver);
        }
        eventually("no zombie is left", || !exists(pid)).await;
        eventually("its directory is gone", || !cwd.exists()).await;
    }
    // Other tests open files meanwhile, but not hundreds.
    assert!(open_files() < before + 200, "{before} open files became {}", open_files());
}

#[test]
fn an_agent_lives_on_an_arbiter() {
    let rig = Rig::python("hello()\nserve(echo)");
    let factory = ProcessFactory::new(rig.spec.clone()).unwrap();
    assert_eq!(factory.kind(), "process");
    actix_rt::System::new().block_on(async move {
        let done = actix_rt::spawn(async move {
            let mut driver = factory.start(start_request()).await.unwrap();
            assert!(driver.can_die());
            let attempt = attempt("[1]");
            let output = driver.run(&attempt, &mut no_context(&attempt)).await.unwrap();
            let idle = timeout(Duration::from_millis(50), driver.died()).await;
            assert!(idle.is_err(), "{idle:?}");
            let again = driver.run(&attempt, &mut no_context(&attempt)).await.unwrap();
            driver.stop(Duration::from_secs(5)).await;
            (output, again)
        });
        let (output, again) = done.await.unwrap();
        assert_eq!((output.as_str(), again.as_str()), ("[1]", "[1]"));
    });
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_minds_the_newer_protocol_is_asked_with_the_older_one() {
    let rig = Rig::python(
        r#"
request = receive()
assert request["params"]["oldest_protocol"] == 1, request
refuse(request, -32602, "protocol %(protocol)s is not known" % request["params"])
assert hello()["protocol"] == 1
serve(echo)
"#,
    );
    let mut driver = rig.start().await;
    assert_eq!((driver.info().protocol, run(&mut driver, "1").await.unwrap().as_str()), (1, "1"));
    stop(driver).await;
}
