#!/usr/bin/env bash
# Resolves requirements.in into requirements.txt: versions only, no addresses, no local builds (+cpu).
set -euo pipefail

venv=${1:?usage: infra/lock.sh VENV}
links=${PIP_FIND_LINKS:-$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)}
links=${links//\'/}
uv=$(command -v uv || echo "$venv/bin/uv")
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
# An old list would be taken as a preference, CUDA pins included: resolve into an empty file.
UV_FIND_LINKS=${UV_FIND_LINKS:-$links} "$uv" pip compile --quiet --python "$venv/bin/python" --no-annotate --no-header requirements.in >"$fresh"
sed -E 's/\+cpu$//; s/\+cu[0-9]+$//' "$fresh" >requirements.txt
echo "requirements.txt holds $(grep -c == requirements.txt) packages" >&2
