//! Our codec against what Kubernetes' own Go types wrote (`testdata/`), byte for byte.

#![expect(clippy::disallowed_methods, reason = "the recordings are files")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use everleaf_api::fields::{FieldError, quote};
use everleaf_api::schema::{LIST_PROTOBUF_END, Type};
use everleaf_api::selector::LabelSelector;
use everleaf_api::status::GroupResource;
use everleaf_api::table::{self, Column, IncludeObject};
use everleaf_api::watch::{EventType, protobuf_frame};
use everleaf_api::{Status, duration, meta, types};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kubernetes-1.37")
}

fn texts() -> Value {
    serde_json::from_slice(&fs::read(folder().join("texts.json")).unwrap()).unwrap()
}

fn type_of(recording: &str) -> &'static Type {
    let kind = match recording.split('-').next().unwrap() {
        "csr" => "CertificateSigningRequest",
        "sar" => "SubjectAccessReview",
        "lsar" => "LocalSubjectAccessReview",
        "ssar" => "SelfSubjectAccessReview",
        "ssrr" => "SelfSubjectRulesReview",
        kind => kind,
    };
    let mut of_kind = types::ALL
        .iter()
        .filter(|ty| ty.kind.eq_ignore_ascii_case(kind));
    of_kind
        .next()
        .unwrap_or_else(|| panic!("no table for {recording}"))
}

#[test]
fn every_type_reads_and_writes_what_go_writes() {
    let mut seen = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "json") || name == "texts" {
            continue;
        }
        let ty = type_of(&name);
        let text = fs::read(&path).unwrap();
        let wire = fs::read(path.with_extension("pb")).unwrap();
        let from_text = ty
            .decode_json(&text)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(from_text.warnings, Vec::<String>::new(), "{name}");
        let from_wire = ty
            .decode_protobuf(&wire)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            from_text.object, from_wire,
            "{name}: JSON and protobuf mean the same"
        );
        let written = [ty.encode_json(&from_wire), b"\n".to_vec()].concat();
        assert_eq!(
            String::from_utf8(written),
            String::from_utf8(text),
            "{name}.json"
        );
        assert_eq!(ty.encode_protobuf(&from_text.object), wire, "{name}.pb");
        seen.push(ty.kind);
    }
    for ty in types::ALL {
        assert!(seen.contains(&ty.kind), "no recording of {}", ty.kind);
    }
}

#[test]
fn list() {
    let items = ["csr-pending", "csr-full", "csr-empty"].map(|name| {
        let wire = fs::read(folder().join(name).with_extension("pb")).unwrap();
        types::CERTIFICATE_SIGNING_REQUEST
            .decode_protobuf(&wire)
            .unwrap()
    });
    let meta = meta::list_meta("7", "next", Some(3));
    let ty = &types::CERTIFICATE_SIGNING_REQUEST;
    let mut body = Vec::new();
    for item in &items {
        ty.encode_item_protobuf(&mut body, item);
    }
    let begin = ty.begin_list_protobuf(&meta, body.len());
    let written = [begin, body, LIST_PROTOBUF_END.to_vec()].concat();
    assert_eq!(written, fs::read(folder().join("list.pb")).unwrap());
}

#[test]
fn watch_frame() {
    let object = fs::read(folder().join("csr-pending.pb")).unwrap();
    let recorded = fs::read(folder().join("watch-frame.pb")).unwrap();
    assert_eq!(protobuf_frame(EventType::Modified, &object), recorded);
}

const CSRS: GroupResource<'static> = GroupResource {
    group: "certificates.k8s.io",
    resource: "certificatesigningrequests",
};
const SECRETS: GroupResource<'static> = GroupResource {
    group: "",
    resource: "secrets",
};

#[test]
fn statuses_in_upstreams_words() {
    let ours = [
        ("badRequest", Status::bad_request("no <good>")),
        ("unauthorized", Status::unauthorized()),
        ("forbiddenNamed", Status::forbidden(CSRS, "x", "text")),
        ("forbiddenUnnamed", Status::forbidden(SECRETS, "", "text")),
        ("forbiddenPath", Status::forbidden_path("text")),
        ("notFound", Status::not_found(CSRS, "x")),
        ("notFoundCore", Status::not_found(SECRETS, "a\"b")),
        ("noSuchResource", Status::no_such_resource()),
        ("methodNotAllowed", Status::method_not_allowed("")),
        ("alreadyExists", Status::already_exists(CSRS, "x")),
        (
            "generateNameConflict",
            Status::generate_name_conflict(CSRS, "x"),
        ),
        ("conflict", Status::conflict(CSRS, "x", "text")),
        (
            "expired",
            Status::expired("too old resource version: 5 (900)"),
        ),
        ("tooLarge", Status::too_large(3_145_728)),
        (
            "tooManyRequests",
            Status::too_many_requests("Too many requests, please try again later.", 1),
        ),
        ("internal", Status::internal("boom & <bang>")),
        ("unavailable", Status::unavailable("stopping")),
        ("timeout", Status::timeout("slow", 2)),
    ];
    let invalid = invalid_statuses();
    let texts = texts();
    let recorded = texts["statuses"].as_object().unwrap();
    assert_eq!(recorded.len(), ours.len() + invalid.len());
    for (name, status) in ours.into_iter().chain(invalid) {
        let text: Value = serde_json::from_slice(&status.to_json()).unwrap();
        assert_eq!(text, recorded[name], "{name}");
        assert_eq!(status.to_value(), recorded[name], "{name}");
        assert_eq!(Status::from_json(&status.to_json()), Some(status), "{name}");
    }
}

