//! What every disk promises, held against the real one and the one in memory.

use std::sync::Arc;

use spindle::blockchain::disk::{self, Disk, DiskFile};
use spindle::blockchain::memory_disk::{Calls, Chances, Fault, MemoryDisk};
use spindle::blockchain::os::DataDir;

fn read(file: &dyn DiskFile, at: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; bytes];
    let read = file.read_at(&mut buffer, at).expect("readable");
    assert!(buffer[read..].iter().all(|&byte| byte == 0xee), "nothing is touched behind what was read");
    buffer.truncate(read);
    buffer
}

/// One file, read and written at places.
fn a_file_keeps_what_it_was_given(disk: &dyn Disk) {
    let file = disk.open("file").expect("made");
    assert_eq!((file.size_bytes().expect("known"), read(&*file, 0, 8)), (0, Vec::new()), "a new file is empty");
    file.write_at(b"0123456789", 0).expect("room");
    assert_eq!(read(&*file, 7, 8), b"789", "a read ends with the file");
    assert_eq!((read(&*file, 10, 8), read(&*file, 1 << 40, 8)), (Vec::new(), Vec::new()), "behind it is nothing");
    file.write_at(b"ab", 12).expect("room");
    assert_eq!(read(&*file, 8, 8), b"89\0\0ab", "a gap is zeros");
    file.write_at(b"", 100).expect("nothing to do");
    assert_eq!(file.size_bytes().expect("known"), 14, "nothing written is no growth");
    file.set_size(3).expect("cut");
    file.set_size(6).expect("filled up");
    assert_eq!(read(&*file, 0, 8), b"012\0\0\0", "what was cut does not come back");
    let large: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    file.write_at(&large, 5).expect("room");
    assert!(read(&*file, 5, 200_000) == large);
    let again = disk.open("file").expect("there");
    again.write_at(b"!", 0).expect("room");
    assert_eq!(read(&*file, 0, 2), b"!1", "two handles are one file");
    let whole = read(&*file, 0, 200_000);
    file.write_again(1, 1 << 40).expect("room");
    assert!(read(&*file, 0, 200_000) == whole, "what is written again is the same");
    file.sync().expect("no fault");
    again.sync().expect("no fault");
}

/// Names, and the handles of files whose names change.
fn a_name_is_not_the_file(disk: &dyn Disk) {
    let (one, two) = (disk.open("one").expect("made"), disk.open("two").expect("made"));
    one.write_at(b"one", 0).expect("room");
    two.write_at(b"two, longer", 0).expect("room");
    assert!(disk.exists("one").expect("looked") && !disk.exists("three").expect("looked"));
    disk.rename("one", "two").expect("there");
    assert!(!disk.exists("one").expect("looked"));
    assert_eq!(read(&*disk.open("two").expect("there"), 0, 16), b"one", "the other's place is taken, whole");
    assert_eq!((read(&*one, 0, 16), read(&*two, 0, 16)), (b"one".to_vec(), b"two, longer".to_vec()));
    one.write_at(b"more", 3).expect("a handle follows its file");
    assert_eq!(disk::read_small(disk, "two", 16).expect("readable"), Some(b"onemore".to_vec()));
    assert!(disk.rename("one", "two").is_err(), "there is none");
    disk.remove("two").expect("there");
    disk.remove("two").expect("no error: it is gone");
    assert_eq!(read(&*one, 0, 16), b"onemore", "a handle outlives the name");
    assert_eq!(disk.open("two").expect("made anew").size_bytes().expect("known"), 0);
    disk.sync_dir().expect("no fault");
    disk::replace(disk, "two", b"replaced").expect("no fault");
    assert_eq!(disk::read_small(disk, "two", 16).expect("readable"), Some(b"replaced".to_vec()));
    assert_eq!(disk::read_small(disk, "two", 7).expect("readable"), None, "too large");
    assert!(!disk.exists("two.new").expect("looked"));
    assert!(disk.free_bytes().expect("asked") > 0);
    assert_ne!(disk.unique().expect("drawn"), disk.unique().expect("drawn"));
    assert!(disk.path("two").ends_with("two"));
}

/// Goal: code that runs on the disk in memory meets there what it meets on a real one, and the other way
/// round. Method: the same calls and answers on a real directory, in memory, and in memory while signals
/// interrupt every other call and reads and writes come in pieces.
#[test]
fn every_disk_keeps_the_contract() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let real = DataDir::open(&parent.path().join("data")).expect("free");
    let (memory, disturbed) = (MemoryDisk::default(), MemoryDisk::default());
    disturbed.by_chance(4, Chances { interrupted: 300_000, short: 300_000, ..Chances::default() });
    let disks: [Arc<dyn Disk>; 3] = [Arc::new(real), Arc::new(memory.clone()), Arc::new(disturbed.clone())];
    for disk in disks {
        a_file_keeps_what_it_was_given(&*disk);
        a_name_is_not_the_file(&*disk);
    }
    let (calm, disturbed) = (memory.made(Calls::All), disturbed.made(Calls::All));
    assert!(disturbed > calm + calm / 4, "{disturbed} calls instead of {calm}");
}

/// Goal: a replaced file is the old or the new one, whole, after an error or a power cut at any call; once
/// it is said to be replaced, it is the new one. Method: each call fails in each way or is the last; then
/// every mixture that a power cut may leave.
#[test]
fn a_replaced_file_is_the_old_or_the_new() {
    let (old, new) = (vec![b'o'; 700], vec![b'n'; 1_200]);
    let mut outcomes = [0; 2];
    for fault in [Fault::Io, Fault::Full, Fault::Interrupted, Fault::Short, Fault::Dead, Fault::DeadInside] {
        for nth in 1.. {
            let disk = MemoryDisk::default();
            disk.put("file", &old);
            disk.plan(Calls::All, nth, fault);
            let replaced = disk::replace(&disk, "file", &new);
            let harmless = matches!(fault, Fault::Interrupted | Fault::Short);
            assert!(replaced.is_ok() || !harmless, "{fault:?} at {nth}: {replaced:?}");
            if replaced.is_err() && matches!(fault, Fault::Io | Fault::Full) {
                assert!(
                    !disk.names().contains(&"file.new".to_owned()) || nth == 1,
                    "no half is left: {fault:?} at {nth}"
                );
            }
            for seed in 0..200 {
                let mut rng = spindle::primitives::rng::Rng::new(seed);
                let left = disk.power_cut(&mut |bound| rng.below(bound));
                let found = left.bytes("file").expect("never neither");
                assert!(found == old || found == new, "{fault:?} at {nth}, seed {seed}: {} bytes", found.len());
                assert!(replaced.is_err() || found == new, "{fault:?} at {nth}, seed {seed}: it was said to last");
                outcomes[usize::from(found == new)] += 1;
            }
            if disk.made(Calls::All) < nth {
                break;
            }
        }
    }
    assert!(outcomes.iter().all(|&n| n > 1_000), "{outcomes:?}");
}
