//! The words for each notice: an operator's, and those of the kubelet's log where people search for
//! them.

use std::time::Duration;

use everleaf_api::duration::human;
use everleaf_api::meta::format_time;
use everleaf_rotation::notice::{Block, FailedStep, LeafSummary, RefusedNames, StuckReason};
use everleaf_rotation::{CredentialChoice, Finding, Kind, Notice, RequestName};

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

/// The line for a notice of the machine of `kind`.
pub(super) fn of(kind: Kind, notice: &Notice) -> Line<'_> {
    about_request(notice)
        .or_else(|| about_leaf(kind, notice))
        .or_else(|| about_clock(notice))
        .unwrap_or_else(|| about_work(notice))
}

fn about_request(notice: &Notice) -> Option<Line<'_>> {
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
            Line::with_request(name, decided(condition, &words, names, *wait))
        }
        Notice::RequestGone { name } => {
            Line::with_request(name, "certificate signing request was deleted or replaced")
        }
        Notice::RequestUndecided { name } => Line::with_request(
            name,
            "certificate request was not signed: timed out waiting; the same request stays \
             pending (is an approver running? kubectl certificate approve)",
        ),
        Notice::PendingDiscarded { name, reason } => {
            Line::with_request(name, format!("the pending request was given up: {reason}"))
        }
        _ => return None,
    })
}

fn about_leaf(kind: Kind, notice: &Notice) -> Option<Line<'_>> {
    Some(match notice {
        Notice::Confirmed { leaf } => Line::with_leaf(leaf, "the server accepts the certificate"),
        Notice::Installed { replaced, leaf } => {
            Line::with_leaf(leaf, installed(kind, replaced.is_some(), leaf))
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
                "{}; trying again in {}",
                stuck(*reason),
                span(*wait)
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

fn about_work(notice: &Notice) -> Line<'_> {
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
        Notice::Unblocked { block } => format!("no longer so: {}", blocked(*block)),
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
            "{}: {message}; failure {failures} in a row, next attempt in {}",
            failed(*step),
            span(*wait)
        ),
        Notice::Pruned { deleted } => format!("deleted {deleted} old certificate files"),
        Notice::StoreRecovered(finding) => recovered(finding),
        // The enum is open: what is added there is to get its words here.
        _ => "something happened for which this version has no words".to_owned(),
    })
}

