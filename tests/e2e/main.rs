//! End to end: the real program, a real port, real processes, a real store.

mod architecture;
mod crashes;
