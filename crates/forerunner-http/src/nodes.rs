//! Which nodes there are.

use actix_web::HttpResponse;

use crate::{api::Api, error::Problem, json, views::NodesView};

pub(crate) async fn list(api: Api) -> Result<HttpResponse, Problem> {
    let nodes = api.service().nodes().await?;
    Ok(json::ok(&NodesView { nodes }))
}
