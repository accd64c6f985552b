//! The whole system in one process under a movable clock.

use super::authority::{self, Wanted};
use super::data_dir::DataDir;
use super::kubeconfigs::{ADMIN, BOOTSTRAP, NODE_CERT_DIR};
use super::system::{Keys, LOOPS, Settings, System};
use super::token;
use everleaf_agent::clock::ClockListener;
use everleaf_agent::join::BootstrapToken;
use everleaf_agent::{Clock, OffsetClock, SystemClock};
use everleaf_apiserver::authn::jwt::JwtConfig;
use everleaf_controllers::cleaner::Ages;
use everleaf_node::places;
use everleaf_pki::{Chain, Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey};
use everleaf_rotation::{Monotonic, rotation_deadline};
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time that passes when it is told to: both clocks move together, as if one had waited.
#[derive(Debug)]
struct TravelClock(OffsetClock);

impl TravelClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(OffsetClock::new(Arc::new(SystemClock::new()))))
    }

    /// Lets time pass until `instant`.
    fn travel_to(&self, instant: Timestamp) {
        self.0.set_wall(instant);
    }
}

impl Clock for TravelClock {
    fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic() + self.0.offset().unsigned_abs()
    }

    fn listen(&self) -> ClockListener {
        self.0.listen()
    }
}

fn settings(signing_duration: Duration) -> Settings {
    Settings {
        etcd: None,
        storage_quota_bytes: 0,
        encryption: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        sans: Vec::new(),
        signing_duration,
        loops: LOOPS.into(),
        ages: Ages::default(),
        serving_approval: None,
        pod_signer: None,
        node_name: Some("host1".into()),
        ui: false,
        keys: Keys::all(KeyAlgorithm::EcdsaP256),
        audit: None,
        jwt: JwtConfig::default(),
        late_reissue: None,
        authentication_config: None,
        host_name: "host1".into(),
    }
}

fn leaf_at(path: &Path) -> Option<Leaf> {
    let pem = std::fs::read(path).ok()?;
    Some(Credential::from_pem(&pem).unwrap().leaf().clone())
}

fn current(root: &Path) -> Option<Leaf> {
    leaf_at(&root.join(NODE_CERT_DIR).join("kubelet-client-current.pem"))
}

