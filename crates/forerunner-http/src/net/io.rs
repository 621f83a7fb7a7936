//! The bytes of a connection.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Connection, connections::ConnectionGuard, lifetime::End, long_names::LongNameScanner};

const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const HEAD_TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The byte stream of a connection to a client. It records traffic in both directions, and fails once the connection
/// has ended.
pub(crate) struct ClientIo<T> {
    io: T,
    admitted: ConnectionGuard,
    names: LongNameScanner,
}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientIo<T> {
    pub(super) fn new(io: T, admitted: ConnectionGuard) -> Self {
        Self { io, admitted, names: LongNameScanner::default() }
    }

    /// Returns the state of the connection.
    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.admitted.connection
    }

    /// Fails once the connection has ended. A client whose head is late gets an answer first.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.connection().watch(cx);
        match self.connection().end() {
            None => Ok(()),
            Some(End::SlowHead) => Err(self.refuse(REQUEST_TIMEOUT, cx)),
            Some(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Writes an answer past actix-http, as far as there is room. Not into another answer.
    fn refuse(&mut self, answer: &[u8], cx: &mut Context<'_>) -> io::Error {
        if !self.connection().is_answering() {
            let _ = Pin::new(&mut self.io).poll_write(cx, answer);
        }
        io::ErrorKind::TimedOut.into()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        if this.connection().has_read_ahead() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        let bytes = &buffer.filled()[before..];
        if this.names.find(bytes) {
            return Poll::Ready(Err(this.refuse(HEAD_TOO_LARGE, cx)));
        }
        this.connection().received(bytes.len());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        match &written {
            Poll::Pending => this.connection().write_blocked(),
            Poll::Ready(Ok(bytes)) => this.connection().written(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    /// actix-http calls this after it has written everything.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        this.connection().flushed();
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
