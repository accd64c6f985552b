//! Certificates whose dates are near the play: what a signer would write into the status of a
//! PodCertificateRequest.
//!
//! The authority has always the same key, so the same wish gives the same text within a play.

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, date_time_ymd};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, SanType,
};

/// PKCS#8 of the authority's Ed25519 key: a seed of one byte again and again.
const KEY_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const SEED: [u8; 32] = [7; 32];

/// `REQUEST:FROM:SECONDS[:NAME]`.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// The fixture whose key is certified.
    pub(crate) request: &'a str,
    /// Beginning, in seconds from the beginning of the play.
    from: i64,
    /// Lifetime in seconds.
    seconds: i64,
    /// A DNS name, or with `@` an email address.
    name: Option<&'a str>,
}

impl<'a> Wish<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next().context("chain:REQUEST:FROM:SECONDS[:NAME]");
        let wish = Self {
            request: next()?,
            from: next()?.parse()?,
            seconds: next()?.parse()?,
            name: next().ok(),
        };
        if parts.next().is_some() {
            bail!("chain:REQUEST:FROM:SECONDS[:NAME]");
        }
        Ok(wish)
    }
}

/// The certificate, PEM.
pub(crate) fn make(wish: &Wish<'_>, request_der: &[u8], start: Timestamp) -> Result<String> {
    let key = KeyPair::try_from([&KEY_HEAD[..], &SEED].concat())?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "recordings-pods");
    let issuer = Issuer::new(authority, key);
    let request = CertificateSigningRequestParams::from_der(&request_der.into())?;
    let mut leaf = CertificateParams::new(Vec::new())?;
    let at = |seconds: i64| -> Result<_> {
        let time = start.checked_add(SignedDuration::from_secs(seconds))?;
        let since = std::time::Duration::from_secs(u64::try_from(time.as_second())?);
        Ok(date_time_ymd(1970, 1, 1) + since)
    };
    leaf.not_before = at(wish.from)?;
    leaf.not_after = at(wish.from + wish.seconds)?;
    leaf.serial_number = Some(7u64.into());
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name.push(DnType::CommonName, "pod");
    leaf.subject_alt_names = wish
        .name
        .map(|name| {
            let text = Ia5String::try_from(name)?;
            Ok(match name.contains('@') {
                true => SanType::Rfc822Name(text),
                false => SanType::DnsName(text),
            })
        })
        .into_iter()
        .collect::<Result<_>>()?;
    let signing = CertificateSigningRequestParams {
        params: leaf,
        public_key: request.public_key,
    };
    Ok(signing.signed_by(&issuer)?.pem().replace("\r\n", "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_is_the_same_text() {
        let start = "2026-01-02T03:04:05Z".parse().unwrap();
        let path = crate::data_dir().join("fixtures/pod.pem");
        let request = crate::merge::der(&std::fs::read_to_string(path).unwrap()).unwrap();
        let make = |text: &str| {
            let wish = Wish::parse(text).unwrap();
            make(&wish, &request, start).unwrap()
        };
        assert_eq!(make("pod:-60:3600"), make("pod:-60:3600"));
        assert_ne!(make("pod:-60:3600"), make("pod:-60:3600:a.example"));
        assert!(Wish::parse("pod:-60").is_err());
    }
}
