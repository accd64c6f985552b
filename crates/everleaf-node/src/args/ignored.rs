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

/// Those of Kubernetes 1.21, 1.34, 1.37 and 1.38 (`cmd/kubelet/app/options`), with the flags of
/// klog and cAdvisor among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kubelet;

impl Original for Kubelet {
    const WITH_VALUE: &'static [&'static str] = &[
        "address",
        "allowed-unsafe-sysctls",
        "application-metrics-count-limit",
        "authentication-token-webhook-cache-ttl",
        "authorization-mode",
        "authorization-webhook-cache-authorized-ttl",
        "authorization-webhook-cache-unauthorized-ttl",
        "azure-container-registry-config",
        "boot-id-file",
        "cgroup-driver",
        "cgroup-root",
        "chaos-chance",
        "client-ca-file",
        "cloud-config",
        "cloud-provider",
        "cluster-dns",
        "cluster-domain",
        "cni-bin-dir",
        "cni-cache-dir",
        "cni-conf-dir",
        "container-hints",
        "container-log-max-files",
        "container-log-max-size",
        "container-runtime",
        "container-runtime-endpoint",
        "containerd",
        "containerd-namespace",
        "cpu-cfs-quota-period",
        "cpu-manager-policy",
        "cpu-manager-policy-options",
        "cpu-manager-reconcile-period",
        "docker",
        "docker-endpoint",
        "docker-env-metadata-whitelist",
        "docker-root",
        "docker-tls-ca",
        "docker-tls-cert",
        "docker-tls-key",
        "dynamic-config-dir",
        "enforce-node-allocatable",
        "event-burst",
        "event-qps",
        "event-storage-age-limit",
        "event-storage-event-limit",
        "eviction-hard",
        "eviction-max-pod-grace-period",
        "eviction-minimum-reclaim",
        "eviction-pressure-transition-period",
        "eviction-soft",
        "eviction-soft-grace-period",
        "experimental-dockershim-root-directory",
        "experimental-mounter-path",
        "file-check-frequency",
        "global-housekeeping-interval",
        "hairpin-mode",
        "healthz-bind-address",
        "healthz-port",
        "housekeeping-interval",
        "http-check-frequency",
        "image-credential-provider-bin-dir",
        "image-credential-provider-config",
        "image-gc-high-threshold",
        "image-gc-low-threshold",
        "image-pull-progress-deadline",
        "image-service-endpoint",
        "iptables-drop-bit",
        "iptables-masquerade-bit",
        "kube-api-burst",
        "kube-api-content-type",
        "kube-api-qps",
        "kube-reserved",
        "kube-reserved-cgroup",
        "kubelet-cgroups",
        "lock-file",
        "log-backtrace-at",
        "log-dir",
        "log-file",
        "log-file-max-size",
        "log-flush-frequency",
        "log-json-info-buffer-size",
        "log-text-info-buffer-size",
        "logging-format",
        "machine-id-file",
        "manifest-url",
        "manifest-url-header",
        "master-service-namespace",
        "max-open-files",
        "max-pods",
        "maximum-dead-containers",
        "maximum-dead-containers-per-container",
        "memory-manager-policy",
        "minimum-container-ttl-duration",
        "minimum-image-ttl-duration",
        "network-plugin",
        "network-plugin-mtu",
        "node-labels",
        "node-status-max-images",
        "node-status-update-frequency",
        "non-masquerade-cidr",
        "oom-score-adj",
        "pod-cidr",
        "pod-infra-container-image",
        "pod-manifest-path",
        "pod-max-pids",
        "pods-per-core",
        "port",
        "provider-id",
        "qos-reserved",
        "read-only-port",
        "register-with-taints",
        "registry-burst",
        "registry-qps",
        "reserved-cpus",
        "reserved-memory",
        "resolv-conf",
        "root-dir",
        "runtime-cgroups",
        "runtime-request-timeout",
        "seccomp-profile-root",
        "stderrthreshold",
        "storage-driver-buffer-duration",
        "storage-driver-db",
        "storage-driver-host",
        "storage-driver-password",
        "storage-driver-table",
        "storage-driver-user",
        "streaming-connection-idle-timeout",
        "sync-frequency",
        "system-cgroups",
        "system-reserved",
        "system-reserved-cgroup",
        "tls-cipher-suites",
        "topology-manager-policy",
        "topology-manager-policy-options",
        "topology-manager-scope",
        "vmodule",
        "volume-plugin-dir",
        "volume-stats-agg-period",
        "windows-priorityclass",
    ];
    const SWITCHES: &'static [&'static str] = &[
        "add-dir-header",
        "alsologtostderr",
        "anonymous-auth",
        "authentication-token-webhook",
        "cgroups-per-qos",
        "contention-profiling",
        "cpu-cfs-quota",
        "docker-only",
        "docker-tls",
        "enable-controller-attach-detach",
        "enable-debugging-handlers",
        "enable-load-reader",
        "enable-server",
        "exit-on-lock-contention",
        "experimental-allocatable-ignore-eviction",
        "experimental-check-node-capabilities-before-mount",
        "experimental-kernel-memcg-notification",
        "experimental-logging-sanitization",
        "fail-cgroupv1",
        "fail-swap-on",
        "keep-terminated-pod-volumes",
        "kernel-memcg-notification",
        "local-storage-capacity-isolation",
        "log-cadvisor-usage",
        "log-json-split-stream",
        "log-text-split-stream",
        "logtostderr",
        "make-iptables-util-chains",
        "one-output",
        "protect-kernel-defaults",
        "really-crash-for-testing",
        "redirect-container-streaming",
        "register-node",
        "register-schedulable",
        "runonce",
        "seccomp-default",
        "serialize-image-pulls",
        "skip-headers",
        "skip-log-headers",
        "storage-driver-secure",
        "windows-service",
    ];
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

