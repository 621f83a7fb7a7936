//! End to end: the real program, a real port, real processes, a real store.

mod architecture;
mod child_kills;
mod crashes;
mod drain;
mod restart;
mod store_file;
