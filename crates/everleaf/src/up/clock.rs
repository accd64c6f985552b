//! Whether this host's clock can be believed enough to make certificates by it.
//!
//! A certificate bears its maker's time for ever, so a clock that is obviously wrong must not make
//! any: one that stands before there was an Everleaf, past the end of every authority, or before
//! files that are there already. Nothing is written here.

use anyhow::{Context, Result, bail};
use everleaf_pki::Chain;
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};

/// No clock that is right stands before this.
pub(crate) const EARLIEST: &str = "2024-01-01T00:00:00Z";
/// A file may be this much younger than now: a clock that counts local time as UTC, another host's
/// disk.
const TOLERATED: SignedDuration = SignedDuration::from_hours(24);
/// Folders below the data directory that are looked into.
const DEPTH_MAX: usize = 3;
/// Larger files are no certificates.
const CERTIFICATE_BYTES_MAX: u64 = 1 << 16;
/// What to do, in every message.
const REMEDY: &str = "set the clock and start again";

/// [`EARLIEST`] as an instant.
pub(crate) fn earliest() -> Timestamp {
    EARLIEST
        .parse()
        .expect("invariant: the constant is a well-formed instant")
}

/// Refuses to start by a clock that cannot be right; `latest` is the end of every authority. A
/// warning when it can be right, but then the files in `root` cannot: `makes_authority` turns it
/// into a refusal, too.
pub(crate) fn check(
    root: &Path,
    now: Timestamp,
    latest: Timestamp,
    makes_authority: bool,
) -> Result<Option<String>> {
    if now < earliest() {
        bail!(
            "this host's clock says {now:.0}, before there was an Everleaf: nobody whose clock is right would believe \
             certificates of that time; {REMEDY}"
        );
    }
    if now >= latest {
        bail!(
            "this host's clock says {now:.0}, and no certificate authority lasts beyond {latest}; {REMEDY}"
        );
    }
    let Some((made, path)) = newest(root, DEPTH_MAX)? else {
        return Ok(None);
    };
    if made.duration_since(now) <= TOLERATED {
        return Ok(None);
    }
    let finding = format!(
        "this host's clock says {now:.0}, but {} is of {made:.0}",
        path.display()
    );
    if makes_authority {
        bail!(
            "{finding}: a certificate authority of a wrong time would be believed by nobody; {REMEDY}, or choose an empty \
             --data-dir if that file's date is the wrong one"
        );
    }
    Ok(Some(format!(
        "{finding}: if the clock is behind, what is issued now ends too early; set the clock"
    )))
}

/// The latest instant at which a file below `folder` was written, or a certificate in one begins.
fn newest(folder: &Path, depth: usize) -> Result<Option<(Timestamp, PathBuf)>> {
    let unreadable = || format!("cannot look into the data directory {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(unreadable),
    };
    let mut newest = None;
    for entry in entries {
        let path = entry.with_context(unreadable)?.path();
        // What has gone meanwhile, and what a link names, is of no interest.
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let found = if meta.is_dir() && depth > 1 {
            self::newest(&path, depth - 1)?
        } else if meta.is_file() {
            let written = meta
                .modified()
                .ok()
                .and_then(|time| Timestamp::try_from(time).ok());
            let begins = (meta.len() <= CERTIFICATE_BYTES_MAX)
                .then(|| begin_of_certificate(&path))
                .flatten();
            written.max(begins).map(|made| (made, path))
        } else {
            None
        };
        newest = newest.max(found);
    }
    Ok(newest)
}

fn begin_of_certificate(path: &Path) -> Option<Timestamp> {
    let chain = Chain::from_pem(&fs::read(path).ok()?).ok()?;
    Some(chain.leaf().not_before())
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn clocks_that_cannot_be_right_start_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let latest = at("2100-01-01T00:00:00Z");
        let check = |now: &str| {
            check(temporary.path(), at(now), latest, true)
                .map_err(|error| error.to_string())
                .map(drop)
        };
        for (now, expected) in [
            ("1970-01-01T00:00:10Z", "before there was an Everleaf"),
            ("2023-12-31T23:59:59Z", "before there was an Everleaf"),
            ("2100-01-01T00:00:00Z", "no certificate authority lasts"),
        ] {
            let refused = check(now).unwrap_err();
            assert!(refused.contains(expected), "{now}: {refused}");
            assert!(
                refused.contains(now) && refused.contains("set the clock"),
                "{refused}"
            );
        }
        for now in [EARLIEST, "2026-11-29T00:00:00Z", "2099-12-31T00:00:00Z"] {
            assert_eq!(check(now), Ok(()), "{now}");
        }
        assert!(self::check(&temporary.path().join("absent"), at(EARLIEST), latest, true).is_ok());
    }

    #[test]
    fn a_clock_before_the_files_makes_no_authority() {
        let temporary = tempfile::tempdir().unwrap();
        let (root, latest) = (temporary.path(), at("2100-01-01T00:00:00Z"));
        fs::create_dir(root.join("pki")).unwrap();
        let file = root.join("pki/ca.key");
        fs::write(&file, "x").unwrap();
        let written = at("2030-05-01T00:00:00Z");
        let times = fs::FileTimes::new().set_modified(written.into());
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_times(times)
            .unwrap();

        let day_before = written - TOLERATED;
        assert_eq!(check(root, day_before, latest, true).unwrap(), None);
        let earlier = day_before - SignedDuration::from_secs(1);
        let refused = check(root, earlier, latest, true).unwrap_err().to_string();
        for words in [
            "ca.key is of 2030-05-01T00:00:00Z",
            "2030-04-29T23:59:59Z",
            "set the clock",
        ] {
            assert!(refused.contains(words), "{refused}");
        }
        let warning = check(root, earlier, latest, false).unwrap().unwrap();
        assert!(warning.contains("ends too early"), "{warning}");

        // A restored backup has new files, but its certificates say when they were made.
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let begin = at("2035-01-01T00:00:00Z");
        let leaf = Issuer::self_signed("x", key, [1; 16], begin, latest).unwrap();
        fs::write(root.join("pki/x.crt"), leaf.certificate_pem()).unwrap();
        let refused = check(root, written, latest, true).unwrap_err().to_string();
        assert!(
            refused.contains("x.crt is of 2035-01-01T00:00:00Z"),
            "{refused}"
        );
    }
}