/// Waits for a certificate other than `old` that the server has accepted; what never comes ends the
/// test by its limit.
async fn next(root: &Path, old: Option<&Leaf>) -> Leaf {
    let accepted = root
        .join(NODE_CERT_DIR)
        .join(".kubelet-client-accepted.pem");
    let wait = async {
        loop {
            if let Some(leaf) = leaf_at(&accepted)
                && old.is_none_or(|old| old.serial() != leaf.serial())
            {
                return leaf;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("a new certificate in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_renewals_each_between_70_and_90_percent() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let _ = provider.install_default();
    let temporary = tempfile::tempdir().unwrap();
    let dir = Arc::new(DataDir::open(temporary.path()).unwrap());
    let clock = TravelClock::new();
    let settings = settings(Duration::from_secs(20 * 60));
    let system = System::start(&dir, &settings, clock.clone()).await.unwrap();
    let mut leaf = next(dir.root(), None).await;
    for round in 0..50 {
        let deadline = rotation_deadline(&leaf);
        let life = leaf.lifetime().seconds;
        let share =
            |instant: Timestamp| instant.duration_since(leaf.not_before()).as_secs() * 100 / life;
        assert!(
            (70..90).contains(&share(deadline)),
            "round {round}: due at {} %",
            share(deadline)
        );
        // A moment before the deadline nothing happens; what did happen would show as a renewal
        // that is too early.
        clock.travel_to(deadline - SignedDuration::from_secs(2));
        tokio::task::yield_now().await;
        let early = current(dir.root()).unwrap();
        assert_eq!(
            early.serial(),
            leaf.serial(),
            "round {round}: renewed before the deadline"
        );
        clock.travel_to(deadline + SignedDuration::from_secs(1));
        let renewed = next(dir.root(), Some(&leaf)).await;
        // Issued now, by a clock that stands where ours stands; dated five minutes back.
        let issued = renewed.not_before() + SignedDuration::from_mins(5);
        let at = share(issued);
        assert!(
            issued >= deadline && (70..=90).contains(&at),
            "round {round}: renewed at {at} %"
        );
        leaf = renewed;
    }
    system.stop().await;
}

#[test]
fn what_is_missing_is_made_and_what_is_there_stays() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temporary.path()).unwrap();
    let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let wanted = |name: &str| Wanted {
        signing_duration: Duration::from_secs(3600),
        dns_names: vec![name.into()],
        ip_addresses: vec![[127, 0, 0, 1].into()],
        key_algorithm: KeyAlgorithm::EcdsaP256,
    };
    let serials = |name: &str, now| {
        let made = authority::ensure(&dir, &wanted(name), now).unwrap();
        let ca = made.issuer.certificate().clone();
        assert!(made.server.leaf().is_signed_by(&ca));
        assert_eq!(made.server.leaf().not_after(), ca.not_after());
        (ca.serial().clone(), made.server.leaf().serial().clone())
    };
    let first = serials("a", now);
    assert_eq!(serials("a", now), first, "a second start changes nothing");

    // A start that was killed between two files.
    std::fs::remove_file(dir.path(authority::SERVER_CERTIFICATE)).unwrap();
    std::fs::remove_file(dir.path("pki/sa.pub")).unwrap();
    let second = serials("a", now);
    assert_eq!(second.0, first.0);
    assert_ne!(second.1, first.1);
    assert!(dir.path("pki/sa.pub").exists());

    let third = serials("b", now);
    assert_eq!(third.0, first.0, "another name needs no other authority");
    assert_ne!(third.1, second.1);

    // Near its end the authority is renewed with its key: what it signed stays good.
    let key = dir.read(places::CA_KEY).unwrap();
    let late: Timestamp = "2059-12-24T23:30:00Z".parse().unwrap();
    let fourth = serials("b", late);
    assert_ne!(fourth.0, first.0);
    assert_eq!(dir.read(places::CA_KEY).unwrap(), key);

    // Without the key of a certificate that is there, nothing can be guessed.
    std::fs::remove_file(dir.path(places::CA_KEY)).unwrap();
    let refused = authority::ensure(&dir, &wanted("b"), now)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("put the key back"), "{refused}");
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The clock was years ahead at the first start, and was set right: whatever was made then is valid
/// now, or made again.
#[test]
fn an_authority_of_a_clock_that_was_ahead_is_valid_all_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temporary.path()).unwrap();
    let wanted = Wanted {
        signing_duration: Duration::from_secs(3600),
        dns_names: vec!["a".into()],
        ip_addresses: Vec::new(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
    };
    let ahead = authority::ensure(&dir, &wanted, at("2061-01-01T00:00:00Z")).unwrap();
    let right = at("2026-01-01T00:00:00Z");
    for leaf in [ahead.issuer.certificate(), ahead.server.leaf()] {
        assert!(leaf.not_before() <= right, "{leaf:?}");
    }
    let front_proxy = Chain::from_pem(ahead.front_proxy_ca_pem.as_bytes()).unwrap();
    assert!(front_proxy.leaf().not_before() <= right);
    let now = authority::ensure(&dir, &wanted, right).unwrap();
    assert_eq!(now.ca_pem, ahead.ca_pem);
}

/// As older versions made it. It keeps its key, so that what it signed stays good.
#[test]
fn an_authority_that_has_not_begun_is_renewed_with_its_key() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temporary.path()).unwrap();
    let (now, begin, end) = (
        at("2026-11-29T00:00:00Z"),
        at("2027-11-29T00:00:00Z"),
        at("2067-11-29T00:00:00Z"),
    );
    let wanted = Wanted {
        signing_duration: Duration::from_secs(3600),
        dns_names: vec!["a".into()],
        ip_addresses: Vec::new(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
    };
    let make = |name: &str| {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let ca = Issuer::self_signed(name, key, [1; 16], begin, end).unwrap();
        dir.write(places::CA_KEY, &ca.key().unwrap().to_pem())
            .unwrap();
        dir.write(places::CA_CERTIFICATE, &ca.certificate_pem())
            .unwrap();
        ca
    };
    let old = make("everleaf-ca");
    let after = begin + SignedDuration::from_hours(1);
    let later = authority::ensure(&dir, &wanted, after).unwrap();
    assert_eq!(later.remarks, [""; 0]);
    let renewed = authority::ensure(&dir, &wanted, now).unwrap();
    let ca = renewed.issuer.certificate();
    assert!(ca.not_before() <= now && renewed.server.leaf().not_before() <= now);
    assert_eq!(ca.public_key(), old.certificate().public_key());
    assert!(
        renewed.remarks[0].contains("begins only at 2027-11-29T00:00:00Z"),
        "{:?}",
        renewed.remarks
    );
    assert!(renewed.remarks[0].contains("renewed with the same key"));

    make("theirs");
    let refused = authority::ensure(&dir, &wanted, now)
        .map(drop)
        .unwrap_err()
        .to_string();
    for words in ["ca.crt begins only at", "set the clock"] {
        assert!(refused.contains(words), "{refused}");
    }
    // Not ours, and over.
    let much_later = now + SignedDuration::from_hours(200 * 365 * 24);
    let refused = authority::ensure(&dir, &wanted, much_later)
        .map(drop)
        .unwrap_err()
        .to_string();
    for words in ["ca.crt ended at", "whoever made it has to renew it"] {
        assert!(refused.contains(words), "{refused}");
    }
}

