//! What agents leave behind: processes that tried to escape, and directories of any shape.

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// An agent that starts processes in every way that leaves its process group, and answers with their numbers.
const ESCAPES: &str = r#"
import subprocess
def nap():
    for descriptor in range(3):
        os.close(descriptor)
    os.execve("/bin/sleep", ["sleep", "1000"], {})
def daemon():
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            os.chdir("/")
            nap()
        os.write(writing, str(child).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))
def forked(leave):
    child = os.fork()
    if child == 0:
        leave()
        nap()
    return child
hello()
serve(lambda request: answer(request, {"output": [forked(os.setsid), forked(lambda: os.setpgid(0, 0)), daemon()]}))
"#;

async fn escaped(driver: &mut ProcessDriver) -> Vec<u32> {
    let escaped: Vec<u32> = serde_json::from_str(&run(driver, "1").await.unwrap()).unwrap();
    assert!(escaped.len() == 3 && escaped.iter().all(|pid| runs(*pid)), "{escaped:?}");
    escaped
}

#[tokio::test(flavor = "current_thread")]
async fn what_left_the_group_of_an_agent_ends_when_the_agent_is_stopped() {
    let mut driver = Rig::python(ESCAPES).start().await;
    let escaped = escaped(&mut driver).await;
    stop(driver).await;
    assert!(!escaped.iter().any(|pid| runs(*pid)), "stopping waits for it");
}

#[tokio::test(flavor = "current_thread")]
async fn what_left_the_group_of_an_agent_ends_when_the_agent_dies() {
    let rig = Rig::python(ESCAPES);
    let (mut driver, mut other) = (rig.start().await, rig.start().await);
    let (gone, kept) = (escaped(&mut driver).await, escaped(&mut other).await);
    let pid = Pid::from_raw(driver.pid().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    timeout(SOON, driver.died()).await.unwrap();
    drop(driver);
    eventually("its descendants are killed", || !gone.iter().any(|pid| runs(*pid))).await;
    assert!(kept.iter().all(|pid| runs(*pid)), "those of another agent go on");
    stop(other).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_deep_directory_is_removed_when_its_agent_ends() {
    let rig = Rig::python(
        r#"
def dig(request):
    top = os.getcwd()
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    os.mkdir("closed")
    os.chmod("closed", 0)
    answer(request, {"output": top})
hello()
serve(dig)
"#,
    );
    let mut driver = rig.start().await;
    let top: PathBuf = serde_json::from_str(&run(&mut driver, "1").await.unwrap()).unwrap();
    assert!(top.exists());
    stop(driver).await;
    eventually("it is removed", || !top.exists()).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_has_no_terminal_and_goes_first_when_memory_is_short() {
    let rig =
        Rig::python("hello()\nserve(lambda request: answer(request, {'output': eval(request['params']['input'])}))");
    let mut driver = rig.start().await;
    assert_eq!(run(&mut driver, "\"os.getsid(0) == os.getpid()\"").await.unwrap(), "true");
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let score = run(&mut driver, "\"int(open('/proc/self/oom_score_adj').read())\"").await.unwrap();
    assert_eq!(score, (own + 500).min(1_000).to_string());
    stop(driver).await;
}
