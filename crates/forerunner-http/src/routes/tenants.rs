//! The calls on tenants.

use actix_web::web;
use forerunner_core::TenantName;
use forerunner_service::{TenantLimits, TenantStatus, auth::Permission};

use crate::{
    call::Call,
    openapi::{
        Op, of,
        parts::{BODY, STORE},
    },
    problems::INVALID_VALUE,
    tenants::{self, TenantsView},
};

/// See and limit tenants.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/tenants",
        summary: "list tenants that have limits",
        needs: Permission::Operate,
        handler: || web::to(tenants::list),
        operation: Some(|| {
            let about = "With what they have used, as far as this node knows: it counts every 2 seconds.";
            Op::new("listTenants", about).answers::<TenantsView>(200, "The tenants, by name.").refuses(STORE)
        }),
    },
    Call {
        method: "PUT",
        path: "/v1/tenants/{tenant}",
        summary: "limit a tenant",
        needs: Permission::Admin,
        handler: || web::to(tenants::set),
        operation: Some(|| {
            let about = "Replaces all limits of the tenant; `{}` removes them. All nodes follow within some seconds. Tasks that \
                         were accepted stay.";
            let op = Op::new("limitTenant", about).path("tenant", of::<TenantName>(), "The tenant.");
            let op = op.body::<TenantLimits>("The limits.").answers::<TenantStatus>(200, "The tenant.");
            op.refuses(BODY).refuses(&[INVALID_VALUE]).refuses(STORE)
        }),
    },
];
