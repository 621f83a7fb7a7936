//! A TCP proxy that hurts the connections through it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What the proxy does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Passes them on, each piece this much later.
    Open(Duration),
    /// Delays bytes in both directions: the other side seems to work and never answers.
    Frozen,
    /// Forwards what clients send, and holds the answers back: requests take effect, and nobody gets an answer.
    Deaf,
    /// Closes connections, old and new ones.
    Cut,
}

/// A proxy of a server on the loopback interface, on its own port. Dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts to listen; connections are forwarded to `server`.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (way, watched) = watch::channel(Way::Open(Duration::ZERO));
        let connections = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, server, watched, Arc::clone(&connections)));
        Self { address, way, connections, accepting }
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many connections there were, refused ones included.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Passes everything on, each piece this much later.
    pub fn delay(&self, delay: Duration) {
        self.way.send_replace(Way::Open(delay));
    }

    /// Holds everything back, and leaves connections open: a half-open network.
    pub fn freeze(&self) {
        self.way.send_replace(Way::Frozen);
    }

    /// Forwards what clients send, and holds the answers back.
    pub fn deafen(&self) {
        self.way.send_replace(Way::Deaf);
    }

    /// Closes all connections, and new ones as soon as they are made.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Forwards everything at once, also what was held back.
    pub fn resume(&self) {
        self.delay(Duration::ZERO);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, way: watch::Receiver<Way>, count: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        if *way.borrow() != Way::Cut {
            tokio::spawn(join(client, server, way.clone()));
        }
    }
}

/// Joins a client with the server until one of them closes, or the proxy does.
async fn join(client: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = way.clone();
    tokio::select! {
        _ = pass(from_client, to_server, way.clone(), false) => {}
        _ = pass(from_server, to_client, way, true) => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

/// Forwards bytes in one direction, as far as the proxy allows.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    is_answer: bool,
) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        let lets = |way: &Way| match way {
            Way::Open(_) => true,
            Way::Deaf => !is_answer,
            Way::Frozen | Way::Cut => false,
        };
        let now = way.wait_for(lets).await.map(|way| *way).map_err(io::Error::other)?;
        if let Way::Open(delay) = now {
            sleep(delay).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(80);
    const LONG: Duration = Duration::from_secs(20);

    /// An echo server, and a proxy to it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::to(address).await
    }

    async fn say(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        hear(stream).await
    }

    async fn hear(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn bytes_pass_at_once_or_late() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(timeout(LONG, say(&mut stream)).await.unwrap().unwrap(), *b"ping");
        proxy.delay(SHORT);
        let begun = Instant::now();
        assert_eq!(timeout(LONG, say(&mut stream)).await.unwrap().unwrap(), *b"ping");
        assert!(begun.elapsed() >= SHORT * 2, "late on both ways: {:?}", begun.elapsed());
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn a_frozen_connection_is_open_and_silent_until_it_is_resumed() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.freeze();
        assert!(timeout(SHORT, say(&mut stream)).await.is_err(), "neither an answer nor an end");
        proxy.resume();
        assert_eq!(timeout(LONG, hear(&mut stream)).await.unwrap().unwrap(), *b"ping");
    }

    #[tokio::test]
    async fn a_deaf_connection_keeps_the_answers_only() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        proxy.deafen();
        client.write_all(b"ping").await.unwrap();
        assert_eq!(timeout(LONG, hear(&mut server)).await.unwrap().unwrap(), *b"ping");
        server.write_all(b"pong").await.unwrap();
        assert!(timeout(SHORT, hear(&mut client)).await.is_err());
        proxy.resume();
        assert_eq!(timeout(LONG, hear(&mut client)).await.unwrap().unwrap(), *b"pong");
    }

    #[tokio::test]
    async fn a_cut_ends_old_and_new_connections_until_it_is_mended() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream).await.unwrap();
        proxy.cut();
        assert!(timeout(LONG, say(&mut stream)).await.unwrap().is_err());
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(timeout(LONG, say(&mut stream)).await.unwrap().is_err());
        proxy.resume();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(timeout(LONG, say(&mut stream)).await.unwrap().unwrap(), *b"ping");
    }
}
