//! The wallet: what it derives, finds, pays, proves and keeps.

mod common;
#[path = "wallet/file.rs"]
mod file;
#[path = "wallet/node.rs"]
mod node;
#[path = "wallet/story.rs"]
mod story;
#[path = "wallet/sync.rs"]
mod sync;
#[path = "wallet/world.rs"]
mod world;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use spindle::blockchain::block::ReadBlock;
use spindle::blockchain::params::{COIN, NetworkSpec, Params};
use spindle::blockchain::payout::Payout;
use spindle::blockchain::transaction::{Input, Outpoint};
use spindle::primitives::codec::{decode, encode};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, Verifier};
use spindle::primitives::stealth::{Address, TxSecret};
use spindle::wallet::keys::{Coin, SpendKeys, ViewKeys};
use spindle::wallet::proof::{Proof, ProofError};
use spindle::wallet::send::{self, DUST, FEE_RATE_MIN, LeftOut, Plan, Request, SendError};
use spindle::wallet::state::{Balance, Mark, SendFault, Sent, State};
use spindle::wallet::text::TextError;
use spindle::wallet::{address, history, note, scan, words};
use world::{Person, World};

// Computed by tests/vectors/wallet.py, which shares nothing with this program.
const ADDRESS: &str = "\
     regtest1qx94u8de0hx245tkuamwzry4dc0ct248up52szgr07syfdaxfccm38lnqupde78mwaq5ef0mwql0rhklnapr5gmvez4rxzkk\
     g9vw9sxpf4qj63grz8mss";
const VIEW_KEY: &str = "\
     regtest-view1qx94u8defc4s4zr7s4edj5scekntz4gxgzyv60v42tc6t8p9hxtt99xlruxae78mwaq5ef0mwql0rhklnapr5gmvez4\
     rxzkkg9vw9sxpf4qj63gdf5a6y";
const A: &str = "4e2b0a887e8572d95218cda6b155064088cd3d9552f1a59c25b996b294df1f0d";
const B: &str = "3c4883af47bf5feaa607ee11863f98487391cd6dfe65eb7fbb77fedc1d147507";
const K: &str = "b92d5b4cf70157c62d337f9b7ed963a96deda7d2f35aa605aa546396289cc733";
const COINBASE: &str = "\
     0107000000000000004ef5f177000000002e6060c9fb63bdacef7443db1f4d42a8ee2c3bfe54d603cb40cf3b01502b2aaa003c74\
     f47d89587df8fd3b55fe3d3645d2c6dc98d4bd127687ab99befae1a3497e";
const TRANSACTION: &str = "\
     010100129524409da7d8c1e6a51a3ae9802877972069ae0c2b6fa1888fd24636a27794000000004ef5f177000000002e6060c9fb\
     63bdacef7443db1f4d42a8ee2c3bfe54d603cb40cf3b01502b2aaa11000000000000000200a88d245a00000000797a195e5fa060\
     e7ba57a01f63803463429a88ea2ec43c5dbb6db1f56229d771280065cd1d000000001f5dadb3a550cc26a8172805db3da482847c\
     9a2b0c82724fc651d616e16fe9d01515e656b3a16e37e02a79d816ee332b3ba221e062e560c8c77ef53d026202f6c901e6124ce4\
     4d126e4ff5d1f11f57ef5803f152b541f4465f50c366eb7ce6ac7c44e69fb6f2df6d5a73897ba13d52da9b9af72faa04647251b3\
     dd877fc6acf070247a8f3c90f18f89a9aed5855b3a47b58b53e1c78a0b836204be5043a7a5090964dc068a87027b2f8907955820\
     0bc3ae5900874696df357308f1b7a0ac5955a9e51593247af062693608b6414a698f2d00";
const PROOF: &str = "\
     regtest-proof1qx94u8deyjjdmys230c4cz8ycf9usfjh9lxf25ww7cr9mvr6aeqeq29xk5k4044cxyf2cn9fl8egu6lhce8h8qt7yr\
     r90674txqvkvfu343dqpvsradk5gc7ycsq59m05wljp9xdfptrpu5y6dkweuh4vh25rfssqugqnlsm";

const ALICE_WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage \
                           worth useful legal winner thank year wave sausage worth title";

