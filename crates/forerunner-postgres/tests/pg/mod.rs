//! A PostgreSQL server of one's own: started in a temporary directory, stopped when dropped.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// A server for tests. It trusts whoever reaches it, so it listens on the loopback only.
pub struct PgServer {
    bin: PathBuf,
    directory: TempDir,
    port: u16,
    databases: AtomicU64,
}

impl PgServer {
    /// Starts a server. With `durable` off it does not wait for the disk.
    pub fn start(durable: bool) -> Self {
        Self::start_with(durable, &[], "")
    }

    /// Starts a server with these files in its data directory and these lines in its settings.
    pub fn start_with(durable: bool, files: &[(&str, &str)], lines: &str) -> Self {
        let bin = binaries();
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { bin, directory, port, databases: AtomicU64::new(0) };
        if is_root() {
            // PostgreSQL refuses to run as root.
            let owner = Command::new("chown").arg(USER).arg(server.directory.path()).status().unwrap();
            assert!(owner.success(), "no user `{USER}` to run PostgreSQL as");
        }
        server.call("initdb", &["-D", &server.data(), "-U", "forerunner", "-A", "trust", "-N", "-E", "UTF8"]);
        let sockets = server.directory.path().display();
        let switch = if durable { "on" } else { "off" };
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{sockets}'\nfsync = {switch}\n\
             shared_buffers = '32MB'\nmax_connections = 200\n{lines}\n"
        );
        let path = Path::new(&server.data()).join("postgresql.auto.conf");
        fs::write(path, settings).unwrap();
        for (name, text) in files {
            server.put(name, text);
        }
        server.call("pg_ctl", &["-D", &server.data(), "-l", &server.log(), "-w", "-t", "60", "start"]);
        server
    }

    /// Puts a file into the data directory that nobody but the server may read.
    fn put(&self, name: &str, text: &str) {
        let path = Path::new(&self.data()).join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            let owner = Command::new("chown").arg(USER).arg(&path).status().unwrap();
            assert!(owner.success(), "no user `{USER}` to run PostgreSQL as");
        }
    }

    /// The address of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("case{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        format!("postgres://forerunner@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs statements and answers what they print.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let (host, port) = (self.directory.path().display().to_string(), self.port.to_string());
        let output = self.call("psql", &["-h", &host, "-p", &port, "-U", "forerunner", "-d", database, "-Atqc", sql]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What the server has written into its log.
    #[allow(dead_code, reason = "not every test file reads it")]
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// Stops the server as a crash would, and starts it again.
    pub fn crash_and_restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Starts the server after a [`stop`](Self::stop).
    pub fn start_again(&self) {
        self.call("pg_ctl", &["-D", &self.data(), "-l", &self.log(), "-w", "-t", "60", "start"]);
    }

    /// Stops all processes of the server where they are, until the answer is dropped: connections stay open and silent, also
    /// new ones.
    pub fn hang(&self) -> Hang {
        let file = fs::read_to_string(Path::new(&self.data()).join("postmaster.pid")).unwrap();
        let first: i32 = file.lines().next().and_then(|line| line.trim().parse().ok()).unwrap();
        // The first one stops before its children are listed, so that it starts no more of them.
        signal(first, Signal::STOP);
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        let children: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        children.iter().for_each(|pid| signal(*pid, Signal::STOP));
        Hang(std::iter::once(first).chain(children).collect())
    }

    /// Stops the server as a crash would.
    pub fn stop(&self) {
        self.call("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    fn log(&self) -> String {
        self.directory.path().join("log").display().to_string()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Output {
        // The server would inherit a pipe, and whoever reads it would wait for the server to end.
        let is_daemon = program == "pg_ctl";
        let mut command = self.command(program, arguments);
        if is_daemon {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {text}");
        output
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        let mut command = self.command("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
        drop(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// A server whose processes are all stopped, until this is dropped.
pub struct Hang(Vec<i32>);

impl Drop for Hang {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| signal(*pid, Signal::CONT));
    }
}

/// Sends a signal, if the process is still there.
fn signal(pid: i32, signal: Signal) {
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
}

/// The user that the Debian package creates for it.
const USER: &str = "postgres";

fn is_root() -> bool {
    geteuid().is_root()
}

/// The directory with the newest `initdb`.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    found.sort();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    found.splice(0..0, std::env::split_paths(&paths));
    let newest = found.into_iter().rev().find(|path| path.join("initdb").exists());
    newest.expect("PostgreSQL is not installed: install the package `postgresql`")
}
