//! The binary: command line → configuration → composition of the libraries.
//!
//! Owns flags, files of the data directory, messages for people and exit codes. Refuses to decide
//! anything about certificates: that is the libraries' work.

mod args;
mod audit;
mod authorizers;
mod calls;
mod cmd;
mod config;
mod encryption;
mod etcd;
mod failure;
mod in_use;
mod issuers;
mod kube_client;
mod offer;
mod print;
mod server;
mod service;
mod told;
mod up;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use everleaf_node::{input, log, shutdown};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(&cli.log, matches!(cli.command, Command::Demo(_)));
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("invariant: nothing before main installs a crypto provider");
    }
    let outcome = match cli.command {
        Command::Agent(args) => everleaf_node::run(&args, "everleaf agent"),
        Command::Apiserver(args) => cmd::apiserver::run(&args),
        Command::Up(args) => cmd::up::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Ca(command) => cmd::ca::run(&command),
        Command::Certs(args) => cmd::certs::run(&args),
        Command::Completion(args) => cmd::completion::run(&args, &mut Cli::command()),
        Command::Controllers(args) => cmd::controllers::run(&args),
        Command::Dashboard(args) => cmd::dashboard::run(&args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Forecast(args) => cmd::fleet::forecast(&args),
        Command::Man(args) => cmd::man::run(&args, Cli::command()),
        Command::Policy(command) => cmd::policy::run(&command),
        Command::Status(args) => cmd::fleet::status(&args),
        Command::Store(command) => cmd::store::run(&command),
        Command::Token(command) => cmd::token::run(&command),
        Command::Version(args) => cmd::version::run(&args),
        Command::Why(args) => cmd::why::run(&args),
    };
    outcome.unwrap_or_else(|error| failure::report(&error))
}
