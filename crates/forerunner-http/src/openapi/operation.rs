//! The description of one call.

use std::collections::BTreeMap;

use forerunner_core::TenantName;
use forerunner_service::auth::Permission;
use serde_json::{Value, json};
use utoipa::{
    ToSchema,
    openapi::{
        Content, ContentBuilder, Header, HeaderBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
        example::{Example, ExampleBuilder},
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{ObjectBuilder, Type},
        security::SecurityRequirement,
    },
};

use super::SCHEME;
use crate::{
    headers::TENANT,
    problems::{self, ProblemType},
    schema::ProblemSchema,
};

/// Schemas by name: those that operations refer to.
pub(crate) type Schemas = BTreeMap<String, RefOr<Schema>>;

/// The request and the responses of one call.
pub(crate) struct Op {
    id: &'static str,
    about: &'static str,
    parameters: Vec<Parameter>,
    body: Option<RequestBody>,
    answers: BTreeMap<u16, ResponseBuilder>,
    problems: Vec<&'static ProblemType>,
    schemas: Schemas,
    needs: Permission,
}

impl Op {
    /// Creates the operation with its name in generated clients, and a description beyond its line in the list of
    /// calls.
    pub(crate) fn new(id: &'static str, about: &'static str) -> Self {
        Self {
            id,
            about,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            problems: Vec::new(),
            schemas: Schemas::new(),
            needs: Permission::Open,
        }
    }

    /// Sets what the caller needs.
    pub(crate) const fn needs(mut self, needs: Permission) -> Self {
        self.needs = needs;
        self
    }

    /// Adds a parameter of the query string.
    pub(crate) fn query(self, name: &str, schema: impl Into<RefOr<Schema>>, about: &str) -> Self {
        self.parameter(ParameterIn::Query, name, Required::False, schema, about)
    }

    /// Adds a header.
    pub(crate) fn header(self, name: &str, schema: impl Into<RefOr<Schema>>, about: &str) -> Self {
        self.parameter(ParameterIn::Header, name, Required::False, schema, about)
    }

    /// Adds a part of the path.
    pub(crate) fn path(self, name: &str, schema: impl Into<RefOr<Schema>>, about: &str) -> Self {
        self.parameter(ParameterIn::Path, name, Required::True, schema, about)
    }

    fn parameter(
        mut self,
        place: ParameterIn,
        name: &str,
        required: Required,
        schema: impl Into<RefOr<Schema>>,
        about: &str,
    ) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        self.parameters.push(parameter.schema(Some(schema)).description(Some(about)).build());
        self
    }

    /// Adds a JSON body.
    pub(crate) fn body<T: ToSchema>(mut self, about: &str) -> Self {
        let body = RequestBodyBuilder::new().description(Some(about)).required(Some(Required::True));
        self.body = Some(body.content("application/json", Content::new(Some(self.refer::<T>()))).build());
        self
    }

    /// Answers a JSON body.
    pub(crate) fn answers<T: ToSchema>(mut self, status: u16, about: &str) -> Self {
        let content = Content::new(Some(self.refer::<T>()));
        self.answer(status, ResponseBuilder::new().description(about).content("application/json", content))
    }

    /// Adds a response of another type. Called again, it adds an alternative type.
    pub(crate) fn answers_text(mut self, kind: &str, about: &str) -> Self {
        let known = self.answers.remove(&200).unwrap_or_default();
        self.answer(200, known.description(about).content(kind, Content::new(Some(text()))))
    }

    /// Answers without a body.
    pub(crate) fn answers_nothing(self, status: u16, about: &str) -> Self {
        self.answer(status, ResponseBuilder::new().description(about))
    }

    fn answer(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.answers.insert(status, response);
        self
    }

    /// Adds a header to an answer that was named before.
    pub(crate) fn with(mut self, status: u16, name: &str, schema: impl Into<RefOr<Schema>>, about: &str) -> Self {
        if let Some(response) = self.answers.remove(&status) {
            self.answers.insert(status, response.header(name, header(schema, about)));
        }
        self
    }

    /// Mentions a schema that no body refers to.
    pub(crate) fn mentions<T: ToSchema>(mut self) -> Self {
        self.refer::<T>();
        self
    }

    /// Answers these problems.
    pub(crate) fn refuses(mut self, problems: &[&'static ProblemType]) -> Self {
        self.problems.extend(problems);
        self
    }

    fn refer<T: ToSchema>(&mut self) -> Ref {
        let mut below = Vec::new();
        T::schemas(&mut below);
        self.schemas.extend(below);
        self.schemas.insert(T::name().into_owned(), T::schema());
        Ref::from_schema_name(T::name())
    }

    /// Finishes it, and hands over the schemas that it refers to.
    pub(crate) fn build(mut self, does: &str, tag: &str, schemas: &mut Schemas) -> Operation {
        self.problems.extend(OF_ANY_CALL);
        if self.needs != Permission::Open {
            self.problems.extend(OF_KEYS);
            self = self.header(TENANT, of::<TenantName>(), ABOUT_TENANT).mentions::<TenantName>();
        }
        for problems in by_status(&self.problems) {
            let content = Content::from(problem_content(self.refer::<ProblemSchema>(), &problems));
            let response = ResponseBuilder::new().description(described(&problems)).content(PROBLEM_JSON, content);
            self.answers.insert(problems[0].status, with_headers(response, &problems));
        }
        schemas.append(&mut self.schemas);
        self.parameters.sort_by_key(|parameter| !matches!(parameter.parameter_in, ParameterIn::Path));
        let operation = OperationBuilder::new().operation_id(Some(self.id)).summary(Some(sentence(does))).tag(tag);
        let operation = operation.description(Some(described_with(self.about, self.needs)));
        let operation = operation.securities(Some(security(self.needs)));
        let operation = operation.parameters(Some(self.parameters)).request_body(self.body);
        let answers = self.answers.into_iter();
        let operation = answers
            .fold(operation, |operation, (status, response)| operation.response(status.to_string(), response.build()));
        operation.build()
    }
}

