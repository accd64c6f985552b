//! Cases 1 to 49 and 75 to 80 of the API specification.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use everleaf_api::fields::FieldError;
use everleaf_pki::{RequestError, VerifiedRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::CERTIFICATE_SIGNING_REQUESTS as CSRS;
use crate::{
    fixture::{self, certificate_pem, csr, request_pem},
    read,
    registry::Context,
    user::User,
};

const NOW: &str = "2030-01-01T00:00:00Z";

fn context<'a>(
    user: &'a User,
    subresource: &'a str,
    request: Option<&'a Result<VerifiedRequest, RequestError>>,
) -> Context<'a> {
    Context {
        user,
        subresource,
        now: NOW.parse().expect("a time"),
        request,
    }
}

/// A well-formed request object.
fn good() -> Value {
    csr("example.com/signer", &request_pem("bob", &[]))
}

/// `path reason` of each error, in order.
fn summary(errors: &[FieldError]) -> Vec<String> {
    errors
        .iter()
        .map(|error| {
            format!(
                "{} {}",
                error.path,
                error.reason.trim_start_matches("FieldValue")
            )
        })
        .collect()
}

fn create(object: &Value) -> Vec<FieldError> {
    let pem = everleaf_api::csr::Csr(object).request();
    let request = VerifiedRequest::from_pem(&pem);
    let user = User::default();
    CSRS.strategy
        .validate_create(object, &context(&user, "", Some(&request)))
}

fn check_create(edit: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut object = good();
    edit(&mut object);
    summary(&create(&object))
}

fn signer(name: &str) -> Vec<String> {
    check_create(|csr| csr["spec"]["signerName"] = name.into())
}

#[test]
fn cases_1_to_4_the_request_and_its_usages() {
    assert_eq!(check_create(|_| ()), [""; 0]);
    let invalid = ["spec.request Invalid"];
    for request in [
        "",
        "garbage",
        "-----BEGIN NEW CERTIFICATE REQUEST-----\n-----END NEW CERTIFICATE REQUEST-----\n",
    ] {
        let encoded = STANDARD.encode(request);
        assert_eq!(
            check_create(|csr| csr["spec"]["request"] = encoded.into()),
            invalid,
            "{request}"
        );
    }
    let absent =
        |csr: &mut Value| drop(csr["spec"].as_object_mut().expect("spec").remove("request"));
    assert_eq!(check_create(absent), invalid);
    let mut object = good();
    object["spec"]["request"] = STANDARD.encode("ga").into();
    let errors = create(&object);
    assert!(
        errors[0]
            .message
            .starts_with("Invalid value: []byte{0x67, 0x61}: "),
        "{errors:?}"
    );
    absent(&mut object);
    let errors = create(&object);
    assert!(
        errors[0]
            .message
            .starts_with("Invalid value: []byte(nil): "),
        "{errors:?}"
    );
    let required = ["spec.usages Required"];
    assert_eq!(
        check_create(|csr| csr["spec"]["usages"] = json!([])),
        required
    );
    assert_eq!(
        check_create(|csr| csr["spec"]["usages"] = Value::Null),
        required
    );
    assert_eq!(signer(""), ["spec.signerName Required"]);
}

#[test]
fn a_huge_bad_request_is_not_echoed_whole() {
    let mut object = good();
    object["spec"]["request"] = STANDARD.encode(vec![b'x'; 1_000_000]).into();
    let errors = create(&object);
    assert!(errors[0].message.len() < 4_000);
}

