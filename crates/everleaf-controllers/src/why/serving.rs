//! Requests for serving certificates: what the rules of the approver say, and whether anybody
//! applies them.

use super::control_plane::{self, Role};
use super::evidence::{Evidence, Leader, Question};
use super::request::{Case, Found};
use super::{Fault, Row, csr_age, pending};
use crate::approver::Review;
use crate::index::Index;
use crate::record::IssuedChain;
use crate::serving::{
    self, Cluster, Decision, Facts, Finding, Issued, NodeFacts, PERMISSION, Rule, Source, Verdict,
};
use everleaf_api::csr::Csr;
use std::time::Duration;

/// The Lease of controllers that only approve serving requests.
const LEASE: &str = crate::election::flags::RESOURCE_NAME_SERVING;
/// Events of the approver of serving requests about what it does not approve.
const EVENTS: [&str; 3] = ["CSRWaiting", "CSRRateLimited", "CSRDenied"];

pub(super) fn judge(case: &Case<'_>) -> Found {
    let decision = decide(case);
    let trace = decision.trace.iter().map(row).collect();
    let told = case.event(&EVENTS);
    let said = told.and_then(|event| {
        let fault = fault_of(rule_of(event.message())?, event.message())?;
        Some(case.found(fault, [event.line()]))
    });
    let ours = || match &decision.verdict {
        Verdict::Approve if decision.is_dry_run => Some(case.found(Fault::PolicyDryRun, [])),
        Verdict::Abstain(None) => Some(case.found(Fault::PolicyNone, [])),
        Verdict::Deny(rule) | Verdict::Wait(rule, _) | Verdict::Abstain(Some(rule)) => {
            let fault = fault_of(*rule, decision.why())?;
            Some(case.found(fault, [decision.message()]))
        }
        Verdict::Approve | Verdict::Look(..) | Verdict::Review => None,
    };
    let mut findings = Vec::new();
    let is_approved = said.is_some().then_some(true);
    let is_approved = is_approved.or_else(|| is_approved_by_policy(case.evidence));
    if is_approved != Some(true) {
        let ours = ours();
        // A request that was filed a moment ago may still find an approver.
        let is_nobody = is_approved == Some(false) && case.is_late();
        if is_nobody && case.evidence.is_everleaf() {
            // Its all-in-one server approves them, and shows it only by what it has decided.
            if ours.is_none() {
                findings.push(control_plane::unseen(case));
            }
        } else if is_nobody {
            let line = format!(
                "nobody holds the Lease kube-system/{LEASE}, and no request shows an approval by policy"
            );
            let mut nobody = case.found(Fault::ServingNobody, [line]);
            if ours.is_some() {
                // No person should do what the rules advise against.
                let advises = |command: &String| command.starts_with("kubectl certificate approve");
                nobody.commands.retain(|command| !advises(command));
            }
            findings.push(nobody);
        }
        findings.extend(ours);
    } else {
        findings.extend(said.or_else(ours));
        let would_approve = matches!(decision.verdict, Verdict::Approve);
        if findings.is_empty() && would_approve && case.is_late() {
            let may = control_plane::not_permitted(case, Role::Approver);
            let silent = || {
                let line = "its rules would approve the request".to_owned();
                case.found(
                    Fault::ApproverSilent,
                    [line, control_plane::retry_line(case)],
                )
            };
            findings.push(may.unwrap_or_else(silent));
        }
    }
    if let Some(old) = pending::old_usages(case) {
        findings.push(old);
    }
    Found { findings, trace }
}

/// Whether somebody decides about serving requests here; `None`: nobody could see.
fn is_approved_by_policy(evidence: &Evidence) -> Option<bool> {
    let is_ours = |reason: &str| {
        [
            serving::APPROVED_REASON,
            serving::DENIED_REASON,
            serving::SUPERSEDED_REASON,
        ]
        .contains(&reason)
    };
    let requests = evidence.requests.read().into_iter().flatten().map(Csr);
    let mut conditions = requests.flat_map(|csr| csr.conditions());
    if conditions.any(|condition| is_ours(&condition.reason)) {
        return Some(true);
    }
    match evidence.leader(LEASE) {
        Leader::Alive(_) => Some(true),
        Leader::Unknown => None,
        Leader::Nobody | Leader::Gone { .. } => evidence.requests.read().map(|_| false),
    }
}

/// What the approver would decide, by what was seen.
fn decide(case: &Case<'_>) -> Decision {
    let evidence = case.evidence;
    let cluster = cluster(evidence);
    let mut index = Index::default();
    let mut issued = Issued::default();
    for object in evidence.requests.read().into_iter().flatten() {
        let csr = Csr(object);
        let read = IssuedChain::of(csr);
        if let (Some(chain), true) = (read.chain(), csr.is_issued()) {
            issued.note(chain, evidence.now);
        }
        index.apply_read(object.clone(), &read);
    }
    let answer = evidence.may(&Question::of_requestor(case.csr(), PERMISSION));
    let reviews: Vec<Review> = answer
        .map(|allowed| Review {
            permission: PERMISSION.to_owned(),
            allowed,
        })
        .into_iter()
        .collect();
    let inventory = evidence.inventory.as_ref();
    let facts = Facts {
        cluster: &cluster,
        issued: &issued,
        inventory: inventory.map(|read| read.as_ref().map_err(String::as_str)),
        origin: None,
        age: Duration::try_from(csr_age(case.csr(), evidence.now)).unwrap_or_default(),
        newer: index.newer(case.csr()),
        limited: None,
        reviews: &reviews,
        seen: &[],
        now: evidence.now,
    };
    serving::decide(&case.request, &facts, &evidence.policies)
}

