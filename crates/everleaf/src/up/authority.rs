//! The certificate authority of a data directory and the certificates that `up` issues to itself.
//!
//! Owns when each of them is made again. [`ensure`] is level-triggered: it looks at what is on disk
//! and makes what is missing or no longer right, so a start that was killed anywhere is completed
//! by the next one. Keys are written before the certificates that need them.

use super::clock;
use super::data_dir::DataDir;
use super::entropy;
use super::ledger::{Ledger, Standing};
use anyhow::{Context, Result, anyhow};
use everleaf_api::authorities::Announcement;
use everleaf_node::places::{CA_CERTIFICATE, CA_KEY, STORE};
use everleaf_pki::{
    Chain, Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey, Subject, Template, Usage,
};
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The API server's certificate.
pub(crate) const SERVER_CERTIFICATE: &str = "pki/apiserver.crt";
/// The API server's key.
pub(crate) const SERVER_KEY: &str = "pki/apiserver.key";
/// Authority of front proxies: published, so that those who look for one find it. Nobody has its
/// key.
const FRONT_PROXY_CA: &str = "pki/front-proxy-ca.crt";
/// Key that signs the tokens of service accounts.
pub(crate) const SERVICE_ACCOUNT_KEY: &str = "pki/sa.key";
/// Its public half.
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "pki/sa.pub";

/// Subject of an authority that we made, or what it begins with; only such a one is renewed by us.
pub(super) const CA_NAME: &str = "everleaf-ca";
/// Subject of the authority of front proxies.
const FRONT_PROXY_CA_NAME: &str = "everleaf-front-proxy-ca";
/// Shortest validity of an authority.
const CA_LIFETIME_MIN: SignedDuration = SignedDuration::from_hours(30 * 365 * 24);
/// No authority outlives the century: X.509 programs that count in 32 or 33 bits end about then.
const CA_NOT_AFTER_MAX: &str = "2100-01-01T00:00:00Z";
/// How far at least the authority's and the server's notBefore lie back, so that a node whose clock
/// is behind still connects.
const BACKDATE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Backdating of ordinary certificates, as every Kubernetes signer does.
const LEAF_BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Validity of `admin.conf`.
const ADMIN_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// A gain smaller than this is not worth a new authority certificate.
const CA_GAIN_MIN: SignedDuration = SignedDuration::from_hours(24);

/// The authority and what it issued to this process.
pub(crate) struct Authority {
    /// Signs for nodes.
    pub(crate) issuer: Arc<Issuer>,
    /// `ca.crt`: whom to trust. While the CA is being replaced, both.
    pub(crate) ca_pem: String,
    /// The same, read.
    pub(crate) anchors: Vec<Leaf>,
    /// What nodes are told of the authorities, once one was replaced.
    pub(crate) announcement: Option<Announcement>,
    /// `front-proxy-ca.crt`.
    pub(crate) front_proxy_ca_pem: String,
    /// `sa.key`.
    pub(crate) service_account_key: Arc<PrivateKey>,
    /// The kind of the keys that are made.
    pub(crate) key_algorithm: KeyAlgorithm,
    /// The API server's chain and key.
    pub(crate) server: Credential,
    /// What an operator should hear, such as an authority that ends too soon.
    pub(crate) remarks: Vec<String>,
}

/// What the certificates should say.
pub(crate) struct Wanted {
    /// Longest lifetime of what will be signed.
    pub(crate) signing_duration: Duration,
    /// DNS names of the API server.
    pub(crate) dns_names: Vec<String>,
    /// Addresses of the API server.
    pub(crate) ip_addresses: Vec<IpAddr>,
    /// The kind of the keys that are made.
    pub(crate) key_algorithm: KeyAlgorithm,
}

