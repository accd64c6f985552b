//! Why a request waits, or a node has no certificate.
//!
//! [`diagnose_request`] and [`diagnose_node`] are functions of [`Evidence`]: what the API said
//! about a cluster. They ask the controllers' own rules what they would decide
//! ([`crate::approver`], [`crate::serving`], [`crate::signer`]), hold it against what was decided,
//! and name what stands between in terms of the catalogue ([`Fault`]). No I/O; nothing here decides
//! about a certificate.

mod catalogue;
pub(crate) mod control_plane;
pub(crate) mod evidence;
mod fault;
mod filing;
pub(crate) mod issued;
pub(crate) mod node;
mod pending;
mod request;
mod serving;
#[cfg(test)]
pub(crate) mod tests;

use crate::skew::SKEW_TOLERATED;
use everleaf_api::csr::Csr;
use everleaf_api::duration::span;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub use catalogue::Fault;
pub use evidence::{Evidence, Known, Leader, Question};
pub use fault::{Entry, Place};
pub use node::{diagnose_node, requests_in_question};
pub use request::{diagnose_object, diagnose_request, questions};

/// Everything that was found about a request or a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// `csr/NAME` or `node/NAME`.
    pub subject: String,
    /// Where it stands, in kubectl's words: `Pending`, `Approved,Issued`, `Ready`, …
    pub standing: String,
    /// Facts about it, one per line.
    pub facts: Vec<String>,
    /// In one line, what it comes to.
    pub summary: String,
    /// Whether enough was seen to say so.
    pub is_certain: bool,
    /// What is wrong, the most important first.
    pub findings: Vec<Finding>,
    /// What each rule of the controllers said.
    pub trace: Vec<Row>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// One fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its name in the catalogue.
    #[serde(serialize_with = "name_of")]
    pub fault: Fault,
    /// The request that it is about, when a node is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// What is wrong.
    pub title: &'static str,
    /// Why it is so.
    pub cause: &'static str,
    /// What shows it.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: &'static str,
    /// It as commands to paste.
    pub commands: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn name_of<S: serde::Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fault)
}

/// A rule of the controllers, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub rule: String,
    /// What it found, in a word or two.
    pub finding: &'static str,
    /// Why.
    pub why: String,
}

/// What commands are filled in with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    names: BTreeMap<&'static str, String>,
    /// Who filed the request; empty: nobody knows.
    filer: String,
    /// Everleaf's API server has no pods, logs, Services or webhooks.
    is_everleaf: bool,
}

impl Context {
    /// Without names, for such a server.
    pub(crate) fn on(is_everleaf: bool) -> Self {
        Self {
            is_everleaf,
            ..Self::default()
        }
    }

    /// A name that a shell would not take as one word is left out: nobody should run a command that
    /// a stranger has put together.
    pub(crate) fn set(&mut self, key: &'static str, value: &str) {
        let is_harmless =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-' | '@');
        if !value.is_empty() && !value.starts_with('-') && value.chars().all(is_harmless) {
            self.names.insert(key, value.to_owned());
        }
    }

    /// What was set, if it is harmless.
    pub(crate) fn name(&self, key: &str) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }

    pub(crate) fn fill(&self, command: &str) -> String {
        const NAMES: [&str; 14] = [
            "account",
            "csr",
            "dir",
            "file",
            "group",
            "host",
            "lease",
            "namespace",
            "node",
            "permission",
            "pod",
            "requestor",
            "signer",
            "token",
        ];
        let mut filled = command.to_owned();
        for name in NAMES {
            let value = self.names.get(name).cloned();
            let value = value.unwrap_or_else(|| name.to_uppercase());
            filled = filled.replace(&format!("{{{name}}}"), &value);
        }
        filled
    }

    /// Whether this server can answer such a command.
    pub(crate) fn is_answered(&self, command: &str) -> bool {
        const NOT_ON_EVERLEAF: [&str; 4] = [" logs ", " pod", "webhookconf", " services "];
        !(self.is_everleaf && NOT_ON_EVERLEAF.iter().any(|part| command.contains(part)))
    }

    /// The commands of a fault, filled in; those that this server cannot answer are left out.
    fn commands(&self, fault: Fault, commands: &[&'static str]) -> Vec<String> {
        let texts = filing::completed(fault, &self.filer, commands).into_iter();
        let texts = texts.filter(|text| self.is_answered(text));
        texts.map(|text| self.fill(text)).collect()
    }

    /// The fault, with what shows it.
    fn found(&self, fault: Fault, evidence: Vec<String>) -> Finding {
        let entry = fault.entry();
        Finding {
            fault,
            csr: None,
            title: entry.title,
            cause: entry.cause,
            evidence,
            remedy: entry.remedy,
            commands: self.commands(fault, entry.commands),
        }
    }
}

/// The catalogue as a document in Markdown, by what an operator sees.
pub fn catalogue_document() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Troubleshooting\n\n\
         What can keep a certificate from a node, by what an operator sees. `everleaf why csr/NAME` and\n\
         `everleaf why node/NAME` look for all of it in a cluster, with the reader's own kubeconfig, and name what they\n\
         find as it is named here, with the evidence and the commands filled in. This page is\n\
         `everleaf why --catalogue`; capital letters in commands stand for names.\n",
    );
    for place in Place::ALL {
        let _ = write!(text, "\n## {}\n", place.title());
        for fault in Fault::ALL {
            let entry = fault.entry();
            if entry.place != place {
                continue;
            }
            let _ = write!(
                text,
                "\n### {}\n\n`{}`: {}\n\n{}\n\n```sh\n",
                entry.title, entry.id, entry.cause, entry.remedy
            );
            for command in Context::default().commands(*fault, entry.commands) {
                let _ = writeln!(text, "{command}");
            }
            text.push_str("```\n");
        }
    }
    text
}

fn since(begin: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    begin.map_or(SignedDuration::ZERO, |begin| now.duration_since(begin))
}

fn csr_age(csr: Csr<'_>, now: Timestamp) -> SignedDuration {
    since(everleaf_api::meta::creation_timestamp(csr.0), now)
}

/// Items of a list that may be missing.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// The clocks of this machine and of the API server.
fn clock_here(evidence: &Evidence, context: &Context) -> Option<Finding> {
    let offset = evidence.local.duration_since(evidence.now);
    (offset.abs() > SKEW_TOLERATED).then(|| {
        let side = if offset.is_negative() {
            "behind"
        } else {
            "ahead of"
        };
        let line = format!(
            "this machine says {}, the API server {}: {} {side} it",
            evidence.local,
            evidence.now,
            span(offset.unsigned_abs())
        );
        context.found(Fault::ClockHere, vec![line])
    })
}
