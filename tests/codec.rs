//! Exact bytes: vectors for every format on which nodes must agree, and one encoding for one value.
//!
//! The vectors were put together by hand, field by field, in another language. A list's count is a
//! `u16`, so no lie in one can ask for more than 65,535 elements of at most 248 bytes: what is left to
//! show is that work follows the bytes that came and not the count (`elements_decoded_follow_bytes`).

mod common;

use std::cell::Cell;

use common::{block, coin, outputs, sign, unsigned};
use proptest::prelude::*;
use spindle::blockchain::block::{Block, COINBASE_BYTES, HEADER_BYTES, Header, ReadBlock, TRANSFERS_MAX};
use spindle::blockchain::params::{BLOCK_BYTES_MAX, INPUTS_MAX, OUTPUTS_MAX, Params};
use spindle::blockchain::reject::Reject;
use spindle::blockchain::transaction::{
    CoinId, Coinbase, Input, Outpoint, Output, TRANSACTION_BYTES_MIN, Transaction, VERSION,
};
use spindle::primitives::codec::by_hand::{DecodeError, Decoder};
use spindle::primitives::codec::{CodecError, Decode, Encode, List, decode, decode_prefix, encode};
use spindle::primitives::frame::{FrameHeader, HEADER_BYTES as FRAME_HEADER_BYTES, KIND_BLOCK, KIND_FILE, frame_into};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::{Key, Signature};

// --- the vectors' values ---

fn header() -> Header {
    Header {
        version: 1,
        height: 0x0102_0304_0506_0708,
        prev: Hash([0x11; 32]),
        merkle_root: Hash([0x22; 32]),
        time: 1_700_000_000_000,
        difficulty: 1 << 20,
        nonce: 0xfedc_ba98_7654_3210,
    }
}

fn coinbase() -> Coinbase {
    let output = Output { amount: 2_019_991_574, key: Key([0x33; 32]), view_tag: 0x5a };
    Coinbase { version: VERSION, height: 7, output, tx_key: Key([0x44; 32]) }
}

fn input() -> Input {
    let outpoint = Outpoint { transaction: Hash([0x55; 32]), index: 3 };
    Input { outpoint, amount: 1_000, key: Key([0x66; 32]), matures_at: 17 }
}

fn transaction(inputs: &[Input], outputs: &[Output], note: Option<[u8; 80]>) -> Transaction {
    let inputs = List::try_from(inputs.to_vec()).expect("few");
    let outputs = List::try_from(outputs.to_vec()).expect("few");
    let transfer = Transaction::unsigned(inputs, outputs, Key([0x99; 32]), note);
    transfer.signed(Hash::ZERO, |place, _| Signature([0xa0 + u8::try_from(place).expect("few"); 64]))
}

fn without_note() -> Transaction {
    transaction(&[input()], &[Output { amount: 600, key: Key([0x77; 32]), view_tag: 1 }], None)
}

fn with_note() -> Transaction {
    let outpoint = Outpoint { transaction: Hash([0x56; 32]), index: 0 };
    let second = Input { outpoint, amount: 5, key: Key([0x67; 32]), matures_at: 0 };
    let outputs = [
        Output { amount: 600, key: Key([0x77; 32]), view_tag: 1 },
        Output { amount: 399, key: Key([0x78; 32]), view_tag: 2 },
    ];
    transaction(&[input(), second], &outputs, Some([0xbb; 80]))
}

fn whole_block(transfers: Vec<Transaction>) -> Block {
    Block { header: header(), coinbase: coinbase(), transfers: transfers.try_into().expect("few") }
}

/// Hex, with `xx*n` for a byte repeated.
fn unhex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        match word.split_once('*') {
            Some((byte, times)) => {
                let byte = hex::decode(byte).expect("hex");
                bytes.extend(byte.repeat(times.parse().expect("a number")));
            }
            None => bytes.extend(hex::decode(word).expect("hex")),
        }
    }
    bytes
}

const HEADER: &str = "01000000 0807060504030201 11*32 22*32 0068e5cf8b010000 0000100000000000 1032547698badcfe";
const COINBASE: &str = "01 0700000000000000 16a0667800000000 33*32 5a 44*32";
const WITHOUT_NOTE: &str = "01
    0100 55*32 03000000 e803000000000000 66*32 1100000000000000
    0100 5802000000000000 77*32 01
    99*32 00 a0*64";