fn invalid_statuses() -> [(&'static str, Status); 4] {
    let invalid = |name: &str, errors: &[FieldError]| {
        Status::invalid(
            "certificates.k8s.io",
            "CertificateSigningRequest",
            name,
            errors,
        )
    };
    let usages = "spec.usages";
    let two = [
        FieldError::required(usages, "why"),
        FieldError::required("spec.signerName", ""),
    ];
    let many = [
        FieldError::invalid("spec.usages[1]", &quote("a\"b\u{a0}"), "bad"),
        FieldError::not_supported("spec.usages[0]", &quote("fly"), &["any", "signing"]),
        FieldError::duplicate("spec.usages[2]", &quote("x")),
        FieldError::forbidden("status", "no"),
        FieldError::too_long("spec.signerName", 571),
        FieldError::too_many(usages, 3, 1),
        FieldError::not_found(usages, &quote("q")),
        FieldError::internal(usages, "oops"),
        FieldError::invalid("spec.expirationSeconds", "5", "small"),
        FieldError::type_invalid(usages, &quote("x"), "d"),
        FieldError::invalid("spec.usages[k]", &quote("v"), ""),
    ];
    let same = [
        FieldError::required(usages, ""),
        FieldError::required(usages, ""),
    ];
    [
        ("invalidTwo", invalid("x", &two)),
        ("invalidMany", invalid("x", &many)),
        ("invalidSame", invalid("", &same)),
        ("invalidNone", invalid("x", &[])),
    ]
}

#[test]
fn human_durations() {
    for pair in texts()["humanDurations"].as_array().unwrap() {
        assert_eq!(
            duration::human(pair[0].as_i64().unwrap()),
            pair[1].as_str().unwrap(),
            "{pair}"
        );
    }
}

#[test]
fn go_durations() {
    for pair in texts()["goDurations"].as_array().unwrap() {
        let ours = duration::parse_go(pair[0].as_str().unwrap()).ok();
        let theirs = pair[1]
            .as_i64()
            .map(|nanos| Duration::from_nanos(nanos.unsigned_abs()));
        assert_eq!(ours, theirs, "{pair}");
    }
}

#[test]
fn label_selectors() {
    let texts = texts();
    let objects: Vec<Value> = texts["labelSets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|labels| json!({"metadata": {"labels": labels}}))
        .collect();
    for recorded in texts["labelSelectors"].as_array().unwrap() {
        let parsed = LabelSelector::parse(recorded["selector"].as_str().unwrap());
        assert_eq!(
            parsed.is_ok(),
            recorded["ok"].as_bool().unwrap(),
            "{recorded} {parsed:?}"
        );
        if let Ok(selector) = parsed {
            let ours: Vec<bool> = objects
                .iter()
                .map(|object| selector.matches(object))
                .collect();
            assert_eq!(json!(ours), recorded["matches"], "{recorded}");
        }
    }
}

#[test]
fn tables() {
    let column = |name, format, doc, priority| Column {
        name,
        kind: "string",
        format,
        priority,
        doc,
    };
    let columns = [column("Name", "name", "d <x>", 0), column("IP", "", "", 1)];
    let object =
        json!({"metadata": {"name": "small", "creationTimestamp": "2026-01-02T03:04:05Z"}});
    let cells = vec![json!("small"), json!(3), json!(null), json!(true)];
    let list_meta = json!({"resourceVersion": "7"});

    let texts = texts();
    let rows = vec![(cells.clone(), &object)];
    let ours = table::table(
        true,
        list_meta.clone(),
        Some(&columns),
        rows,
        IncludeObject::Metadata,
    );
    let theirs = &texts["table"];
    assert_eq!(ours["rows"][0], theirs["rows"][0]);
    for member in ["kind", "apiVersion", "metadata", "columnDefinitions"] {
        assert_eq!(ours[member], theirs[member]);
    }
    let bare = table::table(true, json!({}), None, vec![], IncludeObject::None);
    assert_eq!(
        bare["columnDefinitions"],
        texts["tableBare"]["columnDefinitions"]
    );

    // The bytes say what the tree says, and what Go says.
    let types = &types::CERTIFICATE_SIGNING_REQUEST;
    let first = table::encode_row(types, &cells, &object, true, IncludeObject::Metadata);
    let second = table::encode_row(types, &[json!("b")], &object, true, IncludeObject::None);
    let encoded = table::encode(true, &list_meta, Some(&columns), [&first[..], &second[..]]);
    assert_eq!(serde_json::from_slice::<Value>(&encoded).unwrap(), *theirs);
}
