//! `everleaf ca renew`: the same CA with a later end, for CAs that are kept in files.

use crate::args::ca::RenewArgs;
use crate::up::authority::{is_own_name, latest_end};
use crate::up::entropy;
use crate::{input, print};
use anyhow::{Context, Result, bail};
use everleaf_agent::{Clock, SystemClock};
use everleaf_pki::{Chain, Issuer, pem};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Backdating, as every signer does.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Modes beyond these are not a certificate's.
const MODE_MASK: u32 = 0o777;

/// Renews, writes, and says what to do next.
pub(super) fn run(args: &RenewArgs) -> Result<ExitCode> {
    let (path, shown) = (&args.cert_file, args.cert_file.display());
    let text = input::read(path, FILE_BYTES_MAX).with_context(|| format!("--cert-file {shown}"))?;
    refuse_renewed_by_up(path, &text)?;
    let key = input::read(&args.key_file, FILE_BYTES_MAX)
        .with_context(|| format!("--key-file {}", args.key_file.display()))?;
    let key = pem::legible(&key);
    let issuer = Issuer::from_pem(&text, &key).with_context(|| {
        format!(
            "the CA of --cert-file {shown} and --key-file {} cannot be renewed",
            args.key_file.display()
        )
    })?;
    if pem::blocks(&text).count() > 1 {
        bail!(
            "--cert-file {shown} holds more than the CA's certificate, its key perhaps: only a file of the one certificate is replaced. Nothing is \
             changed; put the certificate into a file of its own"
        );
    }
    let now = SystemClock::new().wall();
    let end = end(&issuer, args.days, now)?;
    let begin = now.checked_sub(BACKDATE).unwrap_or(now);
    // What it has signed began when it had begun: the earlier of the two.
    let begin = begin.min(issuer.certificate().not_before());
    let renewed = issuer
        .renewed(entropy::bytes()?, begin, end)
        .with_context(|| format!("--cert-file {shown}"))?;
    let new = pem::encode("CERTIFICATE", renewed.der());
    let old = beside(path, "old");
    replace(&old, &text, path).with_context(|| format!("cannot write {}", old.display()))?;
    replace(path, new.as_bytes(), path).with_context(|| format!("cannot write {shown}"))?;
    print::answer(&format!(
        "{}: until {} (it was until {}); the certificate before is {}\n\nThe old certificate ends on its day wherever it is trusted. Put the new one \
         into every trust file, in the place of the old one:\n  --client-ca-file of API servers, --root-ca-file of controllers, kubeconfigs \
         (certificate-authority-data),\n  kube-public/cluster-info; see which are left: everleaf ca status",
        renewed.subject_text(),
        renewed.not_after(),
        issuer.certificate().not_after(),
        old.display()
    ))?;
    if is_kept_by_up(path) {
        print::answer(
            "\n`everleaf up` reads its CA when it starts, and then gives it to kube-public/cluster-info and its own kubeconfigs: restart it.",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `up` renews the CA that it has made by itself; while one replaces another, its file has both.
fn refuse_renewed_by_up(path: &Path, text: &[u8]) -> Result<()> {
    let chain = Chain::from_pem(text).ok();
    let mut all = chain.iter().flat_map(Chain::certificates);
    if is_kept_by_up(path) && all.any(|one| is_own_name(&one.subject().common_name)) {
        bail!(
            "{} is the CA of `everleaf up`, which renews it by itself when it starts and the end is near: nothing is changed. Another CA in its \
             place: everleaf ca roll start",
            path.display()
        );
    }
    Ok(())
}

/// Whether it lies in the data directory of `up`, which reads its CA only when it starts.
pub(super) fn is_kept_by_up(path: &Path) -> bool {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let data_dir = path.parent().and_then(Path::parent);
    data_dir.is_some_and(|dir| dir.join("lock").exists() && dir.join("store").exists())
}

/// When the new certificate ends.
fn end(issuer: &Issuer, days: u32, now: Timestamp) -> Result<Timestamp> {
    let lifetime = SignedDuration::from_hours(24 * i64::from(days));
    let end = now
        .checked_add(lifetime)
        .unwrap_or(latest_end())
        .min(latest_end());
    let end = Timestamp::from_second(end.as_second())?;
    let before = issuer.certificate().not_after();
    if end <= before {
        bail!(
            "the CA is good until {before} already, and --days {days} ends at {end}: what it has signed for longer would end sooner. Nothing is changed; \
             ask for more days"
        );
    }
    Ok(end)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

/// Replaces a file as a whole, with mode and owner of `like`, as far as that may be.
fn replace(path: &Path, bytes: &[u8], like: &Path) -> Result<()> {
    let meta = fs::metadata(like)?;
    // What a link leads to is replaced; the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = beside(&path, "tmp");
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(meta.mode() & MODE_MASK))?;
        // Only root may give files away, and only root has to.
        let owner = rustix::fs::Uid::from_raw(meta.uid());
        let group = rustix::fs::Gid::from_raw(meta.gid());
        let _ = rustix::fs::fchown(&file, Some(owner), Some(group));
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        // Of a name alone it is empty.
        let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Chain, KeyAlgorithm, PrivateKey};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ca(end: Timestamp) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let begin = at("2020-01-01T00:00:00Z");
        Issuer::self_signed("kubernetes", key, [1; 16], begin, end).unwrap()
    }

    #[test]
    fn an_end_is_never_earlier_than_before() {
        let now = at("2030-01-01T00:00:00Z");
        let issuer = ca(at("2031-01-01T00:00:00Z"));
        assert_eq!(end(&issuer, 366, now).unwrap(), at("2031-01-02T00:00:00Z"));
        let refused = end(&issuer, 365, now).unwrap_err().to_string();
        assert!(refused.contains("is good until 2031-01-01"), "{refused}");
        assert_eq!(end(&issuer, 36500, now).unwrap(), latest_end());
    }

    #[test]
    fn the_files_keep_their_modes_and_links() {
        let home = tempfile::tempdir().unwrap();
        let (real, link) = (home.path().join("real.crt"), home.path().join("ca.crt"));
        let issuer = ca(SystemClock::new().wall() + SignedDuration::from_hours(24));
        fs::write(&real, issuer.certificate_pem()).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("real.crt", &link).unwrap();
        let key_file = home.path().join("ca.key");
        fs::write(&key_file, issuer.key().unwrap().to_pem()).unwrap();
        let args = RenewArgs {
            cert_file: link.clone(),
            key_file,
            days: 100,
        };
        run(&args).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        for name in ["real.crt", "ca.crt.old"] {
            let mode = fs::metadata(home.path().join(name)).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o644, "{name}");
        }
        let new = Chain::from_pem(&fs::read(&real).unwrap()).unwrap();
        assert!(new.leaf().is_signed_by(issuer.certificate()));
        assert_ne!(new.leaf().serial(), issuer.certificate().serial());
        assert!(!home.path().join("real.crt.tmp").exists());
        // Of another key, and of a data directory.
        let other = ca(at("2031-01-01T00:00:00Z"));
        fs::write(&args.key_file, other.key().unwrap().to_pem()).unwrap();
        assert!(run(&args).is_err());
        for name in ["lock", "store"] {
            fs::write(home.path().join(name), "").unwrap();
        }
        let path = home.path().join("pki/ca.crt");
        let end = at("2031-01-01T00:00:00Z");
        let [foreign, own, next] = ["our-nodes", "everleaf-ca", "everleaf-ca-2026"].map(|name| {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let begin = at("2021-01-01T00:00:00Z");
            let ca = Issuer::self_signed(name, key, [1; 16], begin, end).unwrap();
            ca.certificate_pem()
        });
        assert!(refuse_renewed_by_up(&path, foreign.as_bytes()).is_ok());
        for text in [own.clone(), [own, next].concat()] {
            let refused = refuse_renewed_by_up(&path, text.as_bytes()).unwrap_err();
            assert!(refused.to_string().contains("everleaf up"), "{refused}");
        }
    }
}
