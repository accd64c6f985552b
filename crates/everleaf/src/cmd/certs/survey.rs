//! Finds certificates: in a directory, in a kubeconfig, in a PEM file. Reads, and judges nothing.

use crate::input;
use anyhow::{Context, Result, bail};
use everleaf_agent::Kubeconfig;
use everleaf_agent::kubeconfig::{ClientCertificate, Source, Trust};
use everleaf_pki::{Chain, Credential, Leaf, TrustBundle, pem};
use everleaf_rotation::store::dir::read_file;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Authorities, and where they stand.
pub(super) struct Anchors {
    pub(super) bundle: TrustBundle,
    /// For sentences: a path, or what of a kubeconfig.
    pub(super) origin: String,
}

/// One chain, or what is there in place of one.
pub(super) struct Found {
    /// Where; for a kubeconfig with a note of what in it.
    pub(super) file: String,
    /// The chain, or why there is none.
    pub(super) content: Result<Chain, String>,
    /// The key beside it: none, one that matches, or why it cannot be used.
    pub(super) key: Option<Result<(), String>>,
    /// Authorities that it should chain to, if they are known.
    pub(super) anchors: Option<Arc<Anchors>>,
    /// Name of the dated file that a `-current` link points to.
    pub(super) link_to: Option<String>,
    /// A dated file of a cert dir whose `-current` link leads to another one.
    pub(super) is_left_behind: bool,
    /// Others may read the file although it holds a key.
    pub(super) key_is_readable_by_others: bool,
}

/// Everything that is at `path`.
pub(super) fn survey(path: &Path, anchors: Option<&Arc<Anchors>>) -> Result<Vec<Found>> {
    if path == Path::new("-") {
        let bytes = input::to_end(&mut std::io::stdin(), FILE_BYTES_MAX);
        let text = pem::legible(&bytes.context("cannot read stdin")?);
        return in_text(Path::new("(stdin)"), &text, anchors.cloned());
    }
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let anchors = anchors.cloned();
    if meta.is_dir() {
        directory(path, anchors)
    } else {
        in_text(path, &read_named(path)?, anchors)
    }
}

/// The authorities of a bundle.
pub(super) fn anchors(path: &Path) -> Result<Arc<Anchors>> {
    let text = read_named(path)?;
    let bundle = TrustBundle::from_pem(text.as_bytes())
        .with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(Arc::new(Anchors {
        bundle,
        origin: path.display().to_string(),
    }))
}

fn directory(path: &Path, given: Option<Arc<Anchors>>) -> Result<Vec<Found>> {
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
        .flat_map(|file| pem_file(file, anchors.clone()).each_chain())
        .collect())
}

