//! The `forerunner` command.

fn main() {}
