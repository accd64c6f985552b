//! Whose requests are granted, and the names in what is issued.

use everleaf_pki::GivenNames;
use everleaf_pki::signer::is_dns1123_subdomain;
use std::collections::BTreeSet;
use std::time::Duration;

/// Shortest lifetime that the API server takes.
pub const LIFETIME_MIN: Duration = Duration::from_secs(3_600);
/// Longest lifetime when nothing else is said.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(86_400);
/// Longest lifetime that the API server takes.
pub const LIFETIME_MAX: Duration = Duration::from_secs(91 * 86_400);
/// Longest trust domain (SPIFFE-ID 2.1), in bytes.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Longest DNS name, in bytes.
const DNS_NAME_BYTES_MAX: usize = 253;
/// Longest label of one, in bytes.
const LABEL_BYTES_MAX: usize = 63;

const NAMESPACE: &str = "{namespace}";
const SERVICE_ACCOUNT: &str = "{service-account}";

/// What a pod's certificate says of it. Made by [`Policy::new`] only, which checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    signer: String,
    trust_domain: String,
    dns_names: Vec<String>,
    lifetime: Duration,
    namespaces: BTreeSet<String>,
}

/// What is wrong with a policy, by setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The signer's name.
    #[error(
        "the signer name {0:?} is not of the form example.com/pods: a domain of two labels or more, a slash, a name"
    )]
    Signer(String),
    /// It belongs to Kubernetes.
    #[error("signer names of kubernetes.io are Kubernetes' own, {0:?} too; take a domain of yours")]
    Reserved(String),
    /// The trust domain.
    #[error(
        "{0:?} is no SPIFFE trust domain: lower-case letters, digits, dots, dashes and underscores, at most 255, as in example.org"
    )]
    TrustDomain(String),
    /// A DNS name.
    #[error(
        "the DNS name {0:?} needs {{namespace}} as a label of its own, or a service account of one namespace gets the name of \
         another's, as in {{service-account}}.{{namespace}}.svc.cluster.local; {{service-account}} is the other variable"
    )]
    DnsName(String),
    /// The lifetime.
    #[error("the longest lifetime is from 1h to 2184h (91 days); it is {0} s")]
    Lifetime(u64),
    /// A namespace.
    #[error("{0:?} is no name of a namespace")]
    Namespace(String),
}

impl Policy {
    /// Certificates of `signer` with the SPIFFE ID `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    ///
    /// # Errors
    /// For names that are no names.
    pub fn new(signer: &str, trust_domain: &str) -> Result<Self, PolicyError> {
        let bad = || PolicyError::Signer(signer.to_owned());
        let (domain, path) = signer.split_once('/').ok_or_else(bad)?;
        if !domain.contains('.') || !is_dns1123_subdomain(domain) || !is_dns1123_subdomain(path) {
            return Err(bad());
        }
        if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") {
            return Err(PolicyError::Reserved(signer.to_owned()));
        }
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if !(1..=TRUST_DOMAIN_BYTES_MAX).contains(&trust_domain.len())
            || !trust_domain.bytes().all(fits)
        {
            return Err(PolicyError::TrustDomain(trust_domain.to_owned()));
        }
        Ok(Self {
            signer: signer.to_owned(),
            trust_domain: trust_domain.to_owned(),
            dns_names: Vec::new(),
            lifetime: LIFETIME_DEFAULT,
            namespaces: BTreeSet::new(),
        })
    }

    /// With these DNS names, made of `{namespace}`, `{service-account}` and text.
    ///
    /// # Errors
    /// For a name that pods of two namespaces could share, or that is no DNS name.
    pub fn with_dns_names(mut self, names: &[String]) -> Result<Self, PolicyError> {
        for name in names {
            let labels: Vec<&str> = name.split('.').collect();
            let is_label = |label: &&str| {
                [NAMESPACE, SERVICE_ACCOUNT].contains(label) || is_dns1123_subdomain(label)
            };
            if !labels.contains(&NAMESPACE) || !labels.iter().all(is_label) {
                return Err(PolicyError::DnsName(name.clone()));
            }
        }
        self.dns_names = names.to_vec();
        Ok(self)
    }

    /// With this longest lifetime; a request may ask for less.
    ///
    /// # Errors
    /// For one that the API server would not take.
    pub fn with_lifetime(mut self, lifetime: Duration) -> Result<Self, PolicyError> {
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            return Err(PolicyError::Lifetime(lifetime.as_secs()));
        }
        self.lifetime = lifetime;
        Ok(self)
    }

    /// For pods of these namespaces alone; none: of all.
    ///
    /// # Errors
    /// For what cannot be a namespace.
    pub fn with_namespaces(mut self, namespaces: &[String]) -> Result<Self, PolicyError> {
        let is_bad = |name: &&String| {
            name.contains('.') || name.len() > LABEL_BYTES_MAX || !is_dns1123_subdomain(name)
        };
        if let Some(bad) = namespaces.iter().find(is_bad) {
            return Err(PolicyError::Namespace(bad.clone()));
        }
        self.namespaces = namespaces.iter().cloned().collect();
        Ok(self)
    }

    /// Name of the signer.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// Longest lifetime.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    pub(super) fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// The names of a service account's pods; Err: one cannot be made.
    pub(super) fn names(&self, namespace: &str, account: &str) -> Result<GivenNames, String> {
        let mut dns_names = Vec::new();
        for pattern in &self.dns_names {
            let name = pattern
                .replace(NAMESPACE, namespace)
                .replace(SERVICE_ACCOUNT, account);
            let is_long = |label: &str| label.len() > LABEL_BYTES_MAX;
            if name.len() > DNS_NAME_BYTES_MAX || name.split('.').any(is_long) {
                return Err(format!("the DNS name {name} is too long"));
            }
            if !dns_names.contains(&name) {
                dns_names.push(name);
            }
        }
        let uri = format!("spiffe://{}/ns/{namespace}/sa/{account}", self.trust_domain);
        Ok(GivenNames {
            dns_names,
            uris: vec![uri],
        })
    }
}
