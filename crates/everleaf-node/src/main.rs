//! `everleaf-agent`: the agent alone, for machines that are to have nothing more.

use clap::FromArgMatches;
use everleaf_node::args::AgentCli;
use everleaf_node::{failure, log, run};
use std::process::ExitCode;

/// What people type.
const PROGRAM: &str = "everleaf-agent";

fn main() -> ExitCode {
    let matches = AgentCli::command_alone().get_matches();
    let cli = AgentCli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    log::start(&cli.log, false);
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("invariant: nothing before main installs a crypto provider");
    }
    run(&cli.agent, PROGRAM).unwrap_or_else(|error| failure::report(PROGRAM, &error))
}
