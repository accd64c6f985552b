//! Who speaks for others; the verdicts are kube-apiserver 1.37.2's.

use super::*;

/// Authorities of front proxies and of clients, and a server that knows both.
struct Doors {
    proxies: Authority,
    clients: Authority,
    authenticator: Authenticator,
}

impl Doors {
    fn new(edit: impl FnOnce(&mut FrontProxyConfig)) -> Self {
        let (proxies, clients) = (Authority::root("front"), Authority::root("clients"));
        let mut front_proxy = FrontProxyConfig {
            is_believed: true,
            ..FrontProxyConfig::of_kubeadm(proxies.pem())
        };
        edit(&mut front_proxy);
        let authenticator = Authenticator::new(Config {
            client_ca_pem: clients.pem().into(),
            front_proxy: Some(front_proxy),
            token_auth_csv: "letmein,carol,7,staff".to_owned(),
            anonymous: true,
            ..Config::default()
        })
        .expect("a sound configuration");
        Self {
            proxies,
            clients,
            authenticator,
        }
    }

    fn ask(&self, leaf: Option<&[u8]>, headers: &[(&str, &str)]) -> Result<User, u16> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            all.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let peer = Peer {
            certificates: Arc::new(leaf.map(<[u8]>::to_vec).into_iter().collect()),
            ..Peer::default()
        };
        let objects = Shelf::default();
        let asked = self
            .authenticator
            .authenticate(&all, "/", &peer, &objects, at(MIDYEAR));
        asked.map_err(|status| status.code)
    }
}

const FOR_BOB: (&str, &str) = ("X-Remote-User", "bob");
const TOKEN: (&str, &str) = ("Authorization", "Bearer letmein");

#[test]
fn only_a_front_proxy_speaks_for_others() {
    let doors = Doors::new(|_| ());
    let named = |name: &'static str| [(DnType::CommonName, name)];
    let proxy = doors.proxies.leaf(&named("front-proxy-client"), |_| ());
    let other = doors.proxies.leaf(&named("other-proxy"), |_| ());
    let nameless = doors
        .proxies
        .leaf(&[(DnType::OrganizationName, "x")], |_| ());
    let jane = doors.clients.leaf(&named("jane"), |_| ());
    let fake = doors.clients.leaf(&named("front-proxy-client"), |_| ());
    let empty = ("X-Remote-User", "");
    for (what, leaf, headers, expected) in [
        ("a proxy", Some(&proxy), vec![FOR_BOB], Ok("bob")),
        ("for nobody", Some(&proxy), vec![], Err(401)),
        (
            "the first counts",
            Some(&proxy),
            vec![empty, ("X-Remote-User", "second")],
            Err(401),
        ),
        (
            "a proxy's own token",
            Some(&proxy),
            vec![TOKEN],
            Ok("carol"),
        ),
        (
            "the header goes first",
            Some(&proxy),
            vec![FOR_BOB, TOKEN],
            Ok("bob"),
        ),
        ("another name", Some(&other), vec![FOR_BOB], Err(401)),
        (
            "another name's token",
            Some(&other),
            vec![FOR_BOB, TOKEN],
            Ok("carol"),
        ),
        ("no name", Some(&nameless), vec![FOR_BOB], Err(401)),
        ("a client", Some(&jane), vec![FOR_BOB], Ok("jane")),
        (
            "the name alone",
            Some(&fake),
            vec![FOR_BOB],
            Ok("front-proxy-client"),
        ),
        (
            "no certificate",
            None,
            vec![FOR_BOB],
            Ok("system:anonymous"),
        ),
        ("a token", None, vec![FOR_BOB, TOKEN], Ok("carol")),
    ] {
        let asked = doors
            .ask(leaf.map(Vec::as_slice), &headers)
            .map(|user| user.name);
        assert_eq!(asked.as_deref().map_err(|code| *code), expected, "{what}");
    }
}

#[test]
fn names_need_not_be_limited_and_proxies_need_not_be_believed() {
    let named = |name: &'static str| [(DnType::CommonName, name)];
    let any = Doors::new(|config| config.allowed_names.clear());
    for name in [&[][..], &named("other-proxy")] {
        let leaf = any.proxies.leaf(name, |_| ());
        assert_eq!(
            any.ask(Some(&leaf), &[FOR_BOB]).map(|user| user.name),
            Ok("bob".to_owned())
        );
    }
    let told_only = Doors::new(|config| config.is_believed = false);
    let leaf = told_only.proxies.leaf(&named("front-proxy-client"), |_| ());
    assert_eq!(told_only.ask(Some(&leaf), &[FOR_BOB]).map(|_| ()), Err(401));
}

#[test]
fn a_front_proxy_tells_all_of_a_user() {
    let doors = Doors::new(|_| ());
    let leaf = doors
        .proxies
        .leaf(&[(DnType::CommonName, "front-proxy-client")], |_| ());
    let user = doors.ask(
        Some(&leaf),
        &[
            FOR_BOB,
            ("X-Remote-Group", "g1"),
            ("X-Remote-Group", "g2,g3"),
            ("X-Remote-Group", ""),
            ("X-Remote-Extra-Acme.com%2fFoo", "a"),
            ("X-Remote-Extra-Acme.com%2fFoo", "b"),
            ("X-Remote-Extra-Bad%zz", "c"),
            ("X-Remote-Uid", "u1"),
        ],
    );
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        user,
        Ok(User {
            name: "bob".to_owned(),
            uid: "u1".to_owned(),
            groups: texts(&["g1", "g2,g3", "system:authenticated"]),
            extra: [
                ("acme.com/foo".to_owned(), texts(&["a", "b"])),
                ("bad%zz".to_owned(), texts(&["c"])),
            ]
            .into(),
        })
    );
    let nobody = [
        ("X-Remote-User", "system:anonymous"),
        ("X-Remote-Group", "system:unauthenticated"),
    ];
    assert_eq!(doors.ask(Some(&leaf), &nobody), Ok(User::anonymous()));
    assert_eq!(doors.authenticator.client_ca_subjects().len(), 2);
}

#[test]
fn what_cannot_be_used_is_refused() {
    let with = |edit: fn(&mut FrontProxyConfig)| {
        let mut config = FrontProxyConfig {
            is_believed: true,
            ..FrontProxyConfig::of_kubeadm(Authority::root("front").pem())
        };
        edit(&mut config);
        let error = Authenticator::new(Config {
            front_proxy: Some(config),
            ..Config::default()
        });
        error.map(|_| ()).expect_err("unusable").to_string()
    };
    let text = with(|config| config.ca_pem = "nothing".to_owned());
    assert!(text.starts_with("front proxy CA bundle: "), "{text}");
    let text = with(|config| config.uid_headers = vec!["a b".to_owned()]);
    assert_eq!(text, "\"a b\" cannot be the name of a header");
}