const WITH_NOTE: &str = "01
    0200 55*32 03000000 e803000000000000 66*32 1100000000000000
         56*32 00000000 0500000000000000 67*32 0000000000000000
    0200 5802000000000000 77*32 01
         8f01000000000000 78*32 02
    99*32 01 bb*80 a0*64 a1*64";

fn assert_bytes<T: Encode + Decode<()> + PartialEq + std::fmt::Debug>(value: &T, text: &str) {
    let bytes = unhex(text);
    assert_eq!(hex::encode(encode(value)), hex::encode(&bytes));
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));
    let long = [&bytes[..], &[0]].concat();
    assert_eq!(decode::<T>(&long), Err(CodecError::Trailing { extra: 1 }));
    for end in 0..bytes.len() {
        assert!(matches!(decode::<T>(&bytes[..end]), Err(CodecError::Malformed(_))), "cut at {end}");
    }
}

/// Goal: every consensus format is these bytes for ever, takes no byte more and no byte less.
#[test]
fn every_format_has_its_vector() {
    assert_bytes(&header(), HEADER);
    assert_bytes(&coinbase(), COINBASE);
    assert_bytes(&without_note(), WITHOUT_NOTE);
    assert_bytes(&with_note(), WITH_NOTE);
    assert_bytes(&whole_block(vec![]), &format!("{HEADER} {COINBASE} 0000"));
    let full = whole_block(vec![without_note(), with_note()]);
    assert_bytes(&full, &format!("{HEADER} {COINBASE} 0200 {WITHOUT_NOTE} {WITH_NOTE}"));
    assert_eq!(full.to_bytes(), encode(&full));
    assert_eq!((unhex(HEADER).len(), unhex(COINBASE).len()), (HEADER_BYTES, COINBASE_BYTES));
    assert_eq!(unhex(WITHOUT_NOTE).len(), TRANSACTION_BYTES_MIN);
}

/// Goal: ids, digests and coin ids are fixed too.
#[test]
fn every_id_has_its_vector() {
    assert_eq!(header().id().to_string(), "ff9192799b3dc21d1b151e34c342eeb793d52e9acae8fb125e76826454302270");
    assert_eq!(coinbase().id().to_string(), "203f083f39a8cef645a9527a892f06d208ba8db64467f86f14a33f5ba6821296");
    assert_eq!(without_note().id().to_string(), "38e117083222226d32fbbbffc74bcaddb02d7d0889161ce55973cb5ce3d05b14");
    assert_eq!(with_note().id().to_string(), "76f606697e46ce001bd5ff137c621b64b1dae3d32606cb99589cfb62475d6a6c");
    let network = Params::regtest().genesis_id();
    assert_eq!(
        [without_note(), with_note()].map(|transfer| transfer.digest(network).to_string()),
        [
            "50244e695ed6fa3ee312f5a80c0409ea4fd81a740fbdc67f3df805a274fab611",
            "4191ad6ee9e51c938c0ac2a0d252ff3b696496449918ffccd279b932131ab369"
        ]
    );
    let coin: CoinId = input().coin();
    assert_eq!(hex::encode(coin.0), "7a8a1b173f0377cc564e208d29d99e024afda2d3b24e8ba1a680c76d7b73cc67");
    let full = whole_block(vec![without_note(), with_note()]);
    assert_eq!(full.merkle_root().to_string(), "195df1e5a09caff9f0b9ab9fa647de7503258c918f47ecac94371f625d24be9b");
    assert_eq!(
        Hash::sha256d(&full.to_bytes()).to_string(),
        "f831bced5bb1232ba36d842576eda6fe56d4cab5d9eb354a0952823a15785ec3"
    );
}

/// Goal: the message that an input signs is the digest and its place.
#[test]
fn signed_message_is_digest_and_place() {
    let network = Params::regtest().genesis_id();
    let transfer = with_note();
    for (place, claim) in (0_u32..).zip(transfer.claims(network)) {
        assert_eq!(claim.message[..32], transfer.digest(network).0);
        assert_eq!(claim.message[32..], place.to_le_bytes());
    }
}

