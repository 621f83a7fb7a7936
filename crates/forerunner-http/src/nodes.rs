//! Which nodes there are, and how many agents an autoscaler of nodes should make room for.

use actix_web::{HttpResponse, web};

use crate::{
    api::Api,
    error::Problem,
    json,
    views::{NodesView, ScalerView},
};

pub(crate) async fn list(api: Api) -> Result<HttpResponse, Problem> {
    let nodes = api.handle().nodes().await?;
    Ok(json::ok(&NodesView { nodes }))
}

/// A backlog alone says too little: it is gone as soon as it is being worked on, and it begins when it is too late.
pub(crate) async fn scaler(api: Api, pool: web::Path<String>) -> Result<HttpResponse, Problem> {
    let pool = api.handle().pool(&pool).await?;
    // Tasks are counted by each node for itself, busy agents on all of them.
    let running = pool.running.max(u64::from(pool.agents.busy));
    let busy = running.saturating_add(pool.depth);
    let agents = busy.max(u64::from(pool.desired)).clamp(u64::from(pool.min), u64::from(pool.max));
    Ok(json::ok(&ScalerView { agents, running, queued: pool.depth, forecast: pool.desired }))
}
