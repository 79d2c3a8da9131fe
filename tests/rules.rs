//! Each consensus rule is broken once, and nothing else with it.
//!
//! Every test first shows that its block is valid, then changes one thing and names the refusal.
//! Rules that need other blocks (due difficulty, time order, future limit, height, known parent) are
//! tested where the chain is.

mod common;

use common::{
    HEIGHT, block, block_at, check, check_bytes, coin, coin_from, coin_of, fee, judge, ledger_with, mined, outputs,
    pay, raw_block, regtest_with, sealed, secret, sign, unsigned,
};
use spindle::blockchain::block::{Block, CheckedHeader, Header, ReadBlock};
use spindle::blockchain::difficulty::meets;
use spindle::blockchain::params::{BLOCK_OUTPUTS_MAX, OUTPUTS_MAX, Params};
use spindle::blockchain::reject::{Blame, Reject};
use spindle::blockchain::transaction::{Input, Outpoint, Transaction};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;

/// The refusal of a block that anyone can check alone, which condemns its id.
fn condemned(params: &Params, block: &Block) -> Reject {
    let reject = check(params, block).expect_err("a rule is broken");
    assert_eq!(reject.blame(), Blame::Block, "{reject}");
    reject
}

/// A valid block with one transfer (two coins in, two out, a fee of 10) and its change.
fn changed(change: impl FnOnce(&Params, &mut Block)) -> Reject {
    let params = Params::regtest();
    let coins = [coin(1, 100), coin(2, 60)];
    let mut block = block(&params, vec![pay(&params, &coins, &[90, 60])]);
    judge(&params, &coins, &block).expect("valid before the change");
    change(&params, &mut block);
    condemned(&params, &sealed(block))
}

/// The refusal of a block whose only transfer is this one (or these).
fn transfers_refused(transfers: Vec<Transaction>) -> Reject {
    let params = Params::regtest();
    condemned(&params, &block(&params, transfers))
}

// --- work ---

/// Goal: a hash that misses the stated difficulty is refused. Method: difficulty 2^16, where the first
/// nonces after the right one do not meet it by chance (checked).
#[test]
fn work_below_the_stated_difficulty_is_refused() {
    let params = regtest_with(|spec| (spec.difficulty_first, spec.difficulty_min) = (1 << 16, 1 << 16));
    let mut block = block(&params, vec![]);
    check(&params, &block).expect("mined");
    block.header.nonce += 1;
    assert!(!meets(&block.header.id(), 1 << 16), "the next nonce is not lucky");
    let refused = condemned(&params, &block);
    assert_eq!(refused, Reject::Work { id: block.id(), difficulty: 1 << 16 });
    assert!(refused.to_string().contains("65536"), "{refused}");
}

/// Goal: a header cannot claim more work than its hash shows. Method: difficulty raised after mining, so
/// that the hash still shows what was mined and not what is said.
#[test]
fn stated_difficulty_beyond_the_hash_is_refused() {
    let params = Params::regtest();
    let header = Header { difficulty: 1 << 16, ..block(&params, vec![]).header };
    let header = mined(header);
    assert_eq!(CheckedHeader::check(header).map(|checked| checked.id()), Ok(header.id()));
    let greedy = Header { difficulty: u64::MAX, ..header };
    assert_eq!(CheckedHeader::check(greedy), Err(Reject::Work { id: greedy.id(), difficulty: u64::MAX }));
}

/// Goal: difficulty 0, which every hash would meet, is refused.
#[test]
fn difficulty_zero_is_refused() {
    let refused = changed(|_, block| block.header.difficulty = 0);
    assert!(matches!(refused, Reject::Work { difficulty: 0, .. }), "{refused}");
}

// --- rules' numbers ---

