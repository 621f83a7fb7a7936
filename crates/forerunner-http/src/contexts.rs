//! See and remove contexts.

use actix_web::{HttpRequest, HttpResponse, web};
use forerunner_core::ContextId;
use forerunner_runtime::ContextPage;

use crate::{
    api::Api,
    error::Problem,
    json, query,
    views::{ContextQuery, ContextsQuery, ContextsView},
};

pub(crate) async fn list(api: Api, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: ContextsQuery = query::parse(&request)?;
    let after = asked.cursor.as_deref().map(query::after_context).transpose()?;
    let limit = query::limit(asked.limit.as_deref())?;
    let ContextPage { contexts, more } = api.handle().contexts(asked.pool.as_deref(), after, limit).await?;
    let next = contexts.last().filter(|_| more).map(|last| query::context_cursor(&last.pool, &last.id));
    Ok(json::ok(&ContextsView { contexts, next }))
}

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
