//! How two kinds of values look in an OpenAPI document.
//!
//! Their variants have members of their own. As alternatives they would say that best, but what is made of another and of
//! alternatives is more than generators of clients take. So each is one object, whose members are not always there.

use forerunner_core::{TaskError, TaskState, Timestamp};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, Ref, RefOr,
        schema::{ObjectBuilder, OneOfBuilder, RefBuilder, Schema, Type},
    },
};

use crate::status::{PoolState, TaskEventKind};

impl PartialSchema for PoolState {
    fn schema() -> RefOr<Schema> {
        object("Whether a pool gives out work.")
            .property("state", one_of(&["running", "paused", "circuit_open"], "Whether it gives out work."))
            .required("state")
            .property("until", refer::<Timestamp>("With `circuit_open` only: when the next agent is tried."))
            .property("reason", text("With `circuit_open` only: why the last agent failed."))
            .into()
    }
}

impl ToSchema for PoolState {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Timestamp::name().into_owned(), Timestamp::schema()));
    }
}

impl PartialSchema for TaskEventKind {
    fn schema() -> RefOr<Schema> {
        object("What happened to a task.")
            .property("event", one_of(&["state", "progress", "output"], "What it tells of."))
            .required("event")
            .property("state", refer::<TaskState>("With `state` only: the state that the task went to."))
            .property("attempt", whole("With `state` only: attempts begun."))
            .property(
                "error",
                nullable::<TaskError>("With `state` only: why the last attempt ended without an output."),
            )
            .property("text", text("With `progress` only: a line for people."))
            .property("chunk", text("With `output` only: a piece of the output."))
            .into()
    }
}

impl ToSchema for TaskEventKind {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TaskState::name().into_owned(), TaskState::schema()));
        schemas.push((TaskError::name().into_owned(), TaskError::schema()));
        TaskError::schemas(schemas);
    }
}

fn object(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(about))
}

fn refer<T: ToSchema>(about: &str) -> Ref {
    RefBuilder::new().ref_location_from_schema_name(T::name()).description(Some(about)).build()
}

fn nullable<T: ToSchema>(about: &str) -> Schema {
    OneOfBuilder::new().item(refer::<T>(about)).item(Object::with_type(Type::Null)).build().into()
}

fn text(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about)).build()
}

fn whole(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(about)).build()
}

fn one_of(texts: &[&str], about: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(texts.iter().copied()))
        .description(Some(about))
        .build()
}
