//! `spindle simulate`: a whole network in this one process, in virtual time; the same again for the same seed.
//!
//! One run prints a line each virtual minute ([`show`]) and its figures at the end. With `--seeds` it runs many stories
//! ([`soak`]), everything drawn from the seed of each, and stops at the first in which something is that must never
//! be. Either says the command that shows it again.

mod show;

mod soak;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::values;
use crate::primitives::time::Clock;
use crate::simulator::judge::Violation;
use crate::simulator::story::{Faults, Story};
use crate::simulator::vice::Kind;
use crate::simulator::world;

/// simulate a network in virtual time: every run can be repeated
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "simulate")]
pub struct SimulateCommand {
    /// from which all chance follows [1]
    #[argh(option, from_str_fn(seed))]
    seed: Option<u64>,
    /// how many honest nodes [8]
    #[argh(option, from_str_fn(nodes))]
    nodes: Option<usize>,
    /// virtual minutes, before the calm in which all must agree [60]
    #[argh(option, from_str_fn(minutes))]
    minutes: Option<u64>,
    /// payments an hour [2000]
    #[argh(option, from_str_fn(payments))]
    payments: Option<u64>,
    /// coins that a payment spends at the most: 40000 payments of 16 fill blocks [1]
    #[argh(option, from_str_fn(coins))]
    coins: Option<usize>,
    /// how many nodes cheat, one after the other in the ways of --vice [0, or one for each vice]
    #[argh(option, from_str_fn(byzantine))]
    byzantine: Option<usize>,
    /// ways to cheat, such as forger,selfish; `--vice ?` lists them [all]
    #[argh(option, from_str_fn(vices))]
    vice: Option<Vec<Kind>>,
    /// how many packets are lost and sent again, such as 2% or 0.5% [0%]
    #[argh(option, from_str_fn(loss))]
    loss: Option<u32>,
    /// the network falls apart now and then
    #[argh(switch)]
    partition: bool,
    /// connections break and stall now and then
    #[argh(switch)]
    reset: bool,
    /// processes are killed and power fails, also between two calls to the disk
    #[argh(switch)]
    crash: bool,
    /// disks fail, and are full for a while
    #[argh(switch)]
    disks: bool,
    /// clocks are set wrong
    #[argh(switch)]
    clocks: bool,
    /// draw the whole story from the seed, as --seeds does; of the others it takes --seed, --trace and --json
    #[argh(switch)]
    draw: bool,
    /// run so many drawn stories, from --seed on, on every core until one fails; of the others it takes --json
    #[argh(option, from_str_fn(seeds))]
    seeds: Option<u64>,
    /// write a line for each thing that happens
    #[argh(option)]
    trace: Option<PathBuf>,
    /// print the figures as JSON, and nothing else
    #[argh(switch)]
    json: bool,
}

fn seed(text: &str) -> Result<u64, String> {
    values::number(text, 0..=u64::MAX, "0 to 18446744073709551615 are allowed")
}

fn nodes(text: &str) -> Result<usize, String> {
    values::count(text, 1..=10_000, "1 to 10000 are allowed")
}

fn minutes(text: &str) -> Result<u64, String> {
    values::number(text, 1..=100_000, "1 to 100000 are allowed")
}

fn payments(text: &str) -> Result<u64, String> {
    values::number(text, 0..=1_000_000, "0 to 1000000 are allowed")
}

fn coins(text: &str) -> Result<usize, String> {
    values::count(text, 1..=100, "1 to 100 are allowed")
}

fn byzantine(text: &str) -> Result<usize, String> {
    values::count(text, 0..=1_000, "0 to 1000 are allowed")
}

fn seeds(text: &str) -> Result<u64, String> {
    values::number(text, 1..=1_000_000_000, "1 to 1000000000 are allowed")
}

/// A vice as the command line calls it.
fn name(kind: Kind) -> String {
    format!("{kind:?}").to_ascii_lowercase()
}

fn vices(text: &str) -> Result<Vec<Kind>, String> {
    let find = |word: &str| Kind::ALL.into_iter().find(|kind| name(*kind) == word.trim().to_ascii_lowercase());
    let listed = || Kind::ALL.map(name).join(", ");
    text.split(',')
        .map(|word| find(word).ok_or_else(|| format!("is no list of vices; these are: {}", listed())))
        .collect()
}

