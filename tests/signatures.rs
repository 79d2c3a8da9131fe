//! ZIP-215: the odd signatures have one fixed verdict, alone and in batches of any size.
//!
//! The points and signatures below were made with big integers, apart from any curve library:
//! `T` is a point of order 8, `a` the secret scalar of seed `07…07`, `A = a·B`, `r` a fixed nonce and the
//! message the bytes 0 to 35. With `k = SHA-512(R ‖ A ‖ message) mod l` a signature holds exactly if its
//! points decode, `s < l`, and `8·s·B = 8·R + 8·k·A`.

use std::sync::Arc;

use spindle::primitives::keys::{Claim, Key, SecretKey, Signature, Verifier};

/// All encodings of the eight points of small order: the eight canonical ones, then six others.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// `l`, the order of the base point.
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
/// `A`, an honest key.
const PLAIN: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
/// `A + T`.
const TORSIONED: &str = "1f4f580e73ac208f06760190e9edc6f5916775dabd9c1cdca393175c2d6d1083";
/// `r·B`.
const R: &str = "bc2514d4d892eac760167fb7979cbc55199bd192605c6e2ab9fbe97385950c25";
/// `r·B + T`.
const R_TORSIONED: &str = "80ef2179e81cc175bf42e3c7a166f6a2feccac13ed2d0dde755fee6a3b6089d2";

fn bytes32(hex: &str) -> [u8; 32] {
    hex::decode(hex).expect("hex").try_into().expect("32 bytes")
}

fn message() -> [u8; 36] {
    std::array::from_fn(|n| u8::try_from(n).expect("36 at most"))
}

fn claim(key: &str, r: &str, s: &str) -> Claim {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&bytes32(r));
    signature[32..].copy_from_slice(&bytes32(s));
    Claim { key: Key(bytes32(key)), signature: Signature(signature), message: message() }
}

/// A claim that holds, as any wallet makes it.
fn honest(number: u8) -> Claim {
    let secret = SecretKey::from_seed(&[number; 32]);
    let mut message = message();
    message[35] = number;
    Claim { key: secret.public(), signature: secret.sign(&message), message }
}

/// The odd ones that hold.
fn accepted() -> Vec<(&'static str, Claim)> {
    vec![
        ("a torsioned key", claim(TORSIONED, R, "30a4de01bbac2931d302b813f6b034c205c62e39e26afe4934680c9f209db00c")),
        (
            "a torsioned R",
            claim(PLAIN, R_TORSIONED, "ac37e463e9cd5241c90747ef9eb6262ac2f1d3b0e7cab39e77134b576074fb0f"),
        ),
        ("both", claim(TORSIONED, R_TORSIONED, "b9fbf0392c0216df3974f3eaf0f765a45e9eb915606e115f4e8b4e48e5408e0a")),
        (
            "a key of small order, not canonical",
            claim(SMALL_ORDER[9], R, "dca8057935916609ff40844c846907941418a5cce40ae4c7bb81eaa54aa9ab00"),
        ),
        (
            "R of small order, not canonical",
            claim(PLAIN, SMALL_ORDER[9], "43d519976984b1e7f399a6639c016cc9121660db3bb18eaf5c6a104e47f8c60b"),
        ),
        (
            "R of order 8",
            claim(PLAIN, SMALL_ORDER[1], "fdace91fd1845c208f6a153ccd3609d29a49da5fb77e0079472b5af078d20c01"),
        ),
    ]
}

/// The odd ones that do not.
fn refused() -> Vec<(&'static str, Claim)> {
    let r = "7d16af5bd0719c91579bdfdd1e42e6b9d5b1d13c1c91beb992ed62e85f6e06f6";
    let zero = SMALL_ORDER[6];
    let two = "0200000000000000000000000000000000000000000000000000000000000000";
    let torsioned_with_plain = claim(TORSIONED, R, "ac37e463e9cd5241c90747ef9eb6262ac2f1d3b0e7cab39e77134b576074fb0f");
    let mut other_message = honest(7);
    other_message.message[0] ^= 1;
    let mut other_place = honest(7);
    other_place.message[32] ^= 1;
    let mut other_key = honest(7);
    other_key.key = honest(8).key;
    vec![
        ("s + l", claim(PLAIN, r, "547b3695c81b420bd1bd53ac403951432939551a8c734b4809479c32efcdb51d")),
        ("s + 8 l", claim(PLAIN, r, "cf46ef1f81d1c273ad071921570e6ad52939551a8c734b4809479c32efcdb58d")),
        ("s = l, which is 0", claim(SMALL_ORDER[1], SMALL_ORDER[1], L)),
        ("s = l − 1", claim(zero, zero, "ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")),
        ("s of all ones", claim(zero, zero, "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")),
        ("a key off the curve", claim(two, zero, zero)),
        ("R off the curve", claim(zero, two, zero)),
        ("another's s", torsioned_with_plain),
        ("another message", other_message),
        ("another input's place", other_place),
        ("another key", other_key),
    ]
}

/// Holds one claim to a verdict: alone; among 1, 2, 7, 254, 255, 256 and 300 good ones, first, last and in
/// the middle; and beside another good claim of the very same key, which a batch folds together with it.
fn hold_to(name: &str, claim: &Claim, verdict: bool) {
    let verifier = Verifier::new([1; 32], None);
    assert_eq!(claim.holds(), verdict, "{name}, alone");
    let expected = |place: usize| if verdict { Ok(()) } else { Err(place) };
    assert_eq!(verifier.verify(std::slice::from_ref(claim)), expected(0), "{name}, a batch of one");
    assert_eq!(verifier.verify(&[claim.clone(), claim.clone()]), expected(0), "{name}, twice");
    for good in [1, 2, 7, 254, 255, 256, 300] {
        let batch: Vec<Claim> = (0..good).map(|n: u16| honest(n.to_le_bytes()[0])).collect();
        for place in [0, batch.len() / 2, batch.len()] {
            let mut batch = batch.clone();
            batch.insert(place, claim.clone());
            assert_eq!(verifier.verify(&batch), expected(place), "{name}, at {place} with {good} good ones");
        }
    }
    let same_key = [honest(7), claim.clone()];
    assert_eq!(verifier.verify(&same_key), expected(1), "{name}, beside an honest signature of seed 07…07");
}

