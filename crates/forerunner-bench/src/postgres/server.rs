//! A PostgreSQL to measure: a named one, or one that the benchmark starts and removes.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::{Error, Options};

/// The user that Debian's package creates for the server, which refuses to run as root.
const USER: &str = "postgres";

/// A server on which the benchmark creates databases.
pub(crate) struct Server {
    /// An address of the server, with a database to start from.
    url: String,
    own: Option<OwnedServer>,
    databases: AtomicU64,
}

/// A server that was started here.
struct OwnedServer {
    programs: PathBuf,
    directory: TempDir,
}

/// A database that is dropped with this.
pub(crate) struct Database<'a> {
    server: &'a Server,
    name: String,
    /// Its address.
    pub(crate) url: String,
}

impl Server {
    /// The server that the options name, or one of our own with the settings that a fresh one has.
    pub(crate) fn start(options: &Options) -> Result<Self, Error> {
        let (url, own) = match &options.postgres {
            Some(url) => (url.clone(), None),
            None => {
                let (own, port) = OwnedServer::start(&options.directory)?;
                (format!("postgres://forerunner@127.0.0.1:{port}/postgres"), Some(own))
            }
        };
        Ok(Self { url, own, databases: AtomicU64::new(0) })
    }

    /// Whether it was started here, with default settings.
    pub(crate) const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Makes an empty database.
    pub(crate) fn database(&self) -> Result<Database<'_>, Error> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("forerunner_bench_{}_{number}", std::process::id());
        self.run(&format!("CREATE DATABASE {name}"))?;
        let url = with_database(&self.url, &name);
        Ok(Database { server: self, name, url })
    }

    fn run(&self, sql: &str) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async { connect(&self.url).await?.batch_execute(sql).await })?)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A server of our own removes it. On a named server it stays for inspection.
        drop(self.server.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
    }
}

/// A connection that lives as long as the runtime it was made on.
pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The address with another database in it, and the same options.
fn with_database(url: &str, name: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let (base, options) = url.split_at(url.find('?').unwrap_or(url.len()));
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{name}{options}", &base[..end])
}

impl OwnedServer {
    fn start(below: &Path) -> Result<(Self, u16), Error> {
        let missing = || Error::Missing { what: "PostgreSQL", remedy: "install it, or name a server with --store" };
        let own = Self { programs: programs().ok_or_else(missing)?, directory: tempfile::tempdir_in(below)? };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if is_root() {
            own.checked(Command::new("chown").arg(USER).arg(own.directory.path()))?;
        }
        let data = own.data();
        own.call("initdb", &["-D", &data, "-U", "forerunner", "-A", "trust", "-E", "UTF8"])?;
        let sockets = own.directory.path().display();
        let settings =
            format!("listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{sockets}'\n");
        fs::write(Path::new(&data).join("postgresql.auto.conf"), settings)?;
        let log = own.directory.path().join("log").display().to_string();
        own.call("pg_ctl", &["-D", &data, "-l", &log, "-w", "start"])?;
        Ok((own, port))
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Result<(), Error> {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        self.checked(command.args(arguments).current_dir("/"))
    }

    fn checked(&self, command: &mut Command) -> Result<(), Error> {
        // Files, not pipes: the server inherits them, so a reader of a pipe would wait until the server ends.
        let output_file = self.directory.path().with_extension("output");
        let file = fs::File::create(&output_file)?;
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).status()?;
        let text = fs::read_to_string(&output_file).unwrap_or_default();
        fs::remove_file(&output_file)?;
        if status.success() { Ok(()) } else { Err(Error::Wrong { who: "PostgreSQL", what: text }) }
    }
}

impl Drop for OwnedServer {
    fn drop(&mut self) {
        // A failure leaves a server that has to be stopped by hand. `drop` cannot report it.
        drop(self.call("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]));
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")))
}

/// The directory with the newest server program, which Debian does not add to the PATH.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    found.sort();
    found.splice(0..0, env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    found.into_iter().rev().find(|path| path.join("initdb").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_an_address_is_replaced_and_its_options_kept() {
        for (url, other) in [
            ("postgres://u:p@h:5432/d", "postgres://u:p@h:5432/x"),
            ("postgres://h", "postgres://h/x"),
            ("postgres://h/d?sslmode=disable", "postgres://h/x?sslmode=disable"),
            ("postgres://h?connect_timeout=1", "postgres://h/x?connect_timeout=1"),
        ] {
            assert_eq!(with_database(url, "x"), other);
        }
    }
}
