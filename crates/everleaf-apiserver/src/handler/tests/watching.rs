//! Watches.

use super::fixture::{MAPS, World, config_map, event_text};
use crate::watch_cache::HISTORY_BYTES_MAX;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn labelled(name: &str, label: &str) -> Value {
    let mut map = config_map(name, "1");
    map["metadata"]["labels"] = json!({"l": label});
    map
}

fn relabel(world: &World, name: &str, label: &str) -> u64 {
    let patch = json!({"metadata": {"labels": {"l": label}}});
    world
        .patch(&format!("{MAPS}/{name}"), &patch)
        .expect(200)
        .version()
}

#[test]
fn state_first_then_changes() {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=true"));
    assert_eq!(watch.story(), ["ADDED a"]);
    world.post(MAPS, &config_map("b", "1")).expect(201);
    let changed = world.patch(&format!("{MAPS}/a"), &json!({"data": {"key": "2"}}));
    world.delete(&format!("{MAPS}/b")).expect(200);
    let (events, ended) = watch.drain(0);
    let story: Vec<String> = events.iter().map(event_text).collect();
    assert_eq!(story, ["ADDED b", "MODIFIED a", "DELETED b"]);
    assert_eq!(events[1]["object"], changed.json);
    // A delete shows the last state under its own version.
    let revision = events[2]["object"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    assert_eq!(revision, (changed.version() + 1).to_string());
    assert!(!ended);
}

#[test]
fn from_a_version_on() {
    let world = World::new();
    let first = world
        .post(MAPS, &config_map("a", "1"))
        .expect(201)
        .version();
    world.post(MAPS, &config_map("b", "1")).expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=1&resourceVersion={first}"));
    assert_eq!(watch.story(), ["ADDED b"]);
    world
        .get(&format!("{MAPS}?watch=1&resourceVersion=99999"))
        .expect(504);
    world
        .get(&format!("{MAPS}?watch=1&resourceVersion=abc"))
        .expect(400);
    world
        .get(&format!(
            "{MAPS}?watch=1&resourceVersion={first}&resourceVersionMatch=NotOlderThan"
        ))
        .expect(422);
}

#[test]
fn selections_are_entered_and_left() {
    let world = World::new();
    world.post(MAPS, &labelled("a", "x")).expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=true&labelSelector=l%3Dx"));
    assert_eq!(watch.story(), ["ADDED a"]);
    let left = relabel(&world, "a", "y");
    let (events, _) = watch.drain(0);
    assert_eq!(event_text(&events[0]), "DELETED a");
    // The last content that matched, the version of the change.
    assert_eq!(events[0]["object"]["metadata"]["labels"]["l"], "x");
    assert_eq!(
        events[0]["object"]["metadata"]["resourceVersion"],
        left.to_string()
    );
    relabel(&world, "a", "z");
    relabel(&world, "a", "x");
    world
        .patch(&format!("{MAPS}/a"), &json!({"data": {"key": "2"}}))
        .expect(200);
    relabel(&world, "a", "y");
    world.delete(&format!("{MAPS}/a")).expect(200);
    assert_eq!(watch.story(), ["ADDED a", "MODIFIED a", "DELETED a"]);
}

#[test]
fn scopes_are_kept() {
    let world = World::new();
    let mut elsewhere = world.watch("/api/v1/namespaces/kube-public/configmaps?watch=true");
    elsewhere.story();
    let named = format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Db");
    let mut named = world.watch(&named);
    let mut prefixed = world.watch("/api/v1/watch/namespaces/default/configmaps/b");
    for name in ["a", "b"] {
        world.post(MAPS, &config_map(name, "1")).expect(201);
    }
    assert_eq!(elsewhere.story(), [""; 0]);
    assert_eq!(named.story(), ["ADDED b"]);
    assert_eq!(prefixed.story(), ["ADDED b"]);
}

#[test]
fn initial_events_end_with_a_mark() {
    let world = World::new();
    let version = world
        .post(MAPS, &config_map("a", "1"))
        .expect(201)
        .version();
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = world.watch(&format!("{MAPS}?{query}"));
    let (events, _) = watch.drain(0);
    assert_eq!(events.len(), 2);
    assert_eq!(event_text(&events[0]), "ADDED a");
    assert_eq!(events[1]["type"], "BOOKMARK");
    assert_eq!(events[1]["object"]["kind"], "ConfigMap");
    let metadata = &events[1]["object"]["metadata"];
    assert_eq!(
        metadata["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    assert_eq!(metadata["resourceVersion"], version.to_string());
    world.post(MAPS, &config_map("b", "1")).expect(201);
    assert_eq!(watch.story(), ["ADDED b"]);

    world
        .get(&format!("{MAPS}?watch=true&sendInitialEvents=true"))
        .expect(422);
    let quiet = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    assert_eq!(world.watch(&format!("{MAPS}?{quiet}")).story(), [""; 0]);
}

#[test]
fn bookmarks_come_each_minute_and_before_the_end() {
    let world = World::new();
    let path = |bookmarks: bool| {
        format!(
            "{MAPS}?watch=true&timeoutSeconds=150&resourceVersion=1&allowWatchBookmarks={bookmarks}"
        )
    };
    let mut watch = world.watch(&path(true));
    let mut silent = world.watch(&path(false));
    watch.story();
    silent.story();
    // Nothing happened: nothing to mark.
    assert_eq!(watch.drain(60).0.len(), 0);
    let mut other = labelled("a", "x");
    other["metadata"]["namespace"] = json!("kube-public");
    let version = world
        .post("/api/v1/namespaces/kube-public/configmaps", &other)
        .expect(201)
        .version();
    assert_eq!(watch.drain(119).0.len(), 0);
    let (events, _) = watch.drain(120);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        events[0],
        json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"resourceVersion": version.to_string()}}})
    );
    world
        .post(
            "/api/v1/namespaces/kube-public/configmaps",
            &config_map("b", "1"),
        )
        .expect(201);
    let (events, ended) = watch.drain(148);
    assert_eq!(
        (events.len(), ended),
        (1, false),
        "two seconds before the end"
    );
    assert_eq!(watch.drain(150), (vec![], true));
    assert_eq!(silent.drain(149), (vec![], false));
    assert_eq!(silent.drain(150), (vec![], true));
}

