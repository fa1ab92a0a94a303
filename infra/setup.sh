#!/usr/bin/env bash
# Makes the virtual environment given as $1 from requirements.txt, and from the list of an extra where $2 names one. A
# stamp in it names the lists that it was made from, so that a second call costs nothing. Where packages come from is
# the business of the installer's own settings (pip config, PIP_*, UV_*): no address stands here.
set -euo pipefail

venv=${1:?usage: infra/setup.sh VENV [LIST]}
lists=(requirements.txt "${@:2}")
stamp="$venv/.$(basename "${lists[-1]}" .txt).sha256"
want=$(cat "${lists[@]}" | sha256sum | cut -d' ' -f1)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ]; then
    exit 0
fi

fail() {
    printf 'error: %s\n  cure: %s\n' "$1" "$2" >&2
    exit 1
}

python_for_venv() {
    local name
    for name in python3.11 python3 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            printf '%s' "$name"
            return
        fi
    done
}

# Two runs may start on one fresh clone: the second waits for the first.
exec 9>".setup.lock"
command -v flock >/dev/null && flock 9
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ]; then
    exit 0
fi

echo "setup: making $venv from ${lists[*]}" >&2
python=$(python_for_venv)
uv=$(command -v uv || true)
if ! [ -x "$venv/bin/python" ]; then
    if [ -n "$python" ]; then
        "$python" -m venv "$venv" ||
            fail "python could not make a virtual environment in $venv" "install python3-venv (Debian: apt-get install python3-venv) or check the permissions"
    elif [ -n "$uv" ]; then
        "$uv" venv --python 3.11 "$venv" || fail "uv found no Python 3.11" "install Python 3.11"
    else
        fail "Python 3.11 was not found" "install Python 3.11 and call the same command again"
    fi
fi

if [ -z "$uv" ] && "$venv/bin/python" -m pip install --quiet uv >&2; then
    uv="$venv/bin/uv"
fi

# uv does not read pip's settings: hand over the wheels folder, so that torch takes the build that the machine offers.
links=${PIP_FIND_LINKS:-$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)}
links=${links//\'/}
if [ -n "$uv" ] && UV_FIND_LINKS=${UV_FIND_LINKS:-$links} "$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" "${lists[@]/#/--requirement=}"; then
    :
else
    [ -n "$uv" ] && echo "setup: uv could not install the list; trying pip" >&2
    "$venv/bin/python" -m ensurepip --upgrade >/dev/null 2>&1 || true
    "$venv/bin/python" -m pip install --quiet "${lists[@]/#/--requirement=}" ||
        fail "the packages of ${lists[*]} could not be installed" "read the installer's message above; check the network and pip's settings"
fi
printf '%s\n' "$want" >"$stamp"
echo "setup: done" >&2
