//! The built-in agent, as a process and by hand.

use std::io::{BufRead, BufReader, Write};

use super::{super::builtin::serve, *};
use crate::process::BuiltinAgentOptions;

/// Makes this test binary the agent.
const BE_THE_AGENT: &str = "BE_THE_BUILTIN_AGENT";

/// The process that the other tests start; otherwise it does nothing. The test harness owns standard output, so the
/// agent answers on descriptor 3.
#[test]
fn builtin_agent_process() {
    if std::env::var_os(BE_THE_AGENT).is_none() {
        return;
    }
    let output = fs::OpenOptions::new().write(true).open("/proc/self/fd/3").unwrap();
    let options = BuiltinAgentOptions {
        cold_start: Duration::from_millis(600),
        speed: 2.0,
        context_growth_bytes: 50,
        ..BuiltinAgentOptions::default()
    };
    serve(std::io::stdin(), output, options).unwrap();
}

pub(super) fn builtin() -> Rig {
    let mut rig = Rig::python("");
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let test = "process::tests::builtin::builtin_agent_process";
    let command = format!(r#"exec "$0" --exact {test} --nocapture 3>&1 >/dev/null"#);
    rig.spec.env.insert(BE_THE_AGENT.into(), "1".into());
    rig.spec.argv = vec!["sh".into(), "-c".into(), command, program];
    rig
}

#[tokio::test(flavor = "current_thread")]
async fn the_builtin_agent_takes_its_time_and_keeps_contexts() {
    let begin = Instant::now();
    let mut driver = builtin().start().await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let mut items: Vec<String> = Vec::new();
    for turn in 0..3 {
        let attempt = attempt(r#"{"service_s": 0.2, "n": 1}"#);
        let known: Vec<&str> = items.iter().map(String::as_str).collect();
        let mut cx = context(&attempt, "c", turn, &known);
        let begin = Instant::now();
        let output: serde_json::Value = driver.run(&attempt, &mut cx).await.unwrap().read().unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(100));
        assert_eq!((&output["echo"]["n"], &output["items"]), (&1.into(), &turn.into()));
        items = texts(&cx);
        assert!(items.last().unwrap().len() >= 50);
    }
    driver.check().await.unwrap();
    let pid = driver.pid().unwrap();
    stop(driver).await;
    assert!(!exists(pid));
}

#[tokio::test(flavor = "current_thread")]
async fn the_builtin_agent_stops_a_task_when_asked() {
    let mut driver = builtin().start().await;
    let attempt = attempt(r#"{"service_s": 3600}"#);
    let mut cx = no_context(&attempt);
    let cancel = cx.cancellation();
    let canceller = async {
        sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let (result, ()) = timeout(SOON, async { tokio::join!(driver.run(&attempt, &mut cx), canceller) }).await.unwrap();
    assert_eq!(result.unwrap_err(), AgentError::cancelled());
    assert!(run(&mut driver, "[2]").await.unwrap().contains(r#""echo":[2]"#));
    stop(driver).await;
}

#[test]
fn the_builtin_agent_answers_what_it_does_not_know_and_ends_with_its_input() {
    let (input, mut node) = std::io::pipe().unwrap();
    let (answers, output) = std::io::pipe().unwrap();
    let agent = std::thread::spawn(move || serve(input, output, BuiltinAgentOptions::default()));
    let lines = [
        r#"{"jsonrpc":"2.0","id":1,"method":"dance","params":{}}"#,
        "eh?",
        r#"{"jsonrpc":"2.0","id":2,"method":"context/load","params":{"id":"c","version":2,"base":1,"items":[]}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"task/cancel","params":{"task":"gone"}}"#,
    ];
    node.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    drop(node);
    agent.join().unwrap().unwrap();
    let answers: Vec<String> = BufReader::new(answers).lines().map(Result::unwrap).collect();
    for (answer, part) in answers.iter().zip(["-32601", "-32700", "-32003", r#""result":{}"#]) {
        assert!(answer.contains(part), "{answer}");
    }
    assert_eq!(answers.len(), 4);
}
