//! Agents that are a model behind an OpenAI-compatible endpoint.
//!
//! The items of a context are the messages of the conversation. An agent is a permit for one request at a time: the
//! pool's forecast decides how many there are, and what the provider refuses or limits is back-pressure on the pool.

mod chat;
mod driver;
mod limiter;
mod request;
mod responses;
mod spec;
mod turn;

pub use self::spec::{OpenAiSpec, Wire};
