//! The fields of KubeletConfiguration files (`kubelet.config.k8s.io/v1beta1`) that concern
//! certificates. A file is usually the kubelet's own, so that everything else in it is left
//! alone, but a key that looks like a slip is told: nobody should wonder whether it was honoured.

use super::nearest::nearest;
use super::{Resolver, drop_ins};
use everleaf_pki::KeyAlgorithm;
use everleaf_rotation::store::dir::read_file;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the file says, with the kubelet's defaults.
pub(super) struct KubeletConfiguration {
    pub(super) rotate_certificates: bool,
    pub(super) server_tls_bootstrap: bool,
    pub(super) has_static_serving_pair: bool,
    pub(super) feature_gates: BTreeMap<String, bool>,
    pub(super) client_key: KeyAlgorithm,
    pub(super) serving_key: KeyAlgorithm,
    /// `tlsMinVersion`, as written; empty when it is not.
    pub(super) tls_min_version: String,
    /// Fields that are there and the kubelet's business.
    pub(super) lets_be: Vec<String>,
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        Self {
            rotate_certificates: false,
            server_tls_bootstrap: false,
            has_static_serving_pair: false,
            feature_gates: BTreeMap::new(),
            client_key: KeyAlgorithm::EcdsaP256,
            serving_key: KeyAlgorithm::EcdsaP256,
            tls_min_version: String::new(),
            lets_be: Vec::new(),
        }
    }
}

impl KubeletConfiguration {
    /// Reads `--config` and merges the files of `--config-dir` over it; what is wrong with them
    /// goes to `resolver`.
    pub(super) fn read(file: Option<&Path>, dir: Option<&Path>, resolver: &mut Resolver) -> Self {
        let mut sources: Vec<(String, PathBuf)> = Vec::new();
        if let Some(path) = file {
            sources.push((format!("--config {}", path.display()), path.to_owned()));
        }
        if let Some(dir) = dir {
            let files = drop_ins::files(dir, resolver).into_iter();
            sources.extend(files.map(|path| (format!("--config-dir {}", path.display()), path)));
        }
        let mut merged = Map::new();
        for (source, path) in sources {
            if let Some(members) = read_members(&source, &path, resolver) {
                // Each is judged by itself, so that what is wrong is said of the right file.
                Self::from_members(&source, &members, resolver);
                drop_ins::merge(&mut merged, members);
            }
        }
        if merged.is_empty() {
            return Self::default();
        }
        // Nothing is wrong with the whole that was not wrong with a part, and that was said.
        Self::from_members(
            "the kubelet's configuration",
            &merged,
            &mut Resolver::default(),
        )
    }

    fn from_members(source: &str, members: &Map<String, Value>, resolver: &mut Resolver) -> Self {
        let mut reader = Reader {
            source,
            members,
            resolver,
        };
        reader.check_type();
        reader.check_names();
        Self {
            rotate_certificates: reader.boolean("rotateCertificates"),
            server_tls_bootstrap: reader.boolean("serverTLSBootstrap"),
            has_static_serving_pair: reader.text("tlsCertFile").is_some()
                || reader.text("tlsPrivateKeyFile").is_some(),
            feature_gates: reader.gates(),
            client_key: reader.key_algorithm("clientCertificateKeyAlgorithm"),
            serving_key: reader.key_algorithm("serverCertificateKeyAlgorithm"),
            tls_min_version: reader.text("tlsMinVersion").unwrap_or_default().to_owned(),
            lets_be: members
                .keys()
                .filter(|name| THE_KUBELETS.contains(&name.as_str()))
                .cloned()
                .collect(),
        }
    }
}

/// The members of one file.
fn read_members(source: &str, path: &Path, resolver: &mut Resolver) -> Option<Map<String, Value>> {
    let bytes = match read_file(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            resolver.problem(format!("cannot read {source}: {error}"));
            return None;
        }
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned());
    match text.and_then(crate::yaml::from_str::<Map<String, Value>>) {
        Ok(members) => Some(members),
        Err(what) => {
            resolver.problem(format!("{source} is malformed: {what}"));
            None
        }
    }
}