/// Alice of the vectors.
fn alice() -> SpendKeys {
    SpendKeys::from_seed(&words::to_seed(ALICE_WORDS).expect("twenty-four good words"))
}

/// Bob of the vectors.
fn bob() -> SpendKeys {
    SpendKeys::from_seed(&words::from_entropy(&[0; 32]).1)
}

fn address_of(params: &Params, keys: &SpendKeys) -> Address {
    keys.view().address(params.genesis_id())
}

/// The coinbase of the vectors, as a coin of Alice's.
fn vector_coin(params: &Params) -> Coin {
    let payout = Payout::Address { address: Box::new(address_of(params, &alice())), node_secret: [3; 32] };
    let prev = Hash(std::array::from_fn(|n| u8::try_from(n).expect("below 32")));
    let coinbase = payout.coinbase(7, prev, 2_012_345_678);
    assert_eq!(hex::encode(encode(&coinbase)), COINBASE);
    let outpoint = Outpoint { transaction: coinbase.id(), index: 0 };
    let (amount, key) = (coinbase.output.amount, coinbase.output.key);
    Coin { input: Input { outpoint, amount, key, matures_at: 17 }, tx_key: coinbase.tx_key }
}

/// The plan of the vectors: Alice pays Bob 5 coins and a note.
fn vector_plan(params: &Params) -> Plan {
    let address = address_of(params, &bob());
    let coins = vec![vector_coin(params)];
    Plan { address, amount: 5 * COIN, fee: 678, change: 1_512_345_000, coins, note: "für das Brot".into() }
}

/// Goal: everything that must be the same in any program that follows RULES 32 to 38 is, to the byte: keys,
/// address, one-time keys, view tags, signature, note, proof.
/// Method: one payment, from words to proof, against a second computation in Python.
#[test]
fn derivation_payment_and_proof_equal_an_independent_computation() {
    let params = Params::regtest();
    let (alice, bob) = (alice(), bob());
    let (view, _) = alice.view().to_bytes();
    assert_eq!(hex::encode(*view), A);
    let bytes = |text: &str| <[u8; 32]>::try_from(hex::decode(text).expect("hex")).expect("32 bytes");
    let spend = Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes(B))).expect("reduced");
    assert_eq!(alice.view().spend_point(), &EdwardsPoint::mul_base(&spend));
    let to_alice = address_of(&params, &alice);
    assert_eq!(address::show(&params, &to_alice), ADDRESS);
    assert_eq!(address::parse(&params, ADDRESS), Ok(to_alice));
    assert_eq!(*alice.view().show(&params), VIEW_KEY);
    assert_eq!(ViewKeys::parse(&params, VIEW_KEY).as_ref(), Ok(alice.view()));
    // RULES 34 with the k of the vectors: the same R as in the transaction below.
    let coin = vector_coin(&params);
    let outpoint = encode(&coin.input.outpoint);
    let tx_key = TxSecret::of("spindle/tx-key/1", &[&bytes(K), &outpoint]).public();

    let plan = vector_plan(&params);
    let transaction = plan.sign(&alice, params.genesis_id(), true);
    assert_eq!(hex::encode(encode(&transaction)), TRANSACTION);
    assert_eq!(transaction.tx_key, tx_key);
    assert!(transaction.claims(params.genesis_id()).all(|claim| claim.holds()));
    assert_eq!(transaction.check(TRANSACTION.len() / 2, 17), Ok(678));

    let seen = scan::transaction(bob.view(), &transaction);
    assert_eq!(seen.received.iter().map(|coin| coin.input.amount).collect::<Vec<_>>(), [5 * COIN]);
    assert_eq!((seen.note.as_deref(), seen.fee), (Some("für das Brot"), 678));
    let own = scan::transaction(alice.view(), &transaction);
    assert_eq!((own.received.len(), own.note), (1, None), "the note is for Bob's eyes");

    let proof = Proof::make(&alice, &transaction, &plan.address).expect("Alice sent it");
    assert_eq!(proof.show(&params), PROOF);
    assert_eq!(Proof::parse(&params, PROOF), Ok(proof));
}

