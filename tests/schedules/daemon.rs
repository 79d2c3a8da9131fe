//! Whole nodes, every thread of them, on disks in memory; and the budget that all peers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::spawn;
use std::time::Duration;

use crossbeam_channel::bounded;
use spindle::blockchain::memory_disk::MemoryDisk;
use spindle::blockchain::storage::PersistentBlockchain;
use spindle::node::event::Target;
use spindle::node::orders::Order;
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;

use crate::explore::{calm, explore, seen};
use crate::model::chance::below;
use crate::model::net::at;
use crate::model::weave::{World, give_way, world};
use crate::net::{SocketAddr, TcpListener};
use crate::network::budget::Budget;
use crate::owner::params;
use crate::runtime::handle::{HandleError, Waiting};
use crate::runtime::{Config, Daemon, DaemonError};

/// Time passes now and then, and no socket takes much.
fn lively() -> World {
    World { limits_end: true, socket_bytes: 4_000, ticks: 3, ..World::default() }
}

fn start(address: SocketAddr, peer: Option<SocketAddr>, disk: &MemoryDisk) -> Daemon {
    let mut config = Config::new(Arc::clone(params()), PathBuf::from("nowhere"));
    config.bind = address;
    config.peers = peer.into_iter().map(Target::Address).collect();
    config.seeds = false;
    config.payout = Some(Key([3; 32]).into());
    (config.max_inbound, config.max_outbound) = (2, 2);
    let disk = disk.clone();
    Daemon::start_on(&config, || Ok(Arc::new(disk)), &mut |_| {}).expect("it starts")
}

/// The tip that a node finds on this disk after a power cut.
fn tip_on(disk: &MemoryDisk) -> Hash {
    let disk = Arc::new(disk.crash());
    let (store, _) = PersistentBlockchain::open(disk, params(), &mut |_, _| {}).expect("it opens");
    store.reader().tip().id
}

/// Wants blocks, as long as the answer is kept; whether one comes is up to the schedule.
fn generate(node: &Daemon, count: u32) -> Result<Waiting, HandleError> {
    let order = Order::Generate { count, payout: None };
    node.handle().give(order, Duration::ZERO)
}

fn a_while() {
    (0..below(600)).for_each(|_| give_way());
}

/// Goal: two nodes that mine, connect and sync end whenever they are stopped, without an error; then nobody has their
/// ports. Method: a stop at any moment of either, in either order; disks that are opened again.
#[test]
fn whole_nodes_end_whenever_they_are_stopped() {
    explore("whole nodes", lively, || {
        let disks: [MemoryDisk; 2] = Default::default();
        let first = start(at(9_000), None, &disks[0]);
        let _wanted = generate(&first, 2);
        let second = start(at(9_001), Some(at(9_000)), &disks[1]);
        let _wanted_too = generate(&second, 1);
        a_while();
        if second.tip().id == first.tip().id {
            seen("synced before the stop");
        }
        let mut nodes = [(first, &disks[0]), (second, &disks[1])];
        if below(2) == 0 {
            nodes.swap(0, 1);
        }
        for (node, disk) in nodes {
            let (reader, address) = (node.reader().clone(), node.address());
            node.stop().expect("nothing failed");
            assert_eq!(tip_on(disk), reader.tip().id, "what it had at the end is on the disk");
            drop(TcpListener::bind(address).expect("nobody has the port any more"));
            a_while();
        }
    });
}

/// Goal: a disk that fails ends a node with its error, whatever else is under way, and whoever waits hears of it once.
/// Method: a sync that fails sooner or later; nobody, or two at once, who ask it to stop meanwhile.
#[test]
fn a_failing_disk_and_a_stop_may_meet() {
    explore("failing disk", lively, || {
        let disk = MemoryDisk::default();
        let node = start(at(9_000), None, &disk);
        let handle = node.stop_handle();
        // Where nobody asks it, the failure alone must end it; a second sync may not be needed.
        let (fails_at, is_asked) = [(1, false), (1, true), (2, true)][below(3)];
        disk.fail_sync(fails_at);
        let _wanted = generate(&node, 2);
        let handles = if is_asked { vec![handle.clone(), handle] } else { Vec::new() };
        let stoppers = handles.into_iter().map(|handle| {
            spawn(move || {
                a_while();
                handle.stop();
            })
        });
        let stoppers: Vec<_> = stoppers.collect();
        let reader = node.reader().clone();
        match node.wait() {
            Ok(()) => assert_eq!(tip_on(&disk), reader.tip().id, "what it had at the end is on the disk"),
            Err(error) => {
                seen("failed before the stop");
                assert!(matches!(error, DaemonError::Store(_)), "{error}");
            }
        }
        for stopper in stoppers {
            stopper.join().expect("it ends");
        }
        drop(TcpListener::bind(at(9_000)).expect("nobody has the port any more"));
    });
}

/// Goal: a node that is dropped ends as well. Method: the same without a word.
#[test]
fn a_dropped_node_leaves_nothing() {
    explore("dropped node", lively, || {
        let disk = MemoryDisk::default();
        let node = start(at(9_000), Some(at(9_001)), &disk);
        // Kept, withdrawn, or somewhere between.
        let wanted = generate(&node, 1);
        a_while();
        drop(wanted);
        drop(node);
        drop(TcpListener::bind(at(9_000)).expect("nobody has the port any more"));
    });
}

/// Goal: no more of the common budget is out than there is, whoever waits gets his share when it comes back, and
/// everything has come back in the end; a close lets everybody go. Method: three who take twice, one of them all.
#[test]
fn the_budget_comes_back() {
    explore("budget", calm, || {
        let budget = Budget::new(100);
        let out = Arc::new(real_std::sync::atomic::AtomicUsize::new(0));
        let takers = [100, 60, 50].map(|bytes| {
            let (budget, out) = (Arc::clone(&budget), Arc::clone(&out));
            spawn(move || {
                for _ in 0..2 {
                    let Some(portion) = budget.take(bytes) else { return };
                    let sum = out.fetch_add(bytes, real_std::sync::atomic::Ordering::SeqCst) + bytes;
                    assert!(sum <= 100, "{sum} bytes of 100 are out");
                    give_way();
                    out.fetch_sub(bytes, real_std::sync::atomic::Ordering::SeqCst);
                    drop(portion);
                }
            })
        });
        let is_closed = below(2) == 0;
        if is_closed {
            (0..below(40)).for_each(|_| give_way());
            budget.close();
        }
        for taker in takers {
            taker.join().expect("it ends");
        }
        assert!(is_closed || budget.take(100).is_some());
    });
}

/// Goal: what is left of the budget goes to the next at once, not only when somebody gives back. Method: two who hold
/// theirs until the other has his, behind one who had all.
#[test]
fn what_is_left_of_the_budget_goes_to_the_next() {
    explore("rest of the budget", calm, || {
        let budget = Budget::new(100);
        let all = budget.take(100);
        let ((here, there_too), (there, here_too)) = (bounded(1), bounded(1));
        let takers = [(60, here, here_too), (40, there, there_too)].map(|(bytes, tell, told)| {
            let budget = Arc::clone(&budget);
            spawn(move || {
                let portion = budget.take(bytes).expect("nobody closes it");
                tell.send(()).expect("the other waits");
                told.recv().expect("the other has his");
                drop(portion);
            })
        });
        drop(all);
        for taker in takers {
            taker.join().expect("it ends");
        }
    });
}