/// Goal: rules that we do not know are nobody's fault, whatever the rest of the block is.
/// Method: a higher version; then, a version that our own spec has outgrown; bodies of garbage.
#[test]
fn unknown_rules_are_reported_and_never_condemned() {
    let params = Params::regtest();
    let mut newer = block(&params, vec![]);
    newer.header.version = 2;
    let refused = check(&params, &newer).expect_err("rules 2 are unknown");
    assert_eq!((refused.blame(), refused), (Blame::Nobody, Reject::NeedsRules { rules: 2 }));

    let mut garbage = newer.header.to_bytes().to_vec();
    garbage.extend_from_slice(b"a body of another form");
    assert_eq!(check_bytes(&params, garbage), Err(Reject::NeedsRules { rules: 2 }));

    let upgraded = regtest_with(|spec| spec.activations = [(2, HEIGHT)].into());
    assert_eq!(check(&upgraded, &block(&upgraded, vec![])), Err(Reject::NeedsRules { rules: 2 }));
    check(&upgraded, &block_at(&upgraded, HEIGHT - 1, vec![])).expect("the height before still has rules 1");
}

/// Goal: a version that was never in force is refused.
#[test]
fn version_zero_is_refused() {
    assert_eq!(changed(|_, block| block.header.version = 0), Reject::Version { version: 0, rules: 1 });
}

// --- the root ---

/// Goal: a body that is not the header's blames its sender and leaves the id alone.
/// Method: a body's every part is altered under an honest header; then the honest body is taken.
#[test]
fn wrong_merkle_root_blames_the_sender_and_not_the_id() {
    let params = Params::regtest();
    let coins = [coin(1, 100)];
    let honest = block(&params, vec![pay(&params, &coins, &[90])]);
    let bytes = honest.to_bytes();
    // A byte of the coinbase's amount, of the transfer's output, of its signature; each stays decodable.
    for at in [100 + 9, 184 + 3 + 84 + 2 + 1, bytes.len() - 40] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let refused = check_bytes(&params, other).expect_err("another body");
        assert!(
            matches!(refused, Reject::MerkleRoot { header, .. } if header == honest.header.merkle_root),
            "{refused}"
        );
        assert_eq!(refused.blame(), Blame::Sender);
    }
    let missing = Block { transfers: spindle::primitives::codec::List::default(), ..honest.clone() };
    assert!(matches!(check(&params, &missing), Err(Reject::MerkleRoot { .. })));
    let twice = [&bytes[..182], &[2, 0], &bytes[184..], &bytes[184..]].concat();
    assert!(matches!(check_bytes(&params, twice), Err(Reject::MerkleRoot { .. })), "no duplicated-leaf twin");
    assert_eq!(check(&params, &honest).expect("the honest body").id(), honest.id());
}

/// Goal: bytes that cannot be read blame the sender: the id fixes other ones.
#[test]
fn undecodable_or_oversized_blames_the_sender() {
    let params = Params::regtest();
    let bytes = block(&params, vec![]).to_bytes();
    let long = [bytes.clone(), vec![0]].concat();
    let short = bytes[..bytes.len() - 1].to_vec();
    for broken in [long, short, vec![], bytes[..99].to_vec()] {
        let refused = check_bytes(&params, broken).expect_err("not a block");
        assert!(matches!(refused, Reject::Undecodable(_)), "{refused}");
        assert_eq!(refused.blame(), Blame::Sender);
    }
}

// --- the coinbase ---

/// Goal: the coinbase is reward and fees to the unit.
#[test]
fn coinbase_one_unit_off_is_refused() {
    let due = Params::regtest().reward(HEIGHT) + 10;
    for found in [due + 1, due - 1, 0, u64::MAX] {
        let refused = changed(|_, block| block.coinbase.output.amount = found);
        assert_eq!(refused, Reject::CoinbaseAmount { found, due });
    }
}

/// Goal: the coinbase of one height is of no use at another.
#[test]
fn coinbase_of_another_height_is_refused() {
    for coinbase in [HEIGHT - 1, HEIGHT + 1] {
        let refused = changed(|_, block| block.coinbase.height = coinbase);
        assert_eq!(refused, Reject::CoinbaseHeight { coinbase, header: HEIGHT });
    }
}

