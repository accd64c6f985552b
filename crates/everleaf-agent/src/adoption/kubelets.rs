//! Kubelets that run on this machine and write to the same files.

use super::Place;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A kubelet's cert dir when no flag names one (Kubernetes: `cmd/kubelet/app/options/options.go`).
const CERT_DIR_DEFAULT: &str = "/var/lib/kubelet/pki";
/// Largest command line that is looked at.
const COMMAND_LINE_BYTES_MAX: u64 = 1 << 20;

/// The process numbers of the kubelets that have a file of `place`. A kubelet in a container has
/// its own files, whatever their names.
pub(super) fn running(place: &Place) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = Path::new("/proc").join(&name);
        let path = process.join("cmdline");
        // Whoever has ended meanwhile is no writer any more.
        let Ok(line) = everleaf_rotation::store::dir::read_file(&path, COMMAND_LINE_BYTES_MAX)
        else {
            continue;
        };
        let words: Vec<&str> = line
            .split(|byte| *byte == 0)
            .map(|word| std::str::from_utf8(word).unwrap_or_default())
            .collect();
        if is_writer(&words, place, |theirs, ours| {
            is_same(&process, theirs, ours)
        }) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether this is the command line of a kubelet that has the place's kubeconfig, configuration or
/// cert dir.
fn is_writer(words: &[&str], place: &Place, is_same: impl Fn(&Path, &Path) -> bool) -> bool {
    let program = |word: Option<&&str>| {
        let name = Path::new(word?).file_name()?;
        name.to_str().map(ToOwned::to_owned)
    };
    let is_kubelet = match program(words.first()).as_deref() {
        Some("kubelet") => true,
        Some("hyperkube") => words.get(1) == Some(&"kubelet"),
        _ => false,
    };
    if !is_kubelet {
        return false;
    }
    let cert_dir = flag(words, "--cert-dir").unwrap_or(CERT_DIR_DEFAULT);
    let theirs = [
        (Some(cert_dir), &place.cert_dir),
        (flag(words, "--kubeconfig"), &place.kubeconfig),
        (flag(words, "--config"), &place.kubelet_config),
    ];
    theirs
        .into_iter()
        .any(|(theirs, ours)| theirs.is_some_and(|theirs| is_same(Path::new(theirs), ours)))
}

/// The last value of a flag, as `--flag=value` or `--flag value`.
pub(super) fn flag<'w>(words: &[&'w str], name: &str) -> Option<&'w str> {
    let mut value = None;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.strip_prefix(name) {
            Some("") => value = rest.next().copied(),
            Some(joined) if joined.starts_with('=') => value = joined.get(1..),
            _ => {}
        }
    }
    value
}

/// Whether a path of that process is this file of ours.
fn is_same(process: &Path, theirs: &Path, ours: &Path) -> bool {
    let seen: PathBuf = match theirs.strip_prefix("/") {
        Ok(below) => process.join("root").join(below),
        Err(_) => process.join("cwd").join(theirs),
    };
    match (fs::metadata(&seen), fs::metadata(ours)) {
        (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()),
        // Not ours to look at: the name has to do.
        (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => theirs == ours,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_known_by_each_of_its_files() {
        let place = Place {
            kubeconfig: "/etc/kubernetes/kubelet.conf".into(),
            cert_dir: CERT_DIR_DEFAULT.into(),
            kubelet_config: "/var/lib/kubelet/config.yaml".into(),
        };
        let is_writer = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            is_writer(&words, &place, |theirs, ours| theirs == ours)
        };
        let elsewhere = "--cert-dir=/elsewhere";
        for line in [
            "/usr/bin/kubelet".to_owned(),
            "hyperkube kubelet".to_owned(),
            format!("kubelet {elsewhere} --kubeconfig /etc/kubernetes/kubelet.conf"),
            format!("kubelet {elsewhere} --config=/var/lib/kubelet/config.yaml"),
            format!("kubelet {elsewhere} --cert-dir=/var/lib/kubelet/pki"),
        ] {
            assert!(is_writer(&line), "{line}");
        }
        for line in [
            format!("kubelet {elsewhere}"),
            "vi /var/lib/kubelet /kubelet".to_owned(),
            "kubectl --kubeconfig /etc/kubernetes/kubelet.conf".to_owned(),
            format!("kubelet {elsewhere} --kubeconfig-not=/etc/kubernetes/kubelet.conf"),
        ] {
            assert!(!is_writer(&line), "{line}");
        }
    }
}