/// Goal: a proof holds for what it is about and for nothing else, and only the sender can make one.
/// Method: another address, another transaction, another sender, each letter changed, a point with torsion.
#[test]
fn a_proof_proves_one_payment_and_nothing_else() {
    let params = Params::regtest();
    let (alice, bob) = (alice(), bob());
    let plan = vector_plan(&params);
    let transaction = plan.sign(&alice, params.genesis_id(), true);
    let proof = Proof::parse(&params, PROOF).expect("the vector");
    let paid = proof.check(&transaction, &plan.address).expect("it holds");
    assert_eq!((paid.amount, &*paid.outputs, paid.note.as_deref()), (5 * COIN, &[1][..], Some("für das Brot")));
    let to_alice = address_of(&params, &alice);
    assert_eq!(proof.check(&transaction, &to_alice), Err(ProofError::DoesNotHold));
    let other = Plan { amount: 4 * COIN, fee: 678 + COIN, ..plan.clone() }.sign(&alice, params.genesis_id(), true);
    assert_eq!(proof.check(&other, &plan.address), Err(ProofError::DoesNotHold), "the same r, another transaction");
    assert_eq!(Proof::make(&bob, &transaction, &plan.address), Err(ProofError::NotTheSender));
    let nobody = address_of(&params, &SpendKeys::from_seed(&words::from_entropy(&[1; 32]).1));
    assert_eq!(Proof::make(&alice, &transaction, &nobody), Err(ProofError::PaysNothing));
    // Change is a payment too.
    let change = Proof::make(&alice, &transaction, &to_alice).and_then(|proof| proof.check(&transaction, &to_alice));
    assert_eq!(change.map(|paid| paid.amount), Ok(plan.change));

    for bit in (5 * 8..101 * 8).step_by(7) {
        let mut bytes = bech32_bytes(PROOF);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let text = bech32_text("regtest-proof", &bytes);
        let verdict = Proof::parse(&params, &text).ok().map(|proof| proof.check(&transaction, &plan.address));
        assert!(verdict.is_none_or(|verdict| verdict == Err(ProofError::DoesNotHold)), "bit {bit}");
    }
    let mut bytes = bech32_bytes(PROOF);
    let shared: [u8; 32] = bytes[5..37].try_into().expect("32 bytes");
    let point = curve25519_dalek::edwards::CompressedEdwardsY(shared).decompress().expect("a point");
    bytes[5..37].copy_from_slice(&(point + EIGHT_TORSION[4]).compress().0);
    let torsioned = Proof::parse(&params, &bech32_text("regtest-proof", &bytes)).expect("well written");
    assert_eq!(torsioned.check(&transaction, &plan.address), Err(ProofError::DoesNotHold));
}

fn bech32_bytes(text: &str) -> Vec<u8> {
    bech32::decode(text).expect("good letters").1
}

fn bech32_text(prefix: &str, bytes: &[u8]) -> String {
    bech32::encode::<bech32::Bech32m>(bech32::Hrp::parse(prefix).expect("plain"), bytes).expect("short")
}

/// Goal: coins never go to a mistyped, foreign or unsound address, and the message says what it is.
/// Method: every letter changed; other networks; keys of every wrong kind under a right checksum.
#[test]
fn addresses_that_must_not_be_paid_are_refused_by_name() {
    let params = Params::regtest();
    let parse = |text: &str| address::parse(&params, text);
    assert!(parse(&ADDRESS.to_uppercase()).is_ok() && parse(&format!(" {ADDRESS}\n")).is_ok());
    for at in 8..ADDRESS.len() {
        for letter in ["q", "p", "7"] {
            let mut text = ADDRESS.to_owned();
            text.replace_range(at..=at, letter);
            assert!(
                text == ADDRESS || matches!(parse(&text), Err(TextError::Malformed { .. } | TextError::Form { .. })),
                "{text}"
            );
        }
    }
    let local = address::show(&Params::local(), &alice().view().address(Params::local().genesis_id()));
    let named = TextError::OtherNetwork { found: "local".into(), expected: "regtest".into() };
    assert_eq!(parse(&local), Err(named));
    let twin = Params::new(NetworkSpec { maturity: 11, ..params.spec().clone() }).expect("sound");
    let of_twin = address::show(&twin, &alice().view().address(twin.genesis_id()));
    assert_eq!(parse(&of_twin), Err(TextError::OtherGenesis { name: "regtest".into() }));
    let kinds = TextError::OtherKind { found: "a view key", wanted: "an address" };
    assert_eq!(parse(VIEW_KEY), Err(kinds));
    assert!(
        parse("").is_err()
            && parse("regtest1").is_err()
            && parse("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq").is_err()
    );

    let good = bech32_bytes(ADDRESS);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&bech32_text("regtest", &bad))
    };
    assert_eq!(with(0, &[2]), Err(TextError::Version { version: 2 }));
    assert!(parse(&bech32_text("regtest", &good[..68])).is_err());
    let sound = *alice().view().spend_point();
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xf0, 0x7f);
    for at in [5, 37] {
        let unsound =
            |bytes: [u8; 32]| assert!(matches!(with(at, &bytes), Err(TextError::Unsound { .. })), "{bytes:?}");
        for point in EIGHT_TORSION {
            unsound(point.compress().0);
        }
        for point in &EIGHT_TORSION[1..] {
            unsound((sound + point).compress().0);
        }
        unsound(no_point);
        unsound(not_canonical);
    }
}

