#!/usr/bin/env bash
# Two nodes and two wallets in one terminal: the first node mines to the first wallet, the second node is told
# nothing, finds the first and follows. Then the first wallet pays the second, and the payment is seen at each
# of its steps.
#
#   tests/run-two.sh            until Ctrl-C
#   tests/run-two.sh BLOCKS     until all of that is done and both have the same tip at this height or above it
#
# Ends with 0 if all went well, both nodes stopped in order, and the wallets have together what the emission
# says. Keeps its files in target/run-two.
set -u

limit_s=120
readonly amount=5.00000000
blocks=${1:-}
target=${CARGO_TARGET_DIR:-target}
here=$target/run-two
spindle=${SPINDLE:-$target/debug/spindle}
threads=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
# shellcheck source=tests/two-nodes.sh
source "$(dirname "$0")/two-nodes.sh"

if [[ -n $blocks && ! $blocks =~ ^[1-9][0-9]{0,5}$ ]]; then
    say "BLOCKS is \`$blocks\`; a height from 1 to 999999 is needed, or nothing to go on until Ctrl-C" >&2
    exit 2
fi
rm -rf "$here"
mkdir -p "$here" || exit 1

# The first node mines to the first wallet; the second finds it and follows.
meet() {
    start 0 --mine --mining-threads "$threads" --mine-to "${addresses[0]}"
    # The second comes when there is something to sync.
    await "a chain of 5 blocks" reached 0 5 || return
    start 1
    # What a block pays can be spent 10 blocks later.
    await "the same tip at height 11 on both nodes" agree 11
}

# The first wallet pays the second one over the first node, and the second sees it over the second node.
pay() {
    local before answer
    say "the first node starts again without mining, so that a payment waits for long enough to be looked at"
    stop 0
    before=$(lines 1)
    start 0
    await "a new connection of the two" told 1 "$before" 'connected .*: spindle/' || return
    await "the same tip on both nodes" agree 11 || return

    say "the first wallet pays $amount to the second, over the first node"
    answer=$(wallet 0 send "${addresses[1]}" "$amount" --yes --port "${ports[0]}" --data-dir "$here/first" 2>&1) || { broke "the first wallet could not pay: $answer" || return; }
    while IFS= read -r line; do say "    $line"; done <<<"$answer"
    txid=$(sed -n 's/^sent .* in transaction \([0-9a-f]\{64\}\),.*/\1/p' <<<"$answer")
    await "transaction ${txid:0:16} in the second node's mempool" told 1 "$before" "transaction $txid waits" || return
    say "it waits in the second node's mempool too"
    sees "0.00000000 $amount 0.00000000" "unconfirmed" || return

    say "the first node starts again and mines; what waited there waits there still"
    before=$(lines 1)
    stop 0
    start 0 --mine --mining-threads "$threads" --mine-to "${addresses[0]}"
    await "a block with transaction ${txid:0:16}" told 1 "$before" "block at height=.* confirms .*${txid:0:16}" || return
    say "it is in a block:$(grep -o ' block at height=[0-9]* confirms .*' "$here/second.log" | tail -n 1)"
    sees "$amount 0.00000000 0.00000000" "confirmed" || return
    paid=1
    # The first wallet asks the node that mines for it.
    answer=$(balance 0 0) && say_balance 0 "$answer"
}

# sees BALANCE WORD: whether the second wallet sees the payment so, asking the second node.
sees() {
    local answer
    if answer=$(balance 1 1) && [[ ${answer% *} == "$1" ]]; then
        say_balance 1 "$answer"
    else
        broke "the second wallet does not see $amount $2, but \`${answer:-nothing}\` (confirmed, unconfirmed, immature, height)"
    fi
}

# The second node alone, whose tip stays where it is: what both wallets have must be all that there is.
add_up() {
    local first second supply
    for _ in 1 2 3; do
        first=$(balance 0 1) && second=$(balance 1 1) || { fail "a wallet does not say its balance" && return; }
        [[ ${first##* } == "${second##* }" ]] && break
    done
    say_balance 0 "$first"
    say_balance 1 "$second"
    stop 1
    supply=$("$spindle" chain verify --data-dir "$here/second" | sed -n 's/^\(height\|supply\)  *\([0-9]*\).*/\2/p' | xargs)
    read -r -a first <<<"$first"
    read -r -a second <<<"$second"
    local sum=0 coins
    for coins in "${first[@]:0:3}" "${second[@]:0:3}"; do sum=$((sum + $(units "$coins"))); done
    if [[ "${first[3]} $sum" == "$supply" && ${second[3]} == "${first[3]}" ]]; then
        say "both wallets together have $sum units at height ${first[3]}: the whole supply, as \`chain verify\` counts it"
    else
        fail "both wallets have $sum units at heights ${first[3]} and ${second[3]}; \`chain verify\` says \`$supply\` (height, supply)"
    fi
}

trap 'interrupted=1' INT TERM HUP PIPE
SECONDS=0
paid=0
addresses=("$(new_wallet 0)" "$(new_wallet 1)")
if [[ -z ${addresses[0]} || -z ${addresses[1]} ]]; then
    fail "the wallets could not be made"
    exit 1
fi
say "the first wallet is  ${addresses[0]}"
say "the second wallet is ${addresses[1]}"
if meet && pay; then
    if [[ -n $blocks ]]; then
        if await "the same tip at height $blocks on both nodes" agree "$blocks"; then
            say "both nodes have the same tip, after $SECONDS s: $(tip 1)"
        fi
    else
        say "Ctrl-C stops both"
        limit_s=$((1 << 40)) await "Ctrl-C" false
    fi
fi
stop 0
((paid && !failed)) && add_up
stop 1
if ((interrupted)) && [[ -n $blocks ]]; then fail "interrupted before all was done"; fi
((failed)) || say "both nodes have stopped, their ports and directories are free"
exit "$failed"
