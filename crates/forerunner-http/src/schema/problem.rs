//! The body of a problem.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, RefOr, Schema, SchemaFormat,
        schema::{ArrayBuilder, ObjectBuilder, Type},
    },
};

/// The form of any problem.
pub(crate) struct ProblemSchema;

/// Members of some kinds; `/problems` and the manual list the kinds.
const TEXTS: [(&str, &str); 15] = [
    ("field", "The field that is not known, or whose value cannot be read."),
    ("nearest", "The known field nearest to it."),
    ("header", "The header that is not acceptable."),
    ("pool", "The pool it is about."),
    ("task", "The task it is about."),
    ("state", "The state of that task."),
    ("context", "The context it is about."),
    ("schedule", "The schedule it is about."),
    ("idempotency_key", "The key that was used before."),
    ("role", "The role of the key."),
    ("needs", "What the call needs, and the key does not have."),
    ("key", "The id of the key it is about."),
    ("name", "The name of that key."),
    ("limited", "What is limited of the tenant or the key: `rate`, `key_rate`, `tasks` or `bytes`."),
    ("store", "The kind of store."),
];
const NUMBERS: [(&str, &str); 10] = [
    ("line", "The line of the body, from 1."),
    ("column", "The column of the body, in bytes, from 1."),
    ("index", "In the results of a batch: the place of the task in `tasks`, from 0."),
    ("depth", "Tasks that wait; of a chain that is too long, the depth that the task would have."),
    ("limit", "The limit: of waiting tasks, of bytes, of depth, of schedules, or of tasks in a batch."),
    ("bytes", "Bytes that the pool has: of inputs, or of contexts."),
    ("size", "Bytes that came, or were announced."),
    ("count", "Tasks that came."),
    ("decision", "The decision that was asked for."),
    ("retry_after_s", "Seconds to wait before it is tried again; the same as `Retry-After`."),
];

impl PartialSchema for ProblemSchema {
    fn schema() -> RefOr<Schema> {
        let about = "A problem (RFC 9457). Programs go by `type`, which does not change; `detail` is for people. \
                     Other members may be added.";
        let reference = ObjectBuilder::new().schema_type(Type::String);
        let reference = reference.format(Some(SchemaFormat::Custom("uri-reference".to_owned())));
        let mut problem = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(about))
            .property("type", reference.description(Some("The kind, such as `/problems/queue-full`.")))
            .property("title", member(Type::String, "The kind in words, always the same."))
            .property("status", member(Type::Integer, "The status of the answer."))
            .property("detail", member(Type::String, "What is wrong with this call, and what to do."));
        for name in ["type", "title", "status", "detail"] {
            problem = problem.required(name);
        }
        for (name, about) in TEXTS {
            problem = problem.property(name, member(Type::String, about));
        }
        for (name, about) in NUMBERS {
            problem = problem.property(name, member(Type::Integer, about));
        }
        let reasons = ArrayBuilder::new().items(Object::with_type(Type::String));
        problem.property("reasons", reasons.description(Some("Why the node accepts no traffic."))).into()
    }
}

impl ToSchema for ProblemSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }
}

fn member(kind: Type, about: &str) -> Object {
    ObjectBuilder::new().schema_type(kind).description(Some(about)).build()
}