#[test]
fn cases_5_to_16_signer_names() {
    let long = |parts: &[(usize, &str)]| -> String {
        parts
            .iter()
            .map(|(count, text)| text.repeat(*count))
            .collect()
    };
    let label = "a".repeat(63);
    // Three labels of 63 and one of 61, dotted: 253.
    let domain = [&label, &label, &label, &label[..61]].join(".");
    let subdomain = [&label, &label, &label, &label[..61]].join(".");
    let longest = format!("{domain}/{label}.{subdomain}");
    assert_eq!((domain.len(), longest.len()), (253, 571));
    let invalid: &[&str] = &["spec.signerName Invalid"];
    let too_long: &[&str] = &["spec.signerName TooLong"];
    let cases: &[(&str, &str, &[&str])] = &[
        ("5", "abc", invalid),
        ("6", "abc/def/ghi", invalid),
        ("7", "example/some-signer", invalid),
        ("8", "example.com/", invalid),
        ("9", "example.com/something.", invalid),
        ("9", "example.com/something-", invalid),
        ("10", "example.com/$", invalid),
        ("11", "example.com/something-no-dot", &[]),
        ("12", &format!("{longest}a"), too_long),
        ("13", &format!("{domain}.a/x"), too_long),
        (
            "14",
            &format!("example.com/{}", long(&[(270, "a."), (1, "a")])),
            &[],
        ),
        ("15", &format!("{label}a.com/x"), invalid),
        ("16", &longest, &[]),
        ("", "Example.com/x", invalid),
        ("", "example..com/x", invalid),
        ("", "example.com/\0", invalid),
        (
            "",
            "/x",
            &["spec.signerName Invalid", "spec.signerName Invalid"],
        ),
        ("", "kubernetes.io/foo", &[]),
    ];
    for (case, name, expected) in cases {
        // Case 12 breaks the rule for the path's last part too.
        let mut found = signer(name);
        if *case == "12" {
            found.retain(|error| error.ends_with("TooLong"));
        }
        assert_eq!(&found, expected, "{case} {name}");
    }
}

#[test]
fn case_17_usages() {
    let usages = json!([
        "client auth",
        "unknown",
        "client auth",
        "unknown",
        "Client Auth"
    ]);
    let mut object = good();
    object["spec"]["usages"] = usages;
    let errors = create(&object);
    assert_eq!(
        summary(&errors),
        [
            "spec.usages[1] NotSupported",
            "spec.usages[3] NotSupported",
            "spec.usages[4] NotSupported",
            "spec.usages[2] Duplicate",
            "spec.usages[3] Duplicate",
        ]
    );
    assert!(
        errors[0]
            .message
            .starts_with(r#"Unsupported value: "unknown": supported values: "any", "cert sign", "#)
    );
    assert_eq!(errors[3].message, r#"Duplicate value: "client auth""#);
    let synonyms = json!(["signing", "digital signature"]);
    assert_eq!(
        check_create(|csr| csr["spec"]["usages"] = synonyms),
        [""; 0]
    );
}

#[test]
fn cases_19_to_21_legacy_signer_and_durations() {
    assert_eq!(
        signer("kubernetes.io/legacy-unknown"),
        ["spec.signerName Invalid"]
    );
    for (seconds, good) in [
        (json!(-1), false),
        (json!(0), false),
        (json!(1), false),
        (json!(599), false),
        (json!(600), true),
        (json!(601), true),
        (json!(i32::MAX), true),
        (Value::Null, true),
    ] {
        let found = check_create(|csr| csr["spec"]["expirationSeconds"] = seconds.clone());
        assert_eq!(found.is_empty(), good, "{seconds}: {found:?}");
    }
    let mut object = good();
    object["spec"]["expirationSeconds"] = 599.into();
    assert_eq!(
        create(&object)[0].message,
        "Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"
    );
}

#[test]
fn all_errors_are_collected() {
    let found = check_create(|csr| {
        csr["spec"] =
            json!({"request": "", "usages": ["x"], "signerName": "a", "expirationSeconds": 1});
    });
    assert_eq!(
        found,
        [
            "spec.request Invalid",
            "spec.usages[0] NotSupported",
            "spec.signerName Invalid",
            "spec.expirationSeconds Invalid",
        ]
    );
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "r", "lastUpdateTime": "2029-01-01T00:00:00Z", "lastTransitionTime": "2029-01-01T00:00:00Z"})
}

fn with(kinds: &[&str], certificate: &str) -> Value {
    let mut object = good();
    let conditions: Vec<Value> = kinds.iter().map(|kind| condition(kind)).collect();
    if !conditions.is_empty() {
        object["status"]["conditions"] = conditions.into();
    }
    if !certificate.is_empty() {
        object["status"]["certificate"] = STANDARD.encode(certificate).into();
    }
    object
}

/// The validator alone, without what the strategy forces back.
fn update(endpoint: &str, new: &Value, old: &Value) -> Vec<String> {
    let user = User::default();
    summary(
        &CSRS
            .strategy
            .validate_update(new, old, &context(&user, endpoint, None)),
    )
}

