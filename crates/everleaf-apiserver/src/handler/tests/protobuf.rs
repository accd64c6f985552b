//! Answers in protobuf: what typed Go clients ask for.

use super::fixture::{World, config_map};
use everleaf_api::schema::{LIST_PROTOBUF_END, Type};
use everleaf_api::types;
use http::StatusCode;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The answer's code, content type and bytes.
fn ask(
    world: &World,
    method: &str,
    path: &str,
    accept: &str,
    body: Vec<u8>,
) -> (StatusCode, String, Vec<u8>) {
    let response = world.raw(
        method,
        path,
        &[("Accept", accept), ("Content-Type", PROTOBUF)],
        body,
    );
    let (parts, body) = response.into_parts();
    let content_type = parts.headers["content-type"].to_str().unwrap().to_owned();
    (
        parts.status,
        content_type,
        body.as_bytes().unwrap().to_vec(),
    )
}

fn read(ty: &Type, answer: (StatusCode, String, Vec<u8>), code: StatusCode) -> Value {
    assert_eq!((answer.0, answer.1.as_str()), (code, PROTOBUF));
    ty.decode_protobuf(&answer.2).unwrap()
}

#[test]
fn an_object_reads_the_same_in_both_encodings() {
    let world = World::new();
    let object = types::CONFIG_MAP.encode_protobuf(&config_map("a", "1"));
    let created = ask(&world, "POST", MAPS, PROTOBUF, object);
    let created = read(&types::CONFIG_MAP, created, StatusCode::CREATED);
    let path = format!("{MAPS}/a");
    let got = ask(
        &world,
        "GET",
        &path,
        &format!("{PROTOBUF},application/json"),
        Vec::new(),
    );
    let got = read(&types::CONFIG_MAP, got, StatusCode::OK);
    assert_eq!(got, created);
    let json = types::CONFIG_MAP.decode_json(world.get(&path).text.as_bytes());
    assert_eq!(got, json.unwrap().object);
    assert_ne!(got["metadata"]["resourceVersion"], Value::Null);
    let partial = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let partial = ask(&world, "GET", &path, &partial, Vec::new());
    let partial = read(&types::PARTIAL_OBJECT_METADATA, partial, StatusCode::OK);
    assert_eq!(partial["metadata"], got["metadata"]);
    let deleted = ask(&world, "DELETE", &path, PROTOBUF, Vec::new());
    let status = read(&types::STATUS, deleted, StatusCode::OK);
    assert_eq!(status["details"]["uid"], got["metadata"]["uid"]);
}

#[test]
fn a_list_is_what_its_type_writes() {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    world.post(MAPS, &config_map("b", "2")).expect(201);
    let listed = world.get(MAPS).json;
    let (_, content_type, bytes) = ask(&world, "GET", MAPS, PROTOBUF, Vec::new());
    assert_eq!(content_type, PROTOBUF);
    let items = listed["items"].as_array().unwrap();
    let written = |ty: &Type| {
        let mut body = Vec::new();
        let each = items.iter();
        each.for_each(|item| ty.encode_item_protobuf(&mut body, item));
        let begin = ty.begin_list_protobuf(&listed["metadata"], body.len());
        [begin, body, LIST_PROTOBUF_END.to_vec()].concat()
    };
    assert_eq!(bytes, written(&types::CONFIG_MAP));
    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let (_, _, bytes) = ask(&world, "GET", MAPS, &partial, Vec::new());
    assert_eq!(bytes, written(&types::PARTIAL_OBJECT_METADATA));
}

#[test]
fn a_watch_sends_frames_with_their_length() {
    use std::task::{Context, Poll, Waker};
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = world.watch_with(&path, &[("Accept", PROTOBUF)]);
    world.post(MAPS, &config_map("b", "2")).expect(201);
    let mut context = Context::from_waker(Waker::noop());
    let mut names = Vec::new();
    while let Poll::Ready(Some(frame)) = watch.0.poll_next(&mut context, std::time::Duration::ZERO)
    {
        let (length, event) = frame.split_at(4);
        assert_eq!(
            u32::from_be_bytes(length.try_into().unwrap()) as usize,
            event.len()
        );
        let start = event
            .windows(4)
            .position(|bytes| bytes == b"k8s\0")
            .unwrap();
        let object = types::CONFIG_MAP.decode_protobuf(&event[start..]).unwrap();
        let kind = String::from_utf8(event[2..2 + usize::from(event[1])].to_vec()).unwrap();
        names.push((
            kind,
            object["metadata"]["name"].as_str().unwrap_or("").to_owned(),
        ));
    }
    let told = [("ADDED", "a"), ("BOOKMARK", ""), ("ADDED", "b")];
    assert_eq!(
        names,
        told.map(|(kind, name)| (kind.to_owned(), name.to_owned()))
    );
}

#[test]
fn errors_come_as_they_were_asked_for() {
    let mut world = World::new();
    let missing = ask(&world, "GET", &format!("{MAPS}/none"), PROTOBUF, Vec::new());
    let status = read(&types::STATUS, missing, StatusCode::NOT_FOUND);
    assert_eq!(status["message"], "configmaps \"none\" not found");
    let (_, content_type, text) = ask(
        &world,
        "GET",
        &format!("{MAPS}/none"),
        "application/yaml",
        Vec::new(),
    );
    assert_eq!(content_type, "application/yaml");
    assert!(
        String::from_utf8(text)
            .unwrap()
            .contains("reason: NotFound")
    );
    let (code, content_type, _) = ask(
        &world,
        "GET",
        &format!("{MAPS}/none"),
        "text/html",
        Vec::new(),
    );
    assert_eq!(
        (code.as_u16(), content_type.as_str()),
        (406, "application/json")
    );
    world.be("eve");
    let refused = ask(&world, "GET", MAPS, PROTOBUF, Vec::new());
    let status = read(&types::STATUS, refused, StatusCode::FORBIDDEN);
    assert_eq!(status["reason"], "Forbidden");
}

#[test]
fn reviews_answer_in_protobuf() {
    let world = World::new();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = types::SELF_SUBJECT_REVIEW.encode_protobuf(&json!({}));
    let answer = ask(&world, "POST", path, PROTOBUF, review);
    let answer = read(&types::SELF_SUBJECT_REVIEW, answer, StatusCode::CREATED);
    assert_ne!(answer["status"]["userInfo"]["username"], Value::Null);
}
