//! Connections: how they are accepted, how long they may stay, and what they may send.
//!
//! actix-http bounds the time of the first head of a connection alone, and never the time of an answer that nobody reads. It
//! goes on with a request whose client has left. So each connection is wrapped ([`ClientIo`]), its state is kept
//! ([`Connection`]), and a sweep ends those that are over a limit ([`Connections`]).

mod connection;
mod connections;
mod io;
mod lifetime;
mod listen;
mod long_names;
mod peers;
mod serve;

pub(crate) use self::{
    connection::{Answering, Connection},
    connections::EXTRA_CONNECTIONS,
    lifetime::Limits,
    listen::{Bound, Listen, Reach},
    peers::Peers,
    serve::listener,
};
