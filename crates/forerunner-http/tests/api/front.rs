//! Another protocol beside `/v1`: a table of calls, to which the server applies what it applies to its own.

use actix_web::{
    App, HttpResponse,
    body::MessageBody,
    dev::ServiceResponse,
    http::StatusCode,
    test::{self, TestRequest},
    web,
};
use forerunner_core::{NewTask, Payload, PoolName};
use forerunner_http::{AnyPoolLimit, Api, Call, Front, JsonBody, Problem, openapi_json};
use forerunner_service::auth::Permission;
use serde_json::{Value, json};

use crate::rig::{Rig, prometheus};

/// A protocol with one call.
struct Post;

impl Front for Post {
    fn calls(&self) -> &'static [Call] {
        const CALLS: &[Call] =
            &[Call::of_front("POST", "/post", "submit in another way", Permission::Submit, || web::to(post))];
        CALLS
    }
}

async fn post(api: Api, body: JsonBody<AnyPoolLimit>) -> Result<HttpResponse, Problem> {
    let asked: Value = serde_json::from_slice(&body.bytes).expect("the test sends JSON");
    let input = Payload::from_value(&asked["input"])?;
    let pool = PoolName::new(asked["pool"].as_str().unwrap_or_default())?;
    let accepted = api.service().submit(NewTask::new(pool, input), None).await?;
    Ok(HttpResponse::Accepted().body(accepted.task.id.to_string()))
}

fn posted(pool: &str, input: &str) -> TestRequest {
    TestRequest::post().uri("/post").set_json(json!({ "pool": pool, "input": input }))
}

/// Status, one header and body of an answer.
async fn told<B: MessageBody>(response: ServiceResponse<B>, header: &str) -> (StatusCode, String, String) {
    let value = response.headers().get(header).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status();
    let body = test::read_body(response).await;
    (status, value, String::from_utf8_lossy(&body).into_owned())
}

#[actix_web::test]
async fn calls_of_another_front_have_limits_metrics_and_problems_like_its_own() {
    let rig = Rig::start().await;
    let api = Api::with_fronts(rig.settings.clone(), rig.api.service().clone(), prometheus(), vec![Box::new(Post)]);
    let app = test::init_service(App::new().configure(|config| api.configure(config))).await;
    let answer =
        async |request: TestRequest, header| told(test::call_service(&app, request.to_request()).await, header).await;

    // More than the limit of a call without an input.
    let (status, sniffing, id) = answer(posted("coder", &"x".repeat(100_000)), "x-content-type-options").await;
    assert_eq!((status, sniffing.as_str()), (StatusCode::ACCEPTED, "nosniff"), "{id}");
    assert_eq!(rig.get(&format!("/v1/tasks/{id}")).await.json()["pool"], "coder");

    let (status, _, body) = answer(posted("nobody", "x"), "").await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("/problems/no-pool"), "{status} {body}");
    let (status, _, body) = answer(posted("small", &"x".repeat(2_000)), "").await;
    assert!(status == StatusCode::PAYLOAD_TOO_LARGE && body.contains("\"limit\":1024"), "{status} {body}");
    let (status, _, body) = answer(posted("coder", &"x".repeat(2 << 20)), "").await;
    assert!(status == StatusCode::PAYLOAD_TOO_LARGE && body.contains("the body has more than"), "{status} {body}");
    let (status, allow, _) = answer(TestRequest::get().uri("/post"), "allow").await;
    assert_eq!((status, allow.as_str()), (StatusCode::METHOD_NOT_ALLOWED, "POST"));

    let (_, _, index) = answer(TestRequest::get().uri("/"), "").await;
    assert!(index.contains("/post") && index.contains("submit in another way"), "{index}");
    let (_, _, metrics) = answer(TestRequest::get().uri("/metrics"), "").await;
    assert!(
        metrics.contains(r#"forerunner_http_requests_total{method="POST",route="/post",status="202"} 1"#),
        "{metrics}"
    );
    assert!(!openapi_json().contains("\"/post\""), "a front describes itself by its own means");
}
