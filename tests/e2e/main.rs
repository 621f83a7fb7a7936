//! End to end: the real program, a real port, real processes, a real store.

mod any_node;
mod architecture;
mod batch;
mod command_line;
mod contexts;
mod damaged;
mod dashboard;
mod demo;
mod deploy;
mod documents;
mod drain;
mod echo_agent;
mod foreign_text;
mod leavings;
mod live;
mod logging;
mod month;
mod placement;
mod refusals;
mod reliability;
mod replay;
mod restart;
mod several_nodes;
mod store_file;
mod supply_chain;
mod top;