/// Goal: frames are these bytes, on the wire as in the file, and a checksum or length that lies is seen
/// before anything is taken for it.
#[test]
fn frame_has_its_vector() {
    let mut bytes = Vec::new();
    frame_into(KIND_BLOCK, b"123456789", &mut bytes);
    assert_eq!(hex::encode(&bytes), "73706e010109000000839206e3313233343536373839");
    let front: [u8; FRAME_HEADER_BYTES] = bytes[..13].try_into().expect("13 bytes");
    let parsed = FrameHeader::from_bytes(&front).expect("our magic");
    assert_eq!(parsed, FrameHeader { kind: 1, length: 9, checksum: 0xe306_9283 });
    assert_eq!(parsed.to_bytes(), front);
    assert!(parsed.matches(b"123456789") && !parsed.matches(b"123456780") && !parsed.matches(b"12345678"));
    assert_eq!(hex::encode(FrameHeader::of(KIND_FILE, b"").to_bytes()), "73706e01000000000000000000");
    for at in 0..4 {
        let mut foreign = front;
        foreign[at] ^= 0x20;
        assert_eq!(FrameHeader::from_bytes(&foreign), None);
    }
    let mut lie = front;
    lie[5..9].fill(0xff);
    let parsed = FrameHeader::from_bytes(&lie).expect("a header is 13 bytes, whatever it promises");
    assert_eq!(parsed.length, u32::MAX);
    assert!(!parsed.matches(b"123456789"));
}

// --- one encoding for one value ---

/// Whatever these bytes are taken for, they are the only bytes for it.
fn assert_canonical<T: Encode + Decode<()> + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(hex::encode(encode(&value)), hex::encode(bytes));
    }
    if let Ok((value, rest)) = decode_prefix::<T>(bytes) {
        assert_eq!(hex::encode(encode(&value)), hex::encode(&bytes[..bytes.len() - rest.len()]));
    }
}

fn assert_all_canonical(bytes: &[u8]) {
    assert_canonical::<Header>(bytes);
    assert_canonical::<Coinbase>(bytes);
    assert_canonical::<Transaction>(bytes);
    assert_canonical::<Block>(bytes);
    assert_canonical::<Input>(bytes);
    assert_canonical::<Output>(bytes);
    assert_canonical::<Option<[u8; 80]>>(bytes);
    assert_canonical::<List<Output, OUTPUTS_MAX>>(bytes);
}

fn any_key() -> impl Strategy<Value = Key> {
    any::<[u8; 32]>().prop_map(Key)
}

fn any_output() -> impl Strategy<Value = Output> {
    (any::<u64>(), any_key(), any::<u8>()).prop_map(|(amount, key, view_tag)| Output { amount, key, view_tag })
}

fn any_input() -> impl Strategy<Value = Input> {
    (any::<[u8; 32]>(), any::<u32>(), any::<u64>(), any_key(), any::<u64>()).prop_map(
        |(transaction, index, amount, key, matures_at)| Input {
            outpoint: Outpoint { transaction: Hash(transaction), index },
            amount,
            key,
            matures_at,
        },
    )
}

fn any_transaction() -> impl Strategy<Value = Transaction> {
    let lists = (prop::collection::vec(any_input(), 0..5), prop::collection::vec(any_output(), 0..5));
    let note = prop::option::of(any::<[u8; 16]>()).prop_map(|half| half.map(|half| [half; 5].concat()));
    (any::<u8>(), lists, any_key(), note, any::<u8>()).prop_map(|(version, (inputs, outputs), key, note, byte)| {
        let note = note.map(|note| note.try_into().expect("5 times 16 is 80"));
        let inputs = inputs.try_into().expect("few");
        let mut transfer = Transaction::unsigned(inputs, outputs.try_into().expect("few"), key, note);
        transfer.version = version;
        transfer.signed(Hash::ZERO, |_, _| Signature([byte; 64]))
    })
}

