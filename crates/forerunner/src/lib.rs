//! Pools of warm agents.