/// Goal: only version 1 of coinbases and of transactions exists.
#[test]
fn other_versions_of_coinbase_or_transaction_are_refused() {
    for version in [0, 2, 255] {
        let refused = changed(|_, block| block.coinbase.version = version);
        assert_eq!(refused, Reject::TransactionVersion { version });
        let params = Params::regtest();
        let coins = [coin(1, 100)];
        let mut transfer = unsigned(&coins, outputs(&[90]), false);
        transfer.version = version;
        let refused = transfers_refused(vec![sign(params.genesis_id(), &coins, transfer)]);
        assert_eq!(refused, Reject::TransactionVersion { version });
    }
}

/// Goal: a coinbase matures at its height plus 10, neither a block sooner nor later.
/// Method: block 20's own coinbase, spent at 29 and at 30, and with its maturity denied.
#[test]
fn coinbase_matures_after_ten_blocks() {
    let params = Params::regtest();
    let parent = block(&params, vec![]);
    let mut ledger = ledger_with(&[]);
    let checked = check(&params, &parent).expect("valid");
    ledger.apply(checked.spent(), checked.created()).expect("new");
    let outpoint = Outpoint { transaction: parent.coinbase.id(), index: 0 };
    let amount = parent.coinbase.output.amount;
    let input = Input { outpoint, amount, key: parent.coinbase.output.key, matures_at: HEIGHT + 10 };
    let mine = common::Coin { input, owner: 0 };
    let spend = |coin, height| block_at(&params, height, vec![pay(&params, &[coin], &[amount - 5])]);

    let refused = condemned(&params, &spend(mine, HEIGHT + 9));
    assert_eq!(refused, Reject::Immature { outpoint, matures_at: HEIGHT + 10, height: HEIGHT + 9 });
    let denied = common::Coin { input: Input { matures_at: 0, ..input }, owner: 0 };
    let checked = check(&params, &spend(denied, HEIGHT + 9)).expect("a false claim is the ledger's to see");
    let refused = ledger.clone().apply(checked.spent(), checked.created());
    assert_eq!(refused, Err(Reject::MissingCoin { coin: denied.input.coin() }));
    let checked = check(&params, &spend(mine, HEIGHT + 10)).expect("ripe");
    ledger.apply(checked.spent(), checked.created()).expect("there");
}

/// Goal: a block cannot spend its own coinbase, with or without saying when that matures.
#[test]
fn coinbase_cannot_be_spent_in_its_own_block() {
    let params = Params::regtest();
    let empty = block(&params, vec![]);
    let outpoint = Outpoint { transaction: empty.coinbase.id(), index: 0 };
    let input =
        |matures_at| Input { outpoint, amount: empty.coinbase.output.amount, key: secret(0).public(), matures_at };
    let spend = |matures_at| {
        let coin = common::Coin { input: input(matures_at), owner: 0 };
        // No fee, so that the coinbase stays the very one that is spent.
        let block = block(&params, vec![pay(&params, &[coin], &[input(0).amount])]);
        assert_eq!(block.coinbase, empty.coinbase);
        block
    };
    assert!(matches!(condemned(&params, &spend(HEIGHT + 10)), Reject::Immature { .. }));
    let refused = judge(&params, &[], &spend(0));
    assert_eq!(refused, Err(Reject::MissingCoin { coin: input(0).coin() }));
}

// --- inputs and amounts ---

/// Goal: a transaction spends something and makes something.
#[test]
fn no_inputs_or_no_outputs_is_refused() {
    let params = Params::regtest();
    assert_eq!(transfers_refused(vec![pay(&params, &[], &[90])]), Reject::NoInputs);
    assert_eq!(transfers_refused(vec![pay(&params, &[coin(1, 100)], &[])]), Reject::NoOutputs);
}

/// Goal: one coin cannot be spent twice in a transaction.
#[test]
fn duplicate_input_in_one_transaction_is_refused() {
    let params = Params::regtest();
    let twin = coin(1, 100);
    let refused = transfers_refused(vec![pay(&params, &[twin, coin(2, 5), twin], &[190])]);
    assert_eq!(refused, Reject::DuplicateInput { outpoint: twin.input.outpoint });
}

