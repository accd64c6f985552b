//! Requests that wait for an approver.

use super::control_plane::{self, Role};
use super::evidence::{Known, Question};
use super::request::{Case, Found};
use super::{Fault, Finding, Row, csr_age, serving, span};
use crate::approver::{self, Action, Leave, Mismatch, Review, Verdict};
use crate::breaker::EARLY_RENEWALS_DEFAULT;
use crate::builtin::BuiltinSigner;
use crate::serving::names::quote;
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_pki::RequestError;
use everleaf_pki::signer::NotNodeClient;
use jiff::SignedDuration;

/// Prefix of the roles that let nodes have certificates; the permission follows.
const ROLE_PREFIX: &str = "system:certificates.k8s.io:certificatesigningrequests:";

pub(super) fn judge(case: &Case<'_>) -> Found {
    let csr = case.csr();
    if let Some(at) = meta::deletion_timestamp(csr.0) {
        let finalizers: Vec<&str> = meta::finalizers(csr.0).collect();
        let line = format!("deleted at {at}; finalizers: {}", finalizers.join(", "));
        return Found::of([case.found(Fault::BeingDeleted, [line])]);
    }
    let Ok(signer) = BuiltinSigner::parse(csr.signer_name()) else {
        return Found::of([of_others(case)]);
    };
    // The serving rules say what is wrong with a request in their own words.
    if signer != BuiltinSigner::KubeletServing
        && let Err(error) = case.request.request()
    {
        let fault = match error {
            RequestError::WrongSignature => Fault::RequestSignature,
            RequestError::Key(_) => Fault::ClientKey,
            _ => Fault::RequestUnreadable,
        };
        return Found::of([case.found(fault, [error.to_string()])]);
    }
    match signer {
        BuiltinSigner::KubeApiserverClientKubelet => client(case),
        BuiltinSigner::KubeletServing => serving::judge(case),
        BuiltinSigner::KubeApiserverClient => Found::of([case.found(Fault::ManualApproval, [])]),
        BuiltinSigner::LegacyUnknown => Found::of([case.found(Fault::SignerLegacy, [])]),
    }
}

/// A request for a signer that is not built in.
pub(super) fn of_others(case: &Case<'_>) -> Finding {
    let name = case.csr().signer_name();
    let line = format!("spec.signerName is {}", quote(name));
    if !name.starts_with("kubernetes.io/") {
        return case.found(Fault::SignerForeign, [line]);
    }
    let request = case.request.request().ok();
    let is_of_node = request.is_some_and(|request| {
        let subject = request.subject();
        subject
            .organizations
            .iter()
            .any(|one| one == "system:nodes")
    });
    let meant = if case.csr().usages().iter().any(|one| one == "server auth") {
        BuiltinSigner::KubeletServing
    } else if is_of_node {
        BuiltinSigner::KubeApiserverClientKubelet
    } else {
        BuiltinSigner::KubeApiserverClient
    };
    let meant = format!("by usages and subject, {} is meant", meant.name());
    case.found(Fault::SignerMisspelt, [line, meant])
}

fn client(case: &Case<'_>) -> Found {
    let mut reviews = Vec::new();
    for permission in ["selfnodeclient", "nodeclient"] {
        if let Some(allowed) = case
            .evidence
            .may(&Question::of_requestor(case.csr(), permission))
        {
            reviews.push(Review {
                permission: permission.to_owned(),
                allowed,
            });
        }
    }
    let facts = approver::Facts {
        hold: None,
        reviews: &reviews,
    };
    let decision = approver::decide(&case.request, &facts, &approver::Policy::default());
    let mut findings = Vec::new();
    match &decision.action {
        Action::Approve { .. } | Action::Hold(_) | Action::Review { .. } => {
            if let Some(line) = looped(case) {
                findings.push(case.found(Fault::RotationLoop, [line]));
            } else {
                findings.extend(control_plane::blockers(case, Role::Approver));
            }
        }
        Action::Leave(Leave::NotPermitted) => findings.extend(not_permitted(case)),
        Action::Leave(Leave::WeakKey(why)) => {
            findings.push(case.found(Fault::ClientKey, [why.clone()]));
        }
        Action::Leave(Leave::Unrecognized(Some(mismatch))) => {
            findings.push(unrecognized(case, mismatch));
        }
        // Looked at before.
        Action::Leave(Leave::Decided | Leave::Unreadable(_) | Leave::Unrecognized(None)) => {}
    }
    let is_fit = !matches!(decision.action, Action::Leave(Leave::Unrecognized(_)));
    if is_fit && let Some(finding) = old_usages(case) {
        findings.insert(0, finding);
    }
    findings.extend(token_ended(case));
    let has_cause = |finding: &Finding| finding.fault != Fault::ApproverSilent;
    if findings.iter().any(has_cause) {
        findings.retain(has_cause);
    }
    Found {
        findings,
        trace: decision.trace.iter().map(row).collect(),
    }
}

