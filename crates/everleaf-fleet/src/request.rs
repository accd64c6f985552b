//! Requests without a certificate: where they stand, and what holds them.

use crate::holding::Kind;
use crate::text;
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_api::meta;
use everleaf_controllers::why::{Evidence, diagnose_object};
use everleaf_pki::VerifiedRequest;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// So many requests are explained: each costs what `everleaf why` costs, which looks at all others.
pub const EXPLAINED_MAX: usize = 10;
const NODE_PREFIX: &str = "system:node:";
const BOOTSTRAP_PREFIX: &str = "system:bootstrap:";

/// Where a request without a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has decided yet.
    Pending,
    /// It is approved, and not signed yet.
    Approved,
    /// It is denied, for good.
    Denied,
    /// Its signer has refused it, for good.
    Failed,
}

impl State {
    /// Of a request that has no certificate; `None`: it has one.
    pub(crate) fn of(csr: Csr<'_>) -> Option<Self> {
        if csr.has_condition(DENIED) {
            Some(Self::Denied)
        } else if csr.is_issued() {
            None
        } else if csr.has_condition(FAILED) {
            Some(Self::Failed)
        } else if csr.has_condition(APPROVED) {
            Some(Self::Approved)
        } else {
            Some(Self::Pending)
        }
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// Whether somebody may still issue a certificate for it.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }
}

/// What holds a request, as `everleaf why` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Its name in the catalogue of faults (docs/troubleshoot.md).
    pub fault: String,
    /// It in one line.
    pub title: String,
    /// What to do.
    pub remedy: String,
    /// It as commands.
    pub commands: Vec<String>,
}

/// A request that has no certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its name.
    pub name: String,
    /// `spec.signerName`
    pub signer: String,
    /// Who filed it.
    pub requestor: String,
    /// The node that it is for, where it is for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it was filed.
    #[serde(
        serialize_with = "text::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub filed: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// What its Denied or Failed condition says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Whether it was looked for what holds it: for [`EXPLAINED_MAX`] of all.
    pub is_explained: bool,
    /// What holds it, if that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

impl Request {
    pub(crate) fn of(object: &Value, state: State, node: Option<String>) -> Self {
        let csr = Csr(object);
        let kind = match state {
            State::Denied => DENIED,
            _ => FAILED,
        };
        let mut conditions = csr.conditions().into_iter();
        let told = conditions.find(|condition| condition.kind == kind);
        let said = told.map(|told| match told.message.is_empty() {
            true => told.reason,
            false => format!("{}: {}", told.reason, told.message),
        });
        Self {
            name: csr.name().to_owned(),
            signer: csr.signer_name().to_owned(),
            requestor: csr.username().to_owned(),
            node,
            filed: meta::creation_timestamp(object),
            state,
            said,
            is_explained: false,
            hold: None,
        }
    }

    /// Why it has no certificate, in the shortest words that are known.
    pub fn why(&self) -> String {
        match (&self.hold, &self.said) {
            (Some(hold), _) => format!("{}: {}", hold.fault, hold.title),
            (None, Some(said)) => said.clone(),
            (None, None) if self.is_explained => "nothing holds it, as far as is seen".to_owned(),
            (None, None) => format!("see everleaf why csr/{}", self.name),
        }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::of_signer(&self.signer)
    }
}

/// The requests whose hold is looked for: the oldest of each kind, then the oldest of all. Ask
/// [`everleaf_controllers::why::questions`] of them, and fill the answers into the evidence.
pub fn to_explain(evidence: &Evidence) -> Vec<&Value> {
    let all = evidence.requests.read().into_iter().flatten();
    let mut open: Vec<(State, &Value)> = all
        .filter_map(|object| Some((State::of(Csr(object))?, object)))
        .collect();
    open.sort_by_key(|(state, object)| {
        let csr = Csr(object);
        (
            !state.is_open(),
            meta::creation_timestamp(object),
            csr.name(),
        )
    });
    let mut kinds = BTreeSet::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for (state, object) in open {
        let csr = Csr(object);
        let by_token = csr.username().starts_with(BOOTSTRAP_PREFIX);
        match kinds.insert((state, csr.signer_name(), by_token)) {
            true => first.push(object),
            false => rest.push(object),
        }
    }
    first.extend(rest);
    first.truncate(EXPLAINED_MAX);
    first
}

/// What holds each of the requests that are explained, by name.
pub(crate) fn holds(evidence: &Evidence) -> BTreeMap<String, Option<Hold>> {
    let explained = to_explain(evidence).into_iter();
    let holds = explained.map(|object| {
        let found = diagnose_object(object, evidence)
            .findings
            .into_iter()
            .next();
        let hold = found.map(|finding| Hold {
            fault: finding.fault.to_string(),
            title: finding.title.to_owned(),
            remedy: finding.remedy.to_owned(),
            commands: finding.commands,
        });
        (meta::name(object).to_owned(), hold)
    });
    holds.collect()
}

/// The node that a request is for: its requestor, or whom it names when a token filed it.
pub(crate) fn node_of(csr: Csr<'_>) -> Option<String> {
    if let Some(node) = csr.username().strip_prefix(NODE_PREFIX) {
        return Some(node.to_owned());
    }
    Kind::of_signer(csr.signer_name())?;
    let request = VerifiedRequest::from_pem(&csr.request()).ok()?;
    node_of_subject(&request.subject().common_name)
}

/// The node that a certificate names.
pub(crate) fn node_of_subject(common_name: &str) -> Option<String> {
    common_name.strip_prefix(NODE_PREFIX).map(str::to_owned)
}