/// Goal: nor where a transaction is looked at alone, as those that wait for a block are.
#[test]
fn duplicate_input_of_a_lone_transaction_is_refused() {
    let twin = coin(1, 100);
    let transfer = pay(&Params::regtest(), &[twin, twin], &[190]);
    let size_bytes = spindle::primitives::codec::encode(&transfer).len();
    let refused = transfer.check(size_bytes, HEIGHT);
    assert_eq!(refused, Err(Reject::DuplicateInput { outpoint: twin.input.outpoint }));
}

/// Goal: nor twice under two claims, of which one must be false.
#[test]
fn duplicate_outpoint_with_another_amount_is_refused() {
    let params = Params::regtest();
    let mut other = coin(1, 100);
    other.input.amount = 50;
    let refused = transfers_refused(vec![pay(&params, &[coin(1, 100), other], &[140])]);
    assert_eq!(refused, Reject::DuplicateInput { outpoint: other.input.outpoint });
}

/// Goal: nor in two transactions of one block, be it from the ledger or made in the block itself.
#[test]
fn duplicate_input_across_two_transactions_is_refused() {
    let params = Params::regtest();
    let twin = coin(1, 100);
    let refused = transfers_refused(vec![pay(&params, &[twin], &[90]), pay(&params, &[twin], &[80])]);
    assert_eq!(refused, Reject::DuplicateInput { outpoint: twin.input.outpoint });

    let parent = pay(&params, &[twin], &[90]);
    let child = coin_from(&parent, 0);
    let refused = transfers_refused(vec![parent, pay(&params, &[child], &[80]), pay(&params, &[child], &[70])]);
    assert_eq!(refused, Reject::DuplicateInput { outpoint: child.input.outpoint });
}

/// Goal: nor in two blocks.
#[test]
fn double_spend_in_a_later_block_is_refused() {
    let params = Params::regtest();
    let spent = coin(1, 100);
    let mut ledger = judge(&params, &[spent], &block(&params, vec![pay(&params, &[spent], &[90])])).expect("valid");
    let again = block_at(&params, HEIGHT + 1, vec![pay(&params, &[spent], &[80])]);
    let checked = check(&params, &again).expect("the ledger's to see");
    let refused = ledger.apply(checked.spent(), checked.created());
    assert_eq!(refused, Err(Reject::MissingCoin { coin: spent.input.coin() }));
}

/// Goal: a coin of nothing can be neither spent nor made.
#[test]
fn zero_amounts_are_refused() {
    let params = Params::regtest();
    assert_eq!(transfers_refused(vec![pay(&params, &[coin(1, 100)], &[50, 0])]), Reject::ZeroAmount);
    assert_eq!(transfers_refused(vec![pay(&params, &[coin(1, 100), coin(2, 0)], &[50])]), Reject::ZeroAmount);
    judge(&params, &[coin(1, 2)], &block(&params, vec![pay(&params, &[coin(1, 2)], &[1])])).expect("1 is enough");
}

/// Goal: a sum that leaves 64 bits is refused, not wrapped: of inputs, of outputs, of a block's fees,
/// of fees and reward. Method: each wraps to a small, balanced number.
#[test]
fn overflowing_sums_are_refused() {
    let params = Params::regtest();
    let huge = coin(1, u64::MAX);
    let spent = pay(&params, &[huge, coin(3, 2)], &[1]);
    let made = pay(&params, &[coin(3, 2)], &[u64::MAX, 2]);
    // Fees of 2^63 and 2^63 + 5, which wrap to 5: a fee that reward could be added to.
    let (half, more) = (coin(1, (1 << 63) + 1), coin(2, (1 << 63) + 6));
    let fees = vec![pay(&params, &[half], &[1]), pay(&params, &[more], &[1])];
    let reward = vec![pay(&params, &[huge], &[1])];
    for transfers in [vec![spent], vec![made], fees, reward] {
        assert_eq!(transfers_refused(transfers), Reject::SumOverflows);
    }
}

