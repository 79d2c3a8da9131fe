//! The process's threads as the kernel sees them, and in our words what each does and waits for.
//!
//! Nothing is kept for this and no thread says anything of itself: names, states and times come out of `/proc`, and
//! so does the call in which a thread sleeps. Which channel or socket that call means follows from the thread's role,
//! for each role sleeps in few places; `network/` and `runtime/` say which. Where the kernel does not tell, a field
//! is null, and on other systems than Linux the list is empty.
//!
//! Names have 15 bytes there: of a peer beyond the 9,999th the last letters of `write` are missing.

use std::fs;

use serde::Serialize;

/// One thread.
#[derive(Debug, Serialize)]
pub(super) struct Thread {
    /// The kernel's number.
    id: u64,
    name: String,
    does: &'static str,
    /// `running`, `waiting`, `disk` (cannot be woken), or the kernel's letter.
    state: String,
    /// The call in which it sleeps.
    call: Option<&'static str>,
    /// What that is for a thread of this role.
    waits_for: Option<&'static str>,
    /// Processor time since its start.
    cpu_us: u64,
    /// How often it was given a core; unknown where the kernel does not count.
    runs: Option<u64>,
}

/// What a thread sleeps in, as far as it tells anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Channel,
    Read,
    Write,
    Accept,
    Connect,
    Disk,
    Time,
}

/// All of them, in the order in which they were started; none where the system does not tell.
pub(super) fn list() -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    let mut threads: Vec<Thread> = ids.filter_map(read).collect();
    threads.sort_unstable_by_key(|thread| thread.id);
    threads
}

/// `None`: it has just ended.
fn read(id: u64) -> Option<Thread> {
    let file = |name: &str| fs::read_to_string(format!("/proc/self/task/{id}/{name}")).ok();
    let stat = file("stat")?;
    // proc(5): the name stands in brackets and may hold any, the state behind it is field 3.
    let (before, after) = stat.rsplit_once(')')?;
    let comm = before.split_once('(')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let is_main = id == u64::from(std::process::id());
    let name = if is_main { "main" } else { comm }.to_owned();
    let state = match *fields.first()? {
        "R" => "running",
        "S" => "waiting",
        "D" => "disk",
        other => other,
    };
    let call = file("syscall");
    let number = call.as_deref().and_then(|call| call.split_whitespace().next()?.parse().ok());
    let sleep = number.filter(|_| state != "running").and_then(sleep_of);
    let (does, waits_for) = role(&name, sleep);
    let (cpu_us, runs) = time(file("schedstat").as_deref(), &fields);
    let call = sleep.map(call_name);
    Some(Thread { id, name, does, state: state.to_owned(), call, waits_for, cpu_us, runs })
}

/// Nanoseconds and time slices of `schedstat`; else fields 14 and 15 of `stat`, in hundredths of a second.
fn time(schedstat: Option<&str>, fields: &[&str]) -> (u64, Option<u64>) {
    let numbers: Vec<u64> =
        schedstat.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if let [ns, _, slices] = numbers[..] {
        return (ns / 1_000, Some(slices));
    }
    let ticks = |field: usize| fields.get(field - 3).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    ((ticks(14) + ticks(15)) * 10_000, None)
}

/// What a number of the kernel's stands for: those in which our threads sleep.
#[cfg(target_arch = "x86_64")]
fn sleep_of(number: u32) -> Option<Sleep> {
    Some(match number {
        202 => Sleep::Channel,
        0 | 17 | 45 | 47 | 232 | 281 | 7 | 271 => Sleep::Read,
        1 | 18 | 44 | 46 => Sleep::Write,
        43 | 288 => Sleep::Accept,
        42 => Sleep::Connect,
        74 | 75 | 277 => Sleep::Disk,
        35 | 230 => Sleep::Time,
        _ => return None,
    })
}

/// The same of the newer architectures, which share their numbers.
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
fn sleep_of(number: u32) -> Option<Sleep> {
    Some(match number {
        98 => Sleep::Channel,
        22 | 63 | 67 | 73 | 207 | 212 => Sleep::Read,
        64 | 68 | 206 | 211 => Sleep::Write,
        202 | 242 => Sleep::Accept,
        203 => Sleep::Connect,
        82..=84 => Sleep::Disk,
        101 | 115 => Sleep::Time,
        _ => return None,
    })
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn sleep_of(_: u32) -> Option<Sleep> {
    None
}

fn call_name(sleep: Sleep) -> &'static str {
    match sleep {
        Sleep::Channel => "futex",
        Sleep::Read => "read",
        Sleep::Write => "write",
        Sleep::Accept => "accept",
        Sleep::Connect => "connect",
        Sleep::Disk => "fsync",
        Sleep::Time => "sleep",
    }
}

