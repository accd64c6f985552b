//! The cert dir on a real disk and in memory: layout, faults, power loss, permissions.
#![expect(
    clippy::disallowed_methods,
    reason = "damage is done to files behind the store's back"
)]

use super::conformance::{self, Authority, at, client_order, prepare};
use super::dir::{CertDir, DirStore};
use super::memory::MemoryStore;
use super::{CertStore, Finding, Opened, StoreError};
use everleaf_pki::{Chain, Credential, KeyAlgorithm, PrivateKey};
use jiff::{SignedDuration, Timestamp, civil::DateTime};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

mod faults;
mod in_token;

const LOCAL: DateTime = DateTime::constant(2026, 8, 1, 12, 11, 12, 0);
const FIRST: &str = "kubelet-client-2026-08-01-12-11-12.pem";
const SECOND: &str = "kubelet-client-2026-08-01-12-11-12-1.pem";

fn now() -> Timestamp {
    at("2026-08-01T10:11:12Z")
}

/// A cert dir of its own for a test.
struct Home {
    home: TempDir,
    cert_dir: CertDir,
}

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let cert_dir = CertDir::open(&home.path().join("pki")).unwrap();
        Self { home, cert_dir }
    }

    fn store(&self) -> DirStore {
        self.cert_dir.store("kubelet-client")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("pki").join(name)
    }

    fn link(&self, name: &str) -> PathBuf {
        std::fs::read_link(self.path(name)).unwrap()
    }

    /// Visible names, as `ls` shows them.
    fn ls(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.cert_dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

/// Prepares, installs and clears one credential, valid from `seed` hours after now for a year.
fn install(store: &mut dyn CertStore, seed: u64) -> Result<Chain, StoreError> {
    let (pending, key) = prepare(client_order(), seed, now());
    store.put_pending(&pending, &key)?;
    let start = now() + SignedDuration::from_hours(seed.cast_signed());
    let chain = Authority::new().issue(&pending, start, start + SignedDuration::from_hours(8760));
    store.install(&chain, LOCAL)?;
    store.discard_pending()?;
    Ok(chain)
}

fn is_current(opened: &Opened, chain: &Chain) -> bool {
    opened
        .current
        .as_ref()
        .is_some_and(|current| current.leaf().fingerprint() == chain.leaf().fingerprint())
}

#[track_caller]
fn assert_current(store: &mut dyn CertStore, chain: &Chain) -> Opened {
    let opened = store.load(now()).unwrap();
    assert!(is_current(&opened, chain), "{:?}", opened.findings);
    opened
}

#[test]
fn both_stores_conform() {
    let mut homes = Vec::new();
    conformance::check_all(&mut || {
        homes.push(Home::new());
        Box::new(homes.last().unwrap().store())
    });
    conformance::check_all(&mut || Box::new(MemoryStore::new("kubelet-client")));
}

#[test]
fn files_names_and_links_are_those_of_a_kubelet() {
    let home = Home::new();
    let chain = install(&mut home.store(), 1).unwrap();
    assert_eq!(home.ls(), [FIRST, "kubelet-client-current.pem"]);
    assert_eq!(home.link("kubelet-client-current.pem"), home.path(FIRST));
    let text = std::fs::read_to_string(home.path(FIRST)).unwrap();
    assert!(text.starts_with(&chain.to_pem()), "certificates first");
    let labels: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("-----BEGIN"))
        .collect();
    assert_eq!(
        labels,
        ["-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"]
    );
}

#[test]
fn keys_of_a_kubelets_kind_are_kept_in_its_form() {
    let home = Home::new();
    let mut store = home.store();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let (mut pending, _) = prepare(client_order(), 1, now());
    pending.request_pem = pending.template.to_request_pem(&key).unwrap();
    pending.public_key = key.public_key().clone();
    store.put_pending(&pending, &key).unwrap();
    assert_eq!(store.load(now()).unwrap().pending, Some(pending.clone()));
    let chain = Authority::new().issue(&pending, now(), at("2027-01-01T00:00:00Z"));
    store.install(&chain, LOCAL).unwrap();
    let text = std::fs::read_to_string(home.path(FIRST)).unwrap();
    assert!(text.contains("-----BEGIN EC PRIVATE KEY-----"));
}

