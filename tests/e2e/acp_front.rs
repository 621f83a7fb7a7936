//! `forerunner acp`: an editor uses a pool as its agent.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use forerunner_e2e::{Service, Site, binary, coding_agents, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// An editor, which reads and writes the messages one after another. Dropping it kills the command.
struct Editor {
    command: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    count: u64,
    /// What it answers to questions for permission: the kind of an option, or nothing to cancel.
    permits: Option<&'static str>,
    /// The updates of the turn: their kinds and texts.
    shown: Vec<(String, String)>,
}

impl Editor {
    fn start(service: &Service, pool: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["acp", "--pool", pool]).args(flags).env("FORERUNNER_SERVER", service.address());
        let mut command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program is there");
        let (input, output) = (command.stdin.take().expect("piped"), command.stdout.take().expect("piped"));
        let output = BufReader::new(output);
        let mut editor = Self { command, input, output, count: 0, permits: Some("allow_once"), shown: Vec::new() };
        let about = editor.ask("initialize", &json!({ "protocolVersion": 1, "clientCapabilities": {} }));
        assert_eq!(about["result"]["protocolVersion"], 1, "{about}");
        editor
    }

    fn send(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        writeln!(self.input, "{message}").expect("the command reads");
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the command writes");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("`{line}` is no message"))
    }

    fn begin(&mut self, method: &str, params: &Value) -> u64 {
        self.count += 1;
        let id = self.count;
        self.send(json!({ "id": id, "method": method, "params": params }));
        id
    }

    /// Reads until a request is answered. Questions of the agent are answered meanwhile.
    fn answered(&mut self, id: u64) -> Value {
        loop {
            let message = self.read();
            match message["method"].as_str() {
                None if message["id"] == id => return message,
                Some("session/update") => {
                    let update = &message["params"]["update"];
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    self.shown.push((text(&update["sessionUpdate"]), text(&update["content"]["text"])));
                }
                Some("session/request_permission") => self.permit(&message),
                _ => panic!("nobody asked for {message}"),
            }
        }
    }

    fn permit(&mut self, message: &Value) {
        let options = message["params"]["options"].as_array().expect("options");
        let chosen = self.permits.map(|kind| {
            options.iter().find(|option| option["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {message}"))
        });
        let outcome = match chosen {
            Some(option) => json!({ "outcome": "selected", "optionId": option["optionId"] }),
            None => json!({ "outcome": "cancelled" }),
        };
        self.send(json!({ "id": message["id"], "result": { "outcome": outcome } }));
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.begin(method, params);
        self.answered(id)
    }

    fn session(&mut self) -> String {
        let begun = self.ask("session/new", &json!({ "cwd": "/", "mcpServers": [] }));
        begun["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned()
    }

    fn begin_turn(&mut self, session: &str, text: &str) -> u64 {
        self.shown.clear();
        self.begin("session/prompt", &json!({ "sessionId": session, "prompt": [{ "type": "text", "text": text }] }))
    }

    fn turn(&mut self, session: &str, text: &str) -> (Value, String) {
        let id = self.begin_turn(session, text);
        let answer = self.answered(id);
        let said = self.shown.iter().filter(|(kind, _)| kind == "agent_message_chunk");
        (answer["result"]["stopReason"].clone(), said.map(|(_, text)| text.as_str()).collect())
    }

    /// Closes the input. Returns the exit code.
    fn close(self) -> Option<i32> {
        let Self { mut command, input, output, .. } = self;
        drop((input, output));
        for _ in 0..3_000 {
            if let Some(status) = command.try_wait().expect("a child") {
                return status.code();
            }
            sleep(Duration::from_millis(20));
        }
        let _ended = command.kill();
        panic!("the command does not end with its input");
    }
}

async fn serve() -> (Site, Service) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/forerunner-agents/src/acp/tests/agent.py");
    let echo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/echo_agent.py");
    let pools = format!(
        "[pools.coder]\nmin = 1\nmax = 1\npolicy = \"fixed:1\"\n[pools.coder.agent]\nkind = \"acp\"\n\
         argv = [\"python3\", \"-S\", {script:?}]\npermissions = \"ask\"\n\
         [pools.echo]\nmin = 1\nmax = 1\npolicy = \"fixed:1\"\n[pools.echo.agent]\nkind = \"process\"\n\
         argv = [\"python3\", {echo:?}]\n"
    );
    let site = Site::new().with(&pools, &[]);
    let service = site.serve().await;
    (site, service)
}

