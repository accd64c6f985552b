//! One resource in several versions, and which of them a server serves.

use super::fixture::World;
use crate::registry::apis::Apis;
use crate::registry::gates::{Gates, Minor};
use crate::registry::runtime_config::RuntimeConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::types;
use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};
use serde_json::{Value, json};

const BETA: &str = "certificates.k8s.io/v1beta1=true";
const GROUP: &str = "/apis/certificates.k8s.io";

fn apis(minor: Minor, gates: &str, runtime_config: &str) -> Apis {
    let gates = Gates::parse(minor, gates.split(',')).unwrap();
    Apis::new(minor, gates, &RuntimeConfig::parse([runtime_config])).unwrap()
}

/// A server with both versions.
fn world() -> World {
    World::serving(apis(37, "", BETA))
}

fn bundles(version: &str) -> String {
    format!("{GROUP}/{version}/clustertrustbundles")
}

fn requests(version: &str) -> String {
    format!("{GROUP}/{version}/namespaces/default/podcertificaterequests")
}

fn authority() -> String {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let time = |text: &str| text.parse().unwrap();
    let (from, to) = (time("2020-01-01T00:00:00Z"), time("2090-01-01T00:00:00Z"));
    let issuer = Issuer::self_signed("ca", key, [9; 16], from, to).unwrap();
    issuer.certificate_pem()
}

fn bundle(version: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("certificates.k8s.io/{version}"), "kind": "ClusterTrustBundle",
        "metadata": {"name": name}, "spec": {"trustBundle": authority()},
    })
}

