//! Whom mined blocks pay: a wallet's address, a public key as it is written, or a key file that is made on
//! first use.
//!
//! What looks like an address is one, or an error: never a file's name, since nobody would look there for
//! the coins of a mistyped address. Each process draws a secret of its own, so that nobody who knows the
//! address can tell which blocks pay it.
//!
//! A key file holds 32 secret bytes in hex, readable by its owner alone; whoever has it has the coins.
//! It is made in full beside its place and then linked there, so that it is never half there and never
//! replaces another one. A comment line says what it is, and keeps the secret from being taken for a
//! public key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf, absolute};

use zeroize::Zeroizing;

use crate::blockchain::params::Params;
use crate::blockchain::payout::Payout;
use crate::cli::failure::Failure;
use crate::primitives::keys::{Key, SecretKey};
use crate::primitives::stealth::Address;
use crate::wallet::address;

/// The key file in the data directory of a miner that names none.
pub const FILE: &str = "miner.key";

const COMMENT: &str = "# a miner's secret key: whoever has this file has the coins";
/// Far more than a key file has.
const FILE_BYTES_MAX: u64 = 4_096;
/// An address has 118 letters behind its prefix. Fewer than these are no copy of one.
const ADDRESS_LETTERS_LEAST: usize = 32;

/// Whom to pay, checked, with nothing made yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MineTo {
    /// A wallet.
    Address(Box<Address>),
    /// This key.
    Key(Key),
    /// The key in this file; it is made if it is missing.
    File(PathBuf),
}

impl MineTo {
    /// What `--mine-to` says; without it, the key file in the data directory.
    pub fn check(params: &Params, text: Option<&str>, data_dir: &Path) -> Result<Self, Failure> {
        let wrong = |text: &str, why: &str| Failure::options(format!("option `--mine-to`: `{text}` {why}"));
        let Some(text) = text else {
            let file = data_dir.join(FILE);
            return check_file(&file, data_dir)
                .map_err(|why| wrong(&file.display().to_string(), &why))
                .map(|()| Self::File(file));
        };
        let mut key = Key::default();
        if hex::decode_to_slice(text, &mut key.0).is_ok() {
            return key.check_payable().map_err(|why| wrong(text, why)).map(|()| Self::Key(key));
        }
        if looks_like_address(params, text) {
            return match address::parse(params, text) {
                Ok(address) => Ok(Self::Address(Box::new(address))),
                // Only its beginning is repeated: it may be a view key, which is a secret.
                Err(error) => Err(Failure::options(format!(
                    "option `--mine-to`: `{text:.16}…` cannot be paid: {error}; a key file with such a name needs `./` in \
                     front of it"
                ))),
            };
        }
        // A mistyped key must not become a file's name, to which nobody would look for coins.
        if !text.contains(['/', '.', std::path::MAIN_SEPARATOR]) && !Path::new(text).exists() {
            let why = "is no address, no public key (64 hexadecimal digits) and no key file (a new one needs a `/` or `.` \
                       in its path)";
            return Err(wrong(text, why));
        }
        check_file(Path::new(text), data_dir).map_err(|why| wrong(text, &why)).map(|()| Self::File(text.into()))
    }

    /// What a node is to be told. A key file is made now if it is missing; the second value says where that is.
    pub fn payout(&self) -> Result<(Payout, Option<&Path>), Failure> {
        match self {
            Self::Address(address) => {
                let mut node_secret = [0; 32];
                getrandom::fill(&mut node_secret)
                    .map_err(|error| Failure::world(format!("the system gives no random bytes: {error}")))?;
                Ok((Payout::Address { address: address.clone(), node_secret }, None))
            }
            Self::Key(key) => Ok((Payout::Key(*key), None)),
            Self::File(path) => {
                let (secret, made) = secret(path)?;
                Ok((Payout::Key(SecretKey::from_seed(&secret).public()), made))
            }
        }
    }

    /// The key file, for who has to sign for what is mined; without one there is nothing to sign with.
    pub fn key_file(&self) -> Result<&Path, &'static str> {
        match self {
            Self::File(path) => Ok(path),
            Self::Address(_) => Err("an address, which cannot sign"),
            Self::Key(_) => Err("a public key, which cannot sign"),
        }
    }
}

/// Whether this was meant as an address: it begins with our network's prefix, or has the form of any
/// network's. A `/` makes it a path.
fn looks_like_address(params: &Params, text: &str) -> bool {
    let text = text.trim();
    let ours = params.spec().name.to_ascii_lowercase() + "1";
    let has_form = text.rsplit_once('1').is_some_and(|(_, letters)| {
        letters.len() >= ADDRESS_LETTERS_LEAST && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
    });
    !text.contains(['/', std::path::MAIN_SEPARATOR]) && (text.to_ascii_lowercase().starts_with(&ours) || has_form)
}

/// The secret in a key file, which is made now if it is missing; the second value says where that is.
pub fn secret(path: &Path) -> Result<(Zeroizing<[u8; 32]>, Option<&Path>), Failure> {
    let cannot = |error: io::Error| {
        let shown = path.display();
        Failure::world(format!("cannot make the key file `{shown}`: {error}; choose another with `--mine-to`"))
    };
    let made = !path.exists() && make(path).map_err(cannot)?;
    let secret = read(path).map_err(|why| Failure::world(format!("`{}` {why}", path.display())))?;
    Ok((secret, made.then_some(path)))
}