/// Makes what is missing or no longer right; returns what is in force.
pub(crate) fn ensure(dir: &DataDir, wanted: &Wanted, now: Timestamp) -> Result<Authority> {
    let mut remarks = Vec::new();
    let ledger = Ledger::read(dir)?;
    let standing = match &ledger.roll {
        Some(roll) => Ledger::in_force(dir, roll, now)?,
        None => {
            let alone = ensure_ca(dir, wanted, now, &mut remarks)?;
            Ledger::tidy(dir)?;
            Standing::alone(alone)
        }
    };
    let server = ensure_server(dir, &standing, wanted, now, &mut remarks)?;
    let announcement = ledger.announcement(&standing)?;
    let ca_pem = standing.bundle()?;
    let Standing {
        issuer, anchors, ..
    } = standing;
    Ok(Authority {
        ca_pem,
        anchors,
        announcement,
        service_account_key: Arc::new(ensure_service_account_key(dir, &mut remarks)?),
        front_proxy_ca_pem: ensure_front_proxy_ca(dir, now)?,
        issuer: Arc::new(issuer),
        key_algorithm: wanted.key_algorithm,
        server,
        remarks,
    })
}

/// kube-controller-manager wants to know whom to believe as a front proxy, and complains for ever
/// when there is nobody. So there is an authority, and its key is thrown away: no front proxy can
/// exist.
pub(crate) fn ensure_front_proxy_ca(dir: &DataDir, now: Timestamp) -> Result<String> {
    if let Some(pem) = dir.read(FRONT_PROXY_CA)?
        && Chain::from_pem(pem.as_bytes()).is_ok_and(|chain| chain.leaf().not_before() <= now)
    {
        return Ok(pem.to_string());
    }
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let serial = entropy::bytes()?;
    let begin = begin_at(now);
    let issuer = Issuer::self_signed(FRONT_PROXY_CA_NAME, key, serial, begin, latest_end())?;
    let pem = issuer.certificate_pem();
    dir.write(FRONT_PROXY_CA, &pem)?;
    Ok(pem)
}

/// Where what must be valid by every clock begins, made by a clock that says `now`. Should that one
/// be years ahead, it is valid all the same once the clock has been set.
pub(super) fn begin_at(now: Timestamp) -> Timestamp {
    let earliest = clock::earliest();
    now.checked_sub(BACKDATE)
        .map_or(earliest, |begin| begin.min(earliest))
}

/// When an authority was made, as near as its dates tell: what is made here begins years before.
pub(crate) fn made_at(ca: &Leaf) -> Timestamp {
    let begin = ca.not_before();
    match is_own_name(&ca.subject().common_name) {
        true => begin.checked_add(BACKDATE).unwrap_or(begin),
        false => begin,
    }
}

/// No authority ends after this.
pub(crate) fn latest_end() -> Timestamp {
    CA_NOT_AFTER_MAX
        .parse()
        .expect("invariant: the constant is a well-formed instant")
}

/// When an authority made now should end.
pub(super) fn ca_not_after(signing_duration: Duration, now: Timestamp) -> Timestamp {
    let latest = latest_end();
    let twice = SignedDuration::try_from(signing_duration.saturating_mul(2));
    let lifetime = twice.unwrap_or(SignedDuration::MAX).max(CA_LIFETIME_MIN);
    now.checked_add(lifetime).unwrap_or(latest).min(latest)
}

fn ensure_ca(
    dir: &DataDir,
    wanted: &Wanted,
    now: Timestamp,
    remarks: &mut Vec<String>,
) -> Result<Issuer> {
    let signing_duration = wanted.signing_duration;
    let key = dir.read(CA_KEY)?;
    let certificate = dir.read(CA_CERTIFICATE)?;
    refuse_lost(dir, certificate.is_some(), key.is_some())?;
    let key = match key {
        Some(key) => key,
        None => {
            let key = PrivateKey::generate(wanted.key_algorithm)?.to_pem();
            dir.write(CA_KEY, &key)?;
            key
        }
    };
    let Some(certificate) = certificate else {
        return make_ca(dir, CA_NAME, &key, signing_duration, now);
    };
    let issuer = Issuer::from_pem(certificate.as_bytes(), &key).with_context(|| {
        format!(
            "the certificate authority {} is not usable",
            dir.path(CA_CERTIFICATE).display()
        )
    })?;
    let ca = issuer.certificate();
    let name = ca.subject().common_name.clone();
    let is_ours = is_own_name(&name);
    let begin = ca.not_before();
    if !is_ours {
        check_dates(dir, ca, now)?;
    }
    let why = if now < begin {
        format!("begins only at {begin}, so the clock was ahead when it was made")
    } else if is_ours && ends_too_soon(ca, signing_duration, now) {
        let gain = ca_not_after(signing_duration, now).duration_since(ca.not_after());
        if gain <= CA_GAIN_MIN {
            return Ok(issuer);
        }
        format!("ends at {}", ca.not_after())
    } else {
        return Ok(issuer);
    };
    let renewed = make_ca(dir, &name, &key, signing_duration, now)?;
    remarks.push(format!(
        "the certificate authority {why}: it is renewed with the same key, from {} to {}",
        renewed.certificate().not_before(),
        renewed.certificate().not_after()
    ));
    Ok(renewed)
}

