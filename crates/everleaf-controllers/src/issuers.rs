//! The issuers of the configured signers: loading their CA files, and noticing new ones.
//!
//! A CA is rotated by replacing its files. They are compared byte by byte on every look, so no file
//! system event can be missed, and a pair is used only when it is complete and valid: a certificate
//! whose key has not arrived yet, an emptied file, two certificates, a pair that has expired or has
//! not begun all leave the old CA signing, as kubernetes 1.37
//! `pkg/controller/certificates/signer/ca_provider.go` does. So does one that clients could not
//! tell from the old one (`succession`). Who looks, and when, is the shell's affair.

mod files;
mod succession;
#[cfg(test)]
mod tests;

use crate::builtin::BuiltinSigner;
use crate::config::{CaFiles, Config, IssuerSource};
use crate::notice::Notice;
use everleaf_pki::Issuer;
use files::FileBytes;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use succession::Succession;

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
    /// That CA, until it is replaced.
    pub fn new(issuer: Arc<Issuer>) -> Self {
        Self(Arc::new(RwLock::new(issuer)))
    }

    /// The CA that signs now.
    pub fn current(&self) -> Arc<Issuer> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has another CA sign from the next certificate on.
    pub fn replace(&self, issuer: Arc<Issuer>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = issuer;
    }

    /// Whether it is the same place, whatever stands there.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Arc<Issuer>> for SharedIssuer {
    fn from(issuer: Arc<Issuer>) -> Self {
        Self::new(issuer)
    }
}

/// Where an issuer came from, and what is remembered about that place.
struct Origin {
    files: CaFiles,
    /// The files as they were when the present issuer was made of them.
    loaded: FileBytes,
    /// The last trouble that was told, so that it is told once.
    refused: Option<String>,
}

/// What the settings say about all issuers.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Longest validity that is granted.
    pub signing_duration: Duration,
    /// Whether ends are spread before the end of the CA.
    pub spread_ca_end: bool,
}

impl Terms {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            signing_duration: config.signing_duration,
            spread_ca_end: config.spread_ca_end,
        }
    }
}

/// One CA and the signers that it serves.
struct Authority<S> {
    issuer: SharedIssuer,
    /// `None`: in memory, nothing to look at.
    origin: Option<Origin>,
    signers: Vec<S>,
    /// The smallest threshold of [`EXPIRY_DAYS`] that was told, or -1 for "expired".
    told_days: Option<i64>,
    /// Whether it was told that this CA has not begun.
    told_unbegun: bool,
    /// Whether it was told what is doubtful about this CA.
    told_doubts: bool,
}

/// See the module documentation. `S` tells signers apart.
pub struct Issuers<S = BuiltinSigner> {
    terms: Terms,
    authorities: Mutex<Vec<Authority<S>>>,
    by_signer: BTreeMap<S, SharedIssuer>,
}

impl<S: Clone + Display + Ord> Issuers<S> {
    /// Loads every source; signers that name the same files share one CA.
    ///
    /// # Errors
    /// For the first pair that is missing, empty, not exactly one CA certificate, or not a match.
    pub fn load(
        sources: &BTreeMap<S, IssuerSource>,
        terms: Terms,
    ) -> Result<(Self, Vec<Notice>), IssuerError> {
        let mut authorities: Vec<Authority<S>> = Vec::new();
        let mut notices = Vec::new();
        for (signer, source) in sources {
            let same = authorities
                .iter_mut()
                .find(|authority| authority.is_from(source));
            if let Some(authority) = same {
                authority.signers.push(signer.clone());
                continue;
            }
            let mut authority = match source {
                IssuerSource::Memory(issuer) => Authority::new(issuer.clone(), None),
                IssuerSource::Files(files) => Authority::from_files(files, terms)?,
            };
            authority.signers.push(signer.clone());
            authorities.push(authority);
        }
        let mut by_signer = BTreeMap::new();
        for authority in &authorities {
            notices.extend(authority.loaded_notice(Succession::Other));
            for signer in &authority.signers {
                by_signer.insert(signer.clone(), authority.issuer.clone());
            }
        }
        Ok((
            Self {
                terms,
                authorities: Mutex::new(authorities),
                by_signer,
            },
            notices,
        ))
    }

    /// The CA of each signer that runs.
    pub fn by_signer(&self) -> &BTreeMap<S, SharedIssuer> {
        &self.by_signer
    }

    /// Looks at all files again and swaps what changed to something valid. Blocks on the disk.
    pub fn reload(&self, now: Timestamp) -> Vec<Notice> {
        self.authorities()
            .iter_mut()
            .filter_map(|authority| authority.reload(self.terms, now))
            .collect()
    }

