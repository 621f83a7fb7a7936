#!/usr/bin/env bash
# Installs the coding agents of docs/acp.md, drives each with a model on loopback, and measures cold and warm answers.
#
#     tests/coding-agents.sh [AGENT...]
#
# Needs npm, and Python 3.12 and 3.13 for two of them. Prints what it saw, and the table of `forerunner bench agents`. Ends
# with 1 if one failed; its output is shown.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" RUST_BACKTRACE=0
tests/coding-agents/install.sh --all
cargo build --locked -p forerunner-cli
cargo test --locked -p forerunner-e2e --test e2e --no-run
if [ $# -eq 0 ]; then set -- opencode codex claude gemini qwen vibe pi fast-agent; fi
# acpx, a client that others make, uses a pool.
cargo test --quiet --locked -p forerunner-e2e --test e2e -- --exact acp_front::acpx --include-ignored
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
# The tests drive an agent, and the last one measures it.
for agent in "$@" measure; do
    name=acp_real::${agent//-/_}
    if FORERUNNER_AGENTS="$*" cargo test --quiet --locked -p forerunner-e2e --test e2e -- --exact "$name" --include-ignored \
        --nocapture >"$out" 2>&1; then
        grep -E "^(${agent//measure/agent|[a-z-]+}|  )" "$out" || true
    else
        status=1
        cat "$out"
        echo "$agent: FAILED"
    fi
done
exit "$status"