/// The clock was years ahead at the start and is set right while the system runs: `admin.conf`
/// follows at once.
#[tokio::test(flavor = "multi_thread")]
async fn admin_conf_follows_a_clock_that_is_set() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let _ = provider.install_default();
    let temporary = tempfile::tempdir().unwrap();
    let dir = Arc::new(DataDir::open(temporary.path()).unwrap());
    let mut settings = settings(Duration::from_secs(3600));
    settings.node_name = None;
    let clock = TravelClock::new();
    let right = clock.wall();
    clock.travel_to(right + SignedDuration::from_hours(11 * 365 * 24));
    let system = System::start(&dir, &settings, clock.clone()).await.unwrap();
    let before = dir.read(ADMIN).unwrap().unwrap();
    clock.travel_to(right);
    let followed = async {
        while dir.read(ADMIN).unwrap().unwrap() == before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), followed)
        .await
        .expect("a new admin.conf in time");
    // The token for new nodes ends when it usually does, not years from now.
    system.stop().await;
    let system = System::start(&dir, &settings, clock.clone()).await.unwrap();
    let left = system.bootstrap_until.duration_since(right);
    assert!(left <= SignedDuration::from_hours(25), "{left:?}");
    system.stop().await;
}

/// Days pass while the system runs: the file for new nodes has a token that the server takes.
#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_never_ends_under_a_running_system() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let _ = provider.install_default();
    let temporary = tempfile::tempdir().unwrap();
    let dir = Arc::new(DataDir::open(temporary.path()).unwrap());
    let mut settings = settings(Duration::from_secs(3600));
    settings.node_name = None;
    let clock = TravelClock::new();
    let system = System::start(&dir, &settings, clock.clone()).await.unwrap();
    let start = clock.wall();
    let mut seen = vec![dir.read(BOOTSTRAP).unwrap().unwrap()];
    // Half an hour before its end, and days after it.
    for hours in [23, 24 * 9] {
        clock.travel_to(start + SignedDuration::from_mins(60 * hours + 30));
        let replaced = async {
            while dir.read(BOOTSTRAP).unwrap().as_ref() == seen.last() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), replaced)
            .await
            .expect("a new bootstrap-kubelet.conf in time");
        let text = dir.read(BOOTSTRAP).unwrap().unwrap();
        let token = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("token: "));
        let token = BootstrapToken::parse(token.unwrap().trim_matches('"')).unwrap();
        let until = token::accepted_until(&token, &system.server).unwrap();
        let left = until.duration_since(clock.wall());
        assert!(left > SignedDuration::from_hours(23), "{left:?}");
        seen.push(text);
    }
    system.stop().await;
}

/// What strangers and delegating components read of the server, after a start and after the next
/// one elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_read_of_the_server_follows_it() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let _ = provider.install_default();
    let temporary = tempfile::tempdir().unwrap();
    let dir = Arc::new(DataDir::open(temporary.path()).unwrap());
    let mut settings = settings(Duration::from_secs(3600));
    settings.node_name = None;
    let mut front_proxies = Vec::new();
    for name in ["one.example.com", "two.example.com"] {
        settings.sans = vec![name.to_owned()];
        let clock = Arc::new(SystemClock::new());
        let system = System::start(&dir, &settings, clock).await.unwrap();
        let map = |namespace: &str, name: &str| {
            let stored = system.server.objects().get("configmaps", namespace, name);
            stored.unwrap().object()["data"].clone()
        };
        let known = map("kube-public", "cluster-info");
        let server = format!("    server: https://{name}:");
        assert!(
            known["kubeconfig"].as_str().unwrap().contains(&server),
            "{known}"
        );
        let delegated = map("kube-system", "extension-apiserver-authentication");
        let front_proxy = delegated["requestheader-client-ca-file"].as_str().unwrap();
        assert_ne!(delegated["client-ca-file"], front_proxy);
        front_proxies.push(front_proxy.to_owned());
        system.stop().await;
    }
    assert_eq!(front_proxies[0], front_proxies[1]);
    let key = temporary.path().join("pki/front-proxy-ca.key");
    assert!(!key.exists(), "nobody has it");
}
