//! S1: all faults at once, for as long as it takes to find a leak.

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

use forerunner_e2e::{Call, Client, PgServer, Pool, Service, Site, count, eventually};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, interval, sleep, sleep_until},
};

const SOON: Duration = Duration::from_secs(60);
/// Room around a restart of the database in which tasks may be late.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long a client keeps a connection whose answer it does not read.
const UNREAD: Duration = Duration::from_secs(10);

/// The log goes into an open pipe without a reader.
const UNREAD_LOG: [&str; 4] = ["sh", "-c", "mkfifo log.pipe && exec \"$@\" 2<>log.pipe", "sh"];

#[actix_rt::test]
async fn good_tasks_are_on_time_and_memory_is_flat_while_everything_else_fails() {
    let server = Arc::new(PgServer::start(false));
    let site = Site::new();
    let pool = Pool::writing("work", &site.effects()).set("min = 2\nmax = 8\ntask.retry_initial = \"100ms\"");
    let site = site.with("log.level = \"debug\"", &[pool]);
    let service = site.serve_on_under(&server.database(), &UNREAD_LOG).await;
    let soak = Soak::new(&service, Duration::from_secs(count(30, 1_800)));
    let ((), (), (), (), (), outages, memory) = futures_util::join!(
        soak.submit_good(),
        soak.submit_poison(),
        soak.leave_early(),
        soak.read_nothing(),
        soak.patch_pool(),
        soak.restart(server.clone()),
        soak.watch_memory(&service),
    );
    let verdict = soak.verdict(&outages, &memory).await;
    assert_eq!(service.stop(SOON).await, 0, "it stops as asked");
    site.empty(Duration::from_secs(5)).await;
    println!("S1: {verdict}");
    verdict.judge();
}

/// The faults and the calls between two moments.
struct Soak {
    client: Client,
    address: String,
    begun: Instant,
    until: Instant,
    lasts: Duration,
    good: Cell<u64>,
    poison: Cell<u64>,
}

/// The start and the end of an outage of the database, on the clock of the tasks.
type Outage = (f64, f64);

impl Soak {
    fn new(service: &Service, lasts: Duration) -> Self {
        let begun = Instant::now();
        let address = service.address().trim_start_matches("http://").to_owned();
        let (good, poison) = (Cell::new(0), Cell::new(0));
        Self { client: service.client(), address, begun, until: begun + lasts, lasts, good, poison }
    }

    /// Does something once a period, until the end.
    async fn each(&self, period: Duration, mut act: impl AsyncFnMut(u64)) {
        let mut ticks = interval(period);
        for tick in 0.. {
            ticks.tick().await;
            if Instant::now() >= self.until {
                return;
            }
            act(tick).await;
        }
    }

    /// Ten short tasks a second, each submitted until it is accepted.
    async fn submit_good(&self) {
        self.each(Duration::from_millis(100), async |tick| {
            self.submit(
                &format!("good-{tick}"),
                json!({ "input": { "service_s": 0.02 }, "labels": { "kind": "good" } }),
            )
            .await;
            self.good.set(tick + 1);
        })
        .await;
    }

    /// A task that kills three agents, every three seconds.
    async fn submit_poison(&self) {
        self.each(Duration::from_secs(3), async |tick| {
            let poison = json!({ "input": { "kill": true }, "labels": { "kind": "poison" }, "priority": 9 });
            self.submit(&format!("poison-{tick}"), poison).await;
            self.poison.set(tick + 1);
        })
        .await;
    }

    async fn submit(&self, key: &str, task: Value) {
        eventually("a submission is accepted", SOON, async || {
            let call = Call::submit("work", &task).header("Idempotency-Key", key);
            let answer = self.client.call(call).await.ok()?;
            assert!(matches!(answer.status, 200 | 202 | 500 | 503), "{answer:?}");
            (answer.status < 500).then_some(())
        })
        .await;
    }

    /// Clients that wait for a result and leave before it arrives.
    async fn leave_early(&self) {
        self.each(Duration::from_millis(250), async |_| {
            let body = r#"{"input":{"service_s":0.02},"labels":{"kind":"left"}}"#;
            let head = "Content-Type: application/json\r\nPrefer: wait=50\r\n";
            drop(
                self.raw(&format!(
                    "POST /v1/pools/work/tasks HTTP/1.1\r\nHost: {}\r\n{head}Content-Length: {}\r\n\r\n{body}",
                    self.address,
                    body.len()
                ))
                .await,
            );
        })
        .await;
    }

    /// Clients that request a page and do not read it.
    async fn read_nothing(&self) {
        self.each(Duration::from_millis(500), async |_| {
            let ask = format!("GET /v1/tasks?limit=1000 HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
            if let Some(stream) = self.raw(&ask).await {
                actix_rt::spawn(async move {
                    sleep(UNREAD).await;
                    drop(stream);
                });
            }
        })
        .await;
    }

    /// Sends bytes over a connection of their own; `None` if it is refused or cut.
    async fn raw(&self, bytes: &str) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        stream.write_all(bytes.as_bytes()).await.ok()?;
        Some(stream)
    }

