//! What Go makes of a value is read, what is written is read again, and nothing else is.

use super::*;
use crate::config_file::ConfigFileError;
use crate::registry::by_resource;

const VALUE: &[u8] = b"k8s\0everleaf";
const PLACE: &str = "/registry/secrets/ns/a";
const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";

fn secret(length: u8) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = (1..=length).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn provider(name: &str, key: &str, length: u8) -> String {
    let secret = secret(length);
    format!("{{{name}: {{keys: [{{name: {key}, secret: {secret}}}]}}}}")
}

fn rule(resources: &str, providers: &[&str]) -> String {
    let providers = providers.join(", ");
    format!("{{resources: [{resources}], providers: [{providers}]}}")
}

fn read(rules: &[String]) -> Result<Rules, ConfigFileError> {
    config::parse(&format!("{HEAD}resources: [{}]", rules.join(", ")))
}

fn by(rules: &[String]) -> Encryption {
    Encryption::new(read(rules).unwrap(), "/registry")
}

fn of(resource: &str) -> &'static Descriptor {
    by_resource(resource).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

/// Made with Go 1.26: crypto/aes, crypto/cipher and golang.org/x/crypto/nacl/secretbox, of keys
/// 1, 2, 3, …
const OF_GO: [(&str, u8, &str); 7] = [
    (
        "aesgcm",
        16,
        "6465666768696a6b6c6d6e6f40608ff8e8421952c3310a6638bbdbb8d33880008e4d378e9e43af79",
    ),
    (
        "aesgcm",
        24,
        "6465666768696a6b6c6d6e6fcf100da6f8d995204be7c5d937a08843dcc0ae17ee0c008dbcdc7454",
    ),
    (
        "aesgcm",
        32,
        "6465666768696a6b6c6d6e6f0b67004cf4f4d90b9432cefea04e88f5cc2490a35dd978fceb9e6761",
    ),
    (
        "aescbc",
        16,
        "969798999a9b9c9d9e9fa0a1a2a3a4a53a70b5f9135ca0adb13f8bc45ddad482",
    ),
    (
        "aescbc",
        24,
        "969798999a9b9c9d9e9fa0a1a2a3a4a533d5cefb6b90bfd5e459819ea1e438a9",
    ),
    (
        "aescbc",
        32,
        "969798999a9b9c9d9e9fa0a1a2a3a4a597599ee123ac0b6f4d355074908624e8",
    ),
    (
        "secretbox",
        32,
        "c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfb89960586ba1793c450281ffafd36a3aae36622748840232789b57f1",
    ),
];

#[test]
fn what_go_encrypted_is_read() {
    for (name, length, sealed) in OF_GO {
        let encryption = by(&[rule("secrets", &[&provider(name, "k", length)])]);
        let mut stored = format!("k8s:enc:{name}:v1:k:").into_bytes();
        let prefix = stored.len();
        stored.extend(bytes(sealed));
        let secrets = of("secrets");
        let open = |place: &str, stored: &[u8]| {
            encryption.open(secrets, place, &Bytes::copy_from_slice(stored))
        };
        let (value, seal) = open(PLACE, &stored).unwrap();
        assert_eq!(&value[..], VALUE, "{name} {length}");
        assert!(encryption.is_current(secrets, seal));
        // Our own.
        let value = Bytes::from_static(VALUE);
        let (ours, _) = encryption.seal(secrets, PLACE, value.clone()).unwrap();
        assert_eq!(ours.len(), stored.len());
        assert!(ours.starts_with(&stored[..prefix]) && ours != stored);
        assert_eq!(open(PLACE, &ours).unwrap().0, value);
        let (again, _) = encryption.seal(secrets, PLACE, value.clone()).unwrap();
        assert_ne!(again, ours, "never the same nonce twice");
        // Cut off or changed, it is an error or, without authentication, something else.
        for end in prefix..stored.len() {
            let mut damaged = stored.clone();
            damaged[end] ^= 1;
            for damaged in [&stored[..end], &damaged] {
                match open(PLACE, damaged) {
                    Err(reason) => assert!(reason.contains(&format!("{name}:k")), "{reason}"),
                    Ok(_) => assert_eq!(name, "aescbc"),
                }
            }
        }
        let is_bound = open("/registry/secrets/ns/b", &stored).is_err();
        assert_eq!(is_bound, name == "aesgcm", "moved to another key");
    }
}

#[test]
fn the_key_that_is_authenticated_is_that_of_the_store() {
    let rules = || read(&[rule("secrets", &[&provider("aesgcm", "k", 32)])]).unwrap();
    let there = Encryption::new(rules(), "kubernetes.io");
    let here = Encryption::new(rules(), "/registry");
    let value = Bytes::from_static(VALUE);
    let (stored, _) = there.seal(of("secrets"), PLACE, value.clone()).unwrap();
    assert_eq!(there.open(of("secrets"), PLACE, &stored).unwrap().0, value);
    assert!(here.open(of("secrets"), PLACE, &stored).is_err());
}