#[cfg(test)]
mod tests {
    use crate::args::AgentCli;
    use clap::Parser as _;

    /// What units of kubeadm, kOps, GKE and cloud images give a kubelet.
    #[test]
    fn command_lines_of_kubelets_are_accepted() {
        for line in [
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
             --config=/var/lib/kubelet/config.yaml --config-dir=/etc/kubernetes/kubelet.conf.d \
             --container-runtime-endpoint=unix:///run/containerd/containerd.sock --pod-infra-container-image=pause:3.9",
            "--anonymous-auth=false --authentication-token-webhook=true --authorization-mode=Webhook \
             --cgroup-driver=systemd --client-ca-file=/srv/kubernetes/ca.crt --cloud-provider=external \
             --enable-debugging-handlers=true --feature-gates=InPlacePodVerticalScaling=true --hairpin-mode=veth \
             --pod-manifest-path=/etc/kubernetes/manifests --protect-kernel-defaults=true --register-schedulable=true \
             --tls-cert-file=/srv/kubernetes/kubelet-server.crt --tls-private-key-file=/srv/kubernetes/kubelet-server.key \
             --volume-plugin-dir=/usr/libexec/kubernetes/kubelet-plugins/volume/exec/ --v=2",
            "--network-plugin=cni --cni-bin-dir=/opt/cni/bin --cni-conf-dir=/etc/cni/net.d --container-runtime docker \
             --experimental-bootstrap-kubeconfig=/b --image-pull-progress-deadline=2m --logtostderr --runonce \
             --read-only-port 0 --tls-min-version=VersionTLS12 --tls-cipher-suites=TLS_AES_128_GCM_SHA256 --v=4",
        ] {
            let words = std::iter::once("everleaf-agent").chain(line.split_whitespace());
            if let Err(error) = AgentCli::try_parse_from(words) {
                panic!("{error}");
            }
        }
        let misspelt = ["everleaf-agent", "--rotate-certificate"];
        let error = AgentCli::try_parse_from(misspelt).unwrap_err().to_string();
        assert!(error.contains("'--rotate-certificates'"), "{error}");
    }
}
