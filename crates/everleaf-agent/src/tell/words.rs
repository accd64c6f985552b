//! The words for each notice: an operator's, and those of the kubelet's log where people search for
//! them.

use everleaf_api::duration::span;
use everleaf_api::meta::format_time;
use everleaf_rotation::notice::{Block, FailedStep, LeafSummary, RefusedNames, StuckReason};
use everleaf_rotation::{CertificateId, CredentialChoice, Finding, Notice, RequestName};
use std::time::Duration;

/// One line: what to say, and the fields that go with it.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) text: String,
    pub(super) csr: Option<&'a str>,
    pub(super) uid: Option<&'a str>,
    pub(super) leaf: Option<&'a LeafSummary>,
}

impl<'a> Line<'a> {
    fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    fn with_leaf(leaf: &'a LeafSummary, text: impl Into<String>) -> Self {
        Self {
            leaf: Some(leaf),
            ..Self::plain(text)
        }
    }

    fn with_request(name: &'a RequestName, text: impl Into<String>) -> Self {
        Self {
            csr: Some(name.as_str()),
            ..Self::plain(text)
        }
    }
}

/// What the process undertakes, as far as words depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// `--once`: there is no next attempt.
    pub(crate) is_once: bool,
    /// The certificate is not renewed before it ends.
    pub(crate) is_without_renewal: bool,
}

impl Manner {
    /// What is about to be done for a certificate.
    pub(crate) fn undertaking(self) -> &'static str {
        if self.is_without_renewal {
            "a certificate is fetched where none is good, and not renewed before it ends: certificate rotation is off"
        } else {
            "certificate rotation is on"
        }
    }

    /// What comes after `wait`, where something does.
    fn later(self, what: &str, wait: Duration) -> String {
        if self.is_once {
            String::new()
        } else {
            format!("{what} in {}", span(wait))
        }
    }
}

/// The line for a notice of the machine of `kind`.
pub(super) fn of<'a>(id: &CertificateId, manner: Manner, notice: &'a Notice) -> Line<'a> {
    about_request(manner, notice)
        .or_else(|| about_leaf(id, manner, notice))
        .or_else(|| about_clock(notice))
        .unwrap_or_else(|| about_work(manner, notice))
}

fn about_request(manner: Manner, notice: &Notice) -> Option<Line<'_>> {
    Some(match notice {
        Notice::Issued { name, leaf, after } => {
            let text = format!(
                "certificate signing request is issued, after {}",
                span(after.unsigned_abs())
            );
            Line {
                leaf: Some(leaf),
                ..Line::with_request(name, text)
            }
        }
        Notice::RequestSubmitted {
            name,
            uid,
            credential,
            existed,
        } => Line {
            uid: Some(uid.as_str()),
            ..Line::with_request(name, submitted(*existed, *credential))
        },
        Notice::RequestPrepared { name } => Line::with_request(name, "key and request are on disk"),
        Notice::RequestResumed { name } => Line::with_request(
            name,
            "a certificate signing request of an earlier start is on disk: going on with it",
        ),
        Notice::RequestDecided {
            name,
            condition,
            reason,
            message,
            names,
            wait,
        } => {
            let mut words = format!("message: {message:?}");
            if !reason.is_empty() {
                words = format!("reason: {reason:?}, {words}");
            }
            Line::with_request(name, decided(manner, condition, &words, names, *wait))
        }
        Notice::RequestGone { name } => {
            Line::with_request(name, "certificate signing request was deleted or replaced")
        }
        Notice::RequestUndecided { name } => Line::with_request(
            name,
            "certificate request was not signed: timed out waiting; the same request stays \
             pending (is an approver running? kubectl certificate approve)",
        ),
        Notice::KeyRefused {
            name,
            kind,
            message,
        } => Line::with_request(
            name,
            format!(
                "the control plane takes no {kind} key ({}): asking with an ECDSA P-256 key, and with {kind} again at the next \
                 renewal",
                end_of(message)
            ),
        ),
        Notice::PendingDiscarded { name, reason } => {
            Line::with_request(name, format!("the pending request was given up: {reason}"))
        }
        _ => return None,
    })
}

/// The last words of a message: kube-apiserver puts the whole request before them.
fn end_of(message: &str) -> String {
    const CHARS_MAX: usize = 160;
    let last = message
        .rsplit_once("\": ")
        .map_or(message, |(_, last)| last);
    let skipped = last.chars().count().saturating_sub(CHARS_MAX);
    let mut end: String = last.chars().skip(skipped).collect();
    if skipped > 0 {
        end.insert(0, '…');
    }
    end
}

