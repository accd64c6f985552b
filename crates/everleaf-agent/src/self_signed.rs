//! The serving certificate that a kubelet makes for itself where nobody issues one: what the TLS
//! endpoint shows when the agent keeps no serving certificate.
//!
//! Files, names and dates are a kubelet's (`pkg/kubelet/server`, `InitializeTLS`; client-go
//! `util/cert`): `kubelet.crt`, the leaf and the authority that signed it, whose key is thrown
//! away, and `kubelet.key`, in the cert dir. A pair that is there is used as it is, whoever made
//! it. One of this kind is replaced when four fifths of its life are over; a kubelet's stays, and
//! ends.

use crate::client::access::read_credential;
use crate::config::Config;
use crate::kubeconfig::{ClientCertificate, Source, write_private, write_public};
use everleaf_pki::{
    Chain, Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey, Subject, Template, Usage,
};
use everleaf_rotation::Monotonic;
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a certificate lasts, from an hour before it is made.
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long before it is made a certificate begins.
const BACKDATE: SignedDuration = SignedDuration::from_hours(1);
/// How long a look at the files counts. It is no reason to wake up: the agent does so every minute
/// anyway ([`NAP_MAX`](everleaf_rotation::NAP_MAX)).
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The pair, and when it was looked at.
pub(crate) struct SelfSigned {
    certificate: PathBuf,
    key: PathBuf,
    node_name: String,
    addresses: Vec<IpAddr>,
    look_at: Monotonic,
    /// What is shown.
    shown: Option<Leaf>,
    /// What stands in the way, as told.
    told: Option<String>,
}

/// What a look has brought.
#[derive(Debug)]
pub(crate) enum Found {
    /// The pair is another one.
    Other(Box<Credential>),
    /// Nothing new.
    Same,
    /// There is none that could be shown, and why: told once.
    Failed(String),
}

impl SelfSigned {
    /// For an agent that has a TLS endpoint and keeps no serving certificate.
    pub(crate) fn for_agent(config: &Config, now: Monotonic) -> Option<Self> {
        let is_wanted = config.tls_endpoint.is_some() && !config.serving;
        is_wanted.then(|| Self::new(&config.cert_dir, &config.node_name, &config.node_ips, now))
    }

    /// A first look is due at once.
    fn new(cert_dir: &Path, node_name: &str, addresses: &[IpAddr], now: Monotonic) -> Self {
        Self {
            certificate: cert_dir.join("kubelet.crt"),
            key: cert_dir.join("kubelet.key"),
            node_name: node_name.to_owned(),
            addresses: addresses.to_vec(),
            look_at: now,
            shown: None,
            told: None,
        }
    }

    /// Looks at the files, if it is time, and makes the pair where it is missing or has to be
    /// another one.
    pub(crate) fn look(&mut self, monotonic: Monotonic, wall: Timestamp) -> Found {
        if monotonic < self.look_at {
            return Found::Same;
        }
        self.look_at = monotonic + LOOK_INTERVAL;
        match self.read_or_make(wall) {
            Ok(credential) => {
                self.told = None;
                if self.shown.as_ref() == Some(credential.leaf()) {
                    return Found::Same;
                }
                self.shown = Some(credential.leaf().clone());
                Found::Other(Box::new(credential))
            }
            Err(error) if self.told.as_ref() == Some(&error) => Found::Same,
            Err(error) => {
                self.told = Some(error.clone());
                Found::Failed(error)
            }
        }
    }

    fn read_or_make(&self, now: Timestamp) -> Result<Credential, String> {
        let chain = read_chain(&self.certificate)?;
        let has_key = self
            .key
            .try_exists()
            .map_err(|error| in_file(&self.key, &error))?;
        match next(
            chain.as_ref().map(Chain::leaf),
            has_key,
            &self.node_name,
            now,
        ) {
            Next::Make => self.make(now),
            Next::Refuse => Err(format!(
                "{} and {} must be there as a pair, or neither: give the other one, or remove this one",
                self.certificate.display(),
                self.key.display()
            )),
            Next::Use { is_ours } => {
                let read = read_credential(&ClientCertificate {
                    certificate: Source::File(self.certificate.clone()),
                    key: Source::File(self.key.clone()),
                });
                match read {
                    // The certificate is written before the key: it ended in between.
                    Err(_) if is_ours => self.make(now),
                    read => read.map_err(|error| in_file(&self.certificate, &error)),
                }
            }
        }
    }

