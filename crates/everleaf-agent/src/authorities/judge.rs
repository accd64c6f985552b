//! Whom to trust after an announcement, and which certificates to renew early: functions of what is
//! trusted, what was announced and what is in use.

use crate::join::CaPin;
use everleaf_api::authorities::{Announcement, Word};
use everleaf_pki::issuer::links;
use everleaf_pki::{Chain, Fingerprint, Leaf};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How far certificates are backdated: one that begins this long before a renewal may have been
/// signed after it began.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// What is to be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// All of it, what was trusted before in front.
    pub(super) trusted: Vec<Leaf>,
    /// What is announced and not trusted: no CA that is trusted vouches for it.
    pub(super) strangers: Vec<String>,
}

/// The certificates of PEM text; what cannot be read is left out as a whole.
pub(super) fn certificates(pem: &str) -> Vec<Leaf> {
    let chain = Chain::from_pem(pem.as_bytes());
    chain.map_or_else(|_| Vec::new(), |chain| chain.certificates().to_vec())
}

/// A CA is taken on when one that is trusted vouches for it, with its key: by a link, or because it
/// is the same CA renewed. What stands in a ConfigMap is not enough. One is given up only when it
/// is named as retired and another one is left.
pub(super) fn judge(trusted: &[Leaf], announcement: &Announcement) -> Verdict {
    let all_links = certificates(&announcement.links);
    let mut believed = trusted.to_vec();
    let mut waiting = certificates(&announcement.bundle);
    loop {
        let before = waiting.len();
        waiting.retain(|announced| {
            let is_known = believed.iter().any(|one| one.der() == announced.der());
            let vouched = |one: &Leaf| {
                let mut all = all_links.iter().chain([announced]);
                all.any(|link| links(link, one, announced))
            };
            let is_taken = !is_known && believed.iter().any(vouched);
            if is_taken {
                believed.push(announced.clone());
            }
            !is_known && !is_taken
        });
        if waiting.len() == before {
            break;
        }
    }
    let is_kept = |one: &Leaf| !announcement.retired.contains(&CaPin::of(one).to_string());
    if believed.iter().any(is_kept) {
        believed.retain(is_kept);
    }
    Verdict {
        trusted: believed,
        strangers: waiting.iter().map(Leaf::subject_text).collect(),
    }
}

/// Pin of the CA among these that signed `leaf`; empty when none did.
fn pin_of_signer(leaf: &Leaf, trusted: &[Leaf]) -> String {
    let signer = trusted.iter().find(|one| leaf.is_signed_by(one));
    signer.map_or_else(String::new, |signer| CaPin::of(signer).to_string())
}

/// What a node that trusts these and uses those certificates says about itself.
pub(super) fn word<'a>(
    epoch: &str,
    trusted: &[Leaf],
    in_use: impl IntoIterator<Item = (&'a str, &'a Leaf)>,
) -> Word {
    let pins: BTreeMap<_, _> = in_use
        .into_iter()
        .map(|(name, leaf)| (name.to_owned(), pin_of_signer(leaf, trusted)))
        .collect();
    Word {
        trusts: trusted
            .iter()
            .map(|one| CaPin::of(one).to_string())
            .collect(),
        certificates: pins,
        epoch: epoch.to_owned(),
    }
}

