use super::*;
use crate::fixture::now;
use everleaf_pki::{KeyAlgorithm, PrivateKey, SignerName};
use jiff::SignedDuration;
use std::path::PathBuf;

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
        self.write("ca.key", &issuer.key().unwrap().to_pem());
    }

    fn files(&self) -> CaFiles {
        CaFiles {
            certificate: self.path("ca.crt"),
            key: self.path("ca.key"),
            chain: None,
            password: None,
        }
    }

    fn sources(&self) -> BTreeMap<BuiltinSigner, IssuerSource> {
        let source = IssuerSource::Files(self.files());
        BuiltinSigner::ALL
            .map(|signer| (signer, source.clone()))
            .into()
    }

    fn load(&self) -> Result<Issuers, IssuerError> {
        Issuers::load(&self.sources(), TERMS).map(|(issuers, _)| issuers)
    }

    fn load_from(&self, files: CaFiles) -> Result<Issuers, IssuerError> {
        let sources = [(BuiltinSigner::KubeletServing, IssuerSource::Files(files))].into();
        Issuers::load(&sources, TERMS).map(|(issuers, _)| issuers)
    }
}

const TERMS: Terms = Terms {
    signing_duration: Duration::from_secs(24 * 3600),
    spread_ca_end: false,
};

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn named(name: &str, key: PrivateKey, begin: Timestamp, end: Timestamp) -> Issuer {
    Issuer::self_signed(name, key, [9; 16], begin, end).unwrap()
}

/// A CA with a name of its own, from a day before now on.
fn authority(left: SignedDuration) -> Issuer {
    authority_between(now() - days(1), now() + left)
}

fn authority_between(begin: Timestamp, end: Timestamp) -> Issuer {
    named(&format!("ca until {end}"), key(), begin, end)
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
    let (issuers, notices) = Issuers::load(&disk.sources(), TERMS).unwrap();
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
    let expired = authority(-SignedDuration::from_hours(1));
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
    let upstream_and_hint =
        "expected 1 certificate, found 2: leave only the one that belongs to the key in the file";
    assert!(twice.contains(upstream_and_hint), "{twice}");
    disk.write("ca.crt", &issuer.key().unwrap().to_pem());
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
    let sources = [(
        BuiltinSigner::KubeletServing,
        IssuerSource::Memory(issuer.into()),
    )]
    .into();
    let (issuers, _) = Issuers::load(&sources, TERMS).unwrap();
    let unbegun = Notice::CaNotBegun {
        signers: SignerName::KUBELET_SERVING.to_owned(),
        not_before: begin,
    };
    assert_eq!(issuers.check(now()), std::slice::from_ref(&unbegun));
    assert_eq!(issuers.check(now() + days(1)), [], "told once");
    assert_eq!(issuers.check(begin), []);
    assert_eq!(issuers.check(now()), [unbegun]);
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
    let sources = [(
        BuiltinSigner::KubeletServing,
        IssuerSource::Memory(issuer.into()),
    )]
    .into();
    let (issuers, notices) = Issuers::load(&sources, TERMS).unwrap();
    assert_eq!(notices, [], "nothing was read from disk");
    let told: Vec<i64> = (0..43)
        .flat_map(|day| issuers.check(now() + days(day) + SignedDuration::from_secs(1)))
        .map(|notice| match notice {
            Notice::CaExpiring { days, .. } => days,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [39, 30, 14, 7, 3, 1, -1]);
}

/// Of two CAs with one name, OpenSSL takes the first and GnuTLS the last.
#[test]
fn a_name_is_not_given_to_another_key() {
    let disk = Disk::new();
    let (begin, end) = (now() - days(1), now() + days(100));
    let old = named("kubernetes", key(), begin, end);
    disk.write_pair(&old);
    let issuers = disk.load().unwrap();
    disk.write_pair(&named("kubernetes", key(), begin, end + days(1)));
    let Some(Notice::CaReloadFailed { error, .. }) = issuers.reload(now()).pop() else {
        panic!("not refused")
    };
    assert!(
        error.contains("the name of the old one, CN=kubernetes, and another key"),
        "{error}"
    );
    assert_eq!(serial(&issuers), fingerprint(&old));
    // Whoever insists starts anew.
    assert_ne!(serial(&disk.load().unwrap()), fingerprint(&old));
}

/// The cheap answer to a CA that ends: the same name and key with a later end.
#[test]
fn a_ca_is_renewed_with_its_key() {
    let disk = Disk::new();
    let key = key();
    let again = || PrivateKey::from_pem(&key.to_pem()).unwrap();
    let ca = |end| named("kubernetes", again(), now() - days(1), end);
    disk.write_pair(&ca(now() + days(2)));
    let issuers = disk.load().unwrap();
    assert!(!issuers.check(now()).is_empty(), "it ends soon");
    let renewed = ca(now() + days(3000));
    disk.write("ca.crt", &renewed.certificate_pem());
    match &issuers.reload(now())[..] {
        [
            Notice::CaLoaded {
                renewed: true,
                not_after,
                ..
            },
        ] => {
            assert_eq!(*not_after, now() + days(3000));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(serial(&issuers), fingerprint(&renewed));
    assert_eq!(issuers.check(now()), [], "nothing is doubtful any more");
}

/// OpenSSL and Java look for the identifier that older leaves carry.
#[test]
fn a_renewed_ca_keeps_its_key_identifier() {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    };
    let key = KeyPair::generate().unwrap();
    let certificate = |key_id: &[u8]| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
        params.self_signed(&key).unwrap().pem()
    };
    let disk = Disk::new();
    disk.write("ca.crt", &certificate(&[1; 20]));
    disk.write("ca.key", &key.serialize_pem());
    let issuers = disk.load().unwrap();
    let before = serial(&issuers);
    disk.write("ca.crt", &certificate(&[2; 20]));
    let Some(Notice::CaReloadFailed { error, .. }) = issuers.reload(now()).pop() else {
        panic!("not refused")
    };
    assert!(error.contains("another subject key identifier"), "{error}");
    assert_eq!(serial(&issuers), before);
}

/// The chain file is one of the files: judged with them, looked at again, and it caps.
#[test]
fn a_chain_file_belongs_to_the_pair() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
    let params = |name: &str, year: i32| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 1, 1);
        params
    };
    let (root_key, ca_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = params("root", 2030).self_signed(&root_key).unwrap();
    let signer = rcgen::Issuer::new(params("root", 2030), root_key);
    let ca = params("ca", 2040).signed_by(&ca_key, &signer).unwrap();
    let disk = Disk::new();
    disk.write("ca.crt", &ca.pem());
    disk.write("ca.key", &ca_key.serialize_pem());
    disk.write("chain.crt", &(ca.pem() + &root.pem()));
    let with_chain = CaFiles {
        chain: Some(disk.path("chain.crt")),
        ..disk.files()
    };
    let issuers = disk.load_from(with_chain.clone()).unwrap();
    let end: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(issuers.standings()[0].1, end);

    disk.write("chain.crt", &authority(days(10)).certificate_pem());
    let Some(Notice::CaReloadFailed { error, .. }) = issuers.reload(now()).pop() else {
        panic!("not refused")
    };
    assert!(
        error.contains("chain.crt") && error.contains("did not sign"),
        "{error}"
    );
    let refused = disk.load_from(with_chain).err().unwrap().to_string();
    assert!(
        refused.contains("does not fit the CA certificate"),
        "{refused}"
    );
}

