//! Real files, changed between looks.

use super::*;
use std::fs;

fn text(name: &str, signer: &str) -> String {
    format!(
        "apiVersion: agent.everleaf.dev/v1alpha1\nkind: CertificateProfile\nmetadata: {{name: {name}}}\nspec:\n  \
         signerName: {signer}\n  dnsNames: [{name}.example.com]\n  usages: [server auth]\n"
    )
}

struct Watched {
    home: tempfile::TempDir,
    watch: ProfileWatch,
    running: Vec<Kept>,
    now: Monotonic,
}

impl Watched {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let files = ProfileFiles {
            files: Vec::new(),
            directory: Some(home.path().to_owned()),
        };
        let now = Monotonic::default();
        Self {
            watch: ProfileWatch::new(files, "n1", now),
            home,
            running: Vec::new(),
            now,
        }
    }

    fn write(&self, name: &str, text: &str) {
        // Renamed into its place: the same inode would be the same moment's.
        let written = self.home.path().join(".new");
        fs::write(&written, text).unwrap();
        fs::rename(written, self.home.path().join(name)).unwrap();
    }

    /// The next look, a minute later: names ended, names begun, problems. `None`: nothing was read.
    fn look(&mut self) -> Option<(Vec<String>, Vec<String>, usize)> {
        self.now = self.now + Duration::from_secs(60);
        assert!(self.watch.wants_look(self.now));
        let changes = self.watch.look(self.now, &self.running)?;
        assert!(!self.watch.wants_look(self.now));
        self.running
            .retain(|kept| !changes.ended.contains(&kept.profile.name));
        for (name, origin) in changes.moved {
            let mut running = self.running.iter_mut();
            let kept = running.find(|kept| kept.profile.name == name).unwrap();
            kept.origin = origin;
        }
        let begun = changes.begun.iter().map(|kept| kept.profile.name.clone());
        let begun = begun.collect();
        self.running.extend(changes.begun);
        Some((changes.ended, begun, changes.problems.len()))
    }
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn new_changed_moved_and_removed_files_are_seen_and_unchanged_ones_are_not_read() {
    let mut watched = Watched::new();
    watched.write("a.yaml", &text("a", "example.com/one"));
    watched.write("b.json", &text("b", "example.com/one"));
    watched.write("notes.txt", "nothing");
    assert_eq!(watched.look(), Some((vec![], names(&["a", "b"]), 0)));
    assert_eq!(watched.look(), None);
    watched.write("a.yaml", &text("a", "example.com/two"));
    assert_eq!(watched.look(), Some((names(&["a"]), names(&["a"]), 0)));
    // The same in another file: nothing begins anew.
    watched.write("c.yaml", &text("b", "example.com/one"));
    fs::remove_file(watched.home.path().join("b.json")).unwrap();
    assert_eq!(watched.look(), Some((vec![], vec![], 0)));
    fs::remove_file(watched.home.path().join("c.yaml")).unwrap();
    assert_eq!(watched.look(), Some((names(&["b"]), vec![], 0)));
    assert_eq!(watched.look(), None);
    watched.watch.read_again(watched.now);
    assert!(watched.watch.wants_look(watched.now));
    assert_eq!(watched.look(), Some((vec![], vec![], 0)));
}

#[test]
fn what_is_wrong_is_read_once_and_what_could_not_be_read_again() {
    let mut watched = Watched::new();
    watched.write("a.yaml", &text("a", "example.com/one"));
    watched.write("b.yaml", "kind: [");
    assert_eq!(watched.look(), Some((vec![], names(&["a"]), 1)));
    assert_eq!(watched.look(), None);
    // It ran, and is wrong now: it goes on.
    watched.write(
        "a.yaml",
        &text("a", "example.com/two").replace("usages", "usage"),
    );
    let (ended, begun, _) = watched.look().unwrap();
    assert_eq!((ended, begun), (vec![], vec![]));
    fs::remove_file(watched.home.path().join("b.yaml")).unwrap();
    watched.write("a.yaml", &text("a", "example.com/two"));
    assert_eq!(watched.look(), Some((names(&["a"]), names(&["a"]), 0)));
    // A directory in the place of a file cannot be read, now or later.
    fs::create_dir(watched.home.path().join("d.yaml")).unwrap();
    for _ in 0..2 {
        assert_eq!(watched.look(), Some((vec![], vec![], 1)));
    }
    fs::remove_dir(watched.home.path().join("d.yaml")).unwrap();
    assert_eq!(watched.look(), Some((vec![], vec![], 0)));
    assert_eq!(watched.look(), None);
}

#[test]
fn links_are_followed_as_in_a_mounted_config_map() {
    let mut watched = Watched::new();
    let at = |name: &str| watched.home.path().join(name);
    for (version, signer) in [("..1", "example.com/one"), ("..2", "example.com/two")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("a.yaml"), text("a", signer)).unwrap();
    }
    std::os::unix::fs::symlink("..1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let (data, next) = (at("..data"), at("..next"));
    assert_eq!(watched.look(), Some((vec![], names(&["a"]), 0)));
    std::os::unix::fs::symlink("..2", &next).unwrap();
    fs::rename(next, data).unwrap();
    assert_eq!(watched.look(), Some((names(&["a"]), names(&["a"]), 0)));
}
