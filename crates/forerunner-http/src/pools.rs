//! Read and change pools.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::{
    api::Api,
    body::{BatchLimit, JsonBody},
    error::Problem,
    json, query,
    views::{AgentsView, DecisionsQuery, DecisionsView, HistoryQuery, PoolsView},
};

type Answer = Result<HttpResponse, Problem>;
type Pool = web::Path<String>;

pub(crate) async fn list(api: Api) -> Answer {
    let pools = api.service().pools().await?;
    let unconfigured = api.service().unconfigured_pools();
    Ok(json::ok(&PoolsView { pools, unconfigured }))
}

pub(crate) async fn show(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.service().pool(&pool).await?))
}

pub(crate) async fn configure(api: Api, pool: Pool, body: JsonBody) -> Answer {
    let patch = json::parse(&body.bytes)?;
    Ok(json::ok(&api.service().configure(&pool, patch).await?))
}

pub(crate) async fn pause(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.service().pause(&pool).await?))
}

pub(crate) async fn resume(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.service().resume(&pool).await?))
}

pub(crate) async fn learn(api: Api, pool: Pool, body: JsonBody<BatchLimit>) -> Answer {
    let request = json::parse(&body.bytes)?;
    Ok(json::ok(&api.service().learn(&pool, request).await?))
}

pub(crate) async fn agents(api: Api, pool: Pool) -> Answer {
    let agents = api.service().agents(&pool).await?;
    Ok(json::ok(&AgentsView { agents }))
}

pub(crate) async fn forecast(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.service().forecast(&pool).await?))
}

pub(crate) async fn history(api: Api, pool: Pool, request: HttpRequest) -> Answer {
    let asked: HistoryQuery = query::parse(&request)?;
    Ok(json::ok(&api.service().history(&pool, query::minutes(asked.minutes.as_deref())?).await?))
}

pub(crate) async fn decisions(api: Api, pool: Pool, request: HttpRequest) -> Answer {
    let asked: DecisionsQuery = query::parse(&request)?;
    let decisions = api.service().decisions(&pool, query::limit(asked.limit.as_deref())?).await?;
    Ok(json::ok(&DecisionsView { decisions }))
}

pub(crate) async fn decision(api: Api, path: web::Path<(String, String)>) -> Answer {
    let (pool, seq) = path.into_inner();
    let number = query::number("decision", &seq)?;
    Ok(json::ok(&api.service().decision(&pool, number).await?))
}

pub(crate) async fn scaler(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.service().scaler(&pool).await?))
}
