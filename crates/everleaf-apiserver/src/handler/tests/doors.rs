//! Who gets in, what is there, and what is said about the rest.

use super::fixture::{CSRS, MAPS, World, config_map};
use crate::handler::limits::Priority;
use crate::handler::{ConfigFile, Limits, RequestLabels};
use serde_json::{Value, json};
use std::time::Duration;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[test]
fn strangers_and_the_unauthorized() {
    let mut world = World::new();
    let denied = world.be("eve").get(MAPS).expect(403);
    assert_eq!(denied.json["reason"], "Forbidden");
    assert_eq!(
        denied.message(),
        "configmaps is forbidden: User \"eve\" cannot list resource \"configmaps\" in API group \
         \"\" in the namespace \"default\""
    );
    assert_eq!(denied.headers["x-content-type-options"], "nosniff");
    let path = world.get("/metrics").expect(403);
    assert_eq!(
        path.message(),
        "forbidden: User \"eve\" cannot get path \"/metrics\""
    );
    // Authorization comes before 404 and before the body.
    world.get("/apis/example.com/v1/things").expect(403);
    world.send("POST", MAPS, &[], "{").expect(403);

    world.be("nobody").get("/version").expect(200);
    let denied = world.get(MAPS).expect(403);
    assert!(denied.message().contains("system:anonymous"));
    let wrong = world.send("GET", "/version", &[("Authorization", "Bearer wrong")], "");
    assert_eq!(wrong.expect(401).json["reason"], "Unauthorized");
}

#[test]
fn impersonation_is_the_effective_user() {
    let mut world = World::new();
    let as_eve = [("Impersonate-User", "eve")];
    world.send("GET", MAPS, &as_eve, "").expect(403);
    world.be("eve");
    let as_admin = [
        ("Impersonate-User", "admin"),
        ("Impersonate-Group", "system:masters"),
    ];
    world.send("GET", MAPS, &as_admin, "").expect(403);
}

#[test]
fn unserved_paths() {
    let world = World::new();
    let unknown_group = world.get("/apis/example.com/v1/things").expect(404);
    assert_eq!(unknown_group.text, "404 page not found\n");
    assert_eq!(
        unknown_group.headers["content-type"],
        "text/plain; charset=utf-8"
    );
    let unknown_resource = world.get("/api/v1/things").expect(404);
    assert_eq!(
        unknown_resource.message(),
        "the server could not find the requested resource"
    );
    let elsewhere = world.get("/nowhere").expect(404);
    assert_eq!(elsewhere.text, "404 page not found\n");
    assert_eq!(elsewhere.headers["x-content-type-options"], "nosniff");
}

#[test]
fn methods() {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    for (method, path) in [
        ("POST", format!("{MAPS}/a")),
        ("PUT", MAPS.to_owned()),
        ("PATCH", MAPS.to_owned()),
        ("OPTIONS", MAPS.to_owned()),
        ("HEAD", MAPS.to_owned()),
        ("POST", "/api/v1/configmaps".to_owned()),
        ("DELETE", "/api/v1/configmaps".to_owned()),
        ("POST", format!("{CSRS}/a/approval")),
        ("DELETE", format!("{CSRS}/a/status")),
        (
            "GET",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
        ),
        ("POST", "/version".to_owned()),
    ] {
        let refused = world.send(method, &path, &[], "{}").expect(405);
        assert_eq!(
            refused.json["reason"], "MethodNotAllowed",
            "{method} {path}"
        );
    }
}