#[test]
fn two_updates_in_one_second_get_two_files() {
    let home = Home::new();
    let mut store = home.store();
    install(&mut store, 1).unwrap();
    let second = install(&mut store, 2).unwrap();
    assert_eq!(home.link("kubelet-client-current.pem"), home.path(SECOND));
    assert!(Credential::from_pem(&std::fs::read(home.path(FIRST)).unwrap()).is_ok());
    assert_current(&mut store, &second);
}

#[test]
fn a_first_certificate_is_known_as_one_after_a_restart() {
    let home = Home::new();
    assert!(home.store().load(now()).unwrap().current.is_none());
    install(&mut home.store(), 1).unwrap();
    assert!(home.store().load(now()).unwrap().is_first);
    install(&mut home.store(), 2).unwrap();
    assert!(!home.store().load(now()).unwrap().is_first);
    // However many are deleted, one of those before stays.
    home.store().accept().unwrap();
    assert!(!home.store().load(now()).unwrap().is_first);
}

#[test]
fn a_regular_file_at_current_is_never_overwritten() {
    for name in ["kubelet-client-current.pem", "kubelet-client-updated.pem"] {
        let home = Home::new();
        let mut store = home.store();
        install(&mut store, 1).unwrap();
        let text = std::fs::read(home.path(FIRST)).unwrap();
        let _ = std::fs::remove_file(home.path(name));
        std::fs::write(home.path(name), &text).unwrap();
        let error = install(&mut store, 2).unwrap_err();
        assert!(matches!(&error, StoreError::NotASymlink { path } if *path == home.path(name)));
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(std::fs::read(home.path(name)).unwrap(), text);
        // Said before a request leaves the node, and nothing is left behind.
        let opened = store.load(now()).unwrap();
        assert!(opened.current.is_some() && opened.pending.is_none());
        let said = |finding: &Finding| matches!(finding, Finding::NotALink { path } if *path == home.path(name));
        assert!(opened.findings.iter().any(said), "{:?}", opened.findings);
    }
}

#[test]
fn what_is_no_file_holds_nobody_up() {
    let home = Home::new();
    let mut store = home.store();
    install(&mut store, 1).unwrap();
    let fifo = |name: &str| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, home.path(name), kind, mode, 0).unwrap();
    };
    // One among the dated files is passed over.
    fifo("kubelet-client-2026-01-01-00-00-00.pem");
    assert!(store.load(now()).unwrap().current.is_some());
    std::fs::remove_file(home.path("kubelet-client-current.pem")).unwrap();
    fifo("kubelet-client-current.pem");
    let error = store.load(now()).unwrap_err();
    for words in [
        "kubelet-client-current.pem: it is a FIFO, not a file",
        "move it away",
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    std::fs::remove_file(home.path("kubelet-client-current.pem")).unwrap();
    std::fs::create_dir(home.path("kubelet-client-current.pem")).unwrap();
    let error = store.load(now()).unwrap_err();
    assert!(error.to_string().contains("move it away"), "{error}");
    // As told.
    std::fs::remove_dir(home.path("kubelet-client-current.pem")).unwrap();
    symlink("gone", home.path("kubelet-client-current.pem")).unwrap();
    assert!(store.load(now()).unwrap().current.is_some());
}

#[test]
fn certificates_are_read_in_whatever_encoding() {
    let home = Home::new();
    let mut store = home.store();
    let chain = install(&mut store, 1).unwrap();
    let text = std::fs::read(home.path(FIRST)).unwrap();
    for before in [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"# Schl\xfcssel\n"] {
        std::fs::write(home.path(FIRST), [before, &text].concat()).unwrap();
        assert_current(&mut store, &chain);
    }
    let joined = String::from_utf8(text)
        .unwrap()
        .replace("-----\n-----BEGIN", "----------BEGIN");
    std::fs::write(home.path(FIRST), joined).unwrap();
    assert_current(&mut store, &chain);
}

