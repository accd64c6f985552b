//! Finds certificates: in a directory, in a kubeconfig, in a PEM file. Reads, and judges nothing.

use anyhow::{Context, Result, bail};
use everleaf_agent::Kubeconfig;
use everleaf_agent::kubeconfig::{Source, Trust};
use everleaf_pki::{Chain, Credential, TrustBundle};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One chain, or what is there in place of one.
pub(super) struct Found {
    /// Where; for a kubeconfig with a note of what in it.
    pub(super) file: String,
    /// The chain, or why there is none.
    pub(super) content: Result<Chain, String>,
    /// The key beside it: none, one that matches, or why it cannot be used.
    pub(super) key: Option<Result<(), String>>,
    /// Authorities that it should chain to, if they are known.
    pub(super) anchors: Option<Arc<TrustBundle>>,
    /// Name of the dated file that a `-current` link points to.
    pub(super) link_to: Option<String>,
    /// Others may read the file although it holds a key.
    pub(super) key_is_readable_by_others: bool,
}

/// Everything that is at `path`.
pub(super) fn survey(path: &Path, anchors: Option<&Arc<TrustBundle>>) -> Result<Vec<Found>> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let anchors = anchors.cloned();
    if meta.is_dir() {
        directory(path, anchors)
    } else {
        file(path, anchors)
    }
}

/// The authorities of a bundle.
pub(super) fn anchors(path: &Path) -> Result<Arc<TrustBundle>> {
    let text = read(path)?;
    let bundle = TrustBundle::from_pem(text.as_bytes())
        .with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(Arc::new(bundle))
}

fn directory(path: &Path, given: Option<Arc<TrustBundle>>) -> Result<Vec<Found>> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("cannot read {}", path.display()))?;
    files.retain(|file| {
        let is_certificate = file.extension().is_some_and(|e| e == "pem" || e == "crt");
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        is_certificate && !is_hidden && !file.is_dir()
    });
    if files.is_empty() {
        return below(path, given.as_ref());
    }
    files.sort();
    let own_ca = path.join("ca.crt");
    let anchors = given.or_else(|| anchors(&own_ca).ok());
    Ok(files
        .iter()
        .map(|file| pem(file, anchors.clone()))
        .collect())
}

/// What is kept below a directory that holds no certificate itself: the data directory of `up`, a node's directory.
fn below(path: &Path, anchors: Option<&Arc<TrustBundle>>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for name in ["pki", "admin.conf", "kubelet.conf", "node/pki"] {
        let place = path.join(name);
        if place.exists() {
            found.extend(survey(&place, anchors)?);
        }
    }
    if found.is_empty() {
        bail!(
            "{} holds no certificates; name a cert dir, a kubeconfig or a PEM file",
            path.display()
        );
    }
    Ok(found)
}

fn file(path: &Path, given: Option<Arc<TrustBundle>>) -> Result<Vec<Found>> {
    let text = read(path)?;
    if !text.contains("-----BEGIN") || text.contains("current-context") {
        return kubeconfig(path, given);
    }
    let found = pem(path, given);
    if let Err(why) = &found.content {
        bail!("{}: {why}", path.display());
    }
    Ok(vec![found])
}

fn pem(path: &Path, anchors: Option<Arc<TrustBundle>>) -> Found {
    let text = read(path);
    let content = text
        .as_ref()
        .map_err(crate::failure::chain)
        .and_then(|text| Chain::from_pem(text.as_bytes()).map_err(|error| error.to_string()));
    let key = text.ok().and_then(|text| beside(path, &text));
    let is_readable = fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o044 != 0);
    let link_to = fs::read_link(path)
        .ok()
        .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    Found {
        file: path.display().to_string(),
        key_is_readable_by_others: is_readable
            && key.is_some()
            && path.extension().is_some_and(|e| e == "pem"),
        content,
        key,
        anchors,
        link_to,
    }
}

/// The key in the same text, or in the `.key` file of the same name.
fn beside(path: &Path, text: &str) -> Option<Result<(), String>> {
    let both = if text.contains("PRIVATE KEY-----") {
        text.to_owned()
    } else {
        format!(
            "{text}\n{}",
            read(&path.with_extension("key")).ok()?.as_str()
        )
    };
    Some(
        Credential::from_pem(both.as_bytes())
            .map(drop)
            .map_err(|error| error.to_string()),
    )
}

fn kubeconfig(path: &Path, given: Option<Arc<TrustBundle>>) -> Result<Vec<Found>> {
    let config = Kubeconfig::read(path)?;
    let mut found = Vec::new();
    let bundle = match &config.cluster.trust {
        Trust::Bundle(source) => Some(source),
        Trust::System | Trust::DangerouslyAnybody => None,
    };
    let authorities = bundle.and_then(|source| chain_of(source).ok());
    let anchors = given.or_else(|| {
        let certificates = authorities.as_ref()?.certificates();
        Some(Arc::new(certificates.iter().cloned().collect()))
    });
    let entry = |what: &str, content, key| Found {
        file: format!("{} ({what})", path.display()),
        content,
        key,
        anchors: anchors.clone(),
        link_to: None,
        key_is_readable_by_others: false,
    };
    if let Some(pair) = &config.user.client_certificate {
        let key = pair
            .key
            .read()
            .map_err(|error| error.to_string())
            .and_then(|key| {
                let certificate = pair.certificate.read().map_err(|error| error.to_string())?;
                let both = format!("{}\n{}", certificate.expose(), key.expose());
                Credential::from_pem(both.as_bytes())
                    .map(drop)
                    .map_err(|error| error.to_string())
            });
        found.push(entry(
            "client certificate",
            chain_of(&pair.certificate),
            Some(key),
        ));
    }
    if let Some(source) = bundle {
        found.push(entry("certificate authority", chain_of(source), None));
    }
    if found.is_empty() {
        bail!("kubeconfig {} holds no certificate", path.display());
    }
    Ok(found)
}

fn chain_of(source: &Source) -> Result<Chain, String> {
    let text = source.read().map_err(|error| match source {
        Source::File(path) => format!("{}: {error}", path.display()),
        Source::Inline(_) => error.to_string(),
    })?;
    Chain::from_pem(text.expose().as_bytes()).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<String>> {
    let shown = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .with_context(shown)?;
    Ok(zeroize::Zeroizing::new(
        String::from_utf8_lossy(&bytes).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};

    #[test]
    fn a_directory_of_directories_is_looked_into() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let refused = survey(root, None).err().unwrap().to_string();
        assert!(refused.contains("holds no certificates"), "{refused}");
        fs::create_dir_all(root.join("pki")).unwrap();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = ("2030-01-01T00:00:00Z", "2060-01-01T00:00:00Z");
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let issuer = Issuer::self_signed("ca", key, [1; 16], from, to).unwrap();
        fs::write(root.join("pki/ca.crt"), issuer.certificate_pem()).unwrap();
        let found = survey(root, None).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].file.ends_with("pki/ca.crt"), "{}", found[0].file);
    }
}
