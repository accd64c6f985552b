//! Finding the ways from a certificate to an anchor, and judging each.
//!
//! The search is Go's (`crypto/x509/verify.go`): depth first, anchors before intermediates, of
//! several candidates of one name first those whose key identifier fits, with a limit of signatures
//! ([`super::effort`]). All ways are found first; usage, policies and names are asked of each whole
//! way, and one that passes is enough.

use super::constraints::ComparableNames;
use super::effort::{self, Effort, SIGNATURE_CHECKS_MAX};
use super::policies;
use super::{Fault, Path, Purpose, Refusal, TrustBundle};
use crate::asn1;
use crate::certificate::{CertificateBody, Leaf};
use crate::extension::KeyUsageBits;
use jiff::Timestamp;

/// As what a certificate takes part in a way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Leaf,
    Intermediate,
    Anchor,
}

/// All ways from `leaf` to an anchor whose members are in force at `now`, judged for `purpose`.
pub(super) fn find(
    bundle: &TrustBundle,
    leaf: &Leaf,
    intermediates: &[Leaf],
    purpose: Purpose,
    now: Timestamp,
) -> Result<Path, Refusal> {
    check_member(leaf, Role::Leaf, 0, now).map_err(Refusal::Leaf)?;
    let ways = if bundle.contains(leaf) {
        vec![vec![leaf]]
    } else {
        let mut search = Search {
            bundle,
            intermediates,
            now,
            checks_left: SIGNATURE_CHECKS_MAX,
            first_fault: None,
            ways: Vec::new(),
        };
        search.extend(&mut vec![leaf]);
        if search.ways.is_empty() {
            return Err(search.refusal());
        }
        search.ways
    };
    let mut refusal = None;
    let mut best: Option<Path> = None;
    let mut effort = Effort::new();
    for way in ways {
        match judge_whole(&way, purpose, &mut effort) {
            Ok(()) => {
                let path = Path::of(&way);
                if best
                    .as_ref()
                    .is_none_or(|best| best.not_after < path.not_after)
                {
                    best = Some(path);
                }
            }
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    best.ok_or_else(|| refusal.unwrap_or(Refusal::UnknownAuthority(None)))
}

struct Search<'a> {
    bundle: &'a TrustBundle,
    intermediates: &'a [Leaf],
    now: Timestamp,
    checks_left: usize,
    /// Why the first candidate of the right name was none.
    first_fault: Option<Fault>,
    ways: Vec<Vec<&'a Leaf>>,
}

impl<'a> Search<'a> {
    fn refusal(self) -> Refusal {
        if self.checks_left == 0 {
            return Refusal::TooManySignatures(SIGNATURE_CHECKS_MAX);
        }
        Refusal::UnknownAuthority(self.first_fault)
    }

    /// Adds to `ways` all that begin with `way`.
    fn extend(&mut self, way: &mut Vec<&'a Leaf>) {
        let Some(child) = way.last().copied() else {
            return;
        };
        let anchors = self.bundle.named(&child.body().issuer_der);
        let mut candidates: Vec<(Role, &'a Leaf)> = by_key_identifier(child, anchors)
            .map(|candidate| (Role::Anchor, candidate))
            .collect();
        let intermediates = self.intermediates;
        let named = intermediates
            .iter()
            .filter(|candidate| candidate.body().subject_der == child.body().issuer_der);
        candidates.extend(
            by_key_identifier(child, named).map(|candidate| (Role::Intermediate, candidate)),
        );
        for (role, candidate) in candidates {
            if self.checks_left == 0 {
                return;
            }
            self.checks_left = self
                .checks_left
                .saturating_sub(effort::weight(candidate.public_key()));
            if way.iter().any(|member| is_same_entity(member, candidate)) {
                continue;
            }
            let fit = check_issuer(child, candidate)
                .and_then(|()| check_member(candidate, role, way.len() - 1, self.now));
            if let Err(fault) = fit {
                self.first_fault.get_or_insert(fault);
                continue;
            }
            way.push(candidate);
            if role == Role::Anchor {
                self.ways.push(way.clone());
            } else {
                self.extend(way);
            }
            way.pop();
        }
    }
}

/// Those whose subject key identifier is the child's authority key identifier, then those where one
/// is missing, then the rest.
fn by_key_identifier<'a>(
    child: &Leaf,
    candidates: impl Iterator<Item = &'a Leaf>,
) -> impl Iterator<Item = &'a Leaf> {
    let wanted = child.body().authority_key_id.clone().unwrap_or_default();
    let mut sorted: Vec<&'a Leaf> = candidates.collect();
    sorted.sort_by_key(|candidate| {
        let id = candidate
            .body()
            .subject_key_id
            .as_deref()
            .unwrap_or_default();
        match (id == wanted, id.is_empty() || wanted.is_empty()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    });
    sorted.into_iter()
}

/// Same name, key and alternative names: a way does not come by twice.
fn is_same_entity(one: &Leaf, other: &Leaf) -> bool {
    let (one, other) = (one.body(), other.body());
    one.subject_der == other.subject_der
        && one.public_key.spki_der() == other.public_key.spki_der()
        && one.names_der == other.names_der
}

/// RFC 5280 4.2.1.3, 4.2.1.9: an issuer is a CA that may sign certificates, and its key made the
/// signature. Before version 3 there was no way to say so.
fn check_issuer(child: &Leaf, issuer: &Leaf) -> Result<(), Fault> {
    check_authority(issuer)?;
    child
        .verify_signature(issuer.public_key())
        .map_err(|error| Fault::Signature(error.to_string()))
}

/// What a certificate itself says against being an issuer.
pub(crate) fn check_authority(issuer: &Leaf) -> Result<(), Fault> {
    let body = issuer.body();
    match body.basic_constraints {
        Some(constraints) if !constraints.is_ca => return Err(Fault::NotAnAuthority),
        None if body.version == 3 => return Err(Fault::NotAnAuthority),
        _ => {}
    }
    let usage = body.key_usage.unwrap_or_default();
    if usage != KeyUsageBits::default() && !usage.contains(KeyUsageBits::CERT_SIGN) {
        return Err(Fault::NoCertSign);
    }
    Ok(())
}

/// What holds for each member: everything critical is understood, the dates are kept, and an issuer
/// is not too far above the leaf. `intermediates_below` counts those between it and the leaf.
fn check_member(
    certificate: &Leaf,
    role: Role,
    intermediates_below: usize,
    now: Timestamp,
) -> Result<(), Fault> {
    let body = certificate.body();
    check_extensions(body)?;
    check_dates(certificate, now)?;
    match body.basic_constraints {
        None if role == Role::Intermediate => Err(Fault::NotAnAuthority),
        Some(constraints) if role == Role::Intermediate && !constraints.is_ca => {
            Err(Fault::NotAnAuthority)
        }
        Some(constraints) if role != Role::Leaf => match constraints.path_len {
            Some(limit) if intermediates_below as u64 > limit => Err(Fault::PathLength(limit)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Every extension that matters is one that is acted on.
pub(super) fn check_extensions(body: &CertificateBody) -> Result<(), Fault> {
    if let Some(why) = body.ambiguity {
        return Err(Fault::Ambiguous(why));
    }
    match body.unhandled_critical {
        Some(extension) => Err(Fault::CriticalExtension(asn1::named(&extension))),
        None => Ok(()),
    }
}

/// Both ends included.
pub(super) fn check_dates(certificate: &Leaf, now: Timestamp) -> Result<(), Fault> {
    if now < certificate.not_before() {
        return Err(Fault::NotYetValid(certificate.not_before()));
    }
    if now > certificate.not_after() {
        return Err(Fault::Expired(certificate.not_after()));
    }
    Ok(())
}

/// Policies, usage and names along a whole way, leaf first.
fn judge_whole(way: &[&Leaf], purpose: Purpose, effort: &mut Effort) -> Result<(), Refusal> {
    let bodies: Vec<&CertificateBody> = way.iter().map(|member| member.body()).collect();
    if !policies::are_valid(&bodies, effort)? {
        return Err(Refusal::Policies);
    }
    // The leaf's own usages are named first: that is what can be mended.
    if let Some(above) = way.iter().position(|member| !member.allows(purpose.oid())) {
        return Err(Refusal::Usage { purpose, above });
    }
    for (index, body) in bodies.iter().enumerate() {
        let mut constraints = bodies[index + 1..]
            .iter()
            .filter_map(|above| above.name_constraints.as_ref())
            .peekable();
        let (Some(names), Some(_)) = (&body.names_der, constraints.peek()) else {
            continue;
        };
        // To read them costs, too; the shortest has three octets.
        effort.spend(names.len() / 3)?;
        let names = ComparableNames::from_der(names).map_err(Refusal::Name)?;
        for constraint in constraints {
            effort.spend(constraint.comparisons(&names))?;
            constraint.check(&names).map_err(Refusal::Name)?;
        }
    }
    Ok(())
}
