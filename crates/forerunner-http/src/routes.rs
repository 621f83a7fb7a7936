//! All calls of the service, in the order of the manual.

use std::{fmt::Write, sync::OnceLock};

use actix_web::{
    HttpRequest, HttpResponse, Route, guard,
    http::header,
    web::{self, Bytes, ServiceConfig},
};

use crate::{
    api::Api, batch, bulk, call::Call, contexts, dashboard, error::Problem, events, gate::Gate, health, nodes,
    observe::Observe, openapi, pools, problems, tasks, what_if,
};

macro_rules! calls {
    ($($method:literal $path:literal => $handler:expr, $does:literal;)*) => {
        /// The calls. Those of one path stand together; verbs (`:cancel`) are no part of a name or an id.
        pub(crate) const CALLS: &[Call] =
            &[$(Call { method: $method, path: $path, does: $does, route: || web::to($handler) }),*];
    };
}

calls! {
    // For those who have work to do.
    "POST" "/v1/pools/{pool}/tasks" => tasks::submit, "submit a task";
    "POST" "/v1/pools/{pool}/tasks:batch" => batch::submit, "submit up to 1,000 tasks at once";
    "GET" "/v1/tasks" => tasks::list, "list tasks, newest first";
    "POST" "/v1/tasks:cancel" => bulk::cancel, "cancel the tasks that meet conditions";
    "POST" "/v1/tasks:retry" => bulk::retry, "send ended tasks that meet conditions back to their queues";
    "POST" "/v1/tasks:delete" => bulk::delete, "remove ended tasks that meet conditions";
    "POST" "/v1/tasks:move" => bulk::move_to_pool, "give tasks that wait and meet conditions to another pool";
    "GET" "/v1/tasks/{id}" => tasks::show, "show a task";
    "PATCH" "/v1/tasks/{id}" => tasks::change, "change a task that waits";
    "DELETE" "/v1/tasks/{id}" => tasks::delete, "remove a task that has ended";
    "POST" "/v1/tasks/{id}:cancel" => tasks::cancel, "cancel a task";
    "POST" "/v1/tasks/{id}:retry" => tasks::retry, "send an ended task back to its queue";
    "GET" "/v1/tasks/{id}/attempts" => tasks::attempts, "how the attempts of a task went";
    "GET" "/v1/tasks/{id}/placement" => tasks::placement, "why a task went to its agent";
    "GET" "/v1/tasks/{id}/events" => events::follow, "follow a task (server-sent events)";
    // For those who run pools.
    "GET" "/v1/pools" => pools::list, "list pools";
    "GET" "/v1/pools/{pool}" => pools::show, "show a pool";
    "PATCH" "/v1/pools/{pool}" => pools::configure, "change a pool";
    "POST" "/v1/pools/{pool}:pause" => pools::pause, "stop giving out tasks";
    "POST" "/v1/pools/{pool}:resume" => pools::resume, "give out tasks again";
    "GET" "/v1/pools/{pool}/agents" => pools::agents, "list the agents of a pool";
    "GET" "/v1/pools/{pool}/forecast" => pools::forecast, "show what a pool expects";
    "GET" "/v1/pools/{pool}/history" => pools::history, "show how the last minutes of a pool went";
    "GET" "/v1/pools/{pool}/decisions" => pools::decisions, "list scaling decisions, newest first";
    "GET" "/v1/pools/{pool}/decisions/{seq}" => pools::decision, "show a scaling decision";
    "GET" "/v1/pools/{pool}/scaler" => pools::scaler, "agents that an autoscaler of nodes should make room for";
    "GET" "/v1/pools/{pool}/what-if" => what_if::show, "show what other objectives would have cost";
    "GET" "/v1/contexts" => contexts::list, "list contexts";
    "GET" "/v1/contexts/{context}" => contexts::show, "show a context";
    "DELETE" "/v1/contexts/{context}" => contexts::delete, "remove a context";
    // For those who run the node.
    "GET" "/v1/nodes" => nodes::list, "list the nodes that share the store";
    "GET" "/metrics" => health::metrics, "metrics for Prometheus";
    "GET" "/livez" => health::live, "whether the process serves at all";
    "GET" "/readyz" => health::ready, "whether the node takes traffic";
    "GET" "/openapi.json" => document, "this API as an OpenAPI 3.1 document";
    "GET" "/problems" => health::problems, "list the kinds of problems";
    "GET" "/problems/{name}" => health::problem, "explain a kind of problem";
    "GET" "/dashboard/{file}" => dashboard::file, "the files of the dashboard";
    "GET" "/" => index, "this list; to a browser the dashboard";
}

/// Label of requests that no call takes.
const NO_ROUTE: &str = "none";

/// The calls that the admin listener takes.
const ADMIN: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// Mounts every call, each path with an answer to other methods, and an answer to other paths.
pub(crate) fn mount(api: &Api, config: &mut ServiceConfig) {
    mount_some(api, config, |_| true);
}

/// Mounts the calls of monitors in the same way.
pub(crate) fn mount_admin(api: &Api, config: &mut ServiceConfig) {
    mount_some(api, config, |path| ADMIN.contains(&path));
}

fn mount_some(api: &Api, config: &mut ServiceConfig, is_mounted: impl Fn(&str) -> bool) {
    let calls = CALLS.chunk_by(|one, next| one.path == next.path);
    for calls in calls.filter(|calls| is_mounted(calls[0].path)) {
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
        config.service(resource.wrap(Gate::new(api.clone())).wrap(Observe::new(api.clone(), path)));
    }
    let none = web::to(no_such_call).wrap(Gate::new(api.clone())).wrap(Observe::new(api.clone(), NO_ROUTE));
    config.default_service(none);
}

/// Keeps verbs out of pool names and task ids. Context ids may hold a colon, and have no verbs.
fn pattern(path: &str) -> String {
    path.replace("{pool}", "{pool:[^/:]+}").replace("{id}", "{id:[^/:]+}")
}

/// HEAD is answered wherever GET is (RFC 9110 §9.1), without a body.
fn guarded(call: &Call) -> Route {
    let route = (call.route)();
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
    let detail = format!("{} does not take {}; use {allowed}", request.path(), request.method());
    Problem::new(problems::METHOD_NOT_ALLOWED, detail).header(header::ALLOW, allowed)
}

async fn no_such_call(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let detail = format!("there is no call at {}; the calls are listed at /", request.path());
    Err(Problem::new(problems::NOT_FOUND, detail))
}

/// Returns the OpenAPI 3.1 document of the HTTP API, as JSON text.
pub fn openapi_json() -> String {
    openapi::json(CALLS)
}

/// The document, which is made once.
async fn document() -> HttpResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi_json().into()).clone();
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(text)
}

/// The list for programs, the dashboard for browsers.
async fn index(request: HttpRequest) -> HttpResponse {
    if let Some(page) = dashboard::page(&request) {
        return page;
    }
    let mut page = String::from("Forerunner\n\n");
    for Call { method, path, does, .. } in CALLS {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{method:6} {path:36} {does}");
    }
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").insert_header((header::VARY, "Accept")).body(page)
}
