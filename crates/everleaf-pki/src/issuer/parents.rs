//! The certificates above an issuer: which of them go along with a leaf, and when the first ends.

use crate::certificate::{CertificateError, Chain, Leaf};
use crate::trust;

/// More certificates than this are not in one chain file.
const PARENTS_MAX: usize = 8;

/// What stands above an issuer, nearest first, from the PEM text of a chain file. The issuer's own
/// certificate may stand in front; a self-signed one may stand at the end.
pub(super) fn read(issuer: &Leaf, pem: &[u8]) -> Result<Vec<Leaf>, CertificateError> {
    let refuse = |reason: String| {
        Err(CertificateError::NotItsChain {
            subject: issuer.subject_text(),
            reason,
        })
    };
    let chain = Chain::from_pem(pem)?;
    let mut parents = chain.certificates();
    if parents.first() == Some(issuer) {
        parents = &parents[1..];
    }
    if parents.len() > PARENTS_MAX {
        return refuse(format!("it holds more than {PARENTS_MAX} certificates"));
    }
    let mut below = issuer;
    for parent in parents {
        let subject = parent.subject_text();
        if let Err(fault) = trust::check_authority(parent) {
            return refuse(format!("{subject} cannot sign others: {fault}"));
        }
        if !below.is_signed_by(parent) {
            return refuse(format!(
                "{subject} did not sign {}: the file has to go from the CA upwards, each followed by its own issuer",
                below.subject_text()
            ));
        }
        below = parent;
    }
    Ok(parents.to_vec())
}

/// Whether it vouches for itself: nobody needs to be sent a root.
pub(super) fn is_root(certificate: &Leaf) -> bool {
    certificate.is_signed_by(certificate)
}
