//! The life of a CertificateSigningRequest: upstream's conformance test step by step
//! (`test/e2e/auth/certificates.go`), and what only requests have.

use super::fixture::{CSRS, World};
use crate::handler::Limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Subject, Template};
use serde_json::{Value, json};

const SIGNER: &str = "example.com/e2e-test";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";

fn request_pem(common_name: &str, organization: &str) -> String {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = Template {
        subject: Subject {
            common_name: common_name.to_owned(),
            organizations: vec![organization.to_owned()],
        },
        ..Template::default()
    };
    template.to_request_pem(&key).unwrap()
}

fn certificate_pem(days: i64) -> String {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    let end = start + jiff::SignedDuration::from_hours(24 * days);
    let ca = Issuer::self_signed("self", key, [7; 16], start, end).unwrap();
    ca.certificate_pem()
}

fn csr(signer: &str, usages: &[&str]) -> Value {
    let request = STANDARD.encode(request_pem("e2e.example.com", "e2e"));
    json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "e2e-example-csr-"},
        "spec": {"request": request, "signerName": signer, "usages": usages},
    })
}

pub(super) fn server_csr() -> Value {
    csr(
        SIGNER,
        &["digital signature", "key encipherment", "server auth"],
    )
}

fn kubelet_csr(node: &str) -> Value {
    let mut csr = csr(KUBELET, &["digital signature", "client auth"]);
    let pem = request_pem(&format!("system:node:{node}"), "system:nodes");
    csr["spec"]["request"] = STANDARD.encode(pem).into();
    csr
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "e2e", "message": "by test"})
}

fn condition_types(object: &Value) -> Vec<String> {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions
        .iter()
        .map(|condition| condition["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn supports_csr_api_operations() {
    let world = World::new();
    discovery_steps(&world);

    // C4: three of them.
    let created: Vec<_> = (0..3)
        .map(|_| world.post(CSRS, &server_csr()).expect(201))
        .collect();
    let names: Vec<String> = created
        .iter()
        .map(|answer| answer.json["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
    let uid = &created[2].json["metadata"]["uid"];
    let path = format!("{CSRS}/{}", names[2]);

    // C5, C6.
    assert_eq!(world.get(&path).expect(200).json["metadata"]["uid"], *uid);
    let by_signer = format!("{CSRS}?fieldSelector=spec.signerName%3D{SIGNER}");
    let list = world.get(&by_signer).expect(200);
    assert_eq!(list.names().len(), 3);

    // C7 to C10: a watch sees both changes, and nothing else.
    let mut watch = world.watch(&format!(
        "{CSRS}?watch=true&resourceVersion={}&fieldSelector=metadata.name%3D{}",
        list.version(),
        names[2]
    ));
    let patched = world
        .patch(
            &path,
            &json!({"metadata": {"annotations": {"patched": "true"}}}),
        )
        .expect(200);
    let mut body = patched.json.clone();
    body["metadata"]["annotations"]["updated"] = json!("true");
    let updated = world.put(&path, &body).expect(200);
    assert_eq!(updated.json["metadata"]["annotations"]["updated"], "true");
    let (events, ended) = watch.drain(1);
    assert!(!ended);
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["type"] == "MODIFIED"));
    assert_eq!(
        events[0]["object"]["metadata"]["annotations"]["patched"],
        "true"
    );

    approval_steps(&world, &path, uid);
    status_steps(&world, &path, uid);

    // C17 to C19.
    world.delete(&path).expect(200);
    assert_eq!(world.get(&path).expect(404).json["reason"], "NotFound");
    assert_eq!(world.get(&by_signer).expect(200).names().len(), 2);
    world.delete(&by_signer).expect(200);
    assert_eq!(world.get(&by_signer).expect(200).names(), [""; 0]);
}

/// C1 to C3.
fn discovery_steps(world: &World) {
    let groups = world.get("/apis").expect(200);
    let group = groups.json["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["name"] == "certificates.k8s.io")
        .unwrap()
        .clone();
    assert_eq!(group["versions"][0]["version"], "v1");
    let group = world.get("/apis/certificates.k8s.io").expect(200);
    assert_eq!(
        group.json["versions"][0]["groupVersion"],
        "certificates.k8s.io/v1"
    );
    let resources = world.get("/apis/certificates.k8s.io/v1").expect(200);
    let names: Vec<&str> = resources.json["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "certificatesigningrequests",
            "certificatesigningrequests/approval",
            "certificatesigningrequests/status",
            "clustertrustbundles",
            "podcertificaterequests",
            "podcertificaterequests/status"
        ]
    );
}

/// C11 to C13.
fn approval_steps(world: &World, path: &str, uid: &Value) {
    let approval = format!("{path}/approval");
    let read = world.get(&approval).expect(200);
    assert_eq!(read.json["kind"], "CertificateSigningRequest");
    assert_eq!(read.json["metadata"]["uid"], *uid);
    let patch = json!({"metadata": {"annotations": {"patchedapproval": "true"}},
        "status": {"conditions": [condition("ApprovalPatch")]}});
    let patched = world.patch(&approval, &patch).expect(200);
    assert_eq!(condition_types(&patched.json), ["ApprovalPatch"]);
    assert_eq!(
        patched.json["metadata"]["annotations"]["patchedapproval"],
        "true"
    );
    let mut body = patched.json.clone();
    let conditions = body["status"]["conditions"].as_array_mut().unwrap();
    conditions.push(condition("Approved"));
    let approved = world.put(&approval, &body).expect(200);
    assert_eq!(
        condition_types(&approved.json),
        ["ApprovalPatch", "Approved"]
    );
    assert_eq!(
        approved.json["status"]["conditions"][1]["lastUpdateTime"],
        "2026-01-02T03:04:05Z"
    );
}

/// C14 to C16.
fn status_steps(world: &World, path: &str, uid: &Value) {
    let status = format!("{path}/status");
    assert_eq!(world.get(&status).expect(200).json["metadata"]["uid"], *uid);
    let certificate = STANDARD.encode(certificate_pem(1));
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"certificate": certificate}});
    let issued = world.patch(&status, &patch).expect(200);
    assert_eq!(issued.json["status"]["certificate"], certificate.as_str());
    assert_eq!(
        issued.json["metadata"]["annotations"]["patchedstatus"],
        "true"
    );
    let mut body = issued.json.clone();
    let conditions = body["status"]["conditions"].as_array_mut().unwrap();
    conditions.push(condition("StatusUpdate"));
    let updated = world.put(&status, &body).expect(200);
    assert_eq!(
        condition_types(&updated.json),
        ["ApprovalPatch", "Approved", "StatusUpdate"]
    );
    let table = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = world.send("GET", path, &table, "").expect(200);
    let cells = table.json["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(
        cells[1..],
        [
            json!("0s"),
            json!(SIGNER),
            json!("admin"),
            json!("<none>"),
            json!("Approved,Issued")
        ]
    );
}

