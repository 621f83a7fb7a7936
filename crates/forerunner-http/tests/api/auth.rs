//! Keys, over HTTP: made, used, rotated, revoked; and what wrong ones cost.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::{
    App,
    http::StatusCode,
    test::{self, TestRequest},
};
use forerunner_http::Api;
use forerunner_service::{
    Service,
    auth::{Auth, KeyRing, Role, Token},
};
use serde_json::{Value, json};

use crate::rig::{Rig, prometheus};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A node with a first key.
pub struct Keyed {
    pub rig: Rig,
    pub api: Api,
    pub first: String,
}

impl Keyed {
    pub async fn start() -> Self {
        let rig = Rig::start().await;
        let first = Token::generate(Role::Admin).unwrap();
        let service = rig.api.service();
        let auth = Auth::keys(KeyRing::new(Vec::new(), Some(&first)));
        let service = Service::with_auth(rig.handle(), *service.limits(), auth);
        service.refresh_keys().await.unwrap();
        let api = Api::with_fronts(rig.settings.clone(), service, prometheus(), Vec::new());
        Self { rig, api, first: first.reveal().to_owned() }
    }

    async fn send(&self, request: TestRequest, key: &str) -> (StatusCode, Value) {
        let app = test::init_service(App::new().configure(|config| self.api.configure(config))).await;
        let request = request.insert_header(("Authorization", format!("Bearer {key}")));
        let answer = test::call_service(&app, request.to_request()).await;
        let status = answer.status();
        (status, serde_json::from_slice(&test::read_body(answer).await).unwrap_or_default())
    }

    async fn get(&self, path: &str, key: &str) -> (StatusCode, Value) {
        self.send(TestRequest::get().uri(path), key).await
    }

    async fn post(&self, path: &str, body: Value, key: &str) -> (StatusCode, Value) {
        self.send(TestRequest::post().uri(path).set_json(body), key).await
    }
}

fn secret(made: &Value) -> String {
    made["secret"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_key_is_made_used_rotated_and_revoked() {
    let node = Keyed::start().await;
    let (status, root) = node.post("/v1/keys", json!({ "name": "root", "role": "admin" }), &node.first).await;
    assert_eq!(status, StatusCode::CREATED, "{root}");
    let root = secret(&root);
    let (status, problem) = node.get("/v1/pools", &node.first).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::UNAUTHORIZED, Some("/problems/unauthenticated")));

    let body =
        json!({ "name": "ci", "role": "submit", "pools": ["coder"], "networks": ["127.0.0.0/8"], "expires_in": "90d" });
    let (_, made) = node.post("/v1/keys", body, &root).await;
    let (old, id) = (secret(&made), made["key"]["id"].as_str().unwrap().to_owned());
    assert_eq!(made["key"]["created_by"], "root");
    assert_eq!(node.get("/v1/pools", &old).await.1["pools"].as_array().unwrap().len(), 1);

    let (status, made) = node.post(&format!("/v1/keys/{id}:rotate"), json!({ "overlap": "0s" }), &root).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (_, problem) = node.get("/v1/pools", &old).await;
    assert!(problem["detail"].as_str().unwrap().contains("has expired"), "{problem}");
    let new = secret(&made);
    assert_eq!(node.get("/v1/pools", &new).await.0, StatusCode::OK);

    let revoke = format!("/v1/keys/{}:revoke", made["key"]["id"].as_str().unwrap());
    assert_eq!(node.post(&revoke, json!({}), &root).await.1["state"], "revoked");
    let (status, problem) = node.get("/v1/pools", &new).await;
    assert!(
        status == StatusCode::UNAUTHORIZED && problem["detail"].as_str().unwrap().contains("was revoked"),
        "{problem}"
    );

    let (_, list) = node.get("/v1/keys", &root).await;
    let states: Vec<_> = list["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "expired", "revoked", "active"], "{list}");
    let text = list.to_string();
    assert!(!text.contains(&old) && !text.contains("sha256"), "{text}");
}

#[actix_web::test]
async fn what_is_no_key_is_answered_with_what_is_wrong() {
    let node = Keyed::start().await;
    for (sent, told) in [
        ("", "is not a key"),
        ("fr_adm_x", "is not a key"),
        (Token::generate(Role::Admin).unwrap().reveal(), "is not valid"),
    ] {
        let (status, problem) = node.get("/v1/pools", sent).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
    }
    let ready = node.get("/readyz", "nonsense").await;
    assert_eq!(ready, (StatusCode::OK, json!({ "status": "ready" })), "what anybody sees, without reasons");
    assert_eq!(node.get("/readyz", &node.first).await.1["store"], "memory");
}

#[actix_web::test]
async fn wrong_keys_read_nothing_of_the_store() {
    let node = Keyed::start().await;
    let before = node.rig.store.reads();
    let service = node.api.service();
    for _ in 0..5 {
        assert_eq!(node.get("/v1/tasks", Token::generate(Role::Admin).unwrap().reveal()).await.0, 401);
    }
    let wrong = Token::generate(Role::Submit).unwrap();
    assert!((0..20_000).all(|_| service.identified(Some(wrong.reveal()), HOME).is_err()));
    assert!((0..1_000_000).all(|_| service.identified(Some("fr_adm_nonsense"), HOME).is_err()));
    assert_eq!(node.rig.store.reads(), before);
}
