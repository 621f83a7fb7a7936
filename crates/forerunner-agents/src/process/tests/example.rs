//! The example in the documentation does what the documentation describes.

use super::*;

fn example() -> Rig {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/echo_agent.py");
    let mut rig = Rig::python("");
    rig.spec.argv = vec![python().into(), path.into()];
    rig
}

#[tokio::test(flavor = "current_thread")]
async fn the_example_agent_keeps_a_conversation() {
    let mut driver = example().start().await;
    let first = attempt("\"hello there\"");
    let mut cx = context(&first, "chat", 0, &[]);
    let output: serde_json::Value = driver.run(&first, &mut cx).await.unwrap().read().unwrap();
    assert_eq!(output, serde_json::json!({ "echo": "hello there", "turn": 1 }));
    let items = texts(&cx);
    assert_eq!(items.len(), 2);

    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let second = attempt("\"again\"");
    let mut cx = context(&second, "chat", 1, &items);
    let output: serde_json::Value = driver.run(&second, &mut cx).await.unwrap().read().unwrap();
    assert_eq!((output["turn"].as_u64(), texts(&cx).len()), (Some(2), 4));
    driver.check().await.unwrap();
    stop(driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_example_agent_streams_and_stops_when_asked() {
    let mut driver = example().start().await;
    let (attempt, log) = (attempt(&format!("\"{}\"", "word ".repeat(1_000))), ProgressLog::default());
    let mut cx = log.context(&attempt);
    let cancel = cx.cancellation();
    let canceller = async {
        eventually("it streams", || log.all().len() > 1).await;
        cancel.cancel();
    };
    let (result, ()) = timeout(SOON, async { tokio::join!(driver.run(&attempt, &mut cx), canceller) }).await.unwrap();
    assert_eq!(result.unwrap_err(), AgentError::cancelled());
    assert!(log.all().iter().all(|said| said == "output word "));
    assert_eq!(run(&mut driver, "\"\"").await.unwrap(), r#"{"echo":"","turn":1}"#);
    stop(driver).await;
}
