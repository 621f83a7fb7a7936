//! A client that costs little, so that what is measured is the server.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::Error;

/// A request, written once and sent again and again.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A `POST` of a small JSON value.
    pub(crate) fn post(path: &str, wait: bool) -> Self {
        const BODY: &str = r#"{"input":7}"#;
        let prefer = if wait { "prefer: wait=30\r\n" } else { "" };
        let length = BODY.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{prefer}content-length: {length}\r\n\r\n{BODY}"
        );
        Self(text.into_bytes())
    }
}

/// Requests answered per second over some connections, each with one request under way.
pub(crate) async fn load(
    server: SocketAddr,
    request: &Request,
    connections: usize,
    warm_up: Duration,
    sample: Duration,
) -> Result<f64, Error> {
    let opened = (0..connections).map(|_| Connection::open(server));
    let mut connections = try_join_all(opened).await?;
    let mut rate = 0.0;
    for duration in [warm_up, sample] {
        let begun = Instant::now();
        let asked = connections.iter_mut().map(|connection| connection.ask_until(request, begun + duration));
        let answered: u64 = try_join_all(asked).await?.iter().sum();
        rate = answered as f64 / begun.elapsed().as_secs_f64();
    }
    Ok(rate)
}

/// Sends an exact number of requests over some connections, each with one request under way.
pub(crate) async fn send(server: SocketAddr, request: &Request, connections: usize, count: u64) -> Result<(), Error> {
    let connections = connections as u64;
    let sent = (0..connections).map(|index| async move {
        let mut connection = Connection::open(server).await?;
        for _ in 0..count / connections + u64::from(index < count % connections) {
            connection.ask(request).await?;
        }
        Ok::<_, Error>(())
    });
    try_join_all(sent).await.map(drop)
}

/// A connection that is kept alive.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(server: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024] })
    }

    async fn ask_until(&mut self, request: &Request, until: Instant) -> Result<u64, Error> {
        let mut answered = 0;
        while Instant::now() < until {
            self.ask(request).await?;
            answered += 1;
        }
        Ok(answered)
    }

    /// Sends the request and reads one answer to its end.
    async fn ask(&mut self, request: &Request) -> Result<(), Error> {
        self.stream.write_all(&request.0).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            filled += read;
            let so_far = &self.buffer[..filled];
            match end_of(so_far) {
                Some(end) if filled >= end => return check(so_far),
                _ if read == 0 => return Err(wrong("the connection was closed, or the answer is too long")),
                _ => {}
            }
        }
    }
}

/// The end of an answer whose head is complete. It supports no chunks: neither server sends any here.
fn end_of(answer: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = answer[..head].windows(LENGTH.len()).position(|window| window.eq_ignore_ascii_case(LENGTH));
    let digits = length.map_or(&[][..], |at| &answer[at + LENGTH.len()..head]);
    let length = digits.iter().take_while(|digit| digit.is_ascii_digit());
    Some(head + length.fold(0, |length, digit| length * 10 + usize::from(digit - b'0')))
}

fn check(answer: &[u8]) -> Result<(), Error> {
    if answer.starts_with(b"HTTP/1.1 2") {
        return Ok(());
    }
    Err(wrong(&String::from_utf8_lossy(&answer[..answer.len().min(400)])))
}

fn wrong(what: &str) -> Error {
    Error::Wrong { who: "a server", what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\nx: y\r\n\r\nhello";
        assert_eq!(end_of(answer), Some(answer.len() + 7));
        assert_eq!(end_of(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
        assert_eq!(end_of(b"HTTP/1.1 202 Acc"), None);
        assert!(check(answer).is_ok());
        assert!(check(b"HTTP/1.1 429 Too Many Requests\r\n\r\n").is_err());
    }
}
