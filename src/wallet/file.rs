//! The wallet file: everything in one encrypted piece, replaced as a whole.
//!
//! ```text
//! "spwallet" | version u8 | memory KiB u32 | passes u32 | lanes u32 | salt 16 | nonce 24     the head
//! ciphertext | tag 16 | sha256 of all before, 32
//! ```
//!
//! The key is argon2id of the password (RFC 9106); the cipher is XChaCha20-Poly1305, whose nonces are long
//! enough to be drawn anew for each save, with the head as associated data. The plain hash at the end tells
//! damage from a wrong password; it covers nothing that is not there for everybody to read.
//!
//! A save writes a new file beside the old one, syncs it, renames it into place and syncs the directory:
//! after a crash at any step the one or the other is there, whole. The file is its owner's alone from the
//! moment it is made. A lock beside it keeps a second process out, and says who holds it. Both of these have
//! names that no wallet can have, so that no command ever touches another wallet's file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params as Argon2Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::blockchain::disk::{self, Disk};
use crate::blockchain::os::DataDir;
use crate::blockchain::storage::StoreError;
use crate::primitives::hash::Hash;
use crate::wallet::keys::{SpendKeys, ViewKeys};
use crate::wallet::state::State;
use crate::wallet::words::Seed;

const MAGIC: &[u8; 8] = b"spwallet";
const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const NONCE_AT: usize = 8 + 1 + 3 * 4 + SALT_BYTES;
const HEAD_BYTES: usize = NONCE_AT + NONCE_BYTES;
const TAG_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;
/// Genesis id, kind, secret.
const SECRETS_BYTES: usize = 32 + 1 + 64;
const SPENDS: u8 = 1;
const WATCHES: u8 = 2;
/// What the names of a wallet's other files end in: the new one while it is written, and the lock.
const FRESH: &str = ".spindle-new";
const LOCK: &str = ".spindle-lock";
/// A file of this size would hold millions of transactions.
const FILE_BYTES_MAX: usize = 1 << 30;

/// What a password costs to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Parts of it that could be filled in parallel.
    pub lanes: u32,
}

impl Cost {
    /// For new files: RFC 9106's choice for machines with little memory, with one lane since one thread
    /// does it: under half a second on a small machine, and 64 MiB for each guess.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 1 };

    /// A file that asks for more was not made by us, and would only keep the machine busy.
    const MAX: Self = Self { memory_kib: 256 << 10, passes: 8, lanes: 16 };
}

/// Why a wallet file cannot be used. None of these has changed the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} the wallet file `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its directory could not be used.
    #[error(transparent)]
    Directory(StoreError),
    /// Another command is at it.
    #[error(
        "the wallet `{}` is in use by {}; wait until that has ended",
        path.display(), pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who says to hold it.
        pid: Option<u32>,
    },
    /// There is none.
    #[error("there is no wallet `{}`; `spindle wallet new` makes one, and `--wallet` names another", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is one, and it is never overwritten.
    #[error("there is a wallet `{}` already; choose another file, or move that one away", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Its name means something else.
    #[error(
        "`{}` is no name for a wallet: names that begin with a dot and end in `{FRESH}` or `{LOCK}` are those of the files \
         beside one; choose another", path.display()
    )]
    Reserved {
        /// What was asked for.
        path: PathBuf,
    },
    /// Something else.
    #[error("`{}` is not a wallet file", path.display())]
    NotAWallet {
        /// The file.
        path: PathBuf,
    },
    /// Nothing of ours grows so large.
    #[error("`{}` is larger than any wallet file (limit {FILE_BYTES_MAX} bytes); choose another file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Of a later program.
    #[error("the wallet `{}` has version {version}, and this program knows {VERSION}; use the newer program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u8,
    },
    /// Not as it was written.
    #[error("the wallet `{}` is damaged ({why}); it was left as it is: take a copy of it, or restore from the words", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
    /// The password does not open it.
    #[error("the password does not open the wallet `{}`", path.display())]
    WrongPassword {
        /// The file.
        path: PathBuf,
    },
    /// It belongs elsewhere.
    #[error("the wallet `{}` is of another network (its genesis is {genesis:.16}…)", path.display())]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// Its network.
        genesis: Hash,
    },
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What a wallet is: it spends, or it watches.
#[derive(Clone, PartialEq, Eq)]
pub enum Secrets {
    /// Everything follows from the seed.
    Spend(Seed),
    /// Sees, and cannot spend.
    Watch(ViewKeys),
}

impl Secrets {
    /// What sees: both kinds have it.
    pub fn view_keys(&self) -> ViewKeys {
        match self {
            Self::Spend(seed) => SpendKeys::from_seed(seed).view().clone(),
            Self::Watch(keys) => keys.clone(),
        }
    }