/// What shows that the loop breaker may hold it: an Event about this request, or that its requestor
/// has had so many certificates in so short a time. People hear of a node once, not of each
/// request.
fn looped(case: &Case<'_>) -> Option<String> {
    const RECENT: SignedDuration = SignedDuration::from_mins(30);
    if let Some(event) = case.event(&["RotationLoopSuspected"]) {
        return Some(event.line());
    }
    let csr = case.csr();
    let requests = case.evidence.requests.read().into_iter().flatten().map(Csr);
    let recent = requests.filter(|other| {
        other.is_issued()
            && (other.signer_name(), other.username()) == (csr.signer_name(), csr.username())
            && csr_age(*other, case.evidence.now) < RECENT
    });
    let count = recent.count();
    (count >= EARLY_RENEWALS_DEFAULT).then(|| {
        format!(
            "{} has had {count} certificates of {} within {}",
            quote(csr.username()),
            csr.signer_name(),
            span(RECENT.unsigned_abs())
        )
    })
}

fn row(tried: &approver::Tried) -> Row {
    let (finding, why) = match &tried.verdict {
        Verdict::Approved => ("passed", String::new()),
        Verdict::Held(_) => ("waits", "its subject renews in a loop".to_owned()),
        Verdict::Mismatched(mismatch) => ("not for us", mismatch.to_string()),
        Verdict::NotPermitted => ("violated", "the requestor may not have it".to_owned()),
        Verdict::Unreviewed => ("to be asked", String::new()),
    };
    Row {
        rule: tried.rule.clone(),
        finding,
        why,
    }
}

fn unrecognized(case: &Case<'_>, mismatch: &Mismatch) -> Finding {
    let Mismatch::NotNodeClient(why) = mismatch else {
        // The last recognizer does not ask who files it.
        return case.found(Fault::OtherNode, [mismatch.to_string()]);
    };
    let request = case.request.request().ok();
    let subject = request.map(|request| request.subject());
    let (fault, shown) = match why {
        NotNodeClient::Organization => {
            let organizations = subject.map(|subject| subject.organizations.clone());
            let organizations = organizations.unwrap_or_default();
            let organizations: Vec<String> = organizations.iter().map(|one| quote(one)).collect();
            let shown = match organizations.is_empty() {
                true => "the subject has no O".to_owned(),
                false => format!("O is {}", organizations.join(", ")),
            };
            (Fault::ClientOrganization, shown)
        }
        NotNodeClient::CommonName => {
            let name = subject.map_or("", |subject| &subject.common_name);
            (Fault::ClientCommonName, format!("CN is {}", quote(name)))
        }
        NotNodeClient::AltNames => (Fault::ClientAltNames, why.to_string()),
        NotNodeClient::Usages | NotNodeClient::KeyUsages => {
            let usages = case.csr().usages().join(", ");
            (Fault::ClientUsages, format!("the usages are {usages}"))
        }
        NotNodeClient::NodeName => {
            let name = subject.map_or("", |subject| &subject.common_name);
            (Fault::ClientNodeName, format!("CN is {}", quote(name)))
        }
        NotNodeClient::UnusualSubject => (Fault::ClientSubject, why.to_string()),
        NotNodeClient::Key => (Fault::ClientKey, why.to_string()),
        NotNodeClient::Signer => (Fault::SignerForeign, why.to_string()),
    };
    case.found(fault, [shown])
}

