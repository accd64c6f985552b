//! Which of two kinds of keys a request has: the kind that is configured, or the usual one.
//!
//! A control plane may not know ML-DSA: kube-apiserver before 1.38 cannot read such a request, a
//! later one may have the gate `CertificateSigningRequestMLDSA` off, and a signer or a policy may
//! refuse the key (`pkg/apis/certificates/validation/validation.go`). A node must not lose its
//! certificate over that.

use crate::effect::KeyForm;
use everleaf_pki::PublicKey;

/// What is known about the kind of key that the control plane takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyChoice {
    is_switched: bool,
}

impl KeyChoice {
    /// The kind to make now.
    pub(super) fn form(self) -> KeyForm {
        match self.is_switched {
            true => KeyForm::Usual,
            false => KeyForm::Configured,
        }
    }

    /// The request with this key was refused. Takes the usual kind from now on, if that is another
    /// one and was not tried; says whether it does.
    pub(super) fn switch(&mut self, refused: &PublicKey) -> bool {
        refused.is_ml_dsa() && !std::mem::replace(&mut self.is_switched, true)
    }

    /// A certificate came. The next one is asked for with the configured kind again: control planes
    /// are upgraded.
    pub(super) fn settle(&mut self) {
        self.is_switched = false;
    }
}

/// Whether a text is about the kind of key; ours and Kubernetes' name it so.
pub(super) fn names_key(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("ml-dsa") || text.contains("mldsa")
}
