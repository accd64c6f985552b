//! The four signers that Kubernetes itself defines, as a closed set.
//!
//! Everything that is told apart by signer here (loops, issuers, flags, metric labels) uses this
//! enum, so an unknown name cannot reach it: parsing is the only way in.

use everleaf_pki::SignerName;
use std::fmt;

/// A signer of the `kubernetes.io` domain that this crate can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuiltinSigner {
    /// `kubernetes.io/kube-apiserver-client`: any client of the API server.
    KubeApiserverClient,
    /// `kubernetes.io/kube-apiserver-client-kubelet`: a kubelet as a client.
    KubeApiserverClientKubelet,
    /// `kubernetes.io/kubelet-serving`: a kubelet as a server.
    KubeletServing,
    /// `kubernetes.io/legacy-unknown`: whatever an API server before 1.22 defaulted to.
    LegacyUnknown,
}

/// The name is not one of the four built-in signers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a built-in signer; known are {known}",
    known = BuiltinSigner::ALL.map(BuiltinSigner::name).join(", ")
)]
pub struct UnknownSigner(pub String);

impl BuiltinSigner {
    /// All of them, in the order in which kube-controller-manager starts their loops.
    pub const ALL: [Self; 4] = [
        Self::KubeletServing,
        Self::KubeApiserverClientKubelet,
        Self::KubeApiserverClient,
        Self::LegacyUnknown,
    ];

    /// The signer with this `spec.signerName`.
    ///
    /// # Errors
    /// For every name that is not one of the four.
    pub fn parse(name: &str) -> Result<Self, UnknownSigner> {
        Self::ALL
            .into_iter()
            .find(|signer| signer.name() == name)
            .ok_or_else(|| UnknownSigner(name.to_owned()))
    }

    /// `spec.signerName` of its requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeApiserverClient => SignerName::KUBE_APISERVER_CLIENT,
            Self::KubeApiserverClientKubelet => SignerName::KUBE_APISERVER_CLIENT_KUBELET,
            Self::KubeletServing => SignerName::KUBELET_SERVING,
            Self::LegacyUnknown => SignerName::LEGACY_UNKNOWN,
        }
    }

    /// The loop's name in upstream's logs (cmd/kube-controller-manager/app/certificates.go).
    pub const fn loop_name(self) -> &'static str {
        match self {
            Self::KubeApiserverClient => "csrsigning-kube-apiserver-client",
            Self::KubeApiserverClientKubelet => "csrsigning-kubelet-client",
            Self::KubeletServing => "csrsigning-kubelet-serving",
            Self::LegacyUnknown => "csrsigning-legacy-unknown",
        }
    }

    /// The middle of its flags: `--cluster-signing-<this>-cert-file`.
    pub const fn flag_stem(self) -> &'static str {
        match self {
            Self::KubeApiserverClient => "kube-apiserver-client",
            Self::KubeApiserverClientKubelet => "kubelet-client",
            Self::KubeletServing => "kubelet-serving",
            Self::LegacyUnknown => "legacy-unknown",
        }
    }
}

impl fmt::Display for BuiltinSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_parses_back() {
        for signer in BuiltinSigner::ALL {
            assert_eq!(BuiltinSigner::parse(signer.name()), Ok(signer));
        }
    }

    /// As `pkg/controller/certificates/signer/signer_test.go`, `TestHandle`.
    #[test]
    fn other_names_have_no_signer() {
        for name in [
            "kubernetes.io/not-recognised",
            "example.com/sample-name",
            "kubernetes.io/not-a-real-signer",
        ] {
            let error = BuiltinSigner::parse(name).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(error.contains("kubernetes.io/kubelet-serving"), "{error}");
        }
    }
}
