//! Placements of tasks with contexts in the service, compared with the replay of the same load. The agents are real
//! processes with the replay's cost of loading a context.

use std::{fmt::Write, fs, path::Path, time::Duration};

use forerunner_e2e::{Call, Client, Metrics, Pool, Site, count, eventually};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

const SOON: Duration = Duration::from_secs(30);
const AGENTS: u32 = 12;
/// Contexts per agent: about as many as have 4 MB in the recording.
const CONTEXTS: u32 = 8;
/// So many seconds of the recording pass in one by the clock on the wall.
const SPEED: f64 = 40.0;
/// So many recorded blocks of 256 bytes are one item here, of as many bytes.
const BLOCKS_PER_ITEM: u64 = 16;
const ITEM_BYTES: u64 = 256;
/// How far the service and the replay may be apart.
const POINTS: f64 = 0.05;

/// A task as it was recorded; its context in items.
struct Recorded {
    arrival_s: f64,
    service_s: f64,
    session: String,
    items: u64,
    /// How many of the first are those of the task before in the same session.
    shared: u64,
}

/// The recorded sessions, see the README beside the file.
fn recorded(tasks: usize) -> Vec<Recorded> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/forerunner-runtime/testdata/agentcode_slice.csv");
    let text = fs::read_to_string(file).expect("the recording is there");
    let read = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |at: usize| cells[at].parse::<f64>().expect("a number");
        let items = |at: usize| cells[at].parse::<u64>().expect("a whole number") / BLOCKS_PER_ITEM;
        Recorded {
            arrival_s: number(0),
            service_s: number(1),
            session: cells[2].to_owned(),
            items: items(3),
            shared: items(4),
        }
    };
    text.lines().skip(1).take(tasks).map(read).collect()
}

