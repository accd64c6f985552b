//! Requests with ML-DSA keys: what is taken, and what is refused, by name.

use super::*;
use crate::handler::tests::fixture::World;
use crate::registry::gates::Gates;
use everleaf_pki::{MlDsa, PrivateKey, Subject, Template, pem};

const SET: MlDsa = MlDsa::MlDsa65;
const ML_DSA_44: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17];
const ML_DSA_65: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18];
const ML_DSA_87: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 19];
/// HashML-DSA-65 with SHA-512, which RFC 9881 leaves out.
const HASH_ML_DSA_65: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 33];
const ECDSA_WITH_SHA256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const NULL: &[u8] = &[5, 0];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header[..], content].concat()
}

/// Header and content of the first element, and what follows.
fn split(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (header, length) = match der[1] {
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        0x81 => (3, usize::from(der[2])),
        short => (2, usize::from(short)),
    };
    let (whole, rest) = der.split_at(header + length);
    (whole, &whole[header..], rest)
}

/// A request in parts, each of which a case may change.
#[derive(Clone)]
struct Parts {
    version: Vec<u8>,
    subject: Vec<u8>,
    key_algorithm: Vec<u8>,
    key: Vec<u8>,
    attributes: Vec<u8>,
    signature_algorithm: Vec<u8>,
    /// With its octet of unused bits.
    signature: Vec<u8>,
    tail: Vec<u8>,
}

impl Parts {
    fn of(der: &[u8]) -> Self {
        let (_, outer, _) = split(der);
        let (_, info, outer) = split(outer);
        let (_, signature_algorithm, outer) = split(outer);
        let (_, signature, _) = split(outer);
        let (version, _, info) = split(info);
        let (subject, _, info) = split(info);
        let (_, spki, attributes) = split(info);
        let (_, key_algorithm, key) = split(spki);
        let (_, key, _) = split(key);
        let own = <[u8]>::to_vec;
        Self {
            version: own(version),
            subject: own(subject),
            key_algorithm: own(key_algorithm),
            key: own(key),
            attributes: own(attributes),
            signature_algorithm: own(signature_algorithm),
            signature: own(signature),
            tail: Vec::new(),
        }
    }

    fn to_der(&self) -> Vec<u8> {
        let spki = [
            element(SEQUENCE, &self.key_algorithm),
            element(BIT_STRING, &self.key),
        ];
        let spki = element(SEQUENCE, &spki.concat());
        let info = [&self.version, &self.subject, &spki, &self.attributes];
        let info: Vec<u8> = info.into_iter().flatten().copied().collect();
        let whole = [
            element(SEQUENCE, &info),
            element(SEQUENCE, &self.signature_algorithm),
            element(BIT_STRING, &self.signature),
        ];
        [element(SEQUENCE, &whole.concat()), self.tail.clone()].concat()
    }
}

fn key(set: MlDsa) -> PrivateKey {
    PrivateKey::from_ml_dsa_seed(set, &[7; 32]).unwrap()
}

fn request(key: &PrivateKey) -> Vec<u8> {
    let template = Template {
        subject: Subject::node("n1"),
        ..Template::default()
    };
    let text = template.to_request_pem(key).unwrap();
    pem::blocks(text.as_bytes()).next().unwrap().der
}

fn object(der: &[u8], usages: &[&str]) -> Value {
    let mut object = csr(
        "kubernetes.io/kube-apiserver-client-kubelet",
        &pem::encode("CERTIFICATE REQUEST", der),
    );
    object["spec"]["usages"] = json!(usages);
    object
}

fn create(der: &[u8], usages: &[&str], gates: &Gates) -> Vec<String> {
    let object = object(der, usages);
    let request = VerifiedRequest::from_pem(&everleaf_api::csr::Csr(&object).request());
    let user = User::default();
    let context = Context {
        gates,
        ..context(&user, "", Some(&request))
    };
    let errors = CSRS.strategy.validate_create(&object, &context);
    let told = |error: &FieldError| format!("{}: {}", error.path, error.message);
    errors.iter().map(told).collect()
}

const USAGES: [&str; 2] = ["digital signature", "client auth"];

#[test]
fn all_three_sets_are_taken() {
    for set in MlDsa::ALL {
        let der = request(&key(set));
        assert_eq!(Parts::of(&der).to_der(), der, "the parts are all of it");
        assert_eq!(create(&der, &USAGES, &Gates::default()), NONE, "{set}");
    }
}

/// One change to a good request, and what is said about it.
type Case = (&'static str, fn(&mut Parts), &'static str);

