//! End to end: the real program, a real port, real processes, a real store.

mod architecture;
mod child_kills;
mod command_line;
mod crashes;
mod demo;
mod drain;
mod echo_agent;
mod refusals;
mod replay;
mod restart;
mod store_file;