/// Strategy and validator, as a request meets them: errors and the object that would be stored.
fn put(endpoint: &str, new: &Value, old: &Value) -> (Vec<String>, Value) {
    let user = User::default();
    let context = context(&user, endpoint, None);
    let mut new = new.clone();
    CSRS.strategy.prepare_update(&mut new, old, &context);
    let errors = summary(&CSRS.strategy.validate_update(&new, old, &context));
    (errors, new)
}

const NONE: [&str; 0] = [];
const FORBIDDEN: [&str; 1] = ["status.conditions Forbidden"];

#[test]
fn cases_22_to_28_main_endpoint() {
    let all = with(&["Approved", "Failed"], &certificate_pem());
    assert_eq!(update("", &all, &all), NONE, "22");
    let mut odd = with(&["", "Approved", "Denied", "Denied"], "not PEM");
    odd["spec"]["usages"] = json!(["x", "x", "client auth"]);
    odd["spec"]["signerName"] = "kubernetes.io/legacy-unknown".into();
    let mut changed = odd.clone();
    changed["metadata"]["finalizers"] = json!(["example.com/x"]);
    assert_eq!(update("", &changed, &odd), NONE, "23, 24");
    for kind in ["Approved", "Denied"] {
        assert_eq!(
            update("", &with(&[kind], ""), &good()),
            FORBIDDEN,
            "25 {kind}"
        );
    }
    for kind in ["Approved", "Denied", "Failed"] {
        assert_eq!(
            update("", &good(), &with(&[kind], "")),
            FORBIDDEN,
            "26 {kind}"
        );
    }
    assert_eq!(update("", &with(&["Failed"], ""), &good()), NONE, "27");
    let (errors, stored) = put("", &with(&["Failed"], &certificate_pem()), &good());
    assert_eq!(
        (errors, read::is_empty(stored.get("status"))),
        (vec![], true),
        "27 over HTTP"
    );
    assert_eq!(
        update("", &with(&[], &certificate_pem()), &good()),
        ["status.certificate Forbidden"],
        "28"
    );
}

