//! Flags of `everleaf controllers`, as plain data, and their check.
//!
//! Owns upstream's rules for combining the flags (kubernetes 1.37
//! `cmd/kube-controller-manager/app/certificates.go`) and their words. Parsing text into
//! [`Options`] is the binary's task, reading the named files is [`run()`](crate::run())'s.

mod pods;

use crate::bucket::Rate;
use crate::builtin::BuiltinSigner;
use crate::cleaner::Ages;
use crate::config::{
    ApiLimit, CaFiles, Config, IssuerSource, Loop, RATE_DEFAULT, SIGNING_DURATION_DEFAULT,
};
use crate::election::flags::ElectionOptions;
use crate::foreign::is_foreign;
use crate::issuance::{LogConfig, is_origin};
use crate::serving::ServingConfig;
use crate::upkeep::RootCaSource;
use everleaf_pkcs11::KeyUri;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

pub use pods::PodOptions;

/// Shortest lifetime that Kubernetes signers grant; a shorter setting surprises.
const SIGNING_DURATION_SHORT: Duration = Duration::from_secs(10 * 60);
/// Longest lifetime without a warning: 398 days, the limit of public CAs.
const SIGNING_DURATION_LONG: Duration = Duration::from_secs(398 * 24 * 3600);

/// What a log is called where nothing better is known.
const ORIGIN_DEFAULT: &str = "everleaf/issuance-log";

/// The file flags of a CA; empty means "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePair {
    /// `…-cert-file`
    pub certificate: Option<PathBuf>,
    /// `…-chain-file`
    pub chain: Option<PathBuf>,
    /// `…-key-file`
    pub key: Option<PathBuf>,
}

/// The flags, before anything was checked. `Default` is what no flags at all mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `--controllers`: `*`, names, and `-name`, short or long spelling. Default `*`.
    pub controllers: Vec<String>,
    /// The loops that `*` stands for, besides those that another option asks for. Default
    /// [`Loop::DEFAULT`].
    pub standard: BTreeSet<Loop>,
    /// `--cluster-signing-cert-file`, `--cluster-signing-key-file`: one CA for every signer.
    pub cluster_signing: FilePair,
    /// `--cluster-signing-duration` and its alias `--experimental-cluster-signing-duration`
    /// (the last one given wins). Default 8760h.
    pub cluster_signing_duration: Duration,
    /// `--cluster-signing-key-password-file`: of every key that is encrypted.
    pub cluster_signing_key_password: Option<PathBuf>,
    /// `--csr-ttl-*`: ages at which the cleaner deletes.
    pub csr_ttl: Ages,
    /// `--leader-elect…`
    pub election: ElectionOptions,
    /// `--issuance-log`. Not given: nothing is logged.
    pub issuance_log: Option<PathBuf>,
    /// `--issuance-log-origin`. Not given: after the host.
    pub issuance_log_origin: Option<String>,
    /// `--kube-api-burst`. Not given: 30.
    pub kube_api_burst: Option<i32>,
    /// `--kube-api-qps`. Not given: 20, and no limit against an Everleaf server; 0 or less: off.
    pub kube_api_qps: Option<f64>,
    /// `--cluster-signing-<signer>-cert-file` and `-key-file`.
    pub per_signer: BTreeMap<BuiltinSigner, FilePair>,
    /// `--pod-certificate-…`
    pub pods: PodOptions,
    /// `--publish-signer-trust-bundles`: names of signers.
    pub publish_signer_trust_bundles: Vec<String>,
    /// `--root-ca-file`. Given: `*` stands for the controller that publishes it, too.
    pub root_ca_file: Option<PathBuf>,
    /// `--serving-approval`. Not given: when the loop is named, or a policy is.
    pub serving_approval: Option<bool>,
    /// `--serving-approval-policy`
    pub serving_approval_policy: Option<PathBuf>,
    /// `--spread-ca-end`. Default: no.
    pub spread_ca_end: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: vec!["*".to_owned()],
            cluster_signing: FilePair::default(),
            cluster_signing_duration: SIGNING_DURATION_DEFAULT,
            cluster_signing_key_password: None,
            csr_ttl: Ages::default(),
            election: ElectionOptions::default(),
            issuance_log: None,
            issuance_log_origin: None,
            kube_api_burst: None,
            kube_api_qps: None,
            per_signer: BTreeMap::new(),
            pods: PodOptions::default(),
            publish_signer_trust_bundles: Vec::new(),
            root_ca_file: None,
            serving_approval: None,
            serving_approval_policy: None,
            spread_ca_end: false,
            standard: Loop::DEFAULT.into(),
        }
    }
}

