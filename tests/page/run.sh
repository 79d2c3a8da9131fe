#!/usr/bin/env bash
# Opens the node's page in a real Chromium without a screen: `make test-page`.
#
# The browser is the system's; Debian's package is installed if there is none and that is allowed. What drives it is
# Python's standard library alone. SHOTS=directory keeps pictures of every view there.
set -euo pipefail
cd "$(dirname "$0")/../.."

need() { # program package
    command -v "$1" >/dev/null && return
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "test-page: $1 is missing; install the package $2" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}
need python3 python3
chromium=
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    chromium=${chromium:-$(command -v "$name" || true)}
done
if [[ -z $chromium ]]; then
    need chromium chromium
    chromium=$(command -v chromium)
fi
"${CARGO:-cargo}" build --quiet
exec python3 -B tests/page/page.py "${CARGO_TARGET_DIR:-target}/debug/spindle" "$chromium"