#[test]
fn the_main_endpoint_reverts_spec_and_status_and_keeps_metadata() {
    let old = with(&["Approved"], "");
    let mut new = with(&["Denied"], "x");
    new["spec"] = json!({"signerName": "evil.com/x", "username": "root"});
    new["metadata"]["labels"] = json!({"a": "b"});
    new["metadata"]["generation"] = 7.into();
    let (errors, stored) = put("", &new, &old);
    assert_eq!(errors, NONE);
    assert_eq!(stored["spec"], old["spec"]);
    assert_eq!(stored["status"], old["status"]);
    assert_eq!(stored["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(stored["metadata"].get("generation"), None);
    for endpoint in ["approval", "status"] {
        assert_eq!(
            put(endpoint, &new, &old).1["spec"],
            old["spec"],
            "{endpoint}"
        );
    }
}

#[test]
fn cases_29_to_34_status_endpoint() {
    for kind in ["Approved", "Denied"] {
        assert_eq!(
            put("status", &with(&[kind], ""), &good()).0,
            FORBIDDEN,
            "29 {kind}"
        );
    }
    for kind in ["Approved", "Denied", "Failed"] {
        assert_eq!(
            put("status", &good(), &with(&[kind], "")).0,
            FORBIDDEN,
            "30 {kind}"
        );
    }
    assert_eq!(put("status", &with(&["Failed"], ""), &good()).0, NONE, "31");
    let certificate = certificate_pem();
    let (errors, stored) = put("status", &with(&[], &certificate), &good());
    assert_eq!(errors, NONE, "32");
    assert_eq!(
        stored["status"]["certificate"],
        STANDARD.encode(&certificate),
        "32"
    );
    let invalid = ["status.certificate Invalid"];
    assert_eq!(
        put("status", &with(&[], "invalid"), &good()).0,
        invalid,
        "33"
    );
    let issued = with(&[], &certificate);
    let forbidden = ["status.certificate Forbidden"];
    let other = format!("{certificate}{certificate}");
    assert_eq!(
        put("status", &with(&[], &other), &issued).0,
        forbidden,
        "34"
    );
    assert_eq!(put("status", &good(), &issued).0, forbidden, "34: clearing");
}

#[test]
fn cases_35_to_38_approval_endpoint() {
    for kind in ["Approved", "Denied"] {
        assert_eq!(
            put("approval", &with(&[kind], ""), &good()).0,
            NONE,
            "35 {kind}"
        );
    }
    for kind in ["Approved", "Denied", "Failed"] {
        assert_eq!(
            put("approval", &good(), &with(&[kind], "")).0,
            FORBIDDEN,
            "36 {kind}"
        );
    }
    assert_eq!(
        put("approval", &with(&["Failed"], ""), &good()).0,
        NONE,
        "37"
    );
    let new = with(&["Approved"], &certificate_pem());
    assert_eq!(
        update("approval", &new, &good()),
        ["status.certificate Forbidden"],
        "38"
    );
    let (errors, stored) = put("approval", &new, &good());
    assert_eq!(errors, NONE, "38 over HTTP");
    assert_eq!(stored["status"].get("certificate"), None, "38 over HTTP");
    let mut invented = with(&[], "");
    invented["status"]["conditions"] =
        json!([{"type": "ApprovalPatch", "status": "True", "reason": "e2e"}]);
    let (errors, stored) = put("approval", &invented, &good());
    assert_eq!(errors, NONE, "conformance step C12");
    assert_eq!(stored["status"]["conditions"][0]["lastUpdateTime"], NOW);
}

#[test]
fn approval_may_rewrite_a_decision_but_not_flip_it() {
    let old = with(&["Approved"], "");
    let mut forced = old.clone();
    forced["status"]["conditions"][0]["message"] = "again".into();
    let (errors, stored) = put("approval", &forced, &old);
    assert_eq!(errors, NONE);
    assert_eq!(stored["status"]["conditions"][0]["message"], "again");
    let mut flipped = old.clone();
    flipped["status"]["conditions"][0]["status"] = "False".into();
    assert_eq!(
        put("approval", &flipped, &old).0,
        ["status.conditions[0].status NotSupported"]
    );
    assert_eq!(
        update("", &forced, &old),
        FORBIDDEN,
        "elsewhere not even that"
    );
    let (errors, stored) = put("status", &flipped, &old);
    assert_eq!(
        (errors, &stored["status"]),
        (vec![], &old["status"]),
        "/status undoes it"
    );
}

#[test]
fn cases_39_to_43_conditions() {
    for kind in ["Approved", "Denied", "Failed"] {
        let same = with(&[kind], "");
        assert_eq!(update("", &same, &same), NONE, "39 {kind}");
    }
    let issued = with(&["Approved"], &certificate_pem());
    assert_eq!(update("", &issued, &issued), NONE, "40");
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("41", &[""], &["status.conditions[0].type Required"]),
        (
            "42",
            &["Approved", "Denied"],
            &["status.conditions[1].type Invalid"],
        ),
        (
            "42",
            &["Denied", "Approved"],
            &["status.conditions[1].type Invalid"],
        ),
        (
            "43",
            &["Approved", "Approved"],
            &["status.conditions[1].type Duplicate"],
        ),
        (
            "43",
            &["X", "Y", "X"],
            &["status.conditions[2].type Duplicate"],
        ),
    ];
    for (case, kinds, expected) in cases {
        let object = with(kinds, "");
        assert_eq!(
            put("approval", &object, &good()).0,
            *expected,
            "{case} {kinds:?}"
        );
        assert_eq!(
            put("approval", &object, &object).0,
            NONE,
            "{case} {kinds:?} when stored so"
        );
    }
    for (kind, status, expected) in [
        ("Approved", "", "Required"),
        ("Approved", "False", "NotSupported"),
        ("Failed", "Unknown", "NotSupported"),
        ("X", "false", "NotSupported"),
    ] {
        let mut object = good();
        object["status"]["conditions"] = json!([{"type": kind, "status": status}]);
        let expected = format!("status.conditions[0].status {expected}");
        assert_eq!(
            put("approval", &object, &good()).0,
            [expected],
            "{kind}={status}"
        );
    }
}

#[test]
fn case_44_certificates() {
    let good_pem = certificate_pem();
    let body: String = good_pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let der = STANDARD.decode(&body).expect("base64");
    let twice = everleaf_pki::pem::encode("CERTIFICATE", &[der.clone(), der.clone()].concat());
    let cut = everleaf_pki::pem::encode("CERTIFICATE", &der[..der.len() - 1]);
    let junk_after =
        everleaf_pki::pem::encode("CERTIFICATE", &[der.clone(), vec![0x30, 0x00]].concat());
    for (what, pem, sound) in [
        ("one", good_pem.clone(), true),
        ("text around", format!("hello\n{good_pem}\nbye\n"), true),
        ("two blocks", format!("{good_pem}{good_pem}"), true),
        ("two in a block", twice, true),
        ("no PEM", "garbage".to_owned(), false),
        (
            "a key",
            everleaf_pki::pem::encode("PRIVATE KEY", &der),
            false,
        ),
        (
            "a key after",
            format!(
                "{good_pem}{}",
                everleaf_pki::pem::encode("PRIVATE KEY", &der)
            ),
            false,
        ),
        (
            "headers",
            good_pem.replace("CERTIFICATE-----\nM", "CERTIFICATE-----\nA: b\n\nM"),
            false,
        ),
        ("broken base64", good_pem.replacen('M', "*", 2), false),
        (
            "empty block",
            everleaf_pki::pem::encode("CERTIFICATE", b""),
            false,
        ),
        (
            "no ASN.1",
            everleaf_pki::pem::encode("CERTIFICATE", b"hello"),
            false,
        ),
        ("cut short", cut, false),
        ("junk after", junk_after, false),
    ] {
        let object = with(&[], &pem);
        let errors = put("status", &object, &good()).0;
        let expected: &[&str] = if sound {
            &[]
        } else {
            &["status.certificate Invalid"]
        };
        assert_eq!(errors, expected, "{what}");
        assert_eq!(put("status", &object, &object).0, NONE, "{what}, unchanged");
    }
    let mut raw = good();
    raw["status"]["certificate"] = "!not base64!".into();
    assert_eq!(
        put("status", &raw, &good()).0,
        ["status.certificate Invalid"]
    );
}

fn prepared(mut object: Value, user: &User) -> Value {
    CSRS.strategy
        .prepare_create(&mut object, &context(user, "", None));
    object
}

#[test]
fn cases_45_to_47_create() {
    let mut claims = with(&["Approved"], &certificate_pem());
    claims["spec"]["username"] = "alice".into();
    claims["spec"]["uid"] = "1".into();
    claims["spec"]["groups"] = json!(["system:masters"]);
    claims["spec"]["extra"] = json!({"a": ["b"]});
    claims["metadata"]["generation"] = 5.into();
    let stored = prepared(claims.clone(), &User::default());
    for member in ["username", "uid", "groups", "extra"] {
        assert_eq!(stored["spec"].get(member), None, "45 {member}");
    }
    let mut bob = fixture::user("bob", &["b", "a"]);
    bob.extra.insert("scopes".to_owned(), vec!["x".to_owned()]);
    let stored = prepared(claims, &bob);
    assert_eq!(stored["spec"]["username"], "bob", "46");
    assert_eq!(stored["spec"].get("uid"), None, "46");
    assert_eq!(
        stored["spec"]["groups"],
        json!(["b", "a", "system:authenticated"]),
        "46"
    );
    assert_eq!(stored["spec"]["extra"], json!({"scopes": ["x"]}), "46");
    assert!(read::is_empty(stored.get("status")), "47");
    assert_eq!(stored["metadata"].get("generation"), None);
}

#[test]
fn cases_48_and_49_status_keeps_decisions_pairwise() {
    let old_time = "2029-01-01T00:00:00Z";
    let mut old = good();
    old["status"]["conditions"] = json!([
        {"type": "Denied", "status": "True", "reason": "a", "lastTransitionTime": old_time},
        {"type": "Approved", "status": "True", "reason": "b"},
        {"type": "Denied", "status": "True", "reason": "c"},
        {"type": "Approved", "status": "True", "reason": "d", "lastTransitionTime": old_time},
    ]);
    let bare: Vec<Value> = ["Failed", "Denied", "Approved", "Denied", "Approved"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True"}))
        .collect();
    let mut new = good();
    new["status"]["conditions"] = bare.into();
    let (_, stored) = put("status", &new, &old);
    let shown: Vec<[&str; 4]> = read::items(&stored, "/status/conditions")
        .iter()
        .map(|c| {
            ["/type", "/reason", "/lastUpdateTime", "/lastTransitionTime"].map(|p| read::text(c, p))
        })
        .collect();
    assert_eq!(
        shown,
        [
            ["Failed", "", NOW, NOW],
            ["Denied", "a", NOW, old_time],
            ["Approved", "b", NOW, old_time],
            ["Denied", "c", NOW, old_time],
            ["Approved", "d", NOW, old_time],
        ]
    );
    let mut approved = good();
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    let (errors, stored) = put("status", &approved, &good());
    assert_eq!(errors, FORBIDDEN, "49");
    assert_eq!(
        stored["status"]["conditions"][0]["lastUpdateTime"], NOW,
        "49"
    );
}

#[test]
fn provided_times_are_kept() {
    let mut new = good();
    new["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2001-02-03T04:05:06Z", "lastTransitionTime": null}]);
    let (_, stored) = put("approval", &new, &good());
    let condition = &stored["status"]["conditions"][0];
    assert_eq!(condition["lastUpdateTime"], "2001-02-03T04:05:06Z");
    assert_eq!(condition["lastTransitionTime"], NOW);
}