/// Goal: no view key is taken that is none. Method: zero, the group's order, an unsound spend key.
#[test]
fn unsound_view_keys_are_refused() {
    let (_, spend) = alice().view().to_bytes();
    let mut order = Scalar::ZERO - Scalar::ONE;
    assert!(ViewKeys::from_bytes(&order.to_bytes(), &spend).is_ok());
    order = Scalar::ONE;
    assert!(ViewKeys::from_bytes(&order.to_bytes(), &[0; 32]).is_err());
    assert!(ViewKeys::from_bytes(&[0; 32], &spend).is_err() && ViewKeys::from_bytes(&[0xff; 32], &spend).is_err());
}

/// Goal: a note is read by its receiver, or by nobody, and cannot drive a terminal.
/// Method: the greatest, one byte more, every bit changed, control characters from a hostile sender.
#[test]
fn notes_are_for_the_receiver_alone() {
    let shared = |tag: &str| TxSecret::of(tag, &[]).shared(&address_of(&Params::regtest(), &bob()));
    let (ours, other, tx_key) = (shared("a"), shared("b"), Key([9; 32]));
    let longest = "x".repeat(64);
    let sealed = note::seal(&ours, &tx_key, &longest).expect("it fits");
    assert_eq!(note::open(&ours, &tx_key, &sealed), Some(longest));
    assert_eq!(note::open(&other, &tx_key, &sealed), None);
    assert_eq!(note::open(&ours, &Key([8; 32]), &sealed), None, "bound to its transaction");
    for bit in 0..640 {
        let mut changed = sealed;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(note::open(&ours, &tx_key, &changed), None);
    }
    let text = note::seal(&ours, &tx_key, &"ü".repeat(33)).expect_err("66 bytes").to_string();
    assert!(text.contains("66") && text.contains("64"), "{text}");
    assert!(note::seal(&ours, &tx_key, "\u{1b}[2J").is_err());
    assert_eq!(note::open(&ours, &tx_key, &note::seal(&ours, &tx_key, "").expect("empty")), None);
}

