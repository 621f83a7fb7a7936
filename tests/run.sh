#!/usr/bin/env bash
# Installs what the tests need, if it is missing, and runs all of them. Asks nothing; works as root or not.
set -euo pipefail
cd "$(dirname "$0")/.."
# A snapshot that differs is a failure, not a file to review.
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" INSTA_UPDATE="${INSTA_UPDATE:-no}"
# Why a test failed is told by its message; the stacks of async tests are long enough to hide it.
export RUST_BACKTRACE=0

step() { printf '\n== %s (%d s) ==\n' "$*" "$SECONDS"; }
fail() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# A compiler without headers cannot build SQLite: try the two together.
compiles_c() {
    local compiler object
    for compiler in ${CC:-} cc gcc clang; do
        have "$compiler" || continue
        object=$(mktemp)
        if printf '#include <stdio.h>\nint main(void) { return 0; }\n' | "$compiler" -x c -o "$object" - 2>/dev/null; then
            rm -f "$object"
            return 0
        fi
        rm -f "$object"
    done
    return 1
}

# The tests start servers of their own; the package only brings the programs. Debian keeps them out of the PATH.
has_postgres() {
    have initdb && return
    local initdb
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return
    done
    return 1
}

install_packages() {
    local -a as_root=()
    have apt-get || fail "missing: $*; install them with the package manager of this system"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo && sudo -n true 2>/dev/null || fail "missing: $*; install them as root: apt-get install $*"
        as_root=(sudo -n)
    fi
    "${as_root[@]}" apt-get -qq update || echo "the package lists could not be updated: trying with those that are there"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" ||
        fail "could not install: $*; install them by hand and start again"
}

# Debian keeps programs of servers out of the PATH of users.
have_server() { have "$1" || [ -x "/usr/sbin/$1" ]; }

# The names that packages of this browser give it.
have_browser() { have chromium || have chromium-browser || have chromium-headless-shell || have google-chrome; }

component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    have rustup || fail "cargo $1 is missing and there is no rustup; install the component \`$2\` of your Rust"
    rustup component add "$2" || fail "could not install \`$2\`; run: rustup component add $2"
}

step "what the tests need"
if ! have cargo && [ -r "${HOME:-}/.cargo/env" ]; then . "$HOME/.cargo/env"; fi
have cargo || fail "cargo is missing; install Rust 1.89 or later"
missing=()
have python3 || missing+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
have node || missing+=(nodejs)
have npm || missing+=(npm)
# It lets syncs of the disk fail in one of the end-to-end tests.
have strace || missing+=(strace)
# It counts instructions.
have valgrind || missing+=(valgrind)
# It sets the clock of one node.
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(faketime)
compiles_c || missing+=(gcc libc6-dev)
has_postgres || missing+=(postgresql)
# What the dashboard is looked at with.
have_browser || missing+=(chromium)
# What stands in front of nodes, and between them and their database.
have curl || missing+=(curl)
have_server haproxy || missing+=(haproxy)
have_server pgbouncer || missing+=(pgbouncer)
[ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
component fmt rustfmt
component clippy clippy
printf '%s\n' "$(cargo --version)" "$(python3 --version)"

step "formatting"
cargo fmt --all --check

step "lints"
cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

step "documentation"
RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps

# The same features in all that follows, so that little is built twice.
features=forerunner/http,forerunner/test-util,forerunner-store/conformance

step "examples in the documentation"
cargo test --locked --workspace --features "$features" --doc

# An end-to-end test holds the dependencies to deny.toml as well: cargo-deny itself takes longer to build than all of this.
if cargo deny --version >/dev/null 2>&1; then
    step "dependencies"
    cargo deny --locked --offline check licenses bans sources
fi

# Benchmarks are left out: they are programs of their own, not tests.
step "unit, property and integration tests"
cargo test --locked --workspace --exclude forerunner-e2e --features "$features" --lib --bins --tests --no-fail-fast

# They assert what they show.
step "examples"
cargo build --locked --workspace --exclude forerunner-e2e --features "$features" --examples
for example in durable_restart growing_context quickstart; do
    "${CARGO_TARGET_DIR:-target}/debug/examples/$example"
done

step "packages for Python and TypeScript"
tests/packages.sh

# They start the program, so it is built first, and seen to be.
step "the program"
cargo build --locked -p forerunner-cli

# What needs a right that not every user has is ignored by the last step, which names it.
step "end-to-end tests that need rights"
rights=()
if strace -D -f -o /dev/null -e trace=fsync true 2>/dev/null; then
    rights+=(what_could_not_be_synced)
else
    echo "this user may not trace processes: that test stays ignored"
fi
probe=$(mktemp -d)
if mount -t tmpfs -o size=1m tmpfs "$probe" 2>/dev/null; then
    umount "$probe"
    rights+=(a_full_disk_refuses)
else
    echo "this user may not mount: that test stays ignored"
fi
rmdir "$probe"
[ "${#rights[@]}" -eq 0 ] || cargo test --locked -p forerunner-e2e --test e2e -- --ignored "${rights[@]}"

# Two agents as their makers ship them. Each has the machine for itself: they take seconds of processor time to start.
step "coding agents"
if tests/coding-agents/install.sh; then
    cargo test --locked -p forerunner-e2e --test e2e -- --ignored --test-threads 1 acp_real::opencode acp_real::codex acp_real::measure
elif [ "${CI:-}" = 1 ]; then
    fail "the coding agents could not be installed"
else
    echo "the coding agents could not be installed: their tests stay ignored"
fi

step "end-to-end tests"
# The library first, the end-to-end tests last: their summary is the last line.
cargo test --locked -p forerunner-e2e --lib --tests --no-fail-fast