fn about_leaf<'a>(id: &CertificateId, manner: Manner, notice: &'a Notice) -> Option<Line<'a>> {
    Some(match notice {
        Notice::Confirmed { leaf } => Line::with_leaf(leaf, "the server accepts the certificate"),
        Notice::Installed { replaced, leaf } => {
            Line::with_leaf(leaf, installed(id, manner, replaced.is_some(), leaf))
        }
        Notice::LeafDiffers { leaf, difference } => Line::with_leaf(
            leaf,
            format!("the issued certificate is not quite what was asked: {difference}"),
        ),
        Notice::LeafRejected { leaf, reason } => Line::with_leaf(
            leaf,
            format!("the issued certificate is not installed: {reason}"),
        ),
        Notice::Loaded { standing, leaf, .. } => Line {
            leaf: leaf.as_ref(),
            ..Line::plain(format!(
                "Loading cert/key pair: the certificate in the cert dir is {standing}"
            ))
        },
        Notice::NotThisNodes {
            leaf,
            holder,
            wanted,
            next,
        } => Line::with_leaf(leaf, not_this_nodes(holder, wanted, next.as_ref())),
        Notice::Reverted { leaf } => Line::with_leaf(
            leaf,
            "went back to the last certificate that the server accepted",
        ),
        Notice::ShortLifetime { leaf } => Line::with_leaf(
            leaf,
            "the lifetime granted is so short that rotation can hardly keep up; let the signer \
             grant 10 minutes or more (--cluster-signing-duration)",
        ),
        Notice::Stuck { reason, leaf, wait } => Line {
            leaf: leaf.as_ref(),
            ..Line::plain(format!(
                "{}{}",
                stuck(*reason),
                manner.later("; trying again", *wait)
            ))
        },
        Notice::Waiting { deadline } => Line::plain(match deadline {
            Some(deadline) => format!("rotation deadline {}", format_time(*deadline)),
            None => "waiting".to_owned(),
        }),
        _ => return None,
    })
}

fn about_clock(notice: &Notice) -> Option<Line<'_>> {
    Some(match notice {
        Notice::ClockSkew {
            node,
            server,
            leaf,
            wait,
        } => Line::with_leaf(
            leaf,
            format!(
                "clock skew: this node's clock reads {}, the server's {}; the certificate is good \
                 by the server's clock and stays in use; the next rotation comes no sooner than \
                 in {}: set this node's clock",
                format_time(*node),
                format_time(*server),
                span(*wait)
            ),
        ),
        Notice::ClockStepped { by, now } => Line::plain(format!(
            "the clock was set (or the machine slept): it went {} by {}, and reads {}; looking \
             at everything again",
            if by.is_negative() { "back" } else { "on" },
            span(by.unsigned_abs()),
            format_time(*now)
        )),
        Notice::NotYetValid { leaf, node } => Line::with_leaf(
            leaf,
            format!(
                "clock skew: this node's clock reads {}, before the certificate begins; it stays \
                 in use, the server's clock decides: set this node's clock",
                format_time(*node)
            ),
        ),
        _ => return None,
    })
}

fn about_work(manner: Manner, notice: &Notice) -> Line<'_> {
    Line::plain(match notice {
        Notice::AttemptBegan { cause, lack } => match lack {
            Some(lack) => format!("Rotating certificates: {}: {lack}", cause.as_str()),
            None => format!("Rotating certificates: {}", cause.as_str()),
        },
        Notice::Blocked { block, wait } => match wait {
            Some(wait) => format!(
                "no request is made: {}, for {}",
                blocked(*block),
                span(*wait)
            ),
            None => format!("no request is made: {}", blocked(*block)),
        },
        Notice::Unblocked { block } => format!("what held it up is over: {}", blocked(*block)),
        Notice::CredentialForbidden {
            credential,
            message,
            next,
        } => {
            format!("the {credential} may not ask for a certificate: {message}; trying the {next}")
        }
        Notice::CredentialRefused { credential, times } => {
            format!("the server refuses the {credential} (401), {times} in a row")
        }
        Notice::Failed {
            step,
            message,
            failures,
            wait,
            ..
        } => format!(
            "{}: {message}; failure {failures} in a row{}",
            failed(*step),
            manner.later(", next attempt", *wait)
        ),
        Notice::Pruned { deleted } => format!("deleted {deleted} old certificate files"),
        Notice::StoreRecovered(finding) => recovered(finding),
        // The enum is open: what is added there is to get its words here.
        _ => "something happened for which this version has no words".to_owned(),
    })
}

