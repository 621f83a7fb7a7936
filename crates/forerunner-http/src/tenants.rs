//! See and limit tenants.

use actix_web::{HttpResponse, web};
use forerunner_core::TenantName;
use forerunner_service::{TenantLimits, TenantStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{api::Api, body::JsonBody, error::Problem, json};

type Answer = Result<HttpResponse, Problem>;

/// The tenants that have limits.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantList)]
pub(crate) struct TenantsView {
    /// The tenants, by name.
    pub(crate) tenants: Vec<TenantStatus>,
}

pub(crate) async fn list(api: Api) -> Answer {
    Ok(json::ok(&TenantsView { tenants: api.service().tenants().await? }))
}

pub(crate) async fn set(api: Api, name: web::Path<String>, body: JsonBody) -> Answer {
    let (name, limits) = (TenantName::new(name.as_str())?, json::parse::<TenantLimits>(&body.bytes)?);
    Ok(json::ok(&api.service().set_tenant(name, limits).await?))
}
