//! `spindle service-file`: a unit for systemd that runs `spindle daemon`.
//!
//! The options are checked as `spindle daemon` checks them, and paths among them become absolute, since a service
//! starts in `/`. The service may listen, dial and write to its data directory, and next to nothing else: a node
//! needs no more, and whoever finds a hole in it should not get more.
//!
//! Without `--data-dir` the chain is kept where systemd keeps such things, under a user that exists only for the
//! service. With one, the service runs as whoever that directory belongs to.

use std::env;
use std::path::{Path, PathBuf, absolute};

use argh::FromArgs;

use crate::cli::daemon::DaemonCommand;
use crate::cli::failure::Failure;
use crate::cli::{NAME, config, fold, output};

/// Its name. The words behind it are the daemon's.
pub const COMMAND: &str = "service-file";
/// Where systemd keeps the data of services.
const STATE: &str = "/var/lib";
/// What a service with `ProtectHome=yes` does not see.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Ports below this one are for those who may take them.
const PORT_FREE: u16 = 1_024;
/// Who may do everything.
const ROOT: u32 = 0;
/// What any node may do, and what it may not. `systemd-analyze security` explains each.
const LIMITS: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077";

/// print a systemd unit that runs `spindle daemon` with the options that follow, such as
/// `spindle service-file --config /etc/spindle/class.conf > /etc/systemd/system/spindle.service`
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "service-file")]
pub struct ServiceFile {
    /// options of `spindle daemon`
    #[argh(positional, arg_name = "daemon-options")]
    options: Vec<String>,
}

impl ServiceFile {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        let program = env::current_exe()
            .map_err(|error| Failure::world(format!("cannot find out where this program is: {error}")))?;
        let unit = Unit::new(&program, &self.options, &self.daemon()?)?;
        output::say(&unit.text())?;
        if unit.directory.as_deref().is_some_and(|directory| owner(nearest(directory)) == Some(ROOT)) {
            output::remark(
                "the data directory is, or would be, root's, and so the service would run as root; better make the \
                 directory, give it to a user with `chown`, and then this command again",
            );
        }
        if let Some(word) = unit.words.iter().find(|word| unit.may_not_see(Path::new(word))) {
            output::remark(&format!(
                "`{word}` lies where the service may not be able to read it; better a copy below /usr/local/bin or \
                 /etc/spindle, and then this command again"
            ));
        }
        Ok(())
    }

    /// The daemon's command, if its options are right.
    fn daemon(&self) -> Result<DaemonCommand, Failure> {
        let parse = || {
            let words = config::expand([vec!["daemon".to_owned()], self.options.clone()].concat())?;
            let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
            DaemonCommand::from_args(&[NAME, "daemon"], &words)
                .map_err(|early| Failure::options(fold(&early.output, &format!("{NAME} daemon --help"))))
        };
        parse()?.check()?;
        parse()
    }
}

/// What makes one unit differ from another.
#[derive(Debug)]
struct Unit {
    network: String,
    /// The program and its options, each a word.
    words: Vec<String>,
    port: u16,
    /// Where the chain is, if systemd does not choose that.
    directory: Option<PathBuf>,
}

impl Unit {
    fn new(program: &Path, options: &[String], daemon: &DaemonCommand) -> Result<Self, Failure> {
        let (network, port) = daemon.network_and_port()?;
        let mut words = vec![full(program)?, "daemon".to_owned()];
        for (option, value) in config::given(options) {
            words.push(option.to_owned());
            match value {
                Some(value) if config::is_path(option, value) => words.push(full(Path::new(value))?),
                Some(value) => words.push(value.to_owned()),
                None => {}
            }
        }
        let directory = daemon.data_dir().map(full).transpose()?.map(PathBuf::from);
        if directory.is_none() {
            words.extend(["--data-dir".to_owned(), format!("{STATE}/{NAME}/{network}-{port}")]);
        }
        Ok(Self { network, words, port, directory })
    }

    /// Homes are for those who live there, and each service has a `/tmp` of its own.
    fn may_not_see(&self, path: &Path) -> bool {
        let is_temporary = ["/tmp", "/var/tmp"].iter().any(|place| path.starts_with(place));
        is_temporary || (self.directory.is_none() && is_in_a_home(path))
    }

