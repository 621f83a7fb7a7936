//! Contexts of recorded sessions through the real service: only new items are sent, and none is lost.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::read::GzDecoder;
use forerunner_e2e::{Call, Client, Pool, Site};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Concurrent sessions.
const AT_ONCE: usize = 6;

fn corpus(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("data/contexts/{file}"))
}

/// Every other session, from the first or the second, a line each.
fn half(corpus: &Path, first: usize) -> String {
    let mut text = String::new();
    let mut file = File::open(corpus).expect("the corpus is there");
    match corpus.extension().is_some_and(|extension| extension == "gz") {
        true => GzDecoder::new(file).read_to_string(&mut text),
        false => file.read_to_string(&mut text),
    }
    .expect("the corpus is text");
    text.lines().skip(first).step_by(2).flat_map(|line| [line, "\n"]).collect()
}

/// The sessions of a corpus that are run, each as its turns: the messages up to and with each one of the agent.
fn sessions(corpus: &Path) -> Vec<Vec<Vec<Value>>> {
    let turns = |line: &str| {
        let session: Value = serde_json::from_str(line).expect("each line is JSON");
        let mut turns = vec![Vec::new()];
        for message in session["messages"].as_array().expect("messages") {
            // Agents that talk to each other are users to one another, and each has a name.
            let ends = message["role"] == "assistant" || message["role"] == "user" && message["name"].is_string();
            turns.last_mut().expect("never empty").push(message.clone());
            if ends {
                turns.push(Vec::new());
            }
        }
        // A message without an answer is not a turn.
        turns.pop();
        turns
    };
    half(corpus, 0).lines().map(turns).collect()
}

/// Runs a session turn by turn; each turn's messages are appended by the agent that does it.
async fn live(client: &Client, context: String, turns: Vec<Vec<Value>>) -> u64 {
    let mut items = 0;
    for messages in turns {
        items += messages.len();
        let task = json!({ "input": { "context": { "append": messages } }, "context": context });
        let done = client.ask(Call::submit("coder", &task).wait(60)).await.expect(200);
        assert_eq!(done["state"], "succeeded", "{done}");
        assert!(done["context_cost"]["full_bytes"].as_u64() > Some(0), "{done}");
    }
    let stored = client.get(format!("/v1/contexts/{context}?pool=coder")).await;
    assert_eq!(stored["items"], items, "{stored}");
    stored["version"].as_u64().expect("a version")
}

/// What `forerunner context bench` promises: bytes of a turn as shares of full JSON.
struct Promise {
    /// What a turn adds, packed.
    packed: f64,
    /// The same as JSON.
    plain: f64,
    /// Bytes of the whole context for an agent that has nothing of it, compressed.
    cold: f64,
}

async fn promised(site: &Site, corpus: &Path) -> Promise {
    let corpus = corpus.display().to_string();
    let report =
        site.program().within(Duration::from_secs(120)).run(["context", "bench", &corpus, "--output", "json"]).await;
    let report = report.ended(0).json()[0].clone();
    let share = |field: &str| report[field].as_f64().unwrap() / report["full_json_bytes"].as_f64().unwrap();
    Promise { packed: share("delta_bytes"), plain: share("plain_delta_bytes"), cold: share("cold_bytes") }
}

/// A file with a dictionary that the program has learnt from the sessions that are not run.
async fn trained(site: &Site, corpus: &Path) -> String {
    let (learnt, file) = (site.path("learnt.jsonl"), site.path("dictionary").display().to_string());
    fs::write(&learnt, half(corpus, 1)).expect("the directory is ours");
    let corpus = learnt.display().to_string();
    let program = site.program().within(Duration::from_secs(120));
    let told = program.run(["context", "train", &corpus, "--out", &file, "--output", "json"]).await.ended(0).json();
    assert!(told["bytes"].as_u64() > Some(1_000), "{told}");
    file
}

/// What moved, as shares of the contexts in full JSON.
struct Moved {
    to_agents: f64,
    from_agents: f64,
    stored: f64,
    /// The share of turns whose agent lacked a part of the context.
    missed: f64,
}

