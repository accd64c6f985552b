//! What is wrong with a certificate.

use everleaf_pki::trust::Refusal;
use rustls::CertificateError;

const NOT_ACCEPTABLE: &str =
    "is not acceptable to the TLS library, which gave no reason for people";

/// An error of a certificate in words; they begin with "the certificate".
pub(crate) fn words(error: &CertificateError) -> String {
    let fault = match error {
        CertificateError::BadEncoding => "cannot be read",
        CertificateError::Expired => "has expired",
        CertificateError::NotValidYet => "is not valid yet",
        CertificateError::Revoked => "has been revoked",
        CertificateError::UnhandledCriticalExtension => {
            "has a critical extension that is not known here"
        }
        CertificateError::UnknownIssuer => "is not signed by an authority that is trusted here",
        CertificateError::BadSignature => "has a signature that does not fit its authority's key",
        CertificateError::NotValidForName => "is for another name",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for this side of a connection: its extended key usages do not allow it"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed with an algorithm that is not supported here"
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = match names.as_slice() {
                [] => "no name at all".to_owned(),
                names => names.join(", "),
            };
            return format!(
                "the certificate is for {names}, not for {}",
                expected.to_str()
            );
        }
        // These have words of their own.
        CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. } => {
            return format!("the {error}");
        }
        CertificateError::Other(other) => {
            // Our own verifier's.
            if let Some(refusal) = other.0.downcast_ref::<Refusal>() {
                return format!("the {refusal}");
            }
            let webpki = other.0.downcast_ref::<webpki::Error>();
            webpki.map_or(NOT_ACCEPTABLE, webpki_fault)
        }
        _ => NOT_ACCEPTABLE,
    };
    format!("the certificate {fault}")
}

/// A name without what webpki writes around it: `DnsName("a.example")`, `IpAddress(10.0.0.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn webpki_fault(error: &webpki::Error) -> &'static str {
    match error {
        webpki::Error::UnsupportedCertVersion => {
            "is not of version 3, and no other can be verified here; have it issued anew"
        }
        webpki::Error::CaUsedAsEndEntity => {
            "is an authority's own, and a server needs one that an authority issued to it"
        }
        webpki::Error::EndEntityUsedAsCa => "is signed by one that is no authority",
        webpki::Error::PathLenConstraintViolated | webpki::Error::MaximumPathDepthExceeded => {
            "has more intermediates above it than are allowed"
        }
        webpki::Error::NameConstraintViolation => {
            "has a name that its authority may not give (name constraints)"
        }
        webpki::Error::UnsupportedCriticalExtension => {
            "has a critical extension that is not known here"
        }
        webpki::Error::MalformedExtensions
        | webpki::Error::ExtensionValueInvalid
        | webpki::Error::MalformedDnsIdentifier => "has an extension that cannot be read",
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::InvalidSerialNumber => {
            "cannot be read"
        }
        webpki::Error::InvalidCertValidity => "is never valid: it ends before it begins",
        webpki::Error::SignatureAlgorithmMismatch => "contradicts itself about how it is signed",
        _ => NOT_ACCEPTABLE,
    }
}