#[test]
fn an_encrypted_key_has_its_password_in_a_file() {
    let text = include_str!("../../../everleaf-pki/testdata/openssl/key-p256-pbes2-default.pem");
    let key = PrivateKey::from_protected_pem(text, Some(b"everleaf")).unwrap();
    let disk = Disk::new();
    let issuer = named("ca", key, now() - days(1), now() + days(100));
    disk.write("ca.crt", &issuer.certificate_pem());
    disk.write("ca.key", text);
    let with_password = CaFiles {
        password: Some(disk.path("password")),
        ..disk.files()
    };
    for text in ["everleaf", "everleaf\n", "everleaf\r\nmore\n"] {
        disk.write("password", text);
        disk.load_from(with_password.clone()).unwrap();
    }
    disk.write("password", "wrong");
    let error = disk.load_from(with_password).err().unwrap().to_string();
    assert!(error.contains("the password does not open"), "{error}");
    assert!(!error.contains("wrong"), "{error}");
    let error = disk.load().err().unwrap().to_string();
    assert!(
        error.contains("--cluster-signing-key-password-file"),
        "{error}"
    );
}

#[test]
fn what_is_doubtful_is_told_once() {
    let disk = Disk::new();
    disk.write_pair(&authority(days(1)));
    let issuers = disk.load().unwrap();
    let doubts = |notices: Vec<Notice>| -> Vec<&'static str> {
        notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::CaDoubtful { doubt, .. } => Some(doubt.rule),
                _ => None,
            })
            .collect()
    };
    assert_eq!(doubts(issuers.check(now())), ["ca_ends_soon"]);
    assert_eq!(doubts(issuers.check(now())), [""; 0]);
}