#[test]
fn linking_to_a_missing_file_is_refused_by_the_read_back() {
    // Upstream checks that the new file exists before linking; here it is read back.
    let home = Home::new();
    let mut store = home.store();
    let first = install(&mut store, 1).unwrap();
    let (pending, key) = prepare(client_order(), 2, now());
    store.put_pending(&pending, &key).unwrap();
    std::fs::remove_file(home.path("kubelet-client-pending.key")).unwrap();
    let chain = Authority::new().issue(&pending, now(), at("2027-01-01T00:00:00Z"));
    assert!(matches!(
        store.install(&chain, LOCAL),
        Err(StoreError::NothingPending)
    ));
    assert_current(&mut store, &first);
}

#[test]
fn certificates_and_key_are_read_in_either_order() {
    for key_first in [false, true] {
        let home = Home::new();
        let mut store = home.store();
        let chain = install(&mut store, 1).unwrap();
        let text = std::fs::read_to_string(home.path(FIRST)).unwrap();
        let (certificate, key) = text.split_at(text.find("-----BEGIN PRIVATE").unwrap());
        let text = if key_first {
            format!("{key}{certificate}")
        } else {
            text.clone()
        };
        std::fs::write(home.path(FIRST), text).unwrap();
        assert_current(&mut store, &chain);
    }
}

#[test]
fn intermediates_are_kept() {
    let home = Home::new();
    let mut store = home.store();
    let (pending, key) = prepare(client_order(), 1, now());
    store.put_pending(&pending, &key).unwrap();
    let mut authority = Authority::new();
    let chain = authority.issue(&pending, now(), at("2027-01-01T00:00:00Z"));
    let both = format!("{}{}", chain.to_pem(), authority.issuer().certificate_pem());
    store
        .install(&Chain::from_pem(both.as_bytes()).unwrap(), LOCAL)
        .unwrap();
    let opened = store.load(now()).unwrap();
    assert_eq!(opened.current.unwrap().chain().certificates().len(), 2);
}

#[test]
fn the_other_places_are_looked_up_in_order() {
    let home = Home::new();
    let chain = install(&mut home.store(), 1).unwrap();
    let text = std::fs::read_to_string(home.path(FIRST)).unwrap();
    let (certificate, key) = text.split_at(text.find("-----BEGIN PRIVATE").unwrap());
    std::fs::remove_file(home.path("kubelet-client-current.pem")).unwrap();
    assert!(
        home.store().load(now()).unwrap().current.is_none(),
        "dated files alone are no pair"
    );

    let configured = |home: &Home| {
        home.store()
            .with_configured_pair(&home.path("tls.crt"), &home.path("tls.key"))
    };
    std::fs::write(home.path("tls.crt"), certificate).unwrap();
    assert!(
        configured(&home).load(now()).unwrap().current.is_none(),
        "both must exist"
    );
    std::fs::write(home.path("tls.key"), key).unwrap();
    assert_current(&mut configured(&home), &chain);

    std::fs::write(home.path("kubelet-client.crt"), certificate).unwrap();
    std::fs::write(home.path("kubelet-client.key"), key).unwrap();
    assert_current(&mut home.store(), &chain);

    let second = install(&mut configured(&home), 2).unwrap();
    assert_current(&mut configured(&home), &second);
}

