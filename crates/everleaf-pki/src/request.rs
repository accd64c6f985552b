//! PKCS#10 certification requests (RFC 2986): building and strict, Go-compatible parsing.
//!
//! A [`VerifiedRequest`] exists only when the request's own signature was checked; it shows the
//! request as Go, and so Kubernetes, sees it: of several common names the last, organizations
//! of readable string types only, and counts of what Go does not see. This module does not judge
//! whether the request should be granted: that is [`crate::signer`].
//!
//! ```
//! use everleaf_pki::{KeyAlgorithm, PrivateKey, Subject, Template, VerifiedRequest};
//!
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let template = Template { subject: Subject::node("n1"), ..Template::default() };
//! let request = VerifiedRequest::from_pem(template.to_request_pem(&key)?.as_bytes())?;
//! assert_eq!(request.subject().common_name, "system:node:n1");
//! assert_eq!(request.public_key(), key.public_key());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod recent;

pub use recent::RecentRequests;

use crate::asn1::{self, SEQUENCE, SET, bit_string, encoded, oid};
use crate::extension::{self, AltNames, ExtensionError, RawExtension};
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::name::{Name, Subject};
use crate::pem;
use crate::signature::{self, SignatureAlgorithm, SignatureError};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag};
use std::net::IpAddr;
use std::sync::Arc;
use x509_cert::spki::AlgorithmIdentifierRef;

/// What a certificate should say: the wanted contents of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Subject.
    pub subject: Subject,
    /// DNS SANs.
    pub dns_names: Vec<String>,
    /// IP SANs.
    pub ip_addresses: Vec<IpAddr>,
    /// URI SANs.
    pub uris: Vec<String>,
}

impl Template {
    /// PEM `CERTIFICATE REQUEST` signed by `key`: the bytes that Go's `CreateCertificateRequest`
    /// writes for the same template.
    ///
    /// # Errors
    /// When a DNS name or URI is not ASCII (it could not be written), or signing fails.
    pub fn to_request_pem(&self, key: &PrivateKey) -> Result<String, KeyError> {
        if let Some(name) = self.dns_names.iter().find(|name| !name.is_ascii()) {
            return Err(KeyError::Unsupported(format!(
                "DNS name {name:?} is not ASCII: use its punycode form"
            )));
        }
        if let Some(uri) = self.uris.iter().find(|uri| !uri.is_ascii()) {
            return Err(KeyError::Unsupported(format!(
                "URI {uri:?} is not ASCII: write other characters percent-encoded"
            )));
        }
        let info = self.request_info(key.public_key());
        let algorithm = SignatureAlgorithm::for_request(key.algorithm());
        let signature = key.sign(algorithm, &info)?;
        let mut body = info;
        body.extend(encoded(&algorithm.identifier()));
        body.extend(encoded(&bit_string(&signature)));
        Ok(pem::encode(REQUEST_LABEL, &asn1::element(SEQUENCE, &body)))
    }

    pub(crate) fn alt_names(&self) -> AltNames {
        AltNames {
            dns_names: self.dns_names.clone(),
            ip_addresses: self.ip_addresses.clone(),
            uris: self.uris.clone(),
            ..AltNames::default()
        }
    }

    /// `CertificationRequestInfo`: what the request's signature covers.
    fn request_info(&self, public_key: &PublicKey) -> Vec<u8> {
        const VERSION_1: &[u8] = &[0x02, 0x01, 0x00];
        const ATTRIBUTES: u8 = 0xa0;
        let mut body = VERSION_1.to_vec();
        let subject = Name::from(self.subject.clone()).to_der();
        body.extend_from_slice(&subject);
        body.extend_from_slice(public_key.spki_der());
        let names = self.alt_names();
        let attributes = if names.is_empty() {
            Vec::new()
        } else {
            // Never critical in a request: Go's `CreateCertificateRequest` does not say so.
            extension_request(&encoded(&names.to_extension(false)))
        };
        asn1::write_element(&mut body, ATTRIBUTES, &attributes);
        asn1::element(SEQUENCE, &body)
    }
}

/// The `extensionRequest` attribute (RFC 2985 5.4.2) around encoded extensions.
fn extension_request(extensions: &[u8]) -> Vec<u8> {
    let mut attribute = encoded(&oid::EXTENSION_REQUEST);
    asn1::write_element(&mut attribute, SET, &asn1::element(SEQUENCE, extensions));
    asn1::element(SEQUENCE, &attribute)
}

