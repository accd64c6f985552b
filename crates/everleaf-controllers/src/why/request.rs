//! One request: where it stands, and what holds it there.

use super::control_plane::{self, Role};
use super::evidence::{Event, Evidence, Known, Question};
use super::filing::{self, DELETE};
use super::{
    Context, Diagnosis, Fault, Finding, Row, clock_here, csr_age, issued, pending, serving, since,
    span,
};
use crate::builtin::BuiltinSigner;
use crate::index::{OpenRequest, holds};
use crate::serving::names::quote;
use crate::signer::{self, Failure};
use everleaf_api::csr::{APPROVED, Condition, Csr, DENIED, FAILED};
use everleaf_api::meta;
use everleaf_pki::signer::PolicyFailure;
use everleaf_pki::{PublicKey, SignerName};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A request younger than this has not been left lying by anybody.
const YOUNG: SignedDuration = SignedDuration::from_secs(30);

/// A request, with everything that was seen around it.
pub(super) struct Case<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) request: OpenRequest,
    pub(super) context: Context,
}

/// What came of looking at a request.
#[derive(Default)]
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) trace: Vec<Row>,
}

impl Found {
    pub(super) fn of(findings: impl IntoIterator<Item = Finding>) -> Self {
        Self {
            findings: findings.into_iter().collect(),
            trace: Vec::new(),
        }
    }
}

impl<'a> Case<'a> {
    pub(super) fn new(evidence: &'a Evidence, object: &Value) -> Self {
        let request = OpenRequest::new(object.clone());
        let node = node_of(&request).to_owned();
        let context = evidence.context(Some(request.csr()), &node);
        Self {
            evidence,
            request,
            context,
        }
    }

    pub(super) fn csr(&self) -> Csr<'_> {
        self.request.csr()
    }

    pub(super) fn found(&self, fault: Fault, evidence: impl Into<Vec<String>>) -> Finding {
        self.context.found(fault, evidence.into())
    }

    /// Since when it waits for whose turn it is.
    pub(super) fn waits_since(&self) -> Option<Timestamp> {
        let csr = self.csr();
        let approved = condition(csr, APPROVED).and_then(|approved| approved.last_update_time);
        approved.or_else(|| meta::creation_timestamp(csr.0))
    }

    /// Whether somebody should have worked on it by now.
    pub(super) fn is_late(&self) -> bool {
        since(self.waits_since(), self.evidence.now) >= YOUNG
    }

    /// The Event of this request with one of these reasons.
    pub(super) fn event(&self, reasons: &[&str]) -> Option<Event<'_>> {
        let event = self.evidence.event(reasons)?;
        let about = &event.0["involvedObject"];
        (about["name"] == self.csr().name()).then_some(event)
    }
}

/// Name of the node that a request is about: its subject's, or else its requestor's.
fn node_of(request: &OpenRequest) -> &str {
    let subject = request.request().ok();
    let subject =
        subject.and_then(|request| request.subject().common_name.strip_prefix("system:node:"));
    let requestor = request.csr().username().strip_prefix("system:node:");
    subject.or(requestor).unwrap_or_default()
}

/// What authorization has to be asked before a request can be judged.
pub fn questions(evidence: &Evidence, object: &Value) -> Vec<Question> {
    let csr = Csr(object);
    let Ok(signer) = BuiltinSigner::parse(csr.signer_name()) else {
        return Vec::new();
    };
    let account = |verb| {
        move |user| Question::Account {
            user,
            verb,
            signer: signer.name().to_owned(),
        }
    };
    if csr.is_issued() || csr.has_condition(DENIED) || csr.has_condition(FAILED) {
        return Vec::new();
    }
    let accounts = evidence.accounts().into_iter();
    if csr.has_condition(APPROVED) {
        return accounts.map(account("sign")).collect();
    }
    let mut questions: Vec<Question> = match signer {
        BuiltinSigner::KubeApiserverClientKubelet => ["selfnodeclient", "nodeclient"]
            .map(|permission| Question::of_requestor(csr, permission))
            .into(),
        BuiltinSigner::KubeletServing => {
            vec![Question::of_requestor(csr, crate::serving::PERMISSION)]
        }
        _ => return Vec::new(),
    };
    questions.extend(accounts.map(account("approve")));
    questions
}