/// Goal: no money from nowhere, but all of it may be passed on.
#[test]
fn spending_more_than_the_inputs_is_refused() {
    let params = Params::regtest();
    let coins = [coin(1, 100), coin(2, 60)];
    let refused = transfers_refused(vec![pay(&params, &coins, &[100, 61])]);
    assert_eq!(refused, Reject::SpendsMoreThanItHas { spent: 160, made: 161 });
    judge(&params, &coins, &block(&params, vec![pay(&params, &coins, &[100, 60])])).expect("no fee is valid");
}

/// Goal: what an input says of its coin must be so: amount, key, maturity, place.
/// Method: every claim is well signed and consistent in itself; only the ledger can tell.
#[test]
fn claims_that_differ_from_the_coin_are_refused() {
    let params = Params::regtest();
    let real = coin(1, 100);
    let claims: [fn(&mut common::Coin); 6] = [
        |coin| coin.input.amount = 101,
        |coin| coin.input.amount = 99,
        |coin| (coin.input.key, coin.owner) = (secret(2).public(), 2),
        |coin| coin.input.matures_at = 1,
        |coin| coin.input.outpoint.index = 1,
        |coin| coin.input.outpoint.transaction = Hash::sha256d(b"nowhere"),
    ];
    for claim in claims {
        let mut told = real;
        claim(&mut told);
        let refused = judge(&params, &[real], &block(&params, vec![pay(&params, &[told], &[90])]));
        assert_eq!(refused, Err(Reject::MissingCoin { coin: told.input.coin() }));
        assert_eq!(refused.map_err(|reject| reject.blame()).err(), Some(Blame::Block));
    }
    judge(&params, &[real], &block(&params, vec![pay(&params, &[real], &[90])])).expect("the truth passes");
}

/// Goal: one key may own many coins (RULES 36).
#[test]
fn two_inputs_with_one_key_are_valid() {
    let params = Params::regtest();
    let coins = [coin_of(1, 1, 100), coin_of(1, 2, 60)];
    assert_eq!(coins[0].input.key, coins[1].input.key);
    let ledger = judge(&params, &coins, &block(&params, vec![pay(&params, &coins, &[150])])).expect("valid");
    assert_eq!(ledger.len(), 2, "the payment and the coinbase");
}

// --- signatures ---

/// Goal: a signature for one network is none on another.
#[test]
fn signature_for_another_network_is_refused() {
    let params = Params::regtest();
    let coins = [coin(1, 100)];
    let foreign = pay(&Params::local(), &coins, &[90]);
    assert_ne!(foreign, pay(&params, &coins, &[90]));
    let transaction = foreign.id();
    assert_eq!(transfers_refused(vec![foreign]), Reject::BadSignature { transaction });
}

/// Goal: a signature holds for its own input only. Method: two inputs of one key, signatures swapped.
#[test]
fn signature_of_another_input_is_refused() {
    let params = Params::regtest();
    let coins = [coin_of(1, 1, 100), coin_of(1, 2, 60)];
    let mut messages = Vec::new();
    let honest = unsigned(&coins, outputs(&[90]), false).signed(params.genesis_id(), |_, message| {
        messages.push(*message);
        secret(1).sign(message)
    });
    judge(&params, &coins, &block(&params, vec![honest.clone()])).expect("valid in order");
    let swapped = honest.signed(params.genesis_id(), |place, _| secret(1).sign(&messages[1 - place]));
    let transaction = swapped.id();
    assert_eq!(transfers_refused(vec![swapped]), Reject::BadSignature { transaction });
}

