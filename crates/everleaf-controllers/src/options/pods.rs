//! Flags of the signer of pod certificates.

use super::{FilePair, Options, source};
use crate::config::Loop;
use crate::pods::{LIFETIME_DEFAULT, PodSigner, Policy, PolicyError};
use std::collections::BTreeSet;
use std::time::Duration;

/// The flags, before anything was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOptions {
    /// `--pod-certificate-signer-name`. Given: the signer runs.
    pub signer: Option<String>,
    /// `--pod-certificate-trust-domain`
    pub trust_domain: Option<String>,
    /// `--pod-certificate-dns-names`
    pub dns_names: Vec<String>,
    /// `--pod-certificate-duration`. Default 24h.
    pub duration: Duration,
    /// `--pod-certificate-namespaces`. Empty: all.
    pub namespaces: Vec<String>,
    /// `--pod-certificate-cert-file`, `-key-file` and `-chain-file`.
    pub files: FilePair,
}

impl Default for PodOptions {
    fn default() -> Self {
        Self {
            signer: None,
            trust_domain: None,
            dns_names: Vec::new(),
            duration: LIFETIME_DEFAULT,
            namespaces: Vec::new(),
            files: FilePair::default(),
        }
    }
}

impl PodOptions {
    /// The policy, if there is to be a signer.
    fn policy(&self, signer: &str) -> Result<Policy, String> {
        let domain = self.trust_domain.as_deref().ok_or(
            "--pod-certificate-signer-name needs --pod-certificate-trust-domain, as in example.org: identities are \
             spiffe://example.org/ns/NAMESPACE/sa/ACCOUNT",
        )?;
        let told = |error: PolicyError| format!("--pod-certificate-*: {error}");
        Policy::new(signer, domain)
            .and_then(|policy| policy.with_dns_names(&self.dns_names))
            .and_then(|policy| policy.with_lifetime(self.duration))
            .and_then(|policy| policy.with_namespaces(&self.namespaces))
            .map_err(told)
    }
}

impl Options {
    /// A name switches the signer on, a `-pod-certificate-signer` in `--controllers` off again.
    pub(super) fn pod_signer(
        &self,
        loops: &mut BTreeSet<Loop>,
        errors: &mut Vec<String>,
    ) -> Option<PodSigner> {
        let one = Loop::PodCertificateSigner;
        let Some(signer) = &self.pods.signer else {
            if loops.contains(&one) || self.pods != PodOptions::default() {
                errors.push(
                    "the signer of pod certificates needs --pod-certificate-signer-name, a name of your choice as in \
                     example.com/pods"
                        .to_owned(),
                );
            }
            return None;
        };
        let names = [one.short_name(), one.long_name()];
        let is_off = |entry: &String| {
            entry
                .strip_prefix('-')
                .is_some_and(|name| names.contains(&name))
        };
        if self.controllers.iter().any(is_off) {
            return None;
        }
        loops.insert(one);
        let policy = self.pods.policy(signer);
        let password = self.cluster_signing_key_password.as_ref();
        let issuer = source(&self.pods.files, password, "pod-certificate", errors);
        if self.pods.files == FilePair::default() {
            errors.push(
                "--pod-certificate-signer-name needs --pod-certificate-cert-file and --pod-certificate-key-file, a CA of \
                 its own: what the API server's client CA signs is a credential there"
                    .to_owned(),
            );
        }
        let is_published = self.publish_signer_trust_bundles.contains(signer);
        match (policy, issuer) {
            (Ok(policy), Some(issuer)) => Some(PodSigner {
                policy,
                issuer,
                is_published,
            }),
            (Err(error), _) => {
                errors.push(error);
                None
            }
            (Ok(_), None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn options() -> Options {
        Options {
            pods: PodOptions {
                signer: Some("example.com/pods".to_owned()),
                trust_domain: Some("example.org".to_owned()),
                files: FilePair {
                    certificate: Some(PathBuf::from("pods.crt")),
                    key: Some(PathBuf::from("pods.key")),
                    chain: None,
                },
                ..PodOptions::default()
            },
            ..Options::default()
        }
    }

    #[test]
    fn a_name_switches_it_on() {
        assert!(
            Options::default()
                .validate()
                .unwrap()
                .config
                .pod_signer
                .is_none()
        );
        let mut given = options();
        let config = given.validate().unwrap().config;
        assert!(config.loops.contains(&Loop::PodCertificateSigner));
        let pods = config.pod_signer.unwrap();
        assert_eq!(pods.policy.signer(), "example.com/pods");
        assert!(!pods.is_published);
        given.publish_signer_trust_bundles = vec!["example.com/pods".to_owned()];
        let config = given.validate().unwrap().config;
        assert!(config.pod_signer.unwrap().is_published && config.published_signers.is_empty());
        given.controllers = vec!["*".to_owned(), "-pod-certificate-signer".to_owned()];
        let config = given.validate().unwrap().config;
        assert!(!config.loops.contains(&Loop::PodCertificateSigner));
        assert!(config.pod_signer.is_none());
    }

    #[test]
    fn what_is_missing_is_said() {
        let check = |edit: fn(&mut Options), words: &str| {
            let mut options = options();
            edit(&mut options);
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        check(
            |o| o.pods.signer = None,
            "needs --pod-certificate-signer-name",
        );
        check(
            |o| o.pods.trust_domain = None,
            "needs --pod-certificate-trust-domain",
        );
        check(|o| o.pods.files = FilePair::default(), "a CA of its own");
        check(
            |o| o.pods.files.key = None,
            "cannot specify cert without key",
        );
        check(
            |o| o.pods.duration = Duration::from_secs(60),
            "from 1h to 2184h",
        );
        check(|o| o.pods.dns_names = vec!["a.b".to_owned()], "{namespace}");
        check(
            |o| o.pods.namespaces = vec!["a.b".to_owned()],
            "no name of a namespace",
        );
        let named = Options {
            controllers: vec!["pod-certificate-signer".to_owned()],
            ..Options::default()
        };
        assert!(named.validate().is_err());
    }
}