/// Runs all sessions through a pool of so many agents, and counts.
async fn moved(site: Site, corpus: &Path, agents: u32) -> Moved {
    let service = site.serve().await;
    let client = service.client();
    let sessions: Vec<_> = sessions(corpus).into_iter().enumerate().collect();
    let turns: usize = sessions.iter().map(|(_, turns)| turns.len()).sum();
    for batch in sessions.chunks(AT_ONCE) {
        let lives = batch.iter().map(|(number, turns)| live(&client, format!("session-{number}"), turns.clone()));
        let versions = join_all(lives).await;
        assert!(versions.iter().zip(batch).all(|(version, (_, turns))| *version == turns.len() as u64), "{versions:?}");
    }
    let counted = client.metrics().await;
    let of = |name: &str, label: &str| counted.sum(name, label);
    assert_eq!(of("forerunner_context_source_total", "coder") as usize, turns);
    assert_eq!(of("forerunner_context_reloads_total", "coder"), 0.0);
    let [hits, misses] = ["hit", "miss"].map(|result| of("forerunner_context_lookups_total", result) as usize);
    assert_eq!(hits + misses, turns);
    // A single agent lacks only the first turns, in whatever order the sessions take turns.
    assert!(agents > 1 || misses == sessions.len(), "{misses} of {turns} turns found their context cold");
    let full = of("forerunner_context_full_bytes_total", "coder");
    assert_eq!(of("forerunner_context_pipe_full_bytes_total", "from_agent"), full);
    assert!(of("forerunner_context_pipe_full_bytes_total", "to_agent") < full);
    let moved = Moved {
        to_agents: of("forerunner_context_pipe_bytes_total", "to_agent") / full,
        from_agents: of("forerunner_context_pipe_bytes_total", "from_agent") / full,
        stored: of("forerunner_context_stored_bytes_total", "coder") / full,
        // There was nothing to send before the first turn of a session.
        missed: (misses - sessions.len()) as f64 / turns as f64,
    };
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
    moved
}

/// How a pool's agents are set up, and what the bytes over the pipe may be of what the bench promises.
struct Case {
    agents: u32,
    /// Whether they pack.
    packs: bool,
    /// All bytes over the pipe, as multiples of what is promised.
    limit: f64,
}

/// One agent runs all turns of all sessions: only the turns themselves are sent.
const ALONE: Case = Case { agents: 1, packs: true, limit: 1.0 };
/// An agent that continues another's conversation first receives the context, at most all of it.
const TOGETHER: Case = Case { agents: 3, packs: true, limit: 1.1 };
/// Each turn as a line of JSON, with an envelope.
const PLAIN: Case = Case { agents: 1, packs: false, limit: 1.6 };

async fn bytes_fall_as_promised(corpus: &Path, cases: &[Case]) {
    let site = Site::new();
    let name = corpus.file_name().expect("a file").display();
    let Promise { packed, plain, cold } = promised(&site, corpus).await;
    let dictionary = trained(&site, corpus).await;
    for Case { agents, packs, limit } in cases {
        let pool = Pool::builtin("coder").fixed(*agents).set(&format!("contexts.dictionary = {dictionary:?}"));
        let pool = if *packs { pool } else { pool.set("agent.compression_window_bytes = 0") };
        let Moved { to_agents, from_agents, stored, missed } =
            moved(Site::new().with("", &[pool]), corpus, *agents).await;
        let (moved, promised) = (to_agents + from_agents, if *packs { packed + missed * cold } else { plain });
        println!(
            "{name}, {agents} agents, packed: {packs}: over the pipe {:.2} % of full JSON (to agents {:.2} %, from agents \
             {:.2} %), promised {:.2} % with {:.1} % of turns cold; stored {:.2} %, promised {:.2} %",
            moved * 100.0,
            to_agents * 100.0,
            from_agents * 100.0,
            promised * 100.0,
            missed * 100.0,
            stored * 100.0,
            packed * 100.0
        );
        assert!(moved < limit * promised, "{moved:.4} of full JSON, {promised:.4} promised");
        // The bench learns from one half of the sessions and measures the other; the store has the very same turns.
        assert!(!packs || from_agents < 1.25 * stored, "{from_agents:.4} of full JSON from agents, {stored:.4} stored");
        assert!(stored < 1.25 * packed, "stored {stored:.4} of full JSON, {packed:.4} promised");
    }
}

#[actix_rt::test]
async fn bytes_over_the_pipe_fall_as_the_bench_promises() {
    if let Some(corpus) = std::env::var_os("FORERUNNER_CORPUS") {
        return bytes_fall_as_promised(Path::new(&corpus), &[ALONE, TOGETHER]).await;
    }
    bytes_fall_as_promised(&corpus("tau_airline.jsonl.gz"), &[ALONE, TOGETHER]).await;
    bytes_fall_as_promised(&corpus("intercode_sql.jsonl"), &[ALONE, TOGETHER, PLAIN]).await;
}

