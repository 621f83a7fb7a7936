//! Context snapshots, deltas and frames for Forerunner: bytes in, bytes out.
