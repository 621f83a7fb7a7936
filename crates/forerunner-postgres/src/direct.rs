//! Whether a connection leads to the server itself, or to a pooler that shares its servers among clients.
//!
//! A server sends each client the number of the process that serves it, for cancel requests. A pooler cannot pass that
//! number on, since the process changes from transaction to transaction, and makes one up. So a connection on which the
//! two are equal has a session of its own, where prepared statements and settings last.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Client,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

/// The length of a request to cancel: its length, a code, the process and a secret, each of four bytes.
const REQUEST: usize = 16;

/// Asks the database which process serves the connection, and compares it with the number that the client got.
///
/// # Errors
/// When the connection breaks.
pub(crate) async fn is_direct(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let rows = client.query_typed("SELECT pg_backend_pid()", &[]).await?;
    let serves = rows.first().map(|row| row.try_get::<_, i32>(0)).transpose()?;
    Ok(serves.is_some() && told_process(client).await == serves)
}

/// The process number that the client got. It only writes it into cancel requests, so one is written into a buffer.
async fn told_process(client: &Client) -> Option<i32> {
    let written = Recorder::default();
    client.cancel_token().cancel_query_raw(written.clone(), Agree).await.ok()?;
    let bytes = written.0.lock();
    let request = bytes.len().checked_sub(REQUEST).and_then(|at| bytes.get(at..))?;
    let process = request.get(8..12)?;
    process.try_into().ok().map(i32::from_be_bytes)
}

/// Records what is written, and answers that encryption is possible, as a server does.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<u8>>>);

/// Agrees to encrypt, and does not.
struct Agree;

impl TlsConnect<Recorder> for Agree {
    type Stream = Recorder;
    type Error = io::Error;
    type Future = Ready<io::Result<Recorder>>;

    fn connect(self, stream: Recorder) -> Self::Future {
        ready(Ok(stream))
    }
}

impl TlsStream for Recorder {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Recorder {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        room.put_slice(b"S");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
