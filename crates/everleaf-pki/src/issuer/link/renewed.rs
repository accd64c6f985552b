//! The same CA with other dates.

use crate::asn1;
use crate::certificate::{CertificateError, Leaf};
use crate::extension;
use crate::issuer::{Issuer, build, parents, shape_serial};
use build::Content;
use der::Decode;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use x509_cert::ext::Extension;

const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

impl Issuer {
    /// A certificate for the same CA: name, key and extensions are copied byte for byte, so that
    /// what it has signed is believed by either. Only serial number (`serial` is 16 random bytes)
    /// and dates (whole seconds) are new. An authority key identifier in it, which could name its
    /// old serial number, names the key alone.
    ///
    /// # Errors
    /// [`CertificateError::NotAnIssuer`] for a CA that another one has signed: that one has to
    /// renew it. When the dates are out of order or out of range, or signing fails.
    pub fn renewed(
        &self,
        serial: [u8; 16],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Leaf, CertificateError> {
        let old = self.certificate.body();
        if !parents::is_root(&self.certificate) {
            return Err(CertificateError::NotAnIssuer {
                subject: self.certificate.subject_text(),
                reason: "it is below another CA, which has to renew it".to_owned(),
            });
        }
        let mut extensions = extensions(self.certificate.der())?;
        extensions
            .retain(|one| one.extn_id != AUTHORITY_KEY_IDENTIFIER || old.subject_key_id.is_some());
        for one in &mut extensions {
            if let Some(id) = old.subject_key_id.as_deref()
                && one.extn_id == AUTHORITY_KEY_IDENTIFIER
            {
                *one = extension::authority_key_identifier(id);
            }
        }
        let content = Content {
            serial: shape_serial(serial),
            issuer_der: &old.subject_der,
            not_before,
            not_after,
            subject_der: old.subject_der.clone(),
            public_key: self.certificate.public_key().clone(),
            extensions,
        };
        let tbs = content
            .to_tbs(self.algorithm)
            .map_err(CertificateError::Unsound)?;
        build::sign(&tbs, self.algorithm, &self.key)
    }
}

fn extensions(der: &[u8]) -> Result<Vec<Extension>, CertificateError> {
    let read = x509_cert::Certificate::from_der(der);
    let read = read.map_err(|error| CertificateError::Malformed(asn1::words(&error)))?;
    let found = read.tbs_certificate().extensions();
    Ok(found.cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Presented, Purpose, TrustBundle};
    use crate::{Chain, KeyAlgorithm, PrivateKey, Subject, Template, Usage};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// What was signed before is believed by who trusts the new certificate alone.
    #[test]
    fn only_serial_and_dates_are_new() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
        let old = Issuer::self_signed("kubernetes", key, [1; 16], begin, end).unwrap();
        let leaf_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let template = Template {
            subject: Subject::node("n1"),
            ..Template::default()
        };
        let usages = [Usage::DigitalSignature, Usage::ClientAuth];
        let chain = old.issue_own(
            &template,
            leaf_key.public_key(),
            &usages,
            [2; 16],
            begin,
            end,
        );
        let (from, to) = (at("2029-01-01T00:00:00Z"), at("2039-01-01T00:00:00Z"));
        let new = old.renewed([3; 16], from, to).unwrap();
        let was = old.certificate();
        assert_eq!((new.not_before(), new.not_after()), (from, to));
        assert_eq!(new.subject_der(), was.subject_der());
        assert_eq!(new.public_key(), was.public_key());
        assert_eq!(new.subject_key_id(), was.subject_key_id());
        assert_ne!(new.serial(), was.serial());
        assert_eq!(
            extensions(new.der()).unwrap(),
            extensions(was.der()).unwrap()
        );
        let bundle: TrustBundle = [new].into_iter().collect();
        let chain: Chain = chain.unwrap();
        let shown = Presented::from(&chain);
        let now = at("2029-06-01T00:00:00Z");
        assert!(bundle.judge(&shown, Purpose::ClientAuth, now).is_ok());
    }

    #[test]
    fn a_ca_below_another_is_not_renewed_here() {
        let make = |name: &str| {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
            Issuer::self_signed(name, key, [1; 16], begin, end).unwrap()
        };
        let (root, own) = (make("root"), make("own"));
        let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
        let below = root
            .link_to(own.certificate(), [2; 16], begin, end)
            .unwrap();
        let key = PrivateKey::from_pem(&own.key().unwrap().to_pem()).unwrap();
        let below = Issuer::new(below, key).unwrap();
        let refused = below.renewed([3; 16], begin, end).unwrap_err().to_string();
        assert!(refused.contains("below another CA"), "{refused}");
    }
}
