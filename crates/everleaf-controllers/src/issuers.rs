//! The issuers of the configured signers: loading their CA files, and noticing new ones.
//!
//! A CA is rotated by replacing its files. They are compared byte by byte on every look, so no
//! file system event can be missed, and a pair is used only when it is complete and valid: a
//! certificate whose key has not arrived yet, an emptied file, two certificates, a pair that
//! has expired or has not begun all leave the old CA signing, as kubernetes 1.37
//! `pkg/controller/certificates/signer/ca_provider.go` does. Who looks, and when, is the
//! shell's affair.

use crate::builtin::BuiltinSigner;
use crate::config::IssuerSource;
use crate::notice::Notice;
use everleaf_pki::{Issuer, pem};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use zeroize::Zeroizing;

/// Largest CA file that is read; a chain of ten with long names has a tenth of it.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// Days of remaining life at which people are told.
const EXPIRY_DAYS: [i64; 7] = [180, 90, 30, 14, 7, 3, 1];

/// The CA files of some signers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the signing CA {certificate} with key {key} cannot be used: {reason}")]
pub struct IssuerError {
    certificate: String,
    key: String,
    reason: String,
}

/// A CA that may be replaced while it signs.
#[derive(Clone)]
pub struct SharedIssuer(Arc<RwLock<Arc<Issuer>>>);

impl SharedIssuer {
    fn new(issuer: Arc<Issuer>) -> Self {
        Self(Arc::new(RwLock::new(issuer)))
    }

    /// The CA that signs now.
    pub fn current(&self) -> Arc<Issuer> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, issuer: Issuer) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(issuer);
    }
}

/// Bytes of a pair of files.
#[derive(Clone, PartialEq, Eq)]
struct PairBytes {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// Where an issuer came from, and what is remembered about that place.
struct Origin {
    certificate: PathBuf,
    key: PathBuf,
    /// The files as they were when the present issuer was made of them.
    loaded: PairBytes,
    /// The last trouble that was told, so that it is told once.
    refused: Option<String>,
}

/// One CA and the signers that it serves.
struct Authority {
    issuer: SharedIssuer,
    /// `None`: in memory, nothing to look at.
    origin: Option<Origin>,
    signers: Vec<BuiltinSigner>,
    /// The smallest threshold of [`EXPIRY_DAYS`] that was told, or -1 for "expired".
    told_days: Option<i64>,
    /// Whether it was told that this CA has not begun.
    told_unbegun: bool,
}

/// See the module documentation.
pub struct Issuers {
    authorities: Mutex<Vec<Authority>>,
    by_signer: BTreeMap<BuiltinSigner, SharedIssuer>,
}

impl Issuers {
    /// Loads every source; signers that name the same files share one CA.
    ///
    /// # Errors
    /// For the first pair that is missing, empty, not exactly one CA certificate, or not a match.
    pub fn load(
        sources: &BTreeMap<BuiltinSigner, IssuerSource>,
    ) -> Result<(Self, Vec<Notice>), IssuerError> {
        let mut authorities: Vec<Authority> = Vec::new();
        let mut notices = Vec::new();
        for (signer, source) in sources {
            let same = authorities
                .iter_mut()
                .find(|authority| authority.is_from(source));
            if let Some(authority) = same {
                authority.signers.push(*signer);
                continue;
            }
            let mut authority = match source {
                IssuerSource::Memory(issuer) => Authority {
                    issuer: SharedIssuer::new(Arc::clone(issuer)),
                    origin: None,
                    signers: Vec::new(),
                    told_days: None,
                    told_unbegun: false,
                },
                IssuerSource::Files { certificate, key } => {
                    Authority::from_files(certificate, key)?
                }
            };
            authority.signers.push(*signer);
            authorities.push(authority);
        }
        let mut by_signer = BTreeMap::new();
        for authority in &authorities {
            notices.extend(authority.loaded_notice());
            for signer in &authority.signers {
                by_signer.insert(*signer, authority.issuer.clone());
            }
        }
        Ok((
            Self {
                authorities: Mutex::new(authorities),
                by_signer,
            },
            notices,
        ))
    }

    /// The CA of each signer that runs.
    pub fn by_signer(&self) -> &BTreeMap<BuiltinSigner, SharedIssuer> {
        &self.by_signer
    }

    /// Looks at all files again and swaps what changed to something valid. Blocks on the disk.
    pub fn reload(&self, now: Timestamp) -> Vec<Notice> {
        self.authorities()
            .iter_mut()
            .filter_map(|authority| authority.reload(now))
            .collect()
    }

    /// What should be told about CAs that have not begun or end soon; each threshold once.
    pub fn check_dates(&self, now: Timestamp) -> Vec<Notice> {
        self.authorities()
            .iter_mut()
            .flat_map(|authority| [authority.unbegun(now), authority.expiring(now)])
            .flatten()
            .collect()
    }

