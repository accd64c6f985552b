//! The documents that people and tools read, as they leave the server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use everleaf_api::csr::{APPROVED, build, push_condition, set_certificate};
use everleaf_api::discovery::{self, Resource};
use everleaf_api::status::{Denial, DeniedTarget, GroupResource, Status};
use everleaf_api::table::{self, Column, IncludeObject};
use everleaf_api::{meta, types};
use insta::assert_snapshot;
use serde_json::json;

const CSRS: GroupResource<'static> = GroupResource {
    group: "certificates.k8s.io",
    resource: "certificatesigningrequests",
};

fn text(document: Vec<u8>) -> String {
    String::from_utf8(document).unwrap()
}

fn denied(target: DeniedTarget<'_>, reason: &str) -> Status {
    Status::denied(Denial {
        user: "eve",
        verb: "update",
        target,
        reason,
    })
}

#[test]
fn denials() {
    let resource = |namespace, name| DeniedTarget::Resource {
        about: CSRS,
        subresource: "approval",
        namespace,
        name,
    };
    // Appendix A3 of the spec.
    assert_snapshot!(text(denied(resource("", "x"), "").to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"certificatesigningrequests.certificates.k8s.io \"x\" is forbidden: User \"eve\" cannot update resource \"certificatesigningrequests/approval\" in API group \"certificates.k8s.io\" at the cluster scope","reason":"Forbidden","details":{"name":"x","group":"certificates.k8s.io","kind":"certificatesigningrequests"},"code":403}"#);
    assert_snapshot!(denied(resource("a<b>&c", ""), "RBAC: <no>").message, @r#"certificatesigningrequests.certificates.k8s.io is forbidden: User "eve" cannot update resource "certificatesigningrequests/approval" in API group "certificates.k8s.io" in the namespace "a&lt;b&gt;&amp;c": RBAC: <no>"#);
    let path = denied(DeniedTarget::Path("/metrics"), "");
    assert_snapshot!(text(path.to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"forbidden: User \"eve\" cannot update path \"/metrics\"","reason":"Forbidden","details":{},"code":403}"#);
}

#[test]
fn other_statuses() {
    assert_snapshot!(text(Status::deleted(CSRS, "x", "u-1").to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"x","group":"certificates.k8s.io","kind":"certificatesigningrequests","uid":"u-1"}}"#);
    assert_snapshot!(text(Status::expired_list("gone", "token").to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{"continue":"token"},"status":"Failure","message":"gone","reason":"Expired","code":410}"#);
    assert_snapshot!(text(Status::too_large_resource_version(9, 7).to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 9, current: 7","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}"#);
    assert_snapshot!(text(Status::bare(500, "odd").to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"odd","code":500}"#);
    assert_snapshot!(text(Status::unsupported_media_type().to_json()), @r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf","reason":"UnsupportedMediaType","code":415}"#);
}

/// An object of another server's Status is read as far as we know it.
#[test]
fn foreign_statuses_are_read() {
    let foreign = json!({"kind": "Status", "status": "Failure", "code": 418, "reason": "Teapot", "message": "no", "details": {"retryAfterSeconds": 3}});
    let status = Status::from_value(&foreign).unwrap();
    assert_eq!(
        (status.code, status.reason, status.message.as_str()),
        (418, "", "no")
    );
    assert_eq!(status.retry_after_seconds, Some(3));
    assert_eq!(Status::from_json(br#"{"kind":"Pod"}"#), None);
    assert_eq!(Status::from_json(b"<html>"), None);
    assert_eq!(
        Status::from_json(b"{\"kind\":\"Status\",\"code\":70000}")
            .unwrap()
            .code,
        500
    );
}

fn printed(includes: IncludeObject, columns: Option<&[Column]>) -> String {
    let mut object = build("csr-1", "", "PEM", "example.com/a", &["any"], None);
    object["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z".into();
    object["metadata"]["resourceVersion"] = "7".into();
    push_condition(&mut object, APPROVED, "AutoApproved", "", None);
    set_certificate(&mut object, "PEM");
    let now = meta::parse_time("2026-01-02T03:09:05Z").unwrap();
    let csr = everleaf_api::csr::Csr(&object);
    let cells = [
        csr.name().into(),
        table::age(&object, now),
        csr.condition_text().into(),
    ];
    let ty = &types::CERTIFICATE_SIGNING_REQUEST;
    let row = table::encode_row(ty, &cells, &object, true, includes);
    text(table::encode(
        true,
        &meta::list_meta("9", "", None),
        columns,
        [&row[..]],
    ))
}

#[test]
fn tables() {
    let column = |name, format| Column {
        name,
        kind: "string",
        format,
        priority: 0,
        doc: "d",
    };
    let columns = [
        column("Name", "name"),
        column("Age", ""),
        column("Condition", ""),
    ];
    assert_snapshot!(printed(IncludeObject::Metadata, Some(&columns)), @r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"9"},"columnDefinitions":[{"description":"d","format":"name","name":"Name","priority":0,"type":"string"},{"description":"d","format":"","name":"Age","priority":0,"type":"string"},{"description":"d","format":"","name":"Condition","priority":0,"type":"string"}],"rows":[{"cells":["csr-1","5m","Approved,Issued"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"csr-1","resourceVersion":"7","creationTimestamp":"2026-01-02T03:04:05Z"}}}]}"#);
    assert_snapshot!(printed(IncludeObject::None, None), @r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"9"},"columnDefinitions":null,"rows":[{"cells":["csr-1","5m","Approved,Issued"],"object":null}]}"#);
    assert_snapshot!(printed(IncludeObject::Object, None), @r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"9"},"columnDefinitions":null,"rows":[{"cells":["csr-1","5m","Approved,Issued"],"object":{"kind":"CertificateSigningRequest","apiVersion":"certificates.k8s.io/v1","metadata":{"name":"csr-1","resourceVersion":"7","creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"request":"UEVN","signerName":"example.com/a","usages":["any"]},"status":{"conditions":[{"type":"Approved","status":"True","reason":"AutoApproved","lastUpdateTime":null,"lastTransitionTime":null}],"certificate":"UEVN"}}}]}"#);
    let none = json!({});
    assert_eq!(
        table::age(&none, meta::parse_time("2026-01-02T03:09:05Z").unwrap()),
        "<unknown>"
    );
    assert_eq!(IncludeObject::parse(None), Ok(IncludeObject::Metadata));
    assert_eq!(
        IncludeObject::parse(Some("Object")),
        Ok(IncludeObject::Object)
    );
    assert!(IncludeObject::parse(Some("All")).is_err());
}

#[test]
fn metadata_alone() {
    let object = json!({"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"secret": 1}});
    assert_snapshot!(text(table::encode_partial_object_metadata(&object, false)), @r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1beta1","metadata":{"name":"a","labels":{"b":"c"}}}"#);
}

fn resources() -> Vec<Resource> {
    let resource = |group, name, namespaced, kind, short_names| Resource {
        group,
        version: "v1",
        name,
        singular: "",
        namespaced,
        kind,
        kind_version: None,
        verbs: &["get", "list"],
        short_names,
        categories: &[],
        storage_version_hash: "",
        returns_deleted: false,
    };
    let csr = "CertificateSigningRequest";
    vec![
        resource("", "secrets", true, "Secret", &[]),
        Resource {
            singular: "certificatesigningrequest",
            storage_version_hash: "95fRKMXA+00=",
            returns_deleted: false,
            ..resource(
                CSRS.group,
                "certificatesigningrequests",
                false,
                csr,
                &["csr"],
            )
        },
        resource(
            CSRS.group,
            "certificatesigningrequests/approval",
            false,
            csr,
            &[],
        ),
    ]
}

#[test]
fn discovery_documents() {
    let resources = resources();
    assert_snapshot!(discovery::api_versions(&resources, "h:6443"), @r#"{"kind":"APIVersions","serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"h:6443"}],"versions":["v1"]}"#);
    assert_snapshot!(discovery::group_list(&resources), @r#"{"apiVersion":"v1","groups":[{"name":"certificates.k8s.io","preferredVersion":{"groupVersion":"certificates.k8s.io/v1","version":"v1"},"versions":[{"groupVersion":"certificates.k8s.io/v1","version":"v1"}]}],"kind":"APIGroupList"}"#);
    assert_snapshot!(discovery::group(&resources, CSRS.group).unwrap(), @r#"{"apiVersion":"v1","kind":"APIGroup","name":"certificates.k8s.io","preferredVersion":{"groupVersion":"certificates.k8s.io/v1","version":"v1"},"versions":[{"groupVersion":"certificates.k8s.io/v1","version":"v1"}]}"#);
    assert_snapshot!(discovery::resource_list(&resources, CSRS.group, "v1").unwrap(), @r#"{"apiVersion":"v1","groupVersion":"certificates.k8s.io/v1","kind":"APIResourceList","resources":[{"kind":"CertificateSigningRequest","name":"certificatesigningrequests","namespaced":false,"shortNames":["csr"],"singularName":"certificatesigningrequest","storageVersionHash":"95fRKMXA+00=","verbs":["get","list"]},{"kind":"CertificateSigningRequest","name":"certificatesigningrequests/approval","namespaced":false,"singularName":"","verbs":["get","list"]}]}"#);
    assert_snapshot!(discovery::aggregated(&resources, true), @r#"{"apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{},"versions":[{"freshness":"Current","resources":[{"resource":"secrets","responseKind":{"group":"","kind":"Secret","version":""},"scope":"Namespaced","singularResource":"","verbs":["get","list"]}],"version":"v1"}]}],"kind":"APIGroupDiscoveryList","metadata":{}}"#);
    assert_snapshot!(discovery::aggregated(&resources, false), @r#"{"apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"certificates.k8s.io"},"versions":[{"freshness":"Current","resources":[{"resource":"certificatesigningrequests","responseKind":{"group":"","kind":"CertificateSigningRequest","version":""},"scope":"Cluster","shortNames":["csr"],"singularResource":"certificatesigningrequest","subresources":[{"responseKind":{"group":"","kind":"CertificateSigningRequest","version":""},"subresource":"approval","verbs":["get","list"]}],"verbs":["get","list"]}],"version":"v1"}]}],"kind":"APIGroupDiscoveryList","metadata":{}}"#);
    let core = discovery::resource_list(&resources, "", "v1").unwrap();
    assert!(core.get("apiVersion").is_none());
    assert_eq!(discovery::group(&resources, ""), None);
    assert_eq!(discovery::group(&resources, "nope"), None);
    assert_eq!(discovery::resource_list(&resources, "", "v2"), None);
}