/// What the program replays of these sessions at a rate in seconds a megabyte, by policy.
async fn replayed(site: &Site, tasks: &[Recorded], s_per_mb: f64) -> [Value; 2] {
    let (trace, blocks) = (site.path("trace.csv"), site.path("blocks.csv"));
    let (mut when, mut what) =
        ("arrival_s,service_s,session\n".to_owned(), "arrival_s,session,blocks,shared_blocks\n".to_owned());
    for Recorded { arrival_s, service_s, session, items, shared } in tasks {
        writeln!(when, "{arrival_s},{service_s},{session}").expect("text grows");
        writeln!(what, "{arrival_s},{session},{items},{shared}").expect("text grows");
    }
    fs::write(&trace, when).and_then(|()| fs::write(&blocks, what)).expect("the directory is ours");
    let numbers =
        [("--agents", AGENTS.to_string()), ("--contexts", CONTEXTS.to_string()), ("--restore", s_per_mb.to_string())];
    let mut line = vec!["placement".to_owned(), trace.display().to_string()];
    line.extend(["--blocks".to_owned(), blocks.display().to_string(), "--block".to_owned(), ITEM_BYTES.to_string()]);
    line.extend(numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    line.extend(["--restore-fixed", "0s", "--one-of-a-session", "--output", "json"].map(str::to_owned));
    line.extend(["--policy", "ours", "--policy", "first-ready"].map(str::to_owned));
    let rows = site.program().run(line).await.ended(0).json();
    ["ours", "first-ready"].map(|policy| {
        let rows = rows.as_array().into_iter().flatten();
        let mut own = rows.filter(|row| row["policy"] == policy && row["shared_store"] == false);
        own.next().expect("it was replayed").clone()
    })
}

/// An item of [`ITEM_BYTES`] as JSON, like no other.
fn item(number: u64) -> String {
    let noise = (0..).map(|word: u64| number.wrapping_add(word << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let text: String = noise.take(16).map(|word| format!("{:016x}", word ^ word >> 29)).collect();
    text[..ITEM_BYTES as usize - 2].to_owned()
}

/// Submits each task when it is due, and waits until all have ended.
async fn lived(client: &Client, tasks: &[Recorded]) -> Metrics {
    let begun = Instant::now();
    for (place, Recorded { arrival_s, service_s, session, items, shared }) in tasks.iter().enumerate() {
        sleep_until(begun + Duration::from_secs_f64(arrival_s / SPEED)).await;
        let new: Vec<String> = (*shared..*items).map(|at| item((place as u64) << 16 | at)).collect();
        let change = match shared {
            0 => json!({ "replace": new }),
            _ => json!({ "edit": [{ "copy": [0, shared] }, { "insert": new }] }),
        };
        let task = json!({ "input": { "service_s": service_s, "context": change }, "context": session });
        assert_eq!(client.ask(Call::submit("coder", &task)).await.status, 202);
    }
    let all = tasks.len() as f64;
    eventually("all tasks have ended", Duration::from_secs(300), async || {
        Some(client.get("/v1/pools/coder").await).filter(|pool| pool["finished"].as_f64() >= Some(all))
    })
    .await;
    client.metrics().await
}

/// Runs the load in a service. Returns its metrics.
async fn live(tasks: &[Recorded], s_per_mb: f64) -> (Metrics, f64) {
    let numbers = [("--speed", SPEED), ("--contexts", f64::from(CONTEXTS)), ("--load", s_per_mb)];
    let pool = Pool::builtin("coder").fixed(AGENTS);
    let pool = pool.arguments(numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    // The contexts are noise: compression would cost time without an effect.
    let site = Site::new().with("", &[pool.set("agent.compression_window_bytes = 0")]);
    let service = site.serve().await;
    let client = service.client();
    eventually("the agents are warm", SOON, async || {
        Some(client.get("/v1/pools/coder").await).filter(|pool| pool["agents"]["ready"] == AGENTS)
    })
    .await;
    let counted = lived(&client, tasks).await;
    let done = client.tasks("pool=coder").await;
    assert!(
        done.iter().all(|task| task["state"] == "succeeded"),
        "{:?}",
        done.iter().find(|task| task["state"] != "succeeded")
    );
    let waits: f64 = done.iter().map(|task| task["wait_s"].as_f64().expect("it began")).sum();
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(SOON).await;
    (counted, waits / done.len() as f64 * SPEED)
}

/// Ten minutes of the recording, all of its half hour with `FORERUNNER_FULL`.
#[actix_rt::test]
async fn a_service_finds_as_much_of_the_contexts_warm_as_the_replay_does() {
    let tasks = recorded(count(400, 1_279) as usize);
    for recorded_s_per_mb in [2.0, 10.0] {
        // Contexts are smaller here than in the recording, and cost as much.
        let s_per_mb = recorded_s_per_mb * BLOCKS_PER_ITEM as f64;
        let [ours, first_ready] = replayed(&Site::new(), &tasks, s_per_mb).await;
        let (counted, wait_s) = live(&tasks, s_per_mb).await;
        let placed = |result: &str| counted.sum("forerunner_placement_context_bytes_total", result);
        let hit_share = placed("hit") / (placed("hit") + placed("miss"));
        let [replayed, naive] = [&ours, &first_ready].map(|row| row["share_of_limit"].as_f64().expect("a share"));
        let to_agents = counted.sum("forerunner_context_pipe_bytes_total", "to_agent");
        println!(
            "{recorded_s_per_mb} s/MB, {} tasks: live {:.1} % warm, replay {:.1} %, first-ready {:.1} %; waits live {wait_s:.2} s, \
             replay {} s; to agents {:.1} MB live, {:.1} MB in the replay, which moves new items as well",
            tasks.len(),
            hit_share * 100.0,
            replayed * 100.0,
            naive * 100.0,
            ours["wait_s"],
            to_agents / 1e6,
            ours["moved_bytes"].as_f64().expect("bytes") / 1e6,
        );
        assert!((hit_share - replayed).abs() < POINTS, "live {hit_share:.3}, replayed {replayed:.3}");
        assert!(naive < replayed - 0.15, "first-ready {naive:.3}, ours {replayed:.3}");
        // The bytes that the node counts as missing are those on the pipe, without the lines' envelopes and commas.
        let missing = placed("miss");
        assert!((0.95..1.10).contains(&(to_agents / missing)), "{to_agents} bytes to agents, {missing} missing");
    }
}
