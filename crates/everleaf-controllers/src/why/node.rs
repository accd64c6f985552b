//! One node: its requests, its certificates as far as the API knows them, and what can be seen of
//! the machine.

use super::evidence::{Event, Evidence, written_at};
use super::request::{Case, is_certain, judge};
use super::{Context, Diagnosis, Fault, Finding, Row, clock_here, items, since, span};
use crate::builtin::BuiltinSigner;
use crate::record::LeafFacts;
use crate::serving::names::quote;
use crate::skew::SKEW_TOLERATED;
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_api::revocation::{self, Target};
use everleaf_pki::{Chain, SignerName, VerifiedRequest};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// So many certificates of one signer within an hour are a loop.
pub(crate) const LOOP_MIN: usize = 12;

/// Says how the node `name` stands with its certificates.
pub fn diagnose_node(name: &str, evidence: &Evidence) -> Diagnosis {
    let requests = requests_of(name, evidence);
    let context = evidence.context(None, name);
    let node = evidence.node(name);
    let mut findings = Vec::new();
    let mut trace = Vec::new();
    findings.extend(unknown(name, evidence, &requests, &context));
    findings.extend(without_client(name, evidence, &requests, &context));
    findings.extend(clock(evidence, &context));
    for newest in in_question(name, &requests) {
        let (found, rows) = of_request(evidence, newest);
        findings.extend(found);
        trace.extend(rows);
    }
    findings.extend(revoked(name, evidence, &requests, &context));
    findings.extend(ended(evidence, &requests, &context));
    findings.extend(looped(evidence, &requests, &context));
    findings.extend(full(evidence, &requests, &context));
    findings.extend(kubelet(evidence, &context));
    findings.extend(node.and_then(|node| not_ready(node, evidence, &context)));
    let summary = match findings.first() {
        Some(first) => format!("{}.", first.title),
        None if is_certain(&findings, evidence) => {
            "Nothing is wrong, as far as the API tells.".to_owned()
        }
        None => "Nothing was found in what can be seen of it.".to_owned(),
    };
    let is_certain = is_certain(&findings, evidence);
    findings.extend(clock_here(evidence, &context));
    Diagnosis {
        subject: format!("node/{name}"),
        standing: standing(node, evidence),
        facts: facts(name, evidence, &requests),
        summary,
        is_certain,
        findings,
        trace,
        unseen: evidence.unseen(),
    }
}

/// The node's requests, newest first.
fn requests_of<'a>(name: &str, evidence: &'a Evidence) -> Vec<&'a Value> {
    let user = format!("system:node:{name}");
    let is_for = |object: &&Value| {
        let csr = Csr(object);
        let signer = csr.signer_name();
        let is_misspelt =
            || signer.starts_with("kubernetes.io/") && BuiltinSigner::parse(signer).is_err();
        let is_nodes = [
            SignerName::KUBE_APISERVER_CLIENT_KUBELET,
            SignerName::KUBELET_SERVING,
        ]
        .contains(&signer)
            || is_misspelt();
        csr.username() == user
            || (is_nodes
                && VerifiedRequest::from_pem(&csr.request())
                    .is_ok_and(|request| request.subject().common_name == user))
    };
    let all = evidence.requests.read().into_iter().flatten();
    let mut requests: Vec<&Value> = all.filter(is_for).collect();
    requests.sort_by_key(|object| std::cmp::Reverse(meta::creation_timestamp(object)));
    requests
}

/// The requests by which a node is judged.
pub fn requests_in_question<'a>(name: &str, evidence: &'a Evidence) -> Vec<&'a Value> {
    in_question(name, &requests_of(name, evidence))
}

/// The newest requests that the node itself filed, and what was filed by a bootstrap token since.
/// What others file in its name says something of it only when it files nothing.
fn in_question<'a>(name: &str, requests: &[&'a Value]) -> Vec<&'a Value> {
    let filed_by = |is_theirs: &dyn Fn(&str) -> bool| -> Vec<&'a Value> {
        let theirs = requests.iter().copied();
        let theirs = theirs.filter(|object| is_theirs(Csr(object).username()));
        newest_by_signer(&theirs.collect::<Vec<_>>())
    };
    let user = format!("system:node:{name}");
    let own = filed_by(&|username| username == user);
    let mut chosen = own.clone();
    let age = |object: &Value| meta::creation_timestamp(object);
    for joining in filed_by(&|username| username.starts_with("system:bootstrap:")) {
        let signer = Csr(joining).signer_name();
        let older = own.iter().find(|own| Csr(own).signer_name() == signer);
        if older.is_none_or(|own| age(own) < age(joining)) {
            chosen.push(joining);
        }
    }
    match chosen.is_empty() {
        true => newest_by_signer(requests),
        false => chosen,
    }
}

