//! `std::net`: sockets between threads of one schedule.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use real_std::sync::{Mutex, MutexGuard};

pub(crate) use real_std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, ToSocketAddrs};

use crate::model::chance::once_in;
use crate::model::panic::{Planned, resume_unwind};
use crate::model::time::pass;
use crate::model::weave::{Bell, give_way, wait, world};

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<Flow>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Flow {
    bytes: VecDeque<u8>,
    /// Whoever writes has said that there is no more.
    is_ended: bool,
    reader: Reader,
}

/// What becomes of whoever reads.
#[derive(Debug, Default, PartialEq, Eq)]
enum Reader {
    #[default]
    Hears,
    /// It does not want any more.
    Deaf,
    /// It has closed the connection.
    Gone,
    /// It panics, as a bug would make it.
    Panics,
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, Flow> {
        self.state.lock().expect("never poisoned")
    }

    fn change(&self, change: impl FnOnce(&mut Flow)) {
        change(&mut self.state());
        self.bell.ring();
    }
}

/// As std's.
#[derive(Debug)]
pub(crate) struct TcpStream {
    local: SocketAddr,
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    limits: Mutex<Limits>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    read: Option<Duration>,
    write: Option<Duration>,
    is_nonblocking: bool,
}

impl TcpStream {
    fn new(port: u16, incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>) -> Self {
        let (incoming, outgoing) = (Arc::clone(incoming), Arc::clone(outgoing));
        Self { local: at(port), incoming, outgoing, limits: Mutex::default() }
    }

    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        give_way();
        let door = world(|world| world.doors.get(&address.port()).and_then(std::sync::Weak::upgrade));
        let door = door.ok_or(ErrorKind::ConnectionRefused)?;
        let port = world(|world| {
            world.sockets += 1;
            40_000 + world.sockets
        });
        let pipes: [Arc<Pipe>; 2] = Default::default();
        let visitor = Self::new(address.port(), &pipes[0], &pipes[1]);
        door.waiting.lock().expect("never poisoned").push_back((visitor, at(port)));
        door.bell.ring();
        Ok(Self::new(port, &pipes[1], &pipes[0]))
    }

    pub(crate) fn connect_timeout(address: &SocketAddr, _: Duration) -> io::Result<Self> {
        Self::connect(*address)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    pub(crate) fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        self.limits().is_nonblocking = is_nonblocking;
        Ok(())
    }

    pub(crate) fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.limits().read = limit;
        Ok(())
    }

    pub(crate) fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.limits().write = limit;
        Ok(())
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        give_way();
        if how != Shutdown::Write {
            self.incoming.change(|flow| flow.reader = Reader::Deaf);
        }
        if how != Shutdown::Read {
            self.outgoing.change(|flow| flow.is_ended = true);
        }
        Ok(())
    }

    /// From now on the other side panics when it reads, as a bug would make it.
    pub(crate) fn poison(&self) {
        self.outgoing.change(|flow| flow.reader = Reader::Panics);
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().expect("never poisoned")
    }

    fn read_some(&self, into: &mut [u8]) -> io::Result<usize> {
        let limit = self.limits().read.filter(|_| world(|world| world.limits_end) && once_in(8));
        wait(&[&self.incoming.bell], || {
            let mut flow = self.incoming.state();
            if flow.reader == Reader::Panics {
                drop(flow);
                // Not `panic!`: nobody should print it.
                resume_unwind(Box::new(Planned));
            }
            if flow.bytes.is_empty() {
                return match limit {
                    _ if flow.is_ended || flow.reader == Reader::Deaf => Some(Ok(0)),
                    Some(limit) => {
                        pass(limit);
                        Some(Err(ErrorKind::WouldBlock.into()))
                    }
                    None => None,
                };
            }
            let count = flow.bytes.read(into);
            drop(flow);
            self.incoming.bell.ring();
            Some(count)
        })
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let (limits, room) = (*self.limits(), world(|world| world.socket_bytes));
        let mut looks = 0;
        wait(&[&self.outgoing.bell], || {
            looks += 1;
            let mut flow = self.outgoing.state();
            if flow.is_ended || flow.reader == Reader::Gone {
                return Some(Err(ErrorKind::BrokenPipe.into()));
            }
            let count = bytes.len().min(room - flow.bytes.len());
            if count > 0 {
                flow.bytes.extend(&bytes[..count]);
                drop(flow);
                self.outgoing.bell.ring();
                return Some(Ok(count));
            }
            if limits.is_nonblocking {
                return Some(Err(ErrorKind::WouldBlock.into()));
            }
            limits.write.map(|limit| {
                pass(limit);
                Err(ErrorKind::WouldBlock.into())
            })
        })
    }
}

impl Read for &TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read_some(into)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read_some(into)
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        give_way();
        self.incoming.change(|flow| flow.reader = Reader::Gone);
        self.outgoing.change(|flow| flow.is_ended = true);
    }
}

/// Where connections to one port wait.
#[derive(Debug, Default)]
pub(crate) struct Door {
    waiting: Mutex<VecDeque<(TcpStream, SocketAddr)>>,
    bell: Bell,
}

/// As std's.
#[derive(Debug)]
pub(crate) struct TcpListener {
    port: u16,
    door: Arc<Door>,
}

impl TcpListener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        give_way();
        let (port, door) = (address.port(), Arc::new(Door::default()));
        world(|world| {
            if world.doors.get(&port).is_some_and(|door| door.strong_count() > 0) {
                return Err(ErrorKind::AddrInUse.into());
            }
            world.doors.insert(port, Arc::downgrade(&door));
            Ok(Self { port, door })
        })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { port: self.port, door: Arc::clone(&self.door) })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(at(self.port))
    }

    pub(crate) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Ok(wait(&[&self.door.bell], || self.door.waiting.lock().expect("never poisoned").pop_front()))
    }
}

/// A port of this machine.
pub(crate) fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