#[test]
fn a_corrupt_current_is_set_aside_and_an_older_one_takes_its_place() {
    let whole = |home: &Home| std::fs::read(home.path(SECOND)).unwrap();
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [Damage; 4] = [
        |_| Vec::new(),
        |_| b"garbage".to_vec(),
        |mut bytes| {
            bytes.truncate(bytes.len() / 2);
            bytes
        },
        |_| vec![b'x'; 2 * 1024 * 1024],
    ];
    for damage in damages {
        let home = Home::new();
        let mut store = home.store();
        let first = install(&mut store, 1).unwrap();
        install(&mut store, 2).unwrap();
        std::fs::write(home.path(SECOND), damage(whole(&home))).unwrap();
        let opened = assert_current(&mut store, &first);
        let aside = home.path(&format!("{SECOND}.corrupt-20260801T101112Z"));
        assert!(matches!(
            &opened.findings[..],
            [Finding::Quarantined { moved_to, .. }, Finding::Relinked { target }]
                if *moved_to == aside && *target == home.path(FIRST)
        ));
        assert!(aside.exists());
        assert_eq!(assert_current(&mut store, &first).findings, [], "told once");
    }
}

#[test]
fn a_corrupt_only_file_is_set_aside_and_nothing_is_current() {
    let home = Home::new();
    let mut store = home.store();
    install(&mut store, 1).unwrap();
    std::fs::write(home.path(FIRST), "").unwrap();
    assert!(store.load(now()).unwrap().current.is_none());
    let second = install(&mut store, 2).unwrap();
    assert_current(&mut store, &second);
}

#[test]
fn a_mismatched_key_counts_as_corrupt() {
    let home = Home::new();
    let mut store = home.store();
    let first = install(&mut store, 1).unwrap();
    install(&mut store, 2).unwrap();
    let text = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    let key_of = |text: String| text[text.find("-----BEGIN PRIVATE").unwrap()..].to_owned();
    let (one, two) = (text(FIRST), text(SECOND));
    let certificate = &two[..two.find("-----BEGIN PRIVATE").unwrap()];
    std::fs::write(home.path(SECOND), format!("{certificate}{}", key_of(one))).unwrap();
    assert_current(&mut store, &first);
}

#[test]
fn a_dangling_current_is_pointed_at_the_newest_valid_file() {
    let home = Home::new();
    let mut store = home.store();
    let first = install(&mut store, 1).unwrap();
    install(&mut store, 2).unwrap();
    std::fs::remove_file(home.path(SECOND)).unwrap();
    let opened = assert_current(&mut store, &first);
    assert_eq!(
        opened.findings,
        [Finding::Relinked {
            target: home.path(FIRST)
        }]
    );
}

#[test]
fn an_interrupted_swap_is_finished() {
    let home = Home::new();
    let mut store = home.store();
    install(&mut store, 1).unwrap();
    let second = install(&mut store, 2).unwrap();
    let (current, updated) = (
        home.path("kubelet-client-current.pem"),
        home.path("kubelet-client-updated.pem"),
    );
    std::fs::rename(&current, &updated).unwrap();
    let opened = assert_current(&mut store, &second);
    assert_eq!(
        opened.findings,
        [Finding::FinishedSwap {
            target: home.path(SECOND)
        }]
    );
    // Left over beside a good current, it is overwritten by the next update.
    symlink(home.path(FIRST), &updated).unwrap();
    let third = install(&mut store, 3).unwrap();
    assert_current(&mut store, &third);
    assert!(!updated.exists());
}

#[test]
fn a_link_in_a_circle_counts_as_dangling() {
    let home = Home::new();
    let mut store = home.store();
    let first = install(&mut store, 1).unwrap();
    let current = home.path("kubelet-client-current.pem");
    std::fs::remove_file(&current).unwrap();
    symlink(&current, &current).unwrap();
    assert_current(&mut store, &first);
}

