//! Tasks: done, failed, cancelled.

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn a_task_is_answered_and_heard_on_the_way() {
    let rig = Rig::python(
        r#"
hello()
def run(request):
    task = request["params"]["task"]
    notify("task/progress", task=task, text="half way")
    notify("task/progress", task="00000000-0000-7000-8000-000000000000", text="of somebody else")
    notify("task/output", task=task, chunk="a\nb")
    notify("agent/mood", mood="a later version may say more")
    answer(request, {"output": request["params"]})
serve(run)
"#,
    );
    let mut driver = rig.start().await;
    assert_eq!((driver.info().agent.name.as_str(), driver.info().capabilities.contexts), ("test", 4));
    let log = ProgressLog::default();
    let attempt = attempt("{\n\"text\": \"line\\nbreak\"}");
    let output = driver.run(&attempt, &mut log.context(&attempt)).await.unwrap();
    let expected = format!(
        r#"{{"task":"{}","attempt":1,"depth":0,"input":{{"text":"line\nbreak"}},"context":null,"deadline":"1970-01-01T00:00:01.000000Z"}}"#,
        attempt.task
    );
    let found: serde_json::Value = output.read().unwrap();
    assert_eq!(found, serde_json::from_str::<serde_json::Value>(&expected).unwrap());
    assert_eq!(log.all(), ["progress half way", "output a\nb"]);
    assert!(run(&mut driver, "[1]").await.unwrap().contains("[1]"));
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_answers_with_an_error_goes_on() {
    let rig = Rig::python(
        r#"
hello()
serve(lambda request: refuse(request, request["params"]["input"], "sorry", retryable=False))
"#,
    );
    let mut driver = rig.start().await;
    for (code, kind) in [
        ("-32000", ErrorKind::AgentError),
        ("-32602", ErrorKind::InvalidInput),
        ("-32002", ErrorKind::TooLarge),
        ("-32000", ErrorKind::AgentError),
    ] {
        let error = run(&mut driver, code).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, "sorry"));
        assert!(!error.is_retryable() && error.is_agent_usable());
    }
    stop(driver).await;
}

/// Cancels a task as soon as the agent has begun with it.
async fn run_cancelled(driver: &mut ProcessDriver) -> Result<Payload, AgentError> {
    let (attempt, log) = (attempt("1"), ProgressLog::default());
    let mut cx = log.context(&attempt);
    let cancel = cx.cancellation();
    let canceller = async {
        eventually("the task has begun", || log.all() == ["progress begun"]).await;
        cancel.cancel();
    };
    timeout(SOON, async { tokio::join!(driver.run(&attempt, &mut cx), canceller).0 }).await.expect("cancelled in time")
}

const BEGIN: &str = r#"
hello()
tasks = []
def run(request):
    tasks.append(request)
    notify("task/progress", task=request["params"]["task"], text="begun")
"#;

#[tokio::test(flavor = "current_thread")]
async fn a_cancelled_task_ends_and_the_agent_goes_on() {
    let rig = Rig::python(&format!(
        r#"{BEGIN}
    if request["params"]["input"] == 2:
        echo(tasks.pop())
def other(request):
    assert request["params"]["task"] == tasks[0]["params"]["task"]
    answer(request, {{}})
    refuse(tasks.pop(), -32001, "stopped")
serve(run, other)
"#
    ));
    let mut driver = rig.start().await;
    for _ in 0..3 {
        assert_eq!(run_cancelled(&mut driver).await.unwrap_err(), AgentError::cancelled());
        assert_eq!(run(&mut driver, "2").await.unwrap(), "2");
    }
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_result_that_crosses_the_cancellation_counts() {
    let rig = Rig::python(&format!(
        r#"{BEGIN}
def other(request):
    echo(tasks.pop())
    time.sleep(0.1)
    answer(request, {{}})
serve(run, other)
"#
    ));
    let mut driver = rig.start().await;
    for _ in 0..3 {
        assert_eq!(run_cancelled(&mut driver).await.unwrap().as_str(), "1");
    }
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_ignores_the_cancellation_is_given_up() {
    const GRACE: Duration = Duration::from_millis(200);
    let deaf = "hello()\nrequest = receive()\n";
    let begun = r#"notify("task/progress", task=request["params"]["task"], text="begun")"#;
    for rest in [
        // Never ends, and does not read its input.
        "time.sleep(1000)",
        // Answers the cancellation only.
        "answer(receive(), {})\ntime.sleep(1000)",
        // Answers the task only.
        "receive()\necho(request)\ntime.sleep(1000)",
        // Answers both, but too late.
        "cancel = receive()\ntime.sleep(2)\nanswer(cancel, {})\necho(request)\ntime.sleep(1000)",
    ] {
        let rig = Rig::python(&format!("{deaf}{begun}\n{rest}"));
        let rig = rig.with(|spec| (spec.cancel_grace, spec.stop_grace) = (GRACE, GRACE));
        let mut driver = rig.start().await;
        let begin = Instant::now();
        let error = run_cancelled(&mut driver).await.unwrap_err();
        assert_eq!((error.kind(), error.is_agent_usable()), (ErrorKind::Cancelled, false), "{rest}: {error}");
        assert!(error.message().contains("cancel_grace = 0.2 s"), "{error}");
        assert!((GRACE..Duration::from_millis(1_500)).contains(&begin.elapsed()), "{rest}");
        let pid = driver.pid().unwrap();
        stop(driver).await;
        assert!(!exists(pid));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_cancellation_while_the_context_is_loaded_is_heard() {
    let rig = Rig::python("hello()\nreceive()\ntime.sleep(1000)");
    let rig = rig.with(|spec| spec.cancel_grace = Duration::from_millis(100));
    let mut driver = rig.start().await;
    let attempt = attempt("1");
    let mut cx = context(&attempt, "c", 1, &["1"]);
    cx.cancellation().cancel();
    let error = timeout(SOON, driver.run(&attempt, &mut cx)).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_agent_usable()), (ErrorKind::Cancelled, false), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_idle_agent_is_pinged_before_its_next_task() {
    let polite = Rig::python("hello()\nserve(echo)").with(|spec| spec.ping_after = Duration::ZERO);
    let mut driver = polite.start().await;
    assert_eq!(run(&mut driver, "1").await.unwrap(), "1");
    driver.check().await.unwrap();
    stop(driver).await;

    let hung = Rig::python("hello()\nreceive()\ntime.sleep(1000)").with(|spec| {
        spec.ping_after = Duration::ZERO;
        spec.ping_timeout = Duration::from_millis(100);
    });
    let error = run_and_fail(&mut hung.start().await, "1").await;
    assert_replaced(&error, ErrorKind::AgentProtocol, "did not answer `ping` within 0.1 s");
}
