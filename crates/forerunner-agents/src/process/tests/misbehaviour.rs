//! Agents that violate the protocol: each fails its own task with an error that names the violation.

use super::*;

/// An agent that executes the given lines once it has a task.
fn once_busy(lines: &str) -> Rig {
    Rig::python(&format!("hello()\nrequest = receive()\n{lines}\ntime.sleep(1000)"))
}

async fn protocol_error(rig: &Rig, says: &str) {
    let mut driver = rig.start().await;
    let pid = driver.pid().unwrap();
    assert_replaced(&run_and_fail(&mut driver, "1").await, ErrorKind::AgentProtocol, says);
    drop(driver);
    eventually("it is gone", || !exists(pid)).await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_message_is_named() {
    for (lines, says) in [
        ("print('Hello!', flush=True)", "wrote a line that is no message: it is no JSON object, but `Hello!`"),
        ("sys.stdout.buffer.write(bytes([255, 254, 10])); sys.stdout.flush()", "wrote a line that is no message"),
        ("print('[' * 100000, flush=True)", "wrote a line that is no message"),
        ("print(json.dumps({'id': 2, 'result': 1}), flush=True)", "without \"jsonrpc\": \"2.0\""),
        ("send({'id': 5, 'method': 'fs/read', 'params': {}})", "sent the request `fs/read`, but agents only answer"),
        ("send({'id': None, 'error': {'code': -32700, 'message': 'what?'}})", "could not read a request: what?"),
        ("answer(request, 5)", "answered `task/run` with a result that is not valid"),
        ("answer(request, {'output': 1, 'contxt': None})", "unknown field `contxt`"),
        ("refuse(request, -32601, 'what is task/run?')", "does not understand the node: what is task/run?"),
    ] {
        protocol_error(&once_busy(lines), says).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_was_cut_inside_of_an_emoji_keeps_no_agent_from_its_work() {
    let lines = "answer(receive(), {'protocol': 2, 'agent': {'name': 'cut \\ud83d', 'version': '\\udc00'}})\n\
                 answer(receive(), {'output': 1})";
    let mut driver = Rig::python(lines).start().await;
    assert_eq!(run(&mut driver, "1").await.unwrap(), "1");
}

#[tokio::test(flavor = "current_thread")]
async fn answers_to_other_requests_are_named() {
    for (lines, says) in [
        ("send({'id': 77, 'result': 1})", "answered request 77, which was never sent"),
        ("send({'id': 0, 'result': 1})", "answered request 0, which was never sent"),
        ("send({'id': 'one', 'result': 1})", "answered the request \"one\", which was never sent"),
        ("send({'id': 1, 'result': 1})", "answered request 1 twice"),
    ] {
        protocol_error(&once_busy(lines), says).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_second_answer_is_noticed_while_idle_or_by_the_next_task() {
    let twice = || once_busy("echo(request)\necho(request)");
    let mut idle = twice().start().await;
    assert_eq!(run(&mut idle, "1").await.unwrap(), "1");
    let error = timeout(SOON, idle.died()).await.unwrap();
    assert_replaced(&error, ErrorKind::AgentProtocol, "answered request 2 twice");

    let mut busy = twice().start().await;
    assert_eq!(run(&mut busy, "1").await.unwrap(), "1");
    assert_replaced(&run_and_fail(&mut busy, "1").await, ErrorKind::AgentProtocol, "answered request 2 twice");
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "current_thread")]
async fn a_line_without_end_costs_no_memory() {
    let rig = once_busy("for _ in range(128): sys.stdout.write('x' * (1 << 20))");
    let mut driver = rig.start().await;
    let before = resident_bytes();
    let error = run_and_fail(&mut driver, "1").await;
    assert_replaced(&error, ErrorKind::AgentProtocol, "a line of more than max_line_bytes = 1048576 bytes");
    let growth = resident_bytes().saturating_sub(before);
    assert!(growth < 48 << 20, "grew by {growth} bytes");
}

#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_messages_ends_at_its_bound() {
    let flood = r#"
while True:
    notify("task/output", task=request["params"]["task"], chunk="x" * 1000)
"#;
    let rig = once_busy(flood).with(|spec| spec.max_output_bytes = 1 << 20);
    protocol_error(&rig, "wrote more than 1048576 bytes in one task").await;

    let rig = once_busy(&format!("echo(request){flood}"));
    let mut driver = rig.start().await;
    assert_eq!(run(&mut driver, "1").await.unwrap(), "1");
    let error = timeout(SOON, driver.died()).await.unwrap();
    assert_replaced(&error, ErrorKind::AgentProtocol, "wrote more than 65536 bytes though it had no task");
}

#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_complaints_blocks_nobody_and_its_end_is_quoted() {
    let rig = once_busy(
        r#"
for number in range(5 * 1024):
    sys.stderr.write("%05d" % number + "." * 1018 + "\n")
sys.stderr.write("the very last words\n")
sys.stderr.flush()
echo(request)
receive()
os._exit(3)
"#,
    );
    let mut driver = rig.start().await;
    assert_eq!(run(&mut driver, "1").await.unwrap(), "1");
    let error = run_and_fail(&mut driver, "2").await;
    assert_replaced(&error, ErrorKind::AgentLost, "exit status: 3");
    assert!(error.message().ends_with("the very last words"), "{error}");
    assert!(error.message().len() < 4_000);
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_does_not_read_is_given_up() {
    let rig = Rig::python("hello()\ntime.sleep(1000)");
    let rig = rig.with(|spec| spec.write_timeout = Duration::from_millis(200));
    let large = format!("\"{}\"", "x".repeat(8 << 20));
    let error = run_and_fail(&mut rig.start().await, &large).await;
    assert_replaced(&error, ErrorKind::AgentProtocol, "did not read its standard input for write_timeout = 0.2 s");
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_closes_a_pipe_is_given_up() {
    for (lines, says) in [
        ("os.close(0)\nnotify('closed')\ntime.sleep(1000)", "closed its standard input but still runs"),
        ("receive()\nos.close(1)\ntime.sleep(1000)", "closed its standard output but still runs"),
    ] {
        let mut driver = Rig::python(&format!("hello()\n{lines}")).start().await;
        // In the first case it is closed before the task arrives.
        sleep(Duration::from_millis(200)).await;
        assert_replaced(&run_and_fail(&mut driver, "1").await, ErrorKind::AgentLost, says);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_talks_before_it_reads_blocks_nobody() {
    let rig = Rig::python(
        r#"
hello()
def run(request):
    answer(request, {"output": len(request["params"]["input"])})
sys.stdout.write((json.dumps({"jsonrpc": "2.0", "method": "hum", "params": {"text": "x" * 500}}) + "\n") * 1000)
sys.stdout.flush()
serve(run)
"#,
    );
    let large = format!("\"{}\"", "x".repeat(8 << 20));
    let mut driver = rig.start().await;
    assert_eq!(timeout(SOON, run(&mut driver, &large)).await.unwrap().unwrap(), (8 << 20).to_string());
    stop(driver).await;
}

async fn start_error(rig: &Rig, kind: ErrorKind, says: &str) {
    let error = timeout(SOON, rig.launch()).await.expect("the start ends soon").err().expect("the start fails");
    assert_replaced(&error, kind, says);
}

#[tokio::test(flavor = "current_thread")]
async fn a_start_that_fails_says_why() {
    use ErrorKind::{AgentLost, AgentProtocol};
    for (lines, kind, says) in [
        ("time.sleep(1000)", AgentProtocol, "did not answer `initialize` within start_timeout = 2 s"),
        ("receive(); time.sleep(1000)", AgentProtocol, "did not answer `initialize` within start_timeout = 2 s"),
        ("refuse(receive(), -32000, 'no licence')", AgentProtocol, "refused to start: no licence (code -32000)"),
        (
            "answer(receive(), {'protocol': 4, 'agent': {'name': 'x'}})",
            AgentProtocol,
            "speaks protocol 4, this node speaks 1 to 3",
        ),
        (
            "answer(receive(), {})",
            AgentProtocol,
            "answered `initialize` with a result that is not valid: missing field `protocol`",
        ),
        ("print('Welcome!', flush=True)", AgentProtocol, "is no message"),
        ("raise SystemExit('no such model')", AgentLost, "exit status: 1; its standard error ends with: no such model"),
        ("os.close(1); time.sleep(1000)", AgentLost, "closed its standard output but still runs"),
    ] {
        let rig = Rig::python(lines).with(|spec| spec.start_timeout = Duration::from_secs(2));
        start_error(&rig, kind, says).await;
    }
    let mut missing = Rig::python("");
    missing.spec.argv = vec!["no-such-program-anywhere".into()];
    start_error(&missing, AgentLost, "cannot start the agent process `no-such-program-anywhere`: no program").await;
    let nowhere = Rig::python("").with(|spec| spec.cwd = Some("/nowhere/at/all".into()));
    start_error(&nowhere, AgentLost, "(`cwd`) /nowhere/at/all is not a directory").await;
}
