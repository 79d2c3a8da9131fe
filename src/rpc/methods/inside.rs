//! What goes on inside: threads, channels, the owner's turns and the ways of blocks; the log; the end.

use log::LevelFilter;
use serde::{Deserialize, Serialize};

use crate::primitives::hash::Hash;
use crate::rpc::call::{Done, Fine, Nothing};
use crate::rpc::fault::{Code, Fault};
use crate::rpc::http::server::CONNECTIONS_MAX;
use crate::rpc::service::Service;
use crate::rpc::threads::{self, Thread};
use crate::runtime::handle::{self, TURN_BOUNDS_US};
use crate::runtime::trail::{Source, Trail};

#[derive(Serialize)]
struct Inside {
    queues: Vec<Queue>,
    status: Fine,
    /// Empty where the system does not tell: `threads_by` says who does.
    threads: Vec<Thread>,
    threads_by: &'static str,
    trails: Vec<ShownTrail>,
    turns: Turns,
    uptime_ms: u64,
}

/// A channel of the node's or the server's own; each connection's stand with it in `get_connections`.
#[derive(Serialize)]
struct Queue {
    name: &'static str,
    waiting: u64,
    capacity: usize,
}

/// How long the owner's turns took since the start.
#[derive(Serialize)]
struct Turns {
    /// Of each class: the longest that is counted in it, and how many there were; the last has no bound.
    classes: Vec<Class>,
    count: u64,
    longest_us: u64,
    sum_us: u64,
}

#[derive(Serialize)]
struct Class {
    up_to_us: Option<u64>,
    count: u64,
}

/// The way of a tip through the threads.
#[derive(Serialize)]
struct ShownTrail {
    hash: Hash,
    height: u64,
    /// `peer`, `miner`, `client` or `node`.
    source: &'static str,
    peer: Option<u64>,
    taken_at_ms: u64,
    waited_us: Option<u64>,
    turn_us: u64,
    durable_us: Option<u64>,
    told: Vec<u64>,
}

impl From<Trail> for ShownTrail {
    fn from(trail: Trail) -> Self {
        let (source, peer) = match trail.source {
            Source::Peer(peer) => ("peer", Some(peer.0)),
            Source::Miner => ("miner", None),
            Source::Client => ("client", None),
            Source::Node => ("node", None),
        };
        Self {
            hash: trail.id,
            height: trail.height,
            source,
            peer,
            taken_at_ms: trail.taken_at.0,
            waited_us: trail.waited_us,
            turn_us: trail.turn_us,
            durable_us: trail.durable_us,
            told: trail.told.into_iter().map(|peer| peer.0).collect(),
        }
    }
}

pub(in crate::rpc) fn get_inside(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    let node = service.node();
    let queues = node.look(|view| view.queues().to_vec())?;
    let ours =
        |queue: handle::Queue| Queue { name: queue.name, waiting: queue.waiting as u64, capacity: queue.capacity };
    let visitors = Queue { name: "rpc", waiting: service.counters().visitors(), capacity: CONNECTIONS_MAX };
    let queues = queues.into_iter().map(ours).chain([visitors]);
    let turns = node.board().turns();
    let counts = turns.counts();
    let classes = TURN_BOUNDS_US.iter().zip(counts);
    let classes = classes.map(|(&bound, count)| Class { up_to_us: (bound != u64::MAX).then_some(bound), count });
    let threads = threads::list();
    Ok(Inside {
        queues: queues.collect(),
        status: Fine::Ok,
        threads_by: if threads.is_empty() { "nobody: this system does not tell" } else { "the kernel" },
        threads,
        trails: node.board().trails().durable().into_iter().map(ShownTrail::from).collect(),
        turns: Turns {
            classes: classes.collect(),
            count: counts.iter().sum(),
            longest_us: turns.longest_us(),
            sum_us: turns.sum_us(),
        },
        uptime_ms: node.now().mono.since(node.board().started().mono),
    })
}

/// Parameters of `set_log_level`: our names, or monerod's numbers.
#[derive(Deserialize)]
pub(in crate::rpc) struct HowMuch {
    level: Level,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Level {
    Number(u8),
    Name(String),
}

impl Level {
    fn filter(&self) -> Option<LevelFilter> {
        match self {
            Self::Number(0) => Some(LevelFilter::Warn),
            Self::Number(1) => Some(LevelFilter::Info),
            Self::Number(2..=4) => Some(LevelFilter::Debug),
            Self::Number(_) => None,
            Self::Name(name) => match name.as_str() {
                "error" => Some(LevelFilter::Error),
                "warn" => Some(LevelFilter::Warn),
                "info" => Some(LevelFilter::Info),
                "debug" => Some(LevelFilter::Debug),
                _ => None,
            },
        }
    }
}

pub(in crate::rpc) fn set_log_level(_: &Service, HowMuch { level }: HowMuch) -> Result<impl Serialize, Fault> {
    let filter = level.filter().ok_or_else(|| {
        Fault::new(Code::WrongParam, "`level` is none; error, warn, info and debug are, and 0 to 4 as monerod has them")
    })?;
    log::set_max_level(filter);
    // Said at a level that is heard in most cases, so that the log tells where it changes.
    log::warn!("the log says {filter} from now on, as was ordered");
    Ok(Done::default())
}

pub(in crate::rpc) fn stop_daemon(service: &Service, _: Nothing) -> Result<impl Serialize, Fault> {
    log::info!("asked to stop over RPC");
    service.node().stop();
    Ok(Done::default())
}
