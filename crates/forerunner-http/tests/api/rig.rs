//! A node with the service, and the requests of tests.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix_web::{
    App,
    http::{StatusCode, header::HeaderMap},
    test::{self, TestRequest},
    web::Bytes,
};
use forerunner_core::{TaskId, Timestamp};
use forerunner_http::{Api, HttpServer, HttpSettings};
use forerunner_runtime::{
    ContextSettings, Handle, Node, NodeSpec, PoolSettings, PoolSpec, QueueSettings, ThreadPlacement,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};

use crate::{agents::Scripted, document, store::FaultyStore};

/// A node with two pools: `coder`, and `small`, with one agent and room for one task of 1 KiB.
pub struct Rig {
    node: Option<Node>,
    handle: Handle,
    pub api: Api,
    pub store: Arc<FaultyStore>,
    pub settings: HttpSettings,
}

impl Rig {
    /// All on the test's own thread.
    pub async fn start() -> Self {
        Self::placed(ThreadPlacement::Current).await
    }

    pub async fn placed(placement: ThreadPlacement) -> Self {
        let settings = HttpSettings {
            listen: "127.0.0.1:0".to_owned(),
            workers: 1,
            body_timeout: Duration::from_millis(500),
            ..HttpSettings::default()
        };
        let small =
            QueueSettings { limit: 1, max_input_bytes: 1 << 10, limit_bytes: 1 << 10, ..QueueSettings::default() };
        let contexts = ContextSettings { limit_bytes: 1, ..ContextSettings::default() };
        let small = PoolSettings { max: 1, queue: small, contexts, ..PoolSettings::default() };
        let store = FaultyStore::new();
        let mut spec = NodeSpec::new(store.clone());
        spec.max_schedules = 2;
        spec.placement = placement;
        let spec = spec
            .pool(PoolSpec::new("coder", PoolSettings::default(), Scripted::factory()).unwrap())
            .pool(PoolSpec::new("small", small, Scripted::factory()).unwrap());
        let node = Node::start(spec).await.unwrap();
        let handle = node.handle();
        let api = Api::new(settings.clone(), handle.clone(), prometheus());
        Self { node: Some(node), handle, api, store, settings }
    }

    /// Returns what the service is made of.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops the node under the service.
    pub async fn stop_node(&mut self) {
        self.take_node().shutdown(Duration::from_secs(1)).await;
    }

    /// Removes the node, to be stopped.
    pub fn take_node(&mut self) -> Node {
        self.node.take().expect("a node stops once")
    }

    /// Binds a server for the node, on its own port.
    pub fn server(&self) -> HttpServer {
        HttpServer::bind(self.settings.clone(), self.handle.clone(), prometheus()).unwrap()
    }

    /// Makes a call. What is answered has to be in the OpenAPI document.
    pub async fn send(&self, request: TestRequest) -> Answer {
        let app = test::init_service(App::new().configure(|config| self.api.configure(config))).await;
        let request = request.to_request();
        let call = (request.method().to_string(), request.path().to_owned());
        let response = test::call_service(&app, request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Answer { call, status, headers, body: test::read_body(response).await };
        document::check(&answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(TestRequest::get().uri(path)).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.send(TestRequest::post().uri(path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(TestRequest::delete().uri(path)).await
    }

    /// Submits a task to `coder`.
    pub async fn submit(&self, body: Value) -> Answer {
        self.send(submission("coder", &body)).await
    }

    /// Submits a task to `coder` and waits for its end.
    pub async fn finish(&self, body: Value) -> Answer {
        self.send(submission("coder", &body).insert_header(("Prefer", "wait=10"))).await
    }

    /// Waits until a task is in a state.
    pub async fn until(&self, id: &str, state: &str) {
        for _ in 0..1_000 {
            if self.get(&format!("/v1/tasks/{id}")).await.json()["state"] == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("task {id} is not {state} after 5 s");
    }
}

/// A request that submits `body`.
pub fn submission(pool: &str, body: &Value) -> TestRequest {
    TestRequest::post().uri(&format!("/v1/pools/{pool}/tasks")).set_json(body)
}

/// A body that makes the agent work until it is stopped.
pub fn hanging() -> Value {
    json!({ "input": { "do": "hang" } })
}

/// The recorder of the test binary.
pub fn prometheus() -> PrometheusHandle {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    INSTALLED.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).clone()
}

/// An answer.
pub struct Answer {
    /// The method and the path of the request.
    pub call: (String, String),
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {}", self.text())).to_owned()
    }

    /// Status and body, with ids, times and measured seconds replaced.
    pub fn redacted(&self) -> String {
        let mut body = self.json();
        redact(&mut body, "");
        format!("{}\n{body:#}", self.status)
    }
}

fn redact(value: &mut Value, key: &str) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| redact(value, key)),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, key)),
        Value::String(text) if text.parse::<TaskId>().is_ok() => *value = "[id]".into(),
        Value::String(text) if text.parse::<Timestamp>().is_ok() => *value = "[time]".into(),
        Value::String(text) if text.starts_with("1-") => *value = "[cursor]".into(),
        Value::Number(number) if number.is_f64() && (key.ends_with("_s") || key == "agent_seconds") => {
            *value = "[seconds]".into();
        }
        _ => {}
    }
}
