//! The wallet file: passwords, damage, two commands at once. tests/power.rs kills it in the middle of a save.

use std::fs;
use std::io;
use std::sync::Arc;

use spindle::blockchain::disk::Disk;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::params::Params;
use spindle::primitives::hash::Hash;
use spindle::wallet::file::{Contents, Cost, FileError, Secrets, WalletFile, hold};
use spindle::wallet::keys::SpendKeys;
use spindle::wallet::scan::SeenBlock;
use spindle::wallet::state::{Mark, State};
use spindle::wallet::words;

/// As little as argon2 allows: what is tested is not how long a guess takes.
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
const NAME: &str = "alice.wallet";
const PASSWORD: &[u8] = b"correct horse";

fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// A wallet that stands at this height.
fn contents(height: u64) -> Contents {
    let genesis = Params::regtest().genesis_id();
    let (_, seed) = words::from_entropy(&[1; 32]);
    let state = State::new(Mark { height, id: genesis });
    Contents { genesis, secrets: Secrets::Spend(seed), state }
}

fn make(disk: &MemoryDisk, contents: &Contents) -> WalletFile {
    WalletFile::create((Arc::new(disk.clone()), NAME.into()), random, CHEAP, PASSWORD, contents).expect("a new file")
}

fn open_as(disk: &MemoryDisk, password: &[u8], genesis: Hash) -> Result<Contents, FileError> {
    let opened = WalletFile::open((Arc::new(disk.clone()), NAME.into()), random, password, genesis);
    opened.map(|(_, contents)| contents)
}

fn open(disk: &MemoryDisk, password: &[u8]) -> Result<Contents, FileError> {
    open_as(disk, password, Params::regtest().genesis_id())
}

/// Goal: what was saved is what is opened, both kinds of wallet, and no secret stands there in clear.
#[test]
fn what_was_saved_is_what_is_opened() {
    let spends = contents(3);
    let watches = Contents { secrets: Secrets::Watch(spends.secrets.view_keys()), ..contents(4) };
    for held in [&spends, &watches] {
        let disk = MemoryDisk::default();
        let file = make(&disk, held);
        assert_eq!(&open(&disk, PASSWORD).expect("the right password"), held);
        let first = disk.bytes(NAME).expect("there");
        file.save(held).expect("no fault");
        let second = disk.bytes(NAME).expect("there");
        assert_ne!(first, second, "a nonce is never used twice");
        let (view, spend) = held.secrets.view_keys().to_bytes();
        assert!(!second.windows(32).any(|window| window == *view || window == spend));
        assert_eq!(held.secrets.spend_keys().is_some(), matches!(held.secrets, Secrets::Spend(_)));
        assert_eq!(disk.names(), [NAME], "nothing is left beside it");
    }
    assert_eq!(format!("{:?} {:?}", spends.secrets, watches.secrets), "Spend Watch");
}

/// Goal: a wrong password is one error, whatever is wrong about it; nothing is changed by trying.
#[test]
fn a_wrong_password_is_one_error() {
    let disk = MemoryDisk::default();
    make(&disk, &contents(1));
    let before = disk.bytes(NAME);
    let wrong: [&[u8]; 5] = [b"", b"correct hors", b"correct horse ", b"Correct horse", &[0xff; 300]];
    for password in wrong {
        let error = open(&disk, password).expect_err("wrong");
        assert!(matches!(error, FileError::WrongPassword { .. }), "{error}");
        assert_eq!(error.to_string(), "the password does not open the wallet `memory/alice.wallet`");
    }
    assert_eq!(disk.bytes(NAME), before);
    let other = open_as(&disk, PASSWORD, Params::local().genesis_id()).expect_err("another network");
    assert!(matches!(other, FileError::OtherNetwork { .. }));
}

