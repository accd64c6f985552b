use super::*;
use everleaf_api::schema::LIST_PROTOBUF_END;
use everleaf_api::types::CERTIFICATE_SIGNING_REQUEST;
use everleaf_api::watch::{json_frame, protobuf_frame};
use serde_json::json;

const NODES: Resource = Resource::of(Source::Nodes);

/// A follower that has discovered its resource.
fn listing() -> Follower {
    let mut follower = Follower::new(NODES);
    assert_eq!(path(&mut follower), "/api/v1");
    answer(
        &mut follower,
        &json!({ "resources": [{ "name": "nodes" }] }),
    );
    follower
}

fn path(follower: &mut Follower) -> String {
    match follower.step() {
        Step::Call(call) => call.path,
        other => panic!("{other:?}"),
    }
}

fn answer(follower: &mut Follower, body: &Value) {
    let bytes = Bytes::from(body.to_string());
    follower.answer(&Ok(bytes), Monotonic::default());
}

fn page(names: &[&str], token: &str) -> Value {
    let items = names.iter().map(|name| json!({"metadata": {"name": name}}));
    let items: Vec<Value> = items.collect();
    json!({ "metadata": { "resourceVersion": "7", "continue": token }, "items": items })
}

/// The words of all steps until something has to be called or read.
fn words(follower: &mut Follower) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(step) = follower.steps.pop_front() {
        words.push(match step {
            Step::Take(Delta::Put(object)) => meta::name(&object).to_owned(),
            Step::Take(Delta::ListBegins) => "begin".to_owned(),
            Step::Take(Delta::ListEnds) => "end".to_owned(),
            Step::Take(Delta::Deleted(name)) => format!("-{name}"),
            Step::Wait(_) => "wait".to_owned(),
            Step::Take(Delta::Served(api)) => format!("served {api}"),
            Step::Synced => "synced".to_owned(),
            _ => continue,
        });
    }
    words
}

/// Any resource is followed; a page is handed on before the next one is asked for.
#[test]
fn pages_are_handed_on_one_by_one() {
    let mut follower = listing();
    assert_eq!(path(&mut follower), "/api/v1/nodes?limit=500");
    answer(&mut follower, &page(&["a", "b"], "t/1"));
    assert_eq!(words(&mut follower), ["begin", "a", "b"]);
    let next = "/api/v1/nodes?limit=500&continue=t%2F1";
    assert_eq!(path(&mut follower), next);
    answer(&mut follower, &page(&["c"], ""));
    assert_eq!(words(&mut follower), ["c", "end", "synced"]);
    assert!(path(&mut follower).ends_with("&resourceVersion=7"));
}

/// Signing requests come in protobuf from whoever has that, in JSON from others.
#[test]
fn signing_requests_are_read_in_either_encoding() {
    let ty = &CERTIFICATE_SIGNING_REQUEST;
    let object = |name: &str, version: &str| {
        let object = crate::fixture::kubelet_client("n1")
            .request("AAAA")
            .object();
        let mut object = ty.decode_value(object).unwrap().object;
        object["metadata"]["name"] = name.into();
        object["metadata"]["resourceVersion"] = version.into();
        object["metadata"]["managedFields"] = json!([{ "manager": "m" }]);
        object
    };
    let (listed, changed) = (object("a", "7"), object("b", "8"));
    let list_meta = meta::list_meta("7", "", None);
    let mut items = Vec::new();
    ty.encode_item_protobuf(&mut items, &listed);
    let mut list = ty.begin_list_protobuf(&list_meta, items.len());
    list.extend([&*items, &LIST_PROTOBUF_END].concat());
    let json_list = json!({ "metadata": list_meta, "items": [listed] });
    let frames = [
        protobuf_frame(EventType::Modified, &ty.encode_protobuf(&changed)),
        json_frame(EventType::Modified, &ty.encode_json(&changed)),
    ];
    let lists = [list, json_list.to_string().into_bytes()];
    for (list, frame) in lists.into_iter().zip(frames) {
        let mut follower = Follower::new(Resource::SIGNING_REQUESTS);
        path(&mut follower);
        let found = json!({ "resources": [{ "name": "certificatesigningrequests" }] });
        answer(&mut follower, &found);
        let Step::Call(call) = follower.step() else {
            panic!("no list");
        };
        let accept = call.request().unwrap().headers()["accept"].clone();
        assert_eq!(
            accept,
            "application/vnd.kubernetes.protobuf,application/json"
        );
        follower.answer(&Ok(list.into()), Monotonic::default());
        assert_eq!(words(&mut follower), ["begin", "a", "end", "synced"]);
        follower.answer(&Ok(Bytes::new()), Monotonic::default());
        words(&mut follower);
        follower.read(Some(&frame.into()), Monotonic::default());
        let Some(Step::Take(Delta::Put(taken))) = follower.steps.pop_front() else {
            panic!("nothing changed");
        };
        assert_eq!(taken["spec"], changed["spec"]);
        assert_eq!(meta::resource_version(&taken), "8");
    }
}

