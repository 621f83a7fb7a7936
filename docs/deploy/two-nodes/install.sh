#!/usr/bin/env bash
# Installs what the example needs from the distribution's own packages. Changes nothing else: no service is set up.
set -euo pipefail

packages=(curl haproxy postgresql)
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"