fn cluster(evidence: &Evidence) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.set_api_server(evidence.api_server.iter().cloned());
    let sources = [
        (Source::Nodes, &evidence.nodes),
        (Source::Services, &evidence.services),
        (Source::Endpoints, &evidence.endpoints),
    ];
    for (source, known) in sources {
        let objects = match (known.read(), known.is_absent()) {
            (Some(objects), _) => objects.as_slice(),
            (None, true) => &[],
            // The rules say what they cannot know.
            (None, false) => continue,
        };
        cluster.begin_list(source);
        for object in objects {
            cluster.put(source, object);
        }
        cluster.end_list(source);
    }
    cluster
}

/// By which policy the request was judged here.
pub(super) fn policy_line(case: &Case<'_>) -> String {
    let policies = &case.evidence.policies;
    let node = serving::requestor(case.csr()).unwrap_or_default();
    let facts = case.evidence.node(node).map(NodeFacts::of);
    match policies.policy_for(node, facts.as_ref()) {
        Some(policy) => match &*case.evidence.policy_source {
            "" => format!(
                "judged here by the policy {:?}, which holds where no policy file is given",
                policy.name
            ),
            source => format!("judged here by the policy {:?} of {source}", policy.name),
        },
        None => "no policy is for it".to_owned(),
    }
}

fn row(step: &serving::Step) -> Row {
    let (finding, why) = step.finding.words();
    Row {
        rule: format!("{} {}", step.rule.id(), step.rule),
        finding,
        why,
    }
}

/// The rule that a message of the approver names: `policy "default", rule S15 node_addresses: …`.
pub(super) fn rule_of(message: &str) -> Option<Rule> {
    let (_, rest) = message.split_once(", rule ")?;
    Rule::by_id(rest.split_whitespace().next()?)
}

/// The fault of a rule that does not hold. `None`: it says nothing of the request.
pub(super) fn fault_of(rule: Rule, why: &str) -> Option<Fault> {
    Some(match rule {
        Rule::Signer | Rule::State => return None,
        Rule::Pem if why.contains("does not fit its public key") => Fault::RequestSignature,
        Rule::Pem => Fault::ServingPem,
        Rule::Key => Fault::ServingKey,
        Rule::Requestor => Fault::ServingRequestor,
        Rule::Groups => Fault::ServingGroups,
        Rule::Subject => Fault::ServingSubject,
        Rule::Usages => Fault::ServingUsages,
        Rule::Extensions => Fault::ServingExtensions,
        Rule::Count => Fault::ServingCount,
        Rule::DnsNames => Fault::ServingNames,
        // It waits for what this command could not see, either.
        Rule::Addresses if why.contains("are not known yet") => return None,
        Rule::Addresses => Fault::ServingAddresses,
        Rule::Node if why.contains("was made after it") => Fault::ServingNodeNewer,
        Rule::Node => Fault::ServingNodeMissing,
        Rule::NodeAddresses if why.ends_with("its Node has none") => Fault::ServingNodeUnreported,
        Rule::NodeNames => Fault::ServingNodeNames,
        Rule::NodeAddresses => Fault::ServingNodeAddresses,
        Rule::Unique => Fault::ServingUnique,
        Rule::Ranges => Fault::ServingRanges,
        Rule::Inventory | Rule::Renewal if why.contains("the kubelet") => Fault::ServingRenewal,
        Rule::Inventory | Rule::Renewal => Fault::ServingInventory,
        Rule::DnsResolution if why.contains("cannot tell") => Fault::ServingDnsSilent,
        Rule::DnsResolution => Fault::ServingDns,
        Rule::Lifetime => Fault::ServingLifetime,
        Rule::Expressions => Fault::ServingExpressions,
        Rule::Permission => Fault::ServingPermission,
        Rule::Limits => Fault::ServingLimits,
        Rule::Superseded => Fault::ServingSuperseded,
    })
}

impl Finding {
    /// It in a word or two, and why.
    pub fn words(&self) -> (&'static str, String) {
        let (word, why) = match self {
            Self::Passed => ("passed", ""),
            Self::Skipped(why) => ("skipped", *why),
            Self::Foreign(why) => ("not for us", why.as_str()),
            Self::Violated(why) => ("violated", why.as_str()),
            Self::Waiting { why, .. } => ("waits", why.as_str()),
            Self::Unreviewed => ("to be asked", ""),
            Self::Unseen(look) => return ("not looked at", look.to_string()),
        };
        (word, why.to_owned())
    }
}