const ABOUT_TENANT: &str = "The one tenant that the call is about. Only a key of several tenants has a choice.";
const PROBLEM_JSON: &str = "application/problem+json";

/// Problems with the header `Retry-After`.
const RETRIED: [&ProblemType; 6] = [
    problems::QUEUE_FULL,
    problems::TENANT_LIMIT,
    problems::BUSY,
    problems::OVERLOADED,
    problems::SHUTTING_DOWN,
    problems::STORE_UNAVAILABLE,
];

/// Problems of every call that needs a key.
const OF_KEYS: [&ProblemType; 4] =
    [problems::UNAUTHENTICATED, problems::FORBIDDEN, problems::STORE_UNAVAILABLE, problems::NOT_READY];

/// Describes which keys a call needs.
fn described_with(about: &str, needs: Permission) -> String {
    let roles: Vec<_> = needs.roles().iter().map(|role| format!("`{}`", role.as_str())).collect();
    let key = match needs {
        Permission::Open => "Needs no key.".to_owned(),
        Permission::AnyKey => "Needs a key, if the node has keys.".to_owned(),
        needs => format!("Needs `{}`, which keys of the roles {} have.", needs.as_str(), roles.join(", ")),
    };
    format!("{about} {key}").trim_start().to_owned()
}

/// No key at all is the other possibility: the node may have none.
fn security(needs: Permission) -> Vec<SecurityRequirement> {
    let none = SecurityRequirement::default();
    match needs {
        Permission::Open => vec![none],
        _ => vec![SecurityRequirement::new(SCHEME, Vec::<String>::new()), none],
    }
}

/// Problems of any call, from the checks of every request.
const OF_ANY_CALL: [&ProblemType; 4] =
    [problems::INVALID_HEADER, problems::CROSS_SITE, problems::MISDIRECTED, problems::OVERLOADED];

fn by_status(problems: &[&'static ProblemType]) -> Vec<Vec<&'static ProblemType>> {
    // The table has the manual's order, and each problem once.
    let named: Vec<_> = problems::PROBLEMS.iter().copied().filter(|problem| problems.contains(problem)).collect();
    named.chunk_by(|one, next| one.status == next.status).map(<[_]>::to_vec).collect()
}

fn described(problems: &[&ProblemType]) -> String {
    let line = |problem: &&ProblemType| format!("`{}`: {}.", problem.reference(), problem.title);
    problems.iter().map(line).collect::<Vec<_>>().join("\n\n")
}

/// One example for each kind, so that programs find the kinds by name.
fn problem_content(schema: Ref, problems: &[&ProblemType]) -> ContentBuilder {
    let examples = problems.iter().map(|problem| (problem.name, example(problem)));
    ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples)
}

fn example(problem: &ProblemType) -> Example {
    let value = json!({
        "type": problem.reference(), "title": problem.title, "status": problem.status, "detail": problem.remedy,
    });
    ExampleBuilder::new().summary(problem.title).value(Some(value)).build()
}

fn with_headers(response: ResponseBuilder, problems: &[&ProblemType]) -> ResponseBuilder {
    let response = if problems.iter().any(|problem| RETRIED.contains(problem)) {
        let about = "Whole seconds to wait before it is tried again; the same as `retry_after_s`.";
        response.header("Retry-After", header(whole(1, None), about))
    } else {
        response
    };
    if problems.contains(&problems::UNSUPPORTED_MEDIA_TYPE) {
        let response = response.header("Accept", header(text(), "The type that is accepted."));
        return response.header("Accept-Encoding", header(text(), "The encoding that is accepted: none."));
    }
    response
}

fn header(schema: impl Into<RefOr<Schema>>, about: &str) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()
}

/// Makes "submit a task" the sentence "Submit a task".
fn sentence(does: &str) -> String {
    let mut letters = does.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Any text.
pub(crate) fn text() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).build().into()
}

/// A whole number in a range.
pub(crate) fn whole(least: u64, most: Option<u64>) -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least as usize));
    number.maximum(most.map(|most| most as usize)).build().into()
}

/// One of some texts.
pub(crate) fn one_of(texts: impl IntoIterator<Item = &'static str>) -> Schema {
    let texts: Vec<Value> = texts.into_iter().map(Value::from).collect();
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).build().into()
}

/// A schema that was mentioned by its type.
pub(crate) fn of<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}
