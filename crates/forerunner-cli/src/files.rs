//! How many files the node may have open, and who gets them: its store, its agents, its clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, PoolConfig};

/// Files of the store, the log and the listeners.
const OF_NODE: u64 = 32;
/// Files of each thread that serves, and of each that runs pools.
const OF_THREAD: u64 = 4;
/// Connections without which a node is of no use.
const LEAST_CONNECTIONS: u64 = 32;
/// Connections of a thread that serves beyond its limit, which get an answer about that.
const BEYOND_LIMIT: u64 = 16;
/// Connections of the admin listener.
const OF_MONITORS: u64 = 64 + BEYOND_LIMIT;
/// No node needs more files than this, and agents inherit the limit: programs that close all possible files take long
/// where a system allows a thousand million.
const MOST_FILES: u64 = 1 << 20;

/// What the node needs files for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Requirements {
    node: u64,
    fewest_agents: Agents,
    most_agents: Agents,
    connections: u64,
}

/// Agents for which the node has files open, and these files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Agents {
    count: u64,
    files: u64,
}

/// There are too few files for the node and the agents that are always there.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of open files is {limit}, and the node needs {needed}: {node} for itself, {of_agents} for {agents} agents \
     (pools.*.min), {connections} for clients; raise it (ulimit -n, LimitNOFILE= of systemd)"
)]
pub struct FileLimitError {
    limit: u64,
    needed: u64,
    node: u64,
    agents: u64,
    of_agents: u64,
    connections: u64,
}

/// Raises the limit of open files as far as the node may. Lowers `http.max_connections` to what agents and store leave
/// over.
///
/// # Errors
/// [`FileLimitError`].
pub fn share_out(config: &mut Config) -> Result<(), FileLimitError> {
    let (limit, needs) = (raise(), Requirements::of(config));
    let connections = needs.connections_within(limit)?;
    if connections < needs.connections {
        config.http.max_connections = usize::try_from(connections).unwrap_or(usize::MAX);
        tracing::warn!(
            limit,
            agents = needs.most_agents.count,
            wanted = needs.connections,
            max_connections = connections,
            "too few open files are allowed for all connections; raise the limit (ulimit -n, LimitNOFILE=)"
        );
    }
    Ok(())
}

/// Raises the soft limit to the hard one, and returns it. The usual soft limit is for programs that use `select`.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX).min(MOST_FILES);
    let now = current.unwrap_or(u64::MAX);
    if now >= most {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }) {
        Ok(()) => most,
        Err(_) => now,
    }
}

impl Requirements {
    fn of(config: &Config) -> Self {
        let (workers, threads) = (config.http.workers as u64, config.node.threads as u64);
        let monitors = if config.http.admin_listen.is_empty() { 0 } else { OF_MONITORS };
        let with_files = || config.pools.values().filter(|pool| pool.agent.open_files() > 0);
        let agents = |count: fn(&PoolConfig) -> u64| Agents {
            count: with_files().map(count).sum(),
            files: with_files().map(|pool| count(pool).saturating_mul(pool.agent.open_files())).sum(),
        };
        Self {
            node: OF_NODE
                + OF_THREAD * (workers + threads + 1)
                + BEYOND_LIMIT * workers
                + config.store.connections as u64
                + monitors,
            fewest_agents: agents(|pool| pool.settings.min.into()),
            most_agents: agents(|pool| pool.settings.max.into()),
            connections: config.http.max_connections as u64,
        }
    }

    /// Returns how many connections there may be.
    fn connections_within(self, limit: u64) -> Result<u64, FileLimitError> {
        let least = self.connections.min(LEAST_CONNECTIONS);
        let Agents { count: agents, files: of_agents } = self.fewest_agents;
        let needed = self.node.saturating_add(of_agents).saturating_add(least);
        if needed > limit {
            return Err(FileLimitError { limit, needed, node: self.node, agents, of_agents, connections: least });
        }
        let reserved = self.node.saturating_add(self.most_agents.files);
        Ok(limit.saturating_sub(reserved).clamp(least, self.connections))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Requirements = Requirements {
        node: 100,
        fewest_agents: Agents { count: 10, files: 80 },
        most_agents: Agents { count: 50, files: 400 },
        connections: 10_000,
    };

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let limit = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, limit), (Some(limit), maximum.unwrap_or(u64::MAX).min(MOST_FILES).max(limit)));
    }

    #[test]
    fn agents_get_their_files_first_and_clients_what_is_left() {
        assert_eq!(NEEDS.connections_within(20_000).unwrap(), 10_000);
        assert_eq!(NEEDS.connections_within(1_024).unwrap(), 1_024 - 100 - 400);
        assert_eq!(NEEDS.connections_within(300).unwrap(), LEAST_CONNECTIONS);
    }

    #[test]
    fn too_few_files_are_refused_with_the_figures() {
        let error = NEEDS.connections_within(211).unwrap_err();
        insta::assert_snapshot!(error, @"the limit of open files is 211, and the node needs 212: 100 for itself, 80 for 10 agents (pools.*.min), 32 for clients; raise it (ulimit -n, LimitNOFILE= of systemd)");
    }
}
