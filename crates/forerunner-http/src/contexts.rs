//! See and remove contexts.

use actix_web::{HttpRequest, HttpResponse, web};
use forerunner_core::ContextId;

use crate::{api::Api, error::Problem, json, query, views::ContextQuery};

pub(crate) async fn show(api: Api, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ContextQuery = query::parse(&request)?;
    let context = api.handle().context(asked.pool.as_deref(), ContextId::new(id.as_str())?).await?;
    Ok(json::ok(&context))
}

pub(crate) async fn delete(api: Api, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ContextQuery = query::parse(&request)?;
    api.handle().delete_context(asked.pool.as_deref(), ContextId::new(id.as_str())?).await?;
    Ok(HttpResponse::NoContent().finish())
}
