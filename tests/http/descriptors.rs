//! A process that has no descriptor left, and then has some again.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use crate::world::{LONG, PATIENCE, World};

/// Set in the process whose descriptors are taken.
const IS_CHILD: &str = "SPINDLE_TEST_FEW_DESCRIPTORS";
const NAME: &str = "descriptors::a_server_without_descriptors_comes_back";

/// Lines of the log go where the parent reads them.
struct Told;

impl log::Log for Told {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        tell(&format!("log {}", record.args()));
    }
    fn flush(&self) {}
}

fn tell(line: &str) {
    // Past the test harness, which would keep it.
    let mut out = io::stdout().lock();
    writeln!(out, "told {line}").and_then(|()| out.flush()).expect("the parent reads");
}

/// The child: a server; each line from the parent is an order.
fn obey() {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| log::set_logger(&Told).expect("the only one"));
    log::set_max_level(log::LevelFilter::Warn);
    let mut world = World::new(LONG);
    let mut taken = Vec::new();
    tell(&format!("address {}", world.address));
    for order in io::stdin().lock().lines() {
        match order.expect("text").as_str() {
            "take" => {
                while let Ok(file) = File::open("/dev/null") {
                    taken.push(file);
                }
            }
            "free" => taken.clear(),
            _ => world.stop(),
        }
        tell("done");
    }
}

/// The other process, from this side.
struct Served {
    child: Child,
    orders: ChildStdin,
    told: BufReader<ChildStdout>,
    /// Lines that came while another was waited for.
    passed_over: Vec<String>,
    address: SocketAddr,
}

impl Served {
    fn start() -> Self {
        let exe = env::current_exe().expect("this program");
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(exe).args(["--exact", NAME, "--nocapture"]);
        command.env(IS_CHILD, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let orders = child.stdin.take().expect("piped");
        let told = BufReader::new(child.stdout.take().expect("piped"));
        let (passed_over, address) = (Vec::new(), ([127, 0, 0, 1], 0).into());
        let mut served = Self { child, orders, told, passed_over, address };
        served.address = served.hears("address ").parse().expect("an address");
        served
    }

    /// What follows these words in the first line that has them and was not asked for yet.
    fn hears(&mut self, words: &str) -> String {
        let words = format!("told {words}");
        if let Some(place) = self.passed_over.iter().position(|line| line.contains(&words)) {
            return after(&self.passed_over.remove(place), &words).expect("it has them");
        }
        loop {
            let mut line = String::new();
            assert!(self.told.read_line(&mut line).expect("text") > 0, "it ended before it said `{words}`");
            if let Some(rest) = after(&line, &words) {
                return rest;
            }
            self.passed_over.push(line);
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it listens");
        self.hears("done");
    }

    fn asks(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the system answers for it");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).expect("there is room");
        stream
    }
}

fn after(line: &str, words: &str) -> Option<String> {
    line.split_once(words).map(|(_, rest)| rest.trim().to_owned())
}

fn is_answered(stream: &TcpStream) -> bool {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok_and(|_| line.starts_with("HTTP/1.1 200"))
}

/// Goal: out of descriptors the listener says so, waits, and is back when there are some; and it can be stopped
/// while there are none. Method: a process of this same test that is allowed 64 of them and takes all that are
/// left; who asked meanwhile is answered after it has let them go.
#[test]
#[cfg(unix)]
fn a_server_without_descriptors_comes_back() {
    if env::var_os(IS_CHILD).is_some() {
        return obey();
    }
    let mut served = Served::start();
    served.order("take");
    // Whoever waits in accept may have a descriptor for the next visitor already; this one takes it.
    let first = served.asks();
    served.hears("log rpc: cannot accept connections");
    let waiting = served.asks();
    waiting.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
    assert!(waiting.peek(&mut [0]).is_err(), "nobody can answer now");
    waiting.set_read_timeout(Some(PATIENCE)).expect("a socket");
    served.order("free");
    assert!(is_answered(&first) && is_answered(&waiting), "who has waited is answered");
    assert!(is_answered(&served.asks()), "and who comes now");
    served.order("take");
    served.order("stop");
    drop(served.orders);
    assert!(served.child.wait().expect("it ends").success());
}
