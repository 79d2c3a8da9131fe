//! The RPC of a running node: the server, the cookie's file, and their end.
//!
//! It is started when the node runs and stopped before it, so whoever is answered is answered by a node that works.
//! Orders that are waited for are let go first: the server waits for its handlers, and those may wait for blocks.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use crate::rpc::cookie::{COOKIE_FILE, CookieFile};
use crate::rpc::http::counters::Counters;
use crate::rpc::http::{self, Limits, Server};
use crate::rpc::service::Service;
use crate::runtime::handle::Handle;

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The port is not to be had.
    #[error(
        "cannot listen for RPC on {address}: {source}; choose another port with `--rpc-port` (or both with `--port`), or \
         do without with `--no-rpc`"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The cookie cannot be laid down.
    #[error("cannot write `{COOKIE_FILE}` into the data directory: {0}")]
    Cookie(io::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The system refuses threads.
    #[error("cannot start the RPC's threads: {0}")]
    Start(io::Error),
}

/// Binds its port: what is in use is found out before anything else is touched.
pub fn bind(address: SocketAddr) -> Result<TcpListener, RpcError> {
    TcpListener::bind(address).map_err(|source| RpcError::Listen { address, source })
}

/// See the top of the file. The fields go in the order in which they stand.
#[derive(Debug)]
pub struct Rpc {
    /// Dropped to let go of orders that are waited for.
    running: Option<Sender<Infallible>>,
    server: Server,
    cookie: CookieFile,
}

impl Rpc {
    /// Starts it for this node. `names`: what others call this machine.
    pub fn start(node: Handle, listener: TcpListener, names: Vec<String>, data_dir: &Path) -> Result<Self, RpcError> {
        let (running, stopping) = bounded(0);
        let counters = Arc::new(Counters::default());
        let service = Service::new(node, Arc::clone(&counters), stopping).map_err(RpcError::Random)?;
        let cookie = CookieFile::create(data_dir).map_err(RpcError::Cookie)?;
        let config =
            http::Config { listener, cookie: cookie.cookie().clone(), names, counters, limits: Limits::default() };
        let server = Server::start(config, Arc::new(service)).map_err(RpcError::Start)?;
        log::info!(
            "rpc on http://{}; changes take the cookie in {}",
            server.address(),
            data_dir.join(COOKIE_FILE).display()
        );
        Ok(Self { running: Some(running), server, cookie })
    }

    /// Where it can be asked.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What opens it for changes.
    pub fn cookie(&self) -> &CookieFile {
        &self.cookie
    }

    /// Stops it: whoever is being answered still is, for a moment.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.running = None;
    }
}
