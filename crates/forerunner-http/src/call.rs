//! What there is to know of a call.

use actix_web::Route;

/// One call.
pub(crate) struct Call {
    /// The method.
    pub(crate) method: &'static str,
    /// The path, with the names of its parts in braces.
    pub(crate) path: &'static str,
    /// What it does, for lists.
    pub(crate) does: &'static str,
    /// Makes the route to its handler.
    pub(crate) route: fn() -> Route,
}
