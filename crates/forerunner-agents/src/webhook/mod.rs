//! Agents that are an HTTP endpoint of the operator's own: a task is one request.

mod driver;
mod message;
mod spec;

pub use self::spec::HttpSpec;