#[test]
fn the_server_says_who_asked() {
    let mut world = World::new();
    world.be("node");
    let mut body = kubelet_csr("n1");
    body["spec"]["username"] = json!("somebody else");
    body["spec"]["groups"] = json!(["system:masters"]);
    body["status"] = json!({"conditions": [condition("Approved")]});
    let created = world.post(CSRS, &body).expect(201);
    assert_eq!(created.json["spec"]["username"], "system:node:n1");
    assert_eq!(
        created.json["spec"]["groups"],
        json!(["system:nodes", "system:authenticated"])
    );
    assert_eq!(created.json["status"], json!({}));
    // NodeRestriction: only for itself. Nor may it approve or sign.
    world.post(CSRS, &kubelet_csr("n2")).expect(403);
    let name = created.json["metadata"]["name"].as_str().unwrap();
    for subresource in ["approval", "status"] {
        world
            .patch(&format!("{CSRS}/{name}/{subresource}"), &json!({}))
            .expect(403);
    }
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let world = World::new();
    let causes = |body: Value| {
        let refused = world.post(CSRS, &body).expect(422);
        assert_eq!(refused.json["details"]["kind"], "CertificateSigningRequest");
        let causes = refused.json["details"]["causes"].as_array().unwrap();
        let field = |cause: &Value| cause["field"].as_str().unwrap().to_owned();
        causes.iter().map(field).collect::<Vec<_>>()
    };
    assert_eq!(
        causes(json!({"metadata": {"name": "x"}, "spec": {}})),
        ["spec.request", "spec.usages", "spec.signerName"]
    );
    let mut garbage = server_csr();
    garbage["spec"]["request"] = STANDARD.encode("not PEM").into();
    assert_eq!(causes(garbage), ["spec.request"]);
    let mut forged = server_csr();
    let mut pem = request_pem("a", "b").into_bytes();
    let last = pem.len() - 60;
    pem[last] = if pem[last] == b'A' { b'B' } else { b'A' };
    forged["spec"]["request"] = STANDARD.encode(pem).into();
    assert_eq!(causes(forged), ["spec.request"]);
}

