//! The service against a real node: memory store, scripted agents.

mod agents;
mod auth;
mod batch;
mod bulk;
mod connections;
mod dashboard;
mod document;
mod events;
mod front;
mod history;
mod node;
mod pools;
mod problems;
mod rig;
mod store;
mod tasks;
mod tls;
mod wire;
