//! A PgBouncer of one's own in front of a server: in transaction mode, with fewer connections than clients.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// A pooler for tests; killed when dropped.
pub struct PgBouncer {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts one in front of the server that an address names.
    pub fn to(url: &str) -> Self {
        let server: SocketAddr = host(url).parse().unwrap();
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\n* = host={} port={} user=forerunner\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n\
             server_tls_sslmode = disable\nquery_wait_timeout = 30\nserver_idle_timeout = 2\n",
            server.ip(),
            server.port(),
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let child = command(directory.path()).arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("PgBouncer is not installed: install the package `pgbouncer`");
        let pooler = Self { child, port, _directory: directory };
        let listens = (0..1500).any(|_| {
            let connected = TcpStream::connect(("127.0.0.1", port)).is_ok();
            if !connected {
                std::thread::sleep(Duration::from_millis(20));
            }
            connected
        });
        assert!(listens, "PgBouncer does not listen after 30 s");
        pooler
    }

    /// The address of the same database through the pooler.
    pub fn through(&self, url: &str) -> String {
        url.replace(host(url), &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The part `HOST:PORT` of an address.
fn host(url: &str) -> &str {
    url.split_once('@').and_then(|(_, rest)| rest.split_once('/')).map(|(host, _)| host).unwrap()
}

/// The program, which refuses to run as root, and is kept out of the PATH of others.
fn command(directory: &Path) -> Command {
    let program = if Path::new("/usr/sbin/pgbouncer").exists() { "/usr/sbin/pgbouncer" } else { "pgbouncer" };
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = users.lines().find_map(|line| line.strip_prefix("postgres:x:"));
    let uid = ids.and_then(|ids| ids.split(':').next()?.parse().ok()).expect("the package makes a user `postgres`");
    chown(directory, Some(uid), None).unwrap();
    chown(directory.join("pgbouncer.ini"), Some(uid), None).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(program);
    command
}
