//! The command line: arguments in, a verdict or a report on stdout, everything else on stderr.

mod args;
mod bar;
mod commands;
mod print;

use std::process::ExitCode;

use clap::Parser as _;

/// What could not be done as asked: a path, a key, an argument.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match commands::run(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = print::foreign(&error.to_string());
            anstream::eprintln!("{}error:{} {text}", print::RED, print::RESET);
            ExitCode::from(USAGE)
        }
    }
}

/// The reader of a pipe went away, as `head` does: nothing is wrong.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
