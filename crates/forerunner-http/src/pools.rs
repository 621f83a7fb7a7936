//! See and steer pools.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::{
    api::Api,
    body::JsonBody,
    error::Problem,
    json, problems, query,
    views::{AgentsView, DecisionsQuery, DecisionsView, HistoryQuery, PoolsView},
};

type Answer = Result<HttpResponse, Problem>;
type Pool = web::Path<String>;

pub(crate) async fn list(api: Api) -> Answer {
    let pools = api.handle().pools().await?;
    let unconfigured = api.handle().unconfigured_pools();
    Ok(json::ok(&PoolsView { pools, unconfigured }))
}

pub(crate) async fn show(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.handle().pool(&pool).await?))
}

pub(crate) async fn configure(api: Api, pool: Pool, body: JsonBody) -> Answer {
    let patch = json::parse(&body.bytes)?;
    Ok(json::ok(&api.handle().configure(&pool, patch).await?))
}

pub(crate) async fn pause(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.handle().pause(&pool).await?))
}

pub(crate) async fn resume(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.handle().resume(&pool).await?))
}

pub(crate) async fn agents(api: Api, pool: Pool) -> Answer {
    let agents = api.handle().agents(&pool).await?;
    Ok(json::ok(&AgentsView { agents }))
}

pub(crate) async fn forecast(api: Api, pool: Pool) -> Answer {
    Ok(json::ok(&api.handle().forecast(&pool).await?))
}

pub(crate) async fn history(api: Api, pool: Pool, request: HttpRequest) -> Answer {
    let asked: HistoryQuery = query::parse(&request)?;
    Ok(json::ok(&api.handle().history(&pool, query::minutes(asked.minutes.as_deref())?).await?))
}

pub(crate) async fn decisions(api: Api, pool: Pool, request: HttpRequest) -> Answer {
    let asked: DecisionsQuery = query::parse(&request)?;
    let decisions = api.handle().decisions(&pool, query::limit(asked.limit.as_deref())?).await?;
    Ok(json::ok(&DecisionsView { decisions }))
}

pub(crate) async fn decision(api: Api, path: web::Path<(String, String)>) -> Answer {
    let (pool, seq) = path.into_inner();
    let number = query::number("decision", &seq)?;
    match api.handle().decision(&pool, number).await? {
        Some(decision) => Ok(json::ok(&decision)),
        None => Err(no_decision(&pool, number)),
    }
}

fn no_decision(pool: &str, seq: u64) -> Problem {
    let detail = format!("pool `{pool}` has no decision {seq}, or keeps it no more; list its decisions");
    Problem::new(problems::NO_DECISION, detail).with("pool", pool).with("decision", seq)
}
