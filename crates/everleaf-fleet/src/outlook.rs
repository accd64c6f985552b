//! What becomes of a certificate, and what stands in the way of its renewal.

use crate::authority::Authority;
use crate::holding::{Holding, Standing};
use crate::node::{Presence, Seen};
use crate::request::{Request, State};
use crate::text::{self, apart, minute};
use everleaf_rotation::overdue::DECISION_MAX;
use jiff::Timestamp;
use serde::Serialize;

/// What becomes of a certificate, by all that is known now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It has ended, or is refused.
    Lapsed,
    /// It lapses unless somebody does something.
    Lapses,
    /// It is renewed by itself.
    Renews,
    /// Too little is known.
    #[default]
    Unknown,
}

/// Why, as a name for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Its authority ends no later, and no other is known.
    AuthorityEnds,
    /// None of the API server's authorities of clients signed it: it is refused.
    AuthorityGone,
    /// Nobody renews it by itself, as far as is known.
    ByHand,
    /// Its beginning lies ahead: a clock is wrong.
    ClockWrong,
    /// The request for its successor is being decided.
    Deciding,
    /// The request for its successor was denied.
    Denied,
    /// It has ended.
    Ended,
    /// The signer refused the request for its successor.
    Failed,
    /// The window is over, and no request was seen.
    NoRequest,
    /// Nothing is known of it.
    NotKnown,
    /// Its kubelet could not be asked.
    NotShown,
    /// It is renewed in its window.
    Renews,
    /// It is refused although it is good.
    Revoked,
    /// Its node has stopped reporting.
    Silent,
    /// The request for its successor waits.
    Waits,
}

impl Code {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorityEnds => "authority-ends",
            Self::AuthorityGone => "authority-gone",
            Self::ByHand => "by-hand",
            Self::ClockWrong => "clock-wrong",
            Self::Deciding => "deciding",
            Self::Denied => "denied",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::NoRequest => "no-request",
            Self::NotKnown => "not-known",
            Self::NotShown => "not-shown",
            Self::Renews => "renews",
            Self::Revoked => "revoked",
            Self::Silent => "silent",
            Self::Waits => "waits",
        }
    }
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its name.
    pub code: Code,
    /// It in a sentence, without its full stop.
    pub text: String,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// In a word.
    pub verdict: Verdict,
    /// When it lapses or did, when it does.
    #[serde(
        serialize_with = "text::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub lapses_at: Option<Timestamp>,
    /// The end of its authority, when no other that is known outlives it: however often it is
    /// renewed, it lapses then.
    #[serde(
        serialize_with = "text::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub authority_ends: Option<Timestamp>,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
}

impl Outlook {
    fn tell(&mut self, code: Code, text: impl Into<String>) {
        let text = text.into();
        self.reasons.push(Reason { code, text });
    }

    /// The weightiest reason.
    pub fn first(&self) -> Option<&Reason> {
        self.reasons.first()
    }

    fn lapse(&mut self, at: Timestamp) {
        self.verdict = Verdict::Lapses;
        self.lapses_at = Some(at);
    }

    /// Of what nobody renews by itself.
    pub(crate) fn by_hand(ends: Timestamp) -> Self {
        let mut outlook = Self::default();
        outlook.lapse(ends);
        let text = "nobody renews it by itself, as far as is known";
        outlook.tell(Code::ByHand, text);
        outlook
    }
}

/// What an outlook is judged by, besides the certificate itself.
pub(crate) struct Around<'a> {
    pub(crate) seen: &'a Seen,
    /// The newest request for a successor that has no certificate.
    pub(crate) request: Option<&'a Request>,
    /// The authority whose end nothing outlives.
    pub(crate) authority: Option<&'a Authority>,
    pub(crate) now: Timestamp,
}

