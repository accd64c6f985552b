//! Values that are encrypted in the store: what is on disk, what cannot be read, how keys change.

use super::fixture::{MAPS, World, config_map};
use crate::encryption::{Encryption, config};
use crate::store::{Embedded, Reader, Rows, StoreError};
use serde_json::{Value, json};
use std::path::Path;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PLAIN: &str = "identity: {}";

/// A key of 32 times the same letter.
fn key(name: &str, letter: char) -> String {
    use base64::Engine as _;
    let secret = letter.to_string().repeat(32);
    let secret = base64::engine::general_purpose::STANDARD.encode(secret);
    format!("secretbox: {{keys: [{{name: {name}, secret: {secret}}}]}}")
}

fn rules(resources: &str, providers: &[&str]) -> crate::encryption::Rules {
    let providers: Vec<String> = providers.iter().map(|one| format!("{{{one}}}")).collect();
    config::parse(&format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{{resources: [{resources}], providers: [{}]}}]",
        providers.join(", ")
    ))
    .unwrap()
}

fn open(directory: &Path, rules: crate::encryption::Rules) -> World {
    let store = Box::new(Embedded::open(directory).unwrap());
    World::encrypted(store, Encryption::new(rules, "/registry"))
}

/// How values begin that are in the store now.
fn on_disk(directory: &Path, key: &str) -> String {
    let mut found = String::new();
    let reader = Reader::open(directory).unwrap();
    reader
        .rows::<StoreError>(Rows::Alive, &mut |row| {
            if row.change.key == key {
                let value = row.change.value.unwrap();
                found = value[..24.min(value.len())].escape_ascii().to_string();
            }
            Ok(())
        })
        .unwrap();
    found
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": "b"}})
}

#[test]
fn an_update_that_changes_nothing_writes_with_the_new_key() {
    let home = tempfile::tempdir().unwrap();
    let world = open(home.path(), rules("secrets", &[PLAIN]));
    world.post(MAPS, &config_map("m", "1")).expect(201);
    let created = world.post(SECRETS, &secret("s")).expect(201);
    let (path, stored) = (format!("{SECRETS}/s"), "/registry/secrets/default/s");
    assert!(on_disk(home.path(), stored).starts_with("k8s\\x00"));
    let same = world.put(&path, &created.json).expect(200);
    assert_eq!(same.version(), created.version(), "nothing to write");

    let mut last = created;
    for (step, providers, expected) in [
        (1, vec![key("one", 'a'), PLAIN.to_owned()], "one"),
        (2, vec![key("two", 'b'), key("one", 'a')], "two"),
        // The same name, another secret.
        (3, vec![key("two", 'c'), key("two", 'b')], "two"),
    ] {
        let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
        assert_eq!(world.server.encrypt_by(rules("secrets", &providers)), 0);
        let gauge = |count: u64| {
            let line = format!("everleaf_storage_stale_objects{{resource=\"secrets\"}} {count}\n");
            assert!(world.get("/metrics").text.contains(&line), "{step}");
        };
        gauge(1);
        // It is read as before, and a dry run writes nothing.
        assert_eq!(world.get(&path).expect(200).json, last.json);
        world
            .put(&format!("{path}?dryRun=All"), &last.json)
            .expect(200);
        let written = world.put(&path, &last.json).expect(200);
        assert_eq!(written.version(), last.version() + 1, "{step}");
        let prefix = format!("k8s:enc:secretbox:v1:{expected}");
        assert!(on_disk(home.path(), stored).starts_with(&prefix[..24]));
        gauge(0);
        let again = world.put(&path, &written.json).expect(200);
        assert_eq!(again.version(), written.version());
        last = written;
    }
    assert!(on_disk(home.path(), "/registry/configmaps/default/m").starts_with("k8s\\x00"));
    // What the last key reads survives a restart with it alone; what it does not is told before.
    assert_eq!(
        world.server.encrypt_by(rules("secrets", &[&key("x", 'x')])),
        1
    );
    drop(world);
    let world = open(home.path(), rules("secrets", &[&key("two", 'c')]));
    assert_eq!(world.get(&path).expect(200).json, last.json);
}

#[test]
fn what_cannot_be_read_is_an_error_and_all_else_is_served() {
    let home = tempfile::tempdir().unwrap();
    let other = "/api/v1/namespaces/kube-public/secrets";
    let world = open(home.path(), rules("secrets", &[&key("k", 'a'), PLAIN]));
    let created = world.post(SECRETS, &secret("s")).expect(201);
    world.post(MAPS, &config_map("m", "1")).expect(201);
    drop(world);

    let world = open(home.path(), rules("secrets", &[&key("other", 'b'), PLAIN]));
    world.post(other, &secret("t")).expect(201);
    let path = format!("{SECRETS}/s");
    let reason = "unable to read the stored object /registry/secrets/default/s: it is encrypted by secretbox:k, and \
                  --encryption-provider-config has no such key for secrets";
    for answer in [
        world.get(&path),
        world.get(SECRETS),
        world.get("/api/v1/secrets"),
        world.get("/api/v1/secrets?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
        world.put(&path, &created.json),
        world.patch(&path, &json!({"data": {"a": null}})),
        world.delete(&path),
        world.delete(SECRETS),
    ] {
        let answer = answer.expect(500);
        assert!(answer.message().contains(reason), "{}", answer.message());
    }
    world.post(SECRETS, &secret("s")).expect(409);
    let left = world.delete("/api/v1/namespaces/default").code;
    assert_ne!(
        left, 200,
        "a namespace does not go with what nobody has seen"
    );
    assert_eq!(world.get(MAPS).expect(200).names(), ["m"]);
    assert_eq!(world.get(other).expect(200).names(), ["t"]);
    assert!(
        world
            .get("/metrics")
            .text
            .contains("everleaf_storage_unreadable_objects 1\n")
    );

    // With the key it is there again, and whoever watched lists anew.
    let mut watch = world.watch(&format!("{other}?watch=true"));
    watch.story();
    let both = [key("other", 'b'), key("k", 'a')];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    assert_eq!(world.server.encrypt_by(rules("secrets", &both)), 0);
    assert!(watch.drain(0).1, "the watch has ended");
    assert_eq!(world.get(&path).expect(200).json, created.json);
    assert_eq!(world.get("/api/v1/secrets").expect(200).names(), ["s", "t"]);
    world.delete(&path).expect(200);
    world.get(&path).expect(404);
}