/// Says where the request `name` stands, and what holds it.
pub fn diagnose_request(name: &str, evidence: &Evidence) -> Diagnosis {
    let subject = format!("csr/{name}");
    match evidence.request.read() {
        Some(object) => diagnose_object(object, evidence),
        None => without_request(name, subject, evidence),
    }
}

/// The same of a request that was read with the others.
pub fn diagnose_object(object: &Value, evidence: &Evidence) -> Diagnosis {
    let subject = format!("csr/{}", meta::name(object));
    let case = Case::new(evidence, object);
    let Found {
        mut findings,
        trace,
    } = judge(&case);
    let summary = summary(&case, &findings);
    findings.extend(clock_here(evidence, &case.context));
    Diagnosis {
        subject,
        standing: case.csr().condition_text(),
        facts: facts(&case),
        summary,
        is_certain: is_certain(&findings, evidence) || case.csr().is_issued(),
        findings,
        trace,
        unseen: evidence.unseen(),
    }
}

/// Whether nothing was found because nothing is there, not because it could not be seen.
pub(super) fn is_certain(findings: &[Finding], evidence: &Evidence) -> bool {
    let first = findings.first().map(|finding| finding.fault);
    first.map_or(evidence.unseen().is_empty(), |fault| {
        fault != Fault::ControllersUnseen
    })
}

fn without_request(name: &str, subject: String, evidence: &Evidence) -> Diagnosis {
    let mut context = evidence.context(None, "");
    context.set("csr", name);
    let mut shown = Vec::new();
    if evidence.request.is_absent() {
        shown.push(format!(
            "the API server has no CertificateSigningRequest {}",
            quote(name)
        ));
        let events = evidence.events.read().into_iter().flatten().map(Event);
        shown.extend(events.map(|event| event.line()).take(3));
    }
    let findings = match &evidence.request {
        Known::Absent => {
            let mut gone = context.found(Fault::RequestGone, shown);
            // Nothing tells which node it was.
            gone.commands
                .retain(|command| !command.starts_with("everleaf why"));
            vec![gone]
        }
        _ => Vec::new(),
    };
    let summary = findings.first().map_or_else(
        || "The request could not be read.".to_owned(),
        |finding: &Finding| format!("{}.", finding.title),
    );
    Diagnosis {
        subject,
        standing: "Unknown".to_owned(),
        facts: Vec::new(),
        summary,
        is_certain: !findings.is_empty(),
        findings,
        trace: Vec::new(),
        unseen: evidence.unseen(),
    }
}

/// What is wrong with a request that is there.
pub(super) fn judge(case: &Case<'_>) -> Found {
    let csr = case.csr();
    if let Some(denied) = condition(csr, DENIED) {
        return denied_by(case, &denied);
    }
    if let Some(failed) = csr
        .conditions()
        .iter()
        .find(|one| one.kind == FAILED && holds(one))
    {
        return Found::of([failed_by(case, failed)]);
    }
    if csr.is_issued() {
        return Found::of(issued::judge(case, &csr.certificate()));
    }
    match csr.has_condition(APPROVED) {
        true => approved(case),
        false => pending::judge(case),
    }
}

fn condition(csr: Csr<'_>, kind: &str) -> Option<Condition> {
    csr.conditions().into_iter().find(|one| one.kind == kind)
}

fn condition_line(condition: &Condition) -> String {
    let at = condition
        .last_update_time
        .map_or(String::new(), |at| format!(" at {at}"));
    format!(
        "condition {}{at}, reason {}: {}",
        condition.kind, condition.reason, condition.message
    )
}

/// Who wrote the condition, as far as the object says.
fn writer(csr: Csr<'_>) -> Option<String> {
    let entries = super::items(csr.0, "/metadata/managedFields");
    let is_of_conditions =
        |entry: &&Value| entry["fieldsV1"]["f:status"]["f:conditions"].is_object();
    let entry = entries.filter(is_of_conditions).last()?;
    Some(format!("written by {}", entry["manager"].as_str()?))
}

