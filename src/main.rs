//! The program: words in, an exit code out. What it can do stands in [`spindle::cli`].

use std::env;
use std::process::ExitCode;

use spindle::cli;

fn main() -> ExitCode {
    match cli::parse(env::args_os().skip(1)).and_then(cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}
