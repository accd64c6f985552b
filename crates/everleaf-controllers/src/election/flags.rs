//! The flags `--leader-elect…`, as plain data, and their check.
//!
//! Names, defaults and rules are upstream's: `k8s.io/component-base/config/options`,
//! `k8s.io/controller-manager/options` and client-go's `NewLeaderElector`.

use super::lease::LockName;
use super::{ElectionConfig, JITTER_FACTOR};
use everleaf_api::meta::uuid;
use std::time::Duration;

/// The only kind of lock that is left in Kubernetes.
const LEASES: &str = "leases";

/// The lock of kube-controller-manager.
pub const RESOURCE_NAME_DEFAULT: &str = "kube-controller-manager";

/// The lock of those that approve serving requests and do nothing else.
pub const RESOURCE_NAME_SERVING: &str = "everleaf-kubelet-serving-approver";

/// The flags. `Default` is what no flags at all mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionOptions {
    /// `--leader-elect`. Default true.
    pub leader_elect: bool,
    /// `--leader-elect-lease-duration`. Default 15s.
    pub lease_duration: Duration,
    /// `--leader-elect-renew-deadline`. Default 10s.
    pub renew_deadline: Duration,
    /// `--leader-elect-resource-lock`. Default `leases`, which is the only choice.
    pub resource_lock: String,
    /// `--leader-elect-resource-name`. Not given: `kube-controller-manager`, or, where nothing runs
    /// that one of those does, too, a lease of our own.
    pub resource_name: Option<String>,
    /// `--leader-elect-resource-namespace`. Default `kube-system`.
    pub resource_namespace: String,
    /// `--leader-elect-retry-period`. Default 2s.
    pub retry_period: Duration,
}

impl Default for ElectionOptions {
    fn default() -> Self {
        Self {
            leader_elect: true,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            resource_lock: LEASES.to_owned(),
            resource_name: None,
            resource_namespace: "kube-system".to_owned(),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl ElectionOptions {
    /// Everything that is wrong, one line each. Without `--leader-elect` nothing is.
    pub fn check(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if !self.leader_elect {
            return errors;
        }
        let Self {
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
            ..
        } = self;
        for (flag, name, duration) in [
            ("lease-duration", "leaseDuration", lease),
            ("renew-deadline", "renewDeadline", renew),
            ("retry-period", "retryPeriod", retry),
        ] {
            if duration.is_zero() {
                errors.push(format!(
                    "--leader-elect-{flag}: {name} must be greater than zero"
                ));
            }
        }
        if lease <= renew {
            errors.push(format!(
                "--leader-elect-lease-duration {lease:?}, --leader-elect-renew-deadline {renew:?}: leaseDuration must \
                 be greater than renewDeadline, or two would lead at once"
            ));
        }
        if *renew <= retry.mul_f64(JITTER_FACTOR) {
            errors.push(format!(
                "--leader-elect-renew-deadline {renew:?}, --leader-elect-retry-period {retry:?}: renewDeadline must be \
                 greater than retryPeriod*JitterFactor ({JITTER_FACTOR})"
            ));
        }
        if !lease.is_zero() && lease.as_secs() == 0 {
            errors.push(format!(
                "--leader-elect-lease-duration {lease:?}: a Lease counts whole seconds; give at least 1s"
            ));
        }
        if self.resource_lock != LEASES {
            errors.push(format!(
                "--leader-elect-resource-lock: resourceLock value must be \"leases\", not {:?}; Kubernetes has removed \
                 the other kinds of lock",
                self.resource_lock
            ));
        }
        for (flag, value) in [
            ("name", self.resource_name.as_ref()),
            ("namespace", Some(&self.resource_namespace)),
        ] {
            if value.is_some_and(String::is_empty) {
                errors.push(format!(
                    "--leader-elect-resource-{flag} is empty; leave it out to get the default"
                ));
            }
        }
        errors
    }

    /// Nothing runs that a kube-controller-manager does: unless told otherwise, do not exclude one.
    pub(crate) fn stand_beside_upstream(&mut self) {
        self.resource_name
            .get_or_insert_with(|| RESOURCE_NAME_SERVING.to_owned());
    }

    /// What a process on this host takes part with, if it takes part at all. `random` must come
    /// from the system's entropy: two processes with the same identity would both lead.
    pub fn enter(&self, hostname: &str, random: [u8; 16]) -> Option<ElectionConfig> {
        if !self.leader_elect {
            return None;
        }
        let [a, b, c, d, e, f, g, h, ..] = random;
        Some(ElectionConfig {
            // As kube-controller-manager calls itself.
            identity: format!("{hostname}_{}", uuid(random)),
            lease_duration: self.lease_duration,
            lock: LockName {
                namespace: self.resource_namespace.clone(),
                name: self
                    .resource_name
                    .clone()
                    .unwrap_or_else(|| RESOURCE_NAME_DEFAULT.to_owned()),
            },
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
            seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn upstreams_rules() {
        let check = |change: fn(&mut ElectionOptions)| {
            let mut options = ElectionOptions::default();
            change(&mut options);
            options.check().join("\n")
        };
        assert_eq!(check(|_| {}), "");
        assert_eq!(check(|options| options.renew_deadline = seconds(14)), "");
        for (change, expected) in [
            (
                (|options| options.renew_deadline = seconds(15)) as fn(&mut ElectionOptions),
                "leaseDuration must be greater than renewDeadline",
            ),
            (
                |options| options.retry_period = seconds(10),
                "renewDeadline must be greater than retryPeriod*JitterFactor",
            ),
            (
                |options| options.renew_deadline = Duration::from_millis(2400),
                "renewDeadline must be greater than retryPeriod*JitterFactor",
            ),
            (
                |options| options.retry_period = Duration::ZERO,
                "--leader-elect-retry-period: retryPeriod must be greater than zero",
            ),
            (
                |options| {
                    options.lease_duration = Duration::from_millis(900);
                    options.renew_deadline = Duration::from_millis(500);
                    options.retry_period = Duration::from_millis(100);
                },
                "at least 1s",
            ),
            (
                |options| options.resource_lock = "endpoints".to_owned(),
                "resourceLock value must be \"leases\", not \"endpoints\"",
            ),
            (
                |options| options.resource_name = Some(String::new()),
                "--leader-elect-resource-name is empty",
            ),
        ] {
            let errors = check(change);
            assert!(errors.contains(expected), "{errors:?} lacks {expected:?}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
        let off = check(|options| {
            options.leader_elect = false;
            options.resource_lock = "endpoints".to_owned();
            options.retry_period = seconds(100);
        });
        assert_eq!(off, "", "nothing is checked that is not used");
    }

    #[test]
    fn an_identity_is_a_host_and_a_uuid() {
        let options = ElectionOptions::default();
        let config = options.enter("host1", [0xff; 16]).unwrap();
        assert_eq!(
            config.identity,
            "host1_ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        let other = options.enter("host1", [0; 16]).unwrap();
        assert_eq!(other.identity, "host1_00000000-0000-4000-8000-000000000000");
        assert_ne!(config.seed, other.seed);
        let off = ElectionOptions {
            leader_elect: false,
            ..options
        };
        assert_eq!(off.enter("host1", [0; 16]), None);
    }
}