const BAD: &[Case] = &[
    (
        "a signature cut short",
        |r| r.signature.truncate(3_309),
        "3308 bytes",
    ),
    (
        "a signature with a byte more",
        |r| r.signature.push(0),
        "3310 bytes",
    ),
    (
        "half a signature",
        |r| r.signature.truncate(1_655),
        "1654 bytes",
    ),
    ("no signature", |r| r.signature.truncate(1), "0 bytes"),
    (
        "a signature of 44",
        |r| r.signature.truncate(2_421),
        "ML-DSA-65 has 3309",
    ),
    ("one bit flipped", |r| r.signature[100] ^= 1, "does not fit"),
    ("all zeros", |r| r.signature[1..].fill(0), "does not fit"),
    ("unused bits", |r| r.signature[0] = 1, "malformed"),
    (
        "NULL behind the signature's algorithm",
        |r| r.signature_algorithm.extend(NULL),
        "has no parameters",
    ),
    (
        "a signature that says 44",
        |r| r.signature_algorithm = ML_DSA_44.into(),
        "signature by ML-DSA-44 cannot come from a key of kind ML-DSA-65",
    ),
    (
        "a signature that says 87",
        |r| r.signature_algorithm = ML_DSA_87.into(),
        "signature by ML-DSA-87 cannot come",
    ),
    (
        "a signature that says ECDSA",
        |r| r.signature_algorithm = ECDSA_WITH_SHA256.into(),
        "ECDSA with SHA-256 cannot come",
    ),
    (
        "HashML-DSA",
        |r| r.signature_algorithm = HASH_ML_DSA_65.into(),
        "is not supported",
    ),
    (
        "NULL behind the key's algorithm",
        |r| r.key_algorithm.extend(NULL),
        "an ML-DSA-65 key has no parameters",
    ),
    (
        "an object identifier behind it",
        |r| r.key_algorithm.extend(ML_DSA_65),
        "an ML-DSA-65 key has no parameters",
    ),
    (
        "a key cut short",
        |r| r.key.truncate(1_952),
        "an ML-DSA-65 key has 1952 bytes, not 1951",
    ),
    (
        "a key with a byte more",
        |r| r.key.push(0),
        "an ML-DSA-65 key has 1952 bytes, not 1953",
    ),
    ("no key", |r| r.key.truncate(1), "1952 bytes, not 0"),
    (
        "a key that says 44",
        |r| r.key_algorithm = ML_DSA_44.into(),
        "an ML-DSA-44 key has 1312 bytes, not 1952",
    ),
    (
        "a key that says 87",
        |r| r.key_algorithm = ML_DSA_87.into(),
        "an ML-DSA-87 key has 2592 bytes, not 1952",
    ),
    ("another's key", |r| r.key[1] ^= 1, "does not fit"),
    (
        "another's subject",
        |r| *r.subject.last_mut().unwrap() = b'2',
        "does not fit",
    ),
    ("a byte behind the request", |r| r.tail.push(0), "malformed"),
];

#[test]
fn bad_requests_are_refused_by_name() {
    let good = Parts::of(&request(&key(SET)));
    for (name, change, expected) in BAD {
        let mut parts = good.clone();
        change(&mut parts);
        let errors = create(&parts.to_der(), &USAGES, &Gates::default());
        let [error] = &errors[..] else {
            panic!("{name}: {errors:?}");
        };
        assert!(error.starts_with("spec.request: "), "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// As `validateCertificateSigningRequest` of Kubernetes 1.38 has them.
#[test]
fn usages_are_those_of_a_key_that_signs() {
    let der = request(&key(SET));
    let check = |usages: &[&str]| create(&der, usages, &Gates::default());
    for forbidden in [
        "data encipherment",
        "decipher only",
        "encipher only",
        "key agreement",
        "key encipherment",
    ] {
        let expected = format!(
            "spec.usages[1]: Invalid value: \"{forbidden}\": When using ML-DSA keys, the usages \
             [data encipherment decipher only encipher only key agreement key encipherment] are not allowed"
        );
        assert_eq!(check(&["digital signature", forbidden]), [expected]);
    }
    let expected = "spec.usages: Invalid value: [\"signing\",\"client auth\"]: When using ML-DSA keys, at least one \
                    of [cert sign content commitment crl sign digital signature] usages are required";
    assert_eq!(check(&["signing", "client auth"]), [expected]);
    for signs in [
        "digital signature",
        "content commitment",
        "cert sign",
        "crl sign",
    ] {
        assert_eq!(check(&[signs, "client auth"]), NONE);
    }
    assert_eq!(check(&["key encipherment", "client auth"]).len(), 2);
}

/// The same cases as requests to the server, which keeps none of them.
#[test]
fn the_server_says_so_and_stores_nothing() {
    const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let world = World::new();
    let der = request(&key(SET));
    let good = Parts::of(&der);
    let refused = |name: &str, object: &Value, field: &str, expected: &str| {
        let answer = world.post(PATH, object).expect(422);
        assert_eq!(answer.json["reason"], "Invalid", "{name}");
        let message = answer.message();
        let begins = format!(" is invalid: {field}: ");
        assert!(message.contains(&begins), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert_eq!(world.get(PATH).names(), NONE, "{name}");
    };
    for (name, change, expected) in BAD {
        let mut parts = good.clone();
        change(&mut parts);
        let object = object(&parts.to_der(), &USAGES);
        refused(name, &object, "spec.request", expected);
    }
    for usage in everleaf_pki::key::FORBIDDEN_USAGES {
        let object = object(&der, &["digital signature", usage.as_str()]);
        refused(
            usage.as_str(),
            &object,
            "spec.usages[1]",
            "When using ML-DSA keys",
        );
    }
    let nothing_signs = object(&der, &["client auth"]);
    refused(
        "client auth alone",
        &nothing_signs,
        "spec.usages",
        "at least one of",
    );
    world.post(PATH, &object(&der, &USAGES)).expect(201);
}

/// With the gate off nothing new is taken, and what is stored goes its way.
#[test]
fn the_gate_is_for_new_requests() {
    let gates = Gates::parse(37, ["CertificateSigningRequestMLDSA=false"]).unwrap();
    let der = request(&key(SET));
    let errors = create(&der, &USAGES, &gates);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].ends_with("ML-DSA keys cannot be used for requests"));
    let old = object(&der, &["key encipherment"]);
    let mut new = old.clone();
    new["status"]["conditions"] = json!([condition("Approved")]);
    let user = User::default();
    let context = Context {
        gates: &gates,
        ..context(&user, "approval", None)
    };
    assert_eq!(CSRS.strategy.validate_update(&new, &old, &context), []);
}
