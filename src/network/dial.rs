//! Connecting out. The thread that will read from the peer is the one that connects to it.
//!
//! A thread of its own for dialling would only have to start that one: the owner starts it at once,
//! waits for nothing, and counts what is under way. Names are looked up in a thread that nobody
//! joins, since no system lets a look-up be ended; those that hang are few.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{bounded, select};

use crate::network::connection::{Connection, broken};
use crate::network::limits::{CONNECT_MS, LOOKUP_MS, LOOKUPS_MAX};
use crate::network::p2p::{Hub, Input};
use crate::network::reader;
use crate::network::registry::Place;
use crate::node::event::Target;
use crate::node::reason::Reason;
use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Starts a thread that connects; `Connected` or `DialFailed` follows, unless this is an error.
pub(crate) fn start(hub: &Arc<Hub>, target: Target) -> Result<(), Reason> {
    let place = hub.registry.outbound().ok_or(Reason::Stopping)?;
    let name = format!("peer-{}-read", place.peer.0);
    let hub_of_peer = Arc::clone(hub);
    let thread = spawn(name, STACK_SMALL_BYTES, move || run(&hub_of_peer, place, target));
    hub.registry.keep(thread.map_err(|error| Reason::Broken(format!("no thread to connect with: {error}")))?);
    Ok(())
}

fn run(hub: &Arc<Hub>, place: Place, target: Target) -> Reason {
    match connect(hub, &place, &target) {
        Ok(connection) => reader::run(hub, place, &Arc::new(connection), Some(target)),
        Err(reason) => {
            drop(place);
            hub.tell(Input::DialFailed { target, reason: reason.clone() });
            reason
        }
    }
}

/// The first address of the target that takes the connection.
fn connect(hub: &Arc<Hub>, place: &Place, target: &Target) -> Result<Connection, Reason> {
    let addresses = match target {
        Target::Address(address) => vec![*address],
        Target::Name(name) => look_up(hub, name)?,
    };
    let mut failed = Reason::Broken("its name has no address".into());
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        if hub.registry.is_stopping() {
            return Err(Reason::Stopping);
        }
        match TcpStream::connect_timeout(&address, Duration::from_millis(CONNECT_MS)) {
            Ok(stream) => return Connection::new(place.peer, address, stream).map_err(|error| broken(&error)),
            Err(error) => failed = Reason::Broken(error.to_string()),
        }
    }
    Err(failed)
}

/// The addresses of a name. Given up when they take too long or the node stops.
fn look_up(hub: &Arc<Hub>, name: &str) -> Result<Vec<SocketAddr>, Reason> {
    if hub.lookups.fetch_add(1, Ordering::AcqRel) >= LOOKUPS_MAX {
        hub.lookups.fetch_sub(1, Ordering::AcqRel);
        return Err(Reason::Broken(format!("{LOOKUPS_MAX} look-ups of names hang already")));
    }
    let (found, answer) = bounded(1);
    // It holds nothing but the counter: it may outlive the node.
    let (lookups, name) = (Arc::clone(&hub.lookups), name.to_owned());
    let thread = spawn("look-up", STACK_SMALL_BYTES, move || {
        let addresses = name.to_socket_addrs().map(Iterator::collect);
        lookups.fetch_sub(1, Ordering::AcqRel);
        // Nobody may be waiting any more.
        let _ = found.send(addresses);
        name
    });
    if let Err(error) = thread {
        hub.lookups.fetch_sub(1, Ordering::AcqRel);
        return Err(Reason::Broken(format!("no thread to look it up with: {error}")));
    }
    select! {
        recv(answer) -> addresses => match addresses {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(Reason::Broken(error.to_string())),
            Err(_) => Err(Reason::Bug),
        },
        recv(hub.registry.stopped()) -> _ => Err(Reason::Stopping),
        default(Duration::from_millis(LOOKUP_MS)) => {
            Err(Reason::Broken(format!("its name was not found within {LOOKUP_MS} ms")))
        }
    }
}
