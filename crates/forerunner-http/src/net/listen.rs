//! Where the service listens: an address and a port, or a Unix socket.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A Unix socket is for its user alone.
const SOCKET_MODE: u32 = 0o600;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Who can reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Programs of this machine, and browsers on it.
    Loopback,
    /// Other machines.
    Network,
    /// Programs that may open the socket; no browser.
    Socket,
}

impl Listen {
    /// Checks only the form: whether the host has an address is known when the service starts.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty()).then(|| Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| Self::Tcp(text.to_owned()))
    }

    /// Binds it. A host may have several addresses.
    pub(crate) fn bind(&self) -> io::Result<Vec<Bound>> {
        match self {
            Self::Tcp(address) => address.to_socket_addrs()?.map(bind_tcp).collect(),
            Self::Unix(path) => Ok(vec![bind_unix(path)?]),
        }
    }
}

/// A listener that is bound.
pub(crate) enum Bound {
    /// To an address.
    Tcp(TcpListener, SocketAddr),
    /// To a path.
    Unix(UnixListener, PathBuf),
}

impl Bound {
    /// Returns the address, if it has one.
    pub(crate) const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }

    /// Returns the path, if it has one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(_, path) => Some(path.clone()),
        }
    }

    /// Returns how clients name it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}"),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::Tcp(_, address) if address.ip().to_canonical().is_loopback() => Reach::Loopback,
            Self::Tcp(..) => Reach::Network,
            Self::Unix(..) => Reach::Socket,
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Bound> {
    let listener = TcpListener::bind(address)?;
    // The standard library uses 128.
    rustix::net::listen(&listener, BACKLOG)?;
    let address = listener.local_addr()?;
    Ok(Bound::Tcp(listener, address))
}

/// Replaces a socket file without a listener, and no other file.
fn bind_unix(path: &Path) -> io::Result<Bound> {
    match fs::symlink_metadata(path) {
        Ok(known) if !known.file_type().is_socket() => return Err(io::Error::other("the file is no socket")),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(Bound::Unix(listener, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port_and_a_socket_a_path() {
        for good in ["127.0.0.1:7077", "[::1]:0", "localhost:80"] {
            assert_eq!(Listen::parse(good), Some(Listen::Tcp(good.to_owned())));
        }
        assert_eq!(Listen::parse("unix:/run/f.sock"), Some(Listen::Unix("/run/f.sock".into())));
        for bad in ["nonsense", ":7077", "127.0.0.1:99999", "7077", "unix:"] {
            assert_eq!(Listen::parse(bad), None, "{bad}");
        }
    }
}