/// DER of a name without attributes.
pub(crate) const EMPTY_NAME: &[u8] = &[SEQUENCE, 0x00];

/// The label of a request's PEM block; `NEW CERTIFICATE REQUEST` is refused, as upstream does.
const REQUEST_LABEL: &str = "CERTIFICATE REQUEST";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The text holds no PEM block.
    #[error("the request is not PEM: expected a `CERTIFICATE REQUEST` block")]
    NotPem,
    /// The first PEM block is something else; later blocks are not looked at.
    #[error("the first PEM block is `{0}`, expected `CERTIFICATE REQUEST`")]
    WrongLabel(String),
    /// The block is not a PKCS#10 request.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// The public key cannot be read.
    #[error("the request's public key is unusable: {0}")]
    Key(#[from] KeyError),
    /// The self-signature uses an algorithm that is unknown, broken, or cannot be checked here.
    #[error("the request's signature cannot be checked: {0}")]
    Algorithm(String),
    /// The self-signature does not fit: whoever made the request does not hold its private key.
    #[error("the request's signature does not fit its public key")]
    WrongSignature,
}

/// A request whose maker has shown that he holds its private key: a parsed PKCS#10 request whose
/// self-signature was checked, or a bare key with a proof. The only thing an issuer accepts. Cheap
/// to clone.
#[derive(Clone)]
pub struct VerifiedRequest {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    name: Name,
    public_key: PublicKey,
    names: AltNames,
    is_sha1_signed: bool,
    /// What is asked for besides alternative names and usages.
    other_extensions: Vec<ObjectIdentifier>,
    has_unread_extensions: bool,
    subject_der: Vec<u8>,
}

impl VerifiedRequest {
    /// Parses `spec.request`: the first PEM block must be `CERTIFICATE REQUEST`; later blocks are
    /// ignored.
    ///
    /// # Errors
    /// [`RequestError`], which says what is wrong. Time and memory are linear in the input.
    pub fn from_pem(text: &[u8]) -> Result<Self, RequestError> {
        let block = pem::blocks(text).next().ok_or(RequestError::NotPem)?;
        if block.label != REQUEST_LABEL {
            return Err(RequestError::WrongLabel(block.label));
        }
        Self::from_der(&block.der)
    }

