//! The commands of scripts, and what each does on the stage. README.md beside the scripts lists them.

use std::collections::BTreeMap;

use spindle::blockchain::block::{Block, CheckedHeader};
use spindle::blockchain::checked_tx::ReadTx;
use spindle::blockchain::position::Position;
use spindle::blockchain::template::Template;
use spindle::blockchain::transaction::{Input, Outpoint, Transaction};
use spindle::node::event::Event;
use spindle::primitives::codec::{self, List};
use spindle::primitives::hash::Hash;
use spindle::primitives::keys::Key;
use spindle::primitives::time::Wall;

use crate::common::{self, Coin, coin_from, pay, sealed, secret};
use crate::names::split;
use crate::puppet::{Puppet, Shown};
use crate::script::Script;
use crate::stage::{Actor, Stage, Who};

/// What a payment leaves to the miner if nothing is said.
const FEE: u64 = 2_000;
/// The first block's owner among the tests' keys: each machine has the next one.
const OWNER_FIRST: u64 = 1;

/// A play under way.
struct Play {
    stage: Stage,
    /// What can be spent, by the name of the block or payment that made it.
    coins: BTreeMap<String, Coin>,
    /// The power is going to fail at these while such a block is written.
    failures: Vec<(Who, String)>,
}

/// Plays a script; gives the trace of each of its sections.
pub(crate) fn play(script: &Script) -> Result<Vec<Vec<String>>, String> {
    let mut play = Play { stage: Stage::new(), coins: BTreeMap::new(), failures: Vec::new() };
    let mut traces = Vec::new();
    for (number, section) in (1..).zip(&script.sections) {
        for line in &section.commands {
            play.line(&line.text).map_err(|error| format!("line {}: {error}", line.number))?;
        }
        if number == script.sections.len() {
            play.stage.check();
        }
        traces.push(play.stage.trace.take());
    }
    Ok(traces)
}

impl Play {
    /// Commands at once, and everything that follows from them.
    fn line(&mut self, text: &str) -> Result<(), String> {
        let loud = text.trim().strip_prefix("quietly ");
        self.stage.trace.is_quiet = loud.is_some();
        for command in loud.unwrap_or(text).split(';') {
            let words: Vec<&str> = command.split_whitespace().collect();
            self.command(&words)?;
        }
        self.stage.settle();
        self.stage.trace.is_quiet = false;
        Ok(())
    }

