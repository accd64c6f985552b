//! Links: what lets those who trust one CA come to trust another one.
//!
//! A link is the certificate that RFC 9810 4.4 calls "NewWithOld" (and "OldWithNew"): name, key and
//! key identifier of the one CA, signed by the other. Nobody can make it without the key of a CA
//! that is trusted already, wherever it is kept and by whom it is handed on.

mod renewed;

use super::{Issuer, build, shape_serial};
use crate::certificate::{CertificateError, Leaf};
use crate::extension::{self, KeyUsageBits};
use build::Content;
use jiff::Timestamp;

impl Issuer {
    /// A link from this CA to `authority`: whoever trusts this CA may trust that one from
    /// `not_before` to `not_after` (whole seconds; cut to the ends of both CAs). `serial` is 16
    /// random bytes.
    ///
    /// # Errors
    /// When the dates are out of order or out of range, or signing fails.
    pub fn link_to(
        &self,
        authority: &Leaf,
        serial: [u8; 16],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Leaf, CertificateError> {
        let own = self.certificate.body();
        let usage = KeyUsageBits(
            KeyUsageBits::DIGITAL_SIGNATURE | KeyUsageBits::CERT_SIGN | KeyUsageBits::CRL_SIGN,
        );
        let mut extensions = vec![usage.to_extension(), extension::basic_constraints(true)];
        let key_ids = [
            (
                authority.subject_key_id(),
                extension::subject_key_identifier as fn(&[u8]) -> _,
            ),
            (
                own.subject_key_id.as_deref(),
                extension::authority_key_identifier,
            ),
        ];
        for (id, to_extension) in key_ids {
            extensions.extend(id.map(to_extension));
        }
        let content = Content {
            serial: shape_serial(serial),
            issuer_der: &own.subject_der,
            not_before,
            not_after: not_after.min(self.limit).min(authority.not_after()),
            subject_der: authority.subject_der().to_vec(),
            public_key: authority.public_key().clone(),
            extensions,
        };
        let tbs = content
            .to_tbs(self.algorithm)
            .map_err(CertificateError::Unsound)?;
        build::sign(&tbs, self.algorithm, &self.key)
    }
}

/// Whether `link` says, in the name of `trusted`, that `authority` is to be trusted: it is signed
/// by the one, and has name, key and key identifier of the other, which is a CA and signs itself.
/// Dates are left to whoever judges chains.
pub fn links(link: &Leaf, trusted: &Leaf, authority: &Leaf) -> bool {
    let is_of_authority = link.subject_der() == authority.subject_der()
        && link.public_key() == authority.public_key()
        && link.subject_key_id() == authority.subject_key_id();
    let are_authorities = [link, trusted, authority].into_iter().all(Leaf::is_ca);
    is_of_authority
        && are_authorities
        && authority.is_signed_by(authority)
        && link.is_signed_by(trusted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Presented, Purpose, TrustBundle};
    use crate::{Chain, KeyAlgorithm, PrivateKey, Template, Usage};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn authority(name: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = (at("2020-01-01T00:00:00Z"), at("2050-01-01T00:00:00Z"));
        Issuer::self_signed(name, key, [1; 16], from, to).unwrap()
    }

    fn link(from: &Issuer, to: &Issuer) -> Leaf {
        let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2099-01-01T00:00:00Z"));
        from.link_to(to.certificate(), [2; 16], begin, end).unwrap()
    }

    /// Who trusts the old CA alone believes what the new one signed, when the link comes along.
    #[test]
    fn a_chain_with_the_link_is_believed_by_both() {
        let (old, new) = (authority("old"), authority("new"));
        let link = link(&old, &new);
        assert_eq!(link.not_after(), at("2050-01-01T00:00:00Z"));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let template = Template {
            dns_names: vec!["api".into()],
            ..Template::default()
        };
        let usages = [Usage::DigitalSignature, Usage::ServerAuth];
        let (begin, end) = (at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
        let chain = new.issue_own(&template, key.public_key(), &usages, [3; 16], begin, end);
        let leaf = chain.unwrap().leaf().clone();
        let now = at("2025-06-01T00:00:00Z");
        let believed = |anchor: &Issuer, chain: Vec<Leaf>| {
            let bundle: TrustBundle = [anchor.certificate().clone()].into_iter().collect();
            let chain = Chain::new(chain).unwrap();
            let shown = Presented::from(&chain);
            bundle.judge(&shown, Purpose::ServerAuth, now).is_ok()
        };
        let linked = || vec![leaf.clone(), link.clone()];
        assert!(believed(&old, linked()) && believed(&new, linked()));
        assert!(believed(&new, vec![leaf.clone()]));
        assert!(!believed(&old, vec![leaf.clone()]));
        assert!(!believed(&authority("old"), linked()));
    }

    #[test]
    fn only_a_trusted_key_links() {
        let (old, new) = (authority("old"), authority("new"));
        let good = link(&old, &new);
        let holds = |link: &Leaf, trusted: &Issuer, to: &Issuer| {
            links(link, trusted.certificate(), to.certificate())
        };
        assert!(holds(&good, &old, &new));
        // Another key under the old name, another key under the new name, the other direction.
        assert!(!holds(&link(&authority("old"), &new), &old, &new));
        assert!(!holds(&good, &old, &authority("new")));
        assert!(!holds(&good, &new, &old));
        assert!(!holds(new.certificate(), &old, &new));
        // A leaf is no CA, whoever signed it.
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (begin, end) = (at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
        let leaf = old.issue_own(
            &Template::default(),
            key.public_key(),
            &[Usage::ClientAuth],
            [3; 16],
            begin,
            end,
        );
        if let Ok(chain) = leaf {
            assert!(!links(chain.leaf(), old.certificate(), chain.leaf()));
        }
    }
}
