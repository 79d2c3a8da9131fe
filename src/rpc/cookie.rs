//! The cookie: a secret made anew at each start, in a file that only the node's own user can read.
//!
//! Whoever can read the data directory may steer the node; nobody has to invent a password or type one. It is
//! shown as `Authorization: Bearer HEX`, or as the password of the user `spindle` (`curl -u spindle:HEX`).

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::blockchain::os::save_private;

/// Its name in the data directory. It holds the secret in hex, and no end of line.
pub const COOKIE_FILE: &str = "rpc.cookie";
/// Of the secret.
const SECRET_BYTES: usize = 32;
/// Whom a basic login names.
const USER: &str = "spindle";

/// The secret, in the two forms in which it is shown.
#[derive(Clone)]
pub struct Cookie {
    hex: Zeroizing<String>,
    /// Base64 of `spindle:HEX`: what is compared is never decoded.
    login: Zeroizing<String>,
}

impl Cookie {
    /// A new one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(&mut *secret)?;
        Ok(Self::from_hex(&Zeroizing::new(hex::encode(secret.as_slice()))))
    }

    /// The one of the node that runs on this data directory.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        let text = Zeroizing::new(fs::read_to_string(data_dir.join(COOKIE_FILE))?);
        let text = text.trim();
        if text.len() != 2 * SECRET_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not hold 64 hexadecimal digits"));
        }
        Ok(Self::from_hex(text))
    }

    /// Whether this is the value of an `Authorization` field that shows it. Takes the same time whatever the
    /// credentials are.
    pub fn is_shown_by(&self, authorization: &str) -> bool {
        let Some((scheme, credentials)) = authorization.split_once(' ') else { return false };
        let credentials = credentials.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            same(credentials.as_bytes(), self.hex.as_bytes())
        } else {
            scheme.eq_ignore_ascii_case("basic") && same(credentials.as_bytes(), self.login.as_bytes())
        }
    }

    /// In hex, as its file holds it.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    fn from_hex(hex: &str) -> Self {
        let login = Zeroizing::new(format!("{USER}:{hex}"));
        Self { hex: Zeroizing::new(hex.to_owned()), login: Zeroizing::new(base64(login.as_bytes())) }
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(secret)")
    }
}

/// A cookie that lies in its file as long as this lives.
#[derive(Debug)]
pub struct CookieFile {
    path: PathBuf,
    cookie: Cookie,
}

impl CookieFile {
    /// Makes a new one and puts it in the place of whatever a node that was killed has left. The directory is
    /// held by this process.
    pub fn create(data_dir: &Path) -> io::Result<Self> {
        let cookie = Cookie::random().map_err(io::Error::other)?;
        let path = data_dir.join(COOKIE_FILE);
        save_private(&path, cookie.hex.as_bytes())?;
        Ok(Self { path, cookie })
    }

    /// The secret.
    pub fn cookie(&self) -> &Cookie {
        &self.cookie
    }
}

impl Drop for CookieFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove `{}`: {error}; it opens nothing any more", self.path.display());
            }
            _ => {}
        }
    }
}

/// Whether two texts are the same, in a time that depends on their lengths alone.
fn same(theirs: &[u8], ours: &[u8]) -> bool {
    let differing = theirs.iter().zip(ours).fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
    theirs.len() == ours.len() && differing == 0
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let of = |place: usize| u32::from(piece.get(place).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= piece.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: base64 as everybody writes it. Method: the vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_the_rfcs() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    /// Goal: the cookie opens in both forms, and nothing like it does. Method: values that differ by little.
    #[test]
    fn the_cookie_is_shown_in_two_ways() {
        let hex = "0123456789abcdef".repeat(4);
        let cookie = Cookie::from_hex(&hex);
        let login = base64(format!("spindle:{hex}").as_bytes());
        for shown in
            [format!("Bearer {hex}"), format!("bearer  {hex}"), format!("Basic {login}"), format!("BASIC {login}")]
        {
            assert!(cookie.is_shown_by(&shown), "{shown}");
        }
        let other = base64(format!("root:{hex}").as_bytes());
        for not in [
            String::new(),
            hex.clone(),
            "Bearer".into(),
            "Bearer ".into(),
            format!("Bearer {}", &hex[1..]),
            format!("Bearer {hex}0"),
            format!("Bearer {}", hex.replace('7', "8")),
            format!("Basic {hex}"),
            format!("Basic {other}"),
            format!("Bearer {login}"),
            format!("Digest {hex}"),
        ] {
            assert!(!cookie.is_shown_by(&not), "{not}");
        }
        assert!(!format!("{cookie:?}").contains("abcdef"), "no log shows it");
    }

    /// Goal: the file is made anew, for its owner alone, and goes with the node. Method: a directory where an
    /// older one that anybody can read has been left.
    #[test]
    fn the_file_is_private_and_of_one_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(COOKIE_FILE);
        fs::write(&path, "left behind").expect("written");
        assert_eq!(Cookie::read(dir.path()).expect_err("no cookie").kind(), io::ErrorKind::InvalidData);
        let file = CookieFile::create(dir.path()).expect("made");
        let read = Cookie::read(dir.path()).expect("readable");
        assert!(read.hex() == file.cookie().hex() && read.hex().len() == 64);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is left");
        assert_eq!(Cookie::read(dir.path()).expect_err("gone").kind(), io::ErrorKind::NotFound);
        let again = CookieFile::create(dir.path()).expect("made");
        assert_ne!(again.cookie().hex(), read.hex());
    }
}
