//! Where files are kept when nobody says where: a node's in one directory for each network and port, so
//! that two nodes start side by side; wallets beside those, one for each network.

use std::env;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;

/// The data directory of a node on this network and port.
pub fn default_for(network: &str, port: u16) -> Result<PathBuf, Failure> {
    let none = "the chain in (neither XDG_DATA_HOME nor HOME is an absolute path); name a directory with `--data-dir`";
    Ok(ours(none)?.join(format!("{network}-{port}")))
}

/// The wallet file of this network.
pub fn default_wallet(network: &str) -> Result<PathBuf, Failure> {
    let none = "the wallet in (neither XDG_DATA_HOME nor HOME is an absolute path); name a file with `--wallet`";
    Ok(ours(none)?.join(format!("{network}.wallet")))
}

/// The directory that holds all of these.
fn ours(none: &str) -> Result<PathBuf, Failure> {
    let base = base(&|name| env::var_os(name).map(PathBuf::from));
    let base = base.ok_or_else(|| Failure::options(format!("there is no home directory to keep {none}")))?;
    Ok(base.join("spindle"))
}

/// Checks that a directory is one or can become one, without making it.
pub fn check(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    if path.as_os_str().is_empty() {
        return Err(Failure::options("option `--data-dir`: `` is empty; the path of a directory is needed"));
    }
    let Some(there) = path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()) else { return Ok(()) };
    match there.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::options(format!(
            "option `--data-dir`: `{shown}` cannot be a directory, because `{}` is not one; choose another path",
            there.display()
        ))),
        Err(error) => Err(Failure::options(format!(
            "option `--data-dir`: `{shown}` cannot be a directory, because `{}` leads nowhere ({error}); choose another \
             path",
            there.display()
        ))),
    }
}

/// Where programs of this system keep data of this user.
fn base(var: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| var(name).filter(|path| path.is_absolute());
    if cfg!(windows) {
        return absolute("LOCALAPPDATA");
    }
    if cfg!(target_os = "macos") {
        return absolute("HOME").map(|home| home.join("Library").join("Application Support"));
    }
    // https://specifications.freedesktop.org/basedir-spec: a relative path there is to be ignored.
    absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local").join("share")))
}

#[cfg(all(test, unix, not(target_os = "macos")))]
mod tests {
    use super::*;

    /// Goal: the XDG directory wins, relative ones do not count, and no home is an answer too.
    /// Method: environments as functions.
    #[test]
    fn the_data_directory_follows_xdg() {
        let with = |xdg: Option<&'static str>, home: Option<&'static str>| {
            base(&|name| if name == "HOME" { home.map(PathBuf::from) } else { xdg.map(PathBuf::from) })
        };
        assert_eq!(with(Some("/x"), Some("/h")), Some("/x".into()));
        assert_eq!(with(Some("x"), Some("/h")), Some("/h/.local/share".into()));
        assert_eq!(with(Some("x"), Some("")), None);
        assert_eq!(with(None, None), None);
    }
}
