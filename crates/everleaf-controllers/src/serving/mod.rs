//! Which kubelet serving requests are approved without a human, and why.
//!
//! Kubernetes approves none: their names and addresses are the node's own word. [`decide`] goes
//! through an ordered list of rules ([`rules`]), each a function of the request, the policy and
//! what the [`Cluster`] says of nodes; every rule leaves its finding in the trace. The first broken
//! rule decides; what cannot be known yet is waited for, up to a deadline; what is somebody else's
//! to decide is left alone.
//!
//! ```text
//! request ─▶ S1 … S25 ─▶ all passed ─▶ approve
//!                     ├▶ one violated ─▶ deny (or abstain, by policy)
//!                     ├▶ one waits ────▶ wait, then deny
//!                     └▶ not for us ───▶ abstain
//! ```

pub mod cel;
pub mod cluster;
pub(crate) mod files;
pub mod inventory;
pub mod issued;
pub mod limits;
pub mod look;
pub mod names;
pub mod policy;
pub mod rules;
pub mod state;

#[cfg(test)]
mod tests;

use crate::approver::Review;
use crate::index::OpenRequest;
use everleaf_api::csr::Csr;
use everleaf_pki::{PublicKey, PublicKeyKind, VerifiedRequest};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

pub use cluster::{Claim, Cluster, NodeFacts, Source};
pub use files::doubts;
pub use inventory::{Inventory, InventorySource};
pub use issued::Issued;
pub use look::{Look, Present, Resolved, Saw};
pub use policy::{Mode, OnViolation, Policy, PolicyError, PolicySet};
pub use rules::Rule;
pub use state::{Affected, Origins, ServingConfig, State};

/// Reason of the condition that approves.
pub const APPROVED_REASON: &str = "EverleafPolicyApproved";
/// Reason of the condition that denies.
pub const DENIED_REASON: &str = "EverleafPolicyDenied";
/// Reason of the condition that denies a request because its node has filed a newer one.
pub const SUPERSEDED_REASON: &str = "Superseded";
/// Permission that [`Policy::require_permission`] asks about.
pub const PERMISSION: &str = "selfnodeserver";
/// Longest message of a condition.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Prefix of a node's user name.
pub(crate) const NODE_PREFIX: &str = "system:node:";

/// What is known besides the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Nodes, Services, the API server.
    pub cluster: &'a Cluster,
    /// What valid certificates say already.
    pub issued: &'a Issued,
    /// The operator's list, if the policy names one: what it says, or why it cannot be read.
    pub inventory: Option<Result<&'a Inventory, &'a str>>,
    /// Where the requestor connected from, if that is known.
    pub origin: Option<&'a Origin>,
    /// How long this request has been waiting here.
    pub age: Duration,
    /// Newer undecided requests of the same requestor for the same signer.
    pub newer: usize,
    /// How long the limits want it to wait.
    pub limited: Option<Limited>,
    /// Access reviews that were answered so far.
    pub reviews: &'a [Review],
    /// What was looked at outside the API server so far.
    pub seen: &'a [(Look, Saw)],
    /// Wall time.
    pub now: Timestamp,
}

/// The machine that a request came from, as its connection proves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its addresses, as far as they are known; canonical.
    pub addresses: Vec<IpAddr>,
    /// It is the machine on which the API server runs.
    pub is_server_host: bool,
    /// Its name, where that is known.
    pub host_name: Option<String>,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which.
    pub what: &'static str,
    /// How long it holds.
    pub delay: Duration,
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It holds.
    Passed,
    /// It does not apply.
    Skipped(&'static str),
    /// The request is not for this policy to decide.
    Foreign(String),
    /// It is broken.
    Violated(String),
    /// What it needs is not there yet.
    Waiting {
        /// What.
        why: String,
        /// Whether it counts as broken when the deadline has passed.
        ends: bool,
        /// When to look again, if that is known.
        delay: Option<Duration>,
    },
    /// The access review has not been asked yet.
    Unreviewed,
    /// It needs a look outside the API server, which nobody has had yet.
    Unseen(Box<Look>),
}

/// A rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub rule: Rule,
    /// What came of it.
    pub finding: Finding,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All rules hold.
    Approve,
    /// This rule is broken.
    Deny(Rule),
    /// Leave it to others. The rule that says so; `None`: no policy is for it.
    Abstain(Option<Rule>),
    /// This rule waits; look again after so long.
    Wait(Rule, Duration),
    /// Have this look for this rule, then decide again: all other rules hold.
    Look(Rule, Box<Look>),
    /// Ask whether the requestor may create [`PERMISSION`], then decide again.
    Review,
}

