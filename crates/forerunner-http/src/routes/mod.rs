//! All calls of the service, in the order of the manual. Each is declared once, with its handler and its place in the OpenAPI
//! document; the router ([`mount`]), the list at `/` and the document are made from these tables.

mod contexts;
mod keys;
mod many_tasks;
#[cfg(test)]
mod matrix;
mod mount;
mod node;
mod one_task;
mod pools;
mod schedules;
mod submissions;
mod tenants;

pub(crate) use self::mount::{mount, mount_admin};
use crate::{call::Call, openapi};

/// The tables, in the order of the manual. Calls with the same path are adjacent. Verbs (`:cancel`) are not part of a
/// name or an id.
const TABLES: [&[Call]; 9] = [
    submissions::CALLS,
    many_tasks::CALLS,
    one_task::CALLS,
    schedules::CALLS,
    pools::CALLS,
    contexts::CALLS,
    keys::CALLS,
    tenants::CALLS,
    node::CALLS,
];

/// Returns all calls.
pub(crate) fn calls() -> impl Iterator<Item = &'static Call> {
    TABLES.into_iter().flatten()
}

/// Returns the OpenAPI 3.1 document of the HTTP API, as JSON text.
pub fn openapi_json() -> String {
    openapi::json(calls())
}