#[test]
fn masters_do_not_come_from_the_client_signer() {
    let world = World::new();
    let mut body = csr("kubernetes.io/kube-apiserver-client", &["client auth"]);
    let pem = request_pem("root", "system:masters");
    body["spec"]["request"] = STANDARD.encode(pem).into();
    let refused = world.post(CSRS, &body).expect(403);
    assert!(
        refused.message().contains("system:masters"),
        "{}",
        refused.message()
    );
}

#[test]
fn the_spec_never_changes() {
    let world = World::new();
    let created = world.post(CSRS, &server_csr()).expect(201);
    let name = created.json["metadata"]["name"].as_str().unwrap();
    let patch = json!({"spec": {"signerName": "example.com/other", "request": "AAAA"},
        "status": {"certificate": "AAAA"}});
    let patched = world.patch(&format!("{CSRS}/{name}"), &patch).expect(200);
    assert_eq!(patched.json, created.json);
}

#[test]
fn unsigned_requests_are_limited_per_identity() {
    let mut world = World::with_limits(Limits {
        unsigned_requests_per_node_max: 2,
        unsigned_requests_per_token_max: 3,
        ..Limits::default()
    });
    let mut names = Vec::new();
    world.be("node");
    for _ in 0..2 {
        let created = world.post(CSRS, &kubelet_csr("n1")).expect(201);
        names.push(
            created.json["metadata"]["name"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let refused = world.post(CSRS, &kubelet_csr("n1")).expect(429);
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(
        refused.message().contains("system:node:n1 has 2 unsigned"),
        "{}",
        refused.message()
    );
    world.be("bootstrap");
    for _ in 0..3 {
        world.post(CSRS, &kubelet_csr("n9")).expect(201);
    }
    world.post(CSRS, &kubelet_csr("n9")).expect(429);
    // A certificate, or a delete, makes room.
    world.be("admin");
    let certificate = STANDARD.encode(certificate_pem(1));
    let issue = json!({"status": {"certificate": certificate}});
    world
        .patch(&format!("{CSRS}/{}/status", names[0]), &issue)
        .expect(200);
    world.be("node").post(CSRS, &kubelet_csr("n1")).expect(201);
    world.post(CSRS, &kubelet_csr("n1")).expect(429);
    world
        .be("admin")
        .delete(&format!("{CSRS}/{}", names[1]))
        .expect(200);
    world.be("node").post(CSRS, &kubelet_csr("n1")).expect(201);
    // Nobody else is limited.
    world.be("admin");
    for _ in 0..5 {
        world.post(CSRS, &server_csr()).expect(201);
    }
}

#[test]
fn durations_are_counted_once_per_certificate() {
    let world = World::new();
    let issue = |days: i64, wanted_seconds: i64, signer: &str| {
        let mut body = csr(signer, &["client auth"]);
        body["spec"]["expirationSeconds"] = json!(wanted_seconds);
        let created = world.post(CSRS, &body).expect(201);
        let name = created.json["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        let status = format!("{CSRS}/{name}/status");
        let patch = json!({"status": {"certificate": STANDARD.encode(certificate_pem(days))}});
        world
            .patch(&format!("{status}?dryRun=All"), &patch)
            .expect(200);
        world.patch(&status, &patch).expect(200);
        world
            .patch(&status, &json!({"metadata": {"annotations": {"a": "b"}}}))
            .expect(200);
    };
    issue(2, 2 * 86_400, SIGNER);
    issue(2, 86_400, SIGNER);
    issue(1, 86_400, KUBELET);
    let metrics = world.get("/metrics").expect(200).text;
    let counter = |which: &str, signer: &str| {
        let name = format!(
            "apiserver_certificates_registry_csr_{which}_duration_total{{signerName=\"{signer}\"}} "
        );
        let line = metrics.lines().find(|line| line.starts_with(&name));
        line.map(|line| line[name.len()..].to_owned())
    };
    assert_eq!(counter("requested", "other").as_deref(), Some("2"));
    assert_eq!(counter("honored", "other").as_deref(), Some("1"));
    assert_eq!(counter("requested", KUBELET).as_deref(), Some("1"));
    assert_eq!(counter("honored", KUBELET).as_deref(), Some("1"));
}
