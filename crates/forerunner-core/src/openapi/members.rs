//! Members of objects in an OpenAPI document.
//!
//! Some types have variants with members of their own. Alternatives would describe them best, but generators of clients
//! cannot handle a schema that combines another one with alternatives. So each is one object, whose members are not
//! always there.

use utoipa::{
    ToSchema,
    openapi::{
        Object, Ref,
        schema::{ObjectBuilder, OneOfBuilder, RefBuilder, Schema, Type},
    },
};

/// An object, to which members are added.
pub fn object(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(about))
}

/// A member of a type that has a schema of its own.
pub fn refer<T: ToSchema>(about: &str) -> Ref {
    RefBuilder::new().ref_location_from_schema_name(T::name()).description(Some(about)).build()
}

/// The same, or null.
pub fn nullable<T: ToSchema>(about: &str) -> Schema {
    OneOfBuilder::new().item(refer::<T>(about)).item(Object::with_type(Type::Null)).build().into()
}

/// A text.
pub fn text(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about)).build()
}

/// A whole number from 0 on.
pub fn whole(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some(about)).build()
}

/// One of these texts.
pub fn one_of(texts: &[&str], about: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(texts.iter().copied()))
        .description(Some(about))
        .build()
}
