//! The running daemon, as a wallet asks it: over its local port, in the peers' protocol.

use crate::blockchain::block::Header;
use crate::blockchain::params::Params;
use crate::blockchain::transaction::Transaction;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Progress};
use crate::cli::wallet::opened::{Wallet, random};
use crate::network::client::{Client, ClientError};
use crate::primitives::hash::Hash;
use crate::primitives::thread::check_pool;
use crate::primitives::time::Clock;
use crate::wallet::file::Contents;
use crate::wallet::link::{Link, LinkError, Run, Verdict};
use crate::wallet::state::{Lost, State};
use crate::wallet::sync::Sync;
use crate::wallet::{address, amount};

/// A daemon that answers.
pub(super) struct Daemon(Client);

impl Daemon {
    /// Finds the one on this port, the network's own unless it is given.
    pub(super) fn find(params: &Params, port: Option<u16>) -> Result<Self, Failure> {
        let port = port.unwrap_or(params.spec().port);
        let mut nonce = [0; 8];
        random(&mut nonce)?;
        let agent = concat!("spindle-wallet/", env!("CARGO_PKG_VERSION"));
        let client = Client::connect(params, port, agent, u64::from_le_bytes(nonce));
        client.map(Self).map_err(|error| match error {
            ClientError::Nobody { .. } => {
                let more = start_options(params, port);
                Failure::world(format!(
                    "{error}; `spindle daemon{more}` starts one, `--port` names another (one with `--bind` is found if it \
                     listens on 127.0.0.1 too, as with 0.0.0.0)"
                ))
            }
            ClientError::TurnedAway { .. } | ClientError::OtherNetwork { .. } => {
                Failure::world(format!("{error}; `--network` and `--port` say which is meant"))
            }
            _ => error.into(),
        })
    }
}

/// What the command that starts such a daemon needs.
fn start_options(params: &Params, port: u16) -> String {
    let spec = params.spec();
    let network = match spec.name.as_str() {
        _ if *params == Params::local() => String::new(),
        "regtest" => " --network regtest".into(),
        _ => " --network FILE".into(),
    };
    if port == spec.port { network } else { format!("{network} --port {port}") }
}

/// Brings an open wallet up to date with the daemon on this port, and asks that nothing more.
pub(super) fn catch_up_with_daemon(wallet: &mut Wallet, port: Option<u16>) -> Result<(), Failure> {
    let mut daemon = Daemon::find(&wallet.params, port)?;
    catch_up(wallet, &mut daemon)
}

/// Brings an open wallet up to date, saves it, and says on stderr what a person should know.
pub(super) fn catch_up(wallet: &mut Wallet, daemon: &mut Daemon) -> Result<(), Failure> {
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
            "warning: payment {id} of {amount} to {address} was not made: {loss}; it is forgotten here"
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

impl Link for Daemon {
    fn height(&self) -> u64 {
        self.0.height()
    }

    fn headers(&mut self, known: &[Hash]) -> Result<Vec<Header>, LinkError> {
        Ok(self.0.headers(known)?)
    }

    fn blocks(&mut self, last: Hash, count: usize) -> Result<Option<Run<'_>>, LinkError> {
        if !self.0.ask_blocks(last, count)? {
            return Ok(None);
        }
        let client = &mut self.0;
        Ok(Some(Box::new(std::iter::from_fn(move || client.next_block().map_err(LinkError::from).transpose()))))
    }

    fn pool(&mut self) -> Result<Vec<Hash>, LinkError> {
        Ok(self.0.pool()?)
    }

    fn transactions(&mut self, ids: &[Hash]) -> Result<Vec<Transaction>, LinkError> {
        Ok(self.0.transactions(ids)?)
    }

    fn submit(&mut self, transaction: &Transaction) -> Result<Verdict, LinkError> {
        Ok(self.0.submit(transaction)?.map_or(Verdict::Waits, Verdict::Refused))
    }
}

impl From<ClientError> for LinkError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Odd(why) => Self::Odd(why),
            other => Self::Broken(other.to_string()),
        }
    }
}
