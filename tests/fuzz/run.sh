#!/usr/bin/env bash
# Runs each fuzz target for a while and prints what came of it: tests/fuzz/run.sh [SECONDS [TARGET ...]]
#
# With a nightly toolchain the targets run under the address sanitizer; where only a stable one is installed they run
# without (`cargo fuzz run --sanitizer none` needs nothing that is unstable). SANITIZER=none or SANITIZER=address
# decides otherwise. What is found on the way is kept in tests/fuzz/target/found, so that the next run goes on from
# there; the committed corpus is read and never written.
set -uo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked || exit 1

toolchain=
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then toolchain=+nightly; fi
sanitizer=${SANITIZER:-${toolchain:+address}}
sanitizer=${sanitizer:-none}
if [ "$sanitizer" = none ]; then toolchain=; fi
fuzz=(cargo $toolchain fuzz)
options=(--fuzz-dir tests/fuzz --sanitizer "$sanitizer")

targets=("$@")
if [ ${#targets[@]} = 0 ]; then mapfile -t targets < <("${fuzz[@]}" list --fuzz-dir tests/fuzz); fi

echo "fuzz: ${#targets[@]} targets, $seconds s each, sanitizer: $sanitizer"
for target in "${targets[@]}"; do
    "${fuzz[@]}" build "${options[@]}" "$target" || exit 1
done

table=$(mktemp)
trap 'rm -f "$table"' EXIT
total=0 failed=0
for target in "${targets[@]}"; do
    found=tests/fuzz/target/found/$target
    log=tests/fuzz/target/found/$target.log
    mkdir -p "$found"
    echo "fuzz: $target"
    verdict=clean
    if ! "${fuzz[@]}" run "${options[@]}" "$target" "$found" "tests/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -print_final_stats=1 >"$log" 2>&1; then
        verdict="FAILED, see $log"
        failed=1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    a_second=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    total=$((total + ${runs:-0}))
    printf '%-14s %12d %10d  %s\n' "$target" "${runs:-0}" "${a_second:-0}" "$verdict" >>"$table"
done

printf '\n%-14s %12s %10s\n' target executions 'a second'
cat "$table"
printf '%-14s %12d\n' 'all together' "$total"
exit $failed