/// When that certificate is to be renewed for its CA's sake: once, at its place in the time that is
/// announced for it. One that was issued since then stays, whoever signed it, so that an
/// announcement that is not true makes no loop.
pub(super) fn early(
    leaf: &Leaf,
    trusted: &[Leaf],
    announcement: &Announcement,
) -> Option<(Fingerprint, Timestamp)> {
    let renewal = announcement.renewal?;
    let begins = leaf.not_before().checked_add(BACKDATE).ok()?;
    if begins > renewal.from || pin_of_signer(leaf, trusted) == announcement.signer {
        return None;
    }
    let fingerprint = leaf.fingerprint();
    let place = fingerprint.as_bytes().first_chunk().copied();
    let place = u32::from_be_bytes(place.unwrap_or_default());
    Some((fingerprint, renewal.moment(place)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_api::authorities::Renewal;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Template, Usage};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn authority(name: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = (at("2020-01-01T00:00:00Z"), at("2050-01-01T00:00:00Z"));
        Issuer::self_signed(name, key, [1; 16], from, to).unwrap()
    }

    fn pem(leaf: &Leaf) -> String {
        Chain::new(vec![leaf.clone()]).unwrap().to_pem()
    }

    fn link(from: &Issuer, to: &Issuer) -> String {
        let (begin, end) = (at("2020-01-01T00:00:00Z"), at("2050-01-01T00:00:00Z"));
        pem(&from.link_to(to.certificate(), [2; 16], begin, end).unwrap())
    }

    fn announce(authorities: &[&Issuer], links: &[String], retired: &[&Issuer]) -> Announcement {
        let pin = |one: &&Issuer| CaPin::of(one.certificate()).to_string();
        Announcement {
            bundle: authorities
                .iter()
                .map(|one| one.certificate_pem())
                .collect(),
            links: links.concat(),
            signer: authorities.last().map(pin).unwrap_or_default(),
            retired: retired.iter().map(pin).collect(),
            epoch: "1".to_owned(),
            renewal: None,
        }
    }

    fn subjects(verdict: &Verdict) -> Vec<String> {
        verdict.trusted.iter().map(Leaf::subject_text).collect()
    }

    #[test]
    fn only_whom_a_trusted_ca_vouches_for_is_taken_on() {
        let (old, new, third) = (authority("old"), authority("new"), authority("third"));
        let trusted = [old.certificate().clone()];
        let check = |announcement: &Announcement, expected: &[&str], strangers: &[&str]| {
            let verdict = judge(&trusted, announcement);
            assert_eq!(subjects(&verdict), expected);
            assert_eq!(verdict.strangers, strangers);
        };
        let linked = [link(&old, &new)];
        check(
            &announce(&[&old, &new], &linked, &[]),
            &["CN=old", "CN=new"],
            &[],
        );
        check(&announce(&[&old, &new], &[], &[]), &["CN=old"], &["CN=new"]);
        // Somebody who may write the ConfigMap has a CA of that name, and links of his own.
        let forged = [link(&authority("old"), &new)];
        check(
            &announce(&[&old, &new], &forged, &[]),
            &["CN=old"],
            &["CN=new"],
        );
        // By way of the second, whatever the order.
        let both = [link(&new, &third), link(&old, &new)];
        check(
            &announce(&[&third, &new], &both, &[]),
            &["CN=old", "CN=new", "CN=third"],
            &[],
        );
        check(&announce(&[], &[], &[]), &["CN=old"], &[]);
    }

    #[test]
    fn the_same_ca_renewed_vouches_for_itself() {
        let old = authority("old");
        let key = PrivateKey::from_pem(&old.key().unwrap().to_pem()).unwrap();
        let (from, to) = (at("2021-01-01T00:00:00Z"), at("2060-01-01T00:00:00Z"));
        let renewed = Issuer::self_signed("old", key, [9; 16], from, to).unwrap();
        let verdict = judge(
            &[old.certificate().clone()],
            &announce(&[&renewed], &[], &[]),
        );
        assert_eq!(verdict.trusted.len(), 2);
    }

    #[test]
    fn a_ca_goes_only_when_it_is_retired_and_another_is_left() {
        let (old, new, other) = (authority("old"), authority("new"), authority("proxy"));
        let linked = [link(&old, &new)];
        let trusted = [old.certificate().clone(), other.certificate().clone()];
        let verdict = judge(&trusted, &announce(&[&new], &linked, &[&old]));
        assert_eq!(subjects(&verdict), ["CN=proxy", "CN=new"]);
        // Whoever was away during all of it has the link, all the same.
        let verdict = judge(&trusted[..1], &announce(&[&new], &linked, &[&old]));
        assert_eq!(subjects(&verdict), ["CN=new"]);
        let verdict = judge(&trusted[..1], &announce(&[&new], &[], &[&old]));
        assert_eq!(subjects(&verdict), ["CN=old"], "nobody would be left");
        let verdict = judge(&trusted, &announce(&[&new], &linked, &[]));
        assert_eq!(subjects(&verdict), ["CN=old", "CN=proxy", "CN=new"]);
    }

    #[test]
    fn a_certificate_is_renewed_early_once_and_only_for_another_signer() {
        let (old, new) = (authority("old"), authority("new"));
        let trusted = [old.certificate().clone(), new.certificate().clone()];
        let leaf_of = |issuer: &Issuer, begin: &str| {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let template = Template {
                subject: everleaf_pki::Subject::node("n1"),
                ..Template::default()
            };
            let (begin, end) = (at(begin), at("2040-01-01T00:00:00Z"));
            let usages = [Usage::DigitalSignature, Usage::ClientAuth];
            let chain = issuer.issue_own(&template, key.public_key(), &usages, [3; 16], begin, end);
            chain.unwrap().leaf().clone()
        };
        let mut announcement = announce(&[&old, &new], &[], &[]);
        let before = leaf_of(&old, "2029-12-31T00:00:00Z");
        assert_eq!(
            early(&before, &trusted, &announcement),
            None,
            "not announced"
        );
        let (from, until) = (at("2030-01-01T00:00:00Z"), at("2030-01-01T01:00:00Z"));
        announcement.renewal = Some(Renewal { from, until });
        let (fingerprint, moment) = early(&before, &trusted, &announcement).unwrap();
        assert_eq!(fingerprint, before.fingerprint());
        assert!(from <= moment && moment < until, "{moment}");
        let by_new = leaf_of(&new, "2029-12-31T00:00:00Z");
        assert_eq!(early(&by_new, &trusted, &announcement), None);
        let since = leaf_of(&old, "2029-12-31T23:55:01Z");
        assert_eq!(early(&since, &trusted, &announcement), None);
        let said = word("1", &trusted, [("client", &before), ("serving", &by_new)]);
        assert_eq!(said.trusts.len(), 2);
        assert_eq!(
            said.certificates["client"],
            CaPin::of(old.certificate()).to_string()
        );
        assert_eq!(said.certificates["serving"], announcement.signer);
        let strange = word("1", &trusted[1..], [("client", &before)]);
        assert_eq!(strange.certificates["client"], "");
    }
}
