//! The requests that both signers get.

use super::super::requests::{CLIENT, SERVING};

const APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// Whether ours does something else on purpose; docs/controllers.md says so, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Differs {
    /// A name that is asked for twice stands in the certificate once.
    NamesToldOnce,
    /// No.
    Not,
    /// A key of a kind that we do not check signatures of: `Failed`, `RequestUnparseable`.
    UnknownKey,
    /// A key that is too weak: `Failed`, `UnsupportedKey`.
    WeakKey,
}

/// One request.
pub(super) struct Shape {
    /// What is particular to it.
    pub(super) name: &'static str,
    /// One of [`KEYS`].
    pub(super) key: &'static str,
    pub(super) signer: &'static str,
    /// As openssl takes it.
    pub(super) subject: &'static str,
    /// Subject alternative names, as openssl takes them.
    pub(super) names: &'static str,
    pub(super) usages: &'static [&'static str],
    pub(super) expiration_seconds: Option<i32>,
    pub(super) differs: Differs,
}

/// Keys by name, with the options by which openssl makes them.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "p224",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"],
    ),
    (
        "p256",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ),
    (
        "p384",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ),
    (
        "p521",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    ),
    ("ed25519", &["-algorithm", "ED25519"]),
    (
        "rsa1024",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
    ),
    (
        "rsa2048",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ),
    (
        "rsa3072",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
    ),
];

const NODE: &str = "/O=system:nodes/CN=system:node:n1";
const SHORT_SERVING: &[&str] = &["digital signature", "server auth"];
const LONG_SERVING: &[&str] = &["digital signature", "key encipherment", "server auth"];
const SHORT_CLIENT: &[&str] = &["digital signature", "client auth"];
const LONG_CLIENT: &[&str] = &["digital signature", "key encipherment", "client auth"];

const fn serving(name: &'static str, key: &'static str, names: &'static str) -> Shape {
    Shape {
        name,
        key,
        signer: SERVING,
        subject: NODE,
        names,
        usages: SHORT_SERVING,
        expiration_seconds: None,
        differs: Differs::Not,
    }
}

const fn client(name: &'static str, key: &'static str) -> Shape {
    Shape {
        signer: CLIENT,
        usages: SHORT_CLIENT,
        ..serving(name, key, "")
    }
}

const fn person(name: &'static str, subject: &'static str, names: &'static str) -> Shape {
    Shape {
        signer: APISERVER_CLIENT,
        subject,
        ..client(name, "p256").named(names)
    }
}

impl Shape {
    const fn named(self, names: &'static str) -> Self {
        Self { names, ..self }
    }

    const fn of(self, subject: &'static str) -> Self {
        Self { subject, ..self }
    }

    const fn using(self, usages: &'static [&'static str]) -> Self {
        Self { usages, ..self }
    }

    const fn lasting(self, seconds: i32) -> Self {
        Self {
            expiration_seconds: Some(seconds),
            ..self
        }
    }

    const fn differing(self, differs: Differs) -> Self {
        Self { differs, ..self }
    }
}

