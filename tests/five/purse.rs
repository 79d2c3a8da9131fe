//! A person with a wallet, who uses nothing but its commands.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use spindle::wallet::amount;

use crate::common::process::spindle;

/// A directory with a wallet in it.
pub(crate) struct Purse {
    home: PathBuf,
    network: PathBuf,
    pub(crate) address: String,
    /// What it said of payments that can no longer be mined, because their coins came from a block that was undone.
    lost: RefCell<Vec<String>>,
}

/// What a wallet says that it has, in units, and up to which block it has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) sum: u64,
    pub(crate) unconfirmed: u64,
    pub(crate) height: u64,
}

impl Purse {
    /// Makes a wallet in this directory.
    pub(crate) fn new(home: &Path, network: &Path) -> Self {
        fs::create_dir(home).expect("a new directory");
        fs::write(home.join("password"), "correct horse").expect("a small file");
        let bare = Self {
            home: home.to_owned(),
            network: network.to_owned(),
            address: String::new(),
            lost: RefCell::default(),
        };
        let made = bare.run("new", &[]).expect("a wallet");
        Self { address: made["address"].as_str().expect("an address").to_owned(), ..bare }
    }

    /// What a command says, or its complaint.
    fn run(&self, name: &str, more: &[&str]) -> Result<Value, String> {
        let mut command = spindle();
        command.current_dir(&self.home).env("HOME", &self.home).stdin(Stdio::null()).args(["wallet", name]).args(more);
        command.args(["--wallet", "wallet", "--password-file", "password", "--json", "--network"]).arg(&self.network);
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert!(!said.contains("panicked"), "{name} {more:?}: {said}");
        let lost = said.lines().filter(|line| line.contains("was not made") && line.contains("undone"));
        self.lost.borrow_mut().extend(lost.map(str::to_owned));
        if status.success() { Ok(serde_json::from_slice(&stdout).expect("JSON")) } else { Err(said) }
    }

    /// Whether it has said that this payment can no longer be mined.
    pub(crate) fn gave_up(&self, id: &str) -> bool {
        self.lost.borrow().iter().any(|line| line.contains(id))
    }

    /// Pays somebody through the node at this port. What was not sent is told, and may be offered again later.
    pub(crate) fn pay(&self, to: &str, coins: &str, port: u16) -> Result<String, String> {
        let sent = self.run("send", &[to, coins, "--yes", "--port", &port.to_string()])?;
        Ok(sent["txid"].as_str().expect("an id").to_owned())
    }

    pub(crate) fn balance(&self, port: u16) -> Balance {
        let told = self.run("balance", &["--port", &port.to_string()]).expect("the node answers");
        let units = |part: &str| amount::parse(told[part].as_str().expect("a text")).expect("an amount");
        let unconfirmed = units("unconfirmed");
        let sum = units("confirmed") + unconfirmed + units("immature");
        Balance { sum, unconfirmed, height: told["height"].as_u64().expect("a height") }
    }

    /// Its entries that go this way (`sent`, `received`): id, amount in units, and height if confirmed.
    pub(crate) fn history(&self, port: u16, direction: &str) -> Vec<(String, u64, Option<u64>)> {
        let told = self.run("history", &["--port", &port.to_string()]).expect("the node answers");
        let entries = told.as_array().expect("a list").iter().filter(|entry| entry["direction"] == direction);
        let entry = |entry: &Value| {
            let amount = amount::parse(entry["amount"].as_str().expect("a text")).expect("an amount");
            (entry["txid"].as_str().expect("an id").to_owned(), amount, entry["height"].as_u64())
        };
        entries.map(entry).collect()
    }
}