#[test]
fn the_first_provider_writes_and_all_read() {
    let secrets = of("secrets");
    let [old, new] = [provider("aescbc", "k1", 16), provider("aescbc", "k2", 32)];
    let value = Bytes::from_static(VALUE);
    let before = by(&[rule("secrets", &[&old, "{identity: {}}"])]);
    let (stored, sealed_before) = before.seal(secrets, PLACE, value.clone()).unwrap();
    let plain = before.open(secrets, PLACE, &value).unwrap();
    assert_eq!(plain, (value.clone(), Seal::PLAIN));
    assert!(!before.is_current(secrets, Seal::PLAIN));

    let after = by(&[rule("secrets", &[&new, &old])]);
    assert_eq!(
        after.open(secrets, PLACE, &stored).unwrap(),
        (value.clone(), sealed_before)
    );
    assert!(!after.is_current(secrets, sealed_before) && after.knows(secrets, sealed_before));
    let reason = after.open(secrets, PLACE, &value).unwrap_err();
    assert_eq!(
        reason,
        "it is not encrypted, and --encryption-provider-config has no provider identity for secrets"
    );

    let last = by(&[rule("secrets", &[&new])]);
    let reason = last.open(secrets, PLACE, &stored).unwrap_err();
    assert_eq!(
        reason,
        "it is encrypted by aescbc:k1, and --encryption-provider-config has no such key for secrets"
    );
    assert!(!last.knows(secrets, sealed_before));
    // Away from encryption: what is encrypted is not taken for plain text.
    let off = by(&[rule("secrets", &["{identity: {}}", &old])]);
    assert_eq!(off.open(secrets, PLACE, &stored).unwrap().0, value);
    assert_eq!(
        off.seal(secrets, PLACE, value.clone()).unwrap(),
        (value, Seal::PLAIN)
    );
    let none = Encryption::default();
    let reason = none.open(secrets, PLACE, &stored).unwrap_err();
    assert!(
        reason.starts_with("it is encrypted by aescbc:k1"),
        "{reason}"
    );
}

/// Two secrets of one name: the one that fits is found, and the other is not taken for it.
#[test]
fn a_key_is_its_secret_and_not_its_name() {
    let secrets = of("secrets");
    let [one, two] = [provider("secretbox", "k", 32), provider("aesgcm", "k", 32)];
    let other = one.replace(&secret(32), &secret(32).replacen('A', "B", 1));
    let value = Bytes::from_static(VALUE);
    let before = by(&[rule("secrets", &[&one])]);
    let (stored, sealed_before) = before.seal(secrets, PLACE, value.clone()).unwrap();
    let both = by(&[rule("secrets", &[&other, &two, &one])]);
    let found = both.open(secrets, PLACE, &stored).unwrap();
    assert_eq!(found, (value, sealed_before));
    assert!(!both.is_current(secrets, sealed_before));
    let reason = by(&[rule("secrets", &[&other])]).open(secrets, PLACE, &stored);
    let reason = reason.unwrap_err();
    assert!(reason.contains("the key secretbox:k"), "{reason}");
}

#[test]
fn the_most_exact_rule_counts() {
    let key = |name: &str| provider("secretbox", name, 32);
    let encryption = by(&[
        rule("events", &["{identity: {}}"]),
        rule(
            "secrets, certificatesigningrequests.certificates.k8s.io",
            &[&key("a")],
        ),
        rule("'*.rbac.authorization.k8s.io'", &[&key("b")]),
        rule("'*.'", &[&key("c")]),
        rule("'*.*'", &[&key("d")]),
    ]);
    for (resource, expected) in [
        ("events", None),
        ("secrets", Some("a")),
        ("certificatesigningrequests", Some("a")),
        ("roles", Some("b")),
        ("configmaps", Some("c")),
        ("leases", Some("d")),
    ] {
        let (stored, _) = encryption
            .seal(of(resource), "/registry/x", Bytes::from_static(VALUE))
            .unwrap();
        let prefix = expected.map_or("k8s\0".to_owned(), |key| {
            format!("k8s:enc:secretbox:v1:{key}:")
        });
        assert!(stored.starts_with(prefix.as_bytes()), "{resource}");
    }
    let some = by(&[rule("secrets", &[&key("a")])]);
    assert!(some.is_current(of("configmaps"), Seal::PLAIN));
}

