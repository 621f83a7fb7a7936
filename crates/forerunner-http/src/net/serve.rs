//! Serves the calls on a listener.

use std::{io, net::SocketAddr, os::fd::AsFd, rc::Rc, time::Duration};

use actix_http::{HttpService, error::DispatchError};
use actix_server::{GracefulShutdownSignal, ServerBuilder};
use actix_service::{Service, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::{
    App,
    dev::AppConfig,
    rt::net::{TcpStream, UnixStream},
    web::ServiceConfig,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    connections::Connections,
    io::ClientIo,
    lifetime::Limits,
    listen::{Bound, Reach},
    peers::Peers,
    stream::Stream,
};
use crate::tls::Tls;

/// What a listener serves.
pub(crate) trait Calls: Fn(&mut ServiceConfig) + Clone + Send + 'static {}
impl<F: Fn(&mut ServiceConfig) + Clone + Send + 'static> Calls for F {}

/// Serves `calls` on a bound listener. Each worker accepts `most` connections, and a few more.
pub(crate) fn listener(
    builder: ServerBuilder,
    bound: Bound,
    most: usize,
    limits: Limits,
    peers: Peers,
    tls: Option<Tls>,
    calls: impl Calls,
) -> io::Result<ServerBuilder> {
    let (stopping, reach) = (builder.graceful_shutdown_signal(), bound.reach());
    let name = "forerunner-http";
    match bound {
        Bound::Tcp(listener, _) => builder.listen(name, listener, move || {
            accept::<TcpStream>(calls.clone(), stopping.clone(), most, limits, reach, peers.clone(), tls.clone())
        }),
        Bound::Unix(listener, _) => builder.listen_uds(name, listener, move || {
            accept::<UnixStream>(calls.clone(), stopping.clone(), most, limits, reach, peers.clone(), None)
        }),
    }
}

/// A stream that a listener accepts.
trait Client: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Returns the address of the other side, and prepares the socket.
    fn prepare(&self, write: Duration) -> Option<SocketAddr>;
}

impl Client for TcpStream {
    fn prepare(&self, write: Duration) -> Option<SocketAddr> {
        // Without this option the sweep and the idle timeout still apply.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(self, SEND_BUFFER_BYTES);
        let _ = notice_dead_peers(self, write);
        self.peer_addr().ok()
    }
}

impl Client for UnixStream {
    fn prepare(&self, _: Duration) -> Option<SocketAddr> {
        None
    }
}

/// Bytes of an answer that the kernel buffers for a client. By default it buffers megabytes that count nowhere, and
/// counts an unread answer as sent.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Lets the kernel detect a client that disappeared, whether or not bytes are in flight.
fn notice_dead_peers(socket: impl AsFd, within: Duration) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(&socket, millis)?;
    let probe = (within / 3).max(Duration::from_secs(1));
    sockopt::set_tcp_keepidle(&socket, probe)?;
    sockopt::set_tcp_keepintvl(&socket, probe)?;
    sockopt::set_socket_keepalive(&socket, true)
}

/// Builds what a worker does with each connection. actix-http's own timers for heads are off: they are for first ones only.
fn accept<T: Client>(
    calls: impl Calls,
    stopping: GracefulShutdownSignal,
    most: usize,
    limits: Limits,
    reach: Reach,
    peers: Peers,
    tls: Option<Tls>,
) -> impl ServiceFactory<T, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    fn_factory(move || {
        let (calls, stopping, peers, tls) = (calls.clone(), stopping.clone(), peers.clone(), tls.clone());
        async move {
            let app = map_config(App::new().configure(|config| calls(config)), |()| AppConfig::default());
            let http = HttpService::<ClientIo<Stream<T>>, _, _>::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(limits.idle)
                .client_request_timeout(Duration::ZERO)
                .on_connect_ext(|io: &ClientIo<Stream<T>>, data| {
                    data.insert(Rc::clone(io.connection()));
                })
                .h1(app)
                .new_service(())
                .await?;
            let (http, connections) = (Rc::new(http), Connections::start(most, limits));
            Ok(fn_service(move |stream: T| {
                let peer = stream.prepare(limits.write);
                let admitted = connections.admit(reach, peers.enter(peer.map(|peer| peer.ip())));
                let (http, tls) = (Rc::clone(&http), tls.clone());
                async move {
                    let stream = match tls {
                        None => Stream::Plain(stream),
                        // A client that does not finish the handshake is one whose head is late.
                        Some(tls) => match timeout(limits.head, tls.acceptor().accept(stream)).await {
                            Ok(Ok(stream)) => Stream::Encrypted(Box::new(stream)),
                            Ok(Err(error)) => return Err(DispatchError::Io(error)),
                            Err(_) => return Err(DispatchError::SlowRequestTimeout),
                        },
                    };
                    http.call((ClientIo::new(stream, admitted), peer)).await
                }
            }))
        }
    })
}