#[test]
fn an_unusable_pending_request_counts_as_absent() {
    let record = "kubelet-client-pending.json";
    let key = "kubelet-client-pending.key";
    for (name, text) in [
        (record, ""),
        (record, "{"),
        (record, "{\"version\":2}"),
        (key, ""),
        (key, "garbage"),
    ] {
        let home = Home::new();
        let mut store = home.store();
        let first = install(&mut store, 1).unwrap();
        let (pending, pending_key) = prepare(client_order(), 2, now());
        store.put_pending(&pending, &pending_key).unwrap();
        std::fs::write(home.path(name), text).unwrap();
        let opened = assert_current(&mut store, &first);
        assert!(opened.pending.is_none());
        assert!(
            matches!(&opened.findings[..], [Finding::UnusablePending { .. }]),
            "{name}"
        );
        let second = install(&mut store, 3).unwrap();
        assert_current(&mut store, &second);
    }
    let home = Home::new();
    let mut store = home.store();
    let (pending, key_of_pending) = prepare(client_order(), 2, now());
    store.put_pending(&pending, &key_of_pending).unwrap();
    let (_, stranger) = prepare(client_order(), 3, now());
    std::fs::write(home.path(key), stranger.to_pem().as_bytes()).unwrap();
    assert!(
        store.load(now()).unwrap().pending.is_none(),
        "key of another request"
    );
}

#[test]
fn only_dated_files_of_the_prefix_are_pruned() {
    let home = Home::new();
    let others = [
        "kubelet-client.crt",
        "kubelet-server-2020-01-01-00-00-00.pem",
        "notes.txt",
    ];
    for name in others {
        std::fs::write(home.path(name), "x").unwrap();
    }
    let mut store = home.store();
    for seed in 1..=5 {
        install(&mut store, seed).unwrap();
    }
    let aside = format!("{FIRST}.corrupt-20200101T000000Z");
    std::fs::write(home.path(&aside), "x").unwrap();
    assert_eq!(store.accept().unwrap(), 2);
    let names = home.ls();
    assert!(names.contains(&aside) && others.iter().all(|name| names.iter().any(|n| n == name)));
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("kubelet-client-2026"))
            .count(),
        4
    );
}

#[test]
fn nothing_is_readable_by_others_under_any_umask() {
    use rustix::fs::Mode;
    let home = tempfile::tempdir().unwrap();
    for (index, umask) in [0o000, 0o022, 0o077, 0o777].into_iter().enumerate() {
        let path = home.path().join(index.to_string());
        let dir = if umask == 0o777 {
            // A directory that nobody may enter is not our case.
            CertDir::open(&path).unwrap()
        } else {
            let old = rustix::process::umask(Mode::from_raw_mode(umask));
            let dir = CertDir::open(&path);
            rustix::process::umask(old);
            dir.unwrap()
        };
        let mode = |path: &Path| {
            std::fs::symlink_metadata(path)
                .unwrap()
                .permissions()
                .mode()
        };
        let old = rustix::process::umask(Mode::from_raw_mode(umask));
        let mut store = dir.store("kubelet-client");
        let result = install(&mut store, 1);
        let (pending, key) = prepare(client_order(), 2, now());
        let put = store.put_pending(&pending, &key);
        rustix::process::umask(old);
        result.unwrap();
        put.unwrap();
        if umask != 0o777 {
            assert_eq!(mode(&path) & 0o777, 0o755 & !umask);
        }
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_symlink() {
                assert_eq!(
                    mode(&path) & 0o777,
                    0o600,
                    "{} under {umask:o}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn a_second_process_is_refused_by_name() {
    let home = Home::new();
    let error = CertDir::open(home.cert_dir.path()).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == own));
    assert!(
        error.to_string().contains(&format!("(pid {own})")),
        "{error}"
    );
    let path = home.cert_dir.path().to_owned();
    let store = home.store();
    drop(home.cert_dir);
    assert!(CertDir::open(&path).is_err(), "a store keeps the lock");
    drop(store);
    CertDir::open(&path).unwrap();
}

#[test]
fn a_relative_directory_is_refused() {
    let error = CertDir::open(Path::new("pki")).unwrap_err();
    assert!(matches!(error, StoreError::NotAbsolute { .. }));
}
