# What tests/run-two.sh does to nodes and wallets; it says the story. Sourced, not run.
#
# A node is 0 or 1. Its log is $here/NAME.log, and goes to the terminal too, each line with the name before it.

names=(first second)
ports=(9000 9001)
colours=($'\e[36m' $'\e[33m')
pids=()
readers=()
failed=0
interrupted=0

say() { printf 'run-two: %s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    failed=1
}

# A step that did not do what it should; no news if it was interrupted.
broke() {
    ((interrupted)) || fail "$*"
    return 1
}

# Puts a name before each line of a node, coloured on a terminal, and keeps the lines for us to look at.
name_lines() {
    local name=$1 colour=$2 plain=
    if [[ -t 1 ]]; then plain=$'\e[0m'; else colour=; fi
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$here/$name.log"
        printf '%s%-6s%s %s\n' "$colour" "$name" "$plain" "$line"
    done
}

# start NODE OPTIONS...
start() {
    local node=$1 name=${names[$1]}
    shift
    [[ -p $here/$name.pipe ]] || mkfifo "$here/$name.pipe" || exit 1
    : >>"$here/$name.log"
    # Each of them in a process group of its own: Ctrl-C comes to the script alone, and each node is told once.
    set -m
    name_lines "$name" "${colours[node]}" <"$here/$name.pipe" &
    readers[node]=$!
    "$spindle" daemon --data-dir "$here/$name" --port "${ports[node]}" "$@" >"$here/$name.pipe" 2>&1 &
    pids[node]=$!
    set +m
}

# Ends a node as Ctrl-C does, and waits for its last line.
stop() {
    local node=$1 code
    [[ -n ${pids[node]:-} ]] || return 0
    kill -INT "${pids[node]}" 2>/dev/null
    while kill -0 "${pids[node]}" 2>/dev/null; do wait "${pids[node]}" 2>/dev/null && break; done
    wait "${pids[node]}"
    code=$?
    ((code == 0)) || fail "the ${names[node]} node ended with exit code $code"
    wait "${readers[node]}" 2>/dev/null
    pids[node]=
    readers[node]=
}

# Whether the nodes that were started and not stopped are still there.
alive() {
    local pid
    for pid in "${pids[@]}"; do
        if [[ -n $pid ]]; then kill -0 "$pid" 2>/dev/null || return 1; fi
    done
}

# Whether somebody still reads what we say: who closed the terminal, or the pipe, has seen enough.
heard() {
    local pid
    for pid in "${readers[@]}"; do
        if [[ -n $pid ]]; then kill -0 "$pid" 2>/dev/null || return 1; fi
    done
}

# await WHAT COMMAND...: until the command succeeds; fails when it cannot, or takes too long.
await() {
    local what=$1
    shift
    until "$@"; do
        ((interrupted)) && return 1
        if ! alive; then
            broke "a node ended by itself; its last lines stand above" || return
        elif ! heard; then
            interrupted=1
        elif ((SECONDS >= limit_s)); then
            broke "$what did not happen within $limit_s s; tips: first $(tip 0), second $(tip 1)" || return
        fi
        sleep 0.1
    done
}

# The newest tip that a node has told of, as `height=N hash=H`.
tip() { sed -n 's/.* tip \(height=[0-9]* hash=[0-9a-f]*\).*/\1/p' "$here/${names[$1]}.log" | tail -n 1; }

# The height in such a text; 0 if there is none yet.
height_of() {
    local height=${1#height=}
    echo "${height:+${height%% *}}" | grep . || echo 0
}

# Whether a node is at this height or above it.
reached() { (($(height_of "$(tip "$1")") >= $2)); }

# Whether both have the same tip, at this height or above it. Each log is read once: it goes on growing meanwhile.
agree() {
    local first second
    first=$(tip 0)
    second=$(tip 1)
    [[ -n $first && $first == "$second" ]] && (($(height_of "$first") >= $1))
}

# Lines of a node's log so far, to look only behind them later.
lines() { wc -l <"$here/${names[$1]}.log"; }

# told NODE LINES PATTERN: whether its log has such a line behind these.
told() { tail -n "+$(($2 + 1))" "$here/${names[$1]}.log" | grep -q -- "$3"; }

# wallet WALLET COMMAND OPTIONS...: a wallet's command, for the wallet that has the same name as a node.
wallet() {
    local name=${names[$1]} command=$2
    shift 2
    "$spindle" wallet "$command" --wallet "$here/$name.wallet" --password-file "$here/$name.password" "$@"
}

# new_wallet WALLET: makes it, and says where it is paid. The words are shown to nobody: it will not be missed.
new_wallet() {
    printf 'the password of the %s wallet\n' "${names[$1]}" >"$here/${names[$1]}.password"
    wallet "$1" new 2> >(grep '^error' >&2) | sed -n 's/^address  //p'
}

# balance WALLET NODE: what it has by this node's account, as `CONFIRMED UNCONFIRMED IMMATURE HEIGHT`.
balance() {
    local answer
    answer=$(wallet "$1" balance --port "${ports[$2]}" --data-dir "$here/${names[$2]}") || return
    awk '{ print $NF }' <<<"$answer" | xargs
}

say_balance() {
    local wallet=$1 confirmed unconfirmed immature height
    read -r confirmed unconfirmed immature height <<<"$2"
    say "the ${names[wallet]} wallet at height $height: confirmed $confirmed, unconfirmed $unconfirmed, immature $immature"
}

# Coins as units: eight places, without the point.
units() { local text=${1/./}; echo "$((10#$text))"; }