/// Goal: signatures cover every byte before them (RULES 22). Method: each field is altered after signing
/// in a way that breaks no other rule, and the culprit is named among honest neighbours.
#[test]
fn any_change_after_signing_is_refused() {
    let params = Params::regtest();
    let coins = [coin(1, 100), coin(2, 60)];
    let changes: [fn(&mut Transaction); 10] = [
        |transfer| transfer.tx_key = Key([8; 32]),
        |transfer| transfer.note = None,
        |transfer| transfer.note = Some([0; 80]),
        |transfer| transfer.outputs = vec![transfer.outputs[0]].try_into().expect("fewer"),
        |transfer| edit_output(transfer, |output| output.view_tag ^= 1),
        |transfer| edit_output(transfer, |output| output.amount -= 1),
        |transfer| edit_output(transfer, |output| output.key = Key([1; 32])),
        |transfer| edit_input(transfer, |input| input.amount += 1),
        |transfer| edit_input(transfer, |input| input.matures_at = 1),
        |transfer| edit_input(transfer, |input| input.outpoint.index = 1),
    ];
    let honest = sign(params.genesis_id(), &coins, unsigned(&coins, outputs(&[80, 60]), true));
    for change in changes {
        let mut altered = honest.clone();
        change(&mut altered);
        assert_ne!(altered, honest);
        let transaction = altered.id();
        let (before, after) = (pay(&params, &[coin(3, 9)], &[1]), pay(&params, &[coin(4, 9)], &[1]));
        assert_eq!(transfers_refused(vec![before, altered, after]), Reject::BadSignature { transaction });
    }
    judge(&params, &coins, &block(&params, vec![honest])).expect("unaltered it is valid");
}

fn edit_output(transfer: &mut Transaction, edit: fn(&mut spindle::blockchain::transaction::Output)) {
    let mut all = transfer.outputs.to_vec();
    edit(&mut all[0]);
    transfer.outputs = all.try_into().expect("as many");
}

fn edit_input(transfer: &mut Transaction, edit: fn(&mut Input)) {
    let mut all = transfer.inputs.to_vec();
    edit(&mut all[1]);
    transfer.inputs = all.try_into().expect("as many");
}

/// Goal: what nobody signed makes a claim for each input, and none of them holds.
#[test]
fn unsigned_transaction_never_verifies() {
    let params = Params::regtest();
    let transfer = unsigned(&[coin(1, 100), coin(2, 60)], outputs(&[90]), false);
    let claims: Vec<_> = transfer.claims(params.genesis_id()).collect();
    assert_eq!(claims.len(), 2);
    assert!(claims.iter().all(|claim| !claim.holds()));
    assert_eq!(common::verifier().verify(&claims), Err(0));
}

// --- order within a block ---

/// Goal: a coin made and spent in one block touches the ledger not at all.
#[test]
fn parent_before_child_is_valid_and_leaves_no_trace_of_the_coin_between() {
    let params = Params::regtest();
    let root = coin(1, 100);
    let parent = pay(&params, &[root], &[50, 40]);
    let between = coin_from(&parent, 1);
    let child = pay(&params, &[between], &[30]);
    let family = block(&params, vec![parent.clone(), child.clone()]);
    let checked = check(&params, &family).expect("valid");
    assert_eq!(checked.spent(), [root.input.coin()]);
    let kept = [coin_from(&parent, 0), coin_from(&child, 0)].map(|coin| coin.input.coin());
    assert_eq!(checked.created().len(), 3);
    assert_eq!(checked.created()[..2], kept);
    assert!(!checked.created().contains(&between.input.coin()));

    let mut ledger = ledger_with(&[root]);
    let before = ledger.clone();
    ledger.apply(checked.spent(), checked.created()).expect("there");
    ledger.undo(checked.spent(), checked.created());
    assert_eq!(ledger, before);
}

/// Goal: a chain of coins as long as a list of transactions leaves its first and its last coin.
#[test]
fn long_family_in_one_block_is_valid() {
    let params = Params::regtest();
    let root = coin(1, 1_000);
    let mut transfers = vec![pay(&params, &[root], &[999])];
    for amount in (900..999).rev() {
        let parent = coin_from(&transfers[transfers.len() - 1], 0);
        transfers.push(pay(&params, &[parent], &[amount]));
    }
    let checked = check(&params, &block(&params, transfers.clone())).expect("valid");
    assert_eq!((checked.spent().len(), checked.created().len()), (1, 2));
    assert_eq!(checked.created()[0], coin_from(&transfers[99], 0).input.coin());
}