/// A usable configuration and what the operator should hear about it.
#[derive(Clone, Debug)]
pub struct Validated {
    /// Ready for [`run()`](crate::run()), apart from the seams that the caller wants to change.
    pub config: Config,
    /// Whether and how to take part in an election.
    pub election: ElectionOptions,
    /// One line each, for the log.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with the flags, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct OptionsError(pub Vec<String>);

impl Options {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// All findings at once, in upstream's words where it has any.
    pub fn validate(&self) -> Result<Validated, OptionsError> {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let mut loops = self.enabled_loops(&mut errors, &mut warnings);
        let issuers = self.issuer_sources(&mut errors);
        self.check_duration(&mut errors, &mut warnings);
        let api_limit = self.api_limit(&mut errors);
        if self.csr_ttl.any_zero() {
            errors.push(
                "--csr-ttl-*: an age of 0 would delete every request at once; give a positive \
                 duration such as 24h"
                    .to_owned(),
            );
        }
        let issuance_log = self.log_config(&mut errors);
        let pod_signer = self.pod_signer(&mut loops, &mut errors);
        let published_signers = self.published_signers(&loops, &issuers, &mut errors);
        errors.extend(self.election.check());
        if !errors.is_empty() {
            return Err(OptionsError(errors));
        }
        let config = Config {
            ages: self.csr_ttl,
            api_limit,
            issuance_log,
            issuers,
            pod_signer,
            published_signers,
            root_ca: self.root_ca_file.clone().map(RootCaSource::File),
            serving_approval: ServingConfig {
                policy_file: self.serving_approval_policy.clone(),
                ..ServingConfig::default()
            },
            signing_duration: self.cluster_signing_duration,
            spread_ca_end: self.spread_ca_end,
            ..Config::new()
        };
        let mut election = self.election.clone();
        if loops == BTreeSet::from([Loop::ServingApprover]) {
            election.stand_beside_upstream();
        }
        let config = Config { loops, ..config };
        Ok(Validated {
            config,
            election,
            warnings,
        })
    }

