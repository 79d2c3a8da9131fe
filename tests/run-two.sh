#!/usr/bin/env bash
# Two nodes in one terminal: the first mines, the second is told nothing, finds it and follows.
#
#   tests/run-two.sh            until Ctrl-C
#   tests/run-two.sh BLOCKS     until both have the same tip at this height or above it
#
# Ends with 0 if all went well and both nodes stopped in order. Keeps its files in target/run-two.
set -u
# Each background job in a process group of its own: Ctrl-C comes here alone, and each node is told once.
set -m

readonly limit_s=120
blocks=${1:-}
target=${CARGO_TARGET_DIR:-target}
here=$target/run-two
spindle=${SPINDLE:-$target/debug/spindle}

say() { printf 'run-two: %s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    failed=1
}

if [[ -n $blocks && ! $blocks =~ ^[1-9][0-9]{0,5}$ ]]; then
    say "BLOCKS is \`$blocks\`; a height from 1 to 999999 is needed, or nothing to go on until Ctrl-C" >&2
    exit 2
fi
failed=0
interrupted=0
pids=()
readers=()
rm -rf "$here"
mkdir -p "$here" || exit 1

# Puts a name before each line of a node, coloured on a terminal, and keeps the lines for us to look at.
name_lines() {
    local name=$1 colour=$2 plain=
    if [[ -t 1 ]]; then plain=$'\e[0m'; else colour=; fi
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$here/$name.log"
        printf '%s%-6s%s %s\n' "$colour" "$name" "$plain" "$line"
    done
}

# start NAME COLOUR OPTIONS...
start() {
    local name=$1 colour=$2
    shift 2
    : >"$here/$name.log"
    mkfifo "$here/$name.pipe" || exit 1
    name_lines "$name" "$colour" <"$here/$name.pipe" &
    readers+=($!)
    "$spindle" daemon --data-dir "$here/$name" "$@" >"$here/$name.pipe" 2>&1 &
    pids+=($!)
}

# The newest tip that a node has told of, as `height=N hash=H`.
tip() { sed -n 's/.* tip \(height=[0-9]* hash=[0-9a-f]*\).*/\1/p' "$here/$1.log" | tail -n 1; }

# Whether all nodes that were started are still there.
alive() {
    local pid
    for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || return 1; done
}

# The height in such a text; 0 if there is none yet.
height_of() {
    local height=${1#height=}
    echo "${height:+${height%% *}}" | grep . || echo 0
}

# Whether both have the same tip, high enough. Each log is read once: it goes on growing meanwhile.
agree() {
    local first second height
    first=$(tip first)
    second=$(tip second)
    height=$(height_of "$first")
    [[ -n $first && $first == "$second" ]] && ((height >= blocks)) || return 1
    say "both nodes have the same tip at height $height, after $SECONDS s"
    say "first   $first"
    say "second  $second"
}

stop() {
    local n name code
    # The follower first, so that what it has stays what was said of it.
    for n in 1 0; do
        name=$([[ $n == 0 ]] && echo first || echo second)
        kill -INT "${pids[n]}" 2>/dev/null
        while kill -0 "${pids[n]}" 2>/dev/null; do wait "${pids[n]}" 2>/dev/null && break; done
        wait "${pids[n]}"
        code=$?
        ((code == 0)) || fail "the $name node ended with exit code $code"
        wait "${readers[n]}" 2>/dev/null
    done
}

trap 'interrupted=1' INT TERM
SECONDS=0
threads=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
start first $'\e[36m' --port 9000 --mine --mining-threads "$threads"
# The second comes when there is something to sync, or after a while on a slow machine.
while ((!interrupted && SECONDS < 10 && $(height_of "$(tip first)") < 5)) && alive; do sleep 0.1; done
start second $'\e[33m' --port 9001
if [[ -z $blocks ]]; then say "Ctrl-C stops both"; fi

while ((!interrupted)); do
    if ! alive; then
        fail "a node ended by itself; its last lines stand above"
        break
    fi
    if [[ -n $blocks ]]; then
        if agree; then break; fi
        if ((SECONDS >= limit_s)); then
            fail "no common tip at height $blocks within $limit_s s"
            say "first   $(tip first)" >&2
            say "second  $(tip second)" >&2
            break
        fi
    fi
    sleep 0.2
done
stop
((interrupted)) && [[ -n $blocks ]] && fail "interrupted before both had the same tip at height $blocks"
((failed)) || say "both nodes have stopped, their ports and directories are free"
exit "$failed"