fn denied_by(case: &Case<'_>, denied: &Condition) -> Found {
    let mut shown = vec![condition_line(denied)];
    shown.extend(writer(case.csr()));
    let by_policy = [
        crate::serving::DENIED_REASON,
        crate::serving::SUPERSEDED_REASON,
    ];
    let rule = by_policy
        .contains(&denied.reason.as_str())
        .then(|| serving::rule_of(&denied.message))
        .flatten();
    let fault = match rule {
        Some(rule) => serving::fault_of(rule, &denied.message).unwrap_or(Fault::DeniedByHand),
        None => Fault::DeniedByHand,
    };
    let mut finding = case.found(fault, shown);
    if fault != Fault::DeniedByHand {
        // No decision takes a denial back.
        finding.evidence.push(
            "a denial is final: it does not settle by itself any more, another request has to be filed"
                .to_owned(),
        );
        finding
            .commands
            .retain(|command| !command.starts_with("kubectl certificate "));
        if !fault.entry().commands.contains(&DELETE) {
            let anew = case.context.commands(fault, filing::correction(fault));
            finding.commands.extend(anew);
        }
    }
    let mut findings = vec![finding];
    if let Some(approved) = condition(case.csr(), APPROVED) {
        let both = vec![condition_line(&approved), condition_line(denied)];
        findings.insert(0, case.found(Fault::DeniedAndApproved, both));
    }
    Found::of(findings)
}

fn failed_by(case: &Case<'_>, failed: &Condition) -> Finding {
    let ours = BuiltinSigner::parse(case.csr().signer_name())
        .ok()
        .and_then(|signer| signer::failure(&case.request, signer));
    let fault = match (&ours, failed.reason.as_str()) {
        (Some(failure), _) => fault_of_failure(failure),
        (None, "UnsupportedKey") => Fault::FailedKey,
        (None, "UnknownUsage") => Fault::FailedUnknownUsages,
        (None, "RequestUnparseable") => Fault::FailedUnreadable,
        (None, "PolicyViolation") => Fault::FailedLint,
        (None, "SignerValidationFailure") if failed.message.starts_with("usages did not match") => {
            Fault::OldUsages
        }
        _ => Fault::FailedByOther,
    };
    let mut shown = vec![condition_line(failed)];
    shown.extend(writer(case.csr()));
    case.found(fault, shown)
}

fn fault_of_failure(failure: &Failure) -> Fault {
    match failure {
        Failure::Policy(policy) => match policy {
            PolicyFailure::AltNames(_) => Fault::FailedAltNames,
            PolicyFailure::CommonName => Fault::FailedCommonName,
            PolicyFailure::InvalidUsage(_) | PolicyFailure::MissingUsage(_) => {
                Fault::FailedClientUsages
            }
            PolicyFailure::NoAltName => Fault::FailedNoAltName,
            PolicyFailure::Organization => Fault::FailedOrganization,
            PolicyFailure::KeyUsages(_) | PolicyFailure::Usages { .. } => Fault::FailedUsages,
            PolicyFailure::UnknownSigner(_) => Fault::FailedByOther,
        },
        Failure::Unparseable(_) => Fault::FailedUnreadable,
        Failure::UnknownUsages(_) => Fault::FailedUnknownUsages,
        Failure::Issuance { reason, .. } => match *reason {
            "UnsupportedKey" => Fault::FailedKey,
            "UnknownUsage" => Fault::FailedUnknownUsages,
            "PolicyViolation" => Fault::FailedLint,
            _ => Fault::FailedByOther,
        },
    }
}