fn any_block() -> impl Strategy<Value = Block> {
    (any::<[u8; 100]>(), any::<[u8; 82]>(), prop::collection::vec(any_transaction(), 0..4)).prop_map(
        |(header, coinbase, transfers)| Block {
            header: decode(&header).expect("any 100 bytes are a header"),
            coinbase: decode(&coinbase).expect("any 82 bytes are a coinbase"),
            transfers: transfers.try_into().expect("few"),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: what is encoded comes back, and no shorter or longer form of it does.
    #[test]
    fn values_survive(block in any_block()) {
        let bytes = block.to_bytes();
        prop_assert_eq!(decode::<Block>(&bytes), Ok(block.clone()));
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(decode::<Block>(&longer), Err(CodecError::Trailing { extra: 1 }));
        prop_assert!(decode::<Block>(&bytes[..bytes.len() - 1]).is_err());
        for transfer in &block.transfers {
            prop_assert_eq!(decode::<Transaction>(&encode(transfer)), Ok(transfer.clone()));
            prop_assert_eq!(transfer.id(), Hash::sha256d(&encode(transfer)));
        }
    }

    /// Goal: accepted bytes encode back to themselves. Method: any bytes at all.
    #[test]
    fn random_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        assert_all_canonical(&bytes);
    }

    /// Goal: the same for bytes that are almost right. Method: a transaction and a block of few small ones,
    /// with bytes changed, taken out, put in, or cut off.
    #[test]
    fn mutated_bytes_are_refused_or_canonical(
        block in any_block(),
        changes in prop::collection::vec((0..4, any::<prop::sample::Index>(), 0..=3_u8), 1..4),
    ) {
        let first = block.transfers.first().map(encode);
        for mut bytes in first.into_iter().chain([block.to_bytes()]) {
            for (kind, at, byte) in &changes {
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = *byte,
                    1 => bytes.insert(at, *byte),
                    2 => drop(bytes.remove(at)),
                    _ => bytes[at] = bytes[at].wrapping_add(*byte),
                }
            }
            assert_all_canonical(&bytes);
        }
    }

    /// Goal: no bytes from outside end the reader of blocks, and what it accepts it keeps byte for byte.
    #[test]
    fn block_reader_survives_anything(block in any_block(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let params = Params::regtest();
        let header = Header { difficulty: 1, version: 1, ..block.header };
        let mut bytes = common::sealed(Block { header, ..block }).to_bytes();
        let refused = ReadBlock::read(&params, bytes.clone()).expect_err("random amounts");
        prop_assert!(!matches!(refused, Reject::Undecodable(_) | Reject::MerkleRoot { .. }), "{}", refused);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = ReadBlock::read(&params, bytes.clone())
            && let Ok(checked) = read.verified(&common::verifier())
        {
            prop_assert_eq!(checked.bytes(), &bytes[..]);
        }
    }
}

/// Goal: the one flag in the formats has two values. Method: all other 254 in the note's place.
#[test]
fn note_flag_is_0_or_1() {
    let bytes = encode(&without_note());
    let at = bytes.len() - 65;
    for flag in 2..=255 {
        let mut other = bytes.clone();
        other[at] = flag;
        assert!(matches!(decode::<Transaction>(&other), Err(CodecError::Malformed(_))), "flag {flag}");
    }
}

// --- lies and limits ---

thread_local! {
    static DECODED: Cell<usize> = const { Cell::new(0) };
}

/// One byte; how often it is decoded is counted.
struct CountedByte(u8);

impl<C> Decode<C> for CountedByte {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let byte = u8::decode(decoder)?;
        DECODED.set(DECODED.get() + 1);
        Ok(Self(byte))
    }
}

/// Goal: work follows the bytes that came, never the count that was promised, and a count over the limit
/// is refused before the first element.
#[test]
fn elements_decoded_follow_bytes() {
    let decoded = |bytes: &[u8]| {
        DECODED.set(0);
        let verdict = decode::<List<CountedByte, 60_000>>(bytes);
        assert!(verdict.as_ref().is_ok_and(|list| list.iter().all(|byte| byte.0 == 7)) || verdict.is_err());
        (verdict.is_ok(), DECODED.get())
    };
    assert_eq!(decoded(&[3, 0, 7, 7, 7]), (true, 3));
    assert_eq!(decoded(&[0x60, 0xea, 7, 7, 7]), (false, 3), "60,000 promised, three came");
    assert_eq!(decoded(&[0x61, 0xea, 7, 7, 7]), (false, 0), "60,001 are over the limit");
    assert_eq!(decoded(&[0xff, 0xff, 7, 7, 7]), (false, 0));
}

/// Goal: memory too. Method: a list's room after decoding: a page at first, then what growth gives, so
/// never more than twice what came and a page.
#[test]
fn room_for_elements_follows_bytes() {
    for count in [0_u16, 1, 10, 100, 1_000, 8_000] {
        let bytes = [&count.to_le_bytes()[..], &vec![0; usize::from(count) * 8]].concat();
        let list: List<u64, 8_000> = decode(&bytes).expect("as many as promised");
        assert!(list.into_vec().capacity() <= 512 + 2 * usize::from(count), "{count} elements");
    }
}