/// The verdict, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// Name of the policy that decided; "" when none is for the request.
    pub policy: String,
    /// Whether that policy only tells.
    pub is_dry_run: bool,
    /// Every rule, in order.
    pub trace: Vec<Step>,
}

/// Look again after this, when nothing says when.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Longest wait, whatever holds a request: another one may replace it meanwhile.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(300);

/// Decides about one request for the kubelet serving signer.
pub fn decide(request: &OpenRequest, facts: &Facts<'_>, policies: &PolicySet) -> Decision {
    let node = requestor(request.csr()).unwrap_or_default();
    let Some(policy) = policies.policy_for(node, facts.cluster.node(node)) else {
        return Decision {
            verdict: Verdict::Abstain(None),
            policy: String::new(),
            is_dry_run: false,
            trace: Vec::new(),
        };
    };
    let trace = rules::try_all(request, facts, policy);
    Decision {
        verdict: match policy.mode {
            Mode::Abstain => Verdict::Abstain(None),
            Mode::DryRun | Mode::Enforce => sum_up(&trace, facts.age, policy),
        },
        policy: policy.name.clone(),
        is_dry_run: policy.mode == Mode::DryRun,
        trace,
    }
}

fn is_policy_for(policy: &Policy, node: &str, facts: Option<&NodeFacts>) -> bool {
    let label_is = |(key, value): (&String, &String)| {
        facts.is_some_and(|facts| facts.labels.get(key) == Some(value))
    };
    policy
        .node_name
        .as_ref()
        .is_none_or(|regex| regex.is_match(node))
        && policy.node_labels.iter().all(label_is)
}

/// What the findings amount to. What is broken for good beats what is only missing.
fn sum_up(trace: &[Step], age: Duration, policy: &Policy) -> Verdict {
    let broken = |rule: Rule| match policy.on_violation {
        OnViolation::Abstain => Verdict::Abstain(Some(rule)),
        OnViolation::Deny => Verdict::Deny(rule),
    };
    for step in trace {
        match step.finding {
            Finding::Foreign(_) => return Verdict::Abstain(Some(step.rule)),
            Finding::Violated(_) => return broken(step.rule),
            _ => {}
        }
    }
    let left = policy.wait_deadline.saturating_sub(age);
    for step in trace {
        match &step.finding {
            Finding::Waiting { ends: true, .. } if left.is_zero() => return broken(step.rule),
            Finding::Waiting { ends, delay, .. } => {
                let delay = delay.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN_MAX);
                let delay = if *ends { delay.min(left) } else { delay };
                return Verdict::Wait(step.rule, delay.max(Duration::from_secs(1)));
            }
            Finding::Unreviewed => return Verdict::Review,
            _ => {}
        }
    }
    // Last: nobody is asked, or dialled, for the sake of a request that would not be approved.
    for step in trace {
        if let Finding::Unseen(look) = &step.finding {
            return Verdict::Look(step.rule, look.clone());
        }
    }
    Verdict::Approve
}

impl Decision {
    /// What the rule that decided has to say; "" after an approval.
    pub fn why(&self) -> &str {
        let rule = match &self.verdict {
            Verdict::Deny(rule) | Verdict::Wait(rule, _) => *rule,
            Verdict::Abstain(Some(rule)) => *rule,
            Verdict::Abstain(None) => return "no policy is for this request",
            Verdict::Approve | Verdict::Look(..) | Verdict::Review => return "",
        };
        match self.finding(rule) {
            Some(Finding::Foreign(why) | Finding::Violated(why) | Finding::Waiting { why, .. }) => {
                why
            }
            _ => "",
        }
    }

    fn finding(&self, rule: Rule) -> Option<&Finding> {
        let step = self.trace.iter().find(|step| step.rule == rule);
        step.map(|step| &step.finding)
    }

