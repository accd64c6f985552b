//! The rights without which nobody joins and nobody renews, as questions to authorization.

use everleaf_api::review::{ResourceAttributes, Subject, access_review};
use serde_json::Value;

/// Group of every bootstrap token.
const EVERY_TOKEN: &str = "system:bootstrappers";

/// A right that somebody should have, or should not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// A machine with a token of these groups (names with commas between) files a request.
    Join(String),
    /// And is approved by itself.
    JoinApproved(String),
    /// A node files a request.
    File,
    /// And its renewal is approved by itself.
    Renew,
    /// Somebody anonymous files a request that is approved by itself.
    AnybodyJoins,
    /// Any pod does.
    EveryPodJoins,
}

impl Right {
    /// All that is to be asked, for tokens that have these extra groups each. Where there are none,
    /// nobody has to be able to join by one.
    pub fn all(tokens: &[Vec<String>]) -> Vec<Self> {
        let groups = tokens.iter().map(|groups| match groups.is_empty() {
            true => EVERY_TOKEN.to_owned(),
            false => groups.join(","),
        });
        let mut groups: Vec<String> = groups.collect();
        groups.sort();
        groups.dedup();
        let mut all = vec![
            Self::File,
            Self::Renew,
            Self::AnybodyJoins,
            Self::EveryPodJoins,
        ];
        all.extend(groups.iter().cloned().map(Self::Join));
        all.extend(groups.into_iter().map(Self::JoinApproved));
        all
    }

    /// The SubjectAccessReview to post.
    pub fn body(&self) -> Value {
        const NODE: &str = "system:node:everleaf-doctor";
        let of_token = |groups: &'_ String| -> Vec<String> {
            let extra = groups.split(',').filter(|group| *group != EVERY_TOKEN);
            let all = [EVERY_TOKEN].into_iter().chain(extra);
            all.map(str::to_owned).collect()
        };
        let of = |groups: &[&str]| groups.iter().map(|group| (*group).to_owned()).collect();
        let (user, groups, subresource): (_, Vec<String>, _) = match self {
            Self::Join(groups) => ("system:bootstrap:abcdef", of_token(groups), ""),
            Self::JoinApproved(groups) => {
                ("system:bootstrap:abcdef", of_token(groups), "nodeclient")
            }
            Self::File => (NODE, of(&["system:nodes"]), ""),
            Self::Renew => (NODE, of(&["system:nodes"]), "selfnodeclient"),
            Self::AnybodyJoins => ("system:anonymous", Vec::new(), "nodeclient"),
            Self::EveryPodJoins => (
                "system:serviceaccount:default:default",
                of(&["system:serviceaccounts", "system:serviceaccounts:default"]),
                "nodeclient",
            ),
        };
        let own = match self {
            Self::AnybodyJoins => "system:unauthenticated",
            _ => "system:authenticated",
        };
        let groups = groups.into_iter().chain([own.to_owned()]);
        let subject = Subject {
            user: user.to_owned(),
            groups: groups.collect(),
            ..Subject::default()
        };
        let action = ResourceAttributes {
            verb: "create",
            group: "certificates.k8s.io",
            resource: "certificatesigningrequests",
            subresource,
            ..ResourceAttributes::default()
        };
        access_review(&subject, &action)
    }
}
