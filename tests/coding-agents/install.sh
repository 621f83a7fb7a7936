#!/usr/bin/env bash
# Installs the coding agents that tests drive, pinned, into DIRECTORY (target/coding-agents). What is there already stays.
#
#     tests/coding-agents/install.sh [--all]
#
# By default opencode and codex, with --all also claude, gemini, qwen, pi, vibe and fast-agent, and acpx, a client. Install scripts of packages
# do not run. Ends with 1 if one of the first two cannot be installed; of the others it names those that it leaves out.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../../target}
mkdir -p "$target/coding-agents"
target=$(cd "$target/coding-agents" && pwd)

# Without a lock: some of their optional packages are for other machines, and not in every registry.
others="@agentclientprotocol/claude-agent-acp@0.101.0 @google/gemini-cli@0.61.0 @qwen-code/qwen-code@0.24.4
 pi-acp@0.0.34 @earendil-works/pi-coding-agent@1.6.0 acpx@0.19.1 node-linux-$(node -p process.arch)@22.23.3"
flags="--ignore-scripts --no-audit --no-fund --loglevel error"

# Installs what the lock file names.
pinned() {
    cmp -s package-lock.json "$target/npm/installed" && return
    rm -rf "${target:?}/npm"
    mkdir -p "$target/npm"
    cp package.json package-lock.json "$target/npm"
    # shellcheck disable=SC2086 # a list of words
    npm ci --prefix "$target/npm" $flags
    cp package-lock.json "$target/npm/installed"
}

more() {
    [ "$(cat "$target/more/installed" 2>/dev/null)" = "$others" ] && return
    rm -rf "${target:?}/more"
    mkdir -p "$target/more"
    # shellcheck disable=SC2086 # lists of words
    if npm install --prefix "$target/more" $flags $others; then
        ln -s "node_modules/node-linux-$(node -p process.arch)/bin" "$target/more/node"
        printf '%s' "$others" >"$target/more/installed"
    else
        echo "claude, gemini, qwen and pi are left out: npm could not install them"
    fi
}

# A Python of version $1, also one of pyenv.
python() {
    local found
    for found in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        "$found" -c "import sys; sys.exit(sys.version_info[:2] != (${1/./, }))" 2>/dev/null && echo "$found" && return
    done
    return 1
}

# An environment for package $3 with Python $2, as $target/$1.
environment() {
    local python
    [ "$(cat "$target/$1/installed" 2>/dev/null)" = "$3" ] && return
    python=$(python "$2") || { echo "$1 is left out: there is no Python $2"; return; }
    rm -rf "${target:?}/$1"
    if "$python" -m venv "$target/$1" && "$target/$1/bin/pip" install --quiet --disable-pip-version-check "$3"; then
        printf '%s' "$3" >"$target/$1/installed"
    else
        echo "$1 is left out: pip could not install $3"
    fi
}

pinned
[ "${1:-}" = --all ] || exit 0
more
environment vibe 3.12 mistral-vibe==2.16.0
environment fast-agent 3.13 fast-agent-mcp==0.10.48
