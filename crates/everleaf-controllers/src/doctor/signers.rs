//! What was issued, held against the authorities that have to vouch for it.

use super::found::Found;
use super::seen::Seen;
use super::{Fault, counted, kinds_of_keys, moment_of};
use crate::builtin::BuiltinSigner;
use crate::why::issued::{Order, order};
use everleaf_api::csr::Csr;
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{Chain, Leaf, VerifiedRequest};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Most requests of which the certificates are judged, the newest first: each costs signatures.
const JUDGED_MAX: usize = 2_000;

/// Authorities by whom they have to be trusted.
struct Trusted {
    clients: Option<TrustBundle>,
    /// All that is named anywhere.
    all: TrustBundle,
}

impl Trusted {
    fn of(seen: &Seen) -> Self {
        let clients = seen.cluster.client_ca.read();
        let clients = clients.and_then(|pem| TrustBundle::from_pem_lenient(pem.as_bytes()).ok());
        let pems = seen.bundles.iter().filter_map(|bundle| bundle.pem.read());
        let bundles = pems.filter_map(|pem| TrustBundle::from_pem_lenient(pem.as_bytes()).ok());
        let all = bundles.flat_map(|bundle| bundle.anchors().to_vec());
        let all = all.chain(clients.iter().flat_map(|bundle| bundle.anchors().to_vec()));
        Self {
            all: all.collect(),
            clients,
        }
    }

    fn issuer(&self, leaf: &Leaf) -> Option<&Leaf> {
        let mut anchors = self.all.anchors().iter();
        anchors.find(|anchor| leaf.is_signed_by(anchor))
    }
}

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let Some(requests) = found.read("requests", &seen.cluster.requests) else {
        return String::new();
    };
    found.read("the authorities of clients", &seen.cluster.client_ca);
    let trusted = Trusted::of(seen);
    let now = seen.cluster.now;
    let mut issued: Vec<Csr<'_>> = requests
        .iter()
        .map(Csr)
        .filter(|csr| csr.is_issued())
        .collect();
    issued.sort_by_key(|csr| std::cmp::Reverse(everleaf_api::meta::creation_timestamp(csr.0)));
    issued.truncate(JUDGED_MAX);
    let mut read = Vec::new();
    for csr in &issued {
        match Chain::from_pem(&csr.certificate()) {
            Ok(chain) => read.push((*csr, chain)),
            Err(error) => {
                let line = format!("csr/{}: {error}", csr.name());
                found.add(Fault::IssuedUnreadable, line, &[("csr", csr.name())]);
            }
        }
    }
    let newest = newest(&read);
    let mut issuers: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (csr, chain) in &read {
        let leaf = chain.leaf();
        key(*csr, leaf, found);
        // What has a successor is of no use to anybody any more, whoever signed it.
        if newest.get(&whose(*csr, leaf)) == Some(&order(*csr, leaf)) {
            dates(*csr, leaf, &trusted, now, found);
            believed(*csr, chain, &trusted, found);
        }
        if let Some(issuer) = trusted.issuer(leaf) {
            let names = issuers.entry(csr.signer_name()).or_default();
            let line = format!("{} {}", issuer.subject_text(), issuer.fingerprint());
            if names.insert(line) && names.len() == 2 {
                let line = format!(
                    "{}: csr/{} is by {}",
                    csr.signer_name(),
                    csr.name(),
                    issuer.subject_text()
                );
                found.add(Fault::SeveralIssuers, line, &[("csr", csr.name())]);
            }
        }
    }
    let count = counted(issued.len(), "certificate");
    match read.is_empty() {
        true => count,
        false => {
            let keys = kinds_of_keys(read.iter().map(|(_, chain)| chain.leaf()));
            format!("{count}; keys: {keys}")
        }
    }
}

/// A certificate's signer and subject: of those with the same, only the newest counts.
fn whose(csr: Csr<'_>, leaf: &Leaf) -> (String, String) {
    (csr.signer_name().to_owned(), leaf.subject_text())
}

fn newest(read: &[(Csr<'_>, Chain)]) -> BTreeMap<(String, String), Order> {
    let mut newest = BTreeMap::new();
    for (csr, chain) in read {
        let order = order(*csr, chain.leaf());
        let known = newest.entry(whose(*csr, chain.leaf())).or_insert(order);
        *known = order.max(*known);
    }
    newest
}

fn key(csr: Csr<'_>, leaf: &Leaf, found: &mut Found) {
    if let Ok(request) = VerifiedRequest::from_pem(&csr.request())
        && request.public_key().spki_der() != leaf.public_key().spki_der()
    {
        let line = format!("csr/{}: certificate {}", csr.name(), leaf.serial());
        found.add(Fault::IssuedOtherKey, line, &[("csr", csr.name())]);
    }
}

fn dates(csr: Csr<'_>, leaf: &Leaf, trusted: &Trusted, now: Timestamp, found: &mut Found) {
    let names = [("csr", csr.name())];
    if leaf.not_before() > now {
        let line = format!(
            "csr/{}: begins at {}; the API server says {now}",
            csr.name(),
            leaf.not_before()
        );
        found.add(Fault::IssuedNotBegun, line, &names);
    }
    let Some(issuer) = trusted.issuer(leaf) else {
        return;
    };
    let line = format!(
        "csr/{}: until {}; {} until {}",
        csr.name(),
        leaf.not_after(),
        issuer.subject_text(),
        issuer.not_after()
    );
    if leaf.not_after() > issuer.not_after() {
        found.add(Fault::IssuedOutlivesCa, line, &names);
    } else if leaf.not_after() == issuer.not_after() && leaf.not_after() > now {
        found.add(Fault::IssuedEndsWithCa, line, &names);
    }
}

fn believed(csr: Csr<'_>, chain: &Chain, trusted: &Trusted, found: &mut Found) {
    let leaf = chain.leaf();
    let shown = Presented::from(chain);
    let refusal = |bundle: &TrustBundle, purpose| {
        let moment = moment_of(leaf, bundle);
        bundle.judge(&shown, purpose, moment).err()
    };
    let line = |why: &dyn std::fmt::Display| {
        format!(
            "csr/{}: {} of {}: {why}",
            csr.name(),
            leaf.subject_text(),
            leaf.issuer_text()
        )
    };
    match BuiltinSigner::parse(csr.signer_name()) {
        Ok(BuiltinSigner::KubeApiserverClient | BuiltinSigner::KubeApiserverClientKubelet) => {
            let clients = trusted.clients.as_ref();
            if let Some(why) = clients.and_then(|bundle| refusal(bundle, Purpose::ClientAuth)) {
                found.add(Fault::IssuedOtherCa, line(&why), &[("csr", csr.name())]);
            }
        }
        Ok(BuiltinSigner::KubeletServing) => {
            let name = leaf.subject().common_name.clone();
            let node = name.strip_prefix("system:node:").unwrap_or_default();
            if let Some(why) = refusal(&trusted.all, Purpose::ServerAuth) {
                found.add(Fault::ServingOtherCa, line(&why), &[("node", node)]);
            }
        }
        Ok(BuiltinSigner::LegacyUnknown) | Err(_) => {}
    }
}
