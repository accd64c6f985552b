use super::*;
use crate::kubeconfig::ServerUrl;
use crate::testing::{Ca, hours, now, with_file, with_inline, with_token};
use everleaf_pki::Leaf;
use std::path::PathBuf;

struct Fixture {
    home: tempfile::TempDir,
    ca: Ca,
}

impl Fixture {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            ca: Ca::new("ca"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn cluster(&self, host: &str) -> Cluster {
        Cluster {
            server: ServerUrl::parse(&format!("https://{host}:6443")).unwrap(),
            trust: self.ca.trust(),
            tls_server_name: Some("kubernetes".to_owned()),
            proxy: None,
        }
    }

    /// K at `kubelet.conf`, B at `bootstrap.conf` when wanted.
    fn config(&self, has_bootstrap: bool) -> Config {
        let mut config = Config::for_node("n1", self.path("kubelet.conf"), self.path("pki"));
        config.bootstrap = has_bootstrap.then(|| Bootstrap::File(self.path("bootstrap.conf")));
        config
    }

    fn write(&self, name: &str, kubeconfig: &Kubeconfig) {
        kubeconfig
            .write(&self.path(name), &Names::BOOTSTRAP)
            .unwrap();
    }

    fn write_bootstrap(&self) {
        self.write(
            "bootstrap.conf",
            &with_token(self.cluster("b.example"), "token"),
        );
    }

    fn choose(&self, has_bootstrap: bool) -> Result<(String, String), String> {
        self.choose_with(has_bootstrap, None)
    }

    /// Which server was chosen, and all that was told.
    fn choose_with(
        &self,
        has_bootstrap: bool,
        current: Option<&Leaf>,
    ) -> Result<(String, String), String> {
        let choice = choose(&self.config(has_bootstrap), current, now())?;
        let told = choice.told.into_iter().map(|told| match told {
            Told::Info(text) | Told::Warning(text) => text,
        });
        let server = choice.cluster.server.host().to_owned();
        Ok((server, told.collect::<Vec<_>>().join("\n")))
    }

    fn written(&self) -> Kubeconfig {
        Kubeconfig::read(&self.path("kubelet.conf")).unwrap()
    }

    fn kept(&self) -> Kubeconfig {
        Kubeconfig::read(&self.path("kubelet.conf.bak")).unwrap()
    }

    /// K as bootstrap writes it: B's cluster, both files the store's `current`.
    fn expected(&self) -> Kubeconfig {
        with_file(
            self.cluster("b.example"),
            &client_current(&self.path("pki")),
        )
    }
}

/// Upstream case 97: without B, K is used as it is, whatever its certificate.
#[test]
fn without_bootstrap_the_kubeconfig_is_used_as_it_is() {
    let fixture = Fixture::new();
    for hours_left in [1, -1] {
        let credential = fixture.ca.node("n1", hours_left);
        let kubeconfig = with_inline(fixture.cluster("k.example"), &credential);
        fixture.write("kubelet.conf", &kubeconfig);
        let (server, _) = fixture.choose(false).unwrap();
        assert_eq!(server, "k.example");
        assert_eq!(fixture.written(), kubeconfig);
    }
    std::fs::remove_file(fixture.path("kubelet.conf")).unwrap();
    let error = fixture.choose(false).unwrap_err();
    assert!(error.contains("unable to load kubeconfig"), "{error}");
}

/// Upstream case 98: a valid K wins, and B is not even opened.
#[test]
fn a_new_node_without_any_kubeconfig_is_told_before_anything_is_made() {
    let f = Fixture::new();
    for (has_bootstrap, wanted) in [
        (false, "(--bootstrap-kubeconfig) to make one"),
        (true, "give the node a new bootstrap kubeconfig"),
    ] {
        let refused = check(&f.config(has_bootstrap)).unwrap_err();
        assert!(refused.contains(wanted), "{refused}");
        assert_eq!(refused, f.choose(has_bootstrap).unwrap_err());
    }
    f.write_bootstrap();
    assert_eq!(check(&f.config(true)), Ok(()));
    // Once there is a cert dir, what it holds may be enough.
    std::fs::create_dir(f.path("pki")).unwrap();
    assert_eq!(check(&f.config(false)), Ok(()));
}

#[test]
fn a_valid_kubeconfig_wins() {
    let fixture = Fixture::new();
    let credential = fixture.ca.node("n1", 1);
    std::fs::create_dir_all(fixture.path("pki")).unwrap();
    let pem = fixture.path("pki/pair.pem");
    std::fs::write(&pem, credential.to_pem().as_bytes()).unwrap();
    let kubeconfig = with_file(fixture.cluster("k.example"), &pem);
    fixture.write("kubelet.conf", &kubeconfig);
    let (server, told) = fixture.choose(true).unwrap();
    assert_eq!(server, "k.example");
    assert!(told.contains("still valid"), "{told}");
    assert_eq!(fixture.written(), kubeconfig);
}

/// Upstream case 99 and the rest of 2.3: a useless K is replaced, and the reason is said.
#[test]
fn a_useless_kubeconfig_is_replaced() {
    let fixture = Fixture::new();
    fixture.write_bootstrap();
    let cluster = fixture.cluster("k.example");
    let mut mismatched = with_inline(cluster.clone(), &fixture.ca.node("n1", 1));
    let other = with_inline(cluster.clone(), &fixture.ca.node("n1", 1));
    let pair = mismatched.user.client_certificate.as_mut().unwrap();
    pair.key = other.user.client_certificate.unwrap().key;
    let cases = [
        (
            "expired",
            with_inline(cluster.clone(), &fixture.ca.node("n1", -1)),
        ),
        (
            "not for",
            with_inline(cluster.clone(), &fixture.ca.node("n2", 1)),
        ),
        ("no client certificate", with_token(cluster.clone(), "t")),
        (
            "cannot read its client certificate",
            with_file(cluster, &fixture.path("none")),
        ),
        ("client certificate and key", mismatched),
    ];
    for (reason, kubeconfig) in cases {
        fixture.write("kubelet.conf", &kubeconfig);
        let (server, told) = fixture.choose(true).unwrap();
        assert_eq!(server, "b.example", "{reason}");
        assert!(told.contains(reason), "{told:?} lacks {reason:?}");
        assert!(told.contains("Use the bootstrap credentials"), "{told}");
        assert_eq!(fixture.written(), fixture.expected(), "{reason}");
        // Our clock may be the wrong one, and what was in it the last credential.
        assert!(told.contains("kubelet.conf.bak"), "{told}");
        assert_eq!(fixture.kept(), kubeconfig, "{reason}");
    }
    std::fs::write(fixture.path("kubelet.conf"), "{").unwrap();
    assert_eq!(fixture.choose(true).unwrap().0, "b.example");
    assert_eq!(fixture.written(), fixture.expected());
    let kept = std::fs::read_to_string(fixture.path("kubelet.conf.bak"));
    assert_eq!(kept.unwrap(), "{");
    // What only names the cert dir's certificate is worth no copy.
    std::fs::remove_file(fixture.path("kubelet.conf.bak")).unwrap();
    fixture.choose(true).unwrap();
    assert!(!fixture.path("kubelet.conf.bak").exists());
}

#[test]
fn the_first_kubeconfig_is_written_before_any_certificate_exists() {
    let fixture = Fixture::new();
    fixture.write_bootstrap();
    let (server, told) = fixture.choose(true).unwrap();
    assert_eq!(server, "b.example");
    assert!(
        !told.contains("kubelet.conf:"),
        "no complaint about its absence: {told}"
    );
    assert_eq!(fixture.written(), fixture.expected());
    // As `everleaf up` prepares it: written, and still without a certificate.
    let (_, told) = fixture.choose(true).unwrap();
    assert!(!told.contains("cannot read"), "{told}");
}

/// The classic crash loop of others: B is gone, K is expired, but the cert dir is fine (#99645).
#[test]
fn a_certificate_in_the_cert_dir_is_enough() {
    let fixture = Fixture::new();
    let expired = with_inline(fixture.cluster("k.example"), &fixture.ca.node("n1", -1));
    fixture.write("kubelet.conf", &expired);
    let current = fixture.ca.node("n1", 5);
    let (server, told) = fixture.choose_with(true, Some(current.leaf())).unwrap();
    assert_eq!(server, "k.example");
    assert!(
        told.contains("unable to load bootstrap kubeconfig"),
        "{told}"
    );
    let error = fixture.choose(true).unwrap_err();
    for part in [
        "expired",
        "unable to load bootstrap kubeconfig",
        "bootstrap.conf",
        "give the node",
    ] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    assert_eq!(fixture.written(), expired, "nothing was overwritten");
}

#[test]
fn what_may_not_be_read_is_not_overwritten() {
    let fixture = Fixture::new();
    fixture.write_bootstrap();
    std::fs::create_dir(fixture.path("kubelet.conf")).unwrap();
    let error = fixture.choose(true).unwrap_err();
    assert!(error.contains("cannot read kubeconfig"), "{error}");
    assert!(fixture.path("kubelet.conf").is_dir());
}

#[test]
fn a_kubeconfig_that_names_current_holds_nothing_of_its_own() {
    let fixture = Fixture::new();
    let pki = fixture.path("pki");
    std::fs::create_dir(&pki).unwrap();
    let link = fixture.path("link");
    std::os::unix::fs::symlink(&pki, &link).unwrap();
    let cluster = fixture.cluster("k.example");
    let inline = with_inline(cluster.clone(), &fixture.ca.node("n1", 1));
    for (kubeconfig, expected) in [
        (fixture.expected(), false),
        (with_file(cluster.clone(), &client_current(&link)), false),
        (with_file(cluster.clone(), &fixture.path("other.pem")), true),
        (inline, true),
        (with_token(cluster, "t"), true),
    ] {
        let own = own_user(&kubeconfig, &pki);
        assert_eq!(own.is_some(), expected, "{kubeconfig:?}");
    }
}

/// Only a certificate of this very node goes stale by rotation; an admin's kubeconfig is left
/// alone.
#[test]
fn a_kubeconfig_of_somebody_else_is_never_rewritten() {
    let fixture = Fixture::new();
    let cluster = fixture.cluster("k.example");
    let config = fixture.config(false);
    for kubeconfig in [
        with_inline(cluster.clone(), &fixture.ca.node("n2", 1)),
        with_token(cluster, "t"),
        fixture.expected(),
    ] {
        fixture.write("kubelet.conf", &kubeconfig);
        assert_eq!(adopt_current(&config), Ok(None));
        assert_eq!(fixture.written(), kubeconfig);
    }
}

#[test]
fn an_expired_certificate_is_named_with_its_date() {
    let fixture = Fixture::new();
    let credential = fixture.ca.node("n1", -2);
    let kubeconfig = with_inline(fixture.cluster("k.example"), &credential);
    let error = check_valid(&kubeconfig, "n1", now()).unwrap_err();
    let date = credential.leaf().not_after();
    assert!(error.contains(&date.to_string()), "{error}");
    // The instant of expiry itself is still valid.
    assert_eq!(check_valid(&kubeconfig, "n1", date), Ok(()));
    let earlier = date - hours(5);
    assert_eq!(
        check_valid(&kubeconfig, "n1", earlier),
        Ok(()),
        "notBefore is not looked at"
    );
}

#[test]
fn one_file_cannot_be_both_kubeconfigs() {
    let fixture = Fixture::new();
    fixture.write_bootstrap();
    let real = fixture.path("bootstrap.conf");
    let before = std::fs::read(&real).unwrap();
    std::os::unix::fs::symlink(&real, fixture.path("link.conf")).unwrap();
    std::fs::hard_link(&real, fixture.path("hard.conf")).unwrap();
    std::os::unix::fs::symlink(fixture.home.path(), fixture.path("dir")).unwrap();
    for name in [
        "bootstrap.conf",
        "link.conf",
        "hard.conf",
        "dir/bootstrap.conf",
    ] {
        let mut config = fixture.config(true);
        config.kubeconfig = fixture.path(name);
        let error = check(&config).expect_err(name);
        assert!(error.contains("--bootstrap-kubeconfig"), "{error}");
        assert_eq!(std::fs::read(&real).unwrap(), before);
    }
    // Nor what would be kept of the other.
    let mut config = fixture.config(true);
    config.bootstrap = Some(Bootstrap::File(fixture.path("kubelet.conf.bak")));
    std::fs::write(fixture.path("kubelet.conf.bak"), &before).unwrap();
    let error = check(&config).expect_err("the copy");
    assert!(error.contains("kubelet.conf.bak"), "{error}");
    // Neither exists yet, and both names mean one file.
    let mut config = fixture.config(true);
    config.kubeconfig = fixture.path("none.conf");
    config.bootstrap = Some(Bootstrap::File(fixture.path("dir/none.conf")));
    check(&config).expect_err("one file to be");
    check(&fixture.config(true)).unwrap();
}
