//! The binary: command line → configuration → composition of the libraries.
//!
//! Owns flags, files of the data directory, messages for people and exit codes. Refuses to decide anything about
//! certificates: that is the libraries' work.

mod args;
mod cmd;
mod config;
mod failure;
mod log;
mod print;
mod up;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(&cli.log);
    let outcome = match cli.command {
        Command::Completion(args) => cmd::completion::run(&args, &mut Cli::command()),
        Command::Version(args) => cmd::version::run(&args),
        _ => Ok(ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| failure::report(&error))
}
