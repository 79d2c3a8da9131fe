//! What can be wrong with our own disk: which file, where in it, the figure, and the way out.
//!
//! Nothing a peer sends ends here. Every one of these climbs to `main`.

use std::io;
use std::path::PathBuf;

use crate::blockchain::reject::Reject;
use crate::primitives::hash::Hash;

/// Our own disk failed, or holds what it should not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused a call.
    #[error("cannot {action} `{}`; {}", path.display(), way_out(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record that was synced is not what was written.
    #[error(
        "record {record} at byte {offset} of `{}` is bad ({reason}) although it was synced (mark: {mark}), so this is \
         damage, not a torn write; `spindle chain verify` looks for the first of it, and with the directory moved aside \
         the node fetches everything again from its peers",
        path.display()
    )]
    Damaged {
        /// The block file.
        path: PathBuf,
        /// Which record.
        record: u32,
        /// Where its frame begins.
        offset: u64,
        /// Bytes that were synced.
        mark: u64,
        /// What is wrong with it.
        reason: BadRecord,
    },
    /// The block file ends before its mark.
    #[error(
        "`{}` has {size_bytes} bytes but {mark} were synced (mark), so its end is lost; put the file back, or move the \
         directory aside and the node fetches everything again from its peers",
        path.display()
    )]
    Short {
        /// The block file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// Bytes that were synced.
        mark: u64,
    },
    /// Neither slot of the mark is valid, and the block file is not whole either.
    #[error(
        "record {record} at byte {offset} of `{}` is bad ({reason}), and without a valid mark in `{}` nobody can tell \
         whether it was ever synced; put the mark back, or move the directory aside and the node fetches everything \
         again from its peers",
        path.display(), mark.display()
    )]
    Unmarked {
        /// The block file.
        path: PathBuf,
        /// The mark's file.
        mark: PathBuf,
        /// Which record.
        record: u32,
        /// Where its frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: BadRecord,
    },
    /// A record of the index changed under a running node.
    #[error(
        "record {record} of `{}` fails its checksum; it is only a cache: start again and it is made anew from the \
         block file",
        path.display()
    )]
    IndexDamaged {
        /// The index.
        path: PathBuf,
        /// Which record.
        record: u32,
    },
    /// Not a file of ours.
    #[error("`{}` is not a block file of spindle ({reason}); choose another directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How that is seen.
        reason: String,
    },
    /// Written by a program that knows more.
    #[error(
        "`{}` has format version {version} and this program knows up to {known}; a newer spindle is needed",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// Ours.
        known: u32,
    },
    /// A chain of another network.
    #[error(
        "`{}` belongs to the network with genesis {found:.16} and this one has {expected:.16}; choose another \
         directory or the other network",
        path.display()
    )]
    OtherNetwork {
        /// The block file.
        path: PathBuf,
        /// The genesis id in it.
        found: Hash,
        /// The genesis id of the network that was asked for.
        expected: Hash,
    },
    /// No chain where one is to be read.
    #[error("there is no `{}`; name the data directory of a node", path.display())]
    NoChain {
        /// The block file that is missing.
        path: PathBuf,
    },
    /// Another process holds the directory.
    #[error(
        "`{}` is in use by {}; stop that process or choose another directory",
        path.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who says to hold it.
        pid: Option<u32>,
    },
    /// An earlier write or sync failed: what the disk holds is no longer known, so nothing is tried again.
    #[error(
        "`{}` takes no more writes since an earlier one failed ({reason}); check the disk, then start again",
        path.display()
    )]
    Poisoned {
        /// The block file.
        path: PathBuf,
        /// The first failure.
        reason: String,
    },
}

/// Why bytes in the block file are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The file ends inside.
    #[error("it needs {needed} bytes and {there} are there")]
    Torn {
        /// Bytes of the whole frame, as far as known.
        needed: u64,
        /// Bytes up to the file's end.
        there: u64,
    },
    /// No frame begins here.
    #[error("no frame begins there")]
    Magic,
    /// A frame that holds no block.
    #[error("its kind is {0}, not a block")]
    Kind(u8),
    /// A length that no block has.
    #[error("its length is {0} bytes, which no block has")]
    Length(u32),
    /// The payload is not the one that was framed.
    #[error("its checksum fails")]
    Checksum,
    /// A block, but not the one that belongs here.
    #[error("it is block {0:.16}, which is not the one in the index")]
    Id(Hash),
    /// No work in it.
    #[error("its hash does not meet its difficulty")]
    Work,
    /// Its parent is not before it.
    #[error("its parent {0:.16} is not in the file before it")]
    UnknownParent(Hash),
    /// A block that breaks a rule.
    #[error("{0}")]
    Rule(Box<Reject>),
    /// Its height does not follow.
    #[error("its height is {height} and its parent's is {parent}")]
    Height {
        /// What it says.
        height: u64,
        /// Of its parent.
        parent: u64,
    },
}

/// What a person can do about a refusal of the system.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space, then start again",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give this user the right to it, or choose another directory"
        }
        io::ErrorKind::NotFound => "check that the directory is still there",
        _ => "check the disk, then start again: all that was synced is kept",
    }
}

impl StoreError {
    /// For `map_err`: names the call and the file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What happened without what to do about it: for whoever goes on all the same.
    pub fn cause(&self) -> String {
        match self {
            Self::Io { action, path, source } => format!("cannot {action} `{}`: {source}", path.display()),
            other => other.to_string(),
        }
    }
}
