//! `listen`: accepts, asks the registry for a place, starts a reader. It never touches a byte.
//!
//! What goes wrong with one connection never ends it: out of descriptors, it waits a little longer
//! each time and goes on. It ends when it is woken by a connection while the registry is stopping.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::network::connection::{Connection, broken, curt_farewell};
use crate::network::limits::CONNECT_MS;
use crate::network::p2p::Hub;
use crate::network::reader;
use crate::node::reason::Reason;
use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};

/// After an accept that failed: doubling from the first to the second.
const BACK_OFF_MS: (u64, u64) = (10, 1_000);

/// Accepts until the node stops.
pub(crate) fn run(hub: &Arc<Hub>, listener: &TcpListener) -> &'static str {
    let mut back_off_ms = BACK_OFF_MS.0;
    loop {
        let accepted = listener.accept();
        if hub.registry.is_stopping() {
            return "the node is stopping";
        }
        match accepted {
            Ok((stream, address)) => {
                back_off_ms = BACK_OFF_MS.0;
                if let Err(reason) = welcome(hub, stream, address) {
                    hub.complain(address, &reason);
                }
            }
            // The visitor has gone before we opened.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if back_off_ms == BACK_OFF_MS.0 {
                    log::warn!("cannot accept connections: {error}; trying on");
                }
                // Not a sleep: a stop ends it. One more accept could then take the descriptor that was kept to wake
                // this thread, and nobody would come any more.
                if hub
                    .registry
                    .stopped()
                    .recv_timeout(Duration::from_millis(back_off_ms))
                    .is_err_and(|end| !end.is_timeout())
                {
                    return "the node is stopping";
                }
                back_off_ms = (2 * back_off_ms).min(BACK_OFF_MS.1);
            }
        }
    }
}

/// A place and a thread for a visitor, or why not.
fn welcome(hub: &Arc<Hub>, stream: TcpStream, address: SocketAddr) -> Result<(), Reason> {
    let admitted = hub.registry.admit(address.ip(), hub.clock.now().wall);
    let place = admitted.inspect_err(|reason| curt_farewell(&stream, reason))?;
    let connection = Connection::new(place.peer, address, stream).map_err(|error| broken(&error))?;
    let connection = Arc::new(connection);
    let name = format!("peer-{}-read", place.peer.0);
    let hub_of_peer = Arc::clone(hub);
    let thread = spawn(name, STACK_SMALL_BYTES, move || reader::run(&hub_of_peer, place, &connection, None));
    let thread = thread.map_err(|error| Reason::Broken(format!("no thread to read with: {error}")))?;
    hub.registry.keep(thread);
    Ok(())
}

/// Wakes a listener that waits in accept.
pub(crate) fn wake(listening_on: SocketAddr) {
    let ip = match listening_on.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, listening_on.port());
    // Refused only if the listener has ended already.
    let _ = TcpStream::connect_timeout(&address, Duration::from_millis(CONNECT_MS));
}
