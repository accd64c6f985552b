//! Key usages: the words of the CSR API and what they mean in X.509.

use crate::asn1::oid;
use crate::extension::KeyUsageBits;
use der::asn1::ObjectIdentifier;

/// A key usage of the CSR API, by its wire text (`digital signature`, `client auth`, …; 23 values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Usage {
    /// `signing`: in a certificate the same as `digital signature`.
    Signing,
    /// `digital signature`
    DigitalSignature,
    /// `content commitment`
    ContentCommitment,
    /// `key encipherment`
    KeyEncipherment,
    /// `key agreement`
    KeyAgreement,
    /// `data encipherment`
    DataEncipherment,
    /// `cert sign`
    CertSign,
    /// `crl sign`
    CrlSign,
    /// `encipher only`
    EncipherOnly,
    /// `decipher only`
    DecipherOnly,
    /// `any`
    Any,
    /// `server auth`
    ServerAuth,
    /// `client auth`
    ClientAuth,
    /// `code signing`
    CodeSigning,
    /// `email protection`
    EmailProtection,
    /// `s/mime`: in a certificate the same as `email protection`.
    SMime,
    /// `ipsec end system`
    IpsecEndSystem,
    /// `ipsec tunnel`
    IpsecTunnel,
    /// `ipsec user`
    IpsecUser,
    /// `timestamping`
    Timestamping,
    /// `ocsp signing`
    OcspSigning,
    /// `microsoft sgc`
    MicrosoftSgc,
    /// `netscape sgc`
    NetscapeSgc,
}

/// What a usage sets in a certificate.
enum Meaning {
    /// A bit of keyUsage.
    Bit(u16),
    /// An entry of extKeyUsage.
    Purpose(Purpose),
}

/// Extended key usages in the order of Go's enumeration, which is the order in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Any,
    ServerAuth,
    ClientAuth,
    CodeSigning,
    EmailProtection,
    IpsecEndSystem,
    IpsecTunnel,
    IpsecUser,
    TimeStamping,
    OcspSigning,
    MicrosoftSgc,
    NetscapeSgc,
}

impl Usage {
    /// All 23, in the order of the Kubernetes API types.
    pub const ALL: [Self; 23] = [
        Self::Signing,
        Self::DigitalSignature,
        Self::ContentCommitment,
        Self::KeyEncipherment,
        Self::KeyAgreement,
        Self::DataEncipherment,
        Self::CertSign,
        Self::CrlSign,
        Self::EncipherOnly,
        Self::DecipherOnly,
        Self::Any,
        Self::ServerAuth,
        Self::ClientAuth,
        Self::CodeSigning,
        Self::EmailProtection,
        Self::SMime,
        Self::IpsecEndSystem,
        Self::IpsecTunnel,
        Self::IpsecUser,
        Self::Timestamping,
        Self::OcspSigning,
        Self::MicrosoftSgc,
        Self::NetscapeSgc,
    ];

    /// The wire text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::DigitalSignature => "digital signature",
            Self::ContentCommitment => "content commitment",
            Self::KeyEncipherment => "key encipherment",
            Self::KeyAgreement => "key agreement",
            Self::DataEncipherment => "data encipherment",
            Self::CertSign => "cert sign",
            Self::CrlSign => "crl sign",
            Self::EncipherOnly => "encipher only",
            Self::DecipherOnly => "decipher only",
            Self::Any => "any",
            Self::ServerAuth => "server auth",
            Self::ClientAuth => "client auth",
            Self::CodeSigning => "code signing",
            Self::EmailProtection => "email protection",
            Self::SMime => "s/mime",
            Self::IpsecEndSystem => "ipsec end system",
            Self::IpsecTunnel => "ipsec tunnel",
            Self::IpsecUser => "ipsec user",
            Self::Timestamping => "timestamping",
            Self::OcspSigning => "ocsp signing",
            Self::MicrosoftSgc => "microsoft sgc",
            Self::NetscapeSgc => "netscape sgc",
        }
    }

    /// Parses the wire text exactly.
    ///
    /// ```
    /// use everleaf_pki::Usage;
    ///
    /// assert_eq!(Usage::parse("client auth"), Some(Usage::ClientAuth));
    /// assert_eq!(Usage::parse("Client Auth"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|usage| usage.as_str() == text)
    }

    /// Parses a list of wire texts.
    ///
    /// # Errors
    /// Upstream's message, naming every text that is no usage: `unrecognized usage values: [...]`.
    pub fn parse_all<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Self>, UnknownUsages> {
        let unknown: Vec<String> = texts
            .iter()
            .map(AsRef::as_ref)
            .filter(|text| Self::parse(text).is_none())
            .map(str::to_owned)
            .collect();
        if !unknown.is_empty() {
            return Err(UnknownUsages(unknown));
        }
        Ok(texts
            .iter()
            .filter_map(|text| Self::parse(text.as_ref()))
            .collect())
    }

    fn meaning(self) -> Meaning {
        use KeyUsageBits as Bits;
        use Meaning::{Bit, Purpose as Eku};
        match self {
            Self::Signing | Self::DigitalSignature => Bit(Bits::DIGITAL_SIGNATURE),
            Self::ContentCommitment => Bit(Bits::CONTENT_COMMITMENT),
            Self::KeyEncipherment => Bit(Bits::KEY_ENCIPHERMENT),
            Self::KeyAgreement => Bit(Bits::KEY_AGREEMENT),
            Self::DataEncipherment => Bit(Bits::DATA_ENCIPHERMENT),
            Self::CertSign => Bit(Bits::CERT_SIGN),
            Self::CrlSign => Bit(Bits::CRL_SIGN),
            Self::EncipherOnly => Bit(Bits::ENCIPHER_ONLY),
            Self::DecipherOnly => Bit(Bits::DECIPHER_ONLY),
            Self::Any => Eku(Purpose::Any),
            Self::ServerAuth => Eku(Purpose::ServerAuth),
            Self::ClientAuth => Eku(Purpose::ClientAuth),
            Self::CodeSigning => Eku(Purpose::CodeSigning),
            Self::EmailProtection | Self::SMime => Eku(Purpose::EmailProtection),
            Self::IpsecEndSystem => Eku(Purpose::IpsecEndSystem),
            Self::IpsecTunnel => Eku(Purpose::IpsecTunnel),
            Self::IpsecUser => Eku(Purpose::IpsecUser),
            Self::Timestamping => Eku(Purpose::TimeStamping),
            Self::OcspSigning => Eku(Purpose::OcspSigning),
            Self::MicrosoftSgc => Eku(Purpose::MicrosoftSgc),
            Self::NetscapeSgc => Eku(Purpose::NetscapeSgc),
        }
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Texts that are no usages; `Display` is upstream's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized usage values: [{}]", quoted(.0))]
pub struct UnknownUsages(pub Vec<String>);

/// Quoted as Go's `%q` of a string list.
fn quoted(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| format!("{text:?}")).collect();
    quoted.join(" ")
}