fn approved(case: &Case<'_>) -> Found {
    let csr = case.csr();
    let Ok(signer) = BuiltinSigner::parse(csr.signer_name()) else {
        return Found::of([pending::of_others(case)]);
    };
    let failure = signer::failure(&case.request, signer);
    let trace = vec![Row {
        rule: "signer".to_owned(),
        finding: if failure.is_none() {
            "would sign"
        } else {
            "would fail"
        },
        why: failure
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }];
    let mut findings = Vec::new();
    let of_log = ["IssuanceLogUnavailable"];
    if let Some(event) = case.evidence.event(&of_log)
        && event.at() >= case.waits_since()
    {
        findings.push(case.found(Fault::LogUnwritable, [event.line()]));
    }
    // A CA that could not be put in the place of another leaves that one signing: no cause.
    let of_ca = ["SignerCAExpired", "SigningFailed"];
    if let Some(event) = case
        .evidence
        .event(&of_ca)
        .filter(|event| concerns(event, csr))
    {
        let mut shown = vec![event.line()];
        // Why the one that was to take its place did not.
        let refused = case.evidence.event(&["CAReloadFailed"]);
        shown.extend(
            refused
                .filter(|refused| concerns(refused, csr))
                .map(|refused| refused.line()),
        );
        findings.push(case.found(fault_of_ca(&event), shown));
    }
    if signer != BuiltinSigner::KubeletServing {
        findings.extend(issued::authority_out_of_force(case));
    }
    match &failure {
        Some(Failure::UnknownUsages(why)) => {
            findings.push(case.found(Fault::UsagesNobodyKnows, [why.to_string()]));
        }
        Some(failure) => {
            let line = format!("it would end as Failed: {failure}");
            findings.push(case.found(fault_of_failure(failure), [line]));
        }
        None => {}
    }
    findings.extend(control_plane::blockers(case, Role::Signer));
    // The same CA may show in two ways.
    let mut seen = Vec::new();
    findings.retain(|finding| {
        let is_new = !seen.contains(&finding.fault);
        seen.push(finding.fault);
        is_new
    });
    if findings.len() > 1 {
        findings.retain(|finding| finding.fault != Fault::SignerSilent);
    }
    Found { findings, trace }
}

/// Whether an Event is about the request, or about the CA of its signer.
fn concerns(event: &Event<'_>, csr: Csr<'_>) -> bool {
    event.0["involvedObject"]["name"] == csr.name() || event.message().contains(csr.signer_name())
}

fn fault_of_ca(event: &Event<'_>) -> Fault {
    let message = event.message();
    if event.reason() == "SignerCAExpired" || message.contains("expired") {
        Fault::CaEnded
    } else if message.contains("not valid before") || message.contains("begin") {
        Fault::CaNotBegun
    } else {
        Fault::CaUnusable
    }
}

fn summary(case: &Case<'_>, findings: &[Finding]) -> String {
    let csr = case.csr();
    if let Some(first) = findings.first() {
        return format!("{}.", first.title);
    }
    if csr.is_issued() {
        return "It is issued; nothing is wrong with it.".to_owned();
    }
    if !case.is_late() {
        let since = span(since(case.waits_since(), case.evidence.now).unsigned_abs());
        let what = match csr.has_condition(APPROVED) {
            true => "approved",
            false => "filed",
        };
        return format!(
            "It was {what} {since} ago: nothing is wrong so far. Ask again in a minute."
        );
    }
    match case.evidence.unseen().is_empty() {
        true => "Nothing was found that holds it.".to_owned(),
        false => "Nothing was found in what can be seen of it.".to_owned(),
    }
}

/// Kind and strength of the key, where it is one that can be signed.
fn key_line(key: &PublicKey) -> Option<String> {
    let kind = key.algorithm().ok()?;
    Some(format!("key {}", kind.with_strength()))
}

fn facts(case: &Case<'_>) -> Vec<String> {
    const SHOWN_MAX: usize = 6;
    let csr = case.csr();
    let mut facts = vec![format!(
        "{}, filed by {} {} ago",
        csr.signer_name(),
        csr.username(),
        span(csr_age(csr, case.evidence.now).unsigned_abs())
    )];
    if let Ok(request) = case.request.request() {
        facts.push(format!("for {}", request.subject().common_name));
        facts.extend(key_line(request.public_key()));
        let names = request.dns_names().iter().map(|name| quote(name));
        let addresses = request.ip_addresses().iter().map(ToString::to_string);
        let mut asked: Vec<String> = names.chain(addresses).collect();
        let more = asked.len().saturating_sub(SHOWN_MAX);
        asked.truncate(SHOWN_MAX);
        if more > 0 {
            asked.push(format!("and {more} more"));
        }
        if !asked.is_empty() {
            facts.push(format!("names {}", asked.join(", ")));
        }
    }
    if csr.signer_name() == SignerName::KUBELET_SERVING && !csr.has_condition(APPROVED) {
        facts.push(serving::policy_line(case));
    }
    facts.extend(issued::replaced(case));
    facts
}