/// Goal: a child before its parent misses its coin.
#[test]
fn child_before_parent_is_refused() {
    let params = Params::regtest();
    let root = coin(1, 100);
    let parent = pay(&params, &[root], &[90]);
    let between = coin_from(&parent, 0);
    let child = pay(&params, &[between], &[80]);
    let refused = judge(&params, &[root], &block(&params, vec![child.clone(), parent.clone()]));
    assert_eq!(refused, Err(Reject::MissingCoin { coin: between.input.coin() }));
    judge(&params, &[root], &block(&params, vec![parent, child])).expect("the other order is valid");
}

/// Goal: a family that spends a coin of another amount within the block is refused by the ledger.
#[test]
fn false_claim_about_a_coin_of_the_same_block_is_refused() {
    let params = Params::regtest();
    let root = coin(1, 100);
    let parent = pay(&params, &[root], &[90]);
    let mut told = coin_from(&parent, 0);
    told.input.amount = 91;
    let refused = judge(&params, &[root], &block(&params, vec![parent, pay(&params, &[told], &[80])]));
    assert_eq!(refused, Err(Reject::MissingCoin { coin: told.input.coin() }));
}

// --- sizes ---

/// A signed transaction of 38 + 148 · inputs + 41 · outputs bytes, and 80 more with a note.
fn sized(first: u64, inputs: u64, outputs: usize, note: bool) -> Transaction {
    let coins: Vec<_> = (first..first + inputs).map(|number| coin_of(1, number, 10_000)).collect();
    sign(Params::regtest().genesis_id(), &coins, unsigned(&coins, common::outputs(&vec![1; outputs]), note))
}

/// Goal: 65,536 bytes are a transaction and 65,537 are none.
#[test]
fn transaction_size_is_limited_to_the_byte() {
    // 38 bytes stand around the lists; the first sum that gives the wanted size is taken.
    let size = |inputs: usize, outputs: usize, note: usize| 38 + 148 * inputs + 41 * outputs + 80 * note;
    let find = |bytes: usize| {
        let all = (1..=442).flat_map(|i| (1..=OUTPUTS_MAX).flat_map(move |o| [(i, o, 0), (i, o, 1)]));
        let (i, o, n) = all.into_iter().find(|&(i, o, n)| size(i, o, n) == bytes).expect("a solution");
        sized(0, i as u64, o, n == 1)
    };
    let params = Params::regtest();
    let full = find(65_536);
    assert_eq!(spindle::primitives::codec::encode(&full).len(), 65_536);
    check(&params, &block(&params, vec![full])).expect("at the limit");
    assert_eq!(transfers_refused(vec![find(65_537)]), Reject::TransactionTooLarge { size_bytes: 65_537 });
}

/// Goal: inputs of a transaction stop at 460, which its bytes stop earlier: 442 fit.
/// Method: 442 and 443; then a list of 460 decodes (and is too many bytes) and one of 461 does not.
#[test]
fn inputs_of_a_transaction_are_limited() {
    let params = Params::regtest();
    check(&params, &block(&params, vec![sized(0, 442, 1, false)])).expect("442 inputs fit");
    for inputs in [443, 460] {
        let refused = transfers_refused(vec![sized(0, inputs, 1, false)]);
        assert!(matches!(refused, Reject::TransactionTooLarge { .. }), "{refused}");
    }
    let bytes = spindle::primitives::codec::encode(&sized(0, 460, 1, false));
    let one_more = [&bytes[..1], &461_u16.to_le_bytes(), &bytes[3..87], &bytes[3..], &[0; 64]].concat();
    let refused = check_bytes(&params, raw_block(&block(&params, vec![]), &[one_more])).expect_err("461");
    assert!(matches!(refused, Reject::Undecodable(_)), "{refused}");
    assert!(refused.to_string().contains("461"), "{refused}");
}

