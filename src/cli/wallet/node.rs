//! The running daemon, as a wallet asks it: found as all commands find it, asked in bytes over its RPC.

use crate::cli::ask;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::wallet::opened::Wallet;
use crate::primitives::thread::check_pool;
use crate::primitives::time::Clock;
use crate::rpc::link::NodeLink;
use crate::wallet::file::Contents;
use crate::wallet::state::{Lost, State};
use crate::wallet::sync::Sync;
use crate::wallet::{address, amount};

/// The daemon that is there, if it is one of the network that is meant.
pub(super) fn find(place: ask::Place) -> Result<NodeLink, Failure> {
    place.node().into_client().map(NodeLink::new)
}

/// Brings an open wallet up to date, saves it, and says on stderr what a person should know.
pub(super) fn catch_up(wallet: &mut Wallet, daemon: &mut NodeLink) -> Result<(), Failure> {
    let Wallet { params, file, contents } = wallet;
    let Contents { genesis, secrets, state } = contents;
    let (keys, genesis) = (secrets.view_keys(), *genesis);
    let pool = check_pool()?.map(|(pool, _)| pool);
    let mut progress = Progress::new("looking at the chain", "blocks");
    let synced = Sync {
        params,
        keys: &keys,
        pool: pool.as_ref(),
        now: Clock::start().now().wall.0,
        save: &mut |state: &State| file.save(&Contents { genesis, secrets: secrets.clone(), state: state.clone() }),
        progress: &mut |done, total| progress.at(done, total),
    }
    .run(state, daemon);
    progress.end();
    let outcome = synced?;
    wallet.save()?;
    for Lost { id, address, amount, loss } in outcome.lost {
        let (amount, address) = (amount::show(amount), address::show(&wallet.params, &address));
        output::remark(&format!(
            "warning: payment {id} of {amount} to {address} cannot come into the chain that this node follows: {loss}; \
             it is forgotten here, and found again if a branch that holds it wins"
        ));
    }
    for id in outcome.offered {
        output::remark(&format!("payment {id} was not at the node and has been offered to it again"));
    }
    for (id, why) in outcome.refused {
        output::remark(&format!(
            "payment {id} waits here and is offered again next time, because the node refuses it now: {why}"
        ));
    }
    for (other, ours) in outcome.conflicts {
        output::remark(&format!("transaction {other} waits at the node and spends coins of your payment {ours}"));
    }
    Ok(())
}