/// Goal: a count that lies fails cleanly in every list of every format.
/// Method: each count set to 2^16 − 1, to its limit, to its limit + 1 and to one more than there is.
#[test]
fn lies_in_counts_are_refused() {
    let transfer = encode(&without_note());
    let full = whole_block(vec![without_note()]).to_bytes();
    let in_transfer = [(1, INPUTS_MAX), (3 + 84, OUTPUTS_MAX)];
    for (at, limit) in in_transfer {
        for lie in [u16::MAX, u16::try_from(limit).expect("a u16"), u16::try_from(limit + 1).expect("a u16"), 2] {
            let mut bytes = transfer.clone();
            bytes[at..at + 2].copy_from_slice(&lie.to_le_bytes());
            assert!(decode::<Transaction>(&bytes).is_err(), "count {lie} at {at}");
        }
    }
    let over = u16::try_from(TRANSFERS_MAX + 1).expect("a u16");
    for lie in [u16::MAX, over, over - 1, 2] {
        let mut bytes = full.clone();
        bytes[182..184].copy_from_slice(&lie.to_le_bytes());
        assert!(decode::<Block>(&bytes).is_err(), "count {lie}");
        let refused = ReadBlock::read(&Params::regtest(), bytes);
        assert!(matches!(refused, Err(Reject::Work { .. } | Reject::Undecodable(_))), "{refused:?}");
    }
}

/// Goal: the same where the header is sound, so that nothing before the count stands in the way.
#[test]
fn lies_in_a_mined_blocks_count_are_undecodable() {
    let params = Params::regtest();
    let bytes = block(&params, vec![common::pay(&params, &[coin(1, 100)], &[90])]).to_bytes();
    for lie in [u16::MAX, 4_619, 4_618, 2] {
        let mut lied = bytes.clone();
        lied[182..184].copy_from_slice(&lie.to_le_bytes());
        let refused = ReadBlock::read(&params, lied).expect_err("more than there is");
        assert!(matches!(refused, Reject::Undecodable(CodecError::Malformed(_))), "{refused}");
    }
}

/// Goal: limits of memory never decide what is valid: the largest lists decode.
/// Method: 460 inputs × 1,024 outputs with a note (more bytes than a transaction may have), and one
/// element more in each list.
#[test]
fn largest_transaction_lists_decode() {
    let coins: Vec<_> = (0..INPUTS_MAX as u64).map(|n| common::coin_of(1, n, 9)).collect();
    let transfer = sign(Hash::ZERO, &coins, unsigned(&coins, outputs(&vec![1; OUTPUTS_MAX]), true));
    let bytes = encode(&transfer);
    assert_eq!(bytes.len(), 38 + 148 * INPUTS_MAX + 41 * OUTPUTS_MAX + 80);
    assert_eq!(decode::<Transaction>(&bytes), Ok(transfer.clone()));
    assert_eq!(List::<Input, INPUTS_MAX>::try_from(vec![input(); INPUTS_MAX + 1]), Err(INPUTS_MAX + 1));
    let one_more = [transfer.outputs.to_vec(), vec![transfer.outputs[0]]].concat();
    assert_eq!(List::<Output, OUTPUTS_MAX>::try_from(one_more.clone()), Err(OUTPUTS_MAX + 1));
    assert_eq!(List::<Output, OUTPUTS_MAX>::first_of(one_more), transfer.outputs);
}

/// Goal: a block full of the least transactions decodes, by the reader as by the type.
/// Method: as many as fit 1 MiB, 4,618; and one more, which neither takes.
#[test]
fn fullest_block_of_least_transactions_decodes() {
    let params = Params::regtest();
    let transfers: Vec<_> =
        (0..TRANSFERS_MAX as u64).map(|n| common::pay(&params, &[common::coin_of(1, n, 9)], &[9])).collect();
    let full = block(&params, transfers);
    let bytes = full.to_bytes();
    assert_eq!((TRANSFERS_MAX, bytes.len()), (4_618, HEADER_BYTES + COINBASE_BYTES + 2 + 227 * 4_618));
    assert!(bytes.len() <= BLOCK_BYTES_MAX && bytes.len() + TRANSACTION_BYTES_MIN > BLOCK_BYTES_MAX);
    assert_eq!(decode::<Block>(&bytes), Ok(full));
    let read = ReadBlock::read(&params, bytes.clone()).expect("valid");
    assert_eq!(read.signatures(), TRANSFERS_MAX);

    let mut over = [&bytes[..], &bytes[bytes.len() - TRANSACTION_BYTES_MIN..]].concat();
    over[182..184].copy_from_slice(&4_619_u16.to_le_bytes());
    assert!(decode::<Block>(&over).is_err());
    assert!(matches!(ReadBlock::read(&params, over), Err(Reject::BlockTooLarge { .. })));
}
