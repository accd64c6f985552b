//! A new request.

use super::*;
use everleaf_api::types;
use everleaf_pki::Usage;

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
        errors[0].message.starts_with("Invalid value: \"Z2E=\": "),
        "{errors:?}"
    );
    absent(&mut object);
    let errors = create(&object);
    assert!(
        errors[0].message.starts_with("Invalid value: null: "),
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
        // This one breaks the rule for the path's last part too.
        let mut found = signer(name);
        if *case == "12" {
            found.retain(|error| error.ends_with("TooLong"));
        }
        assert_eq!(&found, expected, "{case} {name}");
    }
}

#[test]
fn the_schema_names_the_usages_that_are_understood() {
    let mut understood = Usage::ALL.map(Usage::as_str);
    understood.sort_unstable();
    assert_eq!(understood, types::certificates::USAGES);
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
