//! The flags of leader election: kube-controller-manager's.

use super::value::{self, Switch as _};
use clap::{ArgAction, Args};
use everleaf_controllers::ElectionOptions;
use std::time::Duration;

/// Flags of an election.
#[derive(Debug, Args)]
pub(crate) struct ElectionArgs {
    /// Act only while this process holds a lease, which several processes contend for
    #[arg(long, action = ArgAction::Set, switch_or = "true")]
    leader_elect: bool,
    /// How long others wait after the last renewal they saw before they take the lease
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "15s")]
    leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it leaves; less than the lease duration
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "10s")]
    leader_elect_renew_deadline: Duration,
    /// Time between two attempts
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "2s")]
    leader_elect_retry_period: Duration,
    /// Kind of the lock; Kubernetes has only leases
    #[arg(long, value_name = "KIND", default_value = "leases")]
    leader_elect_resource_lock: String,
    /// Name of the lease [default: kube-controller-manager, which excludes one;
    /// everleaf-kubelet-serving-approver if only that controller runs]
    #[arg(long, value_name = "NAME")]
    leader_elect_resource_name: Option<String>,
    /// Namespace of the lease
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    leader_elect_resource_namespace: String,
}

impl ElectionArgs {
    /// As the library takes them.
    pub(crate) fn options(&self) -> ElectionOptions {
        ElectionOptions {
            leader_elect: self.leader_elect,
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            resource_lock: self.leader_elect_resource_lock.clone(),
            resource_name: self.leader_elect_resource_name.clone(),
            resource_namespace: self.leader_elect_resource_namespace.clone(),
            retry_period: self.leader_elect_retry_period,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(args: &[&str]) -> Result<ElectionOptions, clap::Error> {
        let command = ElectionArgs::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(args)?;
        Ok(ElectionArgs::from_arg_matches(&matches)?.options())
    }

    #[test]
    fn defaults_are_upstreams() {
        assert_eq!(parse(&[]).unwrap(), ElectionOptions::default());
    }

    #[test]
    fn flags_have_upstreams_syntax() {
        for args in [&["--leader-elect"][..], &["--leader-elect=true"]] {
            assert!(parse(args).unwrap().leader_elect);
        }
        assert!(!parse(&["--leader-elect=false"]).unwrap().leader_elect);
        let options = parse(&[
            "--leader-elect-lease-duration=1m0s",
            "--leader-elect-resource-name",
            "x",
        ])
        .unwrap();
        assert_eq!(options.lease_duration, Duration::from_secs(60));
        assert_eq!(options.resource_name.as_deref(), Some("x"));
        assert!(parse(&["--leader-elect-retry-period=0s"]).is_err());
    }
}
