//! Authorities, and what they issued.

use super::*;
use crate::doctor::tests::world::{DAY, another, issued as issued_by, named, pem_of, stranger};
use everleaf_api::csr::Csr;
use everleaf_pki::{Chain, KeyAlgorithm, PrivateKey};
use jiff::Timestamp;
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use std::time::Duration;

fn lasting(name: &str, from: i64, to: i64) -> String {
    pem_of(&another(
        name,
        now() + hours(24 * from),
        now() + hours(24 * to),
    ))
}

pub(super) fn bundles() -> Cases {
    let both = lasting("test-a", -400, -1) + &lasting("test-b", -1, 4000);
    let strangers = || Known::Read(pem_of(&stranger()));
    vec![
        (
            Fault::CaEnded,
            World::healthy().with_bundle(&lasting("old", -400, -1)),
        ),
        (Fault::CaLeftover, World::healthy().with_bundle(&both)),
        (
            Fault::CaNotBegun,
            World::healthy().with_bundle(&lasting("next", 1, 4000)),
        ),
        (
            Fault::CaEndsSoon,
            World::healthy().with_bundle(&lasting("old", -400, 20)),
        ),
        (
            Fault::CaEndsWithinHalfYear,
            World::healthy().with_bundle(&lasting("old", -400, 100)),
        ),
        (
            Fault::CaUnreadable,
            World::healthy().with_bundle("no certificate"),
        ),
        (
            Fault::ClientCaAbsent,
            with(|seen, _| {
                seen.cluster.client_ca = Known::Absent;
                seen.bundles[1].pem = Known::Absent;
            }),
        ),
        (
            Fault::RootCaAbsent,
            with(|seen, _| seen.without_root_ca = Known::Read(vec!["apps".to_owned()])),
        ),
        (
            Fault::RootCaOther,
            with(|seen, _| seen.bundles[2].pem = strangers()),
        ),
        (
            Fault::ClusterInfoOther,
            with(|seen, _| seen.bundles[3].pem = strangers()),
        ),
    ]
}

/// A certificate of its own kind, good for decades.
fn made(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::new(vec!["odd".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2045, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

pub(super) fn form() -> Cases {
    let leaf = made(|params| params.is_ca = IsCa::NoCa);
    let silent = made(|params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    vec![
        (
            Fault::CaWeakKey,
            World::healthy().with_bundle(odd::WEAK_KEY),
        ),
        (Fault::CaSha1, World::healthy().with_bundle(odd::SHA1)),
        (
            Fault::CaNoKeyIdentifier,
            World::healthy().with_bundle(odd::NO_KEY_IDENTIFIER),
        ),
        (
            Fault::CaSharedName,
            World::healthy().with_bundle(&lasting("test-ca", -1, 4000)),
        ),
        (Fault::CaNotAnAuthority, World::healthy().with_bundle(&leaf)),
        (Fault::CaNoCertSign, World::healthy().with_bundle(&silent)),
    ]
}

/// One more client certificate, by this CA.
fn client(ca: &Issuer, life: Duration, offset: SignedDuration) -> Value {
    named(issued_by(ca, kubelet_client("n2"), life, offset), "csr-n2")
}

fn more(object: impl FnOnce(&Issuer) -> Value) -> World {
    let world = World::healthy();
    let object = object(&world.ca);
    world.filed(object)
}

pub(super) fn issued() -> Cases {
    let other = stranger();
    let other_key = |ca: &Issuer| {
        let one = client(ca, DAY, SignedDuration::ZERO);
        let mut two = named(
            issued_by(ca, kubelet_client("n2"), DAY, SignedDuration::ZERO),
            "csr-n2",
        );
        two["status"]["certificate"] = one["status"]["certificate"].clone();
        two
    };
    let unreadable = |ca: &Issuer| {
        let mut object = client(ca, DAY, SignedDuration::ZERO);
        object["status"]["certificate"] = json!("bm9uZQ==");
        object
    };
    let serving = kubelet_serving("n2").ip("10.0.0.2");
    let serving = named(
        issued_by(&other, serving, DAY, SignedDuration::ZERO),
        "serving-n2",
    );
    let trusting = |ca: &Issuer| {
        World::healthy().edit(|seen, own| {
            let pem = pem_of(own) + &pem_of(ca);
            seen.cluster.client_ca = Known::Read(pem.clone());
            seen.bundles[1].pem = Known::Read(pem);
        })
    };
    vec![
        (
            Fault::IssuedOtherCa,
            more(|_| client(&other, DAY, SignedDuration::ZERO)),
        ),
        (Fault::IssuedUnreadable, more(unreadable)),
        (Fault::IssuedOtherKey, more(other_key)),
        (Fault::IssuedNotBegun, more(|ca| client(ca, DAY, hours(2)))),
        (Fault::ServingOtherCa, World::healthy().filed(serving)),
        (
            Fault::SeveralIssuers,
            trusting(&other).filed(client(&other, DAY, SignedDuration::ZERO)),
        ),
        (Fault::IssuedEndsWithCa, renewed_until(|end| end)),
        (
            Fault::IssuedOutlivesCa,
            renewed_until(|end| end - hours(24)),
        ),
    ]
}

/// The CA was renewed with the same key, for a shorter time than that of the one that has issued
/// before: until `end` of what that one has issued.
fn renewed_until(end: impl FnOnce(Timestamp) -> Timestamp) -> World {
    with(|seen, _| {
        let text = PrivateKey::generate(KeyAlgorithm::EcdsaP256)
            .unwrap()
            .to_pem();
        let make = |end: Timestamp| {
            let key = PrivateKey::from_pem(&text).unwrap();
            Issuer::self_signed("twice", key, [3; 16], now() - hours(24), end).unwrap()
        };
        let life = Duration::from_secs(86_400 * 365);
        let before = make(now() + hours(24 * 3000));
        let object = issued_by(&before, kubelet_client("n1"), life, SignedDuration::ZERO);
        let chain = Chain::from_pem(&Csr(&object).certificate()).unwrap();
        let pem = pem_of(&make(end(chain.leaf().not_after())));
        seen.cluster.client_ca = Known::Read(pem.clone());
        seen.bundles[1].pem = Known::Read(pem);
        seen.cluster.requests = Known::Read(vec![named(object, "csr-n1")]);
    })
}