/// Goal: a person is paid twice at one address and nobody can see that; a wallet restored from the words
/// finds all of it; one that only watches sees the same, and has no way to sign: signing takes `SpendKeys`,
/// which a `Secrets::Watch` does not give and no function makes of `ViewKeys`.
/// Method: mined coins, two payments, one with a note; then three ways to look at the same blocks.
#[test]
fn a_restored_wallet_finds_everything_and_a_watching_one_sees_it() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Person::new(&world, ALICE_WORDS), Person::from_entropy(&world, 0));
    for _ in 0..12 {
        world.mine(&mut [&mut alice, &mut bob], 0, vec![]);
    }
    let first = alice.pay(&world, &bob, 3 * COIN, "one");
    let second = alice.pay(&world, &bob, 4 * COIN, "");
    assert_eq!(bob.see(&first), Ok(true));
    assert_eq!(bob.see(&second), Ok(true));
    assert_eq!(bob.state.balance(), Balance { unconfirmed: 7 * COIN, ..Balance::default() });
    world.mine(&mut [&mut alice, &mut bob], 0, vec![first.clone(), second.clone()]);
    assert_eq!(bob.state.balance(), Balance { confirmed: 7 * COIN, ..Balance::default() });
    let mut keys: Vec<Key> =
        [&first, &second].iter().flat_map(|tx| tx.outputs.iter().map(|output| output.key)).collect();
    keys.extend([first.tx_key, second.tx_key]);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 6, "no key twice on the chain");

    for person in [&alice, &bob] {
        let restored = SpendKeys::from_seed(&words::to_seed(&person.words).expect("as they were shown"));
        let watching = ViewKeys::parse(&world.params, &restored.view().show(&world.params)).expect("as it was shown");
        for keys in [restored.view(), &watching] {
            let state = world.look(keys);
            assert_eq!(state.balance(), person.state.balance());
            assert!(state.unspent().eq(person.state.unspent()));
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let look = |pool| scan::blocks(bob.keys.view(), &world.params, &world.blocks, pool).expect("sound blocks");
    assert_eq!(look(Some(&pool)), look(None), "in order, on however many threads");
    let lines = history::of(&bob.state);
    let told: Vec<_> = lines.iter().map(|line| (line.amount, line.note.as_deref())).collect();
    assert!(told.contains(&(3 * COIN, Some("one"))) && told.contains(&(4 * COIN, None)) && told.len() == 2);
    let sent: Vec<_> = history::of(&alice.state).into_iter().filter(|line| line.address.is_some()).collect();
    assert_eq!(sent.iter().map(|line| line.amount).sum::<u64>(), 7 * COIN);
    assert!(
        sent.iter().all(|line| line.address == Some(bob.address) && line.fee == first_fee(&first, &second, line.id))
    );
    let total = |balance: Balance| u128::from(balance.confirmed + balance.unconfirmed + balance.immature);
    let supply = world.params.supply(13);
    assert_eq!(total(alice.state.balance()) + total(bob.state.balance()), supply, "fees went to Alice, the miner");
}

fn first_fee(
    first: &spindle::blockchain::transaction::Transaction,
    second: &spindle::blockchain::transaction::Transaction,
    id: Hash,
) -> u64 {
    let transaction = if first.id() == id { first } else { second };
    transaction.check(encode(transaction).len(), u64::MAX).expect("valid")
}

/// Goal: a coinbase to a plain key is ours only if the key is our spend key, and can then be spent; what has
/// no usable `R` is passed over. Method: a raw payout to us and to others; R of small order.
#[test]
fn raw_coinbases_and_small_order_keys_are_told_apart() {
    let params = Params::regtest();
    let keys = alice();
    let (mut world, mut person) = (World::new(), Person::new(&World::new(), ALICE_WORDS));
    world.mine_to(&mut [&mut person], &Payout::Key(keys.view().spend_key()), vec![]);
    world.mine_to(&mut [&mut person], &Payout::Key(bob().view().spend_key()), vec![]);
    let coins: Vec<_> = person.state.unspent().copied().collect();
    assert_eq!(coins.len(), 1);
    let one = keys.one_time(&coins[0]).expect("ours");
    assert_eq!(one.public(), coins[0].input.key);
    assert!(bob().one_time(&coins[0]).is_none());
    for point in EIGHT_TORSION {
        assert!(keys.view().shared(&Key(point.compress().0)).is_none());
    }
    let batch = [Key(EIGHT_TORSION[1].compress().0), vector_coin(&params).tx_key, Key([2; 32])];
    let one_by_one: Vec<_> = batch.iter().map(|key| keys.view().shared(key)).collect();
    assert_eq!(keys.view().shared_all(&batch), one_by_one);
    // R with a torsion part: 8 clears it, on both ways.
    let secret = TxSecret::of("test", &[]);
    let point = curve25519_dalek::edwards::CompressedEdwardsY(secret.public().0).decompress().expect("a point");
    let torsioned = Key((point + EIGHT_TORSION[3]).compress().0);
    assert_eq!(keys.view().shared(&torsioned), Some(secret.shared(&address_of(&params, &keys))));
}

/// Goal: what a node serves is believed only as far as it can be checked (RULES 41).
/// Method: a block with one byte changed in the body, one that skips a height, one of another branch.
#[test]
fn blocks_that_do_not_fit_are_refused() {
    let mut world = World::new();
    let mut person = Person::new(&world, ALICE_WORDS);
    world.mine(&mut [&mut person], 0, vec![]);
    let bytes = world.blocks[0].clone();
    for at in 100..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(scan::block(person.keys.view(), &world.params, &bad).is_err(), "byte {at}");
    }
    let again = scan::block(person.keys.view(), &world.params, &bytes).expect("as it was");
    let refused = person.state.apply(&again).expect_err("it is there already").to_string();
    assert!(refused.contains("block 1 ") && refused.contains("height 1"), "{refused}");
}

