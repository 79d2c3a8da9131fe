//! A note to the receiver: up to 64 bytes that only the two sides can read (RULES 38).
//!
//! ChaCha20-Poly1305 under `H("spindle/note/1" ‖ S)` with a nonce of zeros, since the key serves one
//! transaction alone, and `R` as associated data. Every note is padded to 64 bytes with zeros, so its
//! length says nothing.
//!
//! Left out: notes for several receivers of one transaction.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use zeroize::Zeroizing;

use crate::blockchain::transaction::NOTE_BYTES;
use crate::primitives::hash::tagged;
use crate::primitives::keys::Key;
use crate::primitives::stealth::Shared;

/// The greatest length of a note.
pub const TEXT_BYTES_MAX: usize = 64;
const TAG_BYTES: usize = NOTE_BYTES - TEXT_BYTES_MAX;

/// A note that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the note takes {bytes} bytes, {why}")]
pub struct NoteError {
    bytes: usize,
    why: &'static str,
}

/// Encrypts a note.
pub fn seal(shared: &Shared, tx_key: &Key, text: &str) -> Result<[u8; NOTE_BYTES], NoteError> {
    check(text)?;
    let mut note = [0; NOTE_BYTES];
    note[..text.len()].copy_from_slice(text.as_bytes());
    let tag = cipher(shared)
        .encrypt_inout_detached(&Nonce::default(), &tx_key.0, (&mut note[..TEXT_BYTES_MAX]).into())
        .expect("64 bytes are far below the cipher's limit");
    note[TEXT_BYTES_MAX..].copy_from_slice(&tag);
    Ok(note)
}

/// Whether a note can be sent.
pub fn check(text: &str) -> Result<(), NoteError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(NoteError { bytes: text.len(), why: "and 64 is the limit" });
    }
    if text.chars().any(char::is_control) {
        return Err(NoteError { bytes: text.len(), why: "and holds a character that cannot be printed" });
    }
    Ok(())
}

/// Reads a note; none if it was not meant for us, or is empty.
///
/// A stranger wrote it, and it will stand on somebody's terminal: what cannot be printed is replaced.
pub fn open(shared: &Shared, tx_key: &Key, note: &[u8; NOTE_BYTES]) -> Option<String> {
    let (mut text, tag): ([u8; TEXT_BYTES_MAX], [u8; TAG_BYTES]) =
        (*note.first_chunk().expect("64 of 80"), *note.last_chunk().expect("16 of 80"));
    let opened =
        cipher(shared).decrypt_inout_detached(&Nonce::default(), &tx_key.0, text.as_mut_slice().into(), &tag.into());
    opened.ok()?;
    let length = text.iter().rposition(|&byte| byte != 0)? + 1;
    let text = String::from_utf8_lossy(&text[..length]);
    Some(text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect())
}

fn cipher(shared: &Shared) -> ChaCha20Poly1305 {
    let key = Zeroizing::new(tagged("spindle/note/1", &[shared.as_bytes()]).0);
    ChaCha20Poly1305::new((&*key).into())
}
