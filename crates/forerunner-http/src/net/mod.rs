//! Connections: how they are accepted, how long they may last, and what they may send.
//!
//! actix-http limits the time of the first head of a connection only, and never the time of an unread answer. It
//! continues a request whose client has left. So each connection is wrapped ([`ClientIo`]) and has a state
//! ([`Connection`]), and a sweep ends those that exceed a limit ([`Connections`]).

mod connection;
mod connections;
mod io;
mod lifetime;
mod listen;
mod long_names;
mod peers;
mod serve;
mod stream;

pub(crate) use self::{
    connection::{AnswerGuard, Connection},
    connections::EXTRA_CONNECTIONS,
    lifetime::Limits,
    listen::{Bound, Listen, Reach},
    peers::Peers,
    serve::listener,
};