/// Goal: 1,000 random reorganisations leave each wallet with what a recomputation finds; nothing of a
/// waiting payment is lost that could still be mined; all balances add up to the supply.
/// Method: three people who mine and pay at random; after each reorganisation fresh wallets look at the
/// active chain, and are shown what still waits.
#[test]
fn a_thousand_reorganisations_equal_a_recomputation() {
    let seed = 0x5eed;
    println!("seed {seed}");
    story::tell(seed, 1_000);
}

/// Goal: what cannot be sent is refused with the figure and its limit; what can be sent keeps every rule.
/// Method: each refusal in turn; then the greatest payment that the coins allow, in a block.
#[test]
fn refusals_name_figure_and_limit() {
    let mut world = World::new();
    let (mut alice, bob) = (Person::new(&world, ALICE_WORDS), Person::from_entropy(&world, 0));
    let ask = |person: &Person, amount, fee_rate| {
        send::plan(&person.state, &Request { address: bob.address, amount, fee_rate, note: "" })
    };
    let text = |verdict: Result<Plan, SendError>| verdict.expect_err("refused").to_string();
    assert!(text(ask(&alice, DUST - 1, FEE_RATE_MIN)).contains("0.00000299 is too little to send (limit 0.00000300)"));
    assert!(text(ask(&alice, COIN, 999)).contains("999 units") && text(ask(&alice, COIN, 999)).contains("limit 1000"));
    assert!(matches!(ask(&alice, COIN, FEE_RATE_MIN), Err(SendError::TooMuch { spendable: 0, .. })));
    world.mine(&mut [&mut alice], 0, vec![]);
    let immature = text(ask(&alice, COIN, FEE_RATE_MIN));
    assert!(
        immature.contains("20.20000000 more is mined and immature") && immature.contains("height 10"),
        "{immature}"
    );
    for _ in 0..9 {
        world.mine(&mut [&mut alice], 0, vec![]);
    }
    let one = world.params.reward(1);
    assert_eq!(alice.state.balance().confirmed, one);
    // One input, one output: 38 + 148 + 41 bytes.
    let all = one - 227;
    assert!(matches!(ask(&alice, all + 1, FEE_RATE_MIN), Err(SendError::Immature { fee: 227, .. })));
    let plan = ask(&alice, all, FEE_RATE_MIN).expect("just enough");
    assert_eq!((plan.fee, plan.change), (227, 0));
    // Change that would be dust goes to the miner.
    let plan = ask(&alice, all - 41 - 299, FEE_RATE_MIN).expect("enough");
    assert_eq!((plan.fee, plan.change), (227 + 41 + 299, 0));
    let plan = ask(&alice, all - 41 - 300, FEE_RATE_MIN).expect("enough");
    assert_eq!((plan.fee, plan.change), (268, 300));
    let long = "y".repeat(65);
    let request = Request { address: bob.address, amount: COIN, fee_rate: FEE_RATE_MIN, note: &long };
    assert!(matches!(send::plan(&alice.state, &request), Err(SendError::Note(_))));
    assert!(text(ask(&alice, u64::MAX, u64::MAX)).contains("more than can be spent now"));
}