    fn make(&self, now: Timestamp) -> Result<Credential, String> {
        let (chain, key) = make(&self.node_name, &self.addresses, now)?;
        write_public(&self.certificate, chain.to_pem().as_bytes())
            .map_err(|error| in_file(&self.certificate, &error))?;
        write_private(&self.key, key.to_pem().as_bytes())
            .map_err(|error| in_file(&self.key, &error))?;
        Credential::new(chain, key).map_err(|error| error.to_string())
    }
}

/// What follows from the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// They are missing, or have to be others.
    Make,
    /// One of them is missing, and the other somebody's.
    Refuse,
    /// They are used.
    Use {
        /// They were made in this way.
        is_ours: bool,
    },
}

fn next(leaf: Option<&Leaf>, has_key: bool, node_name: &str, now: Timestamp) -> Next {
    let Some(leaf) = leaf else {
        return if has_key { Next::Refuse } else { Next::Make };
    };
    let is_ours = is_self_made(leaf, node_name);
    let lifetime = leaf.not_after().duration_since(leaf.not_before());
    let due = leaf.not_before() + lifetime * 4 / 5;
    match (is_ours, has_key) {
        (true, false) => Next::Make,
        (false, false) => Next::Refuse,
        // Made while the clock was ahead, or grown old.
        (true, true) if now < leaf.not_before() || now >= due => Next::Make,
        (is_ours, true) => Next::Use { is_ours },
    }
}

/// Whether its name is one that a kubelet, or this agent, gives to what it makes: `NAME@SECONDS`.
fn is_self_made(leaf: &Leaf, node_name: &str) -> bool {
    let name = leaf.subject().common_name.rsplit_once('@');
    name.is_some_and(|(host, seconds)| host == node_name && seconds.parse::<u64>().is_ok())
}

fn make(
    node_name: &str,
    addresses: &[IpAddr],
    now: Timestamp,
) -> Result<(Chain, PrivateKey), String> {
    let generate =
        || PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|error| error.to_string());
    let seconds = now.as_second();
    let begin = Timestamp::from_second(seconds).map_err(|error| error.to_string())? - BACKDATE;
    let end = begin + BACKDATE + LIFETIME;
    let authority = format!("{node_name}-ca@{seconds}");
    let authority = Issuer::self_signed(&authority, generate()?, serial()?, begin, end)
        .map_err(|error| error.to_string())?;
    let key = generate()?;
    let host_address: Option<IpAddr> = node_name.parse().ok();
    let mut ip_addresses: Vec<IpAddr> = host_address
        .into_iter()
        .chain(addresses.iter().copied())
        .collect();
    ip_addresses.dedup();
    let template = Template {
        subject: Subject {
            common_name: format!("{node_name}@{seconds}"),
            organizations: Vec::new(),
        },
        dns_names: host_address
            .is_none()
            .then(|| node_name.to_owned())
            .into_iter()
            .collect(),
        ip_addresses,
        ..Template::default()
    };
    let usages = [Usage::DigitalSignature, Usage::ServerAuth];
    let leaf = authority
        .issue_own(&template, key.public_key(), &usages, serial()?, begin, end)
        .map_err(|error| error.to_string())?;
    let all = vec![leaf.leaf().clone(), authority.certificate().clone()];
    let chain = Chain::new(all).map_err(|error| error.to_string())?;
    Ok((chain, key))
}

fn serial() -> Result<[u8; 16], String> {
    let mut serial = [0; 16];
    let random = aws_lc_rs::default_provider().secure_random;
    random
        .fill(&mut serial)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(serial)
}

/// `None`: there is no such file.
fn read_chain(path: &Path) -> Result<Option<Chain>, String> {
    match path.try_exists() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(error) => return Err(in_file(path, &error)),
    }
    let text = Source::File(path.to_owned())
        .read()
        .map_err(|error| error.to_string())?;
    let chain = Chain::from_pem(text.expose().as_bytes()).map_err(|error| in_file(path, &error))?;
    Ok(Some(chain))
}

