//! What an agent reports beside its result: questions, its log, what it used; and what it learns of the task.

use forerunner_core::{AgentRequest, LogLevel, LogSource};

use super::*;

/// A task that watches all that its agent reports.
fn watched(attempt: &AttemptRequest) -> (AgentContext, ProgressLog) {
    let log = ProgressLog::default();
    (log.context(attempt), log)
}

#[tokio::test(flavor = "current_thread")]
async fn the_first_agent_of_the_page_works() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agent-protocol.md")).unwrap();
    let block = page.split("```python\n").nth(1).unwrap().split("\n```").next().unwrap();
    assert!(block.lines().count() <= 20, "{block}");
    let mut rig = Rig::python("");
    let script = rig.dir.path().join("tiny.py");
    fs::write(&script, block).unwrap();
    rig.spec.argv = vec![python().into(), script.to_str().unwrap().into()];
    let mut driver = rig.start().await;
    let attempt = attempt("\"hello there\"");
    let (mut cx, log) = watched(&attempt);
    let output = driver.run(&attempt, &mut cx).await.unwrap();
    assert_eq!(output.as_str(), r#"{"echo": ["hello", "there"]}"#);
    assert_eq!((cx.usage()["words"], log.all()), (2, vec!["agent Info attempt 1".to_owned()]));
    driver.check().await.unwrap();
    stop(driver).await;
}

/// Asks for a branch, and answers with what it was told.
const ASKS: &str = r#"
hello(protocol=3)
def run(request):
    params = request["params"]
    answers = {asked["key"]: asked.get("answer") for asked in params.get("requests", [])}
    if "branch" in answers:
        return answer(request, {"output": answers["branch"]})
    options = [{"id": "main"}, {"id": "dev", "name": "Development"}]
    notify("task/ask", task=params["task"], key="branch", prompt="Which branch?", options=options, timeout_s=60)
    answer(request, {"output": "not used"})
serve(run)
"#;

