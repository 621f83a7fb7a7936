//! Agents that dial in, over connections that break; without sockets, which only carry texts.

use std::{sync::Arc, time::Duration};

use forerunner_core::{AgentId, ErrorKind, Payload, PoolName, TaskId, Timestamp};
use forerunner_runtime::agent::{AgentContext, AttemptRequest, Driver, StartRequest};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::*;

const POOL: &str = "gpu";
const SOON: Duration = Duration::from_secs(60);

/// An agent of the test: it has its side of the session, and echoes.
#[derive(Default)]
struct Echo {
    session: Option<String>,
    received: u64,
    sent: u64,
    unconfirmed: Vec<(u64, String)>,
    ran: Vec<String>,
}

impl Echo {
    fn dial(&mut self, hub: &Hub) -> Connection {
        let resumed = self.session.as_deref().map(|session| (session, self.received));
        let connection = hub.accept(POOL, "test", resumed).unwrap();
        let hello: Value = serde_json::from_str(connection.hello().strip_prefix("hello ").unwrap()).unwrap();
        self.session = hello["session"].as_str().map(str::to_owned);
        let received = hello["received"].as_u64().unwrap();
        self.unconfirmed.retain(|(number, _)| *number > received);
        for (number, line) in &self.unconfirmed {
            connection.receive(&format!("{number} {line}")).unwrap();
        }
        connection
    }

    /// Takes one message of the node, and sends the answer if `connection` is still there.
    fn take(&mut self, text: &str, connection: Option<&Connection>) {
        let Some((head, line)) = text.split_once(' ') else { panic!("{text}") };
        let number: u64 = head.parse().unwrap();
        if number <= self.received {
            return;
        }
        assert_eq!(number, self.received + 1, "nothing is left out");
        self.received = number;
        let request: Value = serde_json::from_str(line).unwrap();
        let result = match request["method"].as_str().unwrap() {
            "initialize" => json!({ "protocol": 3, "agent": { "name": "echo" } }),
            "task/run" => {
                self.ran.push(request["params"]["task"].as_str().unwrap().to_owned());
                json!({ "output": request["params"]["input"] })
            }
            _ => json!({}),
        };
        self.sent += 1;
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string();
        if let Some(connection) = connection {
            connection.receive(&format!("{} {answer}", self.sent)).unwrap();
        }
        self.unconfirmed.push((self.sent, answer));
    }
}

fn factory(hub: &Hub, change: impl FnOnce(&mut RemoteSpec)) -> RemoteFactory {
    let mut spec = RemoteSpec::default();
    change(&mut spec);
    RemoteFactory::on(spec, hub.clone()).unwrap()
}

fn start(number: u128) -> StartRequest {
    let agent = AgentId::from_parts(Timestamp::default(), number);
    StartRequest { agent, pool: PoolName::new(POOL).unwrap(), dictionary: None }
}

fn attempt(number: u128) -> AttemptRequest {
    AttemptRequest {
        task: TaskId::from_parts(Timestamp::default(), number),
        attempt: 1,
        depth: 0,
        input: Payload::from_value(&(number as u64)).unwrap(),
        deadline: Timestamp::from_micros(1),
        traceparent: None,
        requests: Vec::new(),
    }
}