    /// What spends: only the one has it.
    pub fn spend_keys(&self) -> Option<SpendKeys> {
        match self {
            Self::Spend(seed) => Some(SpendKeys::from_seed(seed)),
            Self::Watch(_) => None,
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spend(_) => "Spend",
            Self::Watch(_) => "Watch",
        })
    }
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The network's genesis id.
    pub genesis: Hash,
    /// The keys.
    pub secrets: Secrets,
    /// The coins.
    pub state: State,
}

/// Fills bytes with unguessable chance.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// A wallet file that is held by this process.
pub struct WalletFile {
    disk: Arc<dyn Disk>,
    name: String,
    random: Random,
    /// The head but for the nonce.
    cost: Cost,
    salt: [u8; SALT_BYTES],
    key: Zeroizing<[u8; 32]>,
}

/// The name of a file that belongs to a wallet and stands beside it. Nobody else's file is called so by
/// accident, and no wallet is ever made under such a name.
fn reserved(name: &str, ending: &str) -> String {
    format!(".{name}{ending}")
}

/// Takes the file at a path for this process alone, whether it exists or not; gives its directory and name. A
/// link stands for the file that it leads to: the lock is that one's, and that one is what a save replaces.
pub fn hold(path: &Path) -> Result<(Arc<dyn Disk>, String), FileError> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(FileError::io("look for", path)(error)),
    };
    let path = real.as_path();
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| FileError::NotAWallet { path: path.to_owned() })?.to_owned();
    if name.starts_with('.') && [FRESH, LOCK].iter().any(|ending| name.ends_with(ending)) {
        return Err(FileError::Reserved { path: path.to_owned() });
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match DataDir::open_private(parent, &reserved(&name, LOCK)) {
        Ok(disk) => Ok((Arc::new(disk), name)),
        Err(StoreError::Locked { pid, .. }) => Err(FileError::InUse { path: path.to_owned(), pid }),
        Err(error) => Err(FileError::Directory(error)),
    }
}

impl WalletFile {
    /// Makes a new file.
    pub fn create(
        (disk, name): (Arc<dyn Disk>, String),
        random: Random,
        cost: Cost,
        password: &[u8],
        contents: &Contents,
    ) -> Result<Self, FileError> {
        let path = disk.path(&name);
        let io = |action| FileError::io(action, &path);
        if disk.exists(&name).map_err(io("look for"))? {
            return Err(FileError::Exists { path });
        }
        let mut salt = [0; SALT_BYTES];
        random(&mut salt).map_err(io("draw chance for"))?;
        let key = derive(password, &salt, cost).map_err(|why| FileError::Damaged { path: path.clone(), why })?;
        let file = Self { disk, name, random, cost, salt, key };
        file.save(contents)?;
        Ok(file)
    }

    /// Opens a file of this network.
    pub fn open(
        (disk, name): (Arc<dyn Disk>, String),
        random: Random,
        password: &[u8],
        genesis: Hash,
    ) -> Result<(Self, Contents), FileError> {
        let path = disk.path(&name);
        let read = disk::read_small(&*disk, &name, FILE_BYTES_MAX);
        let bytes = read.map_err(FileError::io("read", &path))?;
        let Some(bytes) = bytes else {
            let there = disk.exists(&name).map_err(FileError::io("look for", &path))?;
            return Err(if there { FileError::TooLarge { path } } else { FileError::Missing { path } });
        };
        let damaged = |why: String| FileError::Damaged { path: path.clone(), why };
        let Parts { head, ciphertext, tag } = split(&bytes, &path)?;
        let (cost, salt) = read_head(head);
        let key = derive(password, &salt, cost).map_err(damaged)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        XChaCha20Poly1305::new((&*key).into())
            .decrypt_inout_detached(nonce(head).into(), head, plain.as_mut_slice().into(), tag.into())
            .map_err(|_| FileError::WrongPassword { path: path.clone() })?;
        let contents = Contents::decode(&plain).map_err(damaged)?;
        if contents.genesis != genesis {
            return Err(FileError::OtherNetwork { path, genesis: contents.genesis });
        }
        Ok((Self { disk, name, random, cost, salt, key }, contents))
    }

    /// Puts new contents in the place of the old. When it has returned, they last.
    pub fn save(&self, contents: &Contents) -> Result<(), FileError> {
        let path = self.disk.path(&self.name);
        let io = |action| FileError::io(action, &path);
        let mut fresh = [0; NONCE_BYTES];
        (self.random)(&mut fresh).map_err(io("draw chance for"))?;
        let head = self.head(&fresh);
        let mut plain = contents.encode();
        let tag = XChaCha20Poly1305::new((&*self.key).into())
            .encrypt_inout_detached((&fresh).into(), &head, plain.as_mut_slice().into())
            .expect("a wallet is far smaller than the cipher's limit of 256 GiB");
        let mut bytes = [head.as_slice(), &plain, &tag].concat();
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        disk::replace_by(&*self.disk, &self.name, &reserved(&self.name, FRESH), &bytes).map_err(io("write"))
    }

