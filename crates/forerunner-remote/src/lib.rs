//! The front to which agents on other machines dial in: a WebSocket for each agent, with the agent protocol inside.
//!
//! [`Provisioners`] make another system run as many agents as the pools want.
//!
//! The front carries texts between a socket and the [`Hub`] of `forerunner-agents`, where pools of the kind `remote` get their
//! agents. It knows nothing of what the texts mean. `docs/remote-agents.md` describes them.
//!
//! ```
//! use forerunner_http::Front as _;
//!
//! assert_eq!(forerunner_remote::RemoteFront::default().calls().len(), 1);
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod provisioners;
mod socket;

pub use provisioners::Provisioners;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, ServiceConfig},
};
use forerunner_agents::remote::Hub;
use forerunner_http::{Api, Call, Front, Problem};
use forerunner_service::auth::Permission;
use serde::Deserialize;

/// The call by which an agent dials in.
#[derive(Debug, Clone)]
pub struct RemoteFront {
    hub: Hub,
}

impl Default for RemoteFront {
    /// Hands agents to the pools of this process.
    fn default() -> Self {
        Self { hub: Hub::of_process() }
    }
}

const CALLS: &[Call] = &[Call::of_front(
    "GET",
    "/v1/pools/{pool}/agents:connect",
    "serve a pool as a remote agent (WebSocket)",
    Permission::Operate,
    || web::to(connect),
)];

impl Front for RemoteFront {
    fn calls(&self) -> &'static [Call] {
        CALLS
    }

    fn configure(&self, config: &mut ServiceConfig) {
        config.app_data(web::Data::new(self.hub.clone()));
    }
}

/// The session that an agent continues.
#[derive(Deserialize)]
struct Resumed {
    session: Option<String>,
    #[serde(default)]
    received: u64,
}

async fn connect(
    api: Api,
    hub: web::Data<Hub>,
    pool: web::Path<String>,
    resumed: web::Query<Resumed>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let status = api.service().pool(&pool).await?;
    if status.kind != "remote" {
        let text =
            format!("pool `{}` has agents of kind `{}`; dial in to a pool with kind = \"remote\"", *pool, status.kind);
        return Ok(HttpResponse::BadRequest().body(text));
    }
    if api.is_draining() {
        return Ok(HttpResponse::ServiceUnavailable().body("the node stops; dial in again"));
    }
    let Ok((answer, session, stream)) = actix_ws::handle(&request, body) else {
        return Ok(HttpResponse::BadRequest().body("the request opens no WebSocket; use a WebSocket client"));
    };
    let resumed = resumed.session.as_deref().map(|session| (session, resumed.received));
    let peer = request.peer_addr().map_or_else(|| "of an unknown address".to_owned(), |address| address.to_string());
    let Ok(connection) = hub.accept(&pool, &peer, resumed) else {
        return Ok(HttpResponse::ServiceUnavailable().body("many agents wait for this pool; dial in later"));
    };
    actix_rt::spawn(socket::serve(api, connection, session, stream));
    Ok(answer)
}
