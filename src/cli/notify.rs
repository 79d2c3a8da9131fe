//! What systemd, or whoever else speaks its protocol, is told: that the node is ready, how it is, and that it stops.
//!
//! A datagram with lines of `NAME=value`, to the socket that `NOTIFY_SOCKET` names:
//! <https://www.freedesktop.org/software/systemd/man/sd_notify.html>. Without that variable nobody wants to know.

#[cfg(unix)]
use std::env;
#[cfg(unix)]
use std::ffi::OsString;
#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;
#[cfg(unix)]
use std::time::Duration;

/// For one datagram to be taken.
#[cfg(unix)]
const LIMIT: Duration = Duration::from_secs(1);

/// Who has started this process and wants to know, if anybody does.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    #[cfg(unix)]
    socket: Option<OsString>,
}

impl Supervisor {
    /// Whom the environment names.
    pub fn of_environment() -> Self {
        #[cfg(unix)]
        return Self { socket: env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) };
        #[cfg(not(unix))]
        Self::default()
    }

    /// Whether there is anybody.
    pub fn is_there(&self) -> bool {
        #[cfg(unix)]
        return self.socket.is_some();
        #[cfg(not(unix))]
        false
    }

    /// The node serves others from now on.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// How it is, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The node begins to stop.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    #[cfg(unix)]
    fn tell(&self, words: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, words.as_bytes()) {
            log::warn!("cannot tell `{}`, which NOTIFY_SOCKET names, how this node is: {error}", socket.display());
        }
    }

    #[cfg(not(unix))]
    fn tell(&self, _words: &str) {}
}

#[cfg(unix)]
fn send(socket: &OsString, words: &[u8]) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;

    let ours = UnixDatagram::unbound()?;
    // Whoever started us may be slow, and must not stop us.
    ours.set_write_timeout(Some(LIMIT))?;
    match socket.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            ours.send_to_addr(words, &address)?;
        }
        _ => {
            ours.send_to(words, socket)?;
        }
    }
    Ok(())
}