/// What is made after the first authority, and is there: only a directory that never had one gets a
/// new one by itself.
const MADE_LATER: [&str; 4] = [SERVER_CERTIFICATE, "admin.conf", "node/pki", STORE];

/// Refuses to make another authority where there has been one: whatever the old one has signed, and
/// every node has its certificate from it, would be worth nothing from then on.
fn refuse_lost(dir: &DataDir, has_certificate: bool, has_key: bool) -> Result<()> {
    let evidence = MADE_LATER.into_iter().find(|name| dir.path(name).exists());
    let shown = |name: &str| dir.path(name).display().to_string();
    let evidence = match (has_certificate, has_key, evidence) {
        (true, true, _) | (false, _, None) => return Ok(()),
        (true, false, _) => CA_CERTIFICATE,
        (false, _, Some(evidence)) => evidence,
    };
    let (missing, is, them) = match (has_certificate, has_key) {
        (true, _) => (shown(CA_KEY), "is", "it"),
        (false, true) => (shown(CA_CERTIFICATE), "is", "it"),
        (false, false) => (
            format!("{} and {}", shown(CA_CERTIFICATE), shown(CA_KEY)),
            "are",
            "them",
        ),
    };
    let how = match has_key {
        true => format!(
            "To mend it, put {them} back from a copy, or out of a kubeconfig of this cluster: kubectl --kubeconfig {} config view --raw -o \
             jsonpath='{{.clusters[0].cluster.certificate-authority-data}}' | base64 -d > {missing}",
            shown("admin.conf")
        ),
        false => format!(
            "To mend it, put the key back from a copy of this directory ({}), and the certificate with it",
            shown(CA_KEY)
        ),
    };
    Err(anyhow!(
        "the certificate authority is incomplete: {missing} {is} missing, although there has been one ({} is there). Another one is not made by \
         itself: no node, kubelet or kubeconfig would believe it, and nothing would believe what the old one signed. {how}. Only if it is \
         lost for good, begin anew: put another authority's ca.crt and ca.key there, or choose an empty --data-dir; every node then has to \
         bootstrap again",
        shown(evidence)
    ))
}

/// Somebody else's authority, which is not renewed here, has to be in force.
fn check_dates(dir: &DataDir, ca: &Leaf, now: Timestamp) -> Result<()> {
    let certificate = dir.path(CA_CERTIFICATE);
    let certificate = certificate.display();
    let (begin, end) = (ca.not_before(), ca.not_after());
    if now < begin {
        return Err(anyhow!(
            "the certificate authority {certificate} begins only at {begin}, and this host's clock says {now:.0}: nobody could \
             connect; set the clock if it is behind, or put an authority there that has begun"
        ));
    }
    if now >= end {
        return Err(anyhow!(
            "the certificate authority {certificate} ended at {end}, and this host's clock says {now:.0}: whoever made it has to \
             renew it, or put another authority there, with its key (every node then has to bootstrap again)"
        ));
    }
    Ok(())
}

/// Whether what is signed now, or soon, would be cut short.
fn ends_too_soon(ca: &Leaf, signing_duration: Duration, now: Timestamp) -> bool {
    let left = ca.not_after().duration_since(now);
    SignedDuration::try_from(signing_duration).map_or(true, |wanted| left < wanted)
}

