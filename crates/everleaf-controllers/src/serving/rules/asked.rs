//! What a request asks for, and who asks: rules that need no Node.

use super::{Case, Finding, holding, holds, list, violated};
use crate::serving::names::{
    aliases, any_holds, check_address, check_dns_name, is_cluster_name, quote,
};
use crate::serving::policy::{KeyAlgorithm, OnViolation};
use crate::serving::{Claim, NodeFacts, expiration_seconds, key_of};
use everleaf_api::csr::{APPROVED, DENIED, FAILED};
use everleaf_pki::signer::{are_serving_usages, is_dns1123_subdomain};
use everleaf_pki::{MlDsa, PublicKey, PublicKeyKind, SignerName, pem};
use std::net::IpAddr;

/// Longest request, in bytes of PEM; what an ML-DSA key takes comes on top.
const PEM_BYTES_MAX: usize = 16 << 10;
/// The API's own minimum of `expirationSeconds`.
const EXPIRATION_SECONDS_MIN: i64 = 600;

pub(super) fn signer(case: &Case<'_>) -> Finding {
    match case.csr.signer_name() == SignerName::KUBELET_SERVING {
        true => Finding::Passed,
        false => Finding::Foreign(format!(
            "the signer is {}, not {}",
            quote(case.csr.signer_name()),
            SignerName::KUBELET_SERVING
        )),
    }
}

pub(super) fn state(case: &Case<'_>) -> Finding {
    let decided = [APPROVED, DENIED, FAILED];
    if let Some(kind) = decided.iter().find(|kind| case.csr.has_condition(kind)) {
        return Finding::Foreign(format!("the request is {kind} already"));
    }
    if case.csr.is_issued() {
        return Finding::Foreign("the certificate is issued already".to_owned());
    }
    let deleted = &case.csr.0["metadata"]["deletionTimestamp"];
    if deleted.as_str().is_some_and(|at| !at.is_empty()) {
        return Finding::Foreign("the request is being deleted".to_owned());
    }
    Finding::Passed
}

pub(super) fn one_block(case: &Case<'_>) -> Finding {
    let text = case.csr.request();
    let key = case.request.as_ref().map(|request| request.public_key());
    let bytes_max = PEM_BYTES_MAX + key.map_or(0, PublicKey::pem_bytes_more);
    if text.len() > bytes_max {
        return violated(format!(
            "the request has {} bytes, more than {bytes_max}",
            text.len()
        ));
    }
    let blocks: Vec<_> = pem::blocks(&text).collect();
    let further = blocks.iter().skip(1);
    let foreign = further
        .map(|block| &block.label)
        .find(|label| !case.policy.attestation_blocks.contains(label));
    if let Some(label) = foreign {
        return violated(format!("a second PEM block follows: {}", quote(label)));
    }
    // What we skip as damaged, another reader may take for the request.
    let begun = text
        .windows(11)
        .filter(|text| text == b"-----BEGIN ")
        .count();
    if begun > blocks.len() {
        return violated("a damaged PEM block stands beside the request");
    }
    if blocks.iter().any(|block| block.has_headers) {
        return violated("the PEM block has headers");
    }
    match case.request {
        Ok(_) => Finding::Passed,
        Err(error) => violated(error.to_string()),
    }
}

pub(super) fn key(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    let key = request.public_key();
    if let Err(error) = key.check_strength() {
        return violated(error.to_string());
    }
    if request.is_sha1_signed() {
        return violated("the request is signed with SHA-1");
    }
    let allowed = &case.policy.key_algorithms;
    let kind = match key.kind() {
        PublicKeyKind::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        PublicKeyKind::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        PublicKeyKind::EcdsaP521 => KeyAlgorithm::EcdsaP521,
        PublicKeyKind::Ed25519 => KeyAlgorithm::Ed25519,
        PublicKeyKind::Rsa { bits } if *bits < case.policy.rsa_min_bits => {
            return violated(format!(
                "RSA with {bits} bits; at least {} are asked for",
                case.policy.rsa_min_bits
            ));
        }
        PublicKeyKind::Rsa { .. } => KeyAlgorithm::Rsa,
        PublicKeyKind::MlDsa(MlDsa::MlDsa44) => KeyAlgorithm::MlDsa44,
        PublicKeyKind::MlDsa(MlDsa::MlDsa65) => KeyAlgorithm::MlDsa65,
        PublicKeyKind::MlDsa(MlDsa::MlDsa87) => KeyAlgorithm::MlDsa87,
        other => return violated(format!("keys of kind {other} are not allowed")),
    };
    holds(allowed.contains(&kind), || {
        format!("keys of kind {} are not allowed", key_of(key).0)
    })
}