/// One turn of a context; answers the task.
async fn turn(client: &Client, context: &str, change: Value) -> Value {
    let task = json!({ "input": { "context": change }, "context": context });
    client.ask(Call::submit("coder", &task).wait(60)).await.expect(200)
}

#[actix_rt::test]
async fn an_edit_of_a_long_context_costs_little_over_the_pipe_and_in_the_store() {
    let site = Site::new().with("", &[Pool::builtin("coder").fixed(2)]);
    let service = site.serve().await;
    let client = service.client();
    let outputs: Vec<Value> = (0..50).map(|number| json!({ "tool": number, "text": noise(number, 4_000) })).collect();
    turn(&client, "chat", json!({ "append": outputs })).await;
    for at in 5..9 {
        let steps = json!([{ "copy": [0, at] }, { "insert": ["(cut)"] }, { "copy": [at + 1, 49 - at] }]);
        let done = turn(&client, "chat", json!({ "edit": steps })).await;
        let cost = &done["context_cost"];
        let moved = cost["to_agent_bytes"].as_u64().unwrap() + cost["from_agent_bytes"].as_u64().unwrap();
        assert!(cost["full_bytes"].as_u64() > Some(180_000) && cost["stored_bytes"].as_u64() < Some(200), "{cost}");
        // The other agent lacks all of the context at its first turn.
        assert!(moved < 600 || cost["to_agent_bytes"].as_u64() > Some(150_000), "{cost}");
    }
    let context = client.get("/v1/contexts/chat").await;
    assert_eq!((&context["items"], &context["version"]), (&json!(50), &json!(5)), "{context}");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

/// Text that does not pack well.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x} ", state >> 16));
    }
    text
}

#[actix_rt::test]
async fn a_context_that_is_removed_is_gone_and_begins_anew() {
    let site = Site::new().with("", &[Pool::builtin("coder").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    for _ in 0..3 {
        turn(&client, "chat", json!({ "append": ["old"] })).await;
    }
    assert_eq!(client.ask(Call::new("DELETE", "/v1/contexts/chat")).await.status, 204);
    for turns in 1..=3 {
        let done = turn(&client, "chat", json!({ "append": ["new"] })).await;
        // The agent's memory of the old one is of no use, though the versions are the same.
        assert_eq!(done["output"]["items"], turns - 1, "{done}");
        assert_eq!(client.get("/v1/contexts/chat").await["items"], turns);
    }
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn an_agent_that_holds_several_contexts_is_seen_to_hold_each() {
    let site = Site::new().with("", &[Pool::builtin("coder").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    for (context, source) in [("one", "new"), ("two", "new"), ("one", "agent"), ("two", "agent"), ("two", "agent")] {
        let done = turn(&client, context, json!({ "append": ["a message"] })).await;
        assert_eq!(done["context_cost"]["source"], source, "{done}");
    }
    let agent = client.get("/v1/pools/coder/agents").await["agents"][0]["id"].clone();
    for context in ["one", "two"] {
        assert_eq!(client.get(format!("/v1/contexts/{context}")).await["warm_on"], json!([agent]), "{context}");
    }
    let metrics = client.metrics().await;
    let sources = ["new", "agent", "node"].map(|source| metrics.sum("forerunner_context_source_total", source));
    assert_eq!(sources, [2.0, 3.0, 0.0]);
    assert_eq!(metrics.sum("forerunner_context_lookups_total", "hit"), 3.0);
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
}

#[actix_rt::test]
async fn contexts_outlive_stops_and_kills_and_are_read_back_in_full() {
    let site = Site::new().with("", &[Pool::builtin("coder").fixed(2)]);
    let mut turns = 0;
    for round in 0..3 {
        let service = site.serve().await;
        let client = service.client();
        for number in 0..5 {
            let done = turn(&client, "chat", json!({ "append": [format!("turn {turns}")] })).await;
            assert_eq!(done["output"]["items"], turns, "{done}");
            let source = done["context_cost"]["source"].as_str().unwrap();
            let expected: &[&str] = match (round, number) {
                (0, 0) => &["new"],
                (_, 0) => &["store"],
                _ => &["agent", "node"],
            };
            assert!(expected.contains(&source), "round {round}, turn {number}: {done}");
            turns += 1;
        }
        if round == 1 {
            service.kill();
        } else {
            assert_eq!(service.stop(SOON).await, 0);
        }
        site.empty(SOON).await;
    }
}