#[actix_rt::test]
async fn an_editor_has_a_conversation_with_a_pool() {
    let (_site, service) = serve().await;
    let mut editor = Editor::start(&service, "coder", &[]);
    let session = editor.session();
    assert_eq!(editor.turn(&session, "@@ say alpha"), (json!("end_turn"), "pong alpha".to_owned()));
    assert_eq!(editor.turn(&session, "@@ ask rm"), (json!("end_turn"), "choice yes".to_owned()));
    editor.permits = Some("reject_once");
    assert_eq!(editor.turn(&session, "@@ ask rm"), (json!("end_turn"), "choice no".to_owned()));
    editor.permits = None;
    assert_eq!(editor.turn(&session, "@@ ask rm").0, "cancelled");
    assert_eq!(editor.close(), Some(0));
    // Another editor goes on with it.
    let mut editor = Editor::start(&service, "coder", &[]);
    let loaded = editor.ask("session/load", &json!({ "sessionId": session, "cwd": "/", "mcpServers": [] }));
    assert!(loaded["error"].is_null(), "{loaded}");
    let user = |text: &str| ("user_message_chunk".to_owned(), text.to_owned());
    let agent = |text: &str| ("agent_message_chunk".to_owned(), text.to_owned());
    let turns = [user("@@ say alpha"), agent("pong alpha"), user("@@ ask rm"), agent("choice yes")];
    assert_eq!(editor.shown[..4], turns);
    let (_, heard) = editor.turn(&session, "@@ recall");
    assert!(heard.contains("alpha"), "{heard}");
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn an_editor_sees_what_a_process_streams_and_cancels_a_turn() {
    let (_site, service) = serve().await;
    let mut editor = Editor::start(&service, "echo", &["--field", "text"]);
    let session = editor.session();
    let (ended, said) = editor.turn(&session, "hello world");
    assert_eq!(ended, "end_turn");
    assert!(said.contains("hello"), "{said}");
    let mut editor = Editor::start(&service, "coder", &[]);
    let session = editor.session();
    let id = editor.begin_turn(&session, "@@ hang");
    let second =
        editor.ask("session/prompt", &json!({ "sessionId": session, "prompt": [{ "type": "text", "text": "x" }] }));
    assert!(second["error"]["message"].as_str().is_some_and(|text| text.contains("wait for its end")), "{second}");
    editor.send(json!({ "method": "session/cancel", "params": { "sessionId": session } }));
    assert_eq!(editor.answered(id)["result"]["stopReason"], "cancelled");
    // A turn that nobody reads is cancelled with the end of the input.
    let id = editor.begin_turn(&session, "@@ hang");
    assert!(id > 0);
    let client = service.client();
    eventually("it runs", SOON, async || {
        holds(client.get("/v1/tasks?pool=coder&state=running").await["tasks"][0].is_object())
    })
    .await;
    assert_eq!(editor.close(), Some(0));
    eventually("it is cancelled", SOON, async || holds(client.get("/v1/pools/coder").await["running"] == 0)).await;
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
#[ignore = "tests/coding-agents.sh installs acpx and runs it"]
async fn acpx() {
    let more = coding_agents().join("more");
    let program = more.join("node_modules/.bin/acpx");
    assert!(program.exists(), "{} is not there; run tests/coding-agents/install.sh --all", program.display());
    let (site, service) = serve().await;
    for (pool, flag, prompt, says, code) in [
        ("echo", "--approve-all", "hello world", "hello world", 0),
        ("coder", "--approve-all", "@@ ask rm", "choice yes", 0),
        // acpx ends so when it has refused a permission.
        ("coder", "--deny-all", "@@ ask rm", "choice no", 5),
    ] {
        let agent = format!("{} acp --pool {pool}", binary().display());
        let path = format!("{}:{}", more.join("node").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(&program);
        command.args([flag, "--agent", &agent, "exec", prompt]).current_dir(site.directory()).env("PATH", path);
        command.env("HOME", site.directory()).env("FORERUNNER_SERVER", service.address()).stdin(Stdio::null());
        let ended = command.output().expect("acpx is there");
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(said.contains(says), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(code), "{said}");
    }
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn what_an_editor_sends_wrongly_is_refused_in_words() {
    let (_site, service) = serve().await;
    let mut editor = Editor::start(&service, "echo", &[]);
    let session = editor.session();
    let image = json!({ "sessionId": session, "prompt": [{ "type": "image", "data": "", "mimeType": "image/png" }] });
    for (method, params, says) in [
        ("session/prompt", image, "`image` is not supported"),
        ("session/prompt", json!({ "sessionId": session }), "`prompt` is missing"),
        ("session/prompt", json!({ "prompt": [] }), "`sessionId` is missing"),
        ("session/load", json!({ "sessionId": "elsewhere" }), "session `elsewhere` has no turns in pool `echo`"),
        ("session/sing", json!({}), "method `session/sing` is not supported"),
    ] {
        let refused = editor.ask(method, &params);
        let message = refused["error"]["message"].as_str().unwrap_or_else(|| panic!("{refused}"));
        assert!(message.contains(says), "`{message}` does not say `{says}`");
    }
    writeln!(editor.input, "no json").expect("the command reads");
    let refused = editor.read();
    assert_eq!(refused["error"]["code"], -32700, "{refused}");
    let (ended, _) = editor.turn(&session, "it still works");
    assert_eq!(ended, "end_turn");
    let mut unknown = Command::new(binary());
    unknown.args(["acp", "--pool", "nope"]).env("FORERUNNER_SERVER", service.address()).stdin(Stdio::null());
    let ended = unknown.output().expect("the program is there");
    let says = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && says.contains("there is no pool `nope`"), "{says}");
    assert_eq!(service.stop(SOON).await, 0);
}
