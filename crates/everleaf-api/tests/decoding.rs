//! What bodies become, and what is said about bad ones.

use everleaf_api::types::{
    CERTIFICATE_SIGNING_REQUEST as CSR, DELETE_OPTIONS, LEASE, NODE, ROLE, SECRET,
    SELF_SUBJECT_RULES_REVIEW,
};
use everleaf_api::{Status, schema::Type};
use serde_json::{Value, json};

fn decode(ty: &Type, body: &str) -> Value {
    let decoded = ty.decode_json(body.as_bytes()).expect(body);
    assert_eq!(decoded.warnings, Vec::<String>::new(), "{body}");
    decoded.object
}

fn refuse(ty: &Type, body: &str) -> String {
    let error = ty.decode_json(body.as_bytes()).expect_err(body);
    let Status { code, message, .. } = error.into();
    assert_eq!(code, 400, "{body}");
    message
}

#[test]
fn an_empty_object_is_filled_as_go_prints_it() {
    let object = decode(&CSR, "{}");
    assert_eq!(
        object,
        json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {}, "spec": {"signerName": ""}, "status": {},
        })
    );
    assert_eq!(
        String::from_utf8(CSR.encode_json(&object)).unwrap(),
        r#"{"kind":"CertificateSigningRequest","apiVersion":"certificates.k8s.io/v1","metadata":{},"spec":{"request":null,"signerName":""},"status":{}}"#
    );
}

#[test]
fn null_is_absent_and_empties_are_left_out() {
    let body = r#"{"metadata":{"name":null,"labels":{},"finalizers":[],"creationTimestamp":null},
        "spec":{"usages":[],"groups":null,"expirationSeconds":0,"request":"","signerName":null},
        "status":{"certificate":"","conditions":null}}"#;
    let object = decode(&CSR, body);
    assert_eq!(object["metadata"], json!({}));
    // A pointer to zero is not absent, and empty bytes are not nil where the field is required.
    assert_eq!(
        object["spec"],
        json!({"expirationSeconds": 0, "request": "", "signerName": ""})
    );
    assert_eq!(object["status"], json!({}));
}

#[test]
fn unknown_and_repeated_fields_are_found_where_they_are() {
    let body = r#"{"Kind":"x","metadata":{"labels":{"a":"1","a":"2"},"a\"b":1},
        "spec":{"foo":{"deep":[1]},"signerName":"a","signerName":"b"},
        "status":{"conditions":[{"type":"A"},{"type":"B","colour":1,"colour":2}]}}"#;
    let decoded = CSR.decode_json(body.as_bytes()).unwrap();
    assert_eq!(
        decoded.warnings,
        [
            r#"unknown field "Kind""#,
            r#"duplicate field "metadata.labels.a""#,
            r#"unknown field "metadata.a\"b""#,
            r#"unknown field "spec.foo""#,
            r#"duplicate field "spec.signerName""#,
            r#"unknown field "status.conditions[1].colour""#,
        ]
    );
    assert_eq!(decoded.object["spec"]["signerName"], "b");
    assert_eq!(decoded.object["metadata"]["labels"], json!({"a": "2"}));
    assert!(decoded.object["spec"].get("foo").is_none());
}

