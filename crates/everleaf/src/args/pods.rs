//! The signer of pod certificates, in `up` and `controllers`.

use super::value;
use clap::Args;
use everleaf_controllers::{FilePair, PodOptions};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of the signer of pod certificates.
#[derive(Debug, Args)]
pub(crate) struct PodArgs {
    /// Sign PodCertificateRequests (Kubernetes 1.37) for this signer, a name of your choice as in
    /// example.com/pods [default: nobody signs them]
    #[arg(long, value_name = "NAME")]
    pub(crate) pod_certificate_signer_name: Option<String>,
    /// SPIFFE trust domain of pods' certificates: they are for
    /// spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) pod_certificate_trust_domain: Option<String>,
    /// DNS names of pods' certificates, as in {service-account}.{namespace}.svc.cluster.local
    /// [default: none]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) pod_certificate_dns_names: Vec<String>,
    /// Longest lifetime of pods' certificates, from 1h to 2184h; a pod may ask for less
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "24h")]
    pub(crate) pod_certificate_duration: Duration,
    /// Namespaces whose pods get certificates [default: all]
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    pub(crate) pod_certificate_namespaces: Vec<String>,
    /// CA certificate for pods: one of its own, which no API server takes credentials of
    #[arg(long, value_name = "FILE")]
    pub(crate) pod_certificate_cert_file: Option<PathBuf>,
    /// CA key for pods, or where it is in a token
    #[arg(long, value_name = "FILE|URI")]
    pub(crate) pod_certificate_key_file: Option<PathBuf>,
    /// Certificates above the CA for pods, nearest first
    #[arg(long, value_name = "FILE")]
    pub(crate) pod_certificate_chain_file: Option<PathBuf>,
}

impl PodArgs {
    /// As the controllers take them.
    pub(crate) fn options(&self) -> PodOptions {
        PodOptions {
            signer: self.pod_certificate_signer_name.clone(),
            trust_domain: self.pod_certificate_trust_domain.clone(),
            dns_names: self.pod_certificate_dns_names.clone(),
            duration: self.pod_certificate_duration,
            namespaces: self.pod_certificate_namespaces.clone(),
            files: FilePair {
                certificate: self.pod_certificate_cert_file.clone(),
                chain: self.pod_certificate_chain_file.clone(),
                key: self.pod_certificate_key_file.clone(),
            },
        }
    }
}