/// Goal: a file with any byte changed, cut or added is refused and left as it is; and whoever repairs the
/// plain checksum still meets the cipher's. Method: each byte in turn.
#[test]
fn damage_at_any_byte_is_refused_and_kept() {
    use sha2::Digest;
    let disk = MemoryDisk::default();
    make(&disk, &contents(1));
    let good = disk.bytes(NAME).expect("there");
    let verdict = |bytes: &[u8]| {
        let disk = MemoryDisk::default();
        disk.put(NAME, bytes);
        let error = open(&disk, PASSWORD).expect_err("refused");
        assert_eq!(disk.bytes(NAME).as_deref(), Some(bytes), "kept");
        assert_eq!(disk.names(), [NAME]);
        error
    };
    let repaired = |bytes: &[u8]| {
        let body = &bytes[..good.len() - 32];
        verdict(&[body, sha2::Sha256::digest(body).as_slice()].concat())
    };
    for (at, bit) in (0..good.len()).flat_map(|at| [(at, 1), (at, 0x80)]) {
        let mut bad = good.clone();
        bad[at] ^= bit;
        match verdict(&bad) {
            FileError::NotAWallet { .. } => assert!(at < 8),
            FileError::Damaged { .. } => assert!(at >= 8),
            error => panic!("byte {at}: {error}"),
        }
        if at >= good.len() - 32 {
            continue;
        }
        match repaired(&bad) {
            FileError::NotAWallet { .. } => assert!(at < 8),
            FileError::Newer { .. } => assert_eq!(at, 8),
            // A cost that no file of ours has is not even tried.
            FileError::Damaged { .. } => assert!((9..21).contains(&at), "byte {at}"),
            FileError::WrongPassword { .. } => assert!(at >= 9, "byte {at}"),
            error => panic!("byte {at}: {error}"),
        }
    }
    (0..good.len()).for_each(|length| drop(verdict(&good[..length])));
    verdict(&[good.as_slice(), &[0]].concat());
}

/// Goal: two commands at once on one file: the second is refused and told by whom. A file is its owner's
/// alone, and is never overwritten by a new one. Method: a real directory.
#[test]
fn a_held_wallet_is_refused_with_the_holders_pid() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(NAME);
    let missing = WalletFile::open(hold(&path).expect("free"), random, PASSWORD, Hash::ZERO).expect_err("none yet");
    assert!(missing.to_string().contains("spindle wallet new"), "{missing}");
    let made = contents(1);
    let file = WalletFile::create(hold(&path).expect("free"), random, CHEAP, PASSWORD, &made).expect("new");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.save(&made).expect("no fault");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
    let refused = hold(&path).expect_err("held").to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())) && refused.contains(NAME), "{refused}");
    // Another wallet in the same directory is another file.
    hold(&directory.path().join("bob.wallet")).expect("free");
    drop(file);
    let again = WalletFile::create(hold(&path).expect("free"), random, CHEAP, b"other", &contents(9));
    assert!(matches!(again, Err(FileError::Exists { .. })));
    let (_, kept) = WalletFile::open(hold(&path).expect("free"), random, PASSWORD, made.genesis).expect("as it was");
    assert_eq!(kept, made);
    assert!(fs::read_dir(directory.path()).expect("there").count() <= 3, "the wallet and two locks");
}

/// Goal: the cost of a guess is what new files say. Method: the file's own head.
#[test]
fn the_default_cost_stands_in_the_file() {
    let disk = MemoryDisk::default();
    let held = (Arc::new(disk.clone()) as Arc<dyn Disk>, NAME.to_owned());
    WalletFile::create(held, random, Cost::DEFAULT, PASSWORD, &contents(1)).expect("a new file");
    let bytes = disk.bytes(NAME).expect("there");
    assert_eq!(&bytes[..21], b"spwallet\x01\0\0\x01\0\x03\0\0\0\x01\0\0\0");
    let keys: SpendKeys = open(&disk, PASSWORD).expect("opened").secrets.spend_keys().expect("it spends");
    assert_eq!(keys.view(), &contents(1).secrets.view_keys());
}