/// Goal: a transaction makes 1,024 coins and no more.
#[test]
fn outputs_of_a_transaction_are_limited() {
    let params = Params::regtest();
    let full = sized(0, 1, OUTPUTS_MAX, false);
    check(&params, &block(&params, vec![full.clone()])).expect("at the limit");
    let bytes = spindle::primitives::codec::encode(&full);
    let one_more = [&bytes[..87], &1_025_u16.to_le_bytes(), &bytes[89..130], &bytes[89..]].concat();
    let refused = check_bytes(&params, raw_block(&block(&params, vec![]), &[one_more])).expect_err("1025");
    assert!(matches!(refused, Reject::Undecodable(_)), "{refused}");
    assert!(refused.to_string().contains("1025"), "{refused}");
}

/// Goal: the transfers of a block make 8,192 coins and no more; the coinbase's own does not count.
#[test]
fn outputs_of_a_block_are_limited() {
    let params = Params::regtest();
    let mut transfers: Vec<_> = (0..8).map(|n| sized(n, 1, OUTPUTS_MAX, false)).collect();
    let checked = check(&params, &block(&params, transfers.clone())).expect("at the limit");
    assert_eq!(checked.created().len(), BLOCK_OUTPUTS_MAX + 1);
    transfers.push(sized(8, 1, 1, false));
    assert_eq!(transfers_refused(transfers), Reject::TooManyOutputs { outputs: BLOCK_OUTPUTS_MAX + 1 });
}

/// Goal: a block of 1,048,576 bytes is valid and one of a byte more is not, whose sender is blamed.
/// Method: 4,600 transactions, filled up with notes (80 bytes) and outputs (41).
#[test]
fn block_size_is_limited_to_the_byte() {
    let params = Params::regtest();
    let small: Vec<_> = (0..4_600).map(|n| sized(n, 1, 1, false)).collect();
    let filled = |notes: u64, more_outputs: usize| {
        let mut transfers = small.clone();
        (0..notes).for_each(|n| transfers[usize::try_from(n).expect("few")] = sized(n, 1, 1, true));
        transfers[4_599] = sized(4_599, 1, 1 + more_outputs, false);
        block(&params, transfers).to_bytes()
    };
    let full = filled(36, 32);
    assert_eq!(full.len(), 1 << 20);
    let read = ReadBlock::read(&params, full).expect("at the limit");
    assert_eq!(read.signatures(), 4_600);
    read.verified(&common::verifier()).expect("all signed");
    let over = filled(15, 73);
    let refused = check_bytes(&params, over).expect_err("a byte more");
    assert_eq!((refused.blame(), refused), (Blame::Sender, Reject::BlockTooLarge { size_bytes: (1 << 20) + 1 }));
}

/// Goal: bytes bound the inputs of a block before their own limit of 8,192 does: 7,074 fit.
/// Method: the fullest block there is (16 × 442 inputs, then what fits), and one input more.
#[test]
fn inputs_of_a_block_are_bounded_by_its_bytes() {
    let params = Params::regtest();
    let mut transfers: Vec<_> = (0..16).map(|n| sized(n * 1_000, 442, 1, false)).collect();
    transfers.push(sized(100_000, 2, 1, false));
    let read = ReadBlock::read(&params, block(&params, transfers.clone()).to_bytes()).expect("fits");
    assert_eq!(read.signatures(), 7_074);
    read.verified(&common::verifier()).expect("all signed");
    transfers[16] = sized(100_000, 3, 1, false);
    let refused = check(&params, &block(&params, transfers));
    assert!(matches!(refused, Err(Reject::BlockTooLarge { .. })), "{refused:?}");
}

/// Goal: the helper's fee is the rule's fee, so that valid blocks above are valid for the right reason.
#[test]
fn fee_is_what_is_spent_less_what_is_made() {
    let params = Params::regtest();
    let transfer = pay(&params, &[coin(1, 100), coin(2, 60)], &[90, 60]);
    let size_bytes = spindle::primitives::codec::encode(&transfer).len();
    assert_eq!((transfer.check(size_bytes, HEIGHT), fee(&transfer)), (Ok(10), 10));
}