/// The newest request for each kind of certificate.
fn newest_by_signer<'a>(requests: &[&'a Value]) -> Vec<&'a Value> {
    let mut newest: Vec<&Value> = Vec::new();
    for object in requests {
        let signer = Csr(object).signer_name();
        if !newest
            .iter()
            .any(|other| Csr(other).signer_name() == signer)
        {
            newest.push(object);
        }
    }
    newest
}

fn of_request(evidence: &Evidence, object: &Value) -> (Vec<Finding>, Vec<Row>) {
    let case = Case::new(evidence, object);
    let found = judge(&case);
    let name = case.csr().name().to_owned();
    let mut findings = found.findings;
    for finding in &mut findings {
        finding.csr = Some(name.clone());
        // The reader has just done that.
        let asks_again = |command: &String| command.starts_with("everleaf why node/");
        finding.commands.retain(|command| !asks_again(command));
    }
    // What has ended is told once, of the node.
    findings.retain(|finding| finding.fault != Fault::CertificateEnded);
    (findings, found.trace)
}

fn unknown(
    name: &str,
    evidence: &Evidence,
    requests: &[&Value],
    context: &Context,
) -> Vec<Finding> {
    let is_known = evidence.node(name).is_some() || !requests.is_empty();
    let is_absent = evidence.node.is_absent() || evidence.nodes.read().is_some();
    if is_known || !is_absent || evidence.requests.read().is_none() {
        return Vec::new();
    }
    let line = format!(
        "neither a Node {} nor a request of it is stored",
        quote(name)
    );
    let mut findings = vec![context.found(Fault::NodeUnknown, vec![line])];
    if let Some(tokens) = evidence.tokens.read()
        && tokens
            .values()
            .all(|end| end.is_some_and(|end| end <= evidence.now))
    {
        let mut shown: Vec<String> = tokens
            .iter()
            .filter_map(|(id, end)| Some(format!("the token {id} ended at {}", (*end)?)))
            .take(4)
            .collect();
        if shown.is_empty() {
            shown.push("there is no bootstrap token in kube-system".to_owned());
        }
        findings.insert(0, context.found(Fault::NodeJoinTokenEnded, shown));
    }
    findings
}

/// The node stamps its Lease by its own clock, the API server the write by its own.
fn clock(evidence: &Evidence, context: &Context) -> Option<Finding> {
    let lease = evidence.node_lease.read()?;
    let renewed: Timestamp = lease["spec"]["renewTime"].as_str()?.parse().ok()?;
    let ahead = renewed.duration_since(evidence.now);
    let behind = written_at(lease).map(|written| written.duration_since(renewed));
    let line = match behind {
        _ if ahead > SKEW_TOLERATED => format!(
            "its Lease says {renewed}, and the API server's clock {}: {} ahead",
            evidence.now,
            span(ahead.unsigned_abs())
        ),
        Some(behind) if behind > SKEW_TOLERATED => format!(
            "its Lease says {renewed}, and was written {} later by the API server's clock",
            span(behind.unsigned_abs())
        ),
        _ => return None,
    };
    Some(context.found(Fault::NodeClock, vec![line]))
}

fn ended(evidence: &Evidence, requests: &[&Value], context: &Context) -> Option<Finding> {
    let mut of_client = requests
        .iter()
        .map(|object| Csr(object))
        .filter(|csr| csr.signer_name() == SignerName::KUBE_APISERVER_CLIENT_KUBELET);
    let newest = of_client.next()?;
    let chain = Chain::from_pem(&newest.certificate()).ok()?;
    let end = chain.leaf().not_after();
    (end <= evidence.now).then(|| {
        let line = format!(
            "the certificate of csr/{} ended at {end}, {} ago",
            newest.name(),
            span(evidence.now.duration_since(end).unsigned_abs())
        );
        context.found(Fault::NodeEnded, vec![line])
    })
}

