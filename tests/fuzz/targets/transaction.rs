//! A transaction's bytes: one encoding, and the rules as they stand in RULES, said once more in the plainest way.
//!
//! The input is the transaction.

use std::collections::BTreeSet;

use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::params::TRANSACTION_BYTES_MAX;
use spindle::blockchain::transaction::{CoinId, Outpoint, Transaction, VERSION};
use spindle::primitives::codec;
use spindle::primitives::hash::Hash;

use super::kit;

pub(crate) fn run(data: &[u8]) {
    let read = ReadTx::read(kit::params(), data);
    let Ok(transaction) = codec::decode::<Transaction>(data) else {
        assert!(read.is_err(), "what cannot be decoded is no transaction");
        return;
    };
    assert_eq!(codec::encode(&transaction), data, "one value has one encoding");
    assert_eq!(read.as_ref().ok().map(|read| read.fee()), model(&transaction, data.len()), "{read:?}");
    let Ok(read) = read else { return };
    check_facts(&read, &transaction, data);
    let joined = [data, &[1, 2, 3]].concat();
    assert_eq!(ReadTx::read_prefix(kit::params(), &joined), Ok((read.clone(), &joined[data.len()..])));
    // Curves are slow: one of eight, and of few inputs.
    if read.signatures() <= 3 && read.id().0[0] % 8 == 0 {
        let holds = read.claims().iter().all(spindle::primitives::keys::Claim::holds);
        assert_eq!(read.clone().verified(kit::verifier()).is_ok(), holds);
        let verdicts = ReadTx::verified_all(vec![read.clone(), read], kit::verifier());
        assert!(verdicts.iter().all(|verdict| verdict.is_ok() == holds));
    }
}

/// The fee of a transaction that keeps every rule.
pub(crate) fn model(transaction: &Transaction, size_bytes: usize) -> Option<u64> {
    let (inputs, outputs) = (&transaction.inputs, &transaction.outputs);
    let outpoints: BTreeSet<Outpoint> = inputs.iter().map(|input| input.outpoint).collect();
    let right = size_bytes <= TRANSACTION_BYTES_MAX
        && transaction.version == VERSION
        && !inputs.is_empty()
        && !outputs.is_empty()
        && inputs.iter().all(|input| input.amount > 0)
        && outputs.iter().all(|output| output.amount > 0)
        && outpoints.len() == inputs.len();
    let spent: u128 = inputs.iter().map(|input| u128::from(input.amount)).sum();
    let made: u128 = outputs.iter().map(|output| u128::from(output.amount)).sum();
    let fits = spent.max(made) <= u128::from(u64::MAX);
    spent.checked_sub(made).filter(|_| right && fits).and_then(|fee| u64::try_from(fee).ok())
}

fn check_facts(read: &ReadTx, transaction: &Transaction, data: &[u8]) {
    let id = Hash::sha256d(data);
    let spent: Vec<CoinId> = transaction.inputs.iter().map(spindle::blockchain::transaction::Input::coin).collect();
    let made = (0..)
        .zip(transaction.outputs.iter())
        .map(|(index, output)| CoinId::new(&Outpoint { transaction: id, index }, output.amount, &output.key, 0));
    assert_eq!((read.id(), read.bytes()), (id, data));
    assert_eq!((read.spent(), read.created()), (&spent[..], &made.collect::<Vec<_>>()[..]));
    assert_eq!(read.matures_at(), transaction.inputs.iter().map(|input| input.matures_at).max().unwrap_or(0));
    assert_eq!(Some(read.least_output()), transaction.outputs.iter().map(|output| output.amount).min());
    assert!(read.inputs().eq(transaction.inputs.iter().copied()));
    assert_eq!(read.to_transaction(), *transaction);
    assert_eq!(read.signatures(), transaction.inputs.len());
}
