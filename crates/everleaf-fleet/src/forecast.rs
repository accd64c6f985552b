//! Who lapses within a horizon, when and why; and how many renewals each day brings.

use crate::authority::Authority;
use crate::fleet::{Fleet, Identity};
use crate::holding::{Holding, Kind};
use crate::load::{Counter, Load};
use crate::outlook::{Code, Reason, Verdict};
use crate::text::{self, minute};
use jiff::Timestamp;
use serde::Serialize;

/// A certificate that has lapsed, or lapses within the horizon.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lapse {
    /// The node.
    pub node: String,
    /// Which of its certificates.
    pub kind: Kind,
    /// When; `None`: it is refused now, whatever its dates say.
    #[serde(
        serialize_with = "text::maybe",
        skip_serializing_if = "Option::is_none"
    )]
    pub at: Option<Timestamp>,
    /// It has lapsed.
    pub has_lapsed: bool,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
}

/// A certificate of which too little is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unforeseen {
    /// The node.
    pub node: String,
    /// Which of its certificates.
    pub kind: Kind,
    /// What is known all the same.
    pub reasons: Vec<Reason>,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The API server's clock: where it begins.
    #[serde(serialize_with = "text::time")]
    pub from: Timestamp,
    /// Where it ends.
    #[serde(serialize_with = "text::time")]
    pub until: Timestamp,
    /// Days from one to the other.
    pub days: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of certificates of nodes that are renewed by themselves.
    pub renewing: usize,
    /// What has lapsed, and what lapses, the earliest first.
    pub lapses: Vec<Lapse>,
    /// Nodes of which too little is known, and of which certificate.
    pub unknown: Vec<Unforeseen>,
    /// Certificates of others than nodes that end within the horizon, the earliest first.
    pub identities: Vec<Identity>,
    /// Renewals per day.
    pub load: Load,
    /// Authorities that end within the horizon.
    pub authorities_ending: Vec<Authority>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

impl Forecast {
    /// The forecast of a fleet over so many days.
    pub fn of(fleet: &Fleet, days: usize) -> Self {
        let mut counter = Counter::new(fleet.now, days);
        let until = counter.until();
        let (mut lapses, mut unknown) = (Vec::new(), Vec::new());
        let mut renewing = 0;
        for node in &fleet.nodes {
            for kind in Kind::ALL {
                let holding = node.holding(kind);
                match holding.outlook.verdict {
                    Verdict::Unknown => unknown.push(Unforeseen {
                        node: node.name.clone(),
                        kind,
                        reasons: holding.outlook.reasons.clone(),
                    }),
                    Verdict::Renews => {
                        renewing += 1;
                        count(holding, &mut counter);
                        lapses.extend(with_authority(&node.name, kind, holding, until));
                    }
                    Verdict::Lapsed | Verdict::Lapses => {
                        lapses.extend(lapse(&node.name, kind, holding, until));
                    }
                }
            }
        }
        lapses.sort_by(|one, other| {
            let key = |lapse: &Lapse| (!lapse.has_lapsed, lapse.at);
            (key(one), &one.node).cmp(&(key(other), &other.node))
        });
        let ends = |identity: &&Identity| identity.holding.outlook.lapses_at;
        let within = fleet
            .identities
            .iter()
            .filter(|one| ends(one) <= Some(until));
        let mut identities: Vec<Identity> = within.cloned().collect();
        identities.sort_by_key(|identity| identity.holding.outlook.lapses_at);
        let authorities = fleet.authorities.iter();
        let ending = authorities.filter(|authority| authority.not_after <= until);
        Self {
            from: fleet.now,
            until,
            days,
            nodes: fleet.nodes.len(),
            renewing,
            lapses,
            unknown,
            identities,
            load: counter.finish(),
            authorities_ending: ending.cloned().collect(),
            unseen: fleet.unseen.clone(),
        }
    }
}

fn count(holding: &Holding, counter: &mut Counter) {
    if let (Some(certificate), Some(renewal)) = (&holding.certificate, &holding.renewal) {
        counter.note(certificate, renewal, holding.outlook.authority_ends);
    }
}

fn lapse(node: &str, kind: Kind, holding: &Holding, until: Timestamp) -> Option<Lapse> {
    let outlook = &holding.outlook;
    let is_within = outlook.lapses_at.is_none_or(|at| at <= until);
    is_within.then(|| Lapse {
        node: node.to_owned(),
        kind,
        at: outlook.lapses_at,
        has_lapsed: outlook.verdict == Verdict::Lapsed,
        reasons: outlook.reasons.clone(),
    })
}

/// What is renewed in time, and ends all the same when its authority does.
fn with_authority(node: &str, kind: Kind, holding: &Holding, until: Timestamp) -> Option<Lapse> {
    let ends = holding
        .outlook
        .authority_ends
        .filter(|ends| *ends <= until)?;
    let text = format!(
        "its authority ends at {}, and no other is known that outlives it",
        minute(ends)
    );
    let reason = Reason {
        code: Code::AuthorityEnds,
        text,
    };
    Some(Lapse {
        node: node.to_owned(),
        kind,
        at: Some(ends),
        has_lapsed: false,
        reasons: vec![reason],
    })
}