/// Recognized, and no right: whose is missing, and why.
fn not_permitted(case: &Case<'_>) -> Vec<Finding> {
    let csr = case.csr();
    let subject = case.request.request().ok().map(|request| request.subject());
    let is_own = subject.is_some_and(|subject| subject.common_name == csr.username());
    let permission = if is_own {
        "selfnodeclient"
    } else {
        "nodeclient"
    };
    let refused = format!(
        "authorization says that {} may not create certificatesigningrequests/{permission}; its groups are {}",
        quote(csr.username()),
        csr.groups()
            .iter()
            .map(|group| quote(group))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let mut findings = Vec::new();
    let role = format!("{ROLE_PREFIX}{permission}");
    if let Known::Read(roles) = &case.evidence.roles
        && !roles.contains(&role)
    {
        let mut context = case.context.clone();
        context.set("permission", permission);
        let line = format!("there is no ClusterRole {role}");
        findings.push(context.found(Fault::RoleMissing, vec![line]));
    }
    let fault = if csr.username() == "system:anonymous" {
        Fault::AnonymousRequestor
    } else if is_own {
        Fault::RenewalPermission
    } else if csr.username().starts_with("system:node:") {
        Fault::OtherNode
    } else {
        return bootstrap(case, &role, refused, findings);
    };
    findings.push(case.found(fault, [refused]));
    findings
}

fn bootstrap(
    case: &Case<'_>,
    role: &str,
    refused: String,
    mut findings: Vec<Finding>,
) -> Vec<Finding> {
    let bindings = case.evidence.bindings.read().into_iter().flatten();
    let of_role = bindings.filter(|binding| binding["roleRef"]["name"] == role);
    let bound: Vec<String> = of_role
        .flat_map(|binding| {
            let name = meta::name(binding);
            let subjects = super::items(binding, "/subjects");
            subjects.map(move |subject| {
                let text = |member: &str| subject[member].as_str().unwrap_or_default();
                format!(
                    "ClusterRoleBinding {name} grants it to {} {}",
                    text("kind"),
                    quote(text("name"))
                )
            })
        })
        .take(4)
        .collect();
    let fault = match bound.is_empty() {
        true => Fault::BootstrapPermission,
        false => Fault::BootstrapGroup,
    };
    let mut shown = vec![refused];
    shown.extend(bound);
    findings.push(case.found(fault, shown));
    findings
}

/// Controllers that know only the longer set of usages.
pub(super) fn old_usages(case: &Case<'_>) -> Option<Finding> {
    const SHORT_SET_SINCE: u32 = 27;
    let usages = case.csr().usages();
    if usages.iter().any(|usage| usage == "key encipherment") || case.evidence.is_everleaf() {
        return None;
    }
    let managers = case.evidence.managers();
    let old = managers.iter().find_map(|manager| {
        let minor = manager.minor()?;
        (minor < SHORT_SET_SINCE).then(|| format!("{} is of Kubernetes 1.{minor}", manager.name))
    });
    let by_server = || {
        let minor = case.evidence.minor()?;
        (managers.is_empty() && minor < SHORT_SET_SINCE)
            .then(|| format!("the API server is of Kubernetes 1.{minor}"))
    };
    let line = old.or_else(by_server)?;
    let asked = format!(
        "the usages are {}, without key encipherment",
        usages.join(", ")
    );
    Some(case.found(Fault::OldUsages, [line, asked]))
}

/// Whoever joins by a token comes back with it for the certificate.
fn token_ended(case: &Case<'_>) -> Option<Finding> {
    let id = case.csr().username().strip_prefix("system:bootstrap:")?;
    let line = match case.evidence.tokens.read()?.get(id) {
        None => format!("there is no Secret kube-system/bootstrap-token-{id}"),
        Some(Some(end)) if *end <= case.evidence.now => {
            format!("the token {id} ended at {end}")
        }
        Some(_) => return None,
    };
    Some(case.found(Fault::TokenEnded, [line]))
}