pub(super) fn requested_by_node(case: &Case<'_>) -> Finding {
    if is_dns1123_subdomain(case.node_name) {
        return Finding::Passed;
    }
    let why = format!(
        "filed by {}, who is no node (system:node:NAME)",
        quote(case.csr.username())
    );
    match case.policy.on_other_requestor {
        OnViolation::Deny => violated(why),
        OnViolation::Abstain => Finding::Foreign(why),
    }
}

pub(super) fn groups(case: &Case<'_>) -> Finding {
    let groups = case.csr.groups();
    let missing = ["system:nodes", "system:authenticated"]
        .into_iter()
        .find(|group| !groups.iter().any(|has| has == group));
    match missing {
        None => Finding::Passed,
        Some(group) => violated(format!("the requestor is not in the group {group}")),
    }
}

pub(super) fn subject(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    let subject = request.subject();
    if subject.common_name != case.csr.username() {
        return violated(format!(
            "the common name is {}, and {} filed the request",
            quote(&subject.common_name),
            quote(case.csr.username())
        ));
    }
    if subject.organizations != ["system:nodes"] {
        let organizations = subject.organizations.iter().map(|one| quote(one));
        return violated(format!(
            "the organizations are {}, and only \"system:nodes\" is allowed",
            list(organizations)
        ));
    }
    holds(!request.has_unusual_subject(), || {
        "the subject holds more than that common name and that organization".to_owned()
    })
}

pub(super) fn usages(case: &Case<'_>) -> Finding {
    let usages = case.csr.usages();
    if !are_serving_usages(&usages) {
        return violated(format!(
            "the usages are {}; allowed are digital signature, server auth and, besides, key encipherment",
            list(usages.iter().map(|usage| quote(usage)))
        ));
    }
    let is_rsa = case
        .request
        .is_ok_and(|request| matches!(request.public_key().kind(), PublicKeyKind::Rsa { .. }));
    let enciphers = usages.iter().any(|usage| usage == "key encipherment");
    holds(!case.policy.strict_usages || is_rsa || !enciphers, || {
        "key encipherment is for RSA keys only (strict_usages)".to_owned()
    })
}

pub(super) fn extensions(case: &Case<'_>) -> Finding {
    let Ok(request) = case.request else {
        return Finding::Skipped("no request");
    };
    if let Some(uri) = request.uris().first() {
        return violated(format!("it asks for the URI {}", quote(uri)));
    }
    if let Some(email) = request.email_addresses().first() {
        return violated(format!("it asks for the email address {}", quote(email)));
    }
    if request.other_san_count() > 0 {
        return violated("it asks for a name that is neither DNS name nor address");
    }
    if let Some(id) = request.other_extensions().next() {
        return violated(format!(
            "it asks for the extension {id} besides names and usages"
        ));
    }
    holds(!request.has_unread_extensions(), || {
        "it carries extensions where Go does not look for them".to_owned()
    })
}

pub(super) fn count(case: &Case<'_>) -> Finding {
    let (names, addresses) = (case.names().count(), case.addresses().count());
    if names + addresses == 0 {
        return violated("it asks for no DNS name and no address");
    }
    if names > case.policy.max_dns {
        return violated(format!(
            "{names} DNS names, more than {}",
            case.policy.max_dns
        ));
    }
    holds(addresses <= case.policy.max_ip, || {
        format!("{addresses} addresses, more than {}", case.policy.max_ip)
    })
}