/// Whether a key file is one, or can be made.
fn check_file(path: &Path, data_dir: &Path) -> Result<(), String> {
    if path.symlink_metadata().is_ok() {
        return read(path).map(|_| ());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The data directory itself may be about to be made, and was checked by whoever will make it.
    let is_data_dir = || matches!((absolute(parent), absolute(data_dir)), (Ok(parent), Ok(data)) if parent == data);
    if parent.is_dir() || is_data_dir() {
        return Ok(());
    }
    Err(format!("cannot be made, because `{}` is not a directory; make that first", parent.display()))
}

fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>, String> {
    if path.is_dir() {
        return Err("is a directory; an address, a public key in hex or a key file is needed".into());
    }
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut seed = Zeroizing::new([0; 32]);
    // What stands there may be a secret with a slip in it: it is not repeated.
    match (lines.next().map(|line| hex::decode_to_slice(line, &mut *seed)), lines.next()) {
        (Some(Ok(())), None) => Ok(seed),
        _ => Err("is not a key file: one line of 64 hexadecimal digits is needed".into()),
    }
}

/// Makes a key file; false if somebody else has done so meanwhile.
fn make(path: &Path) -> io::Result<bool> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(fresh);
    if let Err(error) = write(&fresh, &format!("{COMMENT}\n{}\n", hex::encode(seed))) {
        // A full disk: half a key must not lie around, least of all under the key's name. That it could not
        // be written is what counts, whether or not its remains can be removed.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    let linked = fs::hard_link(&fresh, path)
        // Not every file system has links; there a rename has to do.
        .or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Err(error),
            _ if path.exists() => Err(ErrorKind::AlreadyExists.into()),
            _ => fs::rename(&fresh, path),
        });
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match linked {
        Ok(()) => crate::blockchain::os::sync_dir(parent).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::hash::Hash;
    use crate::wallet::keys::SpendKeys;
    use crate::wallet::words;

    /// Goal: a key file is made once, is its owner's alone, and gives the same key ever after; nothing is
    /// left beside it. Method: two uses of one path.
    #[test]
    fn a_key_file_is_made_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("some.key");
        let mine_to = MineTo::check(&Params::regtest(), path.to_str(), directory.path()).expect("it can be made");
        assert!(!path.exists(), "checking makes nothing");
        let (payout, made) = mine_to.payout().expect("made");
        assert_eq!(made, Some(&*path));
        let key = |payout: &Payout| if let Payout::Key(key) = payout { Some(*key) } else { None };
        let (again, made_again) = mine_to.payout().expect("read");
        assert_eq!((key(&again), made_again), (key(&payout), None));
        assert!(key(&payout).is_some());
        assert!(!make(&path).expect("no fault"), "a second one never replaces it");
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
    }

    /// Goal: coins never go where nobody can spend them, and a mistyped key never becomes a file's name.
    /// Method: keys of every wrong kind.
    #[test]
    fn bad_keys_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let check = |text: Option<&str>| MineTo::check(&Params::regtest(), text, directory.path());
        let good = SecretKey::from_seed(&[7; 32]).public().to_string();
        assert!(check(Some(&good)).is_ok());
        // Too short, too long, no hex; then small order (twice) and no point at all.
        let (short, long, no_hex) = (&good[1..], format!("{good}00"), good.replace(['a', 'b', 'c', '1'], "g"));
        let no_point = format!("02{}", "0".repeat(62));
        for bad in [short, &long, &no_hex, &"0".repeat(64), &format!("01{}", "0".repeat(62)), &no_point, "", "key"] {
            assert!(check(Some(bad)).is_err(), "{bad}");
        }
        let path = directory.path().join("bad.key");
        fs::write(&path, "# no key\n1234\n").expect("a small file");
        for bad in [path.as_path(), directory.path(), &directory.path().join("missing/some.key")] {
            assert!(check(bad.to_str()).is_err(), "{}", bad.display());
        }
    }
    /// Goal: an address is paid, each block by a key of its own that another process would not choose; what
    /// was meant as one and is none is refused with the reason, even if a file has that name; a path stays a
    /// path. Method: an address of regtest with every kind of slip, and one of `local`.
    #[test]
    fn an_address_is_paid_or_refused() {
        let (ours, others) = (Params::regtest(), Params::local());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let check = |text: &str| MineTo::check(&ours, Some(text), directory.path());
        let (_, seed) = words::from_entropy(&[7; 32]);
        let keys = SpendKeys::from_seed(&seed);
        let [good, other] = [&ours, &others].map(|of| address::show(of, &keys.view().address(of.genesis_id())));
        let key_at_1 = |mine_to: MineTo| mine_to.payout().expect("chance").0.coinbase(1, Hash::ZERO, 5).output.key;
        let [one, two] = [good.clone(), good.to_uppercase()].map(|text| key_at_1(check(&text).expect("an address")));
        assert_ne!(one, two, "each process has its own secret");

        let mut slip = good.clone();
        slip.replace_range(20..21, if &good[20..21] == "q" { "p" } else { "q" });
        let path = good.replace("regtest1", "regtest1.");
        for (bad, why) in [
            (slip.as_str(), "checksum"),
            (&good[..good.len() - 1], "checksum"),
            (&good.replace("regtest1", "regtset1"), "checksum"),
            (&other, "`local`"),
            (&keys.view().show(&ours), "view key"),
            (&path, "form"),
            ("regtest1.key", "`./` in front"),
        ] {
            let said = check(bad).expect_err(bad).to_string();
            let is_repeated = bad.get(16..).is_some_and(|rest| said.contains(rest));
            assert!(said.contains(why) && !is_repeated, "{bad}: {said}");
        }
        let named = directory.path().join(&slip);
        assert!(matches!(check(named.to_str().expect("plain")), Ok(MineTo::File(_))), "a path is a path");
    }
}