    /// The options that name the node to a command that asks it.
    fn place(&self) -> String {
        let named = ["--network", "--port", "--rpc-port", "--rpc-bind", "--data-dir"];
        let mut words = Vec::new();
        for pair in self.words.windows(2) {
            if named.contains(&pair[0].as_str()) {
                words.extend(pair.iter().map(|word| quoted(word)));
            }
        }
        words.join(" ")
    }

    fn text(&self) -> String {
        let command: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        let home = match &self.directory {
            Some(directory) if is_in_a_home(directory) => "read-only",
            _ if self.words.iter().any(is_in_a_home) => "read-only",
            _ => "yes",
        };
        let whose = match &self.directory {
            Some(directory) => owned(directory),
            None => format!("DynamicUser=yes\nStateDirectory={NAME}"),
        };
        let capability = if self.port < PORT_FREE { "CAP_NET_BIND_SERVICE" } else { "" };
        format!(
            "# Made by `{NAME} service-file`. It goes to /etc/systemd/system/{NAME}.service; then\n\
             # `systemctl daemon-reload`, `systemctl enable --now {NAME}` and `journalctl -fu {NAME}`.\n\
             # As root, it is asked with `{NAME} status {}`.\n\
             [Unit]\n\
             Description={NAME}, a node of the network {}\n\
             Wants=network-online.target\n\
             After=network-online.target\n\n\
             [Service]\n\
             Type=notify\n\
             ExecStart={}\n\
             {whose}\n\
             Restart=on-failure\n\
             RestartSec=5\n\
             # Wrong options do not become right by trying again.\n\
             RestartPreventExitStatus=2\n\
             # A long chain takes its time to open; the node says when it is ready.\n\
             TimeoutStartSec=infinity\n\
             TimeoutStopSec=30\n\
             LimitNOFILE=8192\n\
             {LIMITS}\n\
             CapabilityBoundingSet={capability}\n\
             AmbientCapabilities={capability}\n\
             ProtectHome={home}\n\n\
             [Install]\n\
             WantedBy=multi-user.target",
            self.place(),
            self.network,
            command.join(" "),
        )
    }
}

fn full(path: &Path) -> Result<String, Failure> {
    let full = absolute(path)
        .map_err(|error| Failure::world(format!("cannot make `{}` absolute: {error}", path.display())))?;
    let full = full.into_os_string().into_string();
    full.map_err(|path| Failure::options(format!("path `{}` is not UTF-8", path.display())))
}

fn is_in_a_home(path: impl AsRef<Path>) -> bool {
    HOMES.iter().any(|home| path.as_ref().starts_with(home))
}

/// Lines for a directory that is somebody's: the service is that user, and may write there. What does not exist yet
/// cannot be named to systemd, so that is the nearest directory above that does.
fn owned(directory: &Path) -> String {
    let there = nearest(directory);
    let writes = format!("ReadWritePaths={}", quoted(&there.display().to_string()));
    match owner(there) {
        Some(owner) => format!("User={owner}\n{writes}"),
        None => writes,
    }
}

/// The directory itself, or the first above it that exists.
fn nearest(directory: &Path) -> &Path {
    directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(unix)]
fn owner(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|metadata| metadata.uid())
}

#[cfg(not(unix))]
fn owner(_path: &Path) -> Option<u32> {
    None
}

/// A word as it stands in a unit: `%` and `$` mean something there, and blanks end a word.
/// <https://www.freedesktop.org/software/systemd/man/systemd.service.html#Command%20lines>
fn quoted(word: &str) -> String {
    let doubled = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%$[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { doubled } else { format!("\"{doubled}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: any word of a command line stays one word of the unit. Method: one of each kind.
    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        let cases = [
            ("--mine", "--mine"),
            ("/a/b-c_d.json", "/a/b-c_d.json"),
            ("[::1]:9000", "[::1]:9000"),
            ("a b", "\"a b\""),
            ("100%", "100%%"),
            ("$HOME", "$$HOME"),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("", "\"\""),
            (";", "\";\""),
        ];
        for (word, quoted_word) in cases {
            assert_eq!(quoted(word), quoted_word);
        }
    }
}