/// Goal: the key in the vectors is the one that a wallet with that seed has, and it signs as RFC 8032 says.
#[test]
fn honest_vector_is_the_deterministic_one() {
    let secret = SecretKey::from_seed(&[7; 32]);
    assert_eq!(secret.public().to_string(), PLAIN);
    let expected = "7d16af5bd0719c91579bdfdd1e42e6b9d5b1d13c1c91beb992ed62e85f6e06f6\
                    67a74038aeb82fb3fa205c09623f722e2939551a8c734b4809479c32efcdb50d";
    assert_eq!(hex::encode(secret.sign(&message()).0), expected);
    hold_to("honest", &claim(PLAIN, &expected[..64], &expected[64..]), true);
}

/// Goal: every pair of small-order A and R holds with s = 0, in every encoding, for any message.
/// Method: the matrix of 14 × 14; alone, all of it in one call, and each pair in a batch with honest ones.
#[test]
fn small_order_points_with_zero_s_are_accepted() {
    let verifier = Verifier::new([1; 32], None);
    let zero = SMALL_ORDER[6];
    let matrix: Vec<Claim> = SMALL_ORDER.iter().flat_map(|a| SMALL_ORDER.iter().map(|r| claim(a, r, zero))).collect();
    assert_eq!(verifier.verify(&matrix), Ok(()));
    for claim in &matrix {
        assert!(claim.holds(), "{claim:?}");
        assert_eq!(verifier.verify(&[honest(1), claim.clone(), honest(2)]), Ok(()), "{claim:?}");
        let mut other = claim.clone();
        other.message = [0xee; 36];
        assert!(other.holds(), "{other:?}");
    }
}

/// Goal: none of them holds with s = 1, which only an honest equation can need.
#[test]
fn small_order_points_with_other_s_are_refused() {
    let verifier = Verifier::new([1; 32], None);
    for (a, r) in SMALL_ORDER.iter().flat_map(|a| SMALL_ORDER.iter().map(move |r| (a, r))) {
        let claim = claim(a, r, SMALL_ORDER[0]);
        assert!(!claim.holds(), "{claim:?}");
        assert_eq!(verifier.verify(&[honest(1), claim.clone(), honest(2)]), Err(1), "{claim:?}");
    }
}

/// Goal: torsion and encodings decide nothing (RULES 26).
#[test]
fn torsioned_and_non_canonical_signatures_are_accepted() {
    for (name, claim) in accepted() {
        hold_to(name, &claim, true);
    }
}

/// Goal: what is wrong is wrong everywhere, and the batch names it by its place.
#[test]
fn wrong_signatures_are_refused_alone_and_in_batches() {
    for (name, claim) in refused() {
        hold_to(name, &claim, false);
    }
}

/// Goal: single and batch agree on points in every encoding that is not canonical, of whatever order.
/// Method: y from p to 2^255 − 1, both signs, as key and as R, beside an honest claim.
#[test]
fn non_canonical_encodings_have_one_verdict() {
    let verifier = Verifier::new([1; 32], None);
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff_u8] {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (low, high);
            let point = hex::encode(point);
            for claim in [claim(&point, R, SMALL_ORDER[6]), claim(PLAIN, &point, SMALL_ORDER[6])] {
                let expected = if claim.holds() { Ok(()) } else { Err(1) };
                assert_eq!(verifier.verify(&[honest(1), claim.clone(), honest(2)]), expected, "{claim:?}");
            }
        }
    }
}

/// Goal: in a batch of 600 a bad claim is named by its place, and the first one if there are more, on one
/// thread as on several. Method: every batch border, both verifiers.
#[test]
fn bad_claim_of_600_is_named_by_its_place() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let verifiers = [Verifier::new([1; 32], None), Verifier::new([2; 32], Some(Arc::new(pool)))];
    let good: Vec<Claim> = (0..600_u16).map(|n| honest(n.to_le_bytes()[0])).collect();
    for verifier in verifiers {
        assert_eq!(verifier.verify(&good), Ok(()));
        for place in [0, 1, 255, 256, 257, 511, 512, 598, 599] {
            let mut claims = good.clone();
            claims[place].message[5] ^= 1;
            assert_eq!(verifier.verify(&claims), Err(place));
            claims[599].signature.0[40] ^= 1;
            assert_eq!(verifier.verify(&claims), Err(place), "the first of two");
        }
    }
}

/// Goal: two forgeries that cancel each other where coefficients are equal do not pass.
/// Method: s + 1 in one signature and s − 1 in another; an unweighted sum would hold.
#[test]
fn forgeries_that_cancel_are_refused() {
    let (mut more, mut less) = (honest(1), honest(2));
    more.signature.0[32] = more.signature.0[32].checked_add(1).expect("seed 1's s does not end in ff");
    less.signature.0[32] = less.signature.0[32].checked_sub(1).expect("seed 2's s does not end in 00");
    assert_eq!(Verifier::new([1; 32], None).verify(&[more, less]), Err(0));
}

/// Goal: no claims, no fault.
#[test]
fn nothing_to_verify_holds() {
    assert_eq!(Verifier::new([1; 32], None).verify(&[]), Ok(()));
}
