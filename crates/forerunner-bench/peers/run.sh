#!/usr/bin/env bash
# Measures other queues on PostgreSQL and Forerunner on the same server, one after the other, in the same run.
#
#   run.sh [FORERUNNER]     the program; `forerunner` unless given
#
# Needs PostgreSQL, npm and Python with venv. What it installs goes into a temporary directory, as does the server, which
# has the settings of a fresh one, so every commit waits for the disk; both are removed at the end. A few minutes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
forerunner="${1:-forerunner}"
# Jobs that are drained, and that go from end to end. The slow ones get a tenth.
tasks="${TASKS:-20000}"
work=$(mktemp -d "${TMPDIR:-.}/peers.XXXXXX")
work=$(cd "$work" && pwd)
for directory in /usr/lib/postgresql/*/bin; do PATH="$directory:$PATH"; done

as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && setpriv --reuid postgres --regid postgres --clear-groups -- "$@")
    else
        "$@"
    fi
}
finish() {
    as_owner pg_ctl -D "$work/postgres/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

chmod 711 "$work"
mkdir "$work/postgres"
[ "$(id -u)" -ne 0 ] || chown postgres: "$work/postgres"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_owner initdb -D "$work/postgres/data" -U bench -A trust -E UTF8 >/dev/null
as_owner pg_ctl -D "$work/postgres/data" -l "$work/postgres/log" -w \
    -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$work/postgres" start >/dev/null
url="postgres://bench@127.0.0.1:$port"

printf 'installing the peers\n' >&2
# graphile-worker wants a newer Node than many machines have; the package `node` brings one.
(cd "$work" && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund graphile-worker@0.18 node@22 >&2)
cp "$here/graphile.mjs" "$work/"
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check pgqueuer asyncpg procrastinate 'psycopg[binary]' >&2

measure() {
    local name=$1
    shift
    psql -qh 127.0.0.1 -p "$port" -U bench postgres -c "CREATE DATABASE $name" >/dev/null
    "$@" "$url/$name"
    psql -qh 127.0.0.1 -p "$port" -U bench postgres -c "DROP DATABASE $name WITH (FORCE)" >/dev/null
}

printf '%-32s %12s %12s\n' 'TASKS/S' 'DRAIN' 'END TO END'
measure graphile "$work/node_modules/node/bin/node" "$work/graphile.mjs" plain "$tasks"
measure graphile_batched "$work/node_modules/node/bin/node" "$work/graphile.mjs" batched "$tasks"
measure pgqueuer "$work/python/bin/python" "$here/queues.py" pgqueuer "$((tasks / 4))"
measure procrastinate "$work/python/bin/python" "$here/queues.py" procrastinate "$((tasks / 10))"
printf '\nPeers: 8 workers; drained are jobs that were there before; end to end are 8 submitters that do not wait for results.\n\n'
"$forerunner" bench postgres --store "$url/postgres" --seconds "${SECONDS_EACH:-1}" --repetitions 3 --backlog "${BACKLOG:-1000000}"