pub(super) fn dns_names(case: &Case<'_>) -> Finding {
    for name in case.names() {
        if let Err(why) = check_dns_name(name) {
            return violated(why);
        }
        if case
            .policy
            .unsafe_allow
            .iter()
            .any(|allowed| allowed == name)
        {
            continue;
        }
        if is_cluster_name(name, &case.policy.cluster_domains) {
            return violated(format!(
                "{} means something else in every cluster",
                quote(name)
            ));
        }
        let claim = Claim::Name(name.to_owned());
        if case.facts.cluster.is_service_name(name) || case.facts.cluster.is_service(&claim) {
            return violated(format!("{} is the name of a Service", quote(name)));
        }
        if case
            .facts
            .cluster
            .is_api_server(&Claim::Name(name.to_owned()))
            && !is_server_host_by_name(case, name)
        {
            return violated(format!("{} is a name of the API server", quote(name)));
        }
    }
    Finding::Passed
}

/// The machine on which the API server runs has its host's name in common with it, and no other
/// name. A Node's word is not enough: whoever forwards connections on that machine makes every node
/// come from there.
fn is_server_host_by_name(case: &Case<'_>, name: &str) -> bool {
    let origin = case.facts.origin.filter(|origin| origin.is_server_host);
    let host_name = origin.and_then(|origin| origin.host_name.as_deref());
    name == case.node_name && host_name == Some(name)
}

/// A node may have an address of the API server when it runs it, as far as somebody else than the
/// node says so: it connects from that very machine, or an administrator made it a control-plane
/// node and wrote the address down.
fn may_be_api_server(case: &Case<'_>, address: IpAddr) -> bool {
    let is_listed = any_holds(&case.policy.control_plane_addresses, address);
    let inventory = case.facts.inventory.and_then(Result::ok);
    let entry = inventory.and_then(|inventory| inventory.of(case.node_name));
    let is_in_inventory = entry.is_some_and(|entry| entry.contains(&address.to_string()));
    let is_control_plane = case.node.is_some_and(NodeFacts::is_control_plane);
    let origin = case.facts.origin;
    let is_server_host = origin.is_some_and(|origin| origin.is_server_host);
    (is_server_host && case.comes_from(address))
        || (is_control_plane && (is_listed || is_in_inventory))
}

pub(super) fn addresses(case: &Case<'_>) -> Finding {
    for address in case.addresses() {
        for alias in aliases(address) {
            if let Err(why) = check_address(alias, case.policy.allow_link_local) {
                return violated(why);
            }
            if case.facts.cluster.is_service(&Claim::Address(alias)) {
                return violated(format!("{address} is the address of a Service"));
            }
            let claim = Claim::Address(alias);
            if case.facts.cluster.is_api_server(&claim) && !may_be_api_server(case, alias) {
                return of_api_server(case, address);
            }
        }
    }
    match case.facts.cluster.missing() {
        None => Finding::Passed,
        Some(source) => holding(format!("{source} are not known yet"), None),
    }
}

/// A control-plane node asks for it with good reason, and only the operator can say that it may.
fn of_api_server(case: &Case<'_>, address: IpAddr) -> Finding {
    let why = format!("{address} is an address of the API server");
    match case.node.is_some_and(NodeFacts::is_control_plane) {
        true => Finding::Foreign(format!(
            "{why}; for a control-plane node, list it under control_plane_addresses of the policy, or approve by hand"
        )),
        false => violated(why),
    }
}

pub(super) fn lifetime(case: &Case<'_>) -> Finding {
    let Some(asked) = expiration_seconds(case.csr) else {
        return Finding::Passed;
    };
    let allowed = EXPIRATION_SECONDS_MIN..=i64::from(case.policy.max_expiration_seconds);
    let is_allowed = asked.as_i64().is_some_and(|asked| allowed.contains(&asked));
    holds(is_allowed, || {
        format!(
            "expirationSeconds is {}; allowed are {} to {}",
            quote(&asked.to_string()),
            allowed.start(),
            allowed.end()
        )
    })
}
