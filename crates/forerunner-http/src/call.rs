//! The declaration of a call, from which the router, the list at `/` and the OpenAPI document are made.

use actix_web::Route;

use forerunner_service::auth::Permission;

use crate::openapi::Op;

/// One call.
pub struct Call {
    /// The method.
    pub(crate) method: &'static str,
    /// The path, with the names of its parts in braces.
    pub(crate) path: &'static str,
    /// A short description, for lists.
    pub(crate) summary: &'static str,
    /// What the caller needs.
    pub(crate) needs: Permission,
    /// Makes the route to its handler.
    pub(crate) handler: fn() -> Route,
    /// Its request and responses, for the OpenAPI document; `None` for a protocol with its own description.
    pub(crate) operation: Option<fn() -> Op>,
}

impl Call {
    /// A call of another front. A call that does several things needs [`Permission::AnyKey`]: its handler then asks
    /// [`Service::require`](forerunner_service::Service::require) for what it does. `path` has the names of its parts in braces; `handler` makes the route, with
    /// [`web::to`](actix_web::web::to).
    pub const fn of_front(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        needs: Permission,
        handler: fn() -> Route,
    ) -> Self {
        Self { method, path, summary, needs, handler, operation: None }
    }
}