    /// Takes a file away again that was just made, and whose words nobody has seen.
    pub fn remove(self) -> Result<(), FileError> {
        let removed = self.disk.remove(&self.name).and_then(|()| self.disk.sync_dir());
        removed.map_err(FileError::io("remove", &self.path()))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.disk.path(&self.name)
    }

    fn head(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; HEAD_BYTES] {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let numbers = [memory_kib, passes, lanes].map(u32::to_le_bytes).concat();
        let head = [MAGIC.as_slice(), &[VERSION], &numbers, &self.salt, nonce].concat();
        head.try_into().expect("every part has a fixed size")
    }
}

impl fmt::Debug for WalletFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalletFile({})", self.path().display())
    }
}

impl Contents {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // The state first: it decides the size, and a buffer that grew would leave copies of the secrets.
        let mut state = Vec::new();
        self.state.encode(&mut state);
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRETS_BYTES + state.len()));
        bytes.extend_from_slice(&self.genesis.0);
        match &self.secrets {
            Secrets::Spend(seed) => {
                bytes.push(SPENDS);
                bytes.extend_from_slice(seed.as_bytes());
            }
            Secrets::Watch(keys) => {
                let (view, spend) = keys.to_bytes();
                bytes.push(WATCHES);
                bytes.extend_from_slice(&*view);
                bytes.extend_from_slice(&spend);
            }
        }
        bytes.extend_from_slice(&state);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (secrets, state) = bytes.split_first_chunk::<SECRETS_BYTES>().ok_or("it is too short")?;
        let (genesis, rest) = secrets.split_first_chunk::<32>().expect("32 of 97");
        let (&[kind], secret) = rest.split_first_chunk::<1>().expect("1 of 65");
        let secret: Zeroizing<[u8; 64]> = Zeroizing::new(secret.try_into().expect("the other 64"));
        let secrets = match kind {
            SPENDS => Secrets::Spend(Seed::from_bytes(*secret)),
            WATCHES => {
                let (view, spend) = (secret.first_chunk().expect("32"), secret.last_chunk().expect("32"));
                let keys = ViewKeys::from_bytes(view, spend);
                Secrets::Watch(keys.map_err(|(which, why)| format!("its {which} key {why}"))?)
            }
            _ => return Err("it holds keys of an unknown kind".into()),
        };
        let state = State::decode(state).map_err(|error| error.to_string())?;
        Ok(Self { genesis: Hash(*genesis), secrets, state })
    }
}

/// What a file is made of, its checksum apart.
struct Parts<'a> {
    head: &'a [u8; HEAD_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

/// The parts of a file that is as it was written.
fn split<'a>(bytes: &'a [u8], path: &Path) -> Result<Parts<'a>, FileError> {
    let path = || path.to_owned();
    let damaged = |why: &str| FileError::Damaged { path: path(), why: why.to_owned() };
    if !bytes.starts_with(MAGIC) {
        return Err(FileError::NotAWallet { path: path() });
    }
    let (rest, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    let (head, body) = rest.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    let version = head[MAGIC.len()];
    let sound = Sha256::digest(rest).as_slice() == checksum;
    if sound && version != VERSION {
        return Err(FileError::Newer { path: path(), version });
    }
    if !sound {
        return Err(damaged("its checksum is wrong"));
    }
    let (ciphertext, tag) = body.split_last_chunk::<TAG_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    Ok(Parts { head, ciphertext, tag })
}

fn read_head(head: &[u8; HEAD_BYTES]) -> (Cost, [u8; SALT_BYTES]) {
    let number = |n: usize| u32::from_le_bytes(*head[MAGIC.len() + 1 + 4 * n..].first_chunk().expect("4 of the head"));
    let cost = Cost { memory_kib: number(0), passes: number(1), lanes: number(2) };
    (cost, *head[NONCE_AT - SALT_BYTES..].first_chunk().expect("16 of the head"))
}

fn nonce(head: &[u8; HEAD_BYTES]) -> &[u8; NONCE_BYTES] {
    head.last_chunk().expect("24 of the head")
}

/// The key that a password gives; the error is how a file shows that we did not make it.
fn derive(password: &[u8], salt: &[u8; SALT_BYTES], cost: Cost) -> Result<Zeroizing<[u8; 32]>, String> {
    let Cost { memory_kib, passes, lanes } = cost;
    if memory_kib > Cost::MAX.memory_kib || passes > Cost::MAX.passes || lanes > Cost::MAX.lanes {
        return Err(format!("its password costs {memory_kib} KiB, {passes} passes, {lanes} lanes to try"));
    }
    let mut key = Zeroizing::new([0; 32]);
    let params = Argon2Params::new(memory_kib, passes, lanes, Some(key.len())).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, salt, &mut *key).map_err(|error| error.to_string())?;
    Ok(key)
}