/// What Go's `crypto` signed: kind of the key, the key, and a signature over `pod-uid`.
fn proof(kind: &str) -> (String, String) {
    let text = include_str!("../../../../everleaf-pki/testdata/go/proofs-of-possession.txt");
    let line = text.lines().find(|line| line.starts_with(kind)).unwrap();
    let mut words = line.split(' ').skip(1).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

/// A request as kubelets of 1.35 made it.
fn request(name: &str, kind: &str) -> Value {
    let (key, proof) = proof(kind);
    json!({
        "metadata": {"name": name},
        "spec": {
            "signerName": "example.com/pods", "podName": "web", "podUID": "pod-uid",
            "serviceAccountName": "shop", "serviceAccountUID": "s", "nodeName": "n1", "nodeUID": "n",
            "pkixPublicKey": key, "proofOfPossession": proof,
        },
    })
}

#[test]
fn a_version_that_is_not_enabled_is_not_there() {
    let world = World::new();
    let missing = world.get(&bundles("v1beta1")).expect(404);
    assert_eq!(
        missing.message(),
        "the server could not find the requested resource"
    );
    world.get(&format!("{GROUP}/v1beta1")).expect(404);
    world.get(&bundles("v1")).expect(200);
    let group = world.get(GROUP).expect(200).json;
    assert_eq!(group["versions"].as_array().unwrap().len(), 1);
}

#[test]
fn discovery_tells_both_the_stable_one_first() {
    let world = world();
    let group = world.get(GROUP).expect(200).json;
    let versions = group["versions"].as_array().unwrap().iter();
    let versions: Vec<_> = versions.map(|v| v["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["v1", "v1beta1"]);
    assert_eq!(group["preferredVersion"]["version"], "v1");

    let list = world.get(&format!("{GROUP}/v1beta1")).expect(200).json;
    let resources = list["resources"].as_array().unwrap().iter();
    let told = resources.map(|r| {
        let hash = r["storageVersionHash"].as_str().unwrap_or("");
        format!(
            "{} {} {hash}",
            r["name"].as_str().unwrap(),
            r["kind"].as_str().unwrap()
        )
    });
    // The hashes are those of v1beta1, in which kube-apiserver 1.37 stores them, too.
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "clustertrustbundles ClusterTrustBundle v5yhuVertL4=",
            "podcertificaterequests PodCertificateRequest wYA9yXQH8fg=",
            "podcertificaterequests/status PodCertificateRequest ",
        ]
    );
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = world
        .send("GET", "/apis", &[("Accept", aggregated)], "")
        .json;
    let groups = all["items"].as_array().unwrap().iter();
    let group = groups
        .clone()
        .find(|g| g["metadata"]["name"] == "certificates.k8s.io")
        .unwrap();
    let versions = group["versions"].as_array().unwrap().iter();
    let told: Vec<_> = versions
        .map(|v| {
            (
                v["version"].as_str().unwrap(),
                v["resources"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(told, [("v1", 3), ("v1beta1", 2)]);
    let paths = world.get("/").json["paths"].to_string();
    assert!(
        paths.contains("\"/apis/certificates.k8s.io/v1beta1\""),
        "{paths}"
    );
}

#[test]
fn openapi_tells_both() {
    let world = world();
    let index = world.get("/openapi/v3").expect(200).json;
    let address = index["paths"]["apis/certificates.k8s.io/v1beta1"]["serverRelativeURL"].as_str();
    let part = world.get(address.unwrap()).expect(200).json;
    let schema =
        &part["components"]["schemas"]["io.k8s.api.certificates.v1beta1.PodCertificateRequestSpec"];
    assert!(
        schema["properties"]["pkixPublicKey"].is_object(),
        "{schema}"
    );
    let v2 = world.get("/openapi/v2").expect(200).json;
    for version in ["v1", "v1beta1"] {
        let name = format!("io.k8s.api.certificates.{version}.ClusterTrustBundle");
        assert!(v2["definitions"][&name].is_object(), "{name}");
        assert!(v2["paths"][bundles(version)].is_object(), "{version}");
    }
    assert_eq!(v2["info"]["version"], "1.37");
    let older = World::serving(apis(36, "", "")).get("/openapi/v2").json;
    assert_eq!(older["info"]["version"], "1.36");
    assert!(older["paths"][bundles("v1")].is_null());
    assert!(World::new().get("/openapi/v2").json["paths"][bundles("v1beta1")].is_null());
}

#[test]
fn an_object_is_the_same_in_each_version() {
    let world = world();
    let paths = ["v1", "v1beta1"].map(|version| (version, bundles(version)));
    let mut watches = paths
        .clone()
        .map(|(_, path)| world.watch(&format!("{path}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")));
    for (version, path) in &paths {
        let created = world
            .post(path, &bundle(version, &format!("by-{version}")))
            .expect(201);
        assert_eq!(
            created.json["apiVersion"],
            format!("certificates.k8s.io/{version}")
        );
        // The other's apiVersion is no body for this path.
        let other = if *version == "v1" { "v1beta1" } else { "v1" };
        world.post(path, &bundle(other, "no")).expect(400);
    }
    for ((version, path), watch) in paths.iter().zip(&mut watches) {
        let api_version = format!("certificates.k8s.io/{version}");
        let list = world.get(path).expect(200);
        assert_eq!(list.json["apiVersion"], *api_version);
        assert_eq!(list.json["kind"], "ClusterTrustBundleList");
        assert_eq!(list.names(), ["by-v1", "by-v1beta1"]);
        let events = watch.drain(0).0;
        let told: Vec<_> = events
            .iter()
            .map(|event| {
                (
                    event["type"].as_str().unwrap(),
                    event["object"]["apiVersion"].as_str().unwrap(),
                )
            })
            .collect();
        let api_version = api_version.as_str();
        assert_eq!(
            told,
            [
                ("BOOKMARK", api_version),
                ("ADDED", api_version),
                ("ADDED", api_version)
            ]
        );
        for name in ["by-v1", "by-v1beta1"] {
            let path = format!("{path}/{name}");
            let read = world.get(&path).expect(200).json;
            assert_eq!(read["apiVersion"], api_version);
            let protobuf = [("Accept", "application/vnd.kubernetes.protobuf")];
            let protobuf = world.raw("GET", &path, &protobuf, "").into_body();
            let r#type = match *version {
                "v1" => &types::CLUSTER_TRUST_BUNDLE,
                _ => &types::BETA_CLUSTER_TRUST_BUNDLE,
            };
            let decoded = r#type
                .decode_protobuf(protobuf.as_bytes().unwrap())
                .unwrap();
            assert_eq!(decoded["spec"], read["spec"]);
            let table = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
            let path = format!("{path}?includeObject=Object");
            let table = world.send("GET", &path, &table, "").json;
            assert_eq!(table["rows"][0]["cells"][0], name);
            assert_eq!(table["rows"][0]["object"]["apiVersion"], api_version);
        }
    }
}

#[test]
fn managers_own_fields_in_the_version_in_which_they_wrote() {
    let world = world();
    let apply = |version: &str, manager: &str, label: &str| {
        let mut body = bundle(version, "a");
        body["metadata"]["labels"] = json!({label: "x"});
        body["spec"]["trustBundle"] = "".into();
        body.as_object_mut().unwrap().remove("spec");
        let path = format!("{}/a?fieldManager={manager}", bundles(version));
        let headers = [("Content-Type", "application/apply-patch+yaml")];
        world
            .send("PATCH", &path, &headers, body.to_string())
            .expect(200)
            .json
    };
    world
        .post(
            &format!("{}?fieldManager=maker", bundles("v1beta1")),
            &bundle("v1beta1", "a"),
        )
        .expect(201);
    apply("v1", "one", "a");
    let both = apply("v1beta1", "two", "b");
    assert_eq!(both["metadata"]["labels"], json!({"a": "x", "b": "x"}));
    let patch = json!({"metadata": {"labels": {"c": "x"}}});
    let patched = world
        .patch(&format!("{}/a?fieldManager=three", bundles("v1")), &patch)
        .expect(200)
        .json;
    let managers = patched["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter();
    let told: Vec<_> = managers
        .map(|m| {
            format!(
                "{} {}",
                m["manager"].as_str().unwrap(),
                m["apiVersion"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "one certificates.k8s.io/v1",
            "two certificates.k8s.io/v1beta1",
            "maker certificates.k8s.io/v1beta1",
            "three certificates.k8s.io/v1",
        ]
    );
    // What one manager owns in a version, another has to take from it in any.
    let mut body = bundle("v1", "a");
    body["spec"]["trustBundle"] = authority().into();
    let path = format!("{}/a?fieldManager=four", bundles("v1"));
    let headers = [("Content-Type", "application/apply-patch+yaml")];
    let conflict = world
        .send("PATCH", &path, &headers, body.to_string())
        .expect(409);
    assert!(
        conflict.message().contains("conflict with \"maker\""),
        "{}",
        conflict.message()
    );
}

#[test]
fn who_uses_an_old_version_is_warned_whatever_the_answer() {
    let world = world();
    let warning = "299 - \"certificates.k8s.io/v1beta1 ClusterTrustBundle is deprecated in v1.37+, \
                   unavailable in v1.40+; use certificates.k8s.io/v1 ClusterTrustBundle\"";
    for path in [bundles("v1beta1"), format!("{}/none", bundles("v1beta1"))] {
        let answer = world.get(&path);
        assert_eq!(answer.headers["warning"], warning, "{path}");
    }
    assert_eq!(world.get(&bundles("v1")).headers.get("warning"), None);
    let metrics = world.get("/metrics").text;
    let noted = "apiserver_requested_deprecated_apis{group=\"certificates.k8s.io\",\
                 removed_release=\"1.40\",resource=\"clustertrustbundles\",subresource=\"\",\
                 version=\"v1beta1\"} 1\n";
    assert!(metrics.contains(noted), "{metrics}");
}

#[test]
fn the_older_proof_of_possession_is_for_v1beta1_alone() {
    let world = world();
    for kind in [
        "rsa3072-auto",
        "rsa4096-auto",
        "rsa3071-auto",
        "p256",
        "p384",
        "p521",
        "ed25519",
    ] {
        let created = world
            .post(&requests("v1beta1"), &request(kind, kind))
            .expect(201)
            .json;
        assert_eq!(created["spec"]["pkixPublicKey"], proof(kind).0);
        assert_eq!(created["spec"]["stubPKCS10Request"], Value::Null);
        let shown = world.get(&format!("{}/{kind}", requests("v1"))).expect(200);
        assert_eq!(shown.json["spec"].get("pkixPublicKey"), None);
        assert!(
            shown.text.contains("\"stubPKCS10Request\":null"),
            "{}",
            shown.text
        );
    }
    let path = requests("v1");
    let refused = world.post(&path, &request("b", "p256")).expect(422);
    assert_eq!(refused.json["details"]["causes"][0]["field"], "spec");
    // Without the older members a request is another one, which it must not become.
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    world.patch(&format!("{path}/p256"), &patch).expect(422);
    world
        .patch(&format!("{}/p256", requests("v1beta1")), &patch)
        .expect(200);
    let status = json!({"status": {"conditions": [{
        "type": "Denied", "status": "True", "reason": "No", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]}});
    world
        .patch(&format!("{path}/p256/status"), &status)
        .expect(200);
    let kept = world
        .get(&format!("{}/p256", requests("v1beta1")))
        .expect(200)
        .json;
    assert_eq!(
        kept["spec"]["pkixPublicKey"],
        proof("p256").0,
        "a status leaves the key alone"
    );
    assert_eq!(kept["status"]["conditions"][0]["type"], "Denied");
}

#[test]
fn the_older_proof_of_possession_is_checked() {
    let world = world();
    let causes = |edit: &dyn Fn(&mut Value)| {
        let mut request = request("a", "p256");
        edit(&mut request["spec"]);
        let refused = world.post(&requests("v1beta1"), &request).expect(422);
        let cause = &refused.json["details"]["causes"][0];
        format!(
            "{} {}",
            cause["field"].as_str().unwrap(),
            cause["message"].as_str().unwrap()
        )
    };
    let both = "spec Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, \
                proofOfPossession) must be set";
    assert_eq!(
        causes(&|spec| spec["stubPKCS10Request"] = "AAAA".into()),
        both
    );
    assert_eq!(
        causes(&|spec| spec["proofOfPossession"] = Value::Null),
        both
    );
    assert_eq!(
        causes(&|spec| spec["podUID"] = "another".into()),
        "spec.proofOfPossession Invalid value: could not verify proof-of-possession signature"
    );
    assert_eq!(
        causes(&|spec| spec["pkixPublicKey"] = "AAAA".into()),
        "spec.pkixPublicKey Invalid value: \"AAAA\": must be a valid PKIX-serialized public key"
    );
    let weak = PrivateKey::generate(KeyAlgorithm::Rsa(2048)).unwrap();
    let weak = STANDARD.encode(weak.public_key().spki_der());
    let weak = causes(&|spec| spec["pkixPublicKey"] = weak.clone().into());
    assert!(
        weak.starts_with("spec.pkixPublicKey Invalid value: \"2048-bit modulus\""),
        "{weak}"
    );
    let long = STANDARD.encode([0; 10 * 1024 + 1]);
    let long = causes(&|spec| spec["proofOfPossession"] = long.clone().into());
    assert!(
        long.starts_with("spec.proofOfPossession Too long"),
        "{long}"
    );
}

/// Without its gate the resource is not there, and a node that asks for it is nobody that may:
/// authorization comes before the address.
#[test]
fn nodes_have_no_rights_on_what_a_gate_keeps_away() {
    let request = request("a", "p256");
    for (minor, gates, code) in [
        (36, "PodCertificateRequest=true", 201),
        (36, "", 403),
        (37, "PodCertificateRequest=false", 403),
    ] {
        let mut world = World::serving(apis(minor, gates, BETA));
        let is_served = code == 201;
        let expected = if is_served { 201 } else { 404 };
        world.post(&requests("v1beta1"), &request).expect(expected);
        world.be("node");
        for (method, path) in [
            (
                "GET",
                format!("{}?fieldSelector=spec.nodeName%3Dn1", requests("v1beta1")),
            ),
            ("GET", format!("{}/a", requests("v1beta1"))),
        ] {
            let expected = if is_served { 200 } else { 403 };
            let answer = world
                .send(method, &path, &[], String::new())
                .expect(expected);
            if !is_served {
                let message = answer.json["message"].as_str().unwrap();
                assert!(
                    message.ends_with(" in the namespace \"default\""),
                    "{message}"
                );
            }
        }
    }
}

#[test]
fn a_release_is_emulated() {
    let version = |minor| {
        World::serving(apis(minor, "", ""))
            .get("/version")
            .expect(200)
            .json
    };
    for (minor, expected) in [
        (37, ["37", "37", "36"]),
        (35, ["37", "35", "34"]),
        (34, ["37", "34", "34"]),
    ] {
        let version = version(minor);
        let told = ["minor", "emulationMinor", "minCompatibilityMinor"].map(|m| version[m].clone());
        assert_eq!(told, expected, "{version}");
    }
    let world = World::serving(apis(36, "", BETA));
    world.get(&bundles("v1")).expect(404);
    world.get(&bundles("v1beta1")).expect(404);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    world
        .get(&format!("{rbac}/system:cluster-trust-bundle-discovery"))
        .expect(404);
    let world = World::serving(apis(36, "ClusterTrustBundle=true", BETA));
    world.get(&bundles("v1beta1")).expect(200);
    world
        .get(&format!("{rbac}/system:cluster-trust-bundle-discovery"))
        .expect(200);
    // No constrained impersonation before 1.36: who has but the new rights cannot.
    assert_eq!(impersonated(36), 201);
    assert_eq!(impersonated(35), 403);
}

/// What eve gets to hear as another user, with the constrained rights alone.
fn impersonated(minor: Minor) -> u16 {
    let mut world = World::serving(apis(minor, "", ""));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([
        {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"]},
        {"verbs": ["impersonate-on:user-info:create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
    ]);
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    world
        .post(&format!("{rbac}/clusterroles"), &role)
        .expect(201);
    let binding = json!({
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    });
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .expect(201);
    world.be("eve");
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    world
        .send("POST", review, &[("Impersonate-User", "jane")], "{}")
        .code
}

#[test]
fn whole_groups_and_single_resources_can_be_off() {
    let world = World::serving(apis(
        37,
        "",
        "coordination.k8s.io/v1=false,/v1/serviceaccounts=false",
    ));
    let page = world.get("/apis/coordination.k8s.io/v1/leases").expect(404);
    assert_eq!(page.text, "404 page not found\n");
    assert!(!world.get("/apis").text.contains("coordination.k8s.io"));
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    world.get(accounts).expect(404);
    world
        .post(&format!("{accounts}/a/token"), &json!({}))
        .expect(404);
    assert!(!world.get("/api/v1").text.contains("serviceaccounts"));
    world.get("/api/v1/namespaces").expect(200);
    let world = World::serving(apis(
        37,
        "",
        "authorization.k8s.io/v1/subjectaccessreviews=false",
    ));
    let reviews = "/apis/authorization.k8s.io/v1";
    world
        .post(&format!("{reviews}/subjectaccessreviews"), &json!({}))
        .expect(404);
    world
        .post(
            &format!("{reviews}/selfsubjectaccessreviews"),
            &json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}),
        )
        .expect(201);
}
