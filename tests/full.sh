#!/usr/bin/env bash
# Runs the reliability tests with their full counts, and prints what each of them saw, how long it took, and on what machine.
#
#     tests/full.sh [PART_OF_A_NAME...]
#
# Without names it runs all of them. AT_ONCE=3 runs three at a time: most of them wait for leases to end. Ends with 1 if one
# failed; the output of those is shown whole.
set -euo pipefail
cd "$(dirname "$0")/.."
export FORERUNNER_FULL=1 CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The program of a test target, built if it has to be: the arguments go to cargo.
program() {
    cargo test --locked --release --no-run --message-format short "$@" 2>&1 | tee "$out/build" |
        sed -n 's/.*Executable .*(\(.*\))$/\1/p' | tail -n 1
    grep -q 'Finished' "$out/build" || { cat "$out/build" >&2; return 1; }
}

# One test, in a file of its own: its name, its lines, and `ok` or not.
one() {
    local program=$1 directory=$2 test=$3 begun=$SECONDS log
    log="$out/${test//:/_}"
    if (cd "$directory" && "$program" --exact "$test" --include-ignored --nocapture --test-threads 1) >"$log" 2>&1; then
        grep -oE '\b([A-F][0-9]+|ramp): .*' "$log" || true
        printf '    %s: ok after %d s, load %s\n' "$test" $((SECONDS - begun)) "$(cut -d' ' -f1 /proc/loadavg)"
    else
        cat "$log"
        printf '    %s: FAILED after %d s\n' "$test" $((SECONDS - begun))
        touch "$out/failed"
    fi
}
export -f one
export out

# The tests of a program whose names contain one of these words, as lines for `one`.
tests() {
    local program=$1 directory=$2 word
    shift 2
    for word in "$@"; do
        "$program" --list "$word" 2>/dev/null | sed -n 's/: test$//p'
    done | sort -u | while read -r test; do printf '%s\t%s\t%s\n' "$program" "$directory" "$test"; done
}

printf 'building\n'
cargo build --locked --release -p forerunner-cli
# Tests start the program that was built just now.
export FORERUNNER_BIN="${FORERUNNER_BIN:-$PWD/${CARGO_TARGET_DIR:-target}/release/forerunner}"
e2e=$(program -p forerunner-e2e --test e2e)
if [ $# -gt 0 ]; then
    tests "$PWD/${e2e#"$PWD"/}" tests "$@" >"$out/list"
else
    store=$(program -p forerunner-store --lib)
    actors=$(program -p forerunner-runtime --test actors)
    {
        tests "$PWD/${e2e#"$PWD"/}" tests reliability drain store_file acp_real::opencode acp_real::codex
        tests "$PWD/${store#"$PWD"/}" crates/forerunner-store newest_epoch
        tests "$PWD/${actors#"$PWD"/}" crates/forerunner-runtime faults panics
    } >"$out/list"
fi

printf '%s\n' "$(nproc) processors ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), \
$(sed -n 's/^MemTotal: *//p' /proc/meminfo), $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
begun=$SECONDS
xargs -P "${AT_ONCE:-1}" -d '\n' -I LINE bash -c 'IFS=$'"'\\t'"' read -r program directory test <<<"$1"; one "$program" "$directory" "$test"' one LINE <"$out/list"
printf '%s tests in %d min\n' "$(wc -l <"$out/list")" $(((SECONDS - begun + 59) / 60))
[ ! -e "$out/failed" ]
