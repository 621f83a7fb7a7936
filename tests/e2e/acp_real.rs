//! Coding agents as their makers ship them, with a model on loopback: what docs/acp.md promises, seen from outside.
//!
//! `tests/coding-agents/install.sh` installs them. They need a registry and the whole machine, so `tests/run.sh` runs the
//! first two by themselves, and `tests/coding-agents.sh` all of them.

use std::{fs, path::PathBuf, time::Duration};

use forerunner_e2e::{
    Call, Client, CodingAgent, ModelServer, Service, Signal, Site, count, eventually, holds, is_alive, send,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(90);

#[actix_rt::test]
#[ignore = "tests/run.sh installs and drives it"]
async fn opencode() {
    drive("opencode").await;
}

#[actix_rt::test]
#[ignore = "tests/run.sh installs and drives it"]
async fn codex() {
    drive("codex").await;
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs and drives it"]
async fn claude() {
    drive("claude").await;
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs and drives it"]
async fn gemini() {
    drive("gemini").await;
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs and drives it"]
async fn qwen() {
    drive("qwen").await;
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs and drives it"]
async fn vibe() {
    drive("vibe").await;
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs and drives it"]
async fn pi() {
    drive("pi").await;
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs and drives it"]
async fn fast_agent() {
    drive("fast-agent").await;
}

/// Time to the first piece of an answer, by `forerunner bench agents`: of all installed agents, or those that
/// `FORERUNNER_AGENTS` names.
#[actix_rt::test]
#[ignore = "tests/run.sh installs them and measures"]
async fn measure() {
    let wanted = std::env::var("FORERUNNER_AGENTS").unwrap_or_else(|_| "codex".to_owned());
    let mut measured = 0;
    let names = ["opencode", "codex", "claude", "gemini", "qwen", "vibe", "pi", "fast-agent"];
    for name in names.into_iter().filter(|name| wanted.split(' ').any(|wanted| wanted == *name)) {
        let Some(agent) = CodingAgent::installed(name) else {
            println!("{name} is not installed");
            continue;
        };
        measured += 1;
        let stage = Stage::new(agent).await;
        stage.configure("permissions = \"ask\"");
        let file = stage.site.config();
        let prompt = ["--prompt", "@@ say hello", "--repetitions", if count(0, 1) == 0 { "2" } else { "5" }];
        let arguments = ["--output", "json", "bench", "agents", "--config", file.to_str().expect("a path")];
        let found =
            stage.site.program().within(5 * SOON).run(arguments.into_iter().chain(prompt)).await.ended(0).json();
        let row = &found["agents"][0];
        let [start, cold, warm, ratio] = ["start_s", "cold_s", "warm_s", "ratio"].map(|name| {
            let at = |part: &str| row[name][part].as_f64().expect("a number");
            format!("{:.2} ({:.2}–{:.2})", at("median"), at("min"), at("max"))
        });
        let [memory, session] =
            ["memory_bytes", "session_bytes"].map(|name| row[name].as_u64().expect("a number") / 1_000_000);
        println!(
            "{name}: start {start}, cold {cold}, warm {warm}, ratio {ratio}, {memory} MB, {session} MB a conversation"
        );
        assert!(row["ratio"]["median"].as_f64().is_some_and(|ratio| ratio < 0.5), "warm is sooner: {row}");
    }
    assert_ne!(measured, 0, "none of these is installed: {wanted}; run tests/coding-agents/install.sh --all");
}

/// What differs between agents.
struct Traits {
    /// The command that makes the file of this name, after a person has granted it.
    touch: fn(&str) -> String,
    asks: bool,
}

impl Traits {
    fn of(preset: &str) -> Self {
        let run = |file: &str| format!("@@ run touch {file}");
        let write = |file: &str| format!("@@ write {file} text");
        match preset {
            // It has no shell.
            "fast-agent" => Self { touch: write, asks: true },
            "pi" => Self { touch: run, asks: false },
            _ => Self { touch: run, asks: true },
        }
    }
}

async fn drive(preset: &'static str) {
    let agent = CodingAgent::installed(preset)
        .unwrap_or_else(|| panic!("{preset} is not installed; run tests/coding-agents/install.sh --all"));
    let stage = Stage::new(agent).await;
    let mut service = stage.serve().await;
    let mut talks = stage.warms_up(&service).await;
    let started = Instant::now();
    let asked = stage.asks_while_it_serves(&service, &mut talks).await;
    stage.converses(&service, &mut talks).await;
    stage.loses_an_agent_in_a_turn(&service, &mut talks[0]).await;
    service = stage.loses_the_node_in_a_turn(service, &mut talks[1]).await;
    stage.is_cancelled(&service, &mut talks[0]).await;
    stage.has_a_dead_model(&service, &mut talks[1]).await;
    for talk in &mut talks {
        talk.remembers(&service.client()).await;
    }
    println!("{preset}: {} permissions asked, all of it in {:.0} s", asked, started.elapsed().as_secs_f64());
    assert_eq!(service.stop(SOON).await, 0);
    stage.site.empty(SOON).await;
}

/// A conversation: its context, and what was said in it.
struct Talk {
    id: String,
    said: Vec<String>,
}

impl Talk {
    fn new(number: u64) -> Self {
        Self { id: format!("chat-{number}"), said: Vec::new() }
    }

    async fn submit(&self, client: &Client, prompt: &str) -> String {
        let task = json!({ "input": prompt, "context": self.id, "max_attempts": 3 });
        let task = client.ask(Call::submit("coder", &task)).await.expect(202);
        task["id"].as_str().expect("an id").to_owned()
    }

    /// Says a word that nobody else says.
    async fn says(&mut self, client: &Client) {
        let word = format!("{}-w{}", self.id, self.said.len());
        let task = self.submit(client, &format!("@@ say {word}")).await;
        let output = text(client.ended(&task).await);
        assert!(output.contains(&format!("pong {word}")), "{output}");
        self.said.push(word);
    }

    /// The agent knows all that was said here, and nothing that was said elsewhere.
    async fn remembers(&self, client: &Client) {
        let task = self.submit(client, "@@ recall").await;
        let heard = text(client.ended(&task).await);
        for word in &self.said {
            assert!(heard.contains(word.as_str()), "{} forgot {word}: {heard}", self.id);
        }
        let foreign = heard
            .split_whitespace()
            .find(|word| word.starts_with("chat-") && !word.starts_with(&format!("{}-w", self.id)));
        assert_eq!(foreign, None, "{} heard what was said elsewhere: {heard}", self.id);
    }
}

#[track_caller]
fn text(task: Value) -> String {
    assert_eq!(task["state"], "succeeded", "{task}");
    task["output"]["text"].as_str().expect("a text").to_owned()
}

/// A site with a pool of one kind of agent, and its model.
struct Stage {
    site: Site,
    model: ModelServer,
    agent: CodingAgent,
    agents: u64,
}

impl Stage {
    async fn new(agent: CodingAgent) -> Self {
        let site = Site::new();
        let model = ModelServer::start("coding-agents/model.py", site.directory()).await;
        Self { site, model, agent, agents: count(2, 4) }
    }

    async fn serve(&self) -> Service {
        self.configure("permissions = \"ask\"\nstall_timeout = \"30s\"\nstart_timeout = \"120s\"");
        self.site.serve().await
    }

    /// Writes the configuration: a pool of these agents, whose table has these lines.
    fn configure(&self, lines: &str) {
        let agents = self.agents;
        let table = self.agent.table(&self.site, self.model.address(), lines);
        let table = table.replace("[env]", "[pools.coder.agent.env]");
        let pool = format!(
            "[pools.coder]\nmin = {agents}\nmax = {agents}\npolicy = \"fixed:{agents}\"\n[pools.coder.agent]\n{table}"
        );
        fs::write(self.site.config(), format!("http.listen = \"127.0.0.1:0\"\n{pool}")).expect("a file");
    }

    async fn pids(&self, client: &Client, state: &str) -> Vec<u32> {
        let agents = client.get("/v1/pools/coder/agents").await;
        let agents = agents["agents"].as_array().cloned().unwrap_or_default();
        let found = agents.iter().filter(|agent| agent["state"] == state);
        found.filter_map(|agent| u32::try_from(agent["pid"].as_u64()?).ok()).collect()
    }

    /// The agents are ready before there is a task.
    async fn warms_up(&self, service: &Service) -> Vec<Talk> {
        let client = service.client();
        let wanted = self.agents as usize;
        eventually("the agents are warm", SOON, async || holds(self.pids(&client, "ready").await.len() == wanted))
            .await;
        let agents = client.get("/v1/pools/coder/agents").await;
        let cold = agents["agents"][0]["cold_start_s"].as_f64().expect("a time");
        let begun = Instant::now();
        let mut talk = Talk::new(0);
        talk.says(&client).await;
        println!("{}: cold start {cold:.2} s, first task {:.2} s", self.agent.preset(), begun.elapsed().as_secs_f64());
        let others = (1..count(3, 20)).map(Talk::new);
        std::iter::once(talk).chain(others).collect()
    }

    async fn converses(&self, service: &Service, talks: &mut [Talk]) {
        let client = service.client();
        for _ in 0..count(2, 5) {
            join_all(talks.iter_mut().map(|talk| talk.says(&client))).await;
        }
        for talk in talks {
            talk.remembers(&client).await;
        }
    }

    /// A permission is answered after its process served others.
    async fn asks_while_it_serves(&self, service: &Service, talks: &mut [Talk]) -> u64 {
        let client = service.client();
        let Traits { touch, asks } = Traits::of(self.agent.preset());
        let [first, second, others @ ..] = talks else { panic!("three conversations") };
        let granted = first.submit(&client, &touch("granted.txt")).await;
        let refused = second.submit(&client, &touch("refused.txt")).await;
        if !asks {
            text(client.ended(&granted).await);
            text(client.ended(&refused).await);
            assert_eq!((self.made("granted.txt"), self.made("refused.txt")), (1, 1));
            return 0;
        }
        let mut questions = 0;
        for task in [&granted, &refused] {
            self.question(&client, task).await;
        }
        assert_eq!((self.made("granted.txt"), self.made("refused.txt")), (0, 0), "nothing happens before the answer");
        for talk in others {
            talk.says(&client).await;
        }
        assert_eq!(self.pids(&client, "ready").await.len() as u64, self.agents, "tasks that wait need no agent");
        for (task, answer) in [(&granted, "allow"), (&refused, "reject")] {
            questions += self.answer(&client, task, answer).await;
        }
        assert_eq!((self.made("granted.txt"), self.made("refused.txt")), (1, 0));
        questions
    }

    async fn question(&self, client: &Client, task: &str) -> Value {
        eventually("the agent asks", SOON, async || {
            let task = client.get(format!("/v1/tasks/{task}")).await;
            assert!(task["finished_at"].is_null(), "it did not ask: {task}");
            (task["state"] == "waiting").then_some(task)
        })
        .await
    }

    /// Answers all that is asked in a task, until it ends; returns how often.
    async fn answer(&self, client: &Client, task: &str, answer: &str) -> u64 {
        for answered in 0..5 {
            let seen = eventually("it asks or ends", SOON, async || {
                let task = client.get(format!("/v1/tasks/{task}")).await;
                (task["state"] == "waiting" || !task["finished_at"].is_null()).then_some(task)
            })
            .await;
            if !seen["finished_at"].is_null() {
                // A refusal may end the turn without a word.
                assert!(answer == "reject" || seen["state"] == "succeeded", "{seen}");
                return answered;
            }
            let request = seen["requests"].as_array().and_then(|list| list.last()).expect("a request")["id"].clone();
            let body = json!({ "request": request, "answer": answer });
            client.ask(Call::new("POST", format!("/v1/tasks/{task}:answer")).json(&body)).await.expect(202);
        }
        panic!("it asks again and again");
    }

    /// How many files of this name there are in working directories.
    fn made(&self, name: &str) -> usize {
        let directories = fs::read_dir(self.site.path("work").join("coder")).into_iter().flatten();
        let files: Vec<PathBuf> = directories.map(|entry| entry.expect("an entry").path().join(name)).collect();
        files.iter().filter(|file| file.exists()).count()
    }

    /// Submits a turn that takes seconds, and waits until it streams. Returns the task and the process that runs it.
    async fn slow_turn(&self, client: &Client, talk: &Talk) -> (String, u32) {
        let task = talk.submit(client, "@@ slow 24").await;
        let mut most = 1;
        eventually("the agent answers", SOON, async || {
            let events = client.events_after(&task, 0, most).await;
            most += 1;
            holds(events.iter().any(|event| event["event"] == "output"))
        })
        .await;
        let pids = self.pids(client, "busy").await;
        assert_eq!(pids.len(), 1, "one agent is busy");
        (task, pids[0])
    }

    async fn loses_an_agent_in_a_turn(&self, service: &Service, talk: &mut Talk) {
        let client = service.client();
        let (task, pid) = self.slow_turn(&client, talk).await;
        assert!(send(pid, Signal::KILL));
        let task = client.ended(&task).await;
        assert!(text(task.clone()).contains("c23"), "another process continues: {task}");
        assert_eq!((&task["attempt"], &task["crashes"]), (&json!(2), &json!(1)), "one process ended: {task}");
        talk.remembers(&client).await;
    }

    async fn loses_the_node_in_a_turn(&self, service: Service, talk: &mut Talk) -> Service {
        let client = service.client();
        let (task, pid) = self.slow_turn(&client, talk).await;
        service.kill();
        eventually("agents end with their node", SOON, async || holds(!is_alive(pid))).await;
        let service = self.serve().await;
        let client = service.client();
        assert!(text(client.ended(&task).await).contains("c23"), "the turn is played by another node");
        talk.remembers(&client).await;
        service
    }

    async fn is_cancelled(&self, service: &Service, talk: &mut Talk) {
        let client = service.client();
        let (task, pid) = self.slow_turn(&client, talk).await;
        let begun = Instant::now();
        client.ask(Call::new("POST", format!("/v1/tasks/{task}:cancel"))).await;
        assert_eq!(client.ended(&task).await["state"], "cancelled");
        println!("{}: cancelled after {:.2} s", self.agent.preset(), begun.elapsed().as_secs_f64());
        assert!(is_alive(pid), "the process goes on");
        talk.says(&client).await;
    }

    async fn has_a_dead_model(&self, service: &Service, talk: &mut Talk) {
        let client = service.client();
        fs::write(self.site.path("down"), "").expect("a file");
        let task = json!({ "input": "@@ say never", "context": talk.id, "max_attempts": 1 });
        let task = client.ask(Call::submit("coder", &task)).await.expect(202);
        let ended = client.ended(task["id"].as_str().expect("an id")).await;
        assert_ne!(ended["state"], "succeeded", "{ended}");
        assert_eq!(ended["error"]["kind"], "agent_error", "{ended}");
        fs::remove_file(self.site.path("down")).expect("the file");
        talk.says(&client).await;
    }
}
