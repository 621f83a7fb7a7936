//! Read and delete contexts.

use actix_web::{HttpRequest, HttpResponse, web};
use forerunner_core::ContextId;

use crate::{
    api::Api,
    error::Problem,
    json, query,
    views::{ContextQuery, ContextsQuery, ContextsView},
};

pub(crate) async fn list(api: Api, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ContextsQuery = query::parse(&request)?;
    let limit = query::limit(asked.limit.as_deref())?;
    let (pool, cursor) = (asked.pool.as_deref(), asked.cursor.as_deref());
    let (contexts, next) = api.service().contexts(pool, cursor, limit).await?;
    Ok(json::ok(&ContextsView { contexts, next }))
}

pub(crate) async fn show(api: Api, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ContextQuery = query::parse(&request)?;
    let context = api.service().context(asked.pool.as_deref(), ContextId::new(id.as_str())?).await?;
    Ok(json::ok(&context))
}

pub(crate) async fn delete(api: Api, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ContextQuery = query::parse(&request)?;
    api.service().delete_context(asked.pool.as_deref(), ContextId::new(id.as_str())?).await?;
    Ok(HttpResponse::NoContent().finish())
}
