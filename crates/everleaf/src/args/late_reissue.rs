//! Flags about nodes that come back after their certificate has ended: ours.

use super::value;
use clap::Args;
use everleaf_apiserver::late_reissue::Policy;
use jiff::SignedDuration;
use std::time::Duration;

/// Who may come back late.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Late re-issue")]
pub(crate) struct LateReissueArgs {
    /// Let a node whose certificate ended at most this long ago have another one by proof of its
    /// old key, if its agent runs with --late-reissue, as in 8760h [default: none may]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    late_reissue_max_age: Option<Duration>,
    /// How often one node may do so, until its count is set back
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        requires = "late_reissue_max_age"
    )]
    late_reissue_max_recoveries: u32,
}

impl LateReissueArgs {
    /// As the library takes them; none: it is off.
    pub(crate) fn policy(&self) -> Option<Policy> {
        let age_max = self.late_reissue_max_age?;
        Some(Policy {
            age_max: SignedDuration::try_from(age_max).unwrap_or(SignedDuration::MAX),
            recoveries_max: self.late_reissue_max_recoveries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(args: &[&str]) -> Result<Option<Policy>, clap::Error> {
        let command = LateReissueArgs::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(args)?;
        Ok(LateReissueArgs::from_arg_matches(&matches)?.policy())
    }

    #[test]
    fn it_is_off_unless_an_age_is_given() {
        assert_eq!(parse(&[]).unwrap(), None);
        let year = SignedDuration::from_hours(8760);
        let policy = |recoveries_max| {
            Some(Policy {
                age_max: year,
                recoveries_max,
            })
        };
        assert_eq!(parse(&["--late-reissue-max-age=8760h"]).unwrap(), policy(3));
        let both = [
            "--late-reissue-max-age=8760h",
            "--late-reissue-max-recoveries=1",
        ];
        assert_eq!(parse(&both).unwrap(), policy(1));
        assert!(parse(&["--late-reissue-max-recoveries=1"]).is_err());
        assert!(parse(&["--late-reissue-max-age=0s"]).is_err());
    }
}