/// Goal: no wallet's command touches a file that is not its own, whatever the wallets are called; a lock is
/// never written over something else. Method: the names that a wallet's other files had or have, in use.
#[test]
fn wallets_with_names_alike_leave_each_other_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    let make = |name: &str, height| {
        WalletFile::create(hold(&at(name)).expect("free"), random, CHEAP, PASSWORD, &contents(height)).expect("new")
    };
    let names = ["a.w", "a.w.new", "a.w.lock", ".a.w", ".a.w.new"];
    for (name, height) in names.iter().zip(1..) {
        make(name, height).save(&contents(height)).expect("no fault");
    }
    for (name, height) in names.iter().zip(1..) {
        let held = hold(&at(name)).expect("free");
        let (_, found) = WalletFile::open(held, random, PASSWORD, contents(0).genesis).expect("untouched");
        assert_eq!(found, contents(height), "{name}");
    }
    for name in [".a.w.spindle-new", ".a.w.spindle-lock"] {
        assert!(matches!(hold(&at(name)), Err(FileError::Reserved { .. })), "{name}");
    }
    for other in ["a letter", "0123456789 0123456789"] {
        fs::write(at(".b.w.spindle-lock"), other).expect("a small file");
        hold(&at("b.w")).expect_err("no lock");
        assert_eq!(fs::read(at(".b.w.spindle-lock")).expect("there"), other.as_bytes());
    }
}

/// Goal: a wallet that is reached over a link is one wallet: one lock, one file, and the link stays a link.
/// Method: a link from another directory, held, then opened and saved.
#[cfg(unix)]
#[test]
fn a_linked_wallet_is_the_wallet_itself() {
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (path, link) = (one.path().join(NAME), other.path().join("link.w"));
    let file = WalletFile::create(hold(&path).expect("free"), random, CHEAP, PASSWORD, &contents(1)).expect("new");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert!(matches!(hold(&link), Err(FileError::InUse { .. })), "one lock");
    drop(file);
    let held = hold(&link).expect("free");
    let (file, _) = WalletFile::open(held, random, PASSWORD, contents(0).genesis).expect("the same file");
    file.save(&contents(2)).expect("no fault");
    drop(file);
    assert!(link.symlink_metadata().expect("there").is_symlink());
    let held = hold(&path).expect("free");
    let (_, found) = WalletFile::open(held, random, PASSWORD, contents(0).genesis).expect("there");
    assert_eq!(found, contents(2));
    assert_eq!(fs::read_dir(other.path()).expect("there").count(), 1, "the link alone");
}

/// Goal: one state has one form: what is out of order, on which every look-up relies, is refused as damaged.
/// Method: the bytes of two marks, swapped.
#[test]
fn marks_out_of_order_are_no_wallet() {
    let mut state = State::new(Mark { height: 3, id: Hash([3; 32]) });
    let next = SeenBlock { height: 4, id: Hash([4; 32]), prev: Hash([3; 32]), time: 0, transactions: Vec::new() };
    state.apply(&next).expect("it follows");
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    assert_eq!(State::decode(&bytes), Ok(state));
    // A count of eight bytes, then height and id of each.
    bytes[8..88].rotate_left(40);
    assert!(State::decode(&bytes).expect_err("swapped").to_string().contains("out of order"));
}

/// Goal: a stranger's file cannot keep the machine busy or full, and one that is too large is not said to be
/// missing. Method: heads that ask for more than 256 MiB or 8 passes; a file that is longer than any wallet.
#[test]
fn files_that_ask_for_too_much_are_refused_by_name() {
    use sha2::Digest;
    let disk = MemoryDisk::default();
    make(&disk, &contents(1));
    let good = disk.bytes(NAME).expect("there");
    for (at, number) in [(9, (256_u32 << 10) + 1), (13, 9)] {
        let mut bad = good[..good.len() - 32].to_vec();
        bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
        let checksum = sha2::Sha256::digest(&bad);
        disk.put(NAME, &[bad.as_slice(), &checksum].concat());
        let error = open(&disk, PASSWORD).expect_err("it is not even tried");
        assert!(matches!(error, FileError::Damaged { .. }) && error.to_string().contains("costs"), "{error}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(NAME);
    fs::File::create(&path).and_then(|file| file.set_len((1 << 30) + 1)).expect("a file with a hole");
    let held = hold(&path).expect("free");
    let error = WalletFile::open(held, random, PASSWORD, Hash::ZERO).expect_err("too large");
    assert!(matches!(error, FileError::TooLarge { .. }) && error.to_string().contains("1073741824"), "{error}");
}