#[test]
fn a_watch_without_timeout_ends_at_random() {
    let world = World::new();
    let ends: Vec<u64> = (0..8)
        .map(|_| {
            let watch = world.watch(&format!("{MAPS}?watch=true&resourceVersion=1"));
            watch.0.next_wake().as_secs()
        })
        .collect();
    assert!(
        ends.iter().all(|end| (1800..3600).contains(end)),
        "{ends:?}"
    );
    assert!(ends.iter().any(|end| *end != ends[0]), "{ends:?}");
}

#[test]
fn one_who_sleeps_is_told_to_list_again() {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=true"));
    const LARGE: usize = 512 << 10;
    for round in 0..HISTORY_BYTES_MAX / LARGE + 2 {
        let patch = json!({"data": {"key": format!("{round}{}", "x".repeat(LARGE))}});
        world.patch(&format!("{MAPS}/a"), &patch).expect(200);
    }
    let (events, ended) = watch.drain(0);
    assert!(ended);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "ERROR");
    assert_eq!(last["object"]["code"], 410);
    assert_eq!(last["object"]["reason"], "Expired");
    // What is too old to begin with hears it at once.
    let old = world
        .get(&format!("{MAPS}?watch=true&resourceVersion=1"))
        .expect(410);
    assert!(old.message().starts_with("too old resource version: 1 ("));
}

