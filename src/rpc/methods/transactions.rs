//! Transactions: what waits, what is in blocks, and new ones.

use serde::Serialize;

use crate::rpc::call::{Fine, Nothing};
use crate::rpc::fault::Fault;
use crate::rpc::service::Service;

#[derive(Serialize)]
struct FeeEstimate {
    /// Per byte, rounded up.
    fee: u64,
    fee_per_1000_bytes: u64,
    quantization_mask: u64,
    status: Fine,
    untrusted: bool,
}

pub(in crate::rpc) fn get_fee_estimate(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let floor = service.node().board().summary().fee_rate_min;
    Ok(FeeEstimate {
        fee: floor.div_ceil(1_000),
        fee_per_1000_bytes: floor,
        quantization_mask: 1,
        status: Fine::Ok,
        untrusted: false,
    })
}
