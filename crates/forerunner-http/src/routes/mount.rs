//! The router: what the tables of calls become in an application of actix-web.

use actix_web::{
    HttpRequest, HttpResponse, Route, guard,
    http::header,
    web::{self, ServiceConfig},
};

use super::TABLES;
use crate::{
    api::Api,
    call::Call,
    error::Problem,
    gate::{Gate, Listener},
    observe::Observe,
    problems,
};

/// Label of requests that match no call.
const NO_ROUTE: &str = "none";

/// The calls of the admin listener.
const ADMIN: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// Mounts every call and those of the other fronts, each path with an answer to other methods, and an answer to other paths.
pub(crate) fn mount(api: &Api, config: &mut ServiceConfig) {
    TABLES.iter().for_each(|calls| mount_table(api, config, calls));
    for front in api.fronts() {
        front.configure(config);
        mount_table(api, config, front.calls());
    }
    mount_rest(api, config, Listener::Main);
}

/// Mounts the calls of monitors in the same way.
pub(crate) fn mount_admin(api: &Api, config: &mut ServiceConfig) {
    let calls = TABLES.iter().flat_map(|calls| by_path(calls));
    calls
        .filter(|calls| ADMIN.contains(&calls[0].path))
        .for_each(|calls| mount_path(api, config, calls, Listener::Admin));
    mount_rest(api, config, Listener::Admin);
}

fn mount_table(api: &Api, config: &mut ServiceConfig, calls: &'static [Call]) {
    by_path(calls).for_each(|calls| mount_path(api, config, calls, Listener::Main));
}

/// Groups adjacent calls with the same path.
fn by_path(calls: &'static [Call]) -> impl Iterator<Item = &'static [Call]> {
    calls.chunk_by(|one, next| one.path == next.path)
}

fn mount_path(api: &Api, config: &mut ServiceConfig, calls: &'static [Call], listener: Listener) {
    let path = calls[0].path;
    let allowed = allowed(calls);
    let mut resource = web::resource(pattern(path));
    for call in calls {
        resource = resource.route(guarded(call));
    }
    let refuse = move |request: HttpRequest| {
        let problem = wrong_method(&request, &allowed);
        async move { Err::<HttpResponse, _>(problem) }
    };
    let resource = resource.default_service(web::to(refuse));
    config.service(resource.wrap(Gate::new(api.clone(), calls, listener)).wrap(Observe::new(api.clone(), path)));
}

fn mount_rest(api: &Api, config: &mut ServiceConfig, listener: Listener) {
    let gate = Gate::new(api.clone(), &[], listener);
    let none = web::to(no_such_call).wrap(gate).wrap(Observe::new(api.clone(), NO_ROUTE));
    config.default_service(none);
}

/// Excludes verbs from pool names and task ids. Context ids may contain a colon, and have no verbs.
fn pattern(path: &str) -> String {
    let path = path.replace("{pool}", "{pool:[^/:]+}").replace("{id}", "{id:[^/:]+}").replace("{key}", "{key:[^/:]+}");
    path.replace("{schedule}", "{schedule:[^/:]+}").replace("{tenant}", "{tenant:[^/:]+}")
}

/// HEAD is answered wherever GET is (RFC 9110 §9.1), without a body.
fn guarded(call: &Call) -> Route {
    let route = (call.handler)();
    match call.method {
        "GET" => route.guard(guard::Any(guard::Get()).or(guard::Head())),
        "POST" => route.guard(guard::Post()),
        "PATCH" => route.guard(guard::Patch()),
        method => route.guard(guard::fn_guard(move |request| request.head().method == method)),
    }
}

fn allowed(calls: &[Call]) -> String {
    let methods = calls.iter().map(|call| if call.method == "GET" { "GET, HEAD" } else { call.method });
    methods.collect::<Vec<_>>().join(", ")
}

fn wrong_method(request: &HttpRequest, allowed: &str) -> Problem {
    let detail = format!("{} does not support {}; use {allowed}", request.path(), request.method());
    Problem::new(problems::METHOD_NOT_ALLOWED, detail).header(header::ALLOW, allowed)
}

async fn no_such_call(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let detail = format!("there is no call at {}; the calls are listed at /", request.path());
    Err(Problem::new(problems::NOT_FOUND, detail))
}
