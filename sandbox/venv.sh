#!/bin/sh
# venv.sh PYTHON DIR: a virtual environment in DIR with exactly what requirements.lock names, and this checkout in it.
# uv resolves and unpacks the lock in seconds where the stock pip resolver takes minutes.
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "headnode needs Python 3.11 or newer, and $python is $("$python" -V 2>&1). Next: make PYTHON=python3.11" >&2
    exit 1
}
if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv" 2>"${TMPDIR:-/tmp}/headnode-venv.$$"; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: $python has no venv module: installing Debian's python3-venv" >&2
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
        "$python" -m venv --clear "$venv"
    else
        cat "${TMPDIR:-/tmp}/headnode-venv.$$" >&2
        rm -f "${TMPDIR:-/tmp}/headnode-venv.$$"
        echo "setup: $python cannot make virtual environments. Next: install its venv module (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
fi
rm -f "${TMPDIR:-/tmp}/headnode-venv.$$"
uv=$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)
[ -x "$venv/bin/uv" ] || {
    echo "setup: installing $uv into $venv" >&2
    "$venv/bin/python" -m pip --disable-pip-version-check install -q "$uv"
}
echo "setup: installing what requirements.lock names" >&2
VIRTUAL_ENV=$venv "$venv/bin/uv" pip sync -q --compile-bytecode --require-hashes requirements.lock
VIRTUAL_ENV=$venv "$venv/bin/uv" pip install -q --offline --no-build-isolation --no-deps -e . # built by the lock's setuptools