/// What becomes of a node's certificate.
pub(crate) fn judge(holding: &Holding, around: &Around<'_>) -> Outlook {
    let mut outlook = Outlook::default();
    let now = around.now;
    let Some(certificate) = &holding.certificate else {
        if let Some(request) = around.request {
            tell_request(request, now, &mut outlook);
        }
        let text = match &holding.probe_failure {
            Some(failure) => (
                Code::NotShown,
                format!("no certificate of it is known: {failure}"),
            ),
            None => (Code::NotKnown, "no certificate of it is known".to_owned()),
        };
        outlook.tell(text.0, text.1);
        return outlook;
    };
    let ends = certificate.not_after;
    outlook.authority_ends = around.authority.map(|authority| authority.not_after);
    match holding.standing {
        Standing::Revoked => {
            outlook.verdict = Verdict::Lapsed;
            let by = holding.revoked_by.as_deref().unwrap_or_default();
            outlook.tell(Code::Revoked, format!("revoked ({by})"));
        }
        Standing::Untrusted => {
            outlook.verdict = Verdict::Lapsed;
            let text = "signed by none of the API server's authorities of clients: the node is refused, and has to join again";
            outlook.tell(Code::AuthorityGone, text);
        }
        Standing::Expired => {
            outlook.verdict = Verdict::Lapsed;
            outlook.lapses_at = Some(ends);
            outlook.tell(Code::Ended, format!("ended {} ago", apart(now, ends)));
            obstacles(holding, around, &mut outlook);
        }
        Standing::NotYetValid => {
            outlook.verdict = Verdict::Renews;
            let begins = minute(certificate.not_before);
            outlook.tell(Code::ClockWrong, format!("begins only at {begins}"));
        }
        Standing::Fresh | Standing::Due | Standing::Late => {
            if obstacles(holding, around, &mut outlook) {
                outlook.lapse(ends);
            } else {
                outlook.verdict = Verdict::Renews;
                tell_renewal(holding, now, &mut outlook);
            }
            bounded(holding, around, &mut outlook);
        }
        Standing::Unknown => {}
    }
    outlook
}

/// A certificate that ends with its authority is not followed by one that lasts longer.
fn bounded(holding: &Holding, around: &Around<'_>, outlook: &mut Outlook) {
    let (Some(authority), Some(certificate)) = (around.authority, &holding.certificate) else {
        return;
    };
    if authority.not_after > certificate.not_after {
        return;
    }
    if outlook.verdict == Verdict::Renews {
        outlook.reasons.clear();
    }
    outlook.lapse(authority.not_after.min(certificate.not_after));
    let end = minute(authority.not_after);
    let subject = &authority.subject;
    outlook.tell(
        Code::AuthorityEnds,
        format!("it ends with its authority {subject}, at {end}: renewing it gives no more"),
    );
}

/// Tells what stands in the way of a renewal; whether anything does.
fn obstacles(holding: &Holding, around: &Around<'_>, outlook: &mut Outlook) -> bool {
    let now = around.now;
    let opens = holding.renewal.map(|renewal| renewal.opens);
    let is_due = opens.is_none_or(|opens| now >= opens);
    let mut is_held = false;
    if let Some(request) = around.request {
        // Before it is due, a request is about other names: that can wait.
        is_held |= tell_request(request, now, outlook) && is_due;
    } else if holding.standing == Standing::Late || holding.standing == Standing::Expired {
        let since = opens.map_or_else(|| "long ago".to_owned(), minute);
        let text = format!("no request for another is seen, though it was due at {since}");
        outlook.tell(Code::NoRequest, text);
        is_held = true;
    }
    if around.seen.presence == Presence::Silent {
        let since = around.seen.since.map_or_else(
            || "some time".to_owned(),
            |since| format!("{} ({})", minute(since), apart(now, since)),
        );
        let text = format!("its Node is not reporting since {since}: it may be off or cut off");
        outlook.tell(Code::Silent, text);
        is_held = true;
    }
    is_held
}

/// Tells where a request stands; whether something holds it.
fn tell_request(request: &Request, now: Timestamp, outlook: &mut Outlook) -> bool {
    let (name, why) = (&request.name, request.why());
    let age = request.filed.map(|filed| now.duration_since(filed));
    let is_old = age.is_none_or(|age| age >= DECISION_MAX);
    let (code, text) = match request.state {
        State::Denied => (
            Code::Denied,
            format!("its request csr/{name} is denied: {why}"),
        ),
        State::Failed => (
            Code::Failed,
            format!("its request csr/{name} has failed: {why}"),
        ),
        State::Pending | State::Approved if request.hold.is_none() && !is_old => {
            let text = format!("its request csr/{name} is being decided");
            outlook.tell(Code::Deciding, text);
            return false;
        }
        State::Pending => (
            Code::Waits,
            format!("its request csr/{name} waits for approval: {why}"),
        ),
        State::Approved => (
            Code::Waits,
            format!("its request csr/{name} is approved and waits for its signer: {why}"),
        ),
    };
    outlook.tell(code, text);
    true
}

fn tell_renewal(holding: &Holding, now: Timestamp, outlook: &mut Outlook) {
    let Some(renewal) = holding.renewal else {
        return;
    };
    let (opens, until) = (minute(renewal.opens), minute(renewal.until));
    let text = if now >= renewal.opens {
        let closes = minute(renewal.closes);
        format!("due since {opens}: renews by itself until {closes}")
    } else if renewal.opens == renewal.until {
        format!("renews by itself at {opens}")
    } else {
        format!("renews by itself between {opens} and {until}")
    };
    let is_told = outlook
        .reasons
        .iter()
        .any(|reason| reason.code == Code::Deciding);
    if !is_told {
        let code = Code::Renews;
        outlook.reasons.insert(0, Reason { code, text });
    }
}
