//! Agents behind HTTP, against real servers on loopback.

mod conversation;
mod openai;
mod provider;
mod webhook;
