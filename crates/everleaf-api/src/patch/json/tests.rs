//! Documents, patches and what comes of them; `no` where the patch does not apply.

use super::*;
use serde_json::json;

/// RFC 6902, appendix A, but for A.9: a replacement of what is not there.
const RFC_6902: &str = r#"
{"foo":"bar"} + {"op":"add","path":"/baz","value":"qux"} = {"baz":"qux","foo":"bar"}
{"foo":["bar","baz"]} + {"op":"add","path":"/foo/1","value":"qux"} = {"foo":["bar","qux","baz"]}
{"baz":"qux","foo":"bar"} + {"op":"remove","path":"/baz"} = {"foo":"bar"}
{"foo":["bar","qux","baz"]} + {"op":"remove","path":"/foo/1"} = {"foo":["bar","baz"]}
{"baz":"qux","foo":"bar"} + {"op":"replace","path":"/baz","value":"boo"} = {"baz":"boo","foo":"bar"}
{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}} + {"op":"move","from":"/foo/waldo","path":"/qux/thud"} = {"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}
{"foo":["all","grass","cows","eat"]} + {"op":"move","from":"/foo/1","path":"/foo/3"} = {"foo":["all","cows","eat","grass"]}
{"baz":"qux","foo":["a",2,"c"]} + {"op":"test","path":"/foo/1","value":2} = {"baz":"qux","foo":["a",2,"c"]}
{"baz":"qux"} + {"op":"test","path":"/baz","value":"bar"} = no
{"foo":"bar"} + {"op":"add","path":"/child","value":{"grandchild":{}}} = {"foo":"bar","child":{"grandchild":{}}}
{"foo":"bar"} + {"op":"add","path":"/baz/bat","value":"qux"} = no
{"/":9,"~1":10} + {"op":"test","path":"/~01","value":10} = {"/":9,"~1":10}
{"/":9,"~1":10} + {"op":"test","path":"/~01","value":"10"} = no
{"foo":["bar"]} + {"op":"add","path":"/foo/-","value":["abc","def"]} = {"foo":["bar",["abc","def"]]}
"#;

/// Seen on Kubernetes 1.37.
const UPSTREAM: &str = r#"
{"d":{"k":"1"}} + {"op":"replace","path":"/d/new","value":"5"} = {"d":{"k":"1","new":"5"}}
{"d":{"k":"1"}} + {"op":"copy","from":"/d/none","path":"/d/new"} = {"d":{"k":"1","new":null}}
{"d":{"k":"1"}} + {"op":"copy","from":"/d/k","path":"/d/new"} = {"d":{"k":"1","new":"1"}}
{"d":{"k":"1"}} + {"op":"add","path":"/d/new"} = {"d":{"k":"1","new":null}}
{"d":{"k":"1"}} + {"op":"add","path":"d/new","value":1} = {"d":{"k":"1"},"new":1}
{"l":["a","b"]} + {"op":"add","path":"/l/-1","value":"c"} = {"l":["a","b","c"]}
{"l":["a","b"]} + {"op":"add","path":"/l/-3","value":"c"} = {"l":["c","a","b"]}
{"l":["a","b"]} + {"op":"add","path":"/l/2","value":"c"} = {"l":["a","b","c"]}
{"l":["a","b"]} + {"op":"add","path":"/l/+1","value":"c"} = {"l":["a","c","b"]}
{"l":["a","b"]} + {"op":"remove","path":"/l/-2"} = {"l":["b"]}
{"l":["a","b"]} + {"op":"replace","path":"/l/-1","value":"c"} = {"l":["a","c"]}
{"l":[{"a":1}]} + {"op":"add","path":"/l/-1/b","value":2} = {"l":[{"a":1,"b":2}]}
{"d":{"k":"1"}} + {"op":"test","path":"/d/none"} = {"d":{"k":"1"}}
{"d":{"k":"1"}} + {"op":"test","path":"/d/none","value":null} = {"d":{"k":"1"}}
{"d":{"k":"1"}} + {"op":"test","path":"/d/k","value":null} = no
{"d":{"k":"1"}} + {"op":"test","path":"/d/k"} = no
{"d":{"k":"1"}} + {"op":"test","path":"","value":{}} = no
{"d":{"k":"1"}} + {"op":"test","path":"","value":{"d":{"k":"1"}}} = {"d":{"k":"1"}}
{"d":{"k":"1"}} + {"op":"replace","path":"","value":[1]} = [1]
{"d":{"k":"1"}} + {"op":"replace","path":"","value":5} = no
{"d":{"k":"1"}} + {"op":"replace","path":""} = no
{"l":["a","b"]} + {"op":"replace","path":"/l/2","value":"c"} = no
{"l":["a","b"]} + {"op":"replace","path":"/l/-","value":"c"} = no
{"l":["a","b"]} + {"op":"add","path":"/l/3","value":"d"} = no
{"l":["a","b"]} + {"op":"add","path":"/l/-4","value":"d"} = no
{"l":["a","b"]} + {"op":"remove","path":"/l/x"} = no
{"l":["a","b"]} + {"op":"remove","path":"/l/-3"} = no
{"l":["a","b"]} + {"op":"copy","from":"/l/7","path":"/k"} = no
{"l":["a","b"]} + {"op":"test","path":"/l/2","value":null} = no
{"d":{"k":"1"}} + {"op":"add","path":"","value":{}} = no
{"d":{"k":"1"}} + {"op":"remove","path":""} = no
{"d":{"k":"1"}} + {"op":"remove","path":"/d/none"} = no
{"d":{"k":"1"}} + {"op":"move","from":"/d/none","path":"/d/k"} = no
{"d":{"k":"1"}} + {"op":"move","from":"/d","path":"/d/k"} = no
{"d":{"k":"1"}} + {"op":"add","path":"/d/k/deep","value":1} = no
{"d":null} + {"op":"add","path":"/d/k","value":1} = no
{"d":{"k":"1"}} + {"op":"fly","path":"/d"} = no
{"d":{"k":"1"}} + {"path":"/d/k","value":1} = no
{"d":{"k":"1"}} + {"op":"add","value":1} = no
{"d":{"k":"1"}} + {"op":"move","path":"/d/k"} = no
{"d":{"k":"1"}} + null = no
{} + {"op":"add","path":"/","value":1} = {"":1}
{"":{}} + {"op":"add","path":"//a","value":1} = {"":{"a":1}}
"#;

#[test]
fn examples_of_the_rfc_and_liberties_of_upstream() {
    for line in [RFC_6902, UPSTREAM].join("").lines() {
        let Some((document, rest)) = line.split_once(" + ") else {
            continue;
        };
        let (operation, expected) = rest.split_once(" = ").expect("a result");
        let parse = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        match apply(parse(document), &json!([parse(operation)]), true) {
            Ok(found) => assert_eq!(found.to_string(), parse(expected).to_string(), "{line}"),
            Err(refused) => assert_eq!((refused.code, expected), (422, "no"), "{line}"),
        }
    }
}

#[test]
fn operations_follow_one_another_and_all_must_apply() {
    let document = json!({"a": 1});
    for empty in [json!([]), Value::Null] {
        assert_eq!(
            apply(document.clone(), &empty, true).ok(),
            Some(document.clone())
        );
    }
    let add = |path: &str| json!({"op": "add", "path": path, "value": {}});
    let both = json!([add("/b"), add("/b/c")]);
    let patched = apply(document.clone(), &both, true).ok();
    assert_eq!(patched, Some(json!({"a": 1, "b": {"c": {}}})));
    let wrong_order = json!([add("/b/c"), add("/b")]);
    assert!(apply(document, &wrong_order, true).is_err());
}

#[test]
fn forms_that_are_no_list_of_operations() {
    let check = |patch: Value, strict: bool, message: &str| {
        let refused = apply(json!({}), &patch, strict).expect_err("no patch");
        assert_eq!((refused.code, refused.message.as_str()), (400, message));
    };
    let strict = "error decoding patch: json: cannot unmarshal";
    let list = format!("{strict} object into Go value of type []handlers.jsonPatchOp");
    check(json!({}), true, &list);
    let loose = "json: cannot unmarshal object into Go value of type jsonpatch.Patch";
    check(json!({}), false, loose);
    let item = format!("{strict} number into Go value of type handlers.jsonPatchOp");
    check(json!([5]), true, &item);
    let member = format!("{strict} number into Go struct field jsonPatchOp.op of type string");
    check(json!([{"op": 5}]), true, &member);
    let refused = apply(json!({}), &json!([{"op": 5}]), false).expect_err("no operation");
    assert_eq!(refused.code, 422);
}

#[test]
fn limits() {
    let test = json!({"op": "test", "path": "/a", "value": 1});
    let many = |count: usize| Value::Array(vec![test.clone(); count]);
    assert!(apply(json!({"a": 1}), &many(OPERATIONS_MAX), true).is_ok());
    let refused = apply(json!({"a": 1}), &many(OPERATIONS_MAX + 1), true).expect_err("too many");
    let message = "Request entity too large: The allowed maximum operations in a JSON patch is \
                   10000, got 10001";
    assert_eq!((refused.code, refused.message.as_str()), (413, message));

    let big = json!({"a": "x".repeat(COPIED_BYTES_MAX / 2 - 2)});
    let copies = |names: &[&str]| {
        let copy = |name: &&str| json!({"op": "copy", "from": "/a", "path": format!("/{name}")});
        Value::Array(names.iter().map(copy).collect())
    };
    assert!(apply(big.clone(), &copies(&["b", "c"]), true).is_ok());
    assert!(apply(big, &copies(&["b", "c", "d"]), true).is_err());

    let long = json!({"a": vec![0; 100_000]});
    let removals = |count| Value::Array(vec![json!({"op": "remove", "path": "/a/0"}); count]);
    assert!(apply(long.clone(), &removals(400), true).is_ok());
    assert!(apply(long, &removals(600), true).is_err());
}

/// A value that no parser would read is a value that no program may hold: trees are walked by
/// recursion.
#[test]
fn nesting_ends_where_that_of_a_body_ends() {
    let op = |op: &str, from: &str, path: &str| json!({"op": op, "from": from, "path": path, "value": {}});
    let nested = |levels: usize| format!("/a{}", "/x".repeat(levels));

    // Each copy of the tree to its own deepest place doubles its depth.
    let doublings = (0..17).map(|n| op("copy", "/a", &nested(1 << n)));
    let copies = Value::Array([op("add", "", "/a")].into_iter().chain(doublings).collect());
    assert!(apply(json!({}), &copies, true).is_err());

    // Two moves put it one level down; nothing is copied, and all paths are short.
    let wraps = (0..2_000).flat_map(|_| {
        [
            op("add", "", "/b"),
            op("move", "/a", "/b/x"),
            op("move", "/b", "/a"),
        ]
    });
    let moves = Value::Array([op("add", "", "/a")].into_iter().chain(wraps).collect());
    assert!(apply(json!({}), &moves, true).is_err());

    let adds = |levels| -> Value { (0..levels).map(|n| op("add", "", &nested(n))).collect() };
    assert!(apply(json!({}), &adds(DEPTH_MAX - 1), true).is_ok());
    assert!(apply(json!({}), &adds(DEPTH_MAX), true).is_err());
}
