//! The API servers' certificate of a CA that comes, with all names that their present ones have.

use crate::up::data_dir::DataDir;
use crate::up::entropy;
use crate::up::ledger::Standing;
use anyhow::Result;
use everleaf_pki::{Chain, Credential, KeyAlgorithm, Leaf, PrivateKey, Subject, Template, Usage};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The API servers' certificate, and the link behind it.
pub(super) const CERTIFICATE: &str = "pki/apiserver.crt";
/// Its key.
pub(super) const KEY: &str = "pki/apiserver.key";
/// As kubeadm gives it.
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// With less left than this it is made anew.
const LEFT_MIN: SignedDuration = SignedDuration::from_hours(110 * 24);
/// Backdating, as every signer does.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// Names of API servers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerNames {
    dns: BTreeSet<String>,
    ips: BTreeSet<IpAddr>,
}

impl ServerNames {
    /// Those of a certificate as well.
    pub(super) fn take(&mut self, leaf: &Leaf) {
        self.dns.extend(leaf.dns_names().iter().cloned());
        self.ips.extend(leaf.ip_addresses().iter().copied());
    }
}

/// Makes it, unless it is there as it should be. A name that it once had, it keeps: an API server
/// that is away for a moment is not forgotten.
pub(super) fn ensure(
    dir: &DataDir,
    standing: &Standing,
    mut names: ServerNames,
    kind: KeyAlgorithm,
    now: Timestamp,
) -> Result<()> {
    let present = present(dir)?;
    if let Some(present) = &present {
        names.take(present.leaf());
    }
    let issuer = &standing.issuer;
    let is_right = |present: &Credential| {
        let mut has = ServerNames::default();
        has.take(present.leaf());
        has == names
            && present.leaf().is_signed_by(issuer.certificate())
            && present.chain().certificates()[1..] == *standing.link.as_slice()
            && present.leaf().not_after().duration_since(now) >= LEFT_MIN
    };
    if present.as_ref().is_some_and(is_right) || names == ServerNames::default() {
        return Ok(());
    }
    let key = PrivateKey::generate(kind)?;
    let template = Template {
        subject: Subject {
            common_name: "kube-apiserver".into(),
            organizations: Vec::new(),
        },
        dns_names: names.dns.into_iter().collect(),
        ip_addresses: names.ips.into_iter().collect(),
        uris: Vec::new(),
    };
    let end = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
    let usages = match key.public_key().is_ml_dsa() {
        true => vec![Usage::DigitalSignature, Usage::ServerAuth],
        false => vec![
            Usage::DigitalSignature,
            Usage::KeyEncipherment,
            Usage::ServerAuth,
        ],
    };
    let chain = issuer.issue_own(
        &template,
        key.public_key(),
        &usages,
        entropy::bytes()?,
        now.checked_sub(BACKDATE).unwrap_or(now),
        end.min(issuer.certificate().not_after()),
    )?;
    let chain = Chain::new([chain.certificates(), standing.link.as_slice()].concat())?;
    dir.write(KEY, &key.to_pem())?;
    dir.write(CERTIFICATE, &chain.to_pem())
}

fn present(dir: &DataDir) -> Result<Option<Credential>> {
    let (Some(chain), Some(key)) = (dir.read(CERTIFICATE)?, dir.read(KEY)?) else {
        return Ok(None);
    };
    let chain = Chain::from_pem(chain.as_bytes()).ok();
    let pair = chain.zip(PrivateKey::from_pem(&key).ok());
    Ok(pair.and_then(|(chain, key)| Credential::new(chain, key).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::Issuer;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn alone(name: &str) -> Standing {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2040-01-01T00:00:00Z"));
        Standing::alone(Issuer::self_signed(name, key, [1; 16], begin, end).unwrap())
    }

    fn names(dns: &[&str]) -> ServerNames {
        ServerNames {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            ips: BTreeSet::new(),
        }
    }

    #[test]
    fn it_is_made_once_and_keeps_every_name() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        let ca = alone("kubernetes");
        let now = at("2030-01-01T00:00:00Z");
        let make = |ca: &Standing, dns: &[&str], now| {
            ensure(&dir, ca, names(dns), KeyAlgorithm::EcdsaP256, now).unwrap();
            present(&dir).unwrap()
        };
        assert!(make(&ca, &[], now).is_none(), "nothing is known yet");
        let first = make(&ca, &["a"], now).unwrap();
        let again = make(&ca, &["a"], now).unwrap();
        assert_eq!(first.leaf().der(), again.leaf().der());
        let both = make(&ca, &["b"], now).unwrap();
        assert_eq!(both.leaf().dns_names(), ["a", "b"]);
        let worn = make(&ca, &["b"], at("2030-10-01T00:00:00Z")).unwrap();
        assert_ne!(both.leaf().der(), worn.leaf().der());
        let other = alone("other");
        let replaced = make(&other, &["b"], now).unwrap();
        assert!(replaced.leaf().is_signed_by(other.issuer.certificate()));
    }
}