    /// What should be told about CAs that are doubtful, have not begun or end soon; each threshold
    /// once.
    pub fn check(&self, now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        for authority in self.authorities().iter_mut() {
            notices.extend(authority.doubts(self.terms.signing_duration, now));
            notices.extend(authority.unbegun(now));
            notices.extend(authority.expiring(now));
        }
        notices
    }

    /// For each signer: the end of its CA, or of one above it, and whether the files on disk are
    /// the ones in use.
    pub fn standings(&self) -> Vec<(S, Timestamp, bool)> {
        let of = |authority: &Authority<S>| {
            let not_after = authority.issuer.current().limit();
            let in_use = authority
                .origin
                .as_ref()
                .is_none_or(|origin| origin.refused.is_none());
            authority
                .signers
                .iter()
                .map(move |signer| (signer.clone(), not_after, in_use))
                .collect::<Vec<_>>()
        };
        self.authorities().iter().flat_map(of).collect()
    }

    fn authorities(&self) -> MutexGuard<'_, Vec<Authority<S>>> {
        self.authorities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Clone + Display + Ord> Authority<S> {
    fn new(issuer: SharedIssuer, origin: Option<Origin>) -> Self {
        Self {
            issuer,
            origin,
            signers: Vec::new(),
            told_days: None,
            told_unbegun: false,
            told_doubts: false,
        }
    }

    fn from_files(files: &CaFiles, terms: Terms) -> Result<Self, IssuerError> {
        let fail = |reason| IssuerError {
            certificate: files.certificate.display().to_string(),
            key: files.key.display().to_string(),
            reason,
        };
        let loaded = FileBytes::read(files).map_err(fail)?;
        let issuer = loaded.issuer(files, terms).map_err(fail)?;
        let origin = Origin {
            files: files.clone(),
            loaded,
            refused: None,
        };
        Ok(Self::new(SharedIssuer::new(Arc::new(issuer)), Some(origin)))
    }

    fn is_from(&self, source: &IssuerSource) -> bool {
        match (source, &self.origin) {
            (IssuerSource::Files(files), Some(origin)) => *files == origin.files,
            (IssuerSource::Memory(issuer), None) => issuer.is(&self.issuer),
            _ => false,
        }
    }

    fn reload(&mut self, terms: Terms, now: Timestamp) -> Option<Notice> {
        let present = self.issuer.current();
        let origin = self.origin.as_mut()?;
        let outcome = FileBytes::read(&origin.files).and_then(|found| {
            if found == origin.loaded {
                return Ok(None);
            }
            let issuer = found.issuer(&origin.files, terms)?;
            check_usable(&issuer, now)?;
            let succession = succession::judge(present.certificate(), issuer.certificate())?;
            Ok(Some((found, issuer, succession)))
        });
        match outcome {
            Ok(None) => {
                origin.refused = None;
                None
            }
            Ok(Some((found, issuer, succession))) => {
                origin.loaded = found;
                origin.refused = None;
                self.issuer.replace(Arc::new(issuer));
                self.told_days = None;
                self.told_doubts = false;
                self.loaded_notice(succession)
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

    fn doubts(&mut self, signing_duration: Duration, now: Timestamp) -> Vec<Notice> {
        if std::mem::replace(&mut self.told_doubts, true) {
            return Vec::new();
        }
        let signers = self.signers_text();
        let doubts = self.issuer.current().doubts(signing_duration, now);
        let notices = doubts.into_iter().map(|doubt| Notice::CaDoubtful {
            signers: signers.clone(),
            doubt,
        });
        notices.collect()
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
        let not_after = self.issuer.current().limit();
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

    fn loaded_notice(&self, succession: Succession) -> Option<Notice> {
        let pair = self.origin.as_ref()?.pair_text();
        Some(Notice::CaLoaded {
            signers: self.signers_text(),
            pair,
            not_after: self.issuer.current().limit(),
            renewed: succession == Succession::Renewed,
        })
    }

    fn signers_text(&self) -> String {
        let names = self.signers.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(",")
    }
}

impl Origin {
    /// The pair as upstream's log names it.
    fn pair_text(&self) -> String {
        format!(
            "csr-controller::{}::{}",
            self.files.certificate.display(),
            self.files.key.display()
        )
    }
}

/// Whether an issuer of changed files can sign now.
fn check_usable(issuer: &Issuer, now: Timestamp) -> Result<(), String> {
    let (not_before, not_after) = (issuer.certificate().not_before(), issuer.limit());
    if not_after <= now {
        return Err(format!(
            "the new CA certificate, or one above it, has expired at {not_after}"
        ));
    }
    if now < not_before {
        return Err(format!(
            "the new CA certificate begins only at {not_before}; it will be used from then on"
        ));
    }
    Ok(())
}
