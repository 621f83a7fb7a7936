//! Agents behind HTTP: what the kinds that call an endpoint share.
//!
//! An agent of such a kind is a slot: a permit for one request at a time, with a connection of its own that stays open
//! between tasks. Nothing runs on the node.

mod client;
mod event_stream;
mod failure;
mod settings;
mod tls;

pub use self::settings::EndpointSettings;
pub(crate) use self::{
    client::{Answer, Client, PostError},
    event_stream::EventStream,
    failure::{Failure, dependency_of},
    settings::check_url,
};