#[test]
fn discovery() {
    let world = World::new();
    let api = world.get("/api").expect(200);
    assert_eq!(api.json["versions"], json!(["v1"]));
    let address = &api.json["serverAddressByClientCIDRs"][0]["serverAddress"];
    assert_eq!(address, "127.0.0.1:6443");
    let apis = world.get("/apis/").expect(200);
    let groups: Vec<&str> = apis.json["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["name"].as_str().unwrap())
        .collect();
    assert!(groups.contains(&"certificates.k8s.io"), "{groups:?}");
    assert!(!groups.contains(&""), "{groups:?}");
    world.get("/apis/certificates.k8s.io").expect(200);
    world.get("/apis/certificates.k8s.io/v2").expect(404);
    assert_eq!(
        world.get("/apis/example.com").expect(404).text,
        "404 page not found\n"
    );
    let root = world.get("/").expect(200);
    assert!(
        root.json["paths"]
            .as_array()
            .unwrap()
            .contains(&json!("/apis/certificates.k8s.io/v1"))
    );

    let core = world.get("/api/v1").expect(200);
    let find = |name: &str| {
        let resources = core.json["resources"].as_array().unwrap();
        resources
            .iter()
            .find(|resource| resource["name"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(find("configmaps")["shortNames"], json!(["cm"]));
    assert_eq!(find("nodes")["namespaced"], false);
    assert_eq!(
        find("nodes/status")["verbs"],
        json!(["get", "patch", "update"])
    );
    assert_eq!(find("secrets")["singularName"], "secret");
}

#[test]
fn aggregated_discovery() {
    let world = World::new();
    let accept = format!("{AGGREGATED},application/json");
    let ask = |headers: &[(&str, &str)]| {
        let mut all = vec![("Accept", accept.as_str())];
        all.extend_from_slice(headers);
        world.send("GET", "/apis", &all, "")
    };
    let full = ask(&[]).expect(200);
    assert_eq!(full.headers["content-type"], AGGREGATED);
    assert_eq!(full.headers["vary"], "Accept");
    let group = full.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["metadata"]["name"] == "certificates.k8s.io")
        .unwrap();
    let resource = &group["versions"][0]["resources"][0];
    assert_eq!(resource["resource"], "certificatesigningrequests");
    assert_eq!(resource["scope"], "Cluster");
    assert_eq!(resource["subresources"][0]["subresource"], "approval");
    let tag = full.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag.len(), 130, "a quoted SHA-512");
    let known = ask(&[("If-None-Match", &tag)]).expect(304);
    assert_eq!(known.text, "");
    ask(&[("If-None-Match", "\"other\"")]).expect(200);
    let core = world
        .send("GET", "/api", &[("Accept", &accept)], "")
        .expect(200);
    assert_eq!(core.json["items"].as_array().unwrap().len(), 1);
}

#[test]
fn version() {
    let world = World::new();
    for path in ["/version", "/version/?timeout=32s"] {
        let version = world.get(path).expect(200);
        assert_eq!(version.json["major"], "1");
        assert_eq!(version.json["minor"], "37");
        assert_eq!(version.json["gitVersion"], "v1.37.0-everleaf.0.1");
    }
}

#[test]
fn health() {
    let world = World::new();
    for path in [
        "/livez",
        "/readyz",
        "/healthz",
        "/readyz/ping",
        "/livez/etcd",
    ] {
        let healthy = world.get(path).expect(200);
        assert_eq!(healthy.text, "ok", "{path}");
        assert_eq!(healthy.headers["content-type"], "text/plain; charset=utf-8");
    }
    world.get("/readyz/nothing").expect(404);
    world.get("/livez/shutdown").expect(404);
    let verbose = world.get("/livez?verbose").expect(200);
    assert_eq!(verbose.text, "[+]ping ok\n[+]etcd ok\nlivez check passed\n");
    let excluded = world
        .get("/livez?verbose&exclude=etcd&exclude=x")
        .expect(200);
    assert_eq!(
        excluded.text,
        "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no \
         matches for \"x\"\nlivez check passed\n"
    );
    world.server.stop();
    let stopping = world.get("/readyz").expect(500);
    assert!(
        stopping
            .text
            .contains("[-]shutdown failed: reason withheld\n")
    );
    assert!(stopping.text.ends_with("readyz check failed\n"));
    world.get("/readyz?exclude=shutdown").expect(200);
}

#[test]
fn metrics() {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    world.get(&format!("{MAPS}/none")).expect(404);
    world.get("/api/v1/made-up/x/y").expect(404);
    let metrics = world.get("/metrics").expect(200);
    for line in [
        "apiserver_storage_objects{resource=\"configmaps\"} ",
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",\
         resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"POST\",version=\"v1\"} 1\n",
        "code=\"404\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"\",scope=\"resource\"",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} ",
        "# TYPE apiserver_client_certificate_expiration_seconds histogram",
    ] {
        assert!(
            metrics.text.contains(line),
            "{line} not in {}",
            metrics.text
        );
    }
    assert!(!metrics.text.contains("made-up"), "labels are bounded");
}

/// Names, labels, order and numbers are what dashboards are written against. How many objects there
/// are at first is not.
#[test]
fn metrics_word_for_word() {
    let world = World::new();
    let labels = |path: &str| {
        let response = world.raw("GET", path, &[], "");
        *response.extensions().get::<RequestLabels>().unwrap()
    };
    let (map, nowhere) = (labels(&format!("{MAPS}/a?dryRun=All")), labels("/made-up"));
    let took = Duration::from_millis;
    for (labels, took) in [(map, took(3)), (nowhere, took(250)), (map, took(40_000))] {
        world.server.metrics().observe_duration(labels, took);
    }
    world.server.metrics.count_duration("example.com/a", true);
    world.server.metrics.count_duration("example.com/a", false);
    world.server.metrics().count_handshake_error();
    let at = |seconds| jiff::Timestamp::from_second(seconds).unwrap();
    for (seconds, is_in_force) in [(1_000, true), (1_010, false), (1_020, false)] {
        let file = ConfigFile::Authorization;
        world.server.reloaded(file, is_in_force, at(seconds));
    }
    let _watch = world.watch(&format!("{MAPS}?watch=true"));
    let lines = world.get("/metrics").expect(200).text;
    let lines: Vec<&str> = lines
        .lines()
        .filter(|line| !line.starts_with("apiserver_storage_objects{"))
        .collect();
    assert_eq!(lines.join("\n"), include_str!("metrics.txt").trim_end());
}

#[test]
fn limits() {
    let world = World::with_limits(Limits {
        body_bytes_max: 1000,
        ..Limits::default()
    });
    let big = world.send("POST", MAPS, &[], vec![b' '; 1001]).expect(413);
    assert_eq!(big.json["reason"], "RequestEntityTooLarge");
    assert!(big.message().contains("limit is 1000"), "{}", big.message());

    let limits = Limits {
        reads_inflight_max: 1,
        writes_inflight_max: 1,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let take = |mutating| {
        let (inflight, now) = (&world.server.inflight, world.now);
        inflight.enter(mutating, Priority::Heartbeat, &limits, now)
    };
    let _taken = [take(false).unwrap(), take(true).unwrap()];
    // Administrators still get through; everybody else is told to come back.
    world.get(MAPS).expect(200);
    world.be("node");
    for busy in [world.get(CSRS), world.post(CSRS, &json!({}))] {
        let busy = busy.expect(429);
        assert_eq!(busy.json["reason"], "TooManyRequests");
        assert_eq!(busy.headers["retry-after"], "1");
    }
    let mut watch = world.watch(&format!("{CSRS}?watch=true"));
    assert_eq!(watch.story(), [""; 0], "watches are not counted");
    world.be("admin");
    let metrics = world.get("/metrics").text;
    let turned_away = "apiserver_request_terminations_total{code=\"429\",component=\"apiserver\",\
                       group=\"certificates.k8s.io\",resource=\"certificatesigningrequests\",\
                       scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1\n";
    assert!(metrics.contains(turned_away), "{metrics}");
}

#[test]
fn an_administrator_who_acts_as_another_waits_like_the_other() {
    let limits = Limits {
        reads_inflight_max: 1,
        ..Limits::default()
    };
    let world = World::with_limits(limits);
    let inflight = &world.server.inflight;
    let _taken = inflight.enter(false, Priority::Heartbeat, &limits, world.now);
    let as_node = [
        ("Impersonate-User", "system:node:n1"),
        ("Impersonate-Group", "system:nodes"),
    ];
    world.send("GET", CSRS, &as_node, "").expect(429);
    let as_admin = [
        ("Impersonate-User", "boss"),
        ("Impersonate-Group", "system:masters"),
    ];
    world.send("GET", CSRS, &as_admin, "").expect(200);
}

#[test]
fn reviews_pass_through_the_same_walk() {
    let mut world = World::new();
    world.be("eve");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let answered = world.post(path, &review).expect(201);
    assert_eq!(answered.json["status"]["userInfo"]["username"], "eve");
    assert_eq!(answered.json["kind"], "SelfSubjectReview");
    let bytes = everleaf_api::types::SELF_SUBJECT_REVIEW.encode_protobuf(&Value::Null);
    let headers = [
        ("Content-Type", "application/vnd.kubernetes.protobuf"),
        ("Accept", "application/json"),
    ];
    world.send("POST", path, &headers, bytes).expect(201);
}

#[test]
fn hostile_requests_do_not_hurt() {
    let world = World::new();
    let deep = "[".repeat(100_000);
    world.send("POST", MAPS, &[], deep.clone()).expect(400);
    let headers = [("Content-Type", "application/merge-patch+json")];
    world.post(MAPS, &config_map("a", "1")).expect(201);
    world
        .send("PATCH", &format!("{MAPS}/a"), &headers, deep)
        .expect(400);
    world.send(
        "POST",
        MAPS,
        &[("Content-Type", "application/yaml")],
        "&a [*a]",
    );
    let yaml = [("Content-Type", "application/yaml")];
    for levels in [1_000, 1_990, 10_000, 100_000] {
        let deep = format!("more: {}{}", "[".repeat(levels), "]".repeat(levels));
        let refused = world.send("POST", MAPS, &yaml, deep).code;
        assert!(matches!(refused, 400 | 422), "{levels} levels: {refused}");
    }
    world
        .get(&format!("{MAPS}?{}", "x=1&".repeat(1000)))
        .expect(400);
    world.get(&format!("{MAPS}?labelSelector=%ff")).expect(400);
    world
        .get("/api/v1/namespaces/%2e%2e/configmaps/%00")
        .expect(404);
    world
        .get("/api/v1/namespaces/default/configmaps/a%2Fb")
        .expect(404);
    world.get("//api//v1//").code.to_string();
}