    /// For each signer: the end of its CA, and whether the files on disk are the ones in use.
    pub fn standings(&self) -> Vec<(BuiltinSigner, Timestamp, bool)> {
        let of = |authority: &Authority| {
            let not_after = authority.issuer.current().certificate().not_after();
            let in_use = authority
                .origin
                .as_ref()
                .is_none_or(|origin| origin.refused.is_none());
            authority
                .signers
                .iter()
                .map(move |signer| (*signer, not_after, in_use))
                .collect::<Vec<_>>()
        };
        self.authorities().iter().flat_map(of).collect()
    }

    fn authorities(&self) -> MutexGuard<'_, Vec<Authority>> {
        self.authorities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authority {
    fn from_files(certificate: &Path, key: &Path) -> Result<Self, IssuerError> {
        let fail = |reason| IssuerError {
            certificate: certificate.display().to_string(),
            key: key.display().to_string(),
            reason,
        };
        let loaded = read_pair(certificate, key).map_err(fail)?;
        let issuer = parse(&loaded).map_err(fail)?;
        Ok(Self {
            issuer: SharedIssuer::new(Arc::new(issuer)),
            origin: Some(Origin {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                loaded,
                refused: None,
            }),
            signers: Vec::new(),
            told_days: None,
            told_unbegun: false,
        })
    }

    fn is_from(&self, source: &IssuerSource) -> bool {
        match (source, &self.origin) {
            (IssuerSource::Files { certificate, key }, Some(origin)) => {
                *certificate == origin.certificate && *key == origin.key
            }
            (IssuerSource::Memory(issuer), None) => Arc::ptr_eq(issuer, &self.issuer.current()),
            _ => false,
        }
    }

    fn reload(&mut self, now: Timestamp) -> Option<Notice> {
        let origin = self.origin.as_mut()?;
        let outcome = read_pair(&origin.certificate, &origin.key).and_then(|found| {
            if found == origin.loaded {
                return Ok(None);
            }
            let issuer = parse(&found)?;
            let (not_before, not_after) = (
                issuer.certificate().not_before(),
                issuer.certificate().not_after(),
            );
            if not_after <= now {
                return Err(format!("the new CA certificate has expired at {not_after}"));
            }
            if now < not_before {
                return Err(format!(
                    "the new CA certificate begins only at {not_before}; it will be used from then on"
                ));
            }
            Ok(Some((found, issuer)))
        });
        match outcome {
            Ok(None) => {
                origin.refused = None;
                None
            }
            Ok(Some((found, issuer))) => {
                origin.loaded = found;
                origin.refused = None;
                self.issuer.replace(issuer);
                self.told_days = None;
                self.loaded_notice()
            }
            Err(error) if origin.refused.as_ref() == Some(&error) => None,
            Err(error) => {
                origin.refused = Some(error.clone());
                let pair = origin.pair_text();
                Some(Notice::CaReloadFailed {
                    signers: self.signers_text(),
                    pair,
                    error,
                })
            }
        }
    }

    fn unbegun(&mut self, now: Timestamp) -> Option<Notice> {
        let not_before = self.issuer.current().certificate().not_before();
        let was_told = std::mem::replace(&mut self.told_unbegun, now < not_before);
        (self.told_unbegun && !was_told).then(|| Notice::CaNotBegun {
            signers: self.signers_text(),
            not_before,
        })
    }

    fn expiring(&mut self, now: Timestamp) -> Option<Notice> {
        let not_after = self.issuer.current().certificate().not_after();
        let left = now.duration_until(not_after);
        let days = if left.is_negative() {
            -1
        } else {
            left.as_hours() / 24
        };
        let threshold = if days < 0 {
            Some(-1)
        } else {
            EXPIRY_DAYS.into_iter().rfind(|limit| days <= *limit)
        };
        if threshold.is_none() || threshold == self.told_days {
            return None;
        }
        self.told_days = threshold;
        Some(Notice::CaExpiring {
            signers: self.signers_text(),
            not_after,
            days,
        })
    }

    fn loaded_notice(&self) -> Option<Notice> {
        let pair = self.origin.as_ref()?.pair_text();
        let not_after = self.issuer.current().certificate().not_after();
        Some(Notice::CaLoaded {
            signers: self.signers_text(),
            pair,
            not_after,
        })
    }

    fn signers_text(&self) -> String {
        self.signers
            .iter()
            .map(|signer| signer.name())
            .collect::<Vec<_>>()
            .join(",")
    }
}

impl Origin {
    /// The pair as upstream's log names it.
    fn pair_text(&self) -> String {
        format!(
            "csr-controller::{}::{}",
            self.certificate.display(),
            self.key.display()
        )
    }
}

fn parse(pair: &PairBytes) -> Result<Issuer, String> {
    let key = std::str::from_utf8(&pair.key).map_err(|_| "the key file is not PEM".to_owned())?;
    Issuer::from_pem(&pair.certificate, key).map_err(|error| {
        let holds = |bytes: &[u8], label: &str| pem::blocks(bytes).any(|block| block.label.ends_with(label));
        let are_swapped = holds(&pair.certificate, "PRIVATE KEY") && holds(&pair.key, "CERTIFICATE");
        if are_swapped {
            "the file of the certificate holds the key, and that of the key the certificate: name them the other way round"
                .to_owned()
        } else {
            error.to_string()
        }
    })
}

fn read_pair(certificate: &Path, key: &Path) -> Result<PairBytes, String> {
    Ok(PairBytes {
        certificate: read(certificate)?,
        key: Zeroizing::new(read(key)?),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(fail)?;
    // Opening a FIFO would wait for its writer.
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let length = metadata.len();
    if length > CA_FILE_BYTES_MAX {
        return Err(format!(
            "{} is too large for a CA file ({length} bytes)",
            path.display()
        ));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    if bytes.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{authority, authority_between, now};
    use everleaf_pki::SignerName;
    use jiff::SignedDuration;

    /// A directory with `ca.crt` and `ca.key`, and the sources that name them.
    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn write_pair(&self, issuer: &Issuer) {
            self.write("ca.crt", &issuer.certificate_pem());
            self.write("ca.key", &issuer.key().to_pem());
        }

        fn sources(&self) -> BTreeMap<BuiltinSigner, IssuerSource> {
            let source = IssuerSource::Files {
                certificate: self.path("ca.crt"),
                key: self.path("ca.key"),
            };
            BuiltinSigner::ALL
                .map(|signer| (signer, source.clone()))
                .into()
        }

        fn load(&self) -> Result<Issuers, IssuerError> {
            Issuers::load(&self.sources()).map(|(issuers, _)| issuers)
        }
    }

    fn days(count: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * count)
    }

    fn serial(issuers: &Issuers) -> String {
        let issuer = issuers.by_signer()[&BuiltinSigner::KubeletServing].current();
        issuer.certificate().fingerprint().to_string()
    }

    fn fingerprint(issuer: &Issuer) -> String {
        issuer.certificate().fingerprint().to_string()
    }

    /// New files are used (`ca_provider_test.go`), and four signers with the same files share one
    /// CA.
    #[test]
    fn a_new_pair_replaces_the_old_one() {
        let disk = Disk::new();
        disk.write_pair(&authority(days(10)));
        let (issuers, notices) = Issuers::load(&disk.sources()).unwrap();
        assert_eq!(notices.len(), 1, "one CA, told once: {notices:?}");
        let before = issuers.by_signer()[&BuiltinSigner::KubeletServing].current();
        assert_eq!(issuers.reload(now()), []);
        let same = issuers.by_signer()[&BuiltinSigner::KubeletServing].current();
        assert!(
            Arc::ptr_eq(&before, &same),
            "the same bytes, the same object"
        );

        let new = authority(days(20));
        disk.write_pair(&new);
        assert!(matches!(
            issuers.reload(now())[..],
            [Notice::CaLoaded { .. }]
        ));
        assert_eq!(serial(&issuers), fingerprint(&new));
    }

    /// Files that cannot be used (`ca_provider_test.go`, and three more): the old CA keeps
    /// signing, said once.
    #[test]
    fn a_pair_that_cannot_be_used_changes_nothing() {
        let old = authority(days(10));
        let other = authority(days(20));
        let both = format!("{}{}", old.certificate_pem(), other.certificate_pem());
        let expired = authority(days(0) - SignedDuration::from_hours(1));
        let cases: [(&str, &str, String); 6] = [
            ("does not match", "ca.crt", other.certificate_pem()),
            ("is empty", "ca.crt", String::new()),
            ("is empty", "ca.key", String::new()),
            ("expected 1 certificate, found 2", "ca.crt", both),
            ("private key", "ca.key", "no key".to_owned()),
            ("has expired", "", expired.certificate_pem()),
        ];
        for (expected, file, text) in cases {
            let disk = Disk::new();
            disk.write_pair(&old);
            let issuers = disk.load().unwrap();
            if file.is_empty() {
                disk.write_pair(&expired);
            } else {
                disk.write(file, &text);
            }
            match &issuers.reload(now())[..] {
                [Notice::CaReloadFailed { error, .. }] => {
                    assert!(error.contains(expected), "{expected}: {error}");
                }
                other => panic!("{expected}: {other:?}"),
            }
            assert_eq!(issuers.reload(now()), [], "{expected}: told once");
            assert_eq!(serial(&issuers), fingerprint(&old), "{expected}");
            assert!(
                issuers.standings().iter().all(|(_, _, in_use)| !in_use),
                "{expected}"
            );
            disk.write_pair(&other);
            assert_eq!(issuers.reload(now()).len(), 1, "{expected}: mended");
            assert_eq!(serial(&issuers), fingerprint(&other), "{expected}");
        }
    }

    #[test]
    fn a_removed_file_changes_nothing() {
        let disk = Disk::new();
        let old = authority(days(10));
        disk.write_pair(&old);
        let issuers = disk.load().unwrap();
        std::fs::remove_file(disk.path("ca.key")).unwrap();
        assert!(matches!(
            issuers.reload(now())[..],
            [Notice::CaReloadFailed { .. }]
        ));
        assert_eq!(serial(&issuers), fingerprint(&old));
        disk.write_pair(&old);
        assert_eq!(issuers.reload(now()), []);
        assert!(
            issuers.standings().iter().all(|(_, _, in_use)| *in_use),
            "it is back"
        );
    }

    /// Two certificates, and a missing file: the error names both files and the fault.
    #[test]
    fn errors_at_start() {
        let disk = Disk::new();
        let missing = disk.load().err().unwrap().to_string();
        assert!(
            missing.contains("ca.crt") && missing.contains("ca.key"),
            "{missing}"
        );
        assert!(missing.contains("No such file"), "{missing}");
        let issuer = authority(days(10));
        disk.write_pair(&issuer);
        disk.write("ca.crt", &issuer.certificate_pem().repeat(2));
        let twice = disk.load().err().unwrap().to_string();
        let upstream_and_hint = "expected 1 certificate, found 2: leave only the one that belongs to the key in the file";
        assert!(twice.contains(upstream_and_hint), "{twice}");
        disk.write("ca.crt", &issuer.key().to_pem());
        disk.write("ca.key", &issuer.certificate_pem());
        let swapped = disk.load().err().unwrap().to_string();
        assert!(
            swapped.contains("name them the other way round"),
            "{swapped}"
        );
        disk.write("ca.crt", &"x".repeat(2 << 20));
        assert!(disk.load().err().unwrap().to_string().contains("too large"));
        std::fs::remove_file(disk.path("ca.crt")).unwrap();
        std::fs::create_dir(disk.path("ca.crt")).unwrap();
        let directory = disk.load().err().unwrap().to_string();
        assert!(directory.contains("is not a regular file"), "{directory}");
    }

    /// A CA that was made by a clock ahead of ours: told until it has begun, and again should the
    /// clock be set back.
    #[test]
    fn a_ca_that_has_not_begun_is_told() {
        let begin = now() + days(3);
        let issuer = Arc::new(authority_between(begin, begin + days(300)));
        let sources = [(BuiltinSigner::KubeletServing, IssuerSource::Memory(issuer))].into();
        let (issuers, _) = Issuers::load(&sources).unwrap();
        let unbegun = Notice::CaNotBegun {
            signers: SignerName::KUBELET_SERVING.to_owned(),
            not_before: begin,
        };
        assert_eq!(issuers.check_dates(now()), std::slice::from_ref(&unbegun));
        assert_eq!(issuers.check_dates(now() + days(1)), [], "told once");
        assert_eq!(issuers.check_dates(begin), []);
        assert_eq!(issuers.check_dates(now()), [unbegun]);
    }

    #[test]
    fn a_new_pair_that_has_not_begun_waits() {
        let disk = Disk::new();
        let old = authority(days(10));
        disk.write_pair(&old);
        let issuers = disk.load().unwrap();
        let begin = now() + days(1);
        let new = authority_between(begin, begin + days(300));
        disk.write_pair(&new);
        match &issuers.reload(now())[..] {
            [Notice::CaReloadFailed { error, .. }] => {
                assert!(error.contains("begins only at"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(serial(&issuers), fingerprint(&old));
        assert_eq!(issuers.reload(begin).len(), 1);
        assert_eq!(serial(&issuers), fingerprint(&new));
    }

    #[test]
    fn the_end_is_announced_once_per_threshold() {
        let issuer = Arc::new(authority(days(40)));
        let sources = [(BuiltinSigner::KubeletServing, IssuerSource::Memory(issuer))].into();
        let (issuers, notices) = Issuers::load(&sources).unwrap();
        assert_eq!(notices, [], "nothing was read from disk");
        let told: Vec<i64> = (0..43)
            .flat_map(|day| issuers.check_dates(now() + days(day) + SignedDuration::from_secs(1)))
            .map(|notice| match notice {
                Notice::CaExpiring { days, .. } => days,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [39, 30, 14, 7, 3, 1, -1]);
    }
}