/// Only Everleaf's API server refuses what is revoked.
fn revoked(
    name: &str,
    evidence: &Evidence,
    requests: &[&Value],
    context: &Context,
) -> Option<Finding> {
    let revocations = evidence.revocations.read()?;
    if !evidence.is_everleaf() {
        return None;
    }
    let mut issued = requests.iter().map(|object| Csr(object)).filter(|csr| {
        csr.is_issued() && csr.signer_name() == SignerName::KUBE_APISERVER_CLIENT_KUBELET
    });
    let line = if let Some(newest) = issued.next() {
        let chain = Chain::from_pem(&newest.certificate()).ok()?;
        let facts = LeafFacts::of(chain.leaf());
        let by = revocations.refuses(revocation::Facts {
            serial: &facts.serial,
            credential: &facts.fingerprint,
            common_name: &facts.common_name,
            not_before: facts.not_before,
        })?;
        let csr = newest.name();
        format!("the certificate of csr/{csr} is refused by the entry {by}")
    } else {
        // What it was issued since is forgotten. Who reports has some.
        let ready = evidence.node(name).and_then(ready);
        if ready.is_some_and(|ready| ready["status"] == "True") {
            return None;
        }
        let target = Target::Node(name.to_owned());
        let (_, entry) = revocations.iter().find(|(other, _)| **other == target)?;
        let at = entry.at.map_or(String::new(), |at| format!(" at {at}"));
        format!("{target} was revoked{at}, and no certificate of it is known that was issued later")
    };
    Some(context.found(Fault::NodeRevoked, vec![line]))
}

fn looped(evidence: &Evidence, requests: &[&Value], context: &Context) -> Option<Finding> {
    let recent: Vec<Csr<'_>> = requests
        .iter()
        .map(|object| Csr(object))
        .filter(|csr| {
            let age = since(meta::creation_timestamp(csr.0), evidence.now);
            csr.is_issued() && age < SignedDuration::from_hours(1)
        })
        .collect();
    let of = |signer: &str| {
        recent
            .iter()
            .filter(|csr| csr.signer_name() == signer)
            .count()
    };
    let most = recent
        .iter()
        .map(|csr| (of(csr.signer_name()), csr.signer_name()))
        .max()?;
    if most.0 < LOOP_MIN {
        return None;
    }
    let mut shown = vec![format!(
        "{} certificates of {} within the last hour",
        most.0, most.1
    )];
    shown.extend(
        evidence
            .event(&["RotationLoopSuspected"])
            .as_ref()
            .map(Event::line),
    );
    Some(context.found(Fault::NodeLoop, shown))
}

fn full(evidence: &Evidence, requests: &[&Value], context: &Context) -> Option<Finding> {
    let most = evidence.open_max?;
    let open: Vec<&&Value> = requests
        .iter()
        .filter(|object| !Csr(object).is_issued())
        .collect();
    let newest = Csr(open.first()?);
    (open.len() >= most).then(|| {
        let mut context = context.clone();
        context.set("signer", newest.signer_name());
        let line = format!(
            "{} of its requests have no certificate; {most} are allowed",
            open.len()
        );
        context.found(Fault::NodeFull, vec![line])
    })
}

/// What the API server met when it asked the kubelet.
fn kubelet(evidence: &Evidence, context: &Context) -> Option<Finding> {
    let (status, text) = evidence.kubelet.read()?;
    if *status < 500 {
        return None;
    }
    let has = |part: &str| text.contains(part);
    let fault = if has("tls: internal error") {
        Fault::ServingAbsent
    } else if has("unknown authority") || has("not standards compliant") {
        Fault::ServingUntrusted
    } else if has("certificate is valid for")
        || has("doesn't contain any IP SANs")
        || has("cannot validate certificate")
    {
        Fault::ServingOtherName
    } else if has("expired or is not yet valid") {
        Fault::ServingEnded
    } else {
        Fault::NodeUnreachable
    };
    let line = format!(
        "asked for the kubelet, the API server says ({status}): {}",
        text.trim()
    );
    Some(context.found(fault, vec![line]))
}