/// Goal: all there is can be sent, to the last unit, and what cannot be is named by its cause, each coin once.
/// Method: one coin that is mature; change that waits; a payment from somebody else; a fee beyond any coin.
#[test]
fn all_can_be_sent_and_what_is_left_out_is_named() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Person::new(&world, ALICE_WORDS), Person::from_entropy(&world, 0));
    let address = bob.address;
    let request = |fee_rate| Request { address, amount: 0, fee_rate, note: "" };
    let most = |person: &Person, fee_rate| {
        let request = request(fee_rate);
        send::plan(&person.state, &Request { amount: send::most(&person.state, &request)?, ..request })
    };
    assert!(matches!(most(&alice, FEE_RATE_MIN), Err(SendError::TooMuch { spendable: 0, .. })));
    for _ in 0..10 {
        world.mine(&mut [&mut alice], 0, vec![]);
    }
    let plan = most(&alice, FEE_RATE_MIN).expect("one coin");
    assert_eq!((plan.amount, plan.fee, plan.change), (world.params.reward(1) - 227, 227, 0));

    // One input, two outputs: 38 + 148 + 82 bytes.
    let paid = alice.pay(&world, &bob, COIN, "");
    let plan = most(&alice, FEE_RATE_MIN).expect("the change");
    assert_eq!((plan.amount, plan.fee, plan.change), (world.params.reward(1) - COIN - 268 - 227, 227, 0));
    let left_out = |verdict| match verdict {
        Err(SendError::TooMuch { spendable: 0, left_out, .. }) => left_out,
        other => panic!("{other:?}"),
    };
    let LeftOut { waiting, immature, small } = left_out(most(&alice, u64::MAX));
    let balance = alice.state.balance();
    assert_eq!((waiting, immature, small), (0, balance.immature, balance.unconfirmed));
    assert_eq!(bob.see(&paid), Ok(true));
    assert_eq!(left_out(most(&bob, FEE_RATE_MIN)), LeftOut { waiting: COIN, ..LeftOut::default() });
    let said = most(&bob, FEE_RATE_MIN).expect_err("it waits").to_string();
    assert!(said.ends_with("than can be spent now (0.00000000); 1.00000000 more waits for a block"), "{said}");
}

/// Goal: a payment that needs more coins than fit is refused with what can be sent; exactly that can, and
/// keeps all rules: 65,536 bytes, every signature, in a block.
/// Method: 500 small coins in one wallet.
#[test]
fn as_many_coins_as_fit_are_spent_at_once() {
    let params = Params::regtest();
    let keys = alice();
    let to_alice = address_of(&params, &keys);
    let mut state = State::new(Mark { height: 0, id: params.genesis_id() });
    for n in 0..500_u64 {
        let secret = TxSecret::of("coins", &[&n.to_le_bytes()]);
        let shared = secret.shared(&to_alice);
        let outpoint = Outpoint { transaction: Hash::sha256d(&n.to_le_bytes()), index: 0 };
        let input = Input { outpoint, amount: 1_000_000, key: shared.key(0, to_alice.spend()), matures_at: 0 };
        let received = vec![Coin { input, tx_key: secret.public() }];
        let seen =
            scan::Seen { id: outpoint.transaction, coinbase: true, inputs: vec![], received, fee: 0, note: None };
        let prev = state.tip();
        let block = scan::SeenBlock {
            height: prev.height + 1,
            id: Hash::sha256d(&outpoint.transaction.0),
            prev: prev.id,
            time: n,
            transactions: vec![seen],
        };
        state.apply(&block).expect("in order");
    }
    let ask = |amount| {
        let request = Request { address: address_of(&params, &bob()), amount, fee_rate: FEE_RATE_MIN, note: "" };
        send::plan(&state, &request)
    };
    let Err(SendError::TooManyCoins { limit, sendable, .. }) = ask(450_000_000) else { panic!("450 coins do not fit") };
    assert_eq!(limit, 442);
    let plan = ask(sendable).expect("that much can be sent");
    assert!(ask(sendable + 1).is_err() && ask(500_000_000).is_err());
    let all = Request { address: to_alice, amount: 0, fee_rate: FEE_RATE_MIN, note: "" };
    assert!(
        matches!(send::most(&state, &all), Err(SendError::TooManyCoins { sendable: most, .. }) if most == sendable)
    );
    let transaction = plan.sign(&keys, params.genesis_id(), false);
    let bytes = encode(&transaction);
    assert!(bytes.len() <= 65_536 && bytes.len() + 148 > 65_536, "{}", bytes.len());
    assert_eq!(transaction.check(bytes.len(), 1), Ok(plan.fee));
    assert!(u128::from(plan.fee) * 1_000 >= bytes.len() as u128 * u128::from(FEE_RATE_MIN));
    let block = world::block_of(&params, *params.genesis(), &Payout::Key(Key([7; 32])), vec![transaction]);
    let verifier = Verifier::new([1; 32], None);
    ReadBlock::read(&params, block.to_bytes()).expect("every rule").verified(&verifier).expect("every signature");
}

