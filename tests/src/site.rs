//! What survives a restart: a directory with configuration, store, log and effects.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Effects, Marker, Pool, Program, Service, eventually, holds};

/// A place to serve from. Its directory is removed when it is dropped.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    marker: Marker,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// An empty place without pools.
    ///
    /// # Panics
    /// If no temporary directory can be made.
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("forerunner-e2e-").expect("a temporary directory can be made");
        Self { directory, marker: Marker::unique() }
    }

    /// An empty place in this directory, such as one on a small disk.
    ///
    /// # Panics
    /// If no directory can be made in it.
    pub fn within(directory: &Path) -> Self {
        let directory = TempDir::with_prefix_in("forerunner-e2e-", directory).expect("a directory can be made in it");
        Self { directory, marker: Marker::unique() }
    }

    /// A place whose configuration has these pools, after these lines of TOML.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    #[must_use]
    pub fn with(self, lines: &str, pools: &[Pool]) -> Self {
        self.with_own_address(&format!("http.listen = \"127.0.0.1:0\"\n{lines}"), pools)
    }

    /// The same, with a listen address in the lines.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    #[must_use]
    pub fn with_own_address(self, lines: &str, pools: &[Pool]) -> Self {
        let tables: Vec<String> = pools.iter().map(|pool| pool.render(&self.marker)).collect();
        fs::write(self.config(), format!("{lines}\n{}", tables.join("\n")))
            .expect("a fresh directory can be written to");
        self
    }

    /// Returns a path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("forerunner.toml")
    }

    /// Returns the SQLite file.
    pub fn store(&self) -> PathBuf {
        self.path("tasks.db")
    }

    /// Returns the file that writing agents write to.
    pub fn effects(&self) -> Effects {
        Effects::at(self.path("effects"))
    }

    /// Returns what marks its processes.
    pub const fn marker(&self) -> &Marker {
        &self.marker
    }

    /// The program, to be run here.
    pub fn program(&self) -> Program {
        Program::at(self)
    }

    /// The program, to be run here with a closed standard output.
    pub fn program_without_stdout(&self) -> Program {
        Program::without_stdout(self)
    }

    /// Starts a service and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve(&self) -> Service {
        self.serve_on(&self.store_url()).await
    }

    /// Starts a service on the store with this address and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_on(&self, store: &str) -> Service {
        self.serve_on_under(store, &[]).await
    }

    /// Starts a service on the store with this address through another program, as [`Site::serve_under`] does.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_on_under(&self, store: &str, wrapper: &[&str]) -> Service {
        Service::start(self, store, wrapper).await
    }

    /// Starts a service through another program, such as `strace -D …`, which receives the command line and must become
    /// the service, and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_under(&self, wrapper: &[&str]) -> Service {
        self.serve_on_under(&self.store_url(), wrapper).await
    }

    /// Starts a service with this standard error, and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn serve_logging_to(&self, stderr: impl Into<Stdio>) -> Service {
        Service::start_logging_to(self, &self.store_url(), &[], stderr.into()).await
    }

    fn store_url(&self) -> String {
        format!("sqlite:{}", self.store().display())
    }

    /// Waits until no process of this place remains.
    ///
    /// # Panics
    /// After `limit`, with the remaining processes.
    pub async fn empty(&self, limit: Duration) {
        let mut left = Vec::new();
        let begun = tokio::time::Instant::now();
        eventually("no process is left behind", limit + Duration::from_secs(1), async || {
            left = self.marker.processes();
            assert!(left.is_empty() || begun.elapsed() < limit, "left behind after {limit:?}: {left:?}");
            holds(left.is_empty())
        })
        .await;
    }
}