/// Key usage bits and extended key usages of a list of usages: bits combined, purposes without
/// repeats in Go's order.
pub(crate) fn x509_usages(usages: &[Usage]) -> (KeyUsageBits, Vec<ObjectIdentifier>) {
    let mut bits = 0;
    let mut purposes = std::collections::BTreeSet::new();
    for usage in usages {
        match usage.meaning() {
            Meaning::Bit(bit) => bits |= bit,
            Meaning::Purpose(purpose) => {
                purposes.insert(purpose);
            }
        }
    }
    (
        KeyUsageBits(bits),
        purposes.into_iter().map(Purpose::oid).collect(),
    )
}

impl Purpose {
    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Any => oid::ANY_EXTENDED_KEY_USAGE,
            Self::ServerAuth => oid::SERVER_AUTH,
            Self::ClientAuth => oid::CLIENT_AUTH,
            Self::CodeSigning => oid::CODE_SIGNING,
            Self::EmailProtection => oid::EMAIL_PROTECTION,
            Self::IpsecEndSystem => oid::IPSEC_END_SYSTEM,
            Self::IpsecTunnel => oid::IPSEC_TUNNEL,
            Self::IpsecUser => oid::IPSEC_USER,
            Self::TimeStamping => oid::TIME_STAMPING,
            Self::OcspSigning => oid::OCSP_SIGNING,
            Self::MicrosoftSgc => oid::MICROSOFT_SGC,
            Self::NetscapeSgc => oid::NETSCAPE_SGC,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_usage_is_read_as_it_is_written() {
        let mut usages = Usage::ALL.iter();
        assert!(usages.all(|usage| Usage::parse(usage.as_str()) == Some(*usage)));
        assert_eq!(Usage::parse(""), None);
    }

    /// Upstream's cases (`pkg/controller/certificates/authority/policies_test.go`), and each usage
    /// alone.
    #[test]
    fn usages_map_to_bits_and_purposes() {
        let check = |texts: &[&str], bits: u16, purposes: &[ObjectIdentifier]| {
            let usages = Usage::parse_all(texts).unwrap();
            assert_eq!(
                x509_usages(&usages),
                (KeyUsageBits(bits), purposes.to_vec()),
                "{texts:?}"
            );
        };
        check(&["signing"], 1, &[]);
        check(&["signing", "digital signature"], 1, &[]);
        check(&["client auth"], 0, &[oid::CLIENT_AUTH]);
        check(&["client auth", "client auth"], 0, &[oid::CLIENT_AUTH]);
        check(&["cert sign", "encipher only"], 1 << 5 | 1 << 7, &[]);
        check(
            &["ocsp signing", "crl sign", "s/mime", "content commitment"],
            1 << 6 | 1 << 1,
            &[oid::EMAIL_PROTECTION, oid::OCSP_SIGNING],
        );
        check(&["s/mime", "email protection"], 0, &[oid::EMAIL_PROTECTION]);
        check(&["key encipherment"], 1 << 2, &[]);
        check(&["data encipherment"], 1 << 3, &[]);
        check(&["key agreement"], 1 << 4, &[]);
        check(&["decipher only"], 1 << 8, &[]);
        let purposes = [
            ("any", oid::ANY_EXTENDED_KEY_USAGE),
            ("server auth", oid::SERVER_AUTH),
            ("client auth", oid::CLIENT_AUTH),
            ("code signing", oid::CODE_SIGNING),
            ("email protection", oid::EMAIL_PROTECTION),
            ("ipsec end system", oid::IPSEC_END_SYSTEM),
            ("ipsec tunnel", oid::IPSEC_TUNNEL),
            ("ipsec user", oid::IPSEC_USER),
            ("timestamping", oid::TIME_STAMPING),
            ("ocsp signing", oid::OCSP_SIGNING),
            ("microsoft sgc", oid::MICROSOFT_SGC),
            ("netscape sgc", oid::NETSCAPE_SGC),
        ];
        for (text, purpose) in purposes {
            check(&[text], 0, &[purpose]);
        }
        // Whatever the order asked, Go's order is written.
        let mut reversed = purposes.map(|(text, _)| text);
        reversed.reverse();
        check(&reversed, 0, &purposes.map(|(_, purpose)| purpose));
    }

    /// Case 57.
    #[test]
    fn unknown_usages_are_named() {
        let error = Usage::parse_all(&["client auth", "bad", "Signing"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unrecognized usage values: ["bad" "Signing"]"#
        );
    }
}
