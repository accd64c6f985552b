//! Certificates under names that their signer chose.

use super::{IssueError, Issued, Issuer};
use crate::extension::AltNames;
use crate::request::{EMPTY_NAME, VerifiedRequest};
use crate::signer::Usage;
use jiff::Timestamp;

/// The names of a certificate without a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenNames {
    /// DNS SANs.
    pub dns_names: Vec<String>,
    /// URI SANs.
    pub uris: Vec<String>,
}

impl Issuer {
    /// A certificate without a subject for the key of a request, under names that its signer chose:
    /// nothing else of the request is looked at. The dates are whole seconds; those who are told of
    /// them beside the certificate need them exact, so nothing is cut.
    ///
    /// # Errors
    /// [`IssueError::Policy`] when the key or a name will not do, else when it would outlive the CA
    /// or signing fails.
    pub fn issue_named(
        &self,
        request: &VerifiedRequest,
        names: &GivenNames,
        usages: &[Usage],
        serial: [u8; 16],
        (not_before, not_after): (Timestamp, Timestamp),
    ) -> Result<Issued, IssueError> {
        let names = AltNames {
            dns_names: names.dns_names.clone(),
            uris: names.uris.clone(),
            ..AltNames::default()
        };
        let (leaf, warnings) = self.issue_leaf(
            EMPTY_NAME.to_vec(),
            request.public_key(),
            &names,
            usages,
            serial,
            not_before,
            not_after,
        )?;
        Ok(Issued {
            chain: self.chain_of(leaf)?,
            truncated: false,
            warnings,
        })
    }
}
