//! The signing flags that `up` and `controllers` share.

use super::value;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser};
use std::time::Duration;

/// `--cluster-signing-duration` and its deprecated alias: one value under two names, the last one
/// given wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningDuration {
    /// Lifetime of issued certificates.
    pub(crate) duration: Duration,
    /// The deprecated name was used.
    pub(crate) deprecated_name_used: bool,
}

/// Name of the flag since Kubernetes 1.19.
const NAME: &str = "cluster-signing-duration";
/// Name before; accepted for ever.
const DEPRECATED_NAME: &str = "experimental-cluster-signing-duration";
/// kube-controller-manager's default: one year.
const DEFAULT: Duration = Duration::from_secs(8760 * 3600);

impl SigningDuration {
    /// The line that a user of the old name gets.
    pub(crate) const DEPRECATION: &str = "Flag --experimental-cluster-signing-duration has been deprecated, use --cluster-signing-duration";
}

impl FromArgMatches for SigningDuration {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| {
            let index = matches.indices_of(name)?.next_back()?;
            Some((index, *matches.get_many::<Duration>(name)?.next_back()?))
        };
        let old = given(DEPRECATED_NAME);
        let last = [given(NAME), old].into_iter().flatten().max();
        Ok(Self {
            duration: last.map_or(DEFAULT, |(_, duration)| duration),
            deprecated_name_used: old.is_some(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SigningDuration {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("DURATION")
                .action(ArgAction::Append)
                .value_parser(ValueParser::new(value::duration))
        };
        command
            .arg(flag(NAME).help(
                "Lifetime of issued certificates, and the most a request may ask for [default: 8760h0m0s]",
            ))
            .arg(flag(DEPRECATED_NAME).hide(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> SigningDuration {
        let command = SigningDuration::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(args).expect("well-formed");
        SigningDuration::from_arg_matches(&matches).expect("total")
    }

    #[test]
    fn the_last_of_both_names_wins() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (args, expected, old) in [
            (vec![], hours(8760), false),
            (vec!["--cluster-signing-duration=2h"], hours(2), false),
            (
                vec!["--experimental-cluster-signing-duration=3h"],
                hours(3),
                true,
            ),
            (
                vec![
                    "--cluster-signing-duration=2h",
                    "--experimental-cluster-signing-duration",
                    "3h",
                ],
                hours(3),
                true,
            ),
            (
                vec![
                    "--experimental-cluster-signing-duration=3h",
                    "--cluster-signing-duration=2h",
                ],
                hours(2),
                true,
            ),
            (
                vec![
                    "--cluster-signing-duration=2h",
                    "--cluster-signing-duration=4h",
                ],
                hours(4),
                false,
            ),
        ] {
            let expected = SigningDuration {
                duration: expected,
                deprecated_name_used: old,
            };
            assert_eq!(parse(&args), expected, "{args:?}");
        }
    }
}
