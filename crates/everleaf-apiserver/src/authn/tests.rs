//! Client certificates and the union of methods (`apiserver/pkg/authentication/request/x509` and
//! `…/union`), and what an attacker sends.

use super::*;
use crate::fixture::{Shelf, VERSION_1_CA_PEM, VERSION_1_PEM};
use everleaf_api::meta;
use http::HeaderValue;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

mod front_proxy;
mod revocation;
mod roots;

/// A certificate authority for tests, made by another implementation than ours.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

type Edit = fn(&mut CertificateParams);

fn params(name: &[(DnType, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, text) in name {
        let value = DnValue::Utf8String((*text).to_owned());
        params.distinguished_name.push(kind.clone(), value);
    }
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(&[(DnType::CommonName, name)]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

impl Authority {
    fn root(name: &str) -> Self {
        Self::root_with_key(name, KeyPair::generate().expect("a key"), |_| ())
    }

    fn root_with_key(name: &str, key: KeyPair, edit: Edit) -> Self {
        Self::root_edited(name, key, &edit)
    }

    fn root_edited(name: &str, key: KeyPair, edit: &dyn Fn(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        edit(&mut params);
        let der = params.self_signed(&key).expect("signed").der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    fn intermediate(&self, name: &str, edit: Edit) -> Self {
        let mut params = authority_params(name);
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        Self {
            der: signed.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, name: &[(DnType, &str)], edit: Edit) -> Vec<u8> {
        let mut params = params(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        signed.der().to_vec()
    }

    fn pem(&self) -> String {
        everleaf_pki::pem::encode("CERTIFICATE", &self.der)
    }
}

const BOB: &[(DnType, &str)] = &[(DnType::CommonName, "bob")];
const MIDYEAR: &str = "2030-07-01T00:00:00Z";

fn at(time: &str) -> Timestamp {
    meta::parse_time(time).expect("a time")
}

fn trusting(bundle: &str) -> Authenticator {
    Authenticator::new(Config {
        client_ca_pem: bundle.into(),
        token_auth_csv: "letmein,carol,7,staff".to_owned(),
        bootstrap_tokens: true,
        anonymous: true,
        ..Config::default()
    })
    .expect("a sound configuration")
}

fn ask(
    authenticator: &Authenticator,
    chain: &[&[u8]],
    authorization: Option<&str>,
    time: &str,
) -> Result<User, u16> {
    let mut headers = HeaderMap::new();
    if let Some(text) = authorization {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(text).expect("a value"));
    }
    let peer = Peer {
        certificates: Arc::new(chain.iter().map(|der| der.to_vec()).collect()),
        ..Peer::default()
    };
    authenticator
        .authenticate(&headers, "/", &peer, &Shelf::default(), at(time))
        .map_err(|status| status.code)
}

fn name(answer: Result<User, u16>) -> Result<String, u16> {
    answer.map(|user| user.name)
}

#[test]
fn a_kubelet_client_certificate() {
    let ca = Authority::root("ca");
    let subject = [
        (DnType::OrganizationName, "system:nodes"),
        (DnType::CommonName, "system:node:n1"),
    ];
    let leaf = ca.leaf(&subject, |_| ());
    let user = ask(&trusting(&ca.pem()), &[&leaf], None, MIDYEAR).expect("good");
    assert_eq!(user.name, "system:node:n1");
    assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
    assert_eq!(user.uid, "");
    let fingerprint = everleaf_pki::Leaf::from_der(&leaf)
        .expect("a certificate")
        .fingerprint();
    assert_eq!(
        user.extra["authentication.kubernetes.io/credential-id"],
        [format!("X509SHA256={fingerprint}")]
    );
}

#[test]
fn names_as_go_reads_them() {
    let ca = Authority::root("ca");
    let again = |last: u64| DnType::CustomDnType(vec![2, 5, 4, last]);
    let subject = [
        (DnType::CommonName, "first"),
        (DnType::OrganizationName, "b"),
        (again(3), "last"),
        (again(10), "a\0b"),
    ];
    let leaf = ca.leaf(&subject, |_| ());
    let user = ask(&trusting(&ca.pem()), &[&leaf], None, MIDYEAR).expect("good");
    assert_eq!(user.name, "last", "of two common names the last");
    assert_eq!(user.groups, ["b", "a\0b", "system:authenticated"]);
}

#[test]
fn user_uid_attribute() {
    let ca = Authority::root("ca");
    fn uid() -> DnType {
        DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2])
    }
    let check = |text: &str| {
        let leaf = ca.leaf(&[(DnType::CommonName, "bob"), (uid(), text)], |_| ());
        ask(&trusting(&ca.pem()), &[&leaf], None, MIDYEAR).map(|user| user.uid)
    };
    assert_eq!(check("1234"), Ok("1234".to_owned()));
    assert_eq!(check(""), Err(401));
    let two = [(uid(), "1"), (uid(), "2")];
    let leaf = ca.leaf(&two, |_| ());
    let answer = ask(&trusting(&ca.pem()), &[&leaf], None, MIDYEAR);
    assert_eq!(answer, Ok(User::anonymous()), "nobody has no UID");
    let bmp = ca.leaf(BOB, |p| {
        let text = rcgen::string::BmpString::try_from("77").expect("BMP");
        p.distinguished_name.push(uid(), DnValue::BmpString(text));
    });
    let answer = ask(&trusting(&ca.pem()), &[&bmp], None, MIDYEAR);
    assert_eq!(answer.map(|user| user.uid), Ok("77".to_owned()));
}

#[test]
fn case_82_and_its_relatives() {
    let ca = Authority::root("ca");
    let authenticator = trusting(&ca.pem());
    let check = |edit: Edit| name(ask(&authenticator, &[&ca.leaf(BOB, edit)], None, MIDYEAR));
    let bob = Ok("bob".to_owned());
    assert_eq!(check(|_| ()), bob);
    assert_eq!(check(|p| p.extended_key_usages.clear()), bob);
    assert_eq!(
        check(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        bob
    );
    assert_eq!(
        check(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        Err(401)
    );
    assert_eq!(
        check(|p| p
            .extended_key_usages
            .insert(0, ExtendedKeyUsagePurpose::ServerAuth)),
        bob
    );
    assert_eq!(check(|p| p.not_after = date_time_ymd(2030, 6, 1)), Err(401));
    assert_eq!(
        check(|p| p.not_before = date_time_ymd(2030, 8, 1)),
        Err(401)
    );
    assert_eq!(
        check(|p| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0x05, 0x00]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        }),
        Err(401),
        "a critical extension nobody here understands"
    );
    let stranger = Authority::root("ca");
    assert_eq!(
        name(ask(
            &authenticator,
            &[&stranger.leaf(BOB, |_| ())],
            None,
            MIDYEAR
        )),
        Err(401),
        "another authority of the same name"
    );
    assert_eq!(
        name(ask(&authenticator, &[b"junk"], None, MIDYEAR)),
        Err(401)
    );
    assert_eq!(name(ask(&authenticator, &[b""], None, MIDYEAR)), Err(401));
    assert_eq!(
        name(ask(&authenticator, &[&ca.der], None, MIDYEAR)),
        Ok("ca".to_owned()),
        "who stands in the bundle vouches for himself"
    );
}

/// What `openssl x509 -req` makes without an extension file, and what some CAs make of everything.
#[test]
fn version_1_leaves_and_ca_certificates_as_leaves() {
    let der = |pem: &str| {
        everleaf_pki::pem::blocks(pem.as_bytes())
            .next()
            .expect("one")
            .der
    };
    let (ca, jane) = (der(VERSION_1_CA_PEM), der(VERSION_1_PEM));
    let authenticator = trusting(VERSION_1_CA_PEM);
    let user = ask(&authenticator, &[&jane], None, MIDYEAR).expect("good");
    assert_eq!(user.name, "jane");
    assert_eq!(user.groups, ["dev", "system:authenticated"]);
    for ended in ["2026-11-01T00:00:00Z", "2110-01-01T00:00:00Z"] {
        assert_eq!(ask(&authenticator, &[&jane], None, ended), Err(401));
    }
    assert_eq!(
        name(ask(&authenticator, &[&ca], None, MIDYEAR)),
        Ok("old-fashioned".to_owned()),
        "the authority itself"
    );
    let mut forged = jane.clone();
    *forged.last_mut().expect("not empty") ^= 1;
    assert_eq!(ask(&authenticator, &[&forged], None, MIDYEAR), Err(401));
    let namesake = Authority::root("old-fashioned");
    assert_eq!(
        ask(&trusting(&namesake.pem()), &[&jane], None, MIDYEAR),
        Err(401)
    );

    let root = Authority::root("ca");
    let check = |edit: Edit| {
        let leaf = root.leaf(BOB, edit);
        name(ask(&trusting(&root.pem()), &[&leaf], None, MIDYEAR))
    };
    assert_eq!(
        check(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        Ok("bob".to_owned())
    );
    assert_eq!(
        check(|p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        Err(401)
    );
    assert_eq!(
        check(|p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            p.not_after = date_time_ymd(2030, 2, 1);
        }),
        Err(401)
    );
}

#[test]
fn case_83_no_common_name_is_nobody() {
    let ca = Authority::root("ca");
    let leaf = ca.leaf(&[(DnType::OrganizationName, "system:masters")], |_| ());
    let answer = ask(&trusting(&ca.pem()), &[&leaf], None, MIDYEAR);
    assert_eq!(answer, Ok(User::anonymous()));
    let expired = ask(&trusting(&ca.pem()), &[&leaf], None, "2032-01-01T00:00:00Z");
    assert_eq!(expired, Err(401));
}

#[test]
fn dates_are_judged_at_each_request() {
    let ca = Authority::root("ca");
    let authenticator = trusting(&ca.pem());
    let leaf = ca.leaf(BOB, |_| ());
    for (time, good) in [
        ("2029-12-31T23:59:59Z", false),
        ("2030-01-01T00:00:00Z", true),
        (MIDYEAR, true),
        ("2031-01-01T00:00:00Z", true),
        ("2031-01-01T00:00:01Z", false),
        (MIDYEAR, true),
        ("2029-12-31T23:59:59Z", false),
        ("1960-01-01T00:00:00Z", false),
    ] {
        let answer = ask(&authenticator, &[&leaf], None, time);
        assert_eq!(answer.is_ok(), good, "{time}");
    }
}

#[test]
fn intermediates_sent_by_the_peer() {
    let root = Authority::root("root");
    let authenticator = trusting(&root.pem());
    let between = root.intermediate("between", |p| p.not_after = date_time_ymd(2030, 9, 1));
    let leaf = between.leaf(BOB, |_| ());
    let alone = name(ask(&authenticator, &[&leaf], None, MIDYEAR));
    assert_eq!(alone, Err(401));
    let chain: [&[u8]; 2] = [&leaf, &between.der];
    let bob = Ok("bob".to_owned());
    assert_eq!(name(ask(&authenticator, &chain, None, MIDYEAR)), bob);
    assert_eq!(
        name(ask(&authenticator, &chain, None, "2030-10-01T00:00:00Z")),
        Err(401),
        "the intermediate has ended, though the leaf has not"
    );
    let serving = root.intermediate("serving", |p| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let leaf = serving.leaf(BOB, |_| ());
    let chain: [&[u8]; 2] = [&leaf, &serving.der];
    assert_eq!(name(ask(&authenticator, &chain, None, MIDYEAR)), Err(401));
    let leaf = between.leaf(BOB, |_| ());
    let mut many: Vec<&[u8]> = vec![&leaf];
    many.extend(std::iter::repeat_n(between.der.as_slice(), 129));
    assert_eq!(name(ask(&authenticator, &many, None, MIDYEAR)), Err(401));
    assert_eq!(name(ask(&authenticator, &many[..129], None, MIDYEAR)), bob);
}

#[test]
fn an_authority_that_has_ended_is_none() {
    let short: Edit = |p| p.not_after = date_time_ymd(2030, 3, 1);
    let old = Authority::root_with_key("ca", KeyPair::generate().expect("a key"), short);
    let leaf = old.leaf(BOB, |_| ());
    let authenticator = trusting(&old.pem());
    let spring = "2030-02-01T00:00:00Z";
    assert_eq!(
        name(ask(&authenticator, &[&leaf], None, spring)),
        Ok("bob".to_owned())
    );
    assert_eq!(name(ask(&authenticator, &[&leaf], None, MIDYEAR)), Err(401));
    // The same authority renewed: same name, same key, both in the bundle.
    let key = KeyPair::from_pem(&old.issuer.key().serialize_pem()).expect("the key");
    let new = Authority::root_with_key("ca", key, |_| ());
    let both = trusting(&(old.pem() + &new.pem()));
    for time in [spring, MIDYEAR, spring] {
        assert_eq!(
            name(ask(&both, &[&leaf], None, time)),
            Ok("bob".to_owned()),
            "{time}"
        );
    }
}

#[test]
fn a_swapped_bundle_judges_open_connections() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let authenticator = trusting(&old.pem());
    let leaf = old.leaf(BOB, |_| ());
    assert!(ask(&authenticator, &[&leaf], None, MIDYEAR).is_ok());
    authenticator
        .set_client_ca(new.pem().as_bytes())
        .expect("sound");
    assert_eq!(ask(&authenticator, &[&leaf], None, MIDYEAR), Err(401));
    assert_eq!(authenticator.client_ca_pem(), new.pem());
    assert_eq!(authenticator.client_ca_subjects().len(), 1);
    assert_eq!(
        authenticator.set_client_ca(b"nothing"),
        Err(ConfigError::BadClientCa(BundleError::Empty))
    );
    let broken = everleaf_pki::pem::encode("CERTIFICATE", b"broken");
    assert!(matches!(
        authenticator.set_client_ca((new.pem() + &broken).as_bytes()),
        Err(ConfigError::BadClientCa(BundleError::Unreadable {
            position: 2,
            ..
        }))
    ));
    let leaf = new.leaf(BOB, |_| ());
    let answer = name(ask(&authenticator, &[&leaf], None, MIDYEAR));
    assert_eq!(
        answer,
        Ok("bob".to_owned()),
        "a refused bundle changes nothing"
    );
}

#[test]
fn methods_form_a_union() {
    let ca = Authority::root("ca");
    let authenticator = trusting(&ca.pem());
    let good = ca.leaf(BOB, |_| ());
    let nameless = ca.leaf(&[(DnType::OrganizationName, "x")], |_| ());
    let bad = Authority::root("other").leaf(BOB, |_| ());
    let check = |chain: &[&[u8]], authorization: Option<&str>| {
        name(ask(&authenticator, chain, authorization, MIDYEAR))
    };
    let is = |name: &str| Ok(name.to_owned());
    assert_eq!(check(&[], None), is("system:anonymous"));
    assert_eq!(check(&[], Some("Bearer letmein")), is("carol"));
    assert_eq!(check(&[&good], Some("Bearer letmein")), is("bob"));
    assert_eq!(check(&[&bad], Some("Bearer letmein")), is("carol"));
    assert_eq!(check(&[&nameless], Some("Bearer letmein")), is("carol"));
    assert_eq!(check(&[&good], Some("Bearer wrong")), is("bob"));
    assert_eq!(check(&[&bad], None), Err(401));
    assert_eq!(check(&[], Some("Bearer wrong")), Err(401));
    assert_eq!(check(&[&nameless], Some("Bearer wrong")), Err(401));
}

#[test]
fn header_tricks() {
    let authenticator = trusting("");
    let check = |text: &str| name(ask(&authenticator, &[], Some(text), MIDYEAR));
    let is = |name: &str| Ok(name.to_owned());
    for text in [
        "bearer letmein",
        "BEARER letmein",
        "  Bearer letmein  ",
        "Bearer letmein more",
    ] {
        assert_eq!(check(text), is("carol"), "{text}");
    }
    for text in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  letmein",
        "Basic Ym9iOmI=",
        "letmein",
        "Bearer\tletmein",
    ] {
        assert_eq!(check(text), is("system:anonymous"), "{text}");
    }
    for text in [
        "Bearer letmein\u{a0}",
        "Bearer LETMEIN",
        "Bearer letmein,letmein",
    ] {
        assert_eq!(check(text), Err(401), "{text}");
    }
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, HeaderValue::from_static("Basic Ym9iOmI="));
    headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer letmein"));
    let answer = authenticator
        .authenticate(
            &headers,
            "/",
            &Peer::default(),
            &Shelf::default(),
            at(MIDYEAR),
        )
        .expect("anonymous");
    assert_eq!(answer, User::anonymous(), "only the first header counts");
    headers.clear();
    headers.append("x-remote-user", HeaderValue::from_static("root"));
    headers.append("x-remote-group", HeaderValue::from_static("system:masters"));
    let answer = authenticator
        .authenticate(
            &headers,
            "/",
            &Peer::default(),
            &Shelf::default(),
            at(MIDYEAR),
        )
        .expect("anonymous");
    assert_eq!(answer, User::anonymous(), "no front proxy is configured");
    let opaque = HeaderValue::from_bytes(b"Bearer let\xffmein").expect("opaque");
    headers.insert(AUTHORIZATION, opaque);
    let answer = authenticator.authenticate(
        &headers,
        "/",
        &Peer::default(),
        &Shelf::default(),
        at(MIDYEAR),
    );
    assert_eq!(answer.expect_err("unreadable").code, 401);
}

#[test]
fn switches() {
    let shelf = Shelf::default();
    shelf.put(
        "secrets",
        crate::bootstrap::bootstrap_token_secret("abcdef", "0123456789abcdef", None, "test"),
    );
    let check = |config: Config, authorization: Option<&'static str>| {
        let authenticator = Authenticator::new(config).expect("sound");
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(text));
        }
        authenticator
            .authenticate(&headers, "/", &Peer::default(), &shelf, at(MIDYEAR))
            .map_err(|status| status.code)
    };
    assert_eq!(check(Config::default(), None), Err(401), "anonymous is off");
    let token = Some("Bearer abcdef.0123456789abcdef");
    let anonymous = Config {
        anonymous: true,
        ..Config::default()
    };
    assert_eq!(
        check(anonymous, token),
        Err(401),
        "bootstrap tokens are off"
    );
    let tokens = Config {
        bootstrap_tokens: true,
        ..Config::default()
    };
    let user = check(tokens, token).expect("a bootstrap token");
    assert_eq!(
        user.groups,
        [
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:default-node-token",
            "system:authenticated"
        ]
    );
}

#[test]
fn an_in_process_caller_needs_no_credential() {
    let account = User::service_account("kube-system", "certificate-controller");
    let peer = Peer {
        in_process: Some(InProcessIdentity::new(account.clone())),
        ..Peer::default()
    };
    let authenticator = Authenticator::new(Config::default()).expect("sound");
    let answer = authenticator.authenticate(
        &HeaderMap::new(),
        "/",
        &peer,
        &Shelf::default(),
        at(MIDYEAR),
    );
    assert_eq!(answer, Ok(account));
}

#[test]
fn nothing_secret_in_debug() {
    let config = Config {
        token_auth_csv: "letmein,carol,7".to_owned(),
        ..Config::default()
    };
    let shown = format!("{config:?}");
    let authenticator = Authenticator::new(config).expect("sound");
    let shown = shown + &format!("{authenticator:?}");
    assert!(!shown.contains("letmein"), "{shown}");
}