/// What is kept below a directory that holds no certificate itself: the data directory of `up`, a
/// node's directory.
fn below(path: &Path, anchors: Option<&Arc<Anchors>>) -> Result<Vec<Found>> {
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

fn in_text(path: &Path, text: &str, given: Option<Arc<Anchors>>) -> Result<Vec<Found>> {
    if text.trim().is_empty() {
        let is_pipe = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
        let why = if is_pipe {
            "a pipe that nobody writes to"
        } else {
            "empty"
        };
        bail!("{} is {why}", path.display());
    }
    let is_kubeconfig = |line: &str| {
        let members = ["current-context", "clusters", "contexts", "users"];
        let line = line.trim_start_matches(['{', ' ', '"']);
        members.iter().any(|member| line.starts_with(member))
    };
    if text.lines().any(is_kubeconfig) {
        return kubeconfig(path, text, given);
    }
    if !text.contains("-----BEGIN") {
        bail!(
            "{} is neither PEM nor a kubeconfig (a certificate in DER becomes PEM by: openssl x509 -inform DER)",
            path.display()
        );
    }
    let found = pem_text(path, Ok(text), given);
    if let Err(why) = &found.content {
        bail!("{}: {why}", path.display());
    }
    Ok(found.each_chain())
}

/// The chains of a file, in order: authorities that follow a certificate that is none belong to it,
/// and each authority of a bundle stands for itself.
fn chains_in(chain: Chain) -> Vec<Chain> {
    let mut chains: Vec<Vec<Leaf>> = Vec::new();
    for certificate in chain.certificates() {
        let last = chains.last_mut().filter(|last| !last[0].is_ca());
        match last.filter(|_| certificate.is_ca()) {
            Some(last) => last.push(certificate.clone()),
            None => chains.push(vec![certificate.clone()]),
        }
    }
    chains
        .into_iter()
        .filter_map(|chain| Chain::new(chain).ok())
        .collect()
}

impl Found {
    fn in_kubeconfig(file: String, content: Result<Chain, String>) -> Self {
        Self {
            file,
            content,
            key: None,
            anchors: None,
            link_to: None,
            is_left_behind: false,
            key_is_readable_by_others: false,
        }
    }

    /// One of each chain that the file holds. A key belongs to the first.
    fn each_chain(mut self) -> Vec<Self> {
        let Ok(chain) = &self.content else {
            return vec![self];
        };
        let mut chains = chains_in(chain.clone()).into_iter();
        let count = chains.len();
        let file = self.file.clone();
        let mark = |position: usize| format!("{file} ({position} of {count})");
        if let Some(first) = chains.next() {
            self.content = Ok(first);
        }
        if count > 1 {
            self.file = mark(1);
        }
        let rest: Vec<Self> = chains
            .enumerate()
            .map(|(index, chain)| Self {
                file: mark(index + 2),
                content: Ok(chain),
                key: None,
                anchors: self.anchors.clone(),
                link_to: self.link_to.clone(),
                is_left_behind: self.is_left_behind,
                key_is_readable_by_others: false,
            })
            .collect();
        std::iter::once(self).chain(rest).collect()
    }
}

fn pem_file(path: &Path, anchors: Option<Arc<Anchors>>) -> Found {
    let text = read(path);
    let text = text.as_ref().map(|text| text.as_str());
    pem_text(path, text.map_err(crate::failure::chain), anchors)
}

fn pem_text(path: &Path, text: Result<&str, String>, anchors: Option<Arc<Anchors>>) -> Found {
    let content = text
        .clone()
        .and_then(|text| Chain::from_pem(text.as_bytes()).map_err(|error| error.to_string()));
    let key = text.ok().and_then(|text| beside(path, text));
    let meta = fs::metadata(path);
    let is_readable = meta.is_ok_and(|meta| meta.is_file() && meta.mode() & 0o044 != 0);
    let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    Found {
        file: path.display().to_string(),
        key_is_readable_by_others: is_readable
            && key.is_some()
            && path.extension().is_some_and(|e| e == "pem"),
        is_left_behind: is_left_behind(path),
        content,
        key,
        anchors,
        link_to: fs::read_link(path)
            .ok()
            // What leads to an open file, as /dev/stdin does, is no link of a cert dir.
            .filter(|target| path.is_file() && target.extension().is_some())
            .and_then(name),
    }
}

/// Whether `path` is `PREFIX-DATE.pem`, and `PREFIX-current.pem` beside it leads to another file.
fn is_left_behind(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let Some((start, _)) = stem.match_indices("-2").find(|(at, _)| {
        let date = &stem.as_bytes()[at + 1..];
        date.len() >= 19
            && date
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'-')
    }) else {
        return false;
    };
    let current = path.with_file_name(format!("{}-current.pem", &stem[..start]));
    match (fs::canonicalize(current), fs::canonicalize(path)) {
        (Ok(current), Ok(path)) => current != path,
        _ => false,
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

/// What every context of it names, each thing once.
fn kubeconfig(path: &Path, text: &str, given: Option<Arc<Anchors>>) -> Result<Vec<Found>> {
    let contexts = Kubeconfig::contexts(text, path)?;
    let has_several = contexts.len() > 1;
    let mut found = Vec::new();
    let (mut clients, mut bundles) = (Vec::new(), Vec::new());
    for name in contexts {
        let label = |what: &str| match has_several {
            true => format!("{} ({what} of context {name})", path.display()),
            false => format!("{} ({what})", path.display()),
        };
        let config = match Kubeconfig::parse_context(text, path, &name) {
            Ok(config) => config,
            Err(error) if has_several => {
                found.push(Found::in_kubeconfig(
                    label("nothing"),
                    Err(error.to_string()),
                ));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let bundle = match config.cluster.trust {
            Trust::Bundle(source) => Some(source),
            Trust::System | Trust::DangerouslyAnybody => None,
        };
        let authorities = bundle.as_ref().map(chain_of);
        let anchors = given.clone().or_else(|| {
            let chain = authorities.as_ref()?.as_ref().ok()?;
            Some(Arc::new(Anchors {
                bundle: chain.certificates().iter().cloned().collect(),
                origin: label("certificate authority"),
            }))
        });
        if let Some(pair) = config.user.client_certificate
            && !clients.contains(&pair)
        {
            found.push(Found {
                key: Some(key_of(&pair)),
                anchors,
                ..Found::in_kubeconfig(label("client certificate"), chain_of(&pair.certificate))
            });
            clients.push(pair);
        }
        if let (Some(source), Some(chain)) = (bundle, authorities)
            && !bundles.contains(&source)
        {
            let authorities = Found::in_kubeconfig(label("certificate authority"), chain);
            found.extend(authorities.each_chain());
            bundles.push(source);
        }
    }
    if found.is_empty() {
        bail!("kubeconfig {} holds no certificate", path.display());
    }
    Ok(found)
}

/// Whether the key of a client certificate can be used with it.
fn key_of(pair: &ClientCertificate) -> Result<(), String> {
    let read = |source: &Source| source.read().map_err(|error| error.to_string());
    let (certificate, key) = (read(&pair.certificate)?, read(&pair.key)?);
    let both = format!("{}\n{}", certificate.expose(), key.expose());
    Credential::from_pem(both.as_bytes())
        .map(drop)
        .map_err(|error| error.to_string())
}

fn chain_of(source: &Source) -> Result<Chain, String> {
    let text = source.read().map_err(|error| error.to_string())?;
    Chain::from_pem(text.expose().as_bytes()).map_err(|error| match source {
        Source::File(path) => format!("{}: {error}", path.display()),
        Source::Inline(_) => error.to_string(),
    })
}

/// What the command line names, which may be a pipe.
fn read_named(path: &Path) -> Result<Zeroizing<String>> {
    input::read(path, FILE_BYTES_MAX)
        .map(|bytes| pem::legible(&bytes))
        .with_context(|| format!("cannot read {}", path.display()))
}

/// What was found in a directory, where a pipe waits for somebody else.
fn read(path: &Path) -> Result<Zeroizing<String>> {
    read_file(path, FILE_BYTES_MAX)
        .map(|bytes| pem::legible(&bytes))
        .with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Template, Usage};

    #[test]
    fn a_directory_of_directories_is_looked_into() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let refused = survey(root, None).err().unwrap().to_string();
        assert!(refused.contains("holds no certificates"), "{refused}");
        fs::create_dir_all(root.join("pki")).unwrap();
        let issuer = authority("ca");
        fs::write(root.join("pki/ca.crt"), issuer.certificate_pem()).unwrap();
        let found = survey(root, None).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].file.ends_with("pki/ca.crt"), "{}", found[0].file);
    }

    fn authority(name: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = ("2030-01-01T00:00:00Z", "2060-01-01T00:00:00Z");
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        Issuer::self_signed(name, key, [1; 16], from, to).unwrap()
    }

    #[test]
    fn every_certificate_of_a_file_is_found() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("bundle.crt");
        let (first, second) = (authority("first"), authority("second"));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let ca = first.certificate();
        let leaf = first.issue_own(
            &Template::default(),
            key.public_key(),
            &[Usage::ServerAuth],
            [2; 16],
            ca.not_before(),
            ca.not_after(),
        );
        let (ca, other) = (first.certificate_pem(), second.certificate_pem());
        let leaf = leaf.unwrap().to_pem();
        for (text, lengths) in [
            (ca.clone(), &[1][..]),
            (format!("{ca}{other}"), &[1, 1]),
            (format!("{leaf}{ca}{other}"), &[3]),
            (format!("{leaf}{leaf}{ca}"), &[1, 2]),
            (format!("{ca}{leaf}{other}"), &[1, 2]),
        ] {
            fs::write(&file, text).unwrap();
            for place in [&*file, temporary.path()] {
                let found = survey(place, None).unwrap();
                let length = |found: &Found| found.content.as_ref().unwrap().certificates().len();
                let seen: Vec<usize> = found.iter().map(length).collect();
                assert_eq!(seen, lengths);
                let is_marked = found[0].file.ends_with(&format!(" (1 of {})", seen.len()));
                assert_eq!(is_marked, seen.len() > 1, "{}", found[0].file);
            }
        }
    }

    /// A check must not pass over what another context uses.
    #[test]
    fn every_context_of_a_kubeconfig_is_looked_at() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("config");
        let ca = authority("ca").certificate_pem();
        for (name, text) in [("ca.crt", ca.as_str()), ("two.crt", "nothing")] {
            fs::write(temporary.path().join(name), text).unwrap();
        }
        let text = "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: ca.crt}}]\n\
             users: [{name: one, user: {client-certificate: ca.crt, client-key: gone.key}},\n\
             {name: two, user: {client-certificate: two.crt, client-key: two.key}}, {name: three, user: {}}]\n\
             contexts: [{name: x, context: {cluster: c, user: one}}, {name: y, context: {cluster: c, user: two}},\n\
             {name: z, context: {cluster: c, user: three}}, {name: bad, context: {cluster: nope, user: one}}]\n";
        for current in ["current-context: y\n", ""] {
            fs::write(&file, format!("{text}{current}")).unwrap();
            let found = survey(&file, None).unwrap();
            let mut seen: Vec<(String, bool)> = found
                .iter()
                .map(|found| {
                    let (_, what) = found.file.split_once(" (").unwrap();
                    (what.to_owned(), found.content.is_ok())
                })
                .collect();
            seen.sort();
            let first = if current.is_empty() { "x" } else { "y" };
            let expected = [
                (format!("certificate authority of context {first})"), true),
                ("client certificate of context x)".to_owned(), true),
                ("client certificate of context y)".to_owned(), false),
                ("nothing of context bad)".to_owned(), false),
            ];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn what_holds_no_certificate_is_named_for_what_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("it");
        let der = authority("ca").certificate().der().to_vec();
        for (bytes, words) in [
            (Vec::new(), "is empty"),
            (b" \n".to_vec(), "is empty"),
            (der, "is neither PEM nor a kubeconfig"),
            (b"nothing".to_vec(), "is neither PEM nor a kubeconfig"),
            (
                b"kind: Config\nclusters: []\n".to_vec(),
                "holds no certificate",
            ),
        ] {
            fs::write(&file, bytes).unwrap();
            let refused = survey(&file, None).err().unwrap().to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn what_current_has_left_behind_is_known() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let (old, new) = (
            "kubelet-client-2030-01-01-00-00-00.pem",
            "kubelet-client-2031-01-01-00-00-00-1.pem",
        );
        for name in [old, new, "my-2-certs.pem"] {
            fs::write(path(name), "").unwrap();
        }
        assert!(!is_left_behind(&path(old)), "there is no -current");
        std::os::unix::fs::symlink(new, path("kubelet-client-current.pem")).unwrap();
        assert!(is_left_behind(&path(old)));
        for name in [new, "kubelet-client-current.pem", "my-2-certs.pem"] {
            assert!(!is_left_behind(&path(name)), "{name}");
        }
    }
}
