//! Certificate revocation lists (RFC 5280 5).

use super::{Issuer, build};
use crate::asn1::{self, bit_string, element, encoded};
use crate::certificate::CertificateError;
use crate::extension;
use crate::{Serial, pem, signature};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Sequence};
use jiff::Timestamp;
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

/// A certificate that is not to be believed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Which, of those that the issuer has signed.
    pub serial: Serial,
    /// Since when.
    pub at: Timestamp,
    /// `CRLReason`, RFC 5280 5.3.1; 0 is not written.
    pub reason: u8,
}

/// A signed list. Its issuer's certificate verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
}

impl RevocationList {
    /// `CertificateList`, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// PEM, `X509 CRL` (RFC 7468 6).
    pub fn to_pem(&self) -> String {
        pem::encode("X509 CRL", &self.der)
    }
}

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
/// Identifier octet of ENUMERATED.
const ENUMERATED: u8 = 0x0a;
/// `Version`: v2.
const VERSION: u8 = 1;

#[derive(Sequence)]
struct TbsCertList<'a> {
    version: u8,
    signature: AlgorithmIdentifierRef<'a>,
    issuer: AnyRef<'a>,
    this_update: Time,
    next_update: Time,
    /// Absent when nothing is revoked.
    #[asn1(optional = "true")]
    revoked: Option<Vec<RevokedCertificate<'a>>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct RevokedCertificate<'a> {
    serial: UintRef<'a>,
    at: Time,
    #[asn1(optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct CertificateList<'a> {
    tbs: AnyRef<'a>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl Issuer {
    /// A list of what is revoked of this issuer's, which says that the next one comes before
    /// `next_update`. `number` has to be larger than that of every list before it.
    ///
    /// # Errors
    /// The CA's certificate does not allow it to sign lists (`cRLSign`), a date cannot be written,
    /// or its key does not sign.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        number: u64,
        (this_update, next_update): (Timestamp, Timestamp),
    ) -> Result<RevocationList, CertificateError> {
        if !self.certificate.allows_crl_sign() {
            let reason = "its key usage does not allow it to sign revocation lists (cRLSign)";
            return Err(CertificateError::NotAnIssuer {
                subject: self.certificate.subject_text(),
                reason: reason.to_owned(),
            });
        }
        let entries: Result<Vec<_>, CertificateError> = revoked.iter().map(entry).collect();
        let number = number.to_be_bytes();
        let number = encoded(&UintRef::new(&number).map_err(unsound)?);
        let mut extensions = Vec::new();
        if let Some(id) = self.certificate.subject_key_id() {
            extensions.push(extension::authority_key_identifier(id));
        }
        extensions.push(extension::extension(CRL_NUMBER, false, number));
        let tbs = TbsCertList {
            version: VERSION,
            signature: self.algorithm.identifier(),
            issuer: AnyRef::from_der(self.certificate.subject_der()).map_err(unsound)?,
            this_update: date(this_update)?,
            next_update: date(next_update)?,
            revoked: Some(entries?).filter(|entries| !entries.is_empty()),
            extensions,
        };
        let tbs = encoded(&tbs);
        let signed = self.key.sign(self.algorithm, &tbs)?;
        signature::verify(self.key.public_key(), self.algorithm, &tbs, &signed)
            .map_err(|_| CertificateError::Unsound("its own signature does not hold".to_owned()))?;
        let list = CertificateList {
            tbs: AnyRef::from_der(&tbs).map_err(unsound)?,
            signature_algorithm: self.algorithm.identifier(),
            signature: bit_string(&signed),
        };
        Ok(RevocationList {
            der: encoded(&list),
        })
    }
}

fn entry(one: &Revoked) -> Result<RevokedCertificate<'_>, CertificateError> {
    let code = element(ENUMERATED, &[one.reason]);
    let reason = extension::extension(REASON_CODE, false, code);
    Ok(RevokedCertificate {
        serial: UintRef::new(one.serial.as_bytes()).map_err(unsound)?,
        at: date(one.at)?,
        extensions: (one.reason != 0).then(|| vec![reason]),
    })
}

fn date(at: Timestamp) -> Result<Time, CertificateError> {
    build::time(at).map_err(CertificateError::Unsound)
}

fn unsound(error: der::Error) -> CertificateError {
    let words = asn1::words(&error);
    CertificateError::Unsound(format!("the revocation list cannot be encoded: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyAlgorithm, PrivateKey};
    use x509_parser::prelude::{CertificateRevocationList, FromDer};

    /// Read by another parser.
    #[test]
    fn a_list_says_what_it_was_given() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (begin, end) = (at("2026-01-01T00:00:00Z"), at("2060-01-01T00:00:00Z"));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let issuer = Issuer::self_signed("a CA", key, [7; 16], begin, end).unwrap();
        let dates = (at("2049-12-31T00:00:00Z"), at("2050-01-07T00:00:00Z"));
        let revoked = [(vec![0x80, 1], 1), (vec![5], 0)].map(|(serial, reason)| Revoked {
            serial: Serial::new(&serial),
            at: at("2030-01-01T00:00:00Z"),
            reason,
        });
        for revoked in [&revoked[..], &[]] {
            let list = issuer.revocation_list(revoked, 300, dates).unwrap();
            let (rest, read) = CertificateRevocationList::from_der(list.der()).unwrap();
            assert!(rest.is_empty());
            assert_eq!(read.issuer().to_string(), "CN=a CA");
            assert_eq!(read.last_update().timestamp(), dates.0.as_second());
            assert_eq!(read.next_update().unwrap().timestamp(), dates.1.as_second());
            assert_eq!(read.crl_number().unwrap().to_string(), "300");
            let seen: Vec<_> = read
                .iter_revoked_certificates()
                .map(|one| {
                    let reason = one.reason_code().map_or(0, |(_, code)| code.0);
                    (Serial::new(one.raw_serial()), reason)
                })
                .collect();
            let wanted = revoked.iter().map(|one| (one.serial.clone(), one.reason));
            assert_eq!(seen, wanted.collect::<Vec<_>>());
        }
    }
}
