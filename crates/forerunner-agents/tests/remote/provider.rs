//! A model provider on loopback that gives the answers of a test, and records requests.

use std::{
    collections::VecDeque,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    web::{self, Bytes, Data},
};
use futures_util::stream;
use serde_json::Value;

/// One answer of the provider.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A status, headers, and a body of JSON.
    Json(u16, Vec<(&'static str, String)>, Value),
    /// Pieces of a stream of events, sent as they are.
    Events(Vec<String>),
    /// Pieces of a stream, and then silence.
    Stall(Vec<String>),
}

/// What a request contained.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

/// The provider. It stops with the test.
pub(crate) struct Provider {
    pub(crate) address: String,
    script: Arc<Script>,
    server: ServerHandle,
}

impl Provider {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Script { replies: Mutex::new(replies.into_iter().collect()), ..Script::default() });
        let data = Data::from(Arc::clone(&script));
        let app = move || App::new().app_data(data.clone()).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { address, script, server: handle }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }

    pub(crate) async fn stop(self) {
        self.server.stop(false).await;
    }
}

async fn answer(request: HttpRequest, body: Bytes, script: Data<Script>) -> HttpResponse {
    let headers = request.headers().iter();
    script.asked.lock().unwrap().push(Asked {
        path: request.path().to_owned(),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    let reply = script.replies.lock().unwrap().pop_front();
    match reply {
        None => HttpResponse::Ok().json(serde_json::json!({ "data": [] })),
        Some(Reply::Json(status, headers, body)) => {
            let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap());
            for header in headers {
                response.insert_header(header);
            }
            response.json(body)
        }
        Some(Reply::Events(pieces)) => HttpResponse::Ok()
            .content_type("text/event-stream; charset=utf-8")
            .streaming(stream::iter(pieces_of(pieces))),
        Some(Reply::Stall(pieces)) => {
            let silence = stream::once(async {
                actix_rt::time::sleep(Duration::from_secs(60)).await;
                Ok(Bytes::new())
            });
            let pieces = futures_util::StreamExt::chain(stream::iter(pieces_of(pieces)), Box::pin(silence));
            HttpResponse::Ok().content_type("text/event-stream").streaming(pieces)
        }
    }
}

fn pieces_of(pieces: Vec<String>) -> Vec<Result<Bytes, std::io::Error>> {
    pieces.into_iter().map(|piece| Ok(Bytes::from(piece))).collect()
}
