//! The flags of the cleaner that `up` and `controllers` share.

use super::value;
use clap::Args;
use everleaf_controllers::cleaner::Ages;
use std::time::Duration;

/// How old requests become.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deletion of old requests")]
pub(crate) struct CleaningArgs {
    /// Delete requests this long after their certificate was issued
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "1h")]
    csr_ttl_issued: Duration,
    /// … after they were approved, if nobody signs them
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "24h")]
    csr_ttl_approved: Duration,
    /// … after they were denied
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "1h")]
    csr_ttl_denied: Duration,
    /// … after they failed
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "1h")]
    csr_ttl_failed: Duration,
    /// … after they were made, if nobody decides
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "24h")]
    csr_ttl_pending: Duration,
}

impl CleaningArgs {
    /// As the library takes them.
    pub(crate) fn ages(&self) -> Ages {
        Ages {
            approved: self.csr_ttl_approved,
            denied: self.csr_ttl_denied,
            failed: self.csr_ttl_failed,
            issued: self.csr_ttl_issued,
            pending: self.csr_ttl_pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(args: &[&str]) -> Result<Ages, clap::Error> {
        let command = CleaningArgs::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(args)?;
        Ok(CleaningArgs::from_arg_matches(&matches)?.ages())
    }

    #[test]
    fn without_flags_it_is_as_in_kubernetes() {
        assert_eq!(parse(&[]).unwrap(), Ages::default());
    }

    #[test]
    fn each_age_has_its_flag() {
        let ages = parse(&[
            "--csr-ttl-issued=1m",
            "--csr-ttl-approved=2m",
            "--csr-ttl-denied=3m",
            "--csr-ttl-failed=4m",
            "--csr-ttl-pending=5m",
        ]);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let expected = Ages {
            issued: minutes(1),
            approved: minutes(2),
            denied: minutes(3),
            failed: minutes(4),
            pending: minutes(5),
        };
        assert_eq!(ages.unwrap(), expected);
        assert!(parse(&["--csr-ttl-issued=0s"]).is_err());
    }
}
