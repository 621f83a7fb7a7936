# `just` alone lists the recipes.
_default:
    @just --list --unsorted

# Replay a production trace through a real service, and see how it went (two minutes)
demo *flags:
    cargo run --locked --release -- demo {{flags}}

# Run the service with ./forerunner.toml
serve *flags:
    cargo run --locked --release -- serve {{flags}}

# Everything that the continuous integration checks: it calls the same script
test:
    ./tests/run.sh

# Unit and integration tests of one crate, such as `just unit forerunner-core`
unit crate *flags:
    cargo test --locked -p {{crate}} {{flags}}

# Lints, warnings as errors
lint:
    cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

# Licences, sources and duplicates of dependencies, and what is known against them: needs cargo-deny and the network
deny:
    cargo deny --locked check

# Format the code; `just fmt --check` only looks
fmt *flags:
    cargo fmt --all {{flags}}

# The documentation of all crates, warnings as errors
doc *flags:
    RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps {{flags}}

# Measure this machine: see docs/benchmarks.md
bench what="in-process" *flags:
    cargo run --locked --release -- bench {{what}} {{flags}}

# Measure a decision of the forecast, and the life of a task in the store
bench-crates:
    cargo bench --locked -p forerunner-forecast --bench tick
    cargo bench --locked -p forerunner-store --bench lifecycle
