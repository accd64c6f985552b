//! The authorities that a host trusts, where Go's programs look for them on Linux
//! (`crypto/x509/root_linux.go`, `root_unix.go`): the first bundle that can be read, and every file
//! of the directories. `SSL_CERT_FILE` and `SSL_CERT_DIR` (colon-separated) stand in for these
//! places.

use everleaf_pki::pem;
use everleaf_rotation::store::dir::read_file;
use std::fmt;
use std::path::PathBuf;

const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most files of a directory that are read.
const FILES_MAX: usize = 2000;

/// Where to look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Roots {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Roots {
    /// As the environment of this process says.
    pub(super) fn of_environment() -> Self {
        let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::new(given("SSL_CERT_FILE"), given("SSL_CERT_DIR"))
    }

    fn new(file: Option<String>, directories: Option<String>) -> Self {
        Self {
            files: match file {
                Some(file) => vec![PathBuf::from(file)],
                None => FILES.map(PathBuf::from).to_vec(),
            },
            directories: match directories {
                Some(list) => list.split(':').map(PathBuf::from).collect(),
                None => DIRECTORIES.map(PathBuf::from).to_vec(),
            },
        }
    }

    /// All PEM text that is there. What cannot be read is passed over, as Go does.
    pub(super) fn read(&self) -> String {
        let read = |path: &PathBuf| read_file(path, FILE_BYTES_MAX).ok();
        let mut text = String::new();
        if let Some(bytes) = self.files.iter().find_map(read) {
            text.push_str(&pem::legible(&bytes));
        }
        for directory in &self.directories {
            let entries = std::fs::read_dir(directory).into_iter().flatten();
            let paths = entries.flatten().map(|entry| entry.path());
            for bytes in paths.take(FILES_MAX).filter_map(|path| read(&path)) {
                text.push('\n');
                text.push_str(&pem::legible(&bytes));
            }
        }
        text
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.files.iter().chain(&self.directories);
        let places: Vec<_> = places.map(|place| place.display().to_string()).collect();
        f.write_str(&places.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_stands_in_for_the_usual_places() {
        let home = tempfile::tempdir().unwrap();
        let place = |name: &str| home.path().join(name).display().to_string();
        std::fs::create_dir_all(home.path().join("a")).unwrap();
        std::fs::create_dir_all(home.path().join("b")).unwrap();
        for name in ["file", "a/1", "b/2"] {
            std::fs::write(home.path().join(name), format!("<{name}>")).unwrap();
        }
        let directories = format!("{}:{}:/nowhere", place("a"), place("b"));
        let both = Roots::new(Some(place("file")), Some(directories)).read();
        for name in ["<file>", "<a/1>", "<b/2>"] {
            assert!(both.contains(name), "{both}");
        }
        let none = Roots::new(Some(place("none")), Some(place("none")));
        assert_eq!(none.read(), "");
        let usual = Roots::new(None, None);
        assert_eq!(usual.files.len(), FILES.len());
        assert_eq!(usual.directories.len(), DIRECTORIES.len());
    }
}