/// All of them.
pub(super) const SHAPES: &[Shape] = &[
    // Keys, for each signer.
    serving("serving-p256", "p256", "DNS:n1,IP:10.0.0.1"),
    serving("serving-p384", "p384", "DNS:n1"),
    serving("serving-p521", "p521", "IP:10.0.0.1"),
    serving("serving-ed25519", "ed25519", "DNS:n1"),
    serving("serving-rsa2048", "rsa2048", "DNS:n1").using(LONG_SERVING),
    serving("serving-rsa3072", "rsa3072", "DNS:n1"),
    client("client-p256", "p256"),
    client("client-p384", "p384"),
    client("client-ed25519", "ed25519").using(LONG_CLIENT),
    client("client-rsa2048", "rsa2048").using(LONG_CLIENT),
    // Names and addresses.
    serving(
        "serving-names",
        "p256",
        "DNS:n1,DNS:n1.example.com,DNS:a.b.c.d.e.example.com,IP:10.0.0.1,IP:192.168.1.2,DNS:n2",
    ),
    serving(
        "serving-v6",
        "p256",
        "IP:fd00::1,IP:2001:db8::2,IP:10.0.0.1",
    ),
    serving("serving-mapped", "p256", "IP:::ffff:10.0.0.1"),
    serving(
        "serving-odd-names",
        "p256",
        "DNS:*.example.com,DNS:UPPER.example.com,DNS:under_score,DNS:n1.",
    ),
    serving("serving-repeated", "p256", "DNS:n1,DNS:n1,IP:10.0.0.1")
        .differing(Differs::NamesToldOnce),
    person(
        "person-all-names",
        "/CN=somebody",
        "DNS:a.example.com,IP:10.0.0.1,IP:fd00::1,email:a@example.com,URI:spiffe://example.com/a",
    ),
    person("person-email", "/CN=somebody", "email:a@example.com"),
    person(
        "person-other-name",
        "/CN=somebody",
        "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a,DNS:a.example.com",
    ),
    // Subjects.
    person(
        "person-many",
        "/C=CH/ST=Zurich/L=Zurich/street=Road 1/postalCode=8000/O=one/O=two/OU=x/OU=y/serialNumber=7/CN=somebody",
        "",
    ),
    person("person-order", "/CN=somebody/OU=x/O=one/C=CH", ""),
    person("person-several-in-one", "/O=one+O=two/CN=somebody", ""),
    person(
        "person-dropped",
        "/DC=com/DC=example/UID=7/emailAddress=a@example.com/title=boss/CN=somebody",
        "",
    ),
    person("person-utf8", "/O=Zürich/CN=Ünal", ""),
    person("person-signs", "/O=a*b/CN=a@b&c_d", ""),
    person("person-two-cn", "/CN=first/CN=second", ""),
    person("person-nobody", "/", ""),
    person("person-nobody-named", "/", "DNS:a.example.com"),
    person(
        "person-long",
        "/CN=0123456789012345678901234567890123456789012345678901234567890123",
        "",
    ),
    person("person-no-cn", "/O=one", ""),
    serving("serving-attributes", "p256", "DNS:n1")
        .of("/C=CH/OU=x/O=system:nodes/CN=system:node:n1"),
    // Usages.
    person("person-client-auth", "/CN=somebody", "").using(&["client auth"]),
    person("person-encipherment", "/CN=somebody", "").using(&["key encipherment", "client auth"]),
    // Lifetimes.
    person("person-shortest", "/CN=somebody", "").lasting(600),
    person("person-hour", "/CN=somebody", "").lasting(3600),
    person("person-eight-hours", "/CN=somebody", "").lasting(8 * 3600),
    person("person-almost-eight-hours", "/CN=somebody", "").lasting(8 * 3600 - 1),
    person("person-day", "/CN=somebody", "").lasting(86_400),
    person("person-too-long", "/CN=somebody", "").lasting(500 * 86_400),
    client("client-day", "p256").lasting(86_400),
    // What a signer refuses, by each of its rules.
    serving("no-names", "p256", ""),
    serving("serving-no-organization", "p256", "DNS:n1").of("/CN=system:node:n1"),
    serving("serving-two-organizations", "p256", "DNS:n1")
        .of("/O=system:nodes/O=other/CN=system:node:n1"),
    serving("serving-no-node", "p256", "DNS:n1").of("/O=system:nodes/CN=n1"),
    serving("serving-with-email", "p256", "DNS:n1,email:a@example.com"),
    serving(
        "serving-with-uri",
        "p256",
        "DNS:n1,URI:spiffe://example.com/a",
    ),
    serving("serving-client-auth", "p256", "DNS:n1").using(SHORT_CLIENT),
    serving("serving-more-usages", "p256", "DNS:n1").using(&[
        "digital signature",
        "server auth",
        "client auth",
    ]),
    serving("serving-signing", "p256", "DNS:n1").using(&["signing", "server auth"]),
    client("client-named", "p256").named("DNS:n1"),
    client("client-address", "p256").named("IP:10.0.0.1"),
    client("client-email", "p256").named("email:a@example.com"),
    client("client-uri", "p256").named("URI:spiffe://example.com/a"),
    client("client-no-organization", "p256").of("/CN=system:node:n1"),
    client("client-no-node", "p256").of("/O=system:nodes/CN=n1"),
    client("client-server-auth", "p256").using(SHORT_SERVING),
    client("client-wrong-twice", "p256")
        .of("/O=other/CN=n1")
        .named("DNS:n1"),
    person("person-server-auth", "/CN=somebody", "").using(&["server auth", "client auth"]),
    person("person-no-client-auth", "/CN=somebody", "").using(&["digital signature"]),
    person("person-agreement", "/CN=somebody", "").using(&["key agreement", "client auth"]),
    // On purpose.
    serving("serving-rsa1024", "rsa1024", "DNS:n1").differing(Differs::WeakKey),
    serving("serving-p224", "p224", "DNS:n1").differing(Differs::UnknownKey),
];
