//! The OpenAPI document: made from the table of calls, the table of problems, and the types that are answered.
//!
//! Operations are described in [`calls`] rather than by annotations of the handlers: these answer with a response that has
//! no type, path and method stand in the table of calls already, and the kinds of problems belong to a status in groups.

mod calls;
mod operation;
mod tasks;

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, HttpMethod, InfoBuilder, License, OpenApi, OpenApiBuilder, RefOr, Schema, ServerBuilder,
        path::Paths,
        schema::{ObjectBuilder, Type},
        tag::{Tag, TagBuilder},
    },
};

use self::{calls::DESCRIPTIONS, operation::Schemas};
use crate::call::Call;

/// What the document says of itself.
const ABOUT: &str = "Submit tasks to pools of warm agents, follow them, see and steer pools. Times are RFC 3339 in UTC, \
    durations are text such as `250ms`, `1.5s` or `10m`, and members whose names end in `_s` are seconds. HEAD is answered \
    wherever GET is. Errors are `application/problem+json` (RFC 9457): each status of a call has an example for each kind of \
    problem that it can answer. Any path may also be answered with 404 `not-found` or 405 `method-not-allowed`. There is no \
    authentication: listen on an address that only trusted programs reach.";

/// Writes the document of these calls, as JSON text.
pub(crate) fn json(calls: &[Call]) -> String {
    let text = document(calls).to_pretty_json().expect("a document has no map whose keys are not text");
    // Comments of types are written for rustdoc, whose links lead nowhere here.
    text.replace("[`", "`").replace("`]", "`") + "\n"
}

fn document(calls: &[Call]) -> OpenApi {
    let (mut paths, mut schemas) = (Paths::new(), Schemas::new());
    for call in calls {
        // A test sees to it that each call is described.
        let Some((_, _, describe)) = DESCRIPTIONS.iter().find(|(method, path, _)| is_of(call, method, path)) else {
            continue;
        };
        let operation = describe().build(call.does, section(call.path), &mut schemas);
        paths.add_path_operation(call.path, vec![method(call)], operation);
    }
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new().title("Forerunner").version(env!("CARGO_PKG_VERSION"));
    let info = info.description(Some(ABOUT)).license(Some(license));
    let components = ComponentsBuilder::new().schemas_from_iter(schemas);
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new().url("/").description(Some("The node that is asked.")).build()]))
        .tags(Some(tags()))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn is_of(call: &Call, method: &str, path: &str) -> bool {
    call.method == method && call.path == path
}

fn method(call: &Call) -> HttpMethod {
    match call.method {
        "POST" => HttpMethod::Post,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        "PUT" => HttpMethod::Put,
        _ => HttpMethod::Get,
    }
}

const SECTIONS: [(&str, &str); 4] = [
    ("tasks", "Submit, see and steer tasks."),
    ("pools", "See and steer pools."),
    ("contexts", "See and remove contexts."),
    ("node", "What monitors and people ask about the node itself."),
];

fn tags() -> Vec<Tag> {
    SECTIONS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build()).into()
}

fn section(path: &str) -> &'static str {
    let named = SECTIONS.iter().find(|(name, _)| path.split(['/', ':']).any(|part| part == *name));
    named.map_or("node", |(name, _)| name)
}

/// The document, in the document.
struct Document;

impl PartialSchema for Document {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Object).description(Some("An OpenAPI 3.1 document.")).into()
    }
}

impl ToSchema for Document {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("OpenApiDocument")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routes::CALLS;

    #[test]
    fn every_call_is_described_and_nothing_else() {
        let routed: BTreeSet<_> = CALLS.iter().map(|call| (call.method, call.path)).collect();
        let described: BTreeSet<_> = DESCRIPTIONS.iter().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(routed, described, "routes.rs and openapi/calls.rs name the same calls");
        assert_eq!(DESCRIPTIONS.len(), described.len(), "each is described once");
    }

    #[test]
    fn every_part_of_a_path_is_described_and_comes_first() {
        let document = serde_json::to_value(document(CALLS)).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
                let of_path = parameters.iter().take_while(|parameter| parameter["in"] == "path");
                let names: Vec<_> =
                    of_path.map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap())).collect();
                assert_eq!(names.len(), path.matches('{').count(), "{path}: {names:?}");
                assert!(names.iter().all(|name| path.contains(name)), "{path}: {names:?}");
            }
        }
    }
}