#[tokio::test(flavor = "current_thread")]
async fn a_question_ends_the_turn_and_its_answer_comes_with_the_next_one() {
    let mut driver = Rig::python(ASKS).start().await;
    let first = attempt("1");
    let mut cx = no_context(&first);
    driver.run(&first, &mut cx).await.unwrap();
    let question = cx.question().unwrap().clone();
    assert_eq!((question.prompt.as_str(), question.timeout), ("Which branch?", Duration::from_secs(60)));
    assert_eq!(question.options[1].name, "Development");

    let mut requests = Vec::new();
    AgentRequest::ask(&mut requests, question, None, Timestamp::default());
    requests[0].answer = Some(Payload::from_value("dev").unwrap());
    let second = AttemptRequest { requests, ..first };
    let mut cx = no_context(&second);
    assert_eq!(driver.run(&second, &mut cx).await.unwrap().as_str(), "\"dev\"");
    assert!(cx.question().is_none());
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_asks_and_fails_asked_nothing_that_anybody_waits_for() {
    let lines = r#"
hello(protocol=3)
def run(request):
    notify("task/ask", task=request["params"]["task"], prompt="May I?")
    refuse(request, -32000, "no", usage={"tokens": 3, "": 1})
serve(run)
"#;
    let mut driver = Rig::python(lines).start().await;
    let attempt = attempt("1");
    let mut cx = no_context(&attempt);
    let error = driver.run(&attempt, &mut cx).await.unwrap_err();
    assert_eq!((error.kind(), error.is_agent_usable()), (ErrorKind::AgentError, true));
    assert_eq!(cx.usage().iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>(), [("tokens", 3)]);
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_log_of_a_task_has_lines_and_standard_error_in_their_order() {
    let lines = r#"
hello(protocol=3)
def run(request):
    task = request["params"]["task"]
    notify("log", text="begins", level="debug")
    notify("log", task="00000000-0000-7000-8000-000000000000", text="of somebody else")
    notify("log", task=task, text="two\nlines", level="error")
    sys.stderr.write("a warning\n\x1b[31mred\n"); sys.stderr.flush()
    answer(request, {"output": request["params"].get("traceparent")})
serve(run)
"#;
    let mut driver = Rig::python(lines).start().await;
    for _ in 0..20 {
        let attempt = AttemptRequest { traceparent: Some("00-aa-bb-01".to_owned()), ..attempt("1") };
        let (mut cx, log) = watched(&attempt);
        assert_eq!(driver.run(&attempt, &mut cx).await.unwrap().as_str(), "\"00-aa-bb-01\"");
        let mut all = log.all();
        // Two pipes have no order between them.
        all.sort();
        let expected = [
            "agent Debug begins",
            "agent Error lines",
            "agent Error two",
            "stderr Info  [31mred",
            "stderr Info a warning",
        ];
        assert_eq!(all, expected);
    }
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_an_agent_wrote_before_it_died_is_in_the_log() {
    let lines = "hello(protocol=3)\nreceive()\nsys.stderr.write('out of memory\\n'); sys.stderr.flush()\nos._exit(9)";
    let mut driver = Rig::python(lines).start().await;
    let attempt = attempt("1");
    let (mut cx, log) = watched(&attempt);
    let error = timeout(SOON, driver.run(&attempt, &mut cx)).await.unwrap().unwrap_err();
    assert_replaced(&error, ErrorKind::AgentLost, "exit status: 9");
    assert_eq!(log.all(), ["stderr Info out of memory"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_of_an_older_version_learns_nothing_new_and_may_have_a_log_of_its_own() {
    let lines = r#"
hello(protocol=2)
def run(request):
    notify("log", message={"not": "ours"})
    notify("task/ask", what=1)
    answer(request, {"output": sorted(request["params"])})
serve(run)
"#;
    let mut driver = Rig::python(lines).start().await;
    let attempt = AttemptRequest { traceparent: Some("00-aa-bb-01".to_owned()), ..attempt("1") };
    let output = driver.run(&attempt, &mut no_context(&attempt)).await.unwrap();
    assert_eq!(output.as_str(), r#"["attempt", "context", "deadline", "depth", "input", "task"]"#);
    stop(driver).await;
}

/// An agent that executes lines once it has a task, in version 3.
fn hostile(lines: &str) -> Rig {
    let rig =
        Rig::python(&format!("hello(protocol=3)\nrequest = receive()\ntask = request['params']['task']\n{lines}\n"));
    rig.with(|spec| spec.max_output_bytes = 256 << 10)
}

#[tokio::test(flavor = "current_thread")]
async fn hostile_agents_fail_their_own_task_at_most() {
    use ErrorKind::{AgentLost, AgentProtocol};
    let stay = "\ntime.sleep(1000)";
    for (about, lines, kind, says) in [
        ("garbage", "print('{\"', flush=True)", AgentProtocol, "is no message"),
        (
            "half a line",
            "sys.stdout.write('{\"jsonrpc\":'); sys.stdout.flush(); os._exit(0)",
            AgentLost,
            "exit status: 0",
        ),
        (
            "a flood of the log",
            "while True: notify('log', text='x' * 1000)",
            AgentProtocol,
            "wrote more than 262144 bytes",
        ),
        (
            "a flood of questions",
            "while True: notify('task/ask', task=task, prompt='x' * 1000)",
            AgentProtocol,
            "wrote more than",
        ),
        (
            "a question without a text",
            "notify('task/ask', task=task, prompt=' ')",
            AgentProtocol,
            "`prompt` has 1 bytes",
        ),
        ("a question of no task", "notify('task/ask', task='me', prompt='?')", AgentProtocol, "which is no task"),
        (
            "a question as a request",
            "send({'id': 7, 'method': 'task/ask', 'params': {}})",
            AgentProtocol,
            "agents only answer",
        ),
        ("a log without a text", "notify('log', level='info')", AgentProtocol, "missing field `text`"),
        ("a log of a wrong level", "notify('log', level='loud', text='x')", AgentProtocol, "unknown variant `loud`"),
        (
            "usage that is no number",
            "answer(request, {'output': 1, 'usage': {'a': -1}})",
            AgentProtocol,
            "a result that is not valid",
        ),
        ("a wrong id", "send({'id': 99, 'result': {}})", AgentProtocol, "answered request 99, which was never sent"),
        ("a late answer", "echo(request); echo(request)\nreceive()", AgentProtocol, "answered request 2 twice"),
    ] {
        let mut driver = hostile(&format!("{lines}{stay}")).start().await;
        let pid = driver.pid().unwrap();
        let error = match timeout(SOON, run(&mut driver, "1")).await.expect("it ends soon") {
            Err(error) => error,
            // It had answered: the next task finds out.
            Ok(_) => run_and_fail(&mut driver, "2").await,
        };
        assert_eq!((error.kind(), error.is_agent_usable()), (kind, false), "{about}: {error}");
        assert!(error.message().contains(says), "{about}: `{error}` does not say `{says}`");
        drop(driver);
        eventually("it is gone", || !exists(pid)).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_comes_for_a_task_that_has_ended_changes_nothing() {
    let lines = r#"
hello(protocol=3)
def run(request):
    if request["params"]["input"] == 1:
        old.append(request["params"]["task"])
        return echo(request)
    notify("task/ask", task=old[0], prompt="too late?")
    notify("log", task=old[0], text="too late")
    echo(request)
old = []
serve(run)
"#;
    let mut driver = Rig::python(lines).start().await;
    run(&mut driver, "1").await.unwrap();
    let attempt = attempt("2");
    let (mut cx, log) = watched(&attempt);
    driver.run(&attempt, &mut cx).await.unwrap();
    assert!(cx.question().is_none() && log.all().is_empty());
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_silent_agent_that_asked_is_stopped_when_its_time_is_up() {
    let lines = "notify('task/ask', task=task, prompt='?')\ntime.sleep(1000)";
    let rig = hostile(lines).with(|spec| spec.cancel_grace = Duration::from_millis(200));
    let mut driver = rig.start().await;
    let attempt = attempt("1");
    let mut cx = no_context(&attempt);
    let cancel = cx.cancellation();
    tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    });
    let error = timeout(SOON, driver.run(&attempt, &mut cx)).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_agent_usable()), (ErrorKind::Cancelled, false));
}

impl ProgressLog {
    pub(super) fn line(&self, source: LogSource, level: LogLevel, text: &str) {
        let source = if source == LogSource::Agent { "agent" } else { "stderr" };
        self.0.lock().push(format!("{source} {level:?} {text}"));
    }
}
