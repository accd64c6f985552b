//! Stamps, copy-back, table, descriptor.

use super::*;

fn prepared(mut object: Value, user: &User) -> Value {
    CSRS.strategy
        .prepare_create(&mut object, &context(user, "", None));
    object
}

#[test]
fn cases_45_to_47_create() {
    let mut claims = with(&["Approved"], &certificate_pem());
    claims["spec"]["username"] = "alice".into();
    claims["spec"]["uid"] = "1".into();
    claims["spec"]["groups"] = json!(["system:masters"]);
    claims["spec"]["extra"] = json!({"a": ["b"]});
    claims["metadata"]["generation"] = 5.into();
    let stored = prepared(claims.clone(), &User::default());
    for member in ["username", "uid", "groups", "extra"] {
        assert_eq!(stored["spec"].get(member), None, "45 {member}");
    }
    let mut bob = fixture::user("bob", &["b", "a"]);
    bob.extra.insert("scopes".to_owned(), vec!["x".to_owned()]);
    let stored = prepared(claims, &bob);
    assert_eq!(stored["spec"]["username"], "bob", "46");
    assert_eq!(stored["spec"].get("uid"), None, "46");
    assert_eq!(
        stored["spec"]["groups"],
        json!(["b", "a", "system:authenticated"]),
        "46"
    );
    assert_eq!(stored["spec"]["extra"], json!({"scopes": ["x"]}), "46");
    assert!(read::is_empty(stored.get("status")), "47");
    assert_eq!(stored["metadata"]["generation"], 5, "as upstream");
}

#[test]
fn cases_48_and_49_status_keeps_decisions_pairwise() {
    let old_time = "2029-01-01T00:00:00Z";
    let mut old = good();
    old["status"]["conditions"] = json!([
        {"type": "Denied", "status": "True", "reason": "a", "lastTransitionTime": old_time},
        {"type": "Approved", "status": "True", "reason": "b"},
        {"type": "Denied", "status": "True", "reason": "c"},
        {"type": "Approved", "status": "True", "reason": "d", "lastTransitionTime": old_time},
    ]);
    let bare: Vec<Value> = ["Failed", "Denied", "Approved", "Denied", "Approved"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True"}))
        .collect();
    let mut new = good();
    new["status"]["conditions"] = bare.into();
    let (_, stored) = put("status", &new, &old);
    let shown: Vec<[&str; 4]> = read::items(&stored, "/status/conditions")
        .iter()
        .map(|c| {
            ["/type", "/reason", "/lastUpdateTime", "/lastTransitionTime"].map(|p| read::text(c, p))
        })
        .collect();
    assert_eq!(
        shown,
        [
            ["Failed", "", NOW, NOW],
            ["Denied", "a", NOW, old_time],
            ["Approved", "b", NOW, old_time],
            ["Denied", "c", NOW, old_time],
            ["Approved", "d", NOW, old_time],
        ]
    );
    let mut approved = good();
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    let (errors, stored) = put("status", &approved, &good());
    assert_eq!(errors, FORBIDDEN, "49");
    assert_eq!(
        stored["status"]["conditions"][0]["lastUpdateTime"], NOW,
        "49"
    );
}

#[test]
fn provided_times_are_kept() {
    let mut new = good();
    new["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2001-02-03T04:05:06Z", "lastTransitionTime": null}]);
    let (_, stored) = put("approval", &new, &good());
    let condition = &stored["status"]["conditions"][0];
    assert_eq!(condition["lastUpdateTime"], "2001-02-03T04:05:06Z");
    assert_eq!(condition["lastTransitionTime"], NOW);
}

#[test]
fn cases_75_to_80_table() {
    let now: Timestamp = NOW.parse().expect("a time");
    let check = |edit: &dyn Fn(&mut Value)| {
        let mut object = good();
        object["metadata"]["creationTimestamp"] = NOW.into();
        edit(&mut object);
        let cells = (CSRS.cells)(&object, now);
        let texts: Vec<String> = cells
            .iter()
            .map(|cell| cell.as_str().expect("text").to_owned())
            .collect();
        texts.join("|")
    };
    let no_signer = |o: &mut Value| {
        drop(
            o["spec"]
                .as_object_mut()
                .expect("spec")
                .remove("signerName"),
        )
    };
    assert_eq!(check(&no_signer), "csr1|0s|<none>||<none>|Pending", "75");
    assert_eq!(
        check(&|o| {
            o["spec"]["username"] = "bob".into();
            o["status"] = with(&["Approved"], "")["status"].clone();
        }),
        "csr1|0s|example.com/signer|bob|<none>|Approved",
        "76, 77"
    );
    let status = |kinds: &'static [&str], certificate: &'static str| {
        check(&move |o: &mut Value| o["status"] = with(kinds, certificate)["status"].clone())
            .rsplit('|')
            .next()
            .expect("a cell")
            .to_owned()
    };
    assert_eq!(status(&["Approved"], "x"), "Approved,Issued", "78");
    assert_eq!(status(&["Denied"], ""), "Denied", "79");
    assert_eq!(
        status(&["Approved", "Failed"], "x"),
        "Approved,Failed,Issued"
    );
    for (seconds, text) in [(601, "10m"), (86_400, "24h"), (604_800, "7d")] {
        let row = check(&|o| o["spec"]["expirationSeconds"] = seconds.into());
        assert_eq!(
            row,
            format!("csr1|0s|example.com/signer||{text}|Pending"),
            "80"
        );
    }
    let names: Vec<&str> = CSRS.columns.iter().map(|column| column.name).collect();
    assert_eq!(
        names,
        [
            "Name",
            "Age",
            "SignerName",
            "Requestor",
            "RequestedDuration",
            "Condition"
        ]
    );
}

#[test]
fn descriptor() {
    assert_eq!(
        (CSRS.field)(&good(), "spec.signerName"),
        "example.com/signer"
    );
    assert_eq!((CSRS.field)(&good(), "spec.username"), "");
    for good in ["a", "A b:c", "x.y"] {
        assert_eq!((CSRS.validate_name)(good), Ok(()), "{good}");
    }
    for bad in [".", "..", "a/b", "a%b"] {
        assert!((CSRS.validate_name)(bad).is_err(), "{bad}");
    }
    let tally = CSRS.tally.expect("counted").account;
    let mut pending = good();
    pending["spec"]["username"] = "bob".into();
    assert_eq!(tally(&pending), Some("bob (other signers)".to_owned()));
    let mut client = pending.clone();
    client["spec"]["signerName"] = "kubernetes.io/kube-apiserver-client-kubelet".into();
    assert_ne!(
        tally(&client),
        tally(&pending),
        "renewal is never crowded out"
    );
    let mut denied = pending.clone();
    denied["status"]["conditions"] = json!([{ "type": "Denied", "status": "True" }]);
    let beside = "bob (other signers) (spent)".to_owned();
    assert_eq!(tally(&denied), Some(beside));
    pending["status"]["certificate"] = "eA==".into();
    assert_eq!(tally(&pending), None);
}
