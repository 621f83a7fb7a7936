//! The declaration of a call, from which the router, the list at `/` and the OpenAPI document are made.

use actix_web::Route;

use crate::openapi::Op;

/// One call.
pub struct Call {
    /// The method.
    pub(crate) method: &'static str,
    /// The path, with the names of its parts in braces.
    pub(crate) path: &'static str,
    /// A short description, for lists.
    pub(crate) summary: &'static str,
    /// Makes the route to its handler.
    pub(crate) handler: fn() -> Route,
    /// Its request and responses, for the OpenAPI document; `None` for a protocol with its own description.
    pub(crate) operation: Option<fn() -> Op>,
}

impl Call {
    /// A call of another front. `path` has the names of its parts in braces; `handler` makes the route, with
    /// [`web::to`](actix_web::web::to).
    pub const fn of_front(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: fn() -> Route,
    ) -> Self {
        Self { method, path, summary, handler, operation: None }
    }
}
