//! What applies to every request and every answer, whatever the call.

use std::{
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpMessage, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::{
        ConnectionType, Method,
        header::{self, HeaderMap, HeaderValue},
    },
};
use forerunner_service::{Error, ProblemKind, auth::Permission};
use futures_util::future::LocalBoxFuture;

use crate::{
    answer::Answer,
    api::Api,
    call::Call,
    credentials,
    error::Problem,
    hosts,
    net::{AnswerGuard, Connection, Reach},
    settings::HttpSettings,
};

/// When to retry while all connections of the node are in use.
const RETRY: Duration = Duration::from_secs(1);
/// What is answered on connections beyond the limit, too.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Admits requests, and counts answers.
pub(crate) struct Gate {
    api: Api,
    calls: &'static [Call],
    listener: Listener,
}

/// Which listener requests come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The one of clients.
    Main,
    /// The one of monitors.
    Admin,
}

impl Gate {
    /// Guards the calls of one path; none of a path without calls.
    pub(crate) const fn new(api: Api, calls: &'static [Call], listener: Listener) -> Self {
        Self { api, calls, listener }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Gate
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = GatedService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let Self { api, calls, listener } = self;
        ready(Ok(GatedService { inner, api: api.clone(), calls, listener: *listener }))
    }
}

/// A route behind the gate.
pub(crate) struct GatedService<S> {
    inner: S,
    api: Api,
    calls: &'static [Call],
    listener: Listener,
}

impl<S, B> Service<ServiceRequest> for GatedService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, actix_web::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), actix_web::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let api = self.api.clone();
        let connection = Connection::of(request.request());
        let is_extra = connection.as_ref().is_some_and(|connection| connection.is_extra());
        let answering = connection.as_ref().map(|connection| AnswerGuard::begin(Rc::clone(connection)));
        let checked =
            check(&request, &api, connection.as_deref()).and_then(|()| self.identify(&request, connection.as_deref()));
        if let Err(problem) = checked {
            let refused = request.into_response(problem.error_response());
            return Box::pin(ready(Ok(finish(refused, &api, answering, is_extra))));
        }
        let answered = self.inner.call(request);
        Box::pin(async move { Ok(finish(answered.await?.map_into_boxed_body(), &api, answering, is_extra)) })
    }
}

impl<S> GatedService<S> {
    /// Identifies the caller, for the handler, and refuses what it may not do.
    fn identify(&self, request: &ServiceRequest, connection: Option<&Connection>) -> Result<(), Problem> {
        let is_local = connection.is_some_and(|connection| connection.reach() != Reach::Network);
        // Whoever reaches the own address of monitors from this machine is one.
        let is_monitor = self.listener == Listener::Admin && is_local;
        let needs = self.needs(request.method()).filter(|_| !is_monitor).unwrap_or(Permission::Open);
        let service = credentials::admit(&self.api, request.headers(), request.peer_addr(), needs)?;
        request.extensions_mut().insert(service);
        Ok(())
    }

    /// What the call of a method needs; `None` if there is no such call.
    fn needs(&self, method: &Method) -> Option<Permission> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.calls.iter().find(|call| call.method == method.as_str()).map(|call| call.needs)
    }
}

fn check(request: &ServiceRequest, api: &Api, connection: Option<&Connection>) -> Result<(), Problem> {
    hosts::check(request, api.settings(), connection.map(Connection::reach))?;
    if connection.is_some_and(Connection::is_extra) && !PROBES.contains(&request.path()) {
        return Err(no_place(api.settings()));
    }
    Ok(())
}

fn no_place(settings: &HttpSettings) -> Problem {
    let (most, of_peer) = (settings.max_connections, settings.max_connections_per_peer);
    let limits = if of_peer > 0 { format!("{most} in all, {of_peer} from one address") } else { most.to_string() };
    let detail = format!(
        "the limit of connections is reached ({limits}), and none is idle; try again later, or raise \
         http.max_connections"
    );
    Error::new(ProblemKind::NoRoom, detail).retry_after(RETRY).close_connection().into()
}

fn finish(
    mut response: ServiceResponse<BoxBody>,
    api: &Api,
    answering: Option<AnswerGuard>,
    is_extra: bool,
) -> ServiceResponse<BoxBody> {
    let size = match response.response().body().size() {
        BodySize::Sized(size) => usize::try_from(size).unwrap_or(usize::MAX),
        BodySize::None | BodySize::Stream => 0,
    };
    let service = api.service();
    // Answers that are over the budget are not sent.
    let reservation = service.budget().reserve(size).unwrap_or_else(|| {
        *response.response_mut() = Problem::from(service.limits().no_memory()).error_response();
        service.budget().empty()
    });
    harden(response.headers_mut());
    if is_extra {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    response.map_body(|_, body| BoxBody::new(Answer::new(body, reservation, answering)))
}

/// Answers have the type that they declare, and no cache stores them: inputs and outputs are private. The files of the
/// dashboard set their own caching.
fn harden(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
