//! Kubelet flags that have nothing to do with certificates. A unit file written for the kubelet keeps working:
//! they are accepted, named once in the log, and have no effect.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Flags with a value, from the units that kubeadm, kOps and the cloud images write.
const WITH_VALUE: [&str; 22] = [
    "address",
    "cgroup-driver",
    "cgroup-root",
    "cloud-config",
    "cloud-provider",
    "cluster-dns",
    "cluster-domain",
    "config-dir",
    "container-runtime",
    "container-runtime-endpoint",
    "eviction-hard",
    "image-service-endpoint",
    "kube-reserved",
    "max-pods",
    "node-labels",
    "pod-infra-container-image",
    "pod-manifest-path",
    "provider-id",
    "register-with-taints",
    "root-dir",
    "runtime-cgroups",
    "system-reserved",
];
/// Switches.
const SWITCHES: [&str; 3] = ["fail-swap-on", "logtostderr", "register-node"];

/// The ones that were given, in the order of the lists above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IgnoredKubeletFlags(pub(crate) Vec<&'static str>);

impl FromArgMatches for IgnoredKubeletFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = WITH_VALUE.into_iter().chain(SWITCHES);
        Ok(Self(
            names.filter(|name| matches.contains_id(name)).collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for IgnoredKubeletFlags {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &'static str| {
            Arg::new(name)
                .long(name)
                .hide(true)
                .action(ArgAction::Append)
                .value_name("VALUE")
        };
        command
            .args(WITH_VALUE.map(flag))
            .args(SWITCHES.map(|name| {
                flag(name)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
            }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