/// Per mille of a share in percent with at most one place behind the point.
fn loss(text: &str) -> Result<u32, String> {
    const FORM: &str = "a share from 0% to 50% with at most one place behind the point is needed, such as 2% or 0.5%";
    let number = text.strip_suffix('%').ok_or_else(|| format!("has no `%`; {FORM}"))?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    if tenth.len() != 1 {
        return Err(format!("is not exact; {FORM}"));
    }
    let whole = values::number(whole, 0..=50, FORM)?;
    let tenth = values::number(tenth, 0..=9, FORM)?;
    u32::try_from(10 * whole + tenth)
        .ok()
        .filter(|permille| *permille <= 500)
        .ok_or_else(|| format!("is too large; {FORM}"))
}

impl SimulateCommand {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        self.check()?;
        match self.seeds {
            Some(seeds) => soak::run(self.first_seed(), seeds, self.json),
            None => self.tell(),
        }
    }

    fn first_seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Whatever a drawn story decides by itself must not have been asked for as well.
    fn check(&self) -> Result<(), Failure> {
        let drawn_by = match self {
            Self { seeds: Some(_), .. } => "--seeds",
            Self { draw: true, .. } => "--draw",
            _ => return Ok(()),
        };
        let asked = [
            ("--draw", self.draw && self.seeds.is_some()),
            ("--trace", self.trace.is_some() && self.seeds.is_some()),
            ("--nodes", self.nodes.is_some()),
            ("--minutes", self.minutes.is_some()),
            ("--payments", self.payments.is_some()),
            ("--coins", self.coins.is_some()),
            ("--byzantine", self.byzantine.is_some()),
            ("--vice", self.vice.is_some()),
            ("--loss", self.loss.is_some()),
            ("--partition", self.partition),
            ("--reset", self.reset),
            ("--crash", self.crash),
            ("--disks", self.disks),
            ("--clocks", self.clocks),
        ];
        match asked.into_iter().find(|(_, is_there)| *is_there) {
            Some((option, _)) => Err(Failure::options(format!(
                "`{drawn_by}` draws everything from the seed, so it does not go together with `{option}`; leave one away"
            ))),
            None => Ok(()),
        }
    }

    fn story(&self) -> Story {
        if self.draw {
            return Story::of_seed(self.first_seed());
        }
        let faults = Faults {
            loss_permille: self.loss.unwrap_or(0),
            shreds: self.loss > Some(0),
            partitions: self.partition,
            resets: self.reset,
            stalls: self.reset,
            crashes: self.crash,
            torn: self.crash,
            disks: self.disks,
            clocks: self.clocks,
        };
        let kinds = self.vice.as_deref().unwrap_or(&Kind::ALL);
        let cheats = self.byzantine.unwrap_or_else(|| self.vice.as_ref().map_or(0, Vec::len));
        let calm = Story::calm(self.first_seed(), self.nodes.unwrap_or(8), self.minutes.unwrap_or(60));
        Story {
            byzantine: kinds.iter().copied().cycle().take(cheats).collect(),
            faults,
            payments_per_hour: self.payments.unwrap_or(calm.payments_per_hour),
            coins_per_payment: self.coins.unwrap_or(calm.coins_per_payment),
            ..calm
        }
    }

    /// One run, for a person to follow.
    fn tell(&self) -> Result<(), Failure> {
        let lines = match &self.trace {
            Some(path) => {
                let cannot = |error| Failure::world(format!("cannot write `{}`: {error}", path.display()));
                Some(Box::new(BufWriter::new(File::create(path).map_err(cannot)?)) as Box<dyn Write>)
            }
            None => None,
        };
        let (story, clock) = (self.story(), Clock::start());
        if !self.json {
            output::remark(&show::opening(&story));
        }
        let outcome = world::run(story, lines, &mut |figures| {
            if !self.json {
                output::remark(&show::minute(figures));
            }
        });
        let outcome = outcome.map_err(|error| Failure::world(format!("cannot write the trace: {error}")))?;
        if self.json {
            output::say_json(&outcome)?;
        } else {
            output::say(&show::summary(&outcome, clock.now().mono.0))?;
        }
        outcome.violation.map_or(Ok(()), |violation| Err(failed(self.first_seed(), &violation, &self.again())))
    }

    /// The command that runs this again and writes down what happens.
    fn again(&self) -> String {
        let mut words = vec![format!("spindle simulate --seed {}", self.first_seed())];
        let mut with = |option: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{option} {value}")));
        };
        with("--nodes", self.nodes.map(|nodes| nodes.to_string()));
        with("--minutes", self.minutes.map(|minutes| minutes.to_string()));
        with("--payments", self.payments.map(|payments| payments.to_string()));
        with("--coins", self.coins.map(|coins| coins.to_string()));
        with("--byzantine", self.byzantine.map(|byzantine| byzantine.to_string()));
        let kinds = |kinds: &Vec<Kind>| kinds.iter().copied().map(name).collect::<Vec<_>>().join(",");
        with("--vice", self.vice.as_ref().map(kinds));
        with("--loss", self.loss.map(|permille| format!("{}.{}%", permille / 10, permille % 10)));
        let switches = [
            ("--partition", self.partition),
            ("--reset", self.reset),
            ("--crash", self.crash),
            ("--disks", self.disks),
            ("--clocks", self.clocks),
            ("--draw", self.draw),
        ];
        words.extend(switches.iter().filter(|(_, is_on)| *is_on).map(|(option, _)| (*option).to_owned()));
        words.push("--trace FILE".to_owned());
        words.join(" ")
    }
}

