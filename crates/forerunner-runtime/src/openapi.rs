//! The OpenAPI schema of a pool's state: an object with optional members.

use forerunner_core::{
    Timestamp,
    openapi::members::{object, one_of, refer, text},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::status::PoolState;

impl PartialSchema for PoolState {
    fn schema() -> RefOr<Schema> {
        object("Whether a pool assigns tasks to its agents.")
            .property("state", one_of(&["running", "paused", "circuit_open", "dependency_open"], "Whether it assigns tasks to its agents."))
            .required("state")
            .property("until", refer::<Timestamp>("With `circuit_open`: when the next agent is tried; with `dependency_open`: when the next task probes."))
            .property("reason", text("With `circuit_open`: why the last agent failed; with `dependency_open`: the error of the last task."))
            .into()
    }
}

impl ToSchema for PoolState {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Timestamp::name().into_owned(), Timestamp::schema()));
    }
}
