//! The service's description of itself: the list of calls, and the OpenAPI document.

use std::{fmt::Write, sync::OnceLock};

use actix_web::{HttpRequest, HttpResponse, http::header, web::Bytes};

use crate::{api::Api, call::Call, dashboard, routes};

/// The document, which is made once.
pub(crate) async fn document() -> HttpResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| routes::openapi_json().into()).clone();
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(text)
}

/// The list for programs, the dashboard for browsers.
pub(crate) async fn index(api: Api, request: HttpRequest) -> HttpResponse {
    if let Some(page) = dashboard::page(&request) {
        return page;
    }
    let mut page = String::from("Forerunner\n\n");
    let of_fronts = api.fronts().iter().flat_map(|front| front.calls());
    for Call { method, path, summary, .. } in routes::calls().chain(of_fronts) {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{method:6} {path:36} {summary}");
    }
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").insert_header((header::VARY, "Accept")).body(page)
}