fn in_file(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ca, hours, now};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// What a process that begins at `wall` shows.
        fn shown(&self, wall: Timestamp) -> Result<Credential, String> {
            let addresses = ["10.0.0.7".parse().unwrap()];
            let mut pair = SelfSigned::new(self.0.path(), "n1", &addresses, Monotonic::default());
            match pair.look(Monotonic::default(), wall) {
                Found::Other(credential) => Ok(*credential),
                Found::Failed(error) => Err(error),
                Found::Same => panic!("it is new to this process"),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    fn serial_of(credential: &Credential) -> String {
        credential.leaf().serial().to_string()
    }

    #[test]
    fn the_pair_is_a_kubelets_and_stays_until_it_is_old() {
        let home = Home::new();
        let first = home.shown(now()).unwrap();
        let leaf = first.leaf();
        assert!(is_self_made(leaf, "n1"), "{:?}", leaf.subject());
        assert_eq!(leaf.dns_names(), ["n1"]);
        assert_eq!(leaf.ip_addresses(), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        let [_, authority] = first.chain().certificates() else {
            panic!("leaf and authority");
        };
        assert!(leaf.is_signed_by(authority));
        let mode = |name| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("kubelet.crt"), mode("kubelet.key")), (0o644, 0o600));
        let serial = serial_of(&first);
        assert_eq!(
            serial_of(&home.shown(now() + hours(290 * 24)).unwrap()),
            serial
        );
        let second = home.shown(now() + hours(293 * 24)).unwrap();
        assert_ne!(serial_of(&second), serial);
        // The clock had been wrong.
        let third = home.shown(now()).unwrap();
        assert_ne!(serial_of(&third), serial_of(&second));
    }

    #[test]
    fn what_was_interrupted_is_made_anew_and_what_is_somebodys_is_left_alone() {
        let home = Home::new();
        let first = serial_of(&home.shown(now()).unwrap());
        fs::remove_file(home.path("kubelet.key")).unwrap();
        let second = serial_of(&home.shown(now()).unwrap());
        assert_ne!(second, first);
        let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        fs::write(home.path("kubelet.key"), other.to_pem().as_bytes()).unwrap();
        assert_ne!(serial_of(&home.shown(now()).unwrap()), second);
        fs::remove_file(home.path("kubelet.crt")).unwrap();
        let error = home.shown(now()).unwrap_err();
        assert!(error.contains("must be there as a pair"), "{error}");

        let theirs = Ca::new("theirs").server(now() - hours(9000), now() - hours(1));
        fs::write(home.path("kubelet.crt"), theirs.chain().to_pem()).unwrap();
        let error = home.shown(now()).unwrap_err();
        assert!(error.contains("kubelet.crt"), "{error}");
        fs::write(home.path("kubelet.key"), theirs.key().to_pem().as_bytes()).unwrap();
        let shown = home.shown(now()).unwrap();
        assert_eq!(serial_of(&shown), serial_of(&theirs), "ended, and theirs");
        fs::remove_file(home.path("kubelet.key")).unwrap();
        assert!(home.shown(now()).is_err());
        assert!(!home.path("kubelet.key").exists());
    }

    #[test]
    fn trouble_is_told_once_and_tried_again() {
        let home = Home::new();
        let mut pair = SelfSigned::new(&home.path("file/pki"), "n1", &[], Monotonic::default());
        fs::write(home.path("file"), "in the way").unwrap();
        let later = |seconds| Monotonic::default() + Duration::from_secs(seconds);
        assert!(matches!(pair.look(later(0), now()), Found::Failed(_)));
        assert!(matches!(pair.look(later(60), now()), Found::Same));
        fs::remove_file(home.path("file")).unwrap();
        assert!(
            matches!(pair.look(later(70), now()), Found::Same),
            "too soon"
        );
        assert!(matches!(pair.look(later(120), now()), Found::Other(_)));
        assert!(matches!(pair.look(later(180), now()), Found::Same));
    }
}