fn ready(node: &Value) -> Option<&Value> {
    items(node, "/status/conditions").find(|condition| condition["type"] == "Ready")
}

fn not_ready(node: &Value, evidence: &Evidence, context: &Context) -> Option<Finding> {
    let ready = ready(node)?;
    // A kubelet that says it is not ready reports, and its certificate is good.
    if ready["status"] != "Unknown" {
        return None;
    }
    let text = |member: &str| ready[member].as_str().unwrap_or_default();
    let at = ready["lastTransitionTime"]
        .as_str()
        .and_then(meta::parse_time);
    let line = format!(
        "Ready is {} for {}: {}",
        text("status"),
        span(since(at, evidence.now).unsigned_abs()),
        text("message")
    );
    Some(context.found(Fault::NodeNotReady, vec![line]))
}

fn standing(node: Option<&Value>, evidence: &Evidence) -> String {
    let Some(node) = node else {
        let is_absent = evidence.node.is_absent() || evidence.nodes.read().is_some();
        return if is_absent { "no Node" } else { "Unknown" }.to_owned();
    };
    match ready(node).and_then(|ready| ready["status"].as_str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "never reported".to_owned(),
    }
}

/// Whether other requests of it are stored, and neither a Node nor one for a client certificate.
fn without_client(
    name: &str,
    evidence: &Evidence,
    requests: &[&Value],
    context: &Context,
) -> Option<Finding> {
    let mut signers = requests.iter().map(|object| Csr(object).signer_name());
    let has_client = signers.any(|signer| signer == SignerName::KUBE_APISERVER_CLIENT_KUBELET);
    let is_absent = evidence.node.is_absent() || evidence.nodes.read().is_some();
    if requests.is_empty() || has_client || evidence.node(name).is_some() || !is_absent {
        return None;
    }
    let line = format!(
        "neither a Node {} nor a request of it for a client certificate is stored",
        quote(name)
    );
    Some(context.found(Fault::NodeNoClient, vec![line]))
}

fn facts(name: &str, evidence: &Evidence, requests: &[&Value]) -> Vec<String> {
    const OTHERS_MAX: usize = 3;
    let mut facts = Vec::new();
    if let Some(node) = evidence.node(name) {
        let addresses = items(node, "/status/addresses").filter_map(|entry| {
            Some(format!(
                "{} {}",
                entry["type"].as_str()?,
                entry["address"].as_str()?
            ))
        });
        let addresses: Vec<String> = addresses.collect();
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str();
        let version = version.filter(|version| !version.is_empty());
        let version = version.map_or(String::new(), |version| format!(", kubelet {version}"));
        facts.push(match addresses.is_empty() {
            true => format!("the Node has no addresses{version}"),
            false => format!("{}{version}", addresses.join(", ")),
        });
    }
    if let Some(ready) = evidence.node(name).and_then(ready)
        && ready["status"] == "False"
    {
        let message = ready["message"].as_str().unwrap_or_default();
        facts.push(format!("its kubelet says that it is not ready: {message}"));
    }
    let judged = in_question(name, requests);
    for newest in &judged {
        let csr = Csr(newest);
        let end = Chain::from_pem(&csr.certificate()).ok();
        let end = end.map_or(String::new(), |chain| {
            format!(", valid until {}", chain.leaf().not_after())
        });
        facts.push(format!(
            "{}: csr/{} {}{end}",
            csr.signer_name(),
            csr.name(),
            csr.condition_text()
        ));
    }
    let is_told = |object: &&&Value| judged.iter().any(|one| std::ptr::eq(*one, **object));
    let others = requests.iter().filter(|object| !is_told(object));
    let others = others.map(|object| Csr(object)).filter(|csr| {
        let username = csr.username();
        username.strip_prefix("system:node:") != Some(name)
            && !username.starts_with("system:bootstrap:")
    });
    for csr in others.take(OTHERS_MAX) {
        facts.push(format!(
            "in its name, filed by {}: csr/{} {}",
            csr.username(),
            csr.name(),
            csr.condition_text()
        ));
    }
    if requests.is_empty() && evidence.requests.read().is_some() {
        let none = "no request of it is stored: they are deleted an hour after they were decided";
        facts.push(none.to_owned());
    }
    facts
}