/// Serves with a connection that breaks after each `cut` messages, with what the agent was about to send. Ends with the
/// session.
async fn serve_with_breaks(hub: Hub, cut: usize) -> Echo {
    let mut echo = Echo::default();
    loop {
        let mut connection = echo.dial(&hub);
        for left in (0..cut).rev() {
            match connection.next().await {
                Some(text) => echo.take(&text, (left > 0).then_some(&connection)),
                None => return echo,
            }
        }
        drop(connection);
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn connections_that_break_lose_nothing_and_repeat_nothing() {
    for cut in [1, 2, 3, 7] {
        let hub = Hub::default();
        let agent = tokio::spawn(serve_with_breaks(hub.clone(), cut));
        let mut driver = timeout(SOON, factory(&hub, |_| {}).launch(start(1))).await.unwrap().unwrap();
        for number in 0..50 {
            let attempt = attempt(number);
            let mut cx = AgentContext::detached(attempt.task);
            let output = timeout(SOON, driver.run(&attempt, &mut cx)).await.unwrap().unwrap();
            assert_eq!(output, attempt.input);
        }
        timeout(SOON, Box::new(driver).stop(Duration::from_secs(5))).await.unwrap();
        let echo = timeout(SOON, agent).await.unwrap().unwrap();
        let distinct: std::collections::BTreeSet<_> = echo.ran.iter().collect();
        assert_eq!((echo.ran.len(), distinct.len()), (50, 50), "cut after {cut}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn two_hundred_agents_serve_one_node() {
    let hub = Hub::default();
    let agents: Vec<_> = (0..200).map(|at| tokio::spawn(serve_with_breaks(hub.clone(), 2 + at % 5))).collect();
    let local = tokio::task::LocalSet::new();
    let drivers: Vec<_> = (0..200_u128)
        .map(|number| {
            let factory = factory(&hub, |_| {});
            local.spawn_local(async move {
                let mut driver = factory.launch(start(number)).await.unwrap();
                for round in 0..5 {
                    let attempt = attempt(number * 5 + round);
                    let mut cx = AgentContext::detached(attempt.task);
                    assert_eq!(driver.run(&attempt, &mut cx).await.unwrap(), attempt.input);
                }
                Box::new(driver).stop(Duration::from_secs(5)).await;
            })
        })
        .collect();
    timeout(SOON, local).await.expect("all of them end");
    for driver in drivers {
        driver.await.unwrap();
    }
    let mut ran = Vec::new();
    for agent in agents {
        ran.extend(timeout(SOON, agent).await.unwrap().unwrap().ran);
    }
    let distinct: std::collections::BTreeSet<_> = ran.iter().collect();
    assert_eq!((ran.len(), distinct.len()), (1_000, 1_000), "nothing lost, nothing twice");
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_stays_away_is_lost_and_one_that_says_goodbye_is_not_at_fault() {
    let hub = Hub::default();
    let mut echo = Echo::default();
    let mut connection = echo.dial(&hub);
    let factory = factory(&hub, |spec| spec.resume_timeout = Duration::from_millis(50));
    let starting = factory.clone().launch(start(1));
    let hello = async {
        let text = connection.next().await.unwrap();
        echo.take(&text, Some(&connection));
    };
    let (driver, ()) = tokio::join!(starting, hello);
    let mut driver = driver.unwrap();
    connection.receive("bye").unwrap();
    let error = timeout(SOON, driver.died()).await.unwrap();
    assert!(error.is_departure() && error.message().contains("said goodbye"), "{error}");
    drop(connection);
    let attempt = attempt(1);
    let mut cx = AgentContext::detached(attempt.task);
    let error = timeout(SOON, driver.run(&attempt, &mut cx)).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_agent_usable(), error.is_departure()), (ErrorKind::AgentLost, false, false));
    assert!(error.message().ends_with("did not come back within resume_timeout = 0.05 s"), "{error}");
    // Whoever resumes a session that has ended begins another one.
    let before = echo.session.clone();
    echo.received = 0;
    let _connection = echo.dial(&hub);
    assert_ne!(echo.session, before);
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_breaks_the_protocol_is_replaced() {
    for (texts, says) in [
        (&["nonsense"][..], "none of `N JSON`, `ack N` and `bye`"),
        (&["x {}"], "none of `N JSON`"),
        (&["ack many"], "none of `N JSON`"),
        (&["2 {}"], "sent message 2 after message 0"),
        (&["1 hello"], "is no message"),
        (&[r#"1 {"jsonrpc":"2.0","id":9,"result":{}}"#], "answered request 9, which was never sent"),
    ] {
        let hub = Hub::default();
        let mut connection = Echo::default().dial(&hub);
        let starting = factory(&hub, |_| {}).launch(start(1));
        let agent = async {
            assert!(connection.next().await.unwrap().contains("initialize"));
            for text in texts {
                let _reply = connection.receive(text);
            }
        };
        let (started, ()) = timeout(SOON, async { tokio::join!(starting, agent) }).await.unwrap();
        let error = started.err().expect("it fails");
        assert_eq!(error.kind(), ErrorKind::AgentProtocol, "{error}");
        assert!(error.message().contains(says), "`{error}` does not say `{says}`");
        assert_eq!(timeout(SOON, connection.next()).await.unwrap(), None, "its connection is closed");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_leaves_before_it_is_warm_costs_no_start() {
    let hub = Hub::default();
    let mut idle = Echo::default().dial(&hub);
    idle.receive("bye").unwrap();
    assert_eq!(timeout(SOON, idle.next()).await.unwrap(), None, "no pool has it: its connection is closed");
    assert_eq!(hub.waiting(POOL), 0);
    let mut leaving = Echo::default().dial(&hub);
    let starting = factory(&hub, |_| {}).launch(start(1));
    let agents = async {
        assert!(leaving.next().await.unwrap().contains("initialize"));
        leaving.receive("bye").unwrap();
        let mut next = Echo::default();
        let mut connection = next.dial(&hub);
        let text = connection.next().await.unwrap();
        next.take(&text, Some(&connection));
        connection
    };
    let (started, _connection) = timeout(SOON, async { tokio::join!(starting, agents) }).await.unwrap();
    assert!(started.is_ok(), "the other agent is started");
    assert_eq!(timeout(SOON, leaving.next()).await.unwrap(), None, "its connection is closed");
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_confirms_nothing_is_given_up() {
    let hub = Hub::default();
    let _connection = Echo::default().dial(&hub);
    let factory = factory(&hub, |spec| spec.write_timeout = Duration::from_millis(50));
    let error = timeout(SOON, factory.launch(start(1))).await.unwrap().err().expect("it fails");
    assert!(error.message().contains("confirmed no message within write_timeout = 0.05 s"), "{error}");
}

#[test]
fn as_many_agents_wait_as_there_is_room_for() {
    let hub = Hub::default();
    let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| hub.accept(POOL, "test", None).unwrap()).collect();
    assert_eq!((hub.waiting(POOL), hub.accept(POOL, "test", None).err()), (MOST_WAITING, Some(NoRoom)));
    assert!(hub.accept("other", "test", None).is_ok());
    waiting.pop();
    assert!(hub.accept(POOL, "test", None).is_ok());
    let another = Hub::default();
    let ids = |hub: &Hub| hub.accept("other", "test", None).unwrap().hello();
    assert_ne!(ids(&hub), ids(&another), "an agent of a node that restarts does not find the session of another");
    let foreign = hub.accept("other", "test", Some(("no such session", 7))).unwrap();
    assert!(foreign.hello().contains("\"received\":0"));
    drop(Arc::new(waiting));
}
