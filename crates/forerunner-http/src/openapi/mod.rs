//! The OpenAPI document, built from the tables of calls, the table of problems, and the response types.
//!
//! Operations are in the tables of calls instead of annotations of the handlers: handlers return a response without a
//! type, and several kinds of problems share a status.

mod operation;
pub(crate) mod parts;

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, HttpMethod, InfoBuilder, License, OpenApi, OpenApiBuilder, RefOr, Schema, ServerBuilder,
        path::Paths,
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

use self::operation::Schemas;
pub(crate) use self::operation::{Op, of, one_of, text, whole};
use crate::call::Call;

/// The document's description.
const ABOUT: &str = "Submit tasks to pools of warm agents, follow them, see and steer pools. Times are RFC 3339 in UTC, \
    durations are text such as `250ms`, `1.5s` or `10m`, and members whose names end in `_s` are seconds. HEAD is answered \
    wherever GET is. Errors are `application/problem+json` (RFC 9457): each status of a call has an example for each kind of \
    problem that it can answer. Any path may also be answered with 404 `not-found` or 405 `method-not-allowed`. Calls \
    need a key if `auth.mode` of the node is `keys`; else only trusted programs may reach the node.";

/// The name of the security scheme.
pub(crate) const SCHEME: &str = "key";
const KEY: &str = "A key of the node, such as `forerunner key create` makes. Its role has what the call needs.";

/// Writes the document of these calls, as JSON text.
pub(crate) fn json(calls: impl Iterator<Item = &'static Call>) -> String {
    let text = document(calls).to_pretty_json().expect("a document has no map whose keys are not text");
    // Comments of types are written for rustdoc, whose links do not work here.
    text.replace("[`", "`").replace("`]", "`") + "\n"
}

fn document(calls: impl Iterator<Item = &'static Call>) -> OpenApi {
    let (mut paths, mut schemas) = (Paths::new(), Schemas::new());
    for call in calls {
        let Some(describe) = call.operation else { continue };
        let operation = describe().needs(call.needs).build(call.summary, section(call.path), &mut schemas);
        paths.add_path_operation(call.path, vec![method(call)], operation);
    }
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new().title("Forerunner").version(env!("CARGO_PKG_VERSION"));
    let info = info.description(Some(ABOUT)).license(Some(license));
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(KEY)).build();
    let components = ComponentsBuilder::new().schemas_from_iter(schemas);
    let components = components.security_scheme(SCHEME, SecurityScheme::Http(key));
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new().url("/").description(Some("The node that is asked.")).build()]))
        .tags(Some(tags()))
        .paths(paths)
        .components(Some(components.build()))
        .build()
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

const SECTIONS: [(&str, &str); 7] = [
    ("tasks", "Submit, read and change tasks."),
    ("schedules", "Read and change schedules."),
    ("pools", "Read and change pools."),
    ("contexts", "Read and delete contexts."),
    ("keys", "Make, list, rotate and revoke keys."),
    ("tenants", "See and limit tenants."),
    ("node", "Health, metrics and documents of the node itself."),
];

fn tags() -> Vec<Tag> {
    SECTIONS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build()).into()
}

fn section(path: &str) -> &'static str {
    let named = SECTIONS.iter().find(|(name, _)| path.split(['/', ':']).any(|part| part == *name));
    named.map_or("node", |(name, _)| name)
}

/// The document, in the document.
pub(crate) struct Document;

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
    use crate::routes;

    #[test]
    fn every_call_is_described_and_declared_once() {
        let declared: BTreeSet<_> = routes::calls().map(|call| (call.method, call.path)).collect();
        assert_eq!(routes::calls().count(), declared.len(), "each is declared once");
        let silent: Vec<_> =
            routes::calls().filter(|call| call.operation.is_none()).map(|call| (call.method, call.path)).collect();
        assert_eq!(silent, [], "each has its operation in the document");
    }

    #[test]
    fn every_part_of_a_path_is_described_and_comes_first() {
        let document = serde_json::to_value(document(routes::calls())).unwrap();
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
