//! Notices into log lines, in operators' words.
//!
//! The words in the lines that people search for are the kubelet's (spec/agent.md 7); every line says
//! which of the two machines it is about. What repeats is told once, then only to those who look
//! closely, until it changes.

use everleaf_rotation::notice::{LeafSummary, StuckReason};
use everleaf_rotation::{Finding, Kind, Notice, Severity};

/// Tells the notices of one machine.
#[derive(Debug)]
pub(crate) struct Teller {
    kind: Kind,
    /// What failed last, without the numbers in it.
    last_failure: Option<String>,
}

/// One line: what to say, and the fields that go with it.
#[derive(Debug, Default)]
struct Line<'a> {
    text: String,
    csr: Option<&'a str>,
    uid: Option<&'a str>,
    leaf: Option<&'a LeafSummary>,
}

impl Teller {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            last_failure: None,
        }
    }

    /// Logs one notice.
    pub(crate) fn tell(&mut self, notice: &Notice) {
        let severity = self.severity(notice);
        let line = words(self.kind, notice);
        let manager = self.kind.as_str();
        let (csr, uid) = (line.csr, line.uid);
        let serial = line.leaf.map(|leaf| leaf.serial.to_string());
        let not_before = line.leaf.map(|leaf| leaf.not_before.to_string());
        let not_after = line.leaf.map(|leaf| leaf.not_after.to_string());
        let (serial, not_before, not_after) = (
            serial.as_deref(),
            not_before.as_deref(),
            not_after.as_deref(),
        );
        let text = line.text;
        match severity {
            Severity::Debug => {
                tracing::debug!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
            Severity::Info => {
                tracing::info!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
            Severity::Warning => {
                tracing::warn!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
            Severity::Error => {
                tracing::error!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
        }
    }

    /// The notice's own, but a failure like the last one is for those who look closely.
    fn severity(&mut self, notice: &Notice) -> Severity {
        match notice {
            Notice::Failed { step, message, .. } => {
                let failure = format!("{}: {}", step.as_str(), without_numbers(message));
                if self.last_failure.as_ref() == Some(&failure) {
                    return Severity::Debug;
                }
                self.last_failure = Some(failure);
            }
            Notice::RequestSubmitted { .. }
            | Notice::Issued { .. }
            | Notice::Installed { .. }
            | Notice::Confirmed { .. } => self.last_failure = None,
            _ => {}
        }
        notice.severity()
    }
}

/// "Still failing" is no change, though a date or a port in the message is another.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn words(kind: Kind, notice: &Notice) -> Line<'_> {
    let plain = |text: String| Line {
        text,
        ..Line::default()
    };
    match notice {
        Notice::AttemptBegan { cause } => {
            plain(format!("Rotating certificates: {}", cause.as_str()))
        }
        Notice::Blocked { block, wait } => plain(match wait {
            Some(wait) => format!("no request is made: {}, for {wait:?}", blocked(kind, *block)),
            None => format!("no request is made: {}", blocked(kind, *block)),
        }),
        Notice::Unblocked { block } => plain(format!("no longer so: {}", blocked(kind, *block))),
        Notice::ClockSkew {
            node,
            server,
            leaf,
            wait,
        } => Line {
            text: format!(
                "clock skew: this node's clock reads {node}, the server's {server}; the certificate is \
                 good by the server's clock and stays in use; the next rotation comes no sooner than in \
                 {wait:?}: set this node's clock"
            ),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::ClockStepped { by, now } => plain(format!(
            "the clock was set (or the machine slept): moved by {by:#}, now {now}; looking at everything \
             again"
        )),
        Notice::Confirmed { leaf } => Line {
            text: "the server accepts the certificate".to_owned(),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::Failed {
            step,
            message,
            failures,
            wait,
            ..
        } => plain(format!(
            "{}: {message}; failure {failures} in a row, next attempt in {wait:?}",
            failed(step.as_str())
        )),
        Notice::Installed { replaced, leaf } => Line {
            text: installed(kind, replaced.is_some(), leaf),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::LeafDiffers { leaf, difference } => Line {
            text: format!("the issued certificate is not quite what was asked: {difference}"),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::LeafRejected { leaf, reason } => Line {
            text: format!("the issued certificate is not installed: {reason}"),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::Loaded { standing, leaf, .. } => Line {
            text: format!("Loading cert/key pair: the certificate in the cert dir is {standing}"),
            leaf: leaf.as_ref(),
            ..Line::default()
        },
        Notice::NotYetValid { leaf, node } => Line {
            text: format!(
                "clock skew: this node's clock reads {node}, before the certificate begins; it stays in \
                 use, the server's clock decides: set this node's clock"
            ),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::Pruned { deleted } => plain(format!("deleted {deleted} old certificate files")),
        Notice::CredentialRefused { credential, times } => plain(format!(
            "the server refuses the {credential} (401), {times} in a row"
        )),
        Notice::Reverted { leaf } => Line {
            text: "went back to the last certificate that the server accepted".to_owned(),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::ShortLifetime { leaf } => Line {
            text: "the lifetime granted is so short that rotation can hardly keep up; let the signer grant \
                   10 minutes or more (--cluster-signing-duration)"
                .to_owned(),
            leaf: Some(leaf),
            ..Line::default()
        },
        Notice::Stuck { reason, leaf, wait } => Line {
            text: format!("{}; trying again in {wait:?}", stuck(*reason)),
            leaf: leaf.as_ref(),
            ..Line::default()
        },
        Notice::StoreRecovered(finding) => plain(recovered(finding)),
        Notice::Waiting { deadline } => plain(match deadline {
            Some(deadline) => format!("rotation deadline {deadline}; waiting for it"),
            None => "waiting".to_owned(),
        }),
        _ => about_request(notice),
    }
}

/// The notices about one request object.
fn about_request(notice: &Notice) -> Line<'_> {
    let (name, text) = match notice {
        Notice::Issued { name, leaf, after } => {
            return Line {
                text: format!("certificate signing request is issued, after {after:#}"),
                csr: Some(name.as_str()),
                leaf: Some(leaf),
                ..Line::default()
            };
        }
        Notice::RequestSubmitted {
            name,
            uid,
            credential,
        } => {
            return Line {
                text: format!("certificate signing request created, authenticated by the {credential}"),
                csr: Some(name.as_str()),
                uid: Some(uid.as_str()),
                ..Line::default()
            };
        }
        Notice::RequestPrepared { name } => (name, "key and request are on disk".to_owned()),
        Notice::RequestResumed { name } => {
            (name, "certificate signing request already exists, reusing".to_owned())
        }
        Notice::RequestDecided {
            name,
            condition,
            reason,
            message,
            wait,
        } => (
            name,
            format!(
                "certificate signing request is {}, reason: {reason:?}, message: {message:?}; a new one \
                 may be made in {wait:?}",
                condition.to_lowercase()
            ),
        ),
        Notice::RequestGone { name } => {
            (name, "certificate signing request was deleted or replaced".to_owned())
        }
        Notice::RequestUndecided { name } => (
            name,
            "certificate request was not signed: timed out waiting; the same request stays pending (is \
             an approver running? kubectl certificate approve)"
                .to_owned(),
        ),
        Notice::PendingDiscarded { name, reason } => {
            (name, format!("the pending request was given up: {reason}"))
        }
        // A notice of a later version: better shown raw than not at all.
        other => {
            return Line {
                text: format!("{other:?}"),
                ..Line::default()
            };
        }
    };
    Line {
        text,
        csr: Some(name.as_str()),
        ..Line::default()
    }
}

fn installed(kind: Kind, is_replacement: bool, leaf: &LeafSummary) -> String {
    let what = match (kind, is_replacement) {
        (Kind::Client, true) => {
            "certificate rotation detected, shutting down client connections to use the new certificate"
        }
        (Kind::Client, false) => "the first client certificate is in use",
        (Kind::Serving, true) => "the serving certificate was rotated",
        (Kind::Serving, false) => "the first serving certificate is in place",
    };
    format!("{what}; rotation deadline {}", leaf.deadline)
}

fn failed(step: &str) -> &'static str {
    match step {
        "submit" => "Failed while requesting a signed certificate from the control plane",
        "await" => "Failed while waiting for the certificate",
        "install" => "Unable to store the new cert/key pair",
        "confirm" => "Failed to confirm that the server accepts the certificate",
        "load" => "Failed to read the cert dir",
        "prepare" => "Failed to prepare a certificate signing request",
        _ => "Failed to write the cert dir",
    }
}

fn blocked(kind: Kind, block: everleaf_rotation::notice::Block) -> &'static str {
    use everleaf_rotation::notice::Block;
    match (block, kind) {
        (Block::NoClientCredential, _) => "the client certificate comes first",
        (Block::NoTemplate, _) => "the node's addresses are not known yet",
        (Block::TooManyRequests, _) => "too many new requests in the last hour",
    }
}

fn stuck(reason: StuckReason) -> &'static str {
    match reason {
        StuckReason::AllRefused => {
            "every credential of this node is refused by the server: give the node a new bootstrap \
             kubeconfig (--bootstrap-kubeconfig), and check that the kubeconfig names the right cluster; \
             nothing is deleted meanwhile"
        }
        StuckReason::NoCredential => {
            "this node holds no credential to ask with: give it a bootstrap kubeconfig \
             (--bootstrap-kubeconfig), or a kubeconfig with a credential"
        }
    }
}

fn recovered(finding: &Finding) -> String {
    match finding {
        Finding::FinishedSwap { target } => format!(
            "an interrupted update of the cert dir was finished: current is {}",
            target.display()
        ),
        Finding::Quarantined { reason, moved_to } => format!(
            "a certificate file could not be used ({reason}) and was moved to {}",
            moved_to.display()
        ),
        Finding::Relinked { target } => format!(
            "the link to the current certificate led nowhere; it now leads to {}",
            target.display()
        ),
        Finding::UnusablePending { reason } => {
            format!("the record of a pending request could not be used ({reason}); starting over")
        }
        other => format!("{other:?}"),
    }
}
