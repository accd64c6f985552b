//! Certificate authorities: those that clients, the API server, pods and joining machines trust.

use super::found::Found;
use super::seen::{Answer, Audience, Bundle, Seen};
use super::{Fault, away, counted, kinds_of_keys};
use crate::why::Known;
use everleaf_pki::Leaf;
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use jiff::{SignedDuration, Timestamp};

const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
const HALF_YEAR: SignedDuration = SignedDuration::from_hours(182 * 24);

/// An authority, and the bundles in which it is.
struct Anchor {
    leaf: Leaf,
    origins: Vec<String>,
    /// The first file on the command line that holds it; "" when none does.
    file: String,
    /// In each of its bundles another one is in force.
    has_successor: bool,
}

impl Anchor {
    /// For commands about it.
    fn names(&self) -> [(&'static str, &str); 1] {
        [("ca", &self.file)]
    }

    fn line(&self, what: &str) -> String {
        format!(
            "{} ({}): {what}",
            self.leaf.subject_text(),
            self.origins.join(", ")
        )
    }
}

pub(super) fn look(seen: &Seen, found: &mut Found) -> String {
    let now = match seen.server.answer {
        Answer::Yes => seen.cluster.now,
        _ => seen.cluster.local,
    };
    let mut anchors: Vec<Anchor> = Vec::new();
    for bundle in &seen.bundles {
        gather(bundle, now, &mut anchors, found);
    }
    for anchor in &anchors {
        dates(anchor, now, found);
        form(anchor, found);
    }
    shared_names(&anchors, found);
    vouching(seen, now, found);
    // Of a server that does not answer that is said of all at once.
    if seen.server.answer == Answer::Yes
        && let Some(namespaces) = found.read("ConfigMaps kube-root-ca.crt", &seen.without_root_ca)
    {
        for namespace in namespaces {
            let line = format!("namespace {namespace}");
            found.add(Fault::RootCaAbsent, line, &[("namespace", namespace)]);
        }
    }
    let ends = anchors.iter().map(|anchor| anchor.leaf.not_after()).min();
    ends.map_or_else(String::new, |end| {
        let count = anchors.len();
        let what = if count == 1 {
            "1 authority".to_owned()
        } else {
            format!("{count} authorities")
        };
        let keys = kinds_of_keys(anchors.iter().map(|anchor| &anchor.leaf));
        format!("{what}, the first ends at {end}; keys: {keys}")
    })
}

fn gather(bundle: &Bundle, now: Timestamp, anchors: &mut Vec<Anchor>, found: &mut Found) {
    let pem = match &bundle.pem {
        Known::Read(pem) => pem,
        Known::Absent if bundle.audience == Audience::Clients => {
            found.add(Fault::ClientCaAbsent, bundle.origin.clone(), &[]);
            return;
        }
        Known::Absent => return,
        Known::Hidden(why) if bundle.audience == Audience::Kubeconfig => {
            return found.unreadable(&bundle.origin, why);
        }
        Known::Hidden(why) => return found.not_seen(&bundle.origin, why),
    };
    let read = match TrustBundle::from_pem_lenient(pem.as_bytes()) {
        Ok(read) => read,
        Err(error) => {
            let line = format!("{}: {error}", bundle.origin);
            return found.add(Fault::CaUnreadable, line, &[]);
        }
    };
    for leaf in read.anchors() {
        let is_other =
            |other: &&Leaf| *other != leaf && other.not_after() > now && other.not_before() <= now;
        let has_successor = read.anchors().iter().any(|other| is_other(&other));
        match anchors.iter_mut().find(|anchor| anchor.leaf == *leaf) {
            Some(anchor) => {
                anchor.origins.push(bundle.origin.clone());
                if anchor.file.is_empty() {
                    anchor.file = file_of(bundle);
                }
                anchor.has_successor &= has_successor;
            }
            None => anchors.push(Anchor {
                leaf: leaf.clone(),
                origins: vec![bundle.origin.clone()],
                file: file_of(bundle),
                has_successor,
            }),
        }
    }
}

fn file_of(bundle: &Bundle) -> String {
    match bundle.audience {
        Audience::Named => bundle.origin.clone(),
        _ => String::new(),
    }
}

fn dates(anchor: &Anchor, now: Timestamp, found: &mut Found) {
    let leaf = &anchor.leaf;
    let names = anchor.names();
    let end = leaf.not_after();
    let left = end.duration_since(now);
    let line = anchor.line(&format!("{end}, {}", away(end, now)));
    if leaf.not_before() > now {
        let line = anchor.line(&format!("it begins at {}", leaf.not_before()));
        found.add(Fault::CaNotBegun, line, &names);
    } else if left.is_negative() || left.is_zero() {
        let fault = match anchor.has_successor {
            true => Fault::CaLeftover,
            false => Fault::CaEnded,
        };
        found.add(fault, line, &names);
    } else if anchor.has_successor {
        // Another one is there already.
    } else if left < SOON {
        found.add(Fault::CaEndsSoon, line, &names);
    } else if left < HALF_YEAR {
        found.add(Fault::CaEndsWithinHalfYear, line, &names);
    }
}

fn form(anchor: &Anchor, found: &mut Found) {
    let leaf = &anchor.leaf;
    let names = anchor.names();
    if !leaf.is_ca() {
        let line = anchor.line(&format!("issued by {}", leaf.issuer_text()));
        return found.add(Fault::CaNotAnAuthority, line, &names);
    }
    if !leaf.allows_cert_sign() {
        found.add(
            Fault::CaNoCertSign,
            anchor.line("key usage without keyCertSign"),
            &names,
        );
    }
    if let Err(error) = leaf.public_key().check_strength() {
        found.add(Fault::CaWeakKey, anchor.line(&error.to_string()), &names);
    }
    // Nobody checks the signature of a root.
    if leaf.has_sha1_signature() && leaf.issuer_text() != leaf.subject_text() {
        let line = anchor.line(&format!("signed by {}", leaf.issuer_text()));
        found.add(Fault::CaSha1, line, &names);
    }
    if leaf.subject_key_id().is_none() {
        found.add(
            Fault::CaNoKeyIdentifier,
            anchor.line("no subjectKeyIdentifier"),
            &names,
        );
    }
}

fn shared_names(anchors: &[Anchor], found: &mut Found) {
    for (index, anchor) in anchors.iter().enumerate() {
        let is_namesake = |other: &&Anchor| {
            let (one, two) = (&anchor.leaf, &other.leaf);
            one.subject_der() == two.subject_der()
                && one.public_key().spki_der() != two.public_key().spki_der()
        };
        if let Some(other) = anchors[..index].iter().find(is_namesake) {
            let line = anchor.line(&format!("and another one of {}", other.origins.join(", ")));
            found.add(Fault::CaSharedName, line, &anchor.names());
        }
    }
}

/// Whether what pods and joining machines trust vouches for the server.
fn vouching(seen: &Seen, now: Timestamp, found: &mut Found) {
    let Some(ders) = seen.server.shown.read() else {
        return;
    };
    let Ok(shown) = Presented::from_ders(ders.iter().map(Vec::as_slice)) else {
        return;
    };
    // Its own dates are told of the server.
    let moment = now.clamp(shown.leaf().not_before(), shown.leaf().not_after());
    for bundle in &seen.bundles {
        let fault = match bundle.audience {
            Audience::Pods => Fault::RootCaOther,
            Audience::Joining => Fault::ClusterInfoOther,
            Audience::Kubeconfig | Audience::Clients | Audience::Named => continue,
        };
        let Some(Ok(read)) = bundle
            .pem
            .read()
            .map(|pem| TrustBundle::from_pem_lenient(pem.as_bytes()))
        else {
            continue;
        };
        if let Err(refusal) = read.judge(&shown, Purpose::ServerAuth, moment) {
            let held = counted(read.anchors().len(), "certificate");
            let line = format!("{} ({held}): {refusal}", bundle.origin);
            found.add(fault, line, &[]);
        }
    }
}
