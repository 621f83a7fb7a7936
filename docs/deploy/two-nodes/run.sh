#!/usr/bin/env bash
# Two nodes on one PostgreSQL behind HAProxy, on this machine, in a temporary directory that is removed at the end.
#
#   run.sh         starts all, submits tasks while each node is restarted in turn, and says how the tasks ended
#   run.sh serve   starts all and waits for Ctrl-C
#
# Exits with 1 if an accepted task failed, ran twice or is missing, or if a client saw an error.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# HTTP_PORT is where clients go; the others are for HAProxy, and for people who look.
export HTTP_PORT="${HTTP_PORT:-7077}" NODE1_PORT="${NODE1_PORT:-7078}" NODE2_PORT="${NODE2_PORT:-7079}"
export STATE_PORT="${STATE_PORT:-7080}" PG_PORT="${PG_PORT:-7081}"
forerunner="${FORERUNNER:-forerunner}"
clients="${CLIENTS:-6}"

say() { printf '%s\n' "$*"; }
fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

# Debian keeps the programs of the server and of HAProxy out of the PATH of users.
for directory in /usr/lib/postgresql/*/bin /usr/sbin; do
    [ -d "$directory" ] && PATH="$directory:$PATH"
done
for program in curl haproxy initdb pg_ctl "$forerunner"; do
    command -v "$program" >/dev/null || fail "\`$program\` is missing: run install.sh, and set FORERUNNER to the program"
done

work=$(mktemp -d)
declare -A pids=()

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && setpriv --reuid postgres --regid postgres --clear-groups -- "$@")
    else
        "$@"
    fi
}

stop_all() {
    local pid
    touch "$work/stop"
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait "${pids[@]}" 2>/dev/null || true
    as_owner pg_ctl -D "$work/postgres/data" -m fast -w stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# Waits until a command succeeds, 30 s at most.
until_true() {
    local what=$1 tries
    shift
    for tries in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "not within 30 s: $what; see $(tail -n 5 "$work"/*.log 2>/dev/null)"
}

start_postgres() {
    chmod 711 "$work"
    mkdir "$work/postgres"
    [ "$(id -u)" -ne 0 ] || chown postgres: "$work/postgres"
    as_owner initdb -D "$work/postgres/data" -U forerunner -A trust -E UTF8 >/dev/null
    as_owner pg_ctl -D "$work/postgres/data" -l "$work/postgres/log" -w \
        -o "-c listen_addresses=127.0.0.1 -c port=$PG_PORT -c unix_socket_directories=$work/postgres" start >/dev/null
    export FORERUNNER__STORE__URL="postgres://forerunner@127.0.0.1:$PG_PORT/postgres"
}

millis() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
port_of() { local name="NODE$1_PORT"; printf '%s' "${!name}"; }

start_node() {
    local node=$1
    FORERUNNER__HTTP__LISTEN="127.0.0.1:$(port_of "$node")" \
        "$forerunner" serve --config "$here/forerunner.toml" >/dev/null 2>>"$work/node$node.log" &
    pids[node$node]=$!
}

# Whether a node says that it is ready, and HAProxy has heard it.
is_up() {
    curl -fsS "http://127.0.0.1:$(port_of "$1")/readyz" &&
        curl -fsS "http://127.0.0.1:$STATE_PORT/;csv" | grep -q "^nodes,node$1,.*,UP,"
}

start_all() {
    start_postgres
    # One node creates the schema; the other would wait for it, so nothing has to be said here.
    start_node 1
    start_node 2
    haproxy -f "$here/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
    pids[haproxy]=$!
    until_true "node 1 is up" is_up 1
    until_true "node 2 is up" is_up 2
}

# Submits until told to stop, and writes down each answer: status and task.
client() {
    local number=0 answer body="$work/answer$1"
    while [ ! -e "$work/stop" ]; do
        number=$((number + 1))
        answer=$(curl -sS -o "$body" -w '%{http_code}' -H 'Content-Type: application/json' \
            -H "Idempotency-Key: client-$1-$number" -d '{"input":{"service_s":0.1}}' \
            "http://127.0.0.1:$HTTP_PORT/v1/pools/work/tasks" 2>>"$work/errors") || answer="none"
        printf '%s %s\n' "$answer" "$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' "$body")" >>"$work/answers"
    done
}

# Restarts a node as an upgrade would.
roll() {
    local node=$1 code=0 began gone
    began=$(millis)
    kill -TERM "${pids[node$node]}"
    wait "${pids[node$node]}" || code=$?
    [ "$code" -eq 0 ] || fail "node $node ended with $code; see $(tail -n 5 "$work/node$node.log")"
    gone=$(millis)
    start_node "$node"
    until_true "node $node is up again" is_up "$node"
    say "node $node: stopped cleanly after $((gone - began)) ms, back $(($(millis) - gone)) ms later"
}

# Reads every accepted task back, through HAProxy; whether all have ended.
all_have_ended() {
    sed -n 's/^20[02] \(..*\)$/\1/p' "$work/answers" | sort -u >"$work/accepted"
    sed "s|.*|url = \"http://127.0.0.1:$HTTP_PORT/v1/tasks/&\"|" "$work/accepted" >"$work/urls"
    curl -sS -w '\n' -K "$work/urls" >"$work/tasks"
    [ "$(grep -c '"finished_at":"' "$work/tasks")" -eq "$(wc -l <"$work/accepted")" ]
}

show_off() {
    local client began=$SECONDS
    local -a running=()
    for client in $(seq "$clients"); do
        client "$client" &
        running+=($!)
    done
    sleep 2
    roll 1
    roll 2
    sleep 2
    touch "$work/stop"
    wait "${running[@]}"
    local took=$((SECONDS - began))
    until_true "all tasks end" all_have_ended
    local asked accepted succeeded once
    asked=$(wc -l <"$work/answers")
    accepted=$(wc -l <"$work/accepted")
    succeeded=$(grep -c '"state":"succeeded"' "$work/tasks" || true)
    once=$(grep -c '"attempt":1,' "$work/tasks" || true)
    say "submitted $asked tasks in $took s, accepted $accepted, succeeded $succeeded, at the first attempt $once"
    if [ "$asked" -eq 0 ] || [ "$accepted" -ne "$asked" ] || [ "$succeeded" -ne "$asked" ] || [ "$once" -ne "$asked" ]; then
        grep -v '^20[02] ' "$work/answers" | sort | uniq -c >&2 || true
        grep -v '"state":"succeeded"' "$work/tasks" | head -n 5 >&2 || true
        head -n 5 "$work/errors" >&2
        fail "they should all be the same"
    fi
}

start_all
say "listening on http://127.0.0.1:$HTTP_PORT; nodes on $NODE1_PORT and $NODE2_PORT, HAProxy's view on $STATE_PORT"
case "${1:-}" in
    "") show_off ;;
    serve) wait "${pids[haproxy]}" ;;
    *) fail "use: run.sh [serve]" ;;
esac
