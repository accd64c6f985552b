//! Lists: versions, pages, selectors, forms.

use super::fixture::{MAPS, World, config_map};
use crate::authn::Peer;
use crate::handler::{Body, Limits};
use crate::watch_cache::{HISTORY_BYTES_MAX, PINNED_BYTES_MAX, RECENT_EVENTS_MAX};
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::FutureExt as _;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::io::Read as _;

fn world_with(names: &[&str]) -> World {
    let world = World::new();
    for name in names {
        world.post(MAPS, &config_map(name, "1")).expect(201);
    }
    world
}

#[test]
fn a_list_is_sorted_and_carries_the_state_s_version() {
    let world = world_with(&["b", "a", "c"]);
    let last = world.delete(&format!("{MAPS}/c")).expect(200);
    assert_eq!(last.json["status"], "Success");
    let list = world.get(MAPS).expect(200);
    assert_eq!(list.names(), ["a", "b"]);
    // The delete counts too: it is the snapshot's version, not the newest item's.
    let newest = list.json["items"][1]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    assert_ne!(list.version().to_string(), newest);
    assert!(
        list.text
            .starts_with(r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":"#)
    );
    assert_eq!(
        list.json["items"][0]["kind"],
        Value::Null,
        "items do not repeat their kind"
    );
    let empty = world
        .get("/api/v1/namespaces/kube-public/secrets")
        .expect(200);
    assert_eq!(empty.json["items"], json!([]));
}

/// As recorded of kube-apiserver 1.37 by hand.
#[test]
fn all_but_0_and_false_is_true_and_an_empty_number_is_none() {
    let world = world_with(&["a"]);
    for text in ["0", "false", "FALSE", "False"] {
        let list = world.get(&format!("{MAPS}?watch={text}")).expect(200);
        assert_eq!(list.names(), ["a"], "{text}");
    }
    for text in ["", "1", "true", "t", "f", "F", "no", "yes", "00", "2"] {
        let mut watch = world.watch(&format!("{MAPS}?watch={text}"));
        assert_eq!(watch.drain(0).0[0]["type"], "ADDED", "{text}");
    }
    for query in ["limit=", "timeoutSeconds=", "limit=1_0", "limit"] {
        world.get(&format!("{MAPS}?{query}")).expect(400);
    }
}

#[test]
fn pages_show_one_state() {
    let world = world_with(&["a", "b", "c", "d", "e"]);
    let first = world.get(&format!("{MAPS}?limit=2")).expect(200);
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.json["metadata"]["remainingItemCount"], 3);
    let token = first.json["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();

    world.delete(&format!("{MAPS}/d")).expect(200);
    world.post(MAPS, &config_map("cc", "1")).expect(201);
    world
        .patch(&format!("{MAPS}/c"), &json!({"data": {"key": "2"}}))
        .expect(200);

    let second = world
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .expect(200);
    assert_eq!(second.names(), ["c", "d"]);
    assert_eq!(second.json["items"][0]["data"]["key"], "1", "as it was");
    assert_eq!(second.version(), first.version());
    let token = second.json["metadata"]["continue"].as_str().unwrap();
    let third = world
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .expect(200);
    assert_eq!(third.names(), ["e"]);
    assert_eq!(third.json["metadata"]["continue"], Value::Null);
    assert_eq!(world.get(MAPS).names(), ["a", "b", "c", "cc", "e"]);

    world
        .get(&format!("{MAPS}?continue={token}&resourceVersion=5"))
        .expect(400);
    world.get(&format!("{MAPS}?continue=nonsense")).expect(400);
    // {"v":"meta.k8s.io/v1","rv":4611686018427387904,"start":"a"}: no server gave that.
    let future = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NDYxMTY4NjAxODQyNzM4NzkwNCwic3RhcnQiOiJhIn0";
    world.get(&format!("{MAPS}?continue={future}")).expect(504);
    let bad_match = world
        .get(&format!(
            "{MAPS}?resourceVersion=1&resourceVersionMatch=Never"
        ))
        .expect(422);
    assert!(
        bad_match
            .message()
            .contains("Unsupported value: \"Never\": supported values: \"Exact\"")
    );
}

#[test]
fn a_token_outlives_history_as_an_inconsistent_continuation() {
    let world = world_with(&["a", "b", "c"]);
    let first = world.get(&format!("{MAPS}?limit=1")).expect(200);
    let token = first.json["metadata"]["continue"].as_str().unwrap();
    let change = |text: String| {
        let patch = json!({"data": {"key": text}});
        world.patch(&format!("{MAPS}/a"), &patch).expect(200);
    };
    // Many small changes are no reason to forget where a list was.
    (0..=RECENT_EVENTS_MAX).for_each(|round| change(round.to_string()));
    let second = world
        .get(&format!("{MAPS}?limit=1&continue={token}"))
        .expect(200);
    assert_eq!(second.names(), ["b"]);
    const LARGE: usize = 512 << 10;
    let rounds = PINNED_BYTES_MAX.max(HISTORY_BYTES_MAX) / LARGE + 2;
    (0..rounds).for_each(|round| change(format!("{round}{}", "x".repeat(LARGE))));
    let expired = world
        .get(&format!("{MAPS}?limit=1&continue={token}"))
        .expect(410);
    assert_eq!(expired.json["reason"], "Expired");
    let token = expired.json["metadata"]["continue"].as_str().unwrap();
    let rest = world.get(&format!("{MAPS}?continue={token}")).expect(200);
    assert_eq!(rest.names(), ["b", "c"]);
    let old = format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact");
    assert_eq!(world.get(&old).expect(410).json["reason"], "Expired");
}

#[test]
fn versions() {
    let world = world_with(&["a"]);
    let at_one = world.get(MAPS).version();
    world.post(MAPS, &config_map("b", "1")).expect(201);
    let list = |query: &str| world.get(&format!("{MAPS}?{query}"));
    assert_eq!(list("resourceVersion=0").expect(200).names(), ["a", "b"]);
    assert_eq!(
        list(&format!("resourceVersion={at_one}")).names(),
        ["a", "b"]
    );
    let exact = list(&format!(
        "resourceVersion={at_one}&resourceVersionMatch=Exact"
    ));
    assert_eq!(exact.names(), ["a"]);
    assert_eq!(exact.version(), at_one);
    // With a limit and no match, a version means exactly that one.
    assert_eq!(
        list(&format!("resourceVersion={at_one}&limit=5")).names(),
        ["a"]
    );
    let newer = format!("resourceVersion={at_one}&limit=5&resourceVersionMatch=NotOlderThan");
    assert_eq!(list(&newer).names(), ["a", "b"]);

    let future = list("resourceVersion=999999").expect(504);
    assert_eq!(future.json["reason"], "Timeout");
    let cause = &future.json["details"]["causes"][0];
    assert_eq!(cause["reason"], "ResourceVersionTooLarge");
    assert_eq!(future.headers["retry-after"], "1");
    world
        .get(&format!("{MAPS}/a?resourceVersion=999999"))
        .expect(504);

    for (query, code) in [
        ("resourceVersion=abc", 400),
        ("limit=abc", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Nearly", 422),
        ("sendInitialEvents=true", 422),
        ("fieldSelector=spec.nothing%3Da", 400),
        ("labelSelector=a%3D%3D%3Db", 400),
        // It is about Tables.
        ("includeObject=Everything", 200),
    ] {
        list(query).expect(code);
    }
}

#[test]
fn selectors() {
    let world = World::new();
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut map = config_map(name, "1");
        map["metadata"]["labels"] = json!({"l": label});
        world.post(MAPS, &map).expect(201);
    }
    let names = |query: &str| world.get(&format!("{MAPS}?{query}")).expect(200).names();
    assert_eq!(names("labelSelector=l%3Dx"), ["a", "c"]);
    assert_eq!(names("labelSelector=l%20in%20(y,z)"), ["b"]);
    assert_eq!(names("fieldSelector=metadata.name%3Db"), ["b"]);
    assert_eq!(names("fieldSelector=metadata.name!%3Db"), ["a", "c"]);
    assert_eq!(
        names("fieldSelector=metadata.name%3Db,metadata.name!%3Db"),
        [""; 0]
    );
    // A limit counts what is shown.
    let page = world
        .get(&format!("{MAPS}?labelSelector=l%3Dx&limit=1"))
        .expect(200);
    assert_eq!(page.names(), ["a"]);
    assert_eq!(page.json["metadata"]["remainingItemCount"], Value::Null);
    let everywhere = world.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddefault");
    assert_eq!(everywhere.expect(200).names(), ["a", "b", "c"]);
}

#[test]
fn forms() {
    let world = world_with(&["a"]);
    let ask = |path: &str, accept: &str| world.send("GET", path, &[("Accept", accept)], "");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let listed = ask(MAPS, table).expect(200);
    assert_eq!(listed.json["kind"], "Table");
    assert_eq!(listed.json["rows"][0]["cells"], json!(["a", 1, "0s"]));
    assert_eq!(
        listed.json["rows"][0]["object"]["kind"],
        "PartialObjectMetadata"
    );
    assert_eq!(listed.version(), world.get(MAPS).version());
    let none = ask(&format!("{MAPS}?includeObject=None"), table).expect(200);
    assert_eq!(none.json["rows"][0]["object"], Value::Null);
    let full = ask(&format!("{MAPS}?includeObject=Object"), table).expect(200);
    assert_eq!(full.json["rows"][0]["object"]["data"]["key"], "1");

    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = ask(MAPS, partial).expect(200);
    assert_eq!(list.json["kind"], "PartialObjectMetadataList");
    assert_eq!(list.json["items"][0]["metadata"]["name"], "a");
    ask(&format!("{MAPS}/a"), partial).expect(406);

    let yaml = ask(&format!("{MAPS}/a"), "application/yaml").expect(200);
    assert!(yaml.text.contains("kind: ConfigMap\n"), "{}", yaml.text);
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    let protobuf = "application/vnd.kubernetes.protobuf";
    ask(MAPS, &format!("{protobuf};as=Table;v=v1;g=meta.k8s.io")).expect(406);
    ask(MAPS, "text/html").expect(406);
    ask(MAPS, "*/*").expect(200);
    let pretty = ask(&format!("{MAPS}/a?pretty=true"), "*/*").expect(200);
    assert!(
        pretty.text.starts_with("{\n  \"kind\": \"ConfigMap\",\n"),
        "{}",
        pretty.text
    );
}

/// As a client on a socket hears it: piece by piece.
fn list_as_served(world: &World, query: &str, accept: &str) -> http::Response<Body> {
    let request = Request::get(format!("{MAPS}{query}"))
        .header("Authorization", "Bearer t-eve")
        .header("Accept", accept)
        .body(Full::<Bytes>::default())
        .unwrap();
    let peer = Peer::default();
    let answer = world.server.serve(request, &peer, world.now);
    answer.now_or_never().expect("one poll is enough")
}

/// What comes in one poll; None at the end, Some(None) when others have their turn first.
fn poll(response: &mut http::Response<Body>) -> Option<Option<Bytes>> {
    use std::task::{Context, Poll, Waker};
    let mut context = Context::from_waker(Waker::noop());
    match response
        .body_mut()
        .poll_next(&mut context, std::time::Duration::ZERO)
    {
        Poll::Ready(frame) => frame.map(Some),
        Poll::Pending => Some(None),
    }
}

fn let_eve_read(world: &World) {
    let role = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""],
        "resources": ["configmaps"], "verbs": ["list"]}]});
    let binding = json!({"metadata": {"name": "reader"}, "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    world
        .post(&format!("{rbac}/clusterroles"), &role)
        .expect(201);
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .expect(201);
}

/// Many long lists at once: each is a frame and a place in a snapshot, and a change in between is
/// in none of them.
#[test]
fn long_lists_come_in_pieces_of_one_state() {
    // The first is not longer: it is written outside the turns that lists take.
    const FRAME_BYTES: usize = 18 * 1024;
    let world = World::with_limits(Limits {
        reads_inflight_max: 3,
        ..Limits::default()
    });
    let_eve_read(&world);
    for number in 0..1_000 {
        let map = config_map(&format!("m{number:04}"), &"x".repeat(1_000));
        world.post(MAPS, &map).expect(201);
    }
    let json = "application/json";
    for (query, accept) in [
        ("", json),
        ("?limit=900", json),
        ("?labelSelector=!a", json),
        ("?pretty=true", json),
        ("", "application/json;as=Table;v=v1;g=meta.k8s.io"),
        (
            "?includeObject=Object&limit=700",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "",
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ),
        ("", "application/yaml"),
        ("?limit=900", "application/vnd.kubernetes.protobuf"),
    ] {
        let path = format!("{MAPS}{query}");
        let whole = world.raw("GET", &path, &[("Accept", accept)], "");
        let whole = whole
            .body()
            .as_bytes()
            .expect("at once, in process")
            .clone();
        let mut lists: Vec<_> = (0..3)
            .map(|_| list_as_served(&world, query, accept))
            .collect();
        // As many as may read at once, until they have read it.
        assert_eq!(list_as_served(&world, query, accept).status(), 429);
        let changed =
            json!({"data": {"key": "y"}, "metadata": {"labels": {"a": query.len().to_string()}}});
        world.patch(&format!("{MAPS}/m0999"), &changed).expect(200);
        world.delete(&format!("{MAPS}/m0500")).expect(200);
        for response in &mut lists {
            assert_eq!(response.status(), 200);
            let mut text = Vec::new();
            while let Some(frame) = poll(response) {
                let frame = frame.unwrap_or_default();
                assert!(frame.len() <= FRAME_BYTES, "{} bytes", frame.len());
                text.extend_from_slice(&frame);
            }
            assert!(whole == text, "{query} {accept}");
        }
        drop(lists);
        world
            .post(MAPS, &config_map("m0500", &"x".repeat(1_000)))
            .expect(201);
    }
    // A short one has its length, and is no stream.
    let short = list_as_served(&world, "?limit=1", json);
    assert!(short.body().as_bytes().is_some());
}

/// Every form of a list that is written in pieces is what a parser expects of the whole.
#[test]
fn forms_of_long_lists_are_whole() {
    let world = World::new();
    let ask = |query: &str, accept: &str| {
        let path = format!("{MAPS}{query}");
        world
            .send("GET", &path, &[("Accept", accept)], "")
            .expect(200)
    };
    let yaml_of = |answer: &super::fixture::Answer| -> Value {
        serde_saphyr::from_str(&answer.text).unwrap()
    };
    for count in 0..3 {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let yaml_table = "application/yaml;as=Table;v=v1;g=meta.k8s.io";
        let plain = ask("", "application/json");
        assert_eq!(plain.json["items"].as_array().unwrap().len(), count);
        assert_eq!(yaml_of(&ask("", "application/yaml")), plain.json);
        assert_eq!(yaml_of(&ask("", yaml_table)), ask("", table).json);
        let pretty = ask("?pretty=true", "application/json");
        assert_eq!(pretty.json, plain.json);
        assert!(
            pretty
                .text
                .starts_with("{\n  \"kind\": \"ConfigMapList\",\n")
        );
        assert!(pretty.text.ends_with(if count == 0 {
            "\"items\": []\n}"
        } else {
            "}\n  ]\n}"
        }));
        world
            .post(MAPS, &config_map(&format!("c{count}"), "a: b"))
            .expect(201);
    }
}

/// Whether the answer was compressed, and what is in it.
fn unzipped(world: &World, path: &str, encoding: &str) -> (bool, Vec<u8>) {
    let response = world.raw("GET", path, &[("Accept-Encoding", encoding)], "");
    let (parts, body) = response.into_parts();
    let bytes = body.as_bytes().unwrap();
    let is_gzip = parts
        .headers
        .get("content-encoding")
        .is_some_and(|coding| coding == "gzip");
    assert_eq!(
        is_gzip,
        parts
            .headers
            .get("vary")
            .is_some_and(|vary| vary == "Accept-Encoding")
    );
    if !is_gzip {
        return (false, bytes.to_vec());
    }
    let mut text = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    assert!(bytes.len() < text.len() / 2, "it is worth it");
    (true, text)
}

#[test]
fn long_answers_are_compressed_for_who_takes_it() {
    let world = World::new();
    let value = "0123456789abcdef".repeat(1024);
    for count in 0..12 {
        let name = format!("c{count}");
        world.post(MAPS, &config_map(&name, &value)).expect(201);
        let plain = world.get(MAPS).text;
        let (is_gzip, text) = unzipped(&world, MAPS, "deflate, GZIP;q=0.5");
        assert_eq!(is_gzip, plain.len() >= 128 * 1024, "{}", plain.len());
        assert_eq!(text, plain.as_bytes());
        for refused in ["gzip;q=0", "br", ""] {
            assert_eq!(
                unzipped(&world, MAPS, refused),
                (false, plain.clone().into_bytes())
            );
        }
    }
    // An object alone, and a page that ends by its limit.
    let big = value.repeat(20);
    world.post(MAPS, &config_map("big", &big)).expect(201);
    for path in [format!("{MAPS}/big"), format!("{MAPS}?limit=12")] {
        let plain = world.get(&path).text;
        assert_eq!(
            unzipped(&world, &path, "gzip"),
            (true, plain.into_bytes()),
            "{path}"
        );
    }
}