/// As kube-apiserver refuses them (`validation_encryption.go`, `config.go`).
#[test]
fn rules_that_cannot_be_are_refused_at_their_path() {
    let good = provider("aescbc", "k", 32);
    for (rules, expected) in [
        (vec![], "resources: at least one resources is required"),
        (
            vec![rule("", &[&good])],
            "resources[0].resources: at least one is required",
        ),
        (
            vec![rule("secrets", &[])],
            "resources[0].providers: at least one is required",
        ),
        (
            vec![rule("Secrets", &[&good])],
            "resources[0].resources[0]: \"Secrets\": resource name should not contain capital letters",
        ),
        (
            vec![rule("'*'", &[&good])],
            "resources[0].resources[0]: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        ),
        (
            vec![rule("'secrets.*'", &[&good])],
            "resources[0].resources[0]: \"secrets.*\": encrypting the same resource across groups is not supported",
        ),
        (
            vec![rule("'*.events.k8s.io'", &[&good])],
            "resources[0].resources[0]: \"*.events.k8s.io\": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        (
            vec![rule("apiserveripinfo", &[&good])],
            "resources[0].resources[0]: \"apiserveripinfo\": resources which do not have REST API/s cannot be encrypted",
        ),
        (
            vec![rule("ingresses.extensions", &[&good])],
            "resources[0].resources[0]: \"ingresses.extensions\": 'extensions' group has been removed and cannot be used for encryption",
        ),
        (
            vec![rule("secrets, secrets", &[&good])],
            "resources[0].resources: the same resource cannot be specified multiple times",
        ),
        (
            vec![rule("secrets, '*.'", &[&good])],
            "resources[0].resources: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
        ),
        (
            vec![rule("'*.*', '*.apps'", &[&good])],
            "resources[0].resources: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
        ),
        (
            vec![rule("'*.'", &[&good]), rule("secrets", &[&good])],
            "resources[1].resources[0]: resource \"secrets\" is masked by earlier rule \"*.\"",
        ),
        (
            vec![rule("'*.*'", &[&good]), rule("x.y", &[&good])],
            "resources[1].resources[0]: resource \"x.y\" is masked by earlier rule \"*.*\"",
        ),
    ] {
        assert_eq!(read(&rules).unwrap_err().to_string(), expected);
    }
}

#[test]
fn providers_that_cannot_be_are_refused_at_their_path() {
    let good = provider("aescbc", "k", 32);
    let short = good.replace(&secret(32), "c2hvcnQ=");
    let no_base64 = good.replace(&secret(32), "'%%%'");
    let two = format!("{{identity: {{}}, {}", &good[1..]);
    let kms = "{kms: {apiVersion: v2, name: x, endpoint: 'unix:///x'}}";
    for (rules, expected) in [
        (
            vec![rule("secrets", &["{}"])],
            "resources[0].providers[0]: provider does not contain any of the expected providers: aesgcm, aescbc, secretbox, identity",
        ),
        (
            vec![rule("secrets", &["{identity: {}}", &two])],
            "resources[0].providers[1]: more than one provider specified in a single element, should split into different list elements",
        ),
        (
            vec![rule("secrets", &["{aescbc: {keys: []}}"])],
            "resources[0].providers[0].aescbc.keys: at least one keys is required",
        ),
        (
            vec![rule("secrets", &["{aescbc: {keys: [{secret: x}]}}"])],
            "resources[0].providers[0].aescbc.keys[0].name: name is a mandatory field for a key",
        ),
        (
            vec![rule("secrets", &["{aescbc: {keys: [{name: x}]}}"])],
            "resources[0].providers[0].aescbc.keys[0].secret: secret is a mandatory field for a key",
        ),
        (
            vec![rule("secrets", &[&short])],
            "resources[0].providers[0].aescbc.keys[0].secret: secret is not of the expected length, got 5, expected one of [16 24 32]",
        ),
        (
            vec![rule("secrets", &[&provider("secretbox", "k", 16)])],
            "resources[0].providers[0].secretbox.keys[0].secret: secret is not of the expected length, got 16, expected one of [32]",
        ),
        (
            vec![rule("secrets", &[&no_base64])],
            "resources[0].providers[0].aescbc.keys[0].secret: secrets must be base64 encoded",
        ),
        (
            vec![rule("secrets", &[kms])],
            "resources[0].providers[0].kms: KMS plugins are not supported here: use secretbox, aesgcm or aescbc; before you move from a kube-apiserver, have it write all objects anew with one of these",
        ),
    ] {
        assert_eq!(read(&rules).unwrap_err().to_string(), expected);
    }
}

#[test]
fn nothing_that_may_be_a_secret_is_told() {
    let good = provider("aescbc", "k", 32);
    let secret = secret(32);
    for bad in [
        good.replace("secret:", "secert:"),
        good.replace(&secret, &format!("[{secret}]")),
        good.replace("name: k", &format!("{secret}: k")),
        good.replace(&format!("secret: {secret}"), &secret),
        good.replace("[{", "{{"),
        good.replace("}]", ""),
    ] {
        let error = read(&[rule("secrets", &[&bad])]).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains(&secret[..24]), "{told}");
    }
    let debug = format!("{:?}", by(&[rule("secrets", &[&good])]));
    assert!(debug.contains("secrets") && !debug.contains("k1") && !debug.contains(&secret));
}