    /// Message of the condition: which policy, which rule, what it found; printable ASCII of at
    /// most 1024 bytes.
    pub fn message(&self) -> String {
        let mut message = match &self.verdict {
            Verdict::Approve => format!(
                "Auto approving kubelet serving certificate: policy {:?}, all rules passed.",
                self.policy
            ),
            Verdict::Deny(rule) | Verdict::Wait(rule, _) | Verdict::Abstain(Some(rule)) => {
                let waited = match (&self.verdict, self.finding(*rule)) {
                    (Verdict::Deny(_), Some(Finding::Waiting { .. })) => " (waited for in vain)",
                    _ => "",
                };
                format!(
                    "policy {:?}, rule {} {}: {}{waited}",
                    self.policy,
                    rule.id(),
                    rule,
                    self.why()
                )
            }
            Verdict::Look(rule, look) => {
                format!(
                    "policy {:?}, rule {} {rule}: nobody has looked at {look} yet",
                    self.policy,
                    rule.id()
                )
            }
            Verdict::Abstain(None) | Verdict::Review => self.why().to_owned(),
        };
        if !message.is_ascii() || message.bytes().any(|byte| byte.is_ascii_control()) {
            message = message.escape_default().to_string();
        }
        message.truncate(MESSAGE_BYTES_MAX);
        message
    }

    /// Reason of the condition.
    pub fn reason(&self) -> &'static str {
        match &self.verdict {
            Verdict::Approve => APPROVED_REASON,
            Verdict::Deny(Rule::Superseded) => SUPERSEDED_REASON,
            _ => DENIED_REASON,
        }
    }
}

/// Name of the node that filed the request, if a node did.
pub fn requestor(csr: Csr<'_>) -> Option<&str> {
    csr.username().strip_prefix(NODE_PREFIX)
}

/// `spec.expirationSeconds` as it stands, whatever its size.
fn expiration_seconds(csr: Csr<'_>) -> Option<&Value> {
    Some(&csr.0["spec"]["expirationSeconds"]).filter(|value| !value.is_null())
}

/// What expressions see: see [`cel`].
pub fn environment(
    csr: Csr<'_>,
    request: &VerifiedRequest,
    facts: &Facts<'_>,
    node: Option<&NodeFacts>,
) -> Value {
    let created = csr.0["metadata"]["creationTimestamp"].as_str();
    let created: Option<Timestamp> = created.and_then(|text| text.parse().ok());
    let age = created.map(|created| (facts.now.as_second() - created.as_second()).max(0));
    let (algorithm, bits) = key_of(request.public_key());
    let inventory = facts
        .inventory
        .and_then(|inventory| inventory.ok()?.of(&node?.name));
    json!({
        "csr": {
            "name": csr.name(),
            "username": csr.username(),
            "groups": csr.groups(),
            "extra": csr.0["spec"].get("extra").cloned().unwrap_or_else(|| json!({})),
            "signer": csr.signer_name(),
            "usages": csr.usages(),
            "expirationSeconds": csr.expiration_seconds(),
            "age": age,
            "subject": {
                "cn": request.subject().common_name,
                "o": request.subject().organizations,
            },
            "san": { "dns": request.dns_names(), "ips": request.ip_addresses() },
            "key": { "algorithm": algorithm, "bits": bits },
        },
        "node": node.map(|node| {
            let names = node.names.iter().map(|name| json!({ "type": "DNS", "address": name }));
            let ips = node.addresses.iter().map(|ip| json!({ "type": "IP", "address": ip }));
            json!({
                "name": node.name,
                "labels": node.labels,
                "annotations": node.annotations,
                "addresses": names.chain(ips).collect::<Vec<_>>(),
                "createdAt": node.created.map(Timestamp::as_second),
                "ready": node.is_ready,
            })
        }),
        "inventory": inventory,
        "now": facts.now.as_second(),
    })
}

/// The algorithm of a key as policies write it, and its length in bits.
fn key_of(key: &PublicKey) -> (&'static str, u32) {
    match key.kind() {
        PublicKeyKind::EcdsaP224 => ("ECDSA-P224", 224),
        PublicKeyKind::EcdsaP256 => ("ECDSA-P256", 256),
        PublicKeyKind::EcdsaP384 => ("ECDSA-P384", 384),
        PublicKeyKind::EcdsaP521 => ("ECDSA-P521", 521),
        PublicKeyKind::Ed25519 => ("Ed25519", 256),
        PublicKeyKind::Rsa { bits } => ("RSA", *bits),
        PublicKeyKind::MlDsa(set) => {
            let bits = u32::try_from(8 * set.public_key_bytes()).unwrap_or(u32::MAX);
            (set.name(), bits)
        }
        _ => ("other", 0),
    }
}
