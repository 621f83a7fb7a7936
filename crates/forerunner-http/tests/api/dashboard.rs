//! The page for people.

use actix_web::{http::Method, test::TestRequest};

use crate::rig::{Answer, Rig};

/// What Firefox and Chromium send for an address that was typed in.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

async fn index(rig: &Rig, accept: &str) -> Answer {
    rig.send(TestRequest::get().uri("/").insert_header(("Accept", accept))).await
}

#[actix_web::test]
async fn a_browser_gets_the_page_and_programs_the_list_of_calls() {
    let rig = Rig::start().await;
    let page = index(&rig, BROWSER).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().starts_with("<!doctype html>"), "{}", page.text());
    for accept in ["*/*", "application/json", "text/plain, */*"] {
        let list = index(&rig, accept).await;
        assert_eq!(list.header("content-type"), Some("text/plain; charset=utf-8"), "{accept}");
        assert!(list.text().contains("/v1/pools/{pool}/tasks"), "{accept}");
        assert_eq!(list.header("vary"), Some("Accept"), "{accept}: a cache must tell them apart");
    }
    let list = rig.send(TestRequest::get().uri("/?calls").insert_header(("Accept", BROWSER))).await;
    assert_eq!(list.header("content-type"), Some("text/plain; charset=utf-8"), "a browser can have the list as well");
    let head = TestRequest::default().method(Method::HEAD).uri("/").insert_header(("Accept", BROWSER));
    assert_eq!(rig.send(head).await.header("content-type"), Some("text/html; charset=utf-8"));
}

#[actix_web::test]
async fn the_page_may_load_nothing_but_its_own_files() {
    let rig = Rig::start().await;
    let page = index(&rig, BROWSER).await;
    let files: Vec<String> =
        page.text().split('"').filter(|word| word.starts_with("/dashboard/")).map(str::to_owned).collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for path in std::iter::once("/").chain(files.iter().map(String::as_str)) {
        let answer = rig.send(TestRequest::get().uri(path).insert_header(("Accept", BROWSER))).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        let kind = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
    }
    let none = rig.get("/dashboard/passwd").await;
    assert_eq!((none.status.as_u16(), &none.json()["type"]), (404, &"/problems/not-found".into()));
}

#[actix_web::test]
async fn files_that_have_not_changed_are_not_sent_again() {
    let rig = Rig::start().await;
    for path in ["/", "/dashboard/dashboard.js"] {
        let ask = || TestRequest::get().uri(path).insert_header(("Accept", BROWSER));
        let first = rig.send(ask()).await;
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").unwrap();
        let again = rig.send(ask().insert_header(("If-None-Match", tag))).await;
        assert_eq!((again.status.as_u16(), again.body.len(), again.header("etag")), (304, 0, Some(tag)), "{path}");
        let other = rig.send(ask().insert_header(("If-None-Match", "\"another\""))).await;
        assert_eq!((other.status.as_u16(), &other.body), (200, &first.body), "{path}");
    }
}
