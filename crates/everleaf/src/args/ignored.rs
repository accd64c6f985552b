//! Flags of the kubelet and of kube-controller-manager that mean nothing to the program that takes
//! their place here. A unit file or a manifest written for the original keeps working: they are
//! accepted, named once in the log, and have no effect.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::marker::PhantomData;

/// A program whose other flags are accepted.
pub(crate) trait Original {
    /// Its flags with a value.
    const WITH_VALUE: &'static [&'static str];
    /// Its switches.
    const SWITCHES: &'static [&'static str];
}

/// From the units that kubeadm, kOps and the cloud images write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kubelet;

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

/// All that kube-controller-manager 1.37 knows and we do not use, and what manifests of older
/// releases may still have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ControllerManager;

impl Original for ControllerManager {
    const WITH_VALUE: &'static [&'static str] = &[
        "address",
        "allow-metric-labels",
        "allow-metric-labels-manifest",
        "attach-detach-reconcile-sync-period",
        "authentication-kubeconfig",
        "authentication-token-webhook-cache-ttl",
        "authorization-always-allow-paths",
        "authorization-kubeconfig",
        "authorization-webhook-cache-authorized-ttl",
        "authorization-webhook-cache-unauthorized-ttl",
        "bind-address",
        "cert-dir",
        "cidr-allocator-type",
        "client-ca-file",
        "cloud-config",
        "cloud-provider",
        "cluster-cidr",
        "cluster-name",
        "concurrent-cron-job-syncs",
        "concurrent-daemonset-syncs",
        "concurrent-deployment-syncs",
        "concurrent-device-taint-eviction-syncs",
        "concurrent-disruption-syncs",
        "concurrent-endpoint-syncs",
        "concurrent-ephemeralvolume-syncs",
        "concurrent-gc-syncs",
        "concurrent-horizontal-pod-autoscaler-syncs",
        "concurrent-job-syncs",
        "concurrent-namespace-syncs",
        "concurrent-rc-syncs",
        "concurrent-replicaset-syncs",
        "concurrent-resource-quota-syncs",
        "concurrent-resourceclaim-syncs",
        "concurrent-service-endpoint-syncs",
        "concurrent-serviceaccount-token-syncs",
        "concurrent-statefulset-syncs",
        "concurrent-ttl-after-finished-syncs",
        "concurrent-validating-admission-policy-status-syncs",
        "controller-shutdown-timeout",
        "controller-start-interval",
        "deleting-pods-burst",
        "deleting-pods-qps",
        "deployment-controller-sync-period",
        "disabled-metrics",
        "emulated-version",
        "endpoint-updates-batch-period",
        "endpointslice-updates-batch-period",
        "external-cloud-volume-plugin",
        "feature-gates",
        "flex-volume-plugin-dir",
        "horizontal-pod-autoscaler-cpu-initialization-period",
        "horizontal-pod-autoscaler-downscale-delay",
        "horizontal-pod-autoscaler-downscale-stabilization",
        "horizontal-pod-autoscaler-initial-readiness-delay",
        "horizontal-pod-autoscaler-sync-period",
        "horizontal-pod-autoscaler-tolerance",
        "horizontal-pod-autoscaler-upscale-delay",
        "http2-max-streams-per-connection",
        "kube-api-content-type",
        "large-cluster-size-threshold",
        "leader-migration-config",
        "legacy-service-account-token-clean-up-period",
        "log-backtrace-at",
        "log-dir",
        "log-file",
        "log-flush-frequency",
        "log-json-info-buffer-size",
        "log-text-info-buffer-size",
        "logging-format",
        "master",
        "max-endpoints-per-slice",
        "min-compatibility-version",
        "min-resync-period",
        "mirroring-concurrent-service-endpoint-syncs",
        "mirroring-endpointslice-updates-batch-period",
        "mirroring-max-endpoints-per-subset",
        "namespace-sync-period",
        "node-cidr-mask-size",
        "node-cidr-mask-size-ipv4",
        "node-cidr-mask-size-ipv6",
        "node-eviction-rate",
        "node-monitor-grace-period",
        "node-monitor-period",
        "node-startup-grace-period",
        "node-sync-period",
        "pod-eviction-timeout",
        "port",
        "pv-recycler-increment-timeout-nfs",
        "pv-recycler-minimum-timeout-hostpath",
        "pv-recycler-minimum-timeout-nfs",
        "pv-recycler-pod-template-filepath-hostpath",
        "pv-recycler-pod-template-filepath-nfs",
        "pv-recycler-timeout-increment-hostpath",
        "pvclaimbinder-sync-period",
        "register-retry-count",
        "requestheader-allowed-names",
        "requestheader-client-ca-file",
        "requestheader-extra-headers-prefix",
        "requestheader-group-headers",
        "requestheader-uid-headers",
        "requestheader-username-headers",
        "resource-quota-sync-period",
        "route-reconciliation-period",
        "secondary-node-eviction-rate",
        "secure-port",
        "service-account-private-key-file",
        "service-cluster-ip-range",
        "show-hidden-metrics-for-version",
        "stderrthreshold",
        "terminated-pod-gc-threshold",
        "tls-cert-file",
        "tls-cipher-suites",
        "tls-curve-preferences",
        "tls-min-version",
        "tls-private-key-file",
        "tls-sni-cert-key",
        "unhealthy-zone-threshold",
        "vmodule",
    ];
    const SWITCHES: &'static [&'static str] = &[
        "allocate-node-cidrs",
        "alsologtostderr",
        "authentication-skip-lookup",
        "authentication-tolerate-lookup-failure",
        "configure-cloud-routes",
        "contention-profiling",
        "disable-attach-detach-reconcile-sync",
        "disable-force-detach-on-timeout",
        "disable-http2-serving",
        "enable-dynamic-provisioning",
        "enable-garbage-collector",
        "enable-hostpath-provisioner",
        "enable-leader-migration",
        "enable-taint-manager",
        "horizontal-pod-autoscaler-use-rest-clients",
        "log-json-split-stream",
        "log-text-split-stream",
        "logtostderr",
        "permit-address-sharing",
        "permit-port-sharing",
        "profiling",
        "use-service-account-credentials",
    ];
}

/// The ones that were given, in the order of the lists above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IgnoredFlags<O>(pub(crate) Vec<&'static str>, PhantomData<O>);

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