fn installed(kind: Kind, is_replacement: bool, leaf: &LeafSummary) -> String {
    let what = match (kind, is_replacement) {
        (Kind::Client, true) => {
            "certificate rotation detected, shutting down client connections to use the new \
             certificate"
        }
        (Kind::Client, false) => "the first client certificate is in use",
        (Kind::Serving, true) => "the serving certificate was rotated",
        (Kind::Serving, false) => "the first serving certificate is in place",
    };
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

fn decided(condition: &str, words: &str, names: &RefusedNames, wait: Duration) -> String {
    let verdict = condition.to_lowercase();
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
            "certificate signing request is {verdict}, {words}: this refuses every name and address of the node, and \
             there is nothing to ask for without them; a new one may be made in {}",
            span(wait)
        ),
        RefusedNames::Unnamed => format!(
            "certificate signing request is {verdict}, {words}; a new one may be made in {}",
            span(wait)
        ),
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

/// As kubectl shows ages: `2s`, `5m`, `182d`; below a second in milliseconds.
fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{}ms", span.as_millis());
    }
    let rounded = span.saturating_add(Duration::from_millis(500));
    human(i64::try_from(rounded.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use everleaf_pki::{Fingerprint, Serial};
    use everleaf_rotation::notice::Cause;
    use everleaf_rotation::{RequestUid, Standing};
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn leaf() -> LeafSummary {
        LeafSummary {
            serial: Serial(vec![1]),
            fingerprint: Fingerprint([0; 32]),
            not_before: at(0),
            not_after: at(100),
            deadline: at(80),
        }
    }

    #[test]
    fn what_is_said_is_so() {
        let name = || RequestName::new("r");
        let submitted = |existed| {
            let notice = Notice::RequestSubmitted {
                name: name(),
                uid: RequestUid::new("u"),
                credential: CredentialChoice::Bootstrap,
                existed,
            };
            of(Kind::Client, &notice).text
        };
        assert!(
            submitted(true).starts_with("certificate signing request already exists, reusing it")
        );
        assert!(submitted(false).starts_with("certificate signing request created, "));
        // Whether the server has it is not known yet.
        let resumed = of(Kind::Client, &Notice::RequestResumed { name: name() }).text;
        assert!(!resumed.contains("already exists"), "{resumed}");
        let began = Notice::AttemptBegan {
            cause: Cause::Template,
            lack: Some("DNS name x is missing".to_owned()),
        };
        assert_eq!(
            of(Kind::Serving, &began).text,
            "Rotating certificates: the certificate is not what is wanted: DNS name x is missing"
        );
    }

    #[test]
    fn a_refused_name_is_told_with_who_refused_it() {
        let decided = |condition, names| {
            let notice = Notice::RequestDecided {
                name: RequestName::new("r"),
                condition,
                reason: "R".to_owned(),
                message: "a_b is bad".to_owned(),
                names,
                wait: Duration::from_secs(300),
            };
            of(Kind::Serving, &notice).text
        };
        let left_out = || RefusedNames::LeftOut(vec!["a_b".to_owned()]);
        assert_eq!(
            decided("Denied", left_out()),
            "an approver denied the certificate signing request because of a_b, reason: \"R\", message: \"a_b is bad\"; \
             the next request leaves it out, until the node's addresses change or the agent is restarted"
        );
        assert!(decided("Failed", left_out()).starts_with("the signer failed the"));
        let all = decided("Denied", RefusedNames::All);
        assert!(
            all.contains("nothing to ask for without them; a new one may be made in 5m"),
            "{all}"
        );
    }

    /// What people search for in a kubelet's log is found in ours.
    #[test]
    fn the_kubelets_search_words_are_there() {
        let leaf = leaf();
        let name = RequestName::new("node-csr-x");
        let cases = [
            (
                Notice::AttemptBegan {
                    cause: Cause::Deadline,
                    lack: None,
                },
                "Rotating certificates",
            ),
            (
                Notice::RequestSubmitted {
                    name: name.clone(),
                    uid: RequestUid::new("u"),
                    credential: CredentialChoice::Bootstrap,
                    existed: false,
                },
                "request created",
            ),
            (
                Notice::Issued {
                    name: name.clone(),
                    leaf: leaf.clone(),
                    after: SignedDuration::from_millis(61_500),
                },
                "is issued, after 62s",
            ),
            (
                Notice::RequestUndecided { name: name.clone() },
                "was not signed: timed out waiting",
            ),
            (
                Notice::RequestDecided {
                    name,
                    condition: "Denied",
                    reason: "R".to_owned(),
                    message: "no".to_owned(),
                    names: RefusedNames::Unnamed,
                    wait: Duration::from_secs(300),
                },
                "is denied, reason: \"R\", message: \"no\"; a new one may be made in 5m",
            ),
            (
                Notice::Installed {
                    replaced: Some((leaf.clone(), SignedDuration::ZERO)),
                    leaf: leaf.clone(),
                },
                "rotation detected, shutting down client connections",
            ),
            (
                Notice::Loaded {
                    standing: Standing::Fresh,
                    leaf: Some(leaf),
                    pending: None,
                },
                "Loading cert/key pair",
            ),
            (
                Notice::Waiting {
                    deadline: Some(at(80)),
                },
                "rotation deadline 1970-01-01T00:01:20Z",
            ),
        ];
        for (notice, words) in cases {
            let text = of(Kind::Client, &notice).text;
            assert!(text.contains(words), "{text:?} lacks {words:?}");
        }
    }
}
