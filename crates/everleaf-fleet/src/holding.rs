//! One certificate of a node: what is known of it, where it stands, who renews it when.

use crate::certificate::Certificate;
use crate::outlook::Outlook;
use crate::text;
use everleaf_pki::SignerName;
use everleaf_rotation as rotation;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Which of a node's two certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Toward the API server.
    Client,
    /// Of its own server.
    Serving,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Client, Self::Serving];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Serving => "serving",
        }
    }

    /// By the signer that issues it; `None` for signers of others.
    pub fn of_signer(signer: &str) -> Option<Self> {
        match signer {
            SignerName::KUBE_APISERVER_CLIENT_KUBELET => Some(Self::Client),
            SignerName::KUBELET_SERVING => Some(Self::Serving),
            _ => None,
        }
    }
}

/// Where a certificate stands. The words of [`rotation::Standing`], and four more, which only
/// whoever looks from outside needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Valid, and not to be renewed yet.
    Fresh,
    /// Valid, and to be renewed about now.
    Due,
    /// Valid, and past the end of its renewal window: it should have been renewed.
    Late,
    /// Past its end.
    Expired,
    /// Refused by an entry of the revocations, whatever its dates say.
    Revoked,
    /// Refused because none of the API server's authorities of clients signed it, whatever its
    /// dates say: its authority was replaced.
    Untrusted,
    /// Before its beginning: somebody's clock is wrong.
    NotYetValid,
    /// No certificate of it is known. That says nothing of whether it has one.
    Unknown,
}

impl Standing {
    /// All of them, the best first.
    pub const ALL: [Self; 8] = [
        Self::Fresh,
        Self::Due,
        Self::Late,
        Self::Expired,
        Self::Revoked,
        Self::Untrusted,
        Self::NotYetValid,
        Self::Unknown,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Late => "late",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Untrusted => "untrusted",
            Self::NotYetValid => "not yet valid",
            Self::Unknown => "unknown",
        }
    }

    fn of(certificate: &Certificate, renewal: Option<&Renewal>, now: Timestamp) -> Self {
        let due = renewal.map_or(certificate.not_after, |renewal| renewal.opens);
        let dates = (certificate.not_before, certificate.not_after);
        match rotation::Standing::by_dates(dates.0, dates.1, due, now) {
            rotation::Standing::Absent => Self::Unknown,
            rotation::Standing::NotYetValid => Self::NotYetValid,
            rotation::Standing::Fresh => Self::Fresh,
            rotation::Standing::Due if renewal.is_some_and(|renewal| now >= renewal.closes) => {
                Self::Late
            }
            rotation::Standing::Due => Self::Due,
            rotation::Standing::Expired => Self::Expired,
        }
    }
}

/// Who keeps a certificate, by the name under which its request was filed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Keeper {
    /// `everleaf agent`: its renewal is foreseen to the second.
    EverleafAgent,
    /// A kubelet: it draws a moment in the window.
    Kubelet,
    /// The API has no request of it any more, or another program filed it.
    #[default]
    Unknown,
}

impl Keeper {
    /// By who created the request (`metadata.managedFields`), where the server has noted that.
    pub(crate) fn of(request: &Value) -> Self {
        let entries = request["metadata"]["managedFields"].as_array();
        let mut entries = entries.into_iter().flatten();
        let created = entries.find(|entry| entry["fieldsV1"]["f:spec"].is_object());
        match created.and_then(|entry| entry["manager"].as_str()) {
            Some("everleaf-agent") => Self::EverleafAgent,
            Some("kubelet") => Self::Kubelet,
            _ => Self::Unknown,
        }
    }
}

/// When a certificate is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// From when on.
    #[serde(serialize_with = "text::time")]
    pub opens: Timestamp,
    /// Until when; the same instant where it is known exactly who renews it when.
    #[serde(serialize_with = "text::time")]
    pub until: Timestamp,
    /// When 90 % of its life are over: later than that, nobody renews by plan.
    #[serde(serialize_with = "text::time")]
    pub closes: Timestamp,
    /// When an agent of Everleaf renews it, whoever keeps it really.
    #[serde(serialize_with = "text::time")]
    pub deadline: Timestamp,
}

impl Renewal {
    fn of(certificate: &Certificate, keeper: Keeper) -> Option<Self> {
        let (window, deadline) = (certificate.window()?, certificate.deadline()?);
        let (opens, until) = match keeper {
            Keeper::EverleafAgent => (deadline, deadline),
            Keeper::Kubelet | Keeper::Unknown => (window.opens, window.closes),
        };
        Some(Self {
            opens,
            until,
            closes: window.closes,
            deadline,
        })
    }
}

/// One of a node's certificates, as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// Where it stands.
    pub standing: Standing,
    /// The newest one that is known; of a kubelet that was asked, the one that it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// How much of its life is over, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life_used_percent: Option<i64>,
    /// When it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Who keeps it.
    pub keeper: Keeper,
    /// The newest request for its successor that has no certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The entry of the revocations that refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// What was wrong when its kubelet was asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_failure: Option<String>,
    /// What becomes of it.
    pub outlook: Outlook,
}

impl Holding {
    /// What the dates say of a certificate; nothing of what becomes of it.
    pub(crate) fn dated(
        certificate: Option<Certificate>,
        keeper: Keeper,
        revoked_by: Option<String>,
        now: Timestamp,
    ) -> Self {
        let known = certificate.as_ref();
        let renewal = known.and_then(|certificate| Renewal::of(certificate, keeper));
        let standing = match (known, &revoked_by) {
            (Some(_), Some(_)) => Standing::Revoked,
            (Some(certificate), None) => Standing::of(certificate, renewal.as_ref(), now),
            (None, _) => Standing::Unknown,
        };
        Self {
            standing,
            life_used_percent: known.map(|certificate| certificate.life_used_percent(now)),
            renewal,
            keeper,
            request: None,
            revoked_by,
            probe_failure: None,
            outlook: Outlook::default(),
            certificate,
        }
    }

    /// No authority of clients vouches for it. What has ended or is revoked stays so.
    pub(crate) fn distrust(&mut self) {
        let is_of_use = matches!(
            self.standing,
            Standing::Fresh | Standing::Due | Standing::Late | Standing::NotYetValid
        );
        if is_of_use {
            self.standing = Standing::Untrusted;
        }
    }
}