fn failed(seed: u64, violation: &Violation, again: &str) -> Failure {
    Failure::world(format!("seed {seed}: {violation}; `{again}` shows it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<SimulateCommand, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        SimulateCommand::from_args(&["spindle", "simulate"], &words).map_err(|exit| exit.output)
    }

    /// Goal: whatever is asked for is done or refused, never passed over. Method: a drawn story with each other option.
    #[test]
    fn a_drawn_story_takes_no_orders() {
        let others = "--nodes 9;--minutes 5;--payments 0;--coins 2;--byzantine 1;--vice forger;--loss 1%;--partition;\
                      --reset;--crash;--disks;--clocks";
        for other in others.split(';') {
            for drawn in ["--draw", "--seeds 3"] {
                let refused = command(&format!("{drawn} --seed 7 {other}")).expect("sound options").check();
                let option = other.split_whitespace().next().expect("one");
                assert!(refused.is_err_and(|failure| failure.to_string().contains(option)), "{drawn} {other}");
            }
        }
        assert!(command("--seeds 3 --trace x").expect("sound").check().is_err());
        assert!(command("--seeds 3 --draw").expect("sound").check().is_err());
        assert!(command("--draw --seed 3 --trace x --json").expect("sound").check().is_ok());
    }

    /// Goal: the command that is told runs the same story. Method: it is read again.
    #[test]
    fn the_command_that_is_told_runs_the_same_story() {
        let lines = [
            "",
            "--draw --seed 9",
            "--nodes 20 --minutes 7 --seed 3 --payments 9 --coins 3 --loss 0.5% --partition --reset --crash",
            "--byzantine 5 --vice forger,Selfish --disks --clocks",
            "--vice mutator",
        ];
        for line in lines {
            let first = command(line).expect(line);
            let told = first.again();
            let again = command(told.strip_prefix("spindle simulate ").expect("its name")).expect(&told);
            assert_eq!(again.story(), first.story(), "{told}");
        }
    }

    /// Goal: shares are exact or refused, and vices are found by their names. Method: each edge.
    #[test]
    fn shares_and_vices_are_read_exactly() {
        for (text, permille) in [("0%", 0), ("2%", 20), ("0.5%", 5), ("50%", 500), ("50.0%", 500)] {
            assert_eq!(loss(text), Ok(permille), "{text}");
        }
        for text in ["2", "0.05%", "0.55%", "50.1%", "51%", "-1%", "x%", ".5%", "5.%", "%"] {
            assert!(loss(text).is_err(), "{text}");
        }
        assert_eq!(vices("forger, Selfish"), Ok(vec![Kind::Forger, Kind::Selfish]));
        assert!(vices("?").is_err_and(|text| Kind::ALL.iter().all(|kind| text.contains(&name(*kind)))));
        assert!(vices("").is_err());
    }
}
