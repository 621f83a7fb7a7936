//! The schemas of values of this crate in an OpenAPI document, where serde's derive does not show the JSON form.

pub mod members;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, RefOr, SchemaFormat,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use crate::{
    AgentId, AgentRequest, ApiKeyId, ApiKeyName, ContextId, IdempotencyKey, LogLine, MAX_KEY_LEN, MAX_NAME_LEN, NodeId,
    Payload, PoolName, Priority, ScheduleName, TaskError, TaskEventKind, TaskId, TaskState, TenantName, Timestamp,
};

macro_rules! schemas {
    ($($name:ident: $about:literal, $schema:expr;)*) => {
        $(impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.description(Some($about)).into()
            }
        }

        impl ToSchema for $name {})*
    };
}

schemas! {
    TaskId: "Identifies a task: a UUID of version 7, which sorts by submission time.", uuid();
    AgentId: "Identifies one agent.", uuid();
    NodeId: "Identifies one run of a node: a restarted node is a new node.", uuid();
    ScheduleName: "Names a schedule.", text(MAX_NAME_LEN, "^[a-z0-9_-]+$");
    ApiKeyName: "Names who uses an API key.", text(MAX_NAME_LEN, "^[a-z0-9_-]+$");
    ApiKeyId: "Identifies an API key.", text(ApiKeyId::LEN, "^[0-9A-Za-z]{8}$");
    TenantName: "Names a tenant.", text(MAX_NAME_LEN, "^[a-z0-9_-]+$");
    PoolName: "Names a pool.", text(MAX_NAME_LEN, "^[a-z0-9_-]+$");
    ContextId: "Names a conversation whose tasks share memory: visible ASCII characters.", text(MAX_KEY_LEN, "^[!-~]+$");
    IdempotencyKey: "Makes a submission repeatable: visible ASCII characters, unique within a pool.",
        text(MAX_KEY_LEN, "^[!-~]+$");
    Priority: "How urgent a task is: 0 (last) to 9 (first).",
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(9));
    Timestamp: "A time: RFC 3339, answered in UTC with microseconds.",
        of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    Payload: "Any JSON value, nested 100 levels deep at most.", ObjectBuilder::new().schema_type(SchemaType::AnyValue);
}

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

fn uuid() -> ObjectBuilder {
    of(Type::String).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

fn text(longest: usize, pattern: &str) -> ObjectBuilder {
    of(Type::String).min_length(Some(1)).max_length(Some(longest)).pattern(Some(pattern))
}

impl PartialSchema for TaskEventKind {
    fn schema() -> RefOr<Schema> {
        members::object("What happened to a task.")
            .property(
                "event",
                members::one_of(&["state", "progress", "output", "asked", "log"], "The kind of the event."),
            )
            .required("event")
            .property("state", members::refer::<TaskState>("With `state` only: the state that the task went to."))
            .property("attempt", members::whole("With `state` only: attempts begun."))
            .property(
                "error",
                members::nullable::<TaskError>("With `state` only: why the last attempt ended without an output."),
            )
            .property("text", members::text("With `progress` only: a line for people."))
            .property("chunk", members::text("With `output` only: a piece of the output."))
            .property("request", members::refer::<AgentRequest>("With `asked` only: what the agent asked."))
            .property("line", members::refer::<LogLine>("With `log` only: the line."))
            .into()
    }
}

impl ToSchema for TaskEventKind {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TaskState::name().into_owned(), TaskState::schema()));
        schemas.push((TaskError::name().into_owned(), TaskError::schema()));
        TaskError::schemas(schemas);
        schemas.push((AgentRequest::name().into_owned(), AgentRequest::schema()));
        AgentRequest::schemas(schemas);
        schemas.push((LogLine::name().into_owned(), LogLine::schema()));
        LogLine::schemas(schemas);
    }
}