#[test]
fn cases_75_to_80_table() {
    let now: Timestamp = NOW.parse().expect("a time");
    let check = |edit: &dyn Fn(&mut Value)| {
        let mut object = good();
        object["metadata"]["creationTimestamp"] = NOW.into();
        edit(&mut object);
        let cells = (CSRS.cells)(&object, now);
        let texts: Vec<String> = cells
            .iter()
            .map(|cell| cell.as_str().expect("text").to_owned())
            .collect();
        texts.join("|")
    };
    let no_signer = |o: &mut Value| {
        drop(
            o["spec"]
                .as_object_mut()
                .expect("spec")
                .remove("signerName"),
        )
    };
    assert_eq!(check(&no_signer), "csr1|0s|<none>||<none>|Pending", "75");
    assert_eq!(
        check(&|o| {
            o["spec"]["username"] = "bob".into();
            o["status"] = with(&["Approved"], "")["status"].clone();
        }),
        "csr1|0s|example.com/signer|bob|<none>|Approved",
        "76, 77"
    );
    let status = |kinds: &'static [&str], certificate: &'static str| {
        check(&move |o: &mut Value| o["status"] = with(kinds, certificate)["status"].clone())
            .rsplit('|')
            .next()
            .expect("a cell")
            .to_owned()
    };
    assert_eq!(status(&["Approved"], "x"), "Approved,Issued", "78");
    assert_eq!(status(&["Denied"], ""), "Denied", "79");
    assert_eq!(
        status(&["Approved", "Failed"], "x"),
        "Approved,Failed,Issued"
    );
    for (seconds, text) in [(601, "10m"), (86_400, "24h"), (604_800, "7d")] {
        let row = check(&|o| o["spec"]["expirationSeconds"] = seconds.into());
        assert_eq!(
            row,
            format!("csr1|0s|example.com/signer||{text}|Pending"),
            "80"
        );
    }
    let names: Vec<&str> = CSRS.columns.iter().map(|column| column.name).collect();
    assert_eq!(
        names,
        [
            "Name",
            "Age",
            "SignerName",
            "Requestor",
            "RequestedDuration",
            "Condition"
        ]
    );
}

#[test]
fn descriptor() {
    assert_eq!(
        (CSRS.field)(&good(), "spec.signerName"),
        "example.com/signer"
    );
    assert_eq!((CSRS.field)(&good(), "spec.username"), "");
    for good in ["a", "A b:c", "x.y"] {
        assert_eq!((CSRS.validate_name)(good), Ok(()), "{good}");
    }
    for bad in [".", "..", "a/b", "a%b"] {
        assert!((CSRS.validate_name)(bad).is_err(), "{bad}");
    }
    let tally = CSRS.tally.expect("counted");
    let mut pending = good();
    pending["spec"]["username"] = "bob".into();
    assert_eq!(tally(&pending), Some("bob".to_owned()));
    pending["status"]["certificate"] = "eA==".into();
    assert_eq!(tally(&pending), None);
}
