//! Warm child processes.
