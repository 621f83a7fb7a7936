//! How the server serves another protocol in addition to `/v1`, on the same addresses.

use actix_web::web::ServiceConfig;

use crate::call::Call;

/// A protocol in front of the service: a table of calls.
///
/// Its handlers receive [`Api`](crate::Api) as an argument and call [`Api::service`](crate::Api::service). The server
/// applies to each call what it applies to its own: names of hosts, limits of connections and memory, metrics, other
/// methods, draining.
pub trait Front: Send + Sync {
    /// Returns the calls. Calls with the same path are adjacent.
    fn calls(&self) -> &'static [Call];

    /// Registers data of the handlers beside [`Api`](crate::Api), once for each worker thread.
    fn configure(&self, _config: &mut ServiceConfig) {}
}