#[test]
fn a_parsed_tree_reads_like_text() {
    let tree = json!({"metadata": {"name": "a"}, "spec": {"nope": 1, "usages": ["any"]}});
    let from_tree = CSR.decode_value(tree.clone()).unwrap();
    let from_text = CSR.decode_json(tree.to_string().as_bytes()).unwrap();
    assert_eq!(from_tree.object, from_text.object);
    assert_eq!(from_tree.warnings, [r#"unknown field "spec.nope""#]);
    assert_eq!(from_tree.warnings, from_text.warnings);
}

#[test]
fn wrong_types_name_the_field_in_gos_words() {
    let check = |body: &str, said: &str| {
        assert_eq!(
            refuse(&CSR, body),
            format!(
                "CertificateSigningRequest in version \"v1\" cannot be handled as a CertificateSigningRequest: {said}"
            )
        );
    };
    check(
        r#"{"metadata":{"name":1}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
    );
    check(
        r#"{"spec":{"usages":"any"}}"#,
        "json: cannot unmarshal string into Go struct field CertificateSigningRequestSpec.spec.usages of type []string",
    );
    check(
        r#"{"spec":{"expirationSeconds":2147483648}}"#,
        "json: cannot unmarshal number 2147483648 into Go struct field CertificateSigningRequestSpec.spec.expirationSeconds of type int32",
    );
    check(
        r#"{"spec":{"expirationSeconds":1.5}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field CertificateSigningRequestSpec.spec.expirationSeconds of type int32",
    );
    check(
        r#"{"status":[]}"#,
        "json: cannot unmarshal array into Go struct field CertificateSigningRequest.status of type v1.CertificateSigningRequestStatus",
    );
    check(
        r#"{"metadata":{"labels":{"a":{}}}}"#,
        "json: cannot unmarshal object into Go struct field ObjectMeta.metadata.labels.a of type string",
    );
    check(
        r#"{"spec":{"request":"a"}}"#,
        "spec.request: its value is not base64 (standard alphabet, with padding)",
    );
    check(
        r#"{"status":{"conditions":[{"lastUpdateTime":"yesterday"}]}}"#,
        r#"status.conditions[0].lastUpdateTime: "yesterday" is not a time such as 2006-01-02T15:04:05Z"#,
    );
}

#[test]
fn what_is_not_an_object_of_this_type_is_refused() {
    for body in [
        "",
        "  \n",
        "null",
        "[]",
        "\"a\"",
        "{",
        "{}{}",
        "{\"a\":01}",
        "\u{feff}{}",
        "{'a':1}",
    ] {
        refuse(&CSR, body);
    }
    assert!(
        refuse(&CSR, r#"{"apiVersion":"v1"}"#).contains("does not match the expected API version")
    );
    assert!(
        refuse(&CSR, r#"{"kind":"Pod","apiVersion":"v1"}"#).contains("the body is a Pod of v1")
    );
    refuse(&CSR, r#"{"kind":"Pod"}"#);
    refuse(&CSR, r#"{"kind":1}"#);
    let deep = format!("{}{}", "{\"x\":".repeat(100_000), "}".repeat(100_000));
    refuse(&CSR, &deep);
}

#[test]
fn options_come_under_any_groups_version() {
    for version in ["v1", "meta.k8s.io/v1", "certificates.k8s.io/v1"] {
        let body = format!(
            r#"{{"kind":"DeleteOptions","apiVersion":"{version}","propagationPolicy":"Background"}}"#
        );
        let object = decode(&DELETE_OPTIONS, &body);
        assert_eq!(object["propagationPolicy"], "Background");
    }
    refuse(&DELETE_OPTIONS, r#"{"kind":"Secret","apiVersion":"v1"}"#);
}

#[test]
fn times_become_whole_seconds_in_utc() {
    let check = |sent: &str, kept: Option<&str>| {
        let body = format!(r#"{{"status":{{"conditions":[{{"lastUpdateTime":"{sent}"}}]}}}}"#);
        let object = decode(&CSR, &body);
        assert_eq!(
            object["status"]["conditions"][0]["lastUpdateTime"].as_str(),
            kept,
            "{sent}"
        );
    };
    check("2026-01-02T03:04:05Z", Some("2026-01-02T03:04:05Z"));
    check(
        "2026-01-02T03:04:05.999999+02:00",
        Some("2026-01-02T01:04:05Z"),
    );
    check("1969-12-31T23:59:58.5-00:30", Some("1970-01-01T00:29:58Z"));
    check("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59Z"));
    check("0001-01-01T00:00:00Z", None);
    for bad in [
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-02-30T03:04:05Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05+0200",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00+01:00",
        "",
    ] {
        refuse(
            &CSR,
            &format!(r#"{{"status":{{"conditions":[{{"lastUpdateTime":"{bad}"}}]}}}}"#),
        );
    }
}

#[test]
fn micro_times_have_six_digits_of_fraction() {
    let lease = |time: &str| format!(r#"{{"spec":{{"renewTime":"{time}"}}}}"#);
    let object = decode(&LEASE, &lease("2026-01-02T03:04:05.123456+01:00"));
    assert_eq!(object["spec"]["renewTime"], "2026-01-02T02:04:05.123456Z");
    for fraction in ["", ".12345", ".1234567", ".123456789"] {
        refuse(&LEASE, &lease(&format!("2026-01-02T03:04:05{fraction}Z")));
    }
}

#[test]
fn base64_is_read_leniently_and_kept_canonical() {
    let secret = |value: &str| format!(r#"{{"data":{{"a":{value}}}}}"#);
    assert_eq!(
        decode(&SECRET, &secret(r#""aGVs\nbG8=\r\n""#))["data"]["a"],
        "aGVsbG8="
    );
    assert_eq!(
        decode(&SECRET, &secret(r#""aGVsbG9=""#))["data"]["a"],
        "aGVsbG8="
    );
    assert_eq!(decode(&SECRET, &secret("null"))["data"]["a"], "");
    for bad in [r#""aGVsbG8""#, r#""aGVsbG8_""#, r#""====""#, "[1]", "7"] {
        refuse(&SECRET, &secret(bad));
    }
}

/// What a server makes is a list, though nothing be in it; what nobody set is null.
#[test]
fn an_empty_list_that_is_there_is_printed() {
    let print = |status: Value| {
        let review = json!({"status": status});
        String::from_utf8(SELF_SUBJECT_RULES_REVIEW.encode_json(&review)).unwrap()
    };
    let made = print(json!({"resourceRules": [], "nonResourceRules": []}));
    assert!(
        made.contains(r#""resourceRules":[],"nonResourceRules":[]"#),
        "{made}"
    );
    let unset = print(json!({}));
    assert!(unset.contains(r#""resourceRules":null"#), "{unset}");
}

#[test]
fn quantities_are_texts_or_numbers() {
    let node = |value: &str| format!(r#"{{"status":{{"capacity":{{"cpu":{value}}}}}}}"#);
    for (sent, kept) in [
        ("\"500m\"", "500m"),
        ("2", "2"),
        ("0.5", "500m"),
        ("\"16Gi\"", "16Gi"),
        ("\"1e3\"", "1e3"),
        ("null", "0"),
    ] {
        assert_eq!(
            decode(&NODE, &node(sent))["status"]["capacity"]["cpu"],
            kept
        );
    }
    for bad in [
        "\"\"",
        "\"lots\"",
        "\"1.2.3\"",
        "\"1 Gi\"",
        "\"1ki\"",
        "\"e3\"",
        "true",
    ] {
        refuse(&NODE, &node(bad));
    }
}

#[test]
fn required_lists_are_printed_as_null_when_empty() {
    let object = decode(&ROLE, r#"{"rules":[]}"#);
    assert!(object.get("rules").is_none());
    let text = String::from_utf8(ROLE.encode_json(&object)).unwrap();
    assert!(text.ends_with(r#","metadata":{},"rules":null}"#), "{text}");
}

/// Three bytes on the wire must not become a kilobyte in memory, a million times.
#[test]
fn memory_is_bounded_whatever_the_body() {
    let bomb = format!(
        r#"{{"status":{{"conditions":[{}{{}}]}}}}"#,
        "{},".repeat(1_000_000)
    );
    assert!(refuse(&CSR, &bomb).contains("more than 50000 objects"));
    let bomb = format!(
        r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{{"a":[{}{{}}]}}}}]}}}}"#,
        "{},".repeat(100_000)
    );
    refuse(&CSR, &bomb);
    let bomb = format!(
        r#"{{"spec":{{"groups":[{}""]}}}}"#,
        "\"\",".repeat(1_000_000)
    );
    assert!(refuse(&CSR, &bomb).contains("more than 1000000 values"));
}

#[test]
fn list_items_are_spliced_without_kind() {
    let one = CSR.encode(&decode(&CSR, r#"{"metadata":{"name":"a"}}"#));
    assert_eq!(
        &one.document()[..],
        CSR.encode_json(&decode(&CSR, r#"{"metadata":{"name":"a"}}"#))
    );
    let list = CSR.encode_list_json(
        &everleaf_api::meta::list_meta("7", "", Some(3)),
        [&one, &one],
    );
    assert_eq!(
        String::from_utf8(list).unwrap(),
        r#"{"kind":"CertificateSigningRequestList","apiVersion":"certificates.k8s.io/v1","metadata":{"resourceVersion":"7","remainingItemCount":3},"items":[{"metadata":{"name":"a"},"spec":{"request":null,"signerName":""},"status":{}},{"metadata":{"name":"a"},"spec":{"request":null,"signerName":""},"status":{}}]}"#
    );
    let empty = DELETE_OPTIONS.encode(&json!({}));
    assert_eq!(
        &empty.document()[..],
        br#"{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1"}"#
    );
    assert_eq!(empty.item_body(), b"}");
    assert!(
        CSR.encode_list_json(&json!({}), [])
            .ends_with(br#""metadata":{},"items":[]}"#)
    );
}
