#!/usr/bin/env bash
# Checks, tests and builds the packages for Python and TypeScript. Their tools are installed once, from the registries.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() {
    printf 'tests/packages.sh: %s\n' "$*" >&2
    exit 1
}
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Pinned, since a newer checker may find more.
tools="setuptools==80.9.0 mypy==1.18.2"
venv=$target/python-tools
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$tools" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 cannot make an environment; install python3-venv"
    # shellcheck disable=SC2086 # a list of words
    "$venv/bin/pip" install --quiet --disable-pip-version-check $tools || fail "pip could not install $tools"
    printf '%s' "$tools" >"$venv/installed"
fi
(
    # A copy, because setuptools writes beside the sources.
    cp -r crates/forerunner-python "$work/python"
    cd "$work/python"
    "$venv/bin/mypy" --cache-dir "$work/mypy"
    PYTHONPATH=src python3 -B -W error::ResourceWarning -m unittest discover -s tests
    "$venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$work" .
)
wheel=$(ls "$work"/forerunner_sdk-*-py3-none-any.whl)
PYTHONPATH=$wheel python3 -c 'import forerunner as f; assert "whl" in f.__file__ and f.Agent and f.Client and f.AsyncClient'
# Without a pipe: a reader that ends early would fail the writer.
listed=$(python3 -m zipfile -l "$wheel")
[[ $listed == *forerunner/py.typed* ]] || fail "the wheel lacks py.typed"

(
    cd crates/forerunner-typescript
    # Compares what is installed with the lock file, so a change of it is noticed.
    if ! cmp -s package-lock.json node_modules/.installed; then
        npm ci --no-audit --no-fund --silent || fail "npm could not install what package-lock.json names"
        cp package-lock.json node_modules/.installed
    fi
    node_modules/.bin/tsc --outDir "$work/dist"
    diff -r dist "$work/dist" || fail "dist is not what the sources give; run npm run build"
    npm test --silent
    npm pack --silent --pack-destination "$work" >/dev/null
    tar -xzf "$work"/forerunner-sdk-*.tgz -C "$work"
)
node --input-type=module -e "import { Agent, Client } from '$work/package/dist/index.js'; new Client(); new Agent('a');"
[ -f "$work/package/dist/index.d.ts" ] || fail "the package lacks its types"

# The compiled agent of new projects.
template=crates/forerunner-cli/src/commands/agent/templates/typescript
mkdir "$work/project"
cp "$template"/{agent.ts,package.json,tsconfig.json} "$work/project"
cp -r crates/forerunner-typescript/dist "$work/project/forerunner"
ln -s "$PWD/crates/forerunner-typescript/node_modules" "$work/project/node_modules"
crates/forerunner-typescript/node_modules/.bin/tsc -p "$work/project"
cmp "$template/agent.js" "$work/project/agent.js" || fail "agent.js of new projects is not what agent.ts gives"
for version in "$template/package.json" crates/forerunner-typescript/package.json; do
    grep -q '"@types/node": "20.19.9", "typescript": "5.9.3"' "$version" || fail "$version names other tools"
done
echo "wheel and npm package are sound"
