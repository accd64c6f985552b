//! Flags of another program that mean nothing to the one that takes its place here. A unit file or
//! a manifest written for the original keeps working: they are accepted, named once in the log, and
//! have no effect.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::marker::PhantomData;

/// A program whose other flags are accepted.
pub trait Original {
    /// Its flags with a value.
    const WITH_VALUE: &'static [&'static str];
    /// Its switches.
    const SWITCHES: &'static [&'static str];
}

/// From the units that kubeadm, kOps and the cloud images write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kubelet;

impl Original for Kubelet {
    const WITH_VALUE: &'static [&'static str] = &[
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
    const SWITCHES: &'static [&'static str] = &["fail-swap-on", "logtostderr", "register-node"];
}

/// The ones that were given, in the order of the lists above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IgnoredFlags<O>(pub Vec<&'static str>, PhantomData<O>);

impl<O: Original> FromArgMatches for IgnoredFlags<O> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = O::WITH_VALUE.iter().chain(O::SWITCHES).copied();
        let given = names.filter(|name| matches.contains_id(name)).collect();
        Ok(Self(given, PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<O: Original> Args for IgnoredFlags<O> {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &&'static str| {
            Arg::new(*name)
                .long(*name)
                .hide(true)
                .action(ArgAction::Append)
                .value_name("VALUE")
        };
        let switch = |name| {
            flag(name)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        };
        command
            .args(O::WITH_VALUE.iter().map(flag))
            .args(O::SWITCHES.iter().map(switch))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