struct Reader<'a> {
    /// The file, and the flag that named it or its directory.
    source: &'a str,
    members: &'a Map<String, Value>,
    resolver: &'a mut Resolver,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, text: &str) {
        self.resolver.problem(format!("{}: {text}", self.source));
    }

    fn check_type(&mut self) {
        if self.text("kind") != Some("KubeletConfiguration") {
            self.problem("kind must be KubeletConfiguration");
        }
        if self.text("apiVersion") != Some("kubelet.config.k8s.io/v1beta1") {
            self.problem("apiVersion must be kubelet.config.k8s.io/v1beta1");
        }
    }

    fn check_names(&mut self) {
        for name in self.members.keys() {
            if OURS.contains(&name.as_str()) || THE_KUBELETS.contains(&name.as_str()) {
                continue;
            }
            if let Some((ours, edits)) = nearest(name, OURS)
                && edits <= 2
            {
                self.problem(&format!("there is no field {name:?}; did you mean {ours}?"));
                continue;
            }
            let hint = nearest(name, THE_KUBELETS)
                .map(|(known, _)| format!("; did you mean {known}?"))
                .unwrap_or_default();
            self.resolver
                .warn(format!("{}: unknown field {name:?}{hint}", self.source));
        }
    }

    /// A member that is there and not null.
    fn member(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn boolean(&mut self, name: &str) -> bool {
        match self.member(name) {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                self.problem(&format!("{name} must be true or false"));
                false
            }
        }
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        match self.member(name)? {
            Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => {
                self.problem(&format!("{name} must be a text"));
                None
            }
        }
    }

    fn gates(&mut self) -> BTreeMap<String, bool> {
        let mut gates = BTreeMap::new();
        match self.member("featureGates") {
            None => {}
            Some(Value::Object(members)) => {
                for (name, value) in members {
                    match value {
                        Value::Bool(value) => {
                            gates.insert(name.clone(), *value);
                        }
                        // In a drop-in it takes back what a file before it said.
                        Value::Null => {}
                        _ => self.problem(&format!("featureGates.{name} must be true or false")),
                    }
                }
            }
            Some(_) => self.problem("featureGates must be a map of names to true or false"),
        }
        gates
    }

    fn key_algorithm(&mut self, name: &str) -> KeyAlgorithm {
        let Some(text) = self.text(name) else {
            return KeyAlgorithm::EcdsaP256;
        };
        KeyAlgorithm::parse(text).unwrap_or_else(|| {
            self.problem(&format!(
                "{name}: {text}: unknown algorithm; there are {}",
                KeyAlgorithm::names()
            ));
            KeyAlgorithm::EcdsaP256
        })
    }
}

/// Fields that the agent reads.
const OURS: &[&str] = &[
    "apiVersion",
    "clientCertificateKeyAlgorithm",
    "featureGates",
    "kind",
    "rotateCertificates",
    "serverCertificateKeyAlgorithm",
    "serverTLSBootstrap",
    "tlsCertFile",
    "tlsMinVersion",
    "tlsPrivateKeyFile",
];

/// The other fields of the type, from the 1.21 line to the 1.38 line: the kubelet's business.
const THE_KUBELETS: &[&str] = &[
    "address",
    "allowedUnsafeSysctls",
    "authentication",
    "authorization",
    "cgroupDriver",
    "cgroupRoot",
    "cgroupsPerQOS",
    "clusterDNS",
    "clusterDomain",
    "configMapAndSecretChangeDetectionStrategy",
    "configTrialDuration",
    "containerLogMaxFiles",
    "containerLogMaxSize",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "containerRuntimeEndpoint",
    "contentType",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "crashLoopBackOff",
    "defaultPodSysctls",
    "dynamicKubeletConfigDir",
    "enableContentionProfiling",
    "enableControllerAttachDetach",
    "enableDebugFlagsHandler",
    "enableDebuggingHandlers",
    "enableProfilingHandler",
    "enableServer",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "enforceNodeAllocatable",
    "eventBurst",
    "eventRecordQPS",
    "evictionHard",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "evictionPressureTransitionPeriod",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "failCgroupV1",
    "failSwapOn",
    "fileCheckFrequency",
    "hairpinMode",
    "healthzBindAddress",
    "healthzPort",
    "httpCheckFrequency",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "imageMaximumGCAge",
    "imageMinimumGCAge",
    "imagePullCredentialsVerificationPolicy",
    "imageServiceEndpoint",
    "iptablesDropBit",
    "iptablesMasqueradeBit",
    "kernelMemcgNotification",
    "kubeAPIBurst",
    "kubeAPIQPS",
    "kubeReserved",
    "kubeReservedCgroup",
    "kubeletCgroups",
    "localStorageCapacityIsolation",
    "logging",
    "makeIPTablesUtilChains",
    "maxOpenFiles",
    "maxParallelImagePulls",
    "maxPods",
    "memoryManagerPolicy",
    "memoryReservationPolicy",
    "memorySwap",
    "memoryThrottlingFactor",
    "mergeDefaultEvictionSettings",
    "nodeLeaseDurationSeconds",
    "nodeStatusMaxImages",
    "nodeStatusReportFrequency",
    "nodeStatusUpdateFrequency",
    "oomScoreAdj",
    "podCIDR",
    "podLogsDir",
    "podPidsLimit",
    "podsPerCore",
    "port",
    "preloadedImagesVerificationAllowlist",
    "protectKernelDefaults",
    "providerID",
    "qosReserved",
    "readOnlyPort",
    "registerNode",
    "registerWithTaints",
    "registryBurst",
    "registryPullQPS",
    "reservedMemory",
    "reservedSystemCPUs",
    "resolvConf",
    "runOnce",
    "runtimeRequestTimeout",
    "seccompDefault",
    "serializeImagePulls",
    "showHiddenMetricsForVersion",
    "shutdownGracePeriod",
    "shutdownGracePeriodByPodPriority",
    "shutdownGracePeriodCriticalPods",
    "singleProcessOOMKill",
    "staticPodPath",
    "staticPodURL",
    "staticPodURLHeader",
    "streamingConnectionIdleTimeout",
    "syncFrequency",
    "systemCgroups",
    "systemReserved",
    "systemReservedCgroup",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "tracing",
    "userNamespaces",
    "volumePluginDir",
    "volumeStatsAggPeriod",
];