/// A server may be without what is optional: an empty list, and another look later.
#[test]
fn what_a_server_lacks_has_no_objects() {
    let gone = Err(CallError::Refused {
        status: Box::new(Status {
            code: 404,
            ..Status::bad_request("no")
        }),
        retry_after: Duration::ZERO,
    });
    let none = Ok(Bytes::from_static(b"{\"resources\":[]}"));
    for answer in [&gone, &none] {
        let mut follower = Follower::new(Resource::of(Source::Endpoints));
        follower.answer(answer, Monotonic::default());
        assert_eq!(words(&mut follower), ["begin", "end", "synced", "wait"]);
        assert_eq!(path(&mut follower), "/api/v1");
        let found = json!({ "resources": [{ "name": "endpoints" }] });
        let found = Ok(Bytes::from(found.to_string()));
        follower.answer(&found, Monotonic::default());
        let expected = "/api/v1/namespaces/default/endpoints?limit=500&fieldSelector=metadata.name%3Dkubernetes";
        assert_eq!(path(&mut follower), expected);
        let mut nodes = Follower::new(NODES);
        nodes.answer(answer, Monotonic::default());
        assert_eq!(words(&mut nodes), ["wait"]);
    }
}

/// What comes in two versions is followed in the first that the server has, and looked for again
/// when that is gone.
#[test]
fn the_newest_version_that_there_is() {
    let refused = |code| -> Answer {
        Err(CallError::Refused {
            status: Box::new(Status {
                code,
                ..Status::bad_request("no")
            }),
            retry_after: Duration::ZERO,
        })
    };
    let (first, second) = (
        "/apis/certificates.k8s.io/v1",
        "/apis/certificates.k8s.io/v1beta1",
    );
    let found = json!({ "resources": [{ "name": "clustertrustbundles" }] });
    let other = json!({ "resources": [{ "name": "certificatesigningrequests" }] });
    let mut follower = Follower::new(Resource::watched(Watched::TrustBundles));
    for _ in 0..2 {
        assert_eq!(path(&mut follower), first);
        answer(&mut follower, &other);
        assert_eq!(path(&mut follower), second);
        follower.answer(&refused(404), Monotonic::default());
        let mut told = words(&mut follower);
        told.retain(|word| word != "synced");
        assert_eq!(told, ["served ", "begin", "end", "wait"]);
    }
    assert_eq!(path(&mut follower), first);
    follower.answer(&refused(404), Monotonic::default());
    answer(&mut follower, &found);
    assert_eq!(words(&mut follower), [format!("served {second}")]);
    let list = format!("{second}/clustertrustbundles?limit=500");
    assert_eq!(path(&mut follower), list);
    follower.answer(&refused(404), Monotonic::default());
    assert_eq!(words(&mut follower), ["wait"]);
    assert_eq!(path(&mut follower), first);
    answer(&mut follower, &found);
    assert_eq!(words(&mut follower), [format!("served {first}")]);
    let list = format!("{first}/clustertrustbundles?limit=500");
    assert_eq!(path(&mut follower), list);
}

/// A page that is too large is asked for in smaller pieces; a list that breaks begins anew.
#[test]
fn a_list_that_breaks_begins_anew() {
    let mut follower = listing();
    follower.answer(&Err(CallError::TooLarge(1)), Monotonic::default());
    assert_eq!(path(&mut follower), "/api/v1/nodes?limit=63");
    answer(&mut follower, &page(&["a"], "t"));
    let away = Err(CallError::Unreachable("away".to_owned()));
    follower.answer(&away, Monotonic::default());
    assert_eq!(words(&mut follower), ["begin", "a", "wait"]);
    assert_eq!(path(&mut follower), "/api/v1/nodes?limit=500");
    answer(&mut follower, &page(&["a"], ""));
    assert_eq!(words(&mut follower), ["begin", "a", "end", "synced"]);
}

/// What client-go's reflector goes on after, and after what it lists again.
#[test]
fn refusals_of_a_watch() {
    let refused = |code| CallError::Refused {
        status: Box::new(Status {
            code,
            ..Status::bad_request("no")
        }),
        retry_after: Duration::ZERO,
    };
    let away = CallError::Unreachable("away".to_owned());
    let garbled = CallError::Malformed("what?".to_owned());
    for (error, lists_again) in [
        (away, false),
        (refused(429), false),
        (refused(500), false),
        (refused(410), true),
        (refused(504), true),
        (refused(403), true),
        (garbled, true),
    ] {
        let mut follower = listing();
        answer(&mut follower, &page(&[], ""));
        words(&mut follower);
        follower.answer(&Err(error.clone()), Monotonic::default());
        assert_eq!(words(&mut follower), ["wait"]);
        let next = path(&mut follower);
        assert_eq!(next.contains("limit="), lists_again, "{error:?}: {next}");
    }
}

#[test]
fn a_watch_goes_on_where_it_stopped() {
    let mut follower = listing();
    answer(&mut follower, &page(&["a"], ""));
    follower.answer(&Ok(Bytes::new()), Monotonic::default());
    words(&mut follower);
    assert!(matches!(follower.step(), Step::Read(_)));
    let event = |kind: &str, name: &str, version: &str| {
        let meta = json!({ "name": name, "resourceVersion": version });
        format!(
            "{}\n",
            json!({ "type": kind, "object": { "metadata": meta } })
        )
    };
    let events = event("ADDED", "b", "8") + &event("DELETED", "a", "9");
    let bookmark = event("BOOKMARK", "", "12");
    let bytes = Bytes::from(events + &bookmark);
    follower.read(Some(&bytes), Monotonic::default());
    assert_eq!(words(&mut follower), ["b", "-a"]);
    follower.read(None, Monotonic::default());
    assert_eq!(words(&mut follower), [""; 0], "it was useful: no pause");
    assert!(path(&mut follower).ends_with("&resourceVersion=12"));
}
