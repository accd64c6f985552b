//! The rights without which nobody joins and nobody renews, as questions to authorization.

use everleaf_api::review::{ResourceAttributes, Subject, access_review};
use serde_json::Value;

/// Group of the bootstrap tokens that kubeadm and `everleaf token create` make.
pub(super) const TOKEN_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// A right that somebody should have, or should not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// A machine with a token of this group files a request.
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
    /// All that is to be asked, for tokens with these extra groups.
    pub fn all(groups: &[String]) -> Vec<Self> {
        let mut groups: Vec<String> = groups.to_vec();
        if groups.is_empty() {
            groups.push(TOKEN_GROUP.to_owned());
        }
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
        let (user, groups, subresource) = match self {
            Self::Join(group) => (
                "system:bootstrap:abcdef",
                vec!["system:bootstrappers", group],
                "",
            ),
            Self::JoinApproved(group) => (
                "system:bootstrap:abcdef",
                vec!["system:bootstrappers", group],
                "nodeclient",
            ),
            Self::File => (NODE, vec!["system:nodes"], ""),
            Self::Renew => (NODE, vec!["system:nodes"], "selfnodeclient"),
            Self::AnybodyJoins => ("system:anonymous", Vec::new(), "nodeclient"),
            Self::EveryPodJoins => (
                "system:serviceaccount:default:default",
                vec!["system:serviceaccounts", "system:serviceaccounts:default"],
                "nodeclient",
            ),
        };
        let own = match self {
            Self::AnybodyJoins => "system:unauthenticated",
            _ => "system:authenticated",
        };
        let groups = groups.into_iter().chain([own]);
        let subject = Subject {
            user: user.to_owned(),
            groups: groups.map(str::to_owned).collect(),
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
