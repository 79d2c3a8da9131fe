//! A wallet file, held and opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::blockchain::params::Params;
use crate::cli::failure::Failure;
use crate::cli::wallet::secret;
use crate::cli::{directory, network};
use crate::primitives::stealth::Address;
use crate::wallet::address;
use crate::wallet::file::{self, Contents, Cost, FileError, Secrets, WalletFile};
use crate::wallet::state::{Mark, State};

/// Which wallet is meant, and of which network.
pub(super) struct Place {
    pub(super) params: Params,
    path: PathBuf,
}

impl Place {
    /// Touches nothing yet.
    pub(super) fn find(network: &str, wallet: Option<PathBuf>) -> Result<Self, Failure> {
        let params = network::load(network)?;
        let path = match wallet {
            Some(path) if path.as_os_str().is_empty() || path.file_name().is_none() || path.is_dir() => {
                let shown = path.display();
                return Err(Failure::options(format!("option `--wallet`: `{shown}` is not the path of a file")));
            }
            Some(path) => path,
            None => directory::default_wallet(&params.spec().name)?,
        };
        Ok(Self { params, path })
    }

    /// That there is no wallet yet, before a person is asked for anything.
    pub(super) fn must_be_free(&self) -> Result<(), Failure> {
        if self.path.symlink_metadata().is_ok() {
            return Err(FileError::Exists { path: self.path.clone() }.into());
        }
        Ok(())
    }

    /// Makes the file, with nothing seen yet but the block that it looks from.
    pub(super) fn make(self, secrets: Secrets, start: Mark, password_file: Option<&Path>) -> Result<Wallet, Failure> {
        let Self { params, path } = self;
        let password = secret::new_password(password_file)?;
        let held = file::hold(&path)?;
        let contents = Contents { genesis: params.genesis_id(), secrets, state: State::new(start) };
        let file = WalletFile::create(held, random, Cost::DEFAULT, password.as_bytes(), &contents)?;
        Ok(Wallet { params, file, contents })
    }

    /// Opens the file; nobody else does until the wallet is dropped.
    pub(super) fn open(self, password_file: Option<&Path>) -> Result<Wallet, Failure> {
        let Self { params, path } = self;
        // Looked for before it is held: that would leave a lock file, and perhaps a directory, for nothing.
        if !path.exists() {
            return Err(FileError::Missing { path }.into());
        }
        let held = file::hold(&path)?;
        let password = secret::password(password_file)?;
        let (file, contents) = WalletFile::open(held, random, password.as_bytes(), params.genesis_id())?;
        Ok(Wallet { params, file, contents })
    }
}

/// An open wallet.
pub(super) struct Wallet {
    pub(super) params: Params,
    pub(super) file: WalletFile,
    pub(super) contents: Contents,
}

impl Wallet {
    /// Keeps what is known now.
    pub(super) fn save(&self) -> Result<(), FileError> {
        self.file.save(&self.contents)
    }

    /// Where it is paid.
    pub(super) fn address(&self) -> Address {
        self.contents.secrets.view_keys().address(self.params.genesis_id())
    }

    /// That as a text.
    pub(super) fn address_text(&self) -> String {
        address::show(&self.params, &self.address())
    }
}

/// The system's chance.
pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// Where a wallet looks from that may have been paid at any time.
pub(super) fn genesis(params: &Params) -> Mark {
    Mark { height: 0, id: params.genesis_id() }
}