    /// Upstream's reading of `--controllers`: the first entry that names a loop decides, `*` stands
    /// for those that are on by default.
    fn enabled_loops(
        &self,
        errors: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> BTreeSet<Loop> {
        let mut left_out = Vec::new();
        let is_usual = |one: &Loop| self.standard.contains(one);
        let usual = Loop::ALL.into_iter().filter(is_usual);
        let usual: Vec<_> = usual.map(Loop::short_name).collect();
        for entry in self.controllers.iter().filter(|entry| *entry != "*") {
            let name = entry.strip_prefix('-').unwrap_or(entry);
            let known = Loop::ALL
                .iter()
                .any(|one| name == one.short_name() || name == one.long_name());
            let foreign = is_foreign(name);
            if known || (foreign && entry.starts_with('-')) {
                continue;
            }
            if foreign {
                left_out.push(name);
            } else {
                errors.push(format!(
                    "--controllers: {name:?} is not in the list of known controllers; known are \
                     {}, each also under its long name, and * for {}",
                    Loop::ALL.map(Loop::short_name).join(", "),
                    usual.join(", ")
                ));
            }
        }
        if !left_out.is_empty() {
            warnings.push(format!(
                "--controllers: not part of everleaf, so they do not run here: {}",
                left_out.join(", ")
            ));
        }
        let mut enabled: BTreeSet<Loop> = Loop::ALL
            .into_iter()
            .filter(|one| self.is_enabled(*one))
            .collect();
        self.switch_serving(&mut enabled, errors);
        if enabled.is_empty() {
            warnings.push(
                "--controllers leaves none to run, and this process does nothing; * stands for the usual ones, as in *,-csrsigning"
                    .to_owned(),
            );
        }
        enabled
    }

    fn is_enabled(&self, one: Loop) -> bool {
        for entry in &self.controllers {
            if entry == one.short_name() || entry == one.long_name() {
                return true;
            }
            if let Some(name) = entry.strip_prefix('-')
                && (name == one.short_name() || name == one.long_name())
            {
                return false;
            }
        }
        // Beside a kube-controller-manager, two of them with different files would never agree.
        let is_default = match one {
            Loop::RootCaPublisher if self.root_ca_file.is_some() => true,
            _ => self.standard.contains(&one),
        };
        is_default && self.controllers.iter().any(|entry| entry == "*")
    }

    /// `--serving-approval` adds a loop that `*` does not stand for.
    fn switch_serving(&self, enabled: &mut BTreeSet<Loop>, errors: &mut Vec<String>) {
        let one = Loop::ServingApprover;
        let is_named = enabled.contains(&one);
        let has_policy = self.serving_approval_policy.is_some();
        match self.serving_approval {
            Some(false) if is_named || has_policy => errors.push(format!(
                "--serving-approval=false, and {} asks for it: leave one of them out",
                if has_policy {
                    "--serving-approval-policy"
                } else {
                    "--controllers"
                }
            )),
            Some(false) => {}
            Some(true) => {
                enabled.insert(one);
            }
            None if has_policy => {
                enabled.insert(one);
            }
            None => {}
        }
    }

    /// Which signer takes which files. Nothing given: no signer runs, as upstream.
    fn issuer_sources(&self, errors: &mut Vec<String>) -> BTreeMap<BuiltinSigner, IssuerSource> {
        let specific: Vec<_> = self
            .per_signer
            .iter()
            .filter(|(_, pair)| **pair != FilePair::default())
            .collect();
        let general = &self.cluster_signing;
        let general_given = *general != FilePair::default();
        if general_given && !specific.is_empty() {
            errors.push(
                "cannot specify --cluster-signing-{cert,key}-file and other \
                 --cluster-signing-*-file flags at the same time"
                    .to_owned(),
            );
        }
        let mut sources = BTreeMap::new();
        let password = self.cluster_signing_key_password.as_ref();
        if let Some(source) = source(general, password, "cluster-signing", errors) {
            sources.extend(BuiltinSigner::ALL.map(|signer| (signer, source.clone())));
        }
        for (signer, pair) in specific {
            let label = format!("cluster-signing-{}", signer.flag_stem());
            if let Some(source) = source(pair, password, &label, errors) {
                sources.insert(*signer, source);
            }
        }
        sources
    }

    /// The signers whose CA is to be published: ours, and each with a CA.
    fn published_signers(
        &self,
        loops: &BTreeSet<Loop>,
        issuers: &BTreeMap<BuiltinSigner, IssuerSource>,
        errors: &mut Vec<String>,
    ) -> BTreeSet<BuiltinSigner> {
        let mut signers = BTreeSet::new();
        let names = self.publish_signer_trust_bundles.iter();
        for name in names.filter(|name| Some(*name) != self.pods.signer.as_ref()) {
            match BuiltinSigner::parse(name) {
                Err(error) => errors.push(format!("--publish-signer-trust-bundles: {error}")),
                Ok(signer) if !loops.contains(&Loop::Signer) || !issuers.contains_key(&signer) => {
                    errors.push(format!(
                        "--publish-signer-trust-bundles: nothing is signed here for {name}, so there is no CA to \
                         publish; name its CA (--cluster-signing-{}-cert-file and -key-file, or the general pair) and \
                         run csrsigning",
                        signer.flag_stem()
                    ));
                }
                Ok(signer) => {
                    signers.insert(signer);
                }
            }
        }
        signers
    }

    fn check_duration(&self, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
        let duration = self.cluster_signing_duration;
        let hours = duration.as_secs_f64() / 3600.0;
        if duration.is_zero() {
            errors.push(
                "--cluster-signing-duration must be positive, for example 8760h0m0s".to_owned(),
            );
        } else if duration < SIGNING_DURATION_SHORT {
            warnings.push(format!(
                "--cluster-signing-duration is below 10 minutes ({} s): agents renew all the \
                 time, and a pause of minutes ends in expired certificates",
                duration.as_secs()
            ));
        } else if duration > SIGNING_DURATION_LONG {
            warnings.push(format!(
                "--cluster-signing-duration is above 398 days ({hours:.0}h): Kubernetes cannot \
                 revoke a client certificate, so a stolen one stays good that long"
            ));
        }
    }

    fn log_config(&self, errors: &mut Vec<String>) -> Option<LogConfig> {
        let origin = self.issuance_log_origin.clone();
        if let Some(origin) = origin.as_ref().filter(|origin| !is_origin(origin)) {
            errors.push(format!(
                "--issuance-log-origin: {origin:?} cannot name a log; take a name without blanks and plus, such as \
                 ca.example.org/issuance"
            ));
        }
        let directory = self.issuance_log.clone();
        if directory.is_none() && origin.is_some() {
            errors.push("--issuance-log-origin without --issuance-log names no log".to_owned());
        }
        Some(LogConfig {
            directory: directory?,
            origin: origin.unwrap_or_else(|| ORIGIN_DEFAULT.to_owned()),
        })
    }

    fn api_limit(&self, errors: &mut Vec<String>) -> ApiLimit {
        let burst = match self.kube_api_burst {
            Some(burst) if burst > 0 => u32::try_from(burst).unwrap_or(u32::MAX),
            Some(_) => return ApiLimit::Off,
            None => RATE_DEFAULT.burst,
        };
        match self.kube_api_qps {
            Some(qps) if qps.is_nan() || qps == f64::INFINITY => {
                errors.push(format!(
                    "--kube-api-qps: {qps} is not a rate; 0 switches it off"
                ));
                ApiLimit::Off
            }
            Some(qps) if qps <= 0.0 => ApiLimit::Off,
            Some(qps) => ApiLimit::Fixed(Rate {
                per_second: qps,
                burst,
            }),
            None if self.kube_api_burst.is_some() => ApiLimit::Fixed(Rate {
                burst,
                ..RATE_DEFAULT
            }),
            None => ApiLimit::default(),
        }
    }
}

fn source(
    pair: &FilePair,
    password: Option<&PathBuf>,
    label: &str,
    errors: &mut Vec<String>,
) -> Option<IssuerSource> {
    match (&pair.certificate, &pair.key) {
        (Some(certificate), Some(key)) => {
            let uri = key.to_str().filter(|text| KeyUri::is_meant(text));
            if let Some(Err(error)) = uri.map(KeyUri::parse) {
                errors.push(format!("{label}: {error}"));
            }
            return Some(IssuerSource::Files(CaFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                chain: pair.chain.clone(),
                password: password.cloned(),
            }));
        }
        (Some(_), None) => errors.push(format!("{label}: cannot specify cert without key")),
        (None, Some(_)) => errors.push(format!("{label}: cannot specify key without cert")),
        (None, None) if pair.chain.is_some() => {
            errors.push(format!(
                "{label}: cannot specify chain without cert and key"
            ));
        }
        (None, None) => {}
    }
    None
}

#[cfg(test)]
mod tests;