    /// Parses a DER `CertificationRequest` and checks its signature.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let shape = Shape::read(der)?;
        let public_key = PublicKey::from_spki_der(shape.spki)?;
        let name = Name::from_request(shape.subject).map_err(|error| {
            RequestError::Malformed(format!("subject: {}", asn1::words(&error)))
        })?;
        let requested = Requested::read(shape.attributes)?;
        let names = requested.alt_names()?;
        let algorithm = SignatureAlgorithm::from_identifier(&shape.algorithm)
            .map_err(|error| RequestError::Algorithm(error.to_string()))?;
        signature::verify(&public_key, algorithm, shape.info, shape.signature).map_err(
            |error| match error {
                SignatureError::Wrong => RequestError::WrongSignature,
                other => RequestError::Algorithm(other.to_string()),
            },
        )?;
        Ok(Self {
            parts: Arc::new(Parts {
                name,
                public_key,
                names,
                is_sha1_signed: algorithm.is_sha1(),
                other_extensions: requested.other_extensions(),
                has_unread_extensions: requested.has_unread,
                subject_der: shape.subject.to_vec(),
            }),
        })
    }

    /// A request that says nothing but its key (DER SubjectPublicKeyInfo), whose private half has
    /// signed `message`: see [`PublicKey::has_signed`].
    ///
    /// # Errors
    /// [`RequestError::Key`], or [`RequestError::WrongSignature`] when the proof does not fit.
    pub fn from_proof(spki: &[u8], message: &[u8], proof: &[u8]) -> Result<Self, RequestError> {
        let public_key = PublicKey::from_spki_der(spki)?;
        if !public_key.has_signed(message, proof) {
            return Err(RequestError::WrongSignature);
        }
        let name = Name::from_request(EMPTY_NAME)
            .map_err(|error| RequestError::Malformed(asn1::words(&error).to_string()))?;
        Ok(Self {
            parts: Arc::new(Parts {
                name,
                public_key,
                names: AltNames::default(),
                is_sha1_signed: false,
                other_extensions: Vec::new(),
                has_unread_extensions: false,
                subject_der: EMPTY_NAME.to_vec(),
            }),
        })
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.parts.public_key
    }

    /// Subject as Go reads it.
    pub fn subject(&self) -> &Subject {
        &self.parts.name.subject
    }

    /// The subject's bytes, as the requestor wrote them.
    pub fn subject_der(&self) -> &[u8] {
        &self.parts.subject_der
    }

    /// DNS SANs.
    pub fn dns_names(&self) -> &[String] {
        &self.parts.names.dns_names
    }

    /// IP SANs; IPv4-mapped IPv6 addresses as IPv4.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.parts.names.ip_addresses
    }

    /// Email SANs.
    pub fn email_addresses(&self) -> &[String] {
        &self.parts.names.email_addresses
    }

    /// URI SANs.
    pub fn uris(&self) -> &[String] {
        &self.parts.names.uris
    }

    /// Count of SANs Go does not see (otherName, directoryName, registeredID, …).
    pub fn other_san_count(&self) -> usize {
        self.parts.names.other_count
    }

    /// True when the subject holds anything besides exactly one CN and O values of string types Go
    /// reads (strict reading for the recognizers).
    pub fn has_unusual_subject(&self) -> bool {
        self.parts.name.is_unusual()
    }

    /// True when the self-signature uses SHA-1: tolerated as upstream does, refused by strict
    /// policies.
    pub fn is_sha1_signed(&self) -> bool {
        self.parts.is_sha1_signed
    }

    /// Identifiers of the extensions that are asked for besides alternative names, key usage and
    /// extended key usage. No issuer looks at them; a strict policy refuses them.
    pub fn other_extensions(&self) -> impl Iterator<Item = String> {
        self.parts.other_extensions.iter().map(ToString::to_string)
    }

    /// True when the request carries extensions where Go does not look, and other parsers may: in a
    /// further value of the `extensionRequest` attribute, or in Microsoft's attribute of that kind.
    pub fn has_unread_extensions(&self) -> bool {
        self.parts.has_unread_extensions
    }

    pub(crate) fn name(&self) -> &Name {
        &self.parts.name
    }

    pub(crate) fn alt_names(&self) -> &AltNames {
        &self.parts.names
    }
}

impl std::fmt::Debug for VerifiedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedRequest")
            .field("subject", self.subject())
            .field("public_key", self.public_key())
            .field("names", self.alt_names())
            .finish()
    }
}

/// The public key in a DER request, whoever signed that: to say of a key that it will not do before
/// its signature is looked at. Proof of possession is a [`VerifiedRequest`]'s.
///
/// # Errors
/// [`RequestError::Malformed`] or [`RequestError::Key`].
pub fn unverified_key(der: &[u8]) -> Result<PublicKey, RequestError> {
    let shape = Shape::read(der)?;
    Ok(PublicKey::from_spki_der(shape.spki)?)
}

/// The name `node-csr-…` under which an agent files a request, so that a lost answer is found
/// again: a digest of key, subject and usages (client-go's `digestedName`).
///
/// ```
/// use everleaf_pki::{PrivateKey, request};
///
/// let key = PrivateKey::from_ed25519_seed(&[7; 32])?;
/// let name = request::digest_name(
///     key.public_key().spki_der(),
///     "system:node:n1",
///     &["system:nodes"],
///     &["digital signature", "client auth"],
/// );
/// assert_eq!(name.len(), "node-csr-".len() + 43);
/// # Ok::<(), everleaf_pki::KeyError>(())
/// ```
pub fn digest_name<O: AsRef<str>, U: AsRef<str>>(
    spki_der: &[u8],
    common_name: &str,
    organizations: &[O],
    usages: &[U],
) -> String {
    let mut hash = digest::Context::new(&digest::SHA512_256);
    let mut feed = |item: &[u8]| {
        hash.update(URL_SAFE_NO_PAD.encode(item).as_bytes());
        hash.update(b"|");
    };
    feed(spki_der);
    feed(common_name.as_bytes());
    for organization in organizations {
        feed(organization.as_ref().as_bytes());
    }
    for usage in usages {
        feed(usage.as_ref().as_bytes());
    }
    format!("node-csr-{}", URL_SAFE_NO_PAD.encode(hash.finish()))
}

