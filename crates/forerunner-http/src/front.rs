//! How another protocol is served beside `/v1`, on the same addresses.

use actix_web::web::ServiceConfig;

use crate::call::Call;

/// A protocol in front of the service: a table of calls.
///
/// Its handlers take [`Api`](crate::Api) as an argument and call [`Api::service`](crate::Api::service). The server does the rest for
/// each call, as for its own: names of hosts, limits of connections and memory, metrics, other methods, draining.
pub trait Front: Send + Sync {
    /// Returns the calls. Those of one path stand together.
    fn calls(&self) -> &'static [Call];

    /// Registers what the handlers reach beside [`Api`](crate::Api), once for each thread that serves: nothing unless it has state.
    fn configure(&self, _config: &mut ServiceConfig) {}
}