fn installed(
    id: &CertificateId,
    manner: Manner,
    is_replacement: bool,
    leaf: &LeafSummary,
) -> String {
    let what = match (id.renews_itself(), is_replacement) {
        (true, true) => "certificate rotation detected, shutting down client connections to use \
                         the new certificate"
            .to_owned(),
        (true, false) => format!("the first {id} certificate is in use"),
        (false, true) => format!("the {id} certificate was rotated"),
        (false, false) => format!("the first {id} certificate is in place"),
    };
    if manner.is_without_renewal {
        let end = format_time(leaf.not_after);
        return format!("{what}; it is good until {end}, and is not renewed before");
    }
    format!("{what}; rotation deadline {}", format_time(leaf.deadline))
}

fn submitted(existed: bool, credential: CredentialChoice) -> String {
    let what = if existed {
        "certificate signing request already exists, reusing it"
    } else {
        "certificate signing request created"
    };
    format!("{what}, authenticated by the {credential}")
}

fn decided(
    manner: Manner,
    condition: &str,
    words: &str,
    names: &RefusedNames,
    wait: Duration,
) -> String {
    let verdict = condition.to_lowercase();
    let later = manner.later("; a new one may be made", wait);
    match names {
        RefusedNames::LeftOut(names) => {
            let who = match condition {
                "Denied" => "an approver denied",
                "Failed" => "the signer failed",
                _ => "the API server refused",
            };
            let them = if names.len() == 1 { "it" } else { "them" };
            format!(
                "{who} the certificate signing request because of {}, {words}; the next request leaves {them} out, until \
                 the node's addresses change or the agent is restarted",
                names.join(", ")
            )
        }
        RefusedNames::All => format!(
            "certificate signing request is {verdict}, {words}: this refuses every name and address in it, and \
             there is nothing to ask for without them{later}"
        ),
        RefusedNames::Unnamed => {
            format!("certificate signing request is {verdict}, {words}{later}")
        }
    }
}

fn not_this_nodes(holder: &str, wanted: &str, next: Option<&CredentialChoice>) -> String {
    let whose = format!(
        "the certificate in the cert dir is {holder:?}'s, and this node is {wanted:?} (was the host renamed, or its \
         disk copied?)"
    );
    match next {
        Some(next) => format!("{whose}: the {next} asks for one of this node's own"),
        None => format!(
            "{whose}; nothing else can ask for one of this node's own, and a server does not give it to {holder:?}: give \
             this node a bootstrap kubeconfig (--bootstrap-kubeconfig), or its old name (--hostname-override)"
        ),
    }
}

fn failed(step: FailedStep) -> &'static str {
    match step {
        FailedStep::Await => "Failed while waiting for the certificate",
        FailedStep::Confirm => "Failed to confirm that the server accepts the certificate",
        FailedStep::Install => "Unable to store the new cert/key pair",
        FailedStep::Load => "Failed to read the cert dir",
        FailedStep::Prepare => "Failed to prepare a certificate signing request",
        FailedStep::Store => "Failed to write the cert dir",
        FailedStep::Submit => "Failed while requesting a signed certificate from the control plane",
    }
}

fn blocked(block: Block) -> &'static str {
    match block {
        Block::NoClientCredential => "the client certificate comes first",
        Block::NoTemplate => "the node's addresses are not known yet",
        Block::TooManyRequests => "too many new requests in the last hour",
    }
}

fn stuck(reason: StuckReason) -> &'static str {
    match reason {
        StuckReason::AllRefused => {
            "every credential of this node is refused by the server: give the node a new bootstrap \
             kubeconfig (--bootstrap-kubeconfig), and check that the kubeconfig names the right \
             cluster; nothing is deleted meanwhile"
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
        Finding::NotALink { path } => format!(
            "{} is a file where a link belongs, so that no new certificate can take its place: move it away, or give it \
             another name and make a link to it",
            path.display()
        ),
        Finding::NotRepaired { path, reason } => format!(
            "{} cannot be used, and was left as it is: {reason}",
            path.display()
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
        _ => "something was put in order for which this version has no words".to_owned(),
    }
}

#[cfg(test)]
mod tests;
