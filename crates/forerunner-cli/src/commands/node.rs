//! `forerunner node`: see the nodes that share a store.

use clap::Subcommand;
use forerunner_console::{
    fields,
    output::{Output, render, right_from, table},
};
use serde_json::Value;

use crate::server_args::ServerArgs;

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes that share the store, oldest first.
    List(ServerArgs),
}

/// Shows nodes.
pub async fn run(command: NodeCommand, out: &Output) -> anyhow::Result<()> {
    let NodeCommand::List(server) = command;
    let nodes = server.client()?.get("/v1/nodes").await?;
    out.show(&nodes, || render_list(&nodes))
}

fn render_list(answer: &Value) -> String {
    let row = |node: &Value| {
        let role = if node["leads"] == true { "leads" } else { "follows" };
        let this = if node["this"] == true { ", asked" } else { "" };
        let pools = node["pools"].as_object().into_iter().flat_map(|pools| pools.values());
        let (warm, busy, starting) = pools.fold((0.0, 0.0, 0.0), |(warm, busy, starting), agents| {
            let count = |name| fields::number(agents, name).unwrap_or(0.0);
            (warm + count("ready"), busy + count("busy"), starting + count("starting"))
        });
        [
            fields::text(node, "id"),
            format!("{role}{this}"),
            fields::text(node, "version"),
            fields::time(node, "started_at"),
            busy.to_string(),
            warm.to_string(),
            starting.to_string(),
        ]
    };
    let header = ["node", "role", "version", "started", "busy", "ready", "starting"];
    let mut table = table(header, fields::list(answer, "nodes").iter().map(row));
    right_from(&mut table, 4);
    render(&table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_who_leads_and_adds_up_the_pools() {
        let agents = |ready: u32, busy: u32| json!({ "ready": ready, "busy": busy, "starting": 1, "cooldown": 0 });
        let node = json!({
            "id": "n1", "version": "1.0.0", "started_at": "2026-01-31T12:00:00Z", "leads": true, "this": true,
            "pools": { "a": agents(2, 3), "b": agents(4, 0) },
        });
        let shown = render_list(&json!({ "nodes": [node] }));
        let row: Vec<_> = shown.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(row, ["n1", "leads,", "asked", "1.0.0", "2026-01-31", "12:00:00", "3", "6", "2"]);
    }
}
