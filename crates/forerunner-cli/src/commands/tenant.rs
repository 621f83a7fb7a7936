//! `forerunner tenant`: what tenants may have at most.

use clap::{Args, Subcommand};
use forerunner_console::{
    Usage, fields,
    output::{Output, render, table},
};
use forerunner_core::TenantName;
use serde_json::{Value, json};

use crate::{
    client::{Call, encode},
    server_args::ServerArgs,
};

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// List the tenants that have limits, with what they have used.
    List(ServerArgs),
    /// Set the limits of a tenant, in place of those that it had.
    Limit(LimitArgs),
}

/// Arguments of `limit`.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// The tenant.
    name: TenantName,
    /// Tasks that it may submit in a second, to each node.
    #[arg(long, value_name = "TASKS")]
    submits_per_s: Option<f64>,
    /// Tasks that it may submit at once; by default those of a second.
    #[arg(long, value_name = "TASKS")]
    burst: Option<u32>,
    /// Tasks that may wait or run.
    #[arg(long, value_name = "TASKS")]
    tasks: Option<u64>,
    /// Bytes that the inputs of these may have.
    #[arg(long, value_name = "BYTES")]
    input_bytes: Option<u64>,
    /// Remove all limits of the tenant.
    #[arg(long, conflicts_with_all = ["submits_per_s", "burst", "tasks", "input_bytes"])]
    none: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs a command on a service.
pub async fn run(command: TenantCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        TenantCommand::List(server) => {
            let answer = server.client()?.get("/v1/tenants").await?;
            out.show(&*answer, || render_list(fields::list(&answer, "tenants")))
        }
        TenantCommand::Limit(args) => limit(&args, out).await,
    }
}

async fn limit(args: &LimitArgs, out: &Output) -> anyhow::Result<()> {
    let mut limits = json!({
        "submits_per_s": args.submits_per_s, "burst": args.burst, "tasks": args.tasks, "input_bytes": args.input_bytes,
    });
    if let Some(members) = limits.as_object_mut() {
        members.retain(|_, value| !value.is_null());
        if members.is_empty() != args.none {
            let text = "name a limit, such as --tasks 1000, or remove all of them with --none";
            return Err(Usage(text.to_owned()).into());
        }
    }
    let call = Call::put(format!("/v1/tenants/{}", encode(args.name.as_str())));
    let answer = args.server.client()?.send(call.body(&limits)).await?;
    out.show(&*answer, || render_list(std::slice::from_ref(&*answer)))
}

fn render_list(tenants: &[Value]) -> String {
    let of = |tenant: &Value, used: &str, limit: &str| {
        let limit = fields::text(tenant, limit);
        if limit == fields::NOTHING { limit } else { format!("{} of {limit}", fields::text(tenant, used)) }
    };
    let row = |tenant: &Value| {
        [
            fields::text(tenant, "name"),
            fields::text(tenant, "limits.submits_per_s"),
            fields::text(tenant, "limits.burst"),
            of(tenant, "tasks", "limits.tasks"),
            of(tenant, "input_bytes", "limits.input_bytes"),
        ]
    };
    let header = ["tenant", "submits/s", "burst", "tasks", "input bytes"];
    render(&table(header, tenants.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_is_used_of_each_limit() {
        let tenant =
            json!({ "name": "acme", "limits": { "submits_per_s": 0.5, "tasks": 10 }, "tasks": 7, "input_bytes": 9 });
        let shown = render_list(&[tenant]);
        let row: Vec<_> = shown.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(row[..2], ["acme", "0.5"]);
        assert!(shown.contains("7 of 10") && !shown.contains("9 of"), "{shown}");
    }
}