/// The outer shape of a request; every part borrows from its DER.
struct Shape<'a> {
    /// `CertificationRequestInfo`, whole: what the signature covers.
    info: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
    /// Content of the attribute set.
    attributes: &'a [u8],
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
}

impl<'a> Shape<'a> {
    fn read(der: &'a [u8]) -> Result<Self, RequestError> {
        Self::read_der(der).map_err(|error| RequestError::Malformed(asn1::words(&error)))
    }

    fn read_der(der: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let mut outer = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
        reader.finish()?;
        let info = outer.tlv_bytes()?;
        let algorithm = AlgorithmIdentifierRef::decode(&mut outer)?;
        let signature = BitStringRef::decode(&mut outer)?
            .as_bytes()
            .ok_or_else(|| outer.error(Tag::BitString.value_error()))?;
        outer.finish()?;

        let mut info_reader = SliceReader::new(info)?;
        let mut body = SliceReader::new(asn1::read_content(&mut info_reader, Tag::Sequence)?)?;
        // RFC 2986 knows version 0 only; Go takes any, and so do the tools that write 1 by mistake.
        u8::decode(&mut body)?;
        let subject = body.tlv_bytes()?;
        let spki = body.tlv_bytes()?;
        let attributes = asn1::read_element(&mut body)?;
        const ATTRIBUTES: u8 = 0xa0;
        if attributes.identifier != ATTRIBUTES {
            return Err(body.error(Tag::Set.value_error()));
        }
        body.finish()?;
        Ok(Self {
            info,
            subject,
            spki,
            attributes: attributes.content,
            algorithm,
            signature,
        })
    }
}

/// `szOID_CERT_EXTENSIONS`: extensions in requests of older Microsoft tools.
const MICROSOFT_EXTENSIONS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14");

/// The requested extensions.
struct Requested<'a> {
    extensions: Vec<RawExtension<'a>>,
    has_unread: bool,
}

impl<'a> Requested<'a> {
    /// As Go, only the first value of an `extensionRequest` attribute counts, other attributes are
    /// ignored, and a repeated extension is refused across attributes.
    fn read(attributes: &'a [u8]) -> Result<Self, RequestError> {
        let malformed = |error: der::Error| {
            RequestError::Malformed(format!("attributes: {}", asn1::words(&error)))
        };
        let mut extensions = Vec::new();
        let mut has_unread = false;
        let mut reader = SliceReader::new(attributes).map_err(malformed)?;
        while !reader.is_finished() {
            let attribute = asn1::read_content(&mut reader, Tag::Sequence).map_err(malformed)?;
            let mut attribute = SliceReader::new(attribute).map_err(malformed)?;
            let id = asn1::read_oid(&mut attribute).map_err(malformed)?;
            let values = asn1::read_content(&mut attribute, Tag::Set).map_err(malformed)?;
            attribute.finish().map_err(malformed)?;
            has_unread |= id == MICROSOFT_EXTENSIONS;
            if id == oid::EXTENSION_REQUEST && !values.is_empty() {
                let mut values = SliceReader::new(values).map_err(malformed)?;
                extension::read_extensions(&mut values, &mut extensions)
                    .map_err(extension_error)?;
                has_unread |= !values.is_finished();
            }
        }
        Ok(Self {
            extensions,
            has_unread,
        })
    }

    /// The only extension that is read; of the others only their form is.
    fn alt_names(&self) -> Result<AltNames, RequestError> {
        self.extensions
            .iter()
            .find(|extension| extension.id == oid::SUBJECT_ALT_NAME)
            .map_or_else(
                || Ok(AltNames::default()),
                |extension| AltNames::from_der(extension.value).map_err(extension_error),
            )
    }

    fn other_extensions(&self) -> Vec<ObjectIdentifier> {
        const KNOWN: [ObjectIdentifier; 3] = [
            oid::SUBJECT_ALT_NAME,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
        ];
        let ids = self.extensions.iter().map(|extension| extension.id);
        ids.filter(|id| !KNOWN.contains(id)).collect()
    }
}

fn extension_error(error: ExtensionError) -> RequestError {
    RequestError::Malformed(error.to_string())
}