/// Goal: one key never encrypts two notes, not even if the first payment was refused and is forgotten; the same
/// note, none, or another receiver is fine. Method: one plan, with each note, before and after the file.
#[test]
fn a_forgotten_payment_keeps_its_note() {
    let mut world = World::new();
    let (mut alice, bob) = (Person::new(&world, ALICE_WORDS), Person::from_entropy(&world, 0));
    for _ in 0..12 {
        world.mine(&mut [&mut alice], 0, vec![]);
    }
    let request = Request { address: bob.address, amount: COIN, fee_rate: FEE_RATE_MIN, note: "rye bread" };
    let plan = send::plan(&alice.state, &request).expect("there is enough");
    let send = |state: &mut State, plan: &Plan| {
        let transaction = plan.sign(&alice.keys, world.params.genesis_id(), false);
        let (id, seen) = (transaction.id(), scan::transaction(alice.keys.view(), &transaction));
        let sent = Sent { address: plan.address, amount: plan.amount, transaction: Some(transaction) };
        state.send(&seen, sent, &plan.note, 1_000).map(|()| id)
    };
    let mut state = alice.state.clone();
    let first = send(&mut state, &plan).expect("unspent coins");
    state.forget(&first);
    assert_eq!(state.balance(), alice.state.balance());
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    let state = State::decode(&bytes).expect("as it was written");
    let verdict = |plan: &Plan| send(&mut state.clone(), plan).map(|_| ());
    assert_eq!(verdict(&Plan { note: "oat bread".into(), ..plan.clone() }), Err(SendFault::OtherNote));
    assert_eq!(verdict(&plan), Ok(()));
    assert_eq!(verdict(&Plan { note: String::new(), ..plan.clone() }), Ok(()));
    let other = Plan { address: alice.address, note: "oat bread".into(), ..plan.clone() };
    assert_eq!(verdict(&other), Ok(()));
}

/// Goal: a waiting payment and all else that a wallet knows survives the file. Method: encode and decode.
#[test]
fn state_survives_its_encoding() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Person::new(&world, ALICE_WORDS), Person::from_entropy(&world, 0));
    for _ in 0..12 {
        world.mine(&mut [&mut alice, &mut bob], 0, vec![]);
    }
    let sent = alice.pay(&world, &bob, 3 * COIN, "one");
    bob.see(&sent).expect("no conflict");
    for person in [&alice, &bob] {
        let mut bytes = Vec::new();
        person.state.encode(&mut bytes);
        assert_eq!(State::decode(&bytes).as_ref(), Ok(&person.state));
        assert!((0..bytes.len()).all(|length| State::decode(&bytes[..length]).is_err()));
    }
    assert!(alice.state.to_offer().eq([&sent]) && bob.state.to_offer().next().is_none());
    bob.state.keep_waiting(|_| false);
    alice.state.keep_waiting(|_| false);
    assert_eq!((bob.state.balance().unconfirmed, alice.state.to_offer().count()), (0, 1));
    // An address in a record is checked when it is read.
    assert!(decode::<Sent>(&[0; 69 + 9]).is_err());
}

/// Goal: whoever has many confirmed coins can pay many times in a row: change that waits is left alone, since
/// nodes take 25 in a row and no more. Method: 30 payments, each of one coin or, with the last, of several.
#[test]
fn change_that_waits_is_spent_last() {
    let mut world = World::new();
    let (mut alice, bob) = (Person::new(&world, ALICE_WORDS), Person::from_entropy(&world, 0));
    for _ in 0..50 {
        world.mine(&mut [&mut alice], 0, vec![]);
    }
    for n in 0..30 {
        let amount = if n < 28 { COIN } else { 30 * COIN };
        let paid = alice.pay(&world, &bob, amount, "");
        let mut parents = paid.inputs.iter().map(|input| alice.state.record(&input.outpoint.transaction));
        assert!(parents.all(|parent| parent.is_some_and(|parent| parent.coinbase)), "payment {n}");
    }
    // All that is confirmed and some change.
    let confirmed = alice.state.balance().confirmed;
    let paid = alice.pay(&world, &bob, confirmed + COIN, "");
    assert!(
        paid.inputs.iter().any(|input| alice.state.record(&input.outpoint.transaction).expect("ours").sent.is_some())
    );
}