    /// Changes the bounds of the pool every second.
    async fn patch_pool(&self) {
        self.each(Duration::from_secs(1), async |tick| {
            let bounds = if tick % 2 == 0 { json!({ "min": 2, "max": 6 }) } else { json!({ "min": 3, "max": 8 }) };
            // An error during an outage is expected.
            let _ = self.client.call(Call::new("PATCH", "/v1/pools/work").json(&bounds)).await;
        })
        .await;
    }

    /// Crashes the database after each third of the time, or each two minutes.
    async fn restart(&self, server: Arc<PgServer>) -> Vec<Outage> {
        let (pause, mut outages) = ((self.lasts / 3).min(Duration::from_secs(120)), Vec::new());
        let mut next = self.begun + pause;
        while next + pause <= self.until {
            sleep_until(next).await;
            let (server, begun) = (server.clone(), wall_clock());
            tokio::task::spawn_blocking(move || server.crash_and_restart()).await.expect("the server starts again");
            outages.push((begun, wall_clock()));
            next += pause;
        }
        outages
    }

    /// The resident memory of the node every second, in KiB.
    async fn watch_memory(&self, service: &Service) -> Vec<u64> {
        let (mut seen, pid) = (Vec::new(), service.pid());
        self.each(Duration::from_secs(1), async |_| seen.push(resident_kib(pid))).await;
        seen
    }

    async fn verdict(&self, outages: &[Outage], memory: &[u64]) -> Verdict {
        let lost_lines = self.client.metric("forerunner_log_lines_lost_total").await;
        let tasks = self.client.settled("work", SOON * 2).await;
        let of_kind =
            |kind: &str| tasks.iter().filter(|task| task["labels"]["kind"] == kind).cloned().collect::<Vec<_>>();
        let (good, poison) = (of_kind("good"), of_kind("poison"));
        let calm: Vec<&Value> = good.iter().filter(|task| !is_near(task, outages)).collect();
        let late = calm.iter().filter(|task| task["wait_s"].as_f64().unwrap_or(f64::MAX) > 1.0).count();
        let third = memory.len() / 3;
        Verdict {
            lasted: self.lasts,
            submitted: self.good.get(),
            good: good.iter().filter(|task| task["state"] == "succeeded").count() as u64,
            calm: calm.len(),
            late,
            poison: self.poison.get(),
            dead: poison.iter().filter(|task| task["state"] == "dead").count() as u64,
            left: of_kind("left").len(),
            outages: outages.len(),
            lost_lines,
            memory_kib: (median(&memory[third..2 * third]), median(&memory[2 * third..])),
        }
    }
}

struct Verdict {
    lasted: Duration,
    submitted: u64,
    good: u64,
    calm: usize,
    late: usize,
    poison: u64,
    dead: u64,
    left: usize,
    outages: usize,
    lost_lines: f64,
    memory_kib: (u64, u64),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.memory_kib;
        write!(
            f,
            "{:?}: {} of {} good tasks succeeded, {} of {} late outside of outages; {} of {} poisonous ones dead, \
             {} clients left early, {} crashes of the database, {} log lines lost; {before} KiB in the second third, \
             {after} KiB in the last",
            self.lasted,
            self.good,
            self.submitted,
            self.late,
            self.calm,
            self.dead,
            self.poison,
            self.left,
            self.outages,
            self.lost_lines
        )
    }
}

impl Verdict {
    fn judge(&self) {
        assert_eq!(self.good, self.submitted, "every good task succeeds");
        assert_eq!(self.dead, self.poison, "every poisonous task is dead");
        assert!(self.outages > 0 && self.left > 0, "everything was tried");
        // On a shared machine only most of them; the line above has the number.
        assert!(self.late * 2 < self.calm, "most good tasks are on time");
        let (before, after) = self.memory_kib;
        assert!(after < before + before / 4 + (16 << 10), "memory is flat");
    }
}

/// Whether a task arrived shortly before, during or shortly after an outage.
fn is_near(task: &Value, outages: &[Outage]) -> bool {
    let created = task["created_at"].as_str().map_or(0.0, seconds_of);
    let room = RECOVERY.as_secs_f64();
    outages.iter().any(|(begun, ended)| (begun - room..ended + room).contains(&created))
}

/// Seconds into the day of a time such as `2026-11-30T12:34:56.789Z`.
fn seconds_of(time: &str) -> f64 {
    let clock = time.split('T').nth(1).unwrap_or_default().trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or(0.0))
}

/// Seconds into the day, as [`seconds_of`].
fn wall_clock() -> f64 {
    #[allow(clippy::disallowed_methods, reason = "a test compares it with the times of the service")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs_f64() % 86_400.0
}

/// Resident memory of a process.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("the node lives")
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
