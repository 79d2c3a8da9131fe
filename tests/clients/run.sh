#!/usr/bin/env bash
# Runs programs that others wrote for monerod against a spindle daemon: `make test-clients`.
#
# What they need is put into target/clients/, nothing into the system; but Python's own venv is a package of its own on
# Debian, and is installed if it is missing and may be.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/clients/venv
wanted="monero==1.1.1"

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "test-clients: python3 with venv is missing; install the packages python3 and python3-venv" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv >/dev/null
fi
if ! "$venv/bin/python" -c "import importlib.metadata as m; assert 'monero==' + m.version('monero') == '$wanted'" 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$wanted"
fi
"${CARGO:-cargo}" build --quiet
exec "$venv/bin/python" -B tests/clients/monero_python.py "${CARGO_TARGET_DIR:-target}/debug/spindle"