    fn command(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            ["start", name] => self.start(name, None),
            ["start", name, "connects", "to", ref others @ ..] => self.start(name, Some(others)),
            ["connect", from, "to", to] => {
                let (from, to) = (self.who(from)?, self.who(to)?);
                self.stage.dial(from, to);
                Ok(())
            }
            ["mine", name, ref blocks @ ..] => self.mine(name, blocks),
            ["pay", name, payment, "spends", coin] => self.pay(name, payment, coin, FEE),
            ["pay", name, payment, "spends", coin, "fee", fee] => self.pay(name, payment, coin, number(fee)?),
            ["wait", count, unit] => self.wait(count, unit),
            ["cut", a, b] => {
                let (a, b) = (self.who(a)?, self.who(b)?);
                self.stage.cuts.insert((a.min(b), a.max(b)));
                Ok(())
            }
            ["heal"] => {
                self.stage.heal();
                Ok(())
            }
            ["withhold", name] => {
                let who = self.who(name)?;
                self.stage.hosts[who].withholds = true;
                Ok(())
            }
            ["kill", name] => {
                let who = self.who(name)?;
                self.stage.kill(who);
                Ok(())
            }
            ["power", "fails", "at", name] => {
                let who = self.who(name)?;
                self.stage.line(who, "the power fails, and all is lost that was not synced");
                self.stage.power_fails(who, &mut |_| 0);
                Ok(())
            }
            ["power", "fails", "at", name, "in", block] => self.fail_in(name, block),
            ["liar", name, "like", model] => self.liar(name, model),
            ["mutate", name, block] => self.mutate(name, block),
            ["forge", name, block, "with", ref fault @ ..] => self.forge(name, block, &fault.join(" ")),
            _ => Err(format!("`{}` is no command", words.join(" "))),
        }
    }

    fn who(&self, name: &str) -> Result<Who, String> {
        self.stage.find(name).ok_or_else(|| format!("nobody is called {name}"))
    }

    fn start(&mut self, name: &str, others: Option<&[&str]>) -> Result<(), String> {
        let who = self.stage.find(name).unwrap_or_else(|| self.stage.add(name, Actor::Nothing));
        if self.stage.running(who).is_some() {
            return Err(format!("{name} runs"));
        }
        if let Some(others) = others {
            let others: Result<Vec<Who>, String> = others.iter().map(|other| self.who(other)).collect();
            self.stage.hosts[who].connects_to = others?;
        }
        self.stage.start(who);
        Ok(())
    }

    fn wait(&mut self, count: &str, unit: &str) -> Result<(), String> {
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            _ => return Err(format!("`{unit}` is not ms, s or min")),
        };
        self.stage.pass(number(count)? * ms);
        Ok(())
    }

    // --- blocks and payments ---

    /// A node finds blocks, each on its tip and of what waits in its pool.
    fn mine(&mut self, name: &str, blocks: &[&str]) -> Result<(), String> {
        let who = self.who(name)?;
        for block in expanded(blocks)? {
            let now = self.stage.now().wall;
            let running = self.stage.running(who).ok_or_else(|| format!("{name} does not run"))?;
            let (chain, pack) = (running.node.chain(), running.node.pool().pack());
            let payout = secret(who as u64 + OWNER_FIRST).public().into();
            let template = Template::new(&self.stage.params, chain.tip_position(), &payout, &pack.transfers);
            let mut header = *template.header();
            header.time = header.time.max(now.0);
            let found = template.found(&self.stage.params, common::mined(header)).expect("a pool packs valid blocks");
            let on = self.stage.names.of(&chain.tip().id).to_owned();
            let payments = self.stage.names.row(&found.transactions()[1..]);
            let payments = if payments.is_empty() { payments } else { format!(" with {payments}") };
            self.stage.names.add(found.id(), &block);
            self.arm(found.id(), &block);
            let outpoint = Outpoint { transaction: found.transactions()[0], index: 0 };
            let output = template.coinbase().output;
            let matures_at = header.height + self.stage.params.spec().maturity;
            let input = Input { outpoint, amount: output.amount, key: output.key, matures_at };
            self.name_coin(&block, Coin { input, owner: who as u64 + OWNER_FIRST });
            self.stage.names.add(outpoint.transaction, &format!("coinbase({block})"));
            self.stage.line(who, &format!("mines {block} on {on}{payments}"));
            self.stage.step(who, Event::Mined { block: Box::new(found) });
            if blocks.len() > 1 || blocks[0].contains("..") {
                self.stage.settle();
            }
        }
        Ok(())
    }

    /// A wallet beside a node hands in a payment.
    fn pay(&mut self, name: &str, payment: &str, coin: &str, fee: u64) -> Result<(), String> {
        let who = self.who(name)?;
        if self.stage.running(who).is_none() {
            return Err(format!("{name} does not run"));
        }
        let coin = *self.coins.get(coin).ok_or_else(|| format!("{coin} made no coin"))?;
        let transfer = pay(&self.stage.params, &[coin], &[coin.input.amount - fee]);
        self.name_coin(payment, coin_from(&transfer, 0));
        self.stage.names.add(transfer.id(), payment);
        let read = ReadTx::read(&self.stage.params, &codec::encode(&transfer)).expect("right in itself");
        self.stage.hand_in(who, read);
        Ok(())
    }

    fn name_coin(&mut self, maker: &str, coin: Coin) {
        self.stage.names.add(Hash(coin.input.coin().0), &format!("coin({maker})"));
        self.coins.insert(maker.to_owned(), coin);
    }

    // --- disks ---

    /// The power will fail while a node writes a block that is yet to be found.
    fn fail_in(&mut self, name: &str, block: &str) -> Result<(), String> {
        self.failures.push((self.who(name)?, block.to_owned()));
        Ok(())
    }

    fn arm(&mut self, id: Hash, block: &str) {
        for (who, _) in self.failures.extract_if(.., |(_, fatal)| fatal == block) {
            if let Some(running) = self.stage.running(who) {
                running.disk.fail_in(id);
            }
        }
    }

    // --- liars ---

    /// Somebody who has seen the blocks of a node, or what another liar shows.
    fn liar(&mut self, name: &str, model: &str) -> Result<(), String> {
        let model = self.who(model)?;
        let (blocks, tip) = match &self.stage.hosts[model].actor {
            Actor::Puppet(Puppet { blocks, tip }) => (blocks.clone(), *tip),
            Actor::Node(running) => {
                let chain = running.node.chain();
                let reader = chain.reader();
                let shown = |height| {
                    let bytes = reader.block(reader.record_at(height).expect("active")).expect("a disk that works");
                    let block: Block = codec::decode(&bytes).expect("a block");
                    Shown { header: block.header, bytes }
                };
                ((1..=chain.tip().header.height).map(shown).collect(), *chain.tip_position())
            }
            Actor::Nothing => return Err(format!("{} shows nothing", self.stage.hosts[model].name)),
        };
        self.stage.add(name, Actor::Puppet(Puppet { blocks, tip }));
        Ok(())
    }

    fn liar_mut(&mut self, name: &str) -> Result<(&mut Vec<Shown>, &mut Position), String> {
        let who = self.who(name)?;
        match &mut self.stage.hosts[who].actor {
            Actor::Puppet(Puppet { blocks, tip }) => Ok((blocks, tip)),
            _ => Err(format!("{name} is no liar")),
        }
    }

    /// From now on a liar shows a block with its true header and somebody else's coinbase.
    fn mutate(&mut self, name: &str, block: &str) -> Result<(), String> {
        let id = self.stage.names.find(block);
        let (blocks, _) = self.liar_mut(name)?;
        let shown = blocks.iter_mut().find(|shown| Some(shown.header.id()) == id);
        let shown = shown.ok_or_else(|| format!("{name} has no {block}"))?;
        let mut body: Block = codec::decode(&shown.bytes).expect("a block");
        body.coinbase.output.key = Key([0xee; 32]);
        shown.bytes = body.to_bytes();
        Ok(())
    }

    /// A liar puts a block of its own making on what it has: right in everything but this.
    fn forge(&mut self, name: &str, block: &str, fault: &str) -> Result<(), String> {
        let (params, now) = (self.stage.params.clone(), self.stage.now().wall);
        let (blocks, tip) = self.liar_mut(name)?;
        let mut forged = Template::new(&params, tip, &Key([0xbb; 32]).into(), &[]).to_block();
        forged.header.time = forged.header.time.max(now.0);
        match fault {
            "no fault" => {}
            "a unit too much" => forged.coinbase.output.amount += 1,
            "a coin that never was" => {
                let transfer = pay(&params, &[common::coin(7, 5_000)], &[4_000]);
                forged.coinbase.output.amount += common::fee(&transfer);
                forged.transfers = List::first_of(vec![transfer]);
            }
            _ => return Err(format!("`{fault}` is no fault")),
        }
        let forged = sealed(forged);
        let header = CheckedHeader::check(forged.header).expect("sealed");
        *tip = tip.child(&params, &header, Wall(u64::MAX)).expect("right in its place");
        blocks.push(Shown { header: forged.header, bytes: forged.to_bytes() });
        let ids: Vec<Hash> = forged.transfers.iter().map(Transaction::id).collect();
        self.stage.names.add(header.id(), block);
        for (number, id) in (1..).zip(ids) {
            self.stage.names.add(id, &format!("{block}-transfer-{number}"));
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// Names, where `x1..x3` stands for three.
fn expanded(names: &[&str]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for name in names {
        let Some((first, last)) = name.split_once("..") else {
            all.push((*name).to_owned());
            continue;
        };
        match (split(first), split(last)) {
            (Some((letters, from)), Some((others, to))) if letters == others => {
                all.extend((from..=to).map(|number| format!("{letters}{number}")));
            }
            _ => return Err(format!("`{name}` is no row of names")),
        }
    }
    if all.is_empty() { Err("nothing is named".into()) } else { Ok(all) }
}