/// Much that is nothing to this client takes no turn of others, and does not keep its watch open
/// for ever.
#[test]
fn a_watch_that_nothing_matches_yields_and_ends_in_time() {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    let path = format!("{MAPS}?watch=true&labelSelector=nobody%3Dhas&timeoutSeconds=10");
    let mut watch = world.watch(&path);
    let churn = |number: usize| {
        for round in 0..number {
            let patch = json!({"data": {"key": round.to_string()}});
            world.patch(&format!("{MAPS}/a"), &patch).expect(200);
        }
    };
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    churn(2500);
    for turns_left in [true, true, false] {
        let rung = bell.0.load(Ordering::Relaxed);
        assert!(watch.0.poll_next(&mut context, Duration::ZERO).is_pending());
        let wants_another_turn = bell.0.load(Ordering::Relaxed) > rung;
        assert_eq!(wants_another_turn, turns_left);
    }
    churn(2500);
    let end = Duration::from_secs(10);
    assert!(watch.0.poll_next(&mut context, end).is_pending());
    let polled = watch.0.poll_next(&mut context, end);
    assert!(matches!(polled, Poll::Ready(None)), "{polled:?}");
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tables_and_partial_objects() {
    let mut world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    let accept = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=300");
    let mut watch = world.watch_with(&path, &accept);
    let (events, _) = watch.drain(0);
    assert_eq!(
        events[0]["object"]["rows"][0]["cells"],
        json!(["a", 1, "0s"])
    );
    assert_eq!(events[0]["object"]["columnDefinitions"][0]["name"], "Name");
    world.pass(20);
    world
        .patch(&format!("{MAPS}/a"), &json!({"data": {"b": "2"}}))
        .expect(200);
    let (events, _) = watch.drain(20);
    assert_eq!(
        events[0]["object"]["columnDefinitions"],
        Value::Null,
        "only once"
    );
    assert_eq!(
        events[0]["object"]["rows"][0]["cells"],
        json!(["a", 2, "20s"])
    );
    let (events, _) = watch.drain(60);
    assert_eq!(events[0]["type"], "BOOKMARK");
    let row = &events[0]["object"]["rows"][0];
    assert_eq!(
        row["object"]["metadata"]["resourceVersion"],
        world.get(&format!("{MAPS}/a")).version().to_string()
    );

    let partial = [(
        "Accept",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    )];
    let mut watch = world.watch_with(&path, &partial);
    let (events, _) = watch.drain(0);
    assert_eq!(events[0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(events[0]["object"]["data"], Value::Null);
}

#[test]
fn stopping_ends_every_watch_cleanly() {
    let world = World::new();
    let path = format!("{MAPS}?watch=true&resourceVersion=1");
    let mut watch = world.watch(&path);
    world.server.stop();
    assert!(watch.drain(0).1);
    assert!(world.watch(&path).drain(0).1);
    assert_eq!(world.get("/readyz").code, 500);
    assert_eq!(world.get("/livez").code, 200);
}

#[test]
fn watches_are_limited_in_number() {
    let world = World::with_limits(crate::handler::Limits {
        watches_max: 1,
        ..crate::handler::Limits::default()
    });
    let path = format!("{MAPS}?watch=true");
    let watch = world.watch(&path);
    let refused = world.get(&path).expect(429);
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.message().contains("limit 1"));
    drop(watch);
    world.watch(&path);
}

/// A list that is streamed is compressed for who takes that, all that is there at a time as a
/// whole; other watches are not (`apiserver/pkg/endpoints/handlers/watch.go`).
#[test]
fn a_streamed_list_is_compressed() {
    let world = World::new();
    for name in ["a", "b"] {
        world.post(MAPS, &config_map(name, "1")).expect(201);
    }
    let state = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let listed = format!("{MAPS}?{state}&allowWatchBookmarks=true");
    let gzip = [("Accept-Encoding", "deflate, gzip")];
    let response = world.raw("GET", &listed, &gzip, "");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["vary"], "Accept-Encoding");
    let mut body = response.into_body();
    let mut context = Context::from_waker(Waker::noop());
    // What comes at once is complete: it needs nothing of what follows.
    let mut batch = |seconds| -> Vec<String> {
        let elapsed = Duration::from_secs(seconds);
        let Poll::Ready(frame) = body.poll_next(&mut context, elapsed) else {
            return Vec::new();
        };
        let mut text = String::new();
        let bytes = frame.unwrap_or_default();
        GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap_or_default();
        let event = |line: &str| event_text(&serde_json::from_str(line).unwrap());
        text.lines().map(event).collect()
    };
    assert_eq!(batch(0), ["ADDED a", "ADDED b", "BOOKMARK"]);
    assert_eq!(batch(0), [""; 0]);
    world.post(MAPS, &config_map("c", "1")).expect(201);
    assert_eq!(batch(1), ["ADDED c"]);
    assert_eq!(batch(1), [""; 0]);

    let plain = |path: &str, headers: &[(&str, &str)]| {
        let response = world.raw("GET", path, headers, "");
        assert_eq!(response.headers().get("content-encoding"), None, "{path}");
    };
    plain(&listed, &[]);
    plain(&format!("{MAPS}?{state}"), &gzip);
    plain(
        &format!("{MAPS}?watch=true&allowWatchBookmarks=true"),
        &gzip,
    );
}
