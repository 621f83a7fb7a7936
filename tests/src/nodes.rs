//! Several nodes, each with its own configuration, port and processes, on a shared store.

use std::{thread, time::Duration};

use tokio::time::Instant;

use crate::{Client, Effects, Pool, Service, Signal, Site};

/// Time limit for the kernel to end killed processes.
const GONE: Duration = Duration::from_secs(10);

/// Nodes that can be killed, stopped, resumed and restarted one by one.
///
/// Their agents write into one file, that of the first node's site.
#[derive(Debug)]
pub struct Nodes {
    stores: Vec<String>,
    sites: Vec<Site>,
    services: Vec<Option<Service>>,
}

impl Nodes {
    /// Starts `count` nodes on the store with this address, such as `postgres://…`, each with these lines of TOML and
    /// the pools that `pools` creates for agents that record their effects.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn start(store: &str, count: usize, lines: &str, pools: impl Fn(&Effects) -> Vec<Pool>) -> Self {
        Self::start_each(vec![store.to_owned(); count], lines, pools).await
    }

    /// Starts a node for each of these addresses, which are different ways to one store.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn start_each(stores: Vec<String>, lines: &str, pools: impl Fn(&Effects) -> Vec<Pool>) -> Self {
        let count = stores.len();
        let first = Site::new();
        let effects = first.effects();
        let rest = (1..count).map(|_| Site::new());
        let sites: Vec<Site> =
            std::iter::once(first).chain(rest).map(|site| site.with(lines, &pools(&effects))).collect();
        let mut nodes = Self { stores, services: sites.iter().map(|_| None).collect(), sites };
        for node in 0..count {
            nodes.restart(node).await;
        }
        nodes
    }

    /// Returns how many there are, dead ones included.
    pub const fn count(&self) -> usize {
        self.sites.len()
    }

    /// Returns the site of a node.
    pub fn site(&self, node: usize) -> &Site {
        &self.sites[node]
    }

    /// Returns what all agents have written.
    pub fn effects(&self) -> Effects {
        self.sites[0].effects()
    }

    /// Returns a node.
    ///
    /// # Panics
    /// If it is dead.
    pub fn node(&self, node: usize) -> &Service {
        self.services[node].as_ref().expect("this node lives")
    }

    /// Returns a client of each live node.
    pub fn clients(&self) -> Vec<Client> {
        self.services.iter().flatten().map(Service::client).collect()
    }

    /// Returns whether a node was started, and neither killed nor removed since.
    pub fn lives(&self, node: usize) -> bool {
        self.services[node].is_some()
    }

    /// Starts a node, and kills it first if it runs.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self, node: usize) {
        self.restart_under(node, &[]).await;
    }

    /// The same through another program, as [`Site::serve_under`] does.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart_under(&mut self, node: usize, wrapper: &[&str]) {
        self.kill(node);
        self.services[node] = Some(self.sites[node].serve_on_under(&self.stores[node], wrapper).await);
    }

    /// Kills a node like a loss of power, with its agents, and waits for their end: a killed process may complete its
    /// current write.
    ///
    /// # Panics
    /// If one exists 10 s later.
    pub fn kill(&mut self, node: usize) {
        self.services[node].take().into_iter().for_each(Service::kill);
        let begun = Instant::now();
        loop {
            let left = self.sites[node].marker().processes();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < GONE, "killed and still there: {left:?}");
            for (pid, _) in left {
                crate::send(pid, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Removes a node, to be waited for.
    ///
    /// # Panics
    /// If it does not run.
    pub fn take(&mut self, node: usize) -> Service {
        self.services[node].take().expect("this node lives")
    }

    /// Stops a node and its agents where they are: a machine that hangs.
    pub fn pause(&self, node: usize) {
        self.signal_rest(node, Signal::STOP);
    }

    /// Resumes a node and its agents.
    pub fn resume(&self, node: usize) {
        self.signal_rest(node, Signal::CONT);
    }

    /// Sends a signal to every process of a node.
    fn signal_rest(&self, node: usize, signal: Signal) {
        for (pid, _) in self.sites[node].marker().processes() {
            crate::send(pid, signal);
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if thread::panicking() {
            // Each service kills what is its own; a second panic would hide the first.
            return;
        }
        (0..self.count()).for_each(|node| self.kill(node));
    }
}
