#!/bin/sh
# Puts one bug after the other into a copy of the sources and lets the simulator look for it.
#
#   tests/mutants/run.sh            every bug; a row of the table for each, on standard output
#   ONLY="07 12" tests/mutants/run.sh
#   SEEDS=1000 FIRST=0              how many networks are simulated at the most, and from which seed on
#
# The sources are built as for a release, without debug assertions, so that only the simulator can find anything. The
# first row is the sources as they are: 100 networks in which nothing may be found.
# It fails if a patch no longer applies, if a bug does not build, or if one is not found.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
seeds=${SEEDS:-1000}
first=${FIRST:-0}
work=${MUTANTS_DIR:-$root/target/mutants}
tree=$work/tree
log=$work/log
export CARGO_TARGET_DIR="$work/target"
# One file changes each time: what makes the best binary would take minutes for each bug.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 CARGO_PROFILE_RELEASE_INCREMENTAL=true
export CARGO_PROFILE_RELEASE_OPT_LEVEL=2

rm -rf "$tree"
mkdir -p "$tree"
(cd "$root" && tar -cf - Cargo.toml Cargo.lock src tests) | (cd "$tree" && tar -xmf -)
cd "$tree"

is_wanted() {
    [ -z "${ONLY:-}" ] && return 0
    for number in $ONLY; do
        case $1 in "$number"*) return 0 ;; esac
    done
    return 1
}

build() {
    nice cargo build --release --quiet --bin spindle 2>"$log" && return
    cat "$log" >&2
    echo "$1 does not build" >&2
    exit 1
}

simulate() {
    "$CARGO_TARGET_DIR/release/spindle" simulate --seeds "$1" --seed "$first" >"$log" 2>&1
}

build "the sources as they are"
began=$(date +%s)
if ! simulate 100; then
    cat "$log" >&2
    exit 1
fi
printf '| bug | found by | seeds | seconds |\n| --- | --- | --- | --- |\n'
printf '| none | nothing | 100 | %s |\n' "$(($(date +%s) - began))"

missed=0
for patch in "$root"/tests/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    is_wanted "$name" || continue
    if ! patch -s -p1 -F0 --no-backup-if-mismatch <"$patch" >&2; then
        echo "$name no longer applies" >&2
        exit 1
    fi
    build "$name"
    began=$(date +%s)
    if simulate "$seeds"; then
        missed=$((missed + 1))
        row="not found | more than $seeds"
    else
        seed=$(sed -n 's/^error: seed \([0-9]*\): .*/\1/p' "$log")
        words=$(sed -n 's/^error: seed [0-9]*: \(.*\); `spindle.*/\1/p' "$log")
        if [ -z "$seed" ]; then
            cat "$log" >&2
            exit 1
        fi
        row="$words | $((seed - first + 1))"
    fi
    printf '| %s | %s | %s |\n' "$name" "$row" "$(($(date +%s) - began))"
    patch -s -R -p1 -F0 --no-backup-if-mismatch <"$patch" >&2
done
[ "$missed" -eq 0 ]
