//! The command line of an agent, and what the command lines of all our programs share: plain data,
//! nothing resolved. Flags that exist in the kubelet keep their name, value syntax and default.

pub mod agent;
pub mod ignored;
pub mod value;

use clap::{Args, Command, CommandFactory, Parser, ValueEnum};

/// Keep a node's certificates: bootstrap, renew, write its kubeconfig (the kubelet's flags).
#[derive(Debug, Parser)]
#[command(
    name = "everleaf-agent",
    version,
    args_override_self = true,
    propagate_version = true,
    max_term_width = 110
)]
pub struct AgentCli {
    /// What the agent is to do.
    #[command(flatten)]
    pub agent: agent::AgentArgs,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

impl AgentCli {
    /// The command line, whose examples name this program and not `everleaf agent`.
    pub fn command_alone() -> Command {
        let alone = |command: Command| {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            command.after_help(help.replace("everleaf agent", "everleaf-agent"))
        };
        alone(Self::command())
            .mut_subcommand("join", alone)
            .mut_subcommand("rehearse", alone)
            .mut_subcommand("adopt", alone)
            .mut_subcommand("hand-back", alone)
    }
}

/// Where log lines go and how many.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Form of the log lines on stderr
    #[arg(long, global = true, display_order = 900, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Log more: -v for details, -vv (or -v=4) for everything
    #[arg(
        short = 'v',
        long = "v",
        global = true,
        display_order = 901,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        action = clap::ArgAction::Append,
        value_name = "LEVEL"
    )]
    pub verbosity: Vec<u8>,
}

/// Forms of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_names_its_program() {
        AgentCli::command_alone().debug_assert();
        let help = AgentCli::command_alone().render_long_help().to_string();
        assert!(help.contains("everleaf-agent join https://"), "{help}");
        assert!(!help.contains("everleaf agent"), "{help}");
    }
}
