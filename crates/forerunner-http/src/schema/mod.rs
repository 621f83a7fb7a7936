//! Schemas of the OpenAPI document that no type derives.

mod problem;

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};

pub(crate) use self::problem::ProblemSchema;

/// A duration as text.
pub(crate) struct DurationText;

impl PartialSchema for DurationText {
    fn schema() -> RefOr<Schema> {
        let about = "A duration: numbers with units of `d`, `h`, `m`, `s` and `ms`, the largest first, such as `250ms`, `1.5s` or `1h30m`.";
        let text = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        text.pattern(Some("^([0-9]+([.][0-9]+)?(ms|s|m|h|d) ?)+$")).into()
    }
}

impl ToSchema for DurationText {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Duration")
    }
}