/// The number taken out of a name: `peer-3-read` is `peer-N-read`.
fn role_of(name: &str) -> &str {
    if let Some(rest) = name.strip_prefix("peer-") {
        return match rest.split_once('-') {
            Some((_, task)) if task.starts_with('w') => "peer-N-write",
            _ => "peer-N-read",
        };
    }
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// What it does, and what it sleeps for if it sleeps in this.
fn role(name: &str, sleep: Option<Sleep>) -> (&'static str, Option<&'static str>) {
    use Sleep::{Accept, Channel, Connect, Disk, Read, Write};
    let (does, places): (_, &[(Sleep, &str)]) = match role_of(name) {
        "main" => ("starts the others, then stops them in order", &[(Channel, "a signal, or the owner's end")]),
        "owner" => (
            "the chain owner: one event at a time; alone changes the chain",
            &[(Channel, "control, its inbox, asks, or the next tick")],
        ),
        "disk" => (
            "makes the block file last, writes checkpoints",
            &[(Channel, "something on its desk"), (Disk, "the disk"), (Write, "the disk")],
        ),
        "verify" => ("checks signatures of what wants into the pool", &[(Channel, "a batch")]),
        "index" => ("notes where each transaction lies", &[(Channel, "news of durable blocks"), (Disk, "the disk")]),
        "listen" => ("lets peers in", &[(Accept, "somebody who dials us"), (Channel, "a free descriptor")]),
        "peer-N-read" => (
            "reads, decodes and checks what its peer says",
            &[
                (Read, "its socket"),
                (Channel, "a credit, or room for a large frame"),
                (Write, "its socket"),
                (Connect, "an answer to our dial"),
            ],
        ),
        "peer-N-write" => (
            "writes what its peer is to hear, and blocks from the file",
            &[(Channel, "its outbox, or a request"), (Write, "its socket")],
        ),
        "look-up" => ("looks up a name", &[(Read, "the name's server")]),
        "mine-" => ("searches nonces", &[(Channel, "something to mine on")]),
        "check-" => ("checks signatures, with the others of its pool", &[(Channel, "a batch")]),
        "rpc-listen" => ("lets in whoever asks over HTTP", &[(Accept, "somebody who asks")]),
        "rpc-" => (
            "answers over HTTP",
            &[(Channel, "a visitor, or the owner's answer"), (Read, "its visitor's next question")],
        ),
        "ctrl-c" => ("hears signals", &[(Channel, "a signal"), (Read, "a signal")]),
        "watch" => ("tells a command's screen", &[]),
        _ => ("is not one of spindle's own", &[]),
    };
    let found = sleep.and_then(|sleep| places.iter().find(|(in_this, _)| *in_this == sleep));
    (does, found.map(|(_, what)| *what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::thread::{STACK_SMALL_BYTES, spawn};

    /// Goal: a thread is found by its name with what it waits for. Method: one that waits for a channel, looked for
    /// until it is there; where the kernel tells nothing, the list is empty.
    #[test]
    fn a_waiting_thread_is_told_of() {
        let (go, wait) = crossbeam_channel::bounded::<()>(0);
        let body = move || wait.recv().map_or("let go", |()| "told");
        let thread = spawn("peer-12345-write", STACK_SMALL_BYTES, body).expect("a thread");
        loop {
            let all = list();
            let found = all.iter().find(|thread| thread.name.starts_with("peer-12345"));
            if all.is_empty() || found.is_some_and(|thread| thread.state == "waiting") {
                break;
            }
        }
        drop(go);
        thread.join().expect("it ends");
    }

    /// Goal: numbers and cut names do not hide a role. Method: names as threads have them.
    #[test]
    fn a_name_has_a_role() {
        let names = ["peer-3-read", "peer-10000-writ", "peer-123456789-", "mine-12", "check-0", "rpc-listen", "rpc-8"];
        let roles = ["peer-N-read", "peer-N-write", "peer-N-read", "mine-", "check-", "rpc-listen", "rpc-"];
        assert_eq!(names.map(role_of), roles);
        assert_eq!(role("owner", Some(Sleep::Channel)).1, Some("control, its inbox, asks, or the next tick"));
        assert_eq!(role("owner", None).1, None);
    }

    /// Goal: time is exact where it can be, and else the kernel's ticks. Method: both files as texts.
    #[test]
    fn processor_time_is_read() {
        let fields: Vec<&str> = "S 1 1 1 0 -1 4 0 0 0 0 7 5 0 0".split(' ').collect();
        assert_eq!(time(Some("3854265 32128739 20\n"), &fields), (3_854, Some(20)));
        assert_eq!(time(None, &fields), (120_000, None));
    }
}