/// Whether an authority of this name was made here: the first, or one in the place of another.
pub(crate) fn is_own_name(name: &str) -> bool {
    let rest = name.strip_prefix(CA_NAME);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn make_ca(
    dir: &DataDir,
    name: &str,
    key: &str,
    signing_duration: Duration,
    now: Timestamp,
) -> Result<Issuer> {
    let key = PrivateKey::from_pem(key)
        .with_context(|| format!("{} is not usable", dir.path(CA_KEY).display()))?;
    let not_after = ca_not_after(signing_duration, now);
    let issuer = Issuer::self_signed(name, key, entropy::bytes()?, begin_at(now), not_after)?;
    dir.write(CA_CERTIFICATE, &issuer.certificate_pem())?;
    Ok(issuer)
}

/// The API server's certificate ends when the authority ends: its key lies beside the authority's,
/// so a shorter life would protect nothing, and a node with a wrong clock must still connect.
fn ensure_server(
    dir: &DataDir,
    standing: &Standing,
    wanted: &Wanted,
    now: Timestamp,
    remarks: &mut Vec<String>,
) -> Result<Credential> {
    let template = Template {
        subject: Subject {
            common_name: "kube-apiserver".into(),
            organizations: Vec::new(),
        },
        dns_names: wanted.dns_names.clone(),
        ip_addresses: wanted.ip_addresses.clone(),
        ..Template::default()
    };
    let issuer = &standing.issuer;
    let ca = issuer.certificate();
    remark_kind(ca, wanted, remarks);
    let key = dir
        .read(SERVER_KEY)?
        .and_then(|pem| PrivateKey::from_pem(&pem).ok());
    let chain = dir
        .read(SERVER_CERTIFICATE)?
        .and_then(|pem| Chain::from_pem(pem.as_bytes()).ok());
    if let (Some(key), Some(chain)) = (key, chain)
        && let Ok(present) = Credential::new(chain, key)
    {
        let leaf = present.leaf();
        let same_names = leaf.satisfies(&template).is_ok()
            && leaf.dns_names().len() == template.dns_names.len()
            && leaf.ip_addresses().len() == template.ip_addresses.len();
        let lasts = leaf.not_before() <= now && leaf.not_after() >= ca.not_after();
        let has_link = present.chain().certificates()[1..] == *standing.link.as_slice();
        let same_kind = present.key().algorithm() == wanted.key_algorithm;
        if same_kind && same_names && lasts && has_link && leaf.is_signed_by(ca) {
            return Ok(present);
        }
        if !standing
            .anchors
            .iter()
            .any(|anchor| leaf.is_signed_by(anchor))
        {
            remarks.push(format!(
                "{} is another authority than at the last start: what the old one signed is not believed any more; nodes join again with \
                 bootstrap-kubelet.conf of this directory, and admin.conf is made again",
                dir.path(CA_CERTIFICATE).display()
            ));
        }
    }
    let key = PrivateKey::generate(wanted.key_algorithm)?;
    let chain = issuer.issue_own(
        &template,
        key.public_key(),
        &usages(&key, Usage::ServerAuth),
        entropy::bytes()?,
        begin_at(now),
        ca.not_after(),
    )?;
    let chain = Chain::new([chain.certificates(), standing.link.as_slice()].concat())?;
    dir.write(SERVER_KEY, &key.to_pem())?;
    dir.write(SERVER_CERTIFICATE, &chain.to_pem())?;
    Ok(Credential::new(chain, key)?)
}

/// A client certificate of the group that may do everything.
///
/// kubeadm gives `admin.conf` the group `kubeadm:cluster-admins` since 1.29, so that it can be
/// taken away by removing a binding. Here the file lies beside the authority's key, which can make
/// any group: `system:masters` is honest, and works even when the access rules are broken.
pub(crate) fn issue_admin(
    issuer: &Issuer,
    kind: KeyAlgorithm,
    now: Timestamp,
) -> Result<Credential> {
    let key = PrivateKey::generate(kind)?;
    let template = Template {
        subject: Subject {
            common_name: "kubernetes-admin".into(),
            organizations: vec!["system:masters".into()],
        },
        ..Template::default()
    };
    let not_after = now
        .checked_add(ADMIN_LIFETIME)
        .unwrap_or(Timestamp::MAX)
        .min(issuer.certificate().not_after());
    let chain = issuer.issue_own(
        &template,
        key.public_key(),
        &usages(&key, Usage::ClientAuth),
        entropy::bytes()?,
        now.checked_sub(LEAF_BACKDATE).unwrap_or(now),
        not_after,
    )?;
    Ok(Credential::new(chain, key)?)
}

/// The authority stays what it is until it is replaced.
fn remark_kind(ca: &Leaf, wanted: &Wanted, remarks: &mut Vec<String>) {
    let kind = wanted.key_algorithm;
    let is_asked_for = kind != KeyAlgorithm::EcdsaP256;
    if is_asked_for && ca.public_key().algorithm() != Ok(kind) {
        remarks.push(format!(
            "the authority {} has a key for {}, not for {kind} as --key-algorithm says: what it signs for {kind} keys is \
             only as strong as that; `everleaf ca roll start` replaces it by one with a key for {kind}",
            ca.subject_text(),
            ca.public_key().kind()
        ));
    }
}

/// What a certificate of this process's own is for. ML-DSA keys only sign (RFC 9881 5).
fn usages(key: &PrivateKey, purpose: Usage) -> Vec<Usage> {
    match key.public_key().is_ml_dsa() {
        true => vec![Usage::DigitalSignature, purpose],
        false => vec![Usage::DigitalSignature, Usage::KeyEncipherment, purpose],
    }
}

/// Whether 30 % or less of a certificate's life is left, it has not begun (the clock was ahead when
/// it was made, and is not any more), or it is not this authority's.
pub(crate) fn is_worn(leaf: &Leaf, issuer: &Issuer, now: Timestamp) -> bool {
    let left = leaf.not_after().duration_since(now).as_secs();
    left.saturating_mul(10) <= leaf.lifetime().seconds.saturating_mul(3)
        || now < leaf.not_before()
        || !leaf.is_signed_by(issuer.certificate())
}

fn ensure_service_account_key(dir: &DataDir, remarks: &mut Vec<String>) -> Result<PrivateKey> {
    let key = match dir.read(SERVICE_ACCOUNT_KEY)? {
        Some(pem) => PrivateKey::from_pem(&pem).with_context(|| {
            format!("{} is not usable", dir.path(SERVICE_ACCOUNT_KEY).display())
        })?,
        None => {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
            dir.write(SERVICE_ACCOUNT_KEY, &key.to_pem())?;
            if dir.path(SERVICE_ACCOUNT_PUBLIC_KEY).exists() {
                remarks.push(format!(
                    "{} was gone, and a new key is made: tokens of service accounts that were made before are not believed any more",
                    dir.path(SERVICE_ACCOUNT_KEY).display()
                ));
            }
            key
        }
    };
    let public = everleaf_pki::pem::encode("PUBLIC KEY", key.public_key().spki_der());
    dir.write_if_changed(SERVICE_ACCOUNT_PUBLIC_KEY, &public)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_outlives_what_it_signs_until_the_century_ends() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let years = |years: u64| Duration::from_secs(years * 365 * 86_400);
        for (signing, expected) in [
            (years(1), "2059-12-25T00:00:00Z"),
            (years(10), "2059-12-25T00:00:00Z"),
            (years(20), "2069-12-22T00:00:00Z"),
            (years(100), "2100-01-01T00:00:00Z"),
            (Duration::MAX, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(ca_not_after(signing, now).to_string(), expected);
        }
    }

    #[test]
    fn the_age_of_an_authority_is_counted_since_it_was_made() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let key = || PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let make = |name: &str| {
            let ca = Issuer::self_signed(name, key(), [1; 16], begin_at(now), latest_end());
            ca.unwrap().certificate().clone()
        };
        assert_eq!(made_at(&make(CA_NAME)), now);
        assert_eq!(made_at(&make("everleaf-ca-1a2b3c4d")), now);
        assert_eq!(made_at(&make("kubernetes")), begin_at(now));
    }

    #[test]
    fn a_certificate_is_worn_late_in_its_life_and_before_it_begins() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let end = ca_not_after(Duration::ZERO, now);
        let issuer = Issuer::self_signed(CA_NAME, key, [1; 16], now - BACKDATE, end).unwrap();
        let admin = issue_admin(&issuer, KeyAlgorithm::EcdsaP256, now).unwrap();
        let days = |days: i64| now + SignedDuration::from_hours(24 * days);
        for (day, worn) in [
            (-1, true),
            (0, false),
            (255, false),
            (256, true),
            (400, true),
        ] {
            assert_eq!(is_worn(admin.leaf(), &issuer, days(day)), worn, "day {day}");
        }
    }
}
