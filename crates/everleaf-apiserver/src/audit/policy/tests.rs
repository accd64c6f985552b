//! What a policy says of requests; the cases of upstream's `checker_test.go`, and more.

use super::*;
use crate::fixture::user;

const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

fn policy(rules: &str) -> Policy {
    Policy::parse(&format!("{HEAD}rules:\n{rules}")).unwrap()
}

/// `get core/pods/log a/b`, or `get /livez`.
fn judged(policy: &Policy, request: &str, user: Option<&User>) -> Verdict {
    let nobody = User::default();
    let words: Vec<&str> = request.split(' ').collect();
    let mut request = Attributes {
        verb: words[0],
        ..Attributes::of(user.unwrap_or(&nobody))
    };
    if words[1].starts_with('/') {
        request.path = words[1];
        return policy.judge(user, &request);
    }
    let mut parts = words[1].split('/');
    let group = parts.next().unwrap();
    request.group = if group == "core" { "" } else { group };
    request.resource = parts.next().unwrap();
    request.subresource = parts.next().unwrap_or("");
    (request.namespace, request.name) = words[2].split_once('/').unwrap();
    policy.judge(user, &request)
}

#[test]
fn rules_match_what_upstreams_match() {
    let tim = user("tim@k8s.io", &["humans", "developers"]);
    let cases = include_str!("cases.txt");
    let mut count = 0;
    for case in cases.lines().filter(|line| !line.starts_with('#')) {
        let (rule, rest) = case.split_once(" | ").unwrap();
        let (request, expected) = rest.split_once(" | ").unwrap();
        let rule = match rule {
            "anything" => policy("- {level: Request}"),
            rule => policy(&format!("- {{level: Request, {rule}}}")),
        };
        let found = judged(&rule, request, Some(&tim)).level;
        assert_eq!(found == Level::Request, expected == "yes", "{case}");
        count += 1;
    }
    assert!(count > 30);
}

#[test]
fn the_first_rule_that_matches_decides_and_none_tells_nothing() {
    let policy = policy(
        "- {level: None, users: [eve]}\n- {level: Metadata, resources: [{resources: [secrets]}]}\n- {level: RequestResponse, verbs: [create]}\n",
    );
    let (eve, adam) = (user("eve", &[]), user("adam", &[]));
    let level = |request, user| judged(&policy, request, Some(user)).level;
    assert_eq!(level("create core/secrets a/b", &eve), Level::None);
    assert_eq!(level("create core/secrets a/b", &adam), Level::Metadata);
    assert_eq!(level("create core/pods a/b", &adam), Level::RequestResponse);
    assert_eq!(level("get core/pods a/b", &adam), Level::None);
}

#[test]
fn a_rule_about_somebody_is_not_about_nobody() {
    let policy = policy("- {level: Metadata, users: [\"\"]}\n- {level: Request}\n");
    assert_eq!(judged(&policy, "get /livez", None).level, Level::Request);
}

#[test]
fn stages_and_managed_fields_are_omitted_by_policy_and_by_rule() {
    let text = format!(
        "{HEAD}omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
         - {{level: Metadata, verbs: [get], omitStages: [Panic], omitManagedFields: false}}\n\
         - {{level: Metadata}}\n"
    );
    let policy = Policy::parse(&text).unwrap();
    let get = judged(&policy, "get /a", None);
    let put = judged(&policy, "put /a", None);
    let omitted = |verdict: Verdict| Stage::ALL.map(|stage| verdict.omitted.contains(stage));
    assert_eq!(omitted(get), [true, false, false, true]);
    assert_eq!(omitted(put), [true, false, false, false]);
    assert!(!get.omits_managed_fields);
    assert!(put.omits_managed_fields);
}

#[test]
fn what_cannot_be_meant_is_refused_and_where() {
    let check = |text: &str, expected: &str| {
        let error = Policy::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    let rules = |rules: &str, expected: &str| check(&format!("{HEAD}rules:\n{rules}"), expected);
    check("", "apiVersion");
    check("kind: Policy\n", "apiVersion: audit.k8s.io/v1");
    check(
        "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\n",
        "v1beta1",
    );
    check(HEAD, "no rules");
    check(&format!("{HEAD}rules: []\n"), "no rules");
    rules("- {level: Metadata, user: [eve]}", "user");
    rules("- {users: [eve]}", "rules[0].level");
    rules(
        "- {level: metadata}",
        "rules[0].level: \"metadata\" is none of None, Metadata",
    );
    rules(
        "- {level: None, omitStages: [Response]}",
        "rules[0].omitStages[0]",
    );
    rules(
        "- {level: None, nonResourceURLs: [metrics]}",
        "nonResourceURLs[0]",
    );
    rules(
        "- {level: None, nonResourceURLs: [\"/a*b\"]}",
        "nonResourceURLs[0]",
    );
    rules(
        "- {level: None, nonResourceURLs: [/a], namespaces: [b]}",
        "two of it",
    );
    rules(
        "- {level: None, resources: [{group: rbac.authorization.k8s.io/v1}]}",
        "resources[0].group",
    );
    rules(
        "- {level: None, resources: [{resourceNames: [a]}]}",
        "resources[0].resourceNames",
    );
}
