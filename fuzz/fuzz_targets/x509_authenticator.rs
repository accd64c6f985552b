//! The x509 authenticator: certificates in, verdict out. It must not panic, and must not believe
//! what the second judge refuses.
//!
//! An input is a [`Case`]: the time, then certificates, each with its role; as they are, or as what
//! the target signs with a key of its own before it asks. The mutator bends elements and
//! extensions, besides bytes, so that most inputs are certificates still.

#![no_main]

use everleaf_apiserver::authn::{Authenticator, Config, Peer};
use everleaf_apiserver::objects::{Objects, Stored};
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{CertificateError, Leaf, pem};
use everleaf_second_judge::{Case, Dice, Verdict, corpus, judge, mutate};
use http::HeaderMap;
use jiff::Timestamp;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::{Arc, LazyLock};

/// Twenty years: another judgement by the same authenticator, which remembers the first.
const LATER_SECONDS: u32 = 20 * 365 * 24 * 3600;

static CORPUS: LazyLock<Vec<Case>> = LazyLock::new(corpus);

fuzz_target!(|data: &[u8]| {
    if let Some(case) = Case::from_bytes(data) {
        check(&case);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = Dice::new(u64::from(seed));
    let mut case = match Case::from_bytes(&data[..size]) {
        Some(case) if !case.members.is_empty() => case,
        _ => dice_case(&mut dice),
    };
    if dice.below(8) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    mutate(&mut case, &CORPUS, &mut dice);
    let bytes = case.to_bytes();
    if bytes.len() > max_size {
        return size;
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
});

fn dice_case(dice: &mut Dice) -> Case {
    CORPUS[dice.below(CORPUS.len())].clone()
}

fn check(case: &Case) {
    let (anchors, shown) = (case.anchors(), case.shown());
    let is_believed = is_believed(&anchors, &shown, case.now);
    if is_believed {
        demand_no_refusal(&anchors, &shown, case.now);
    }
    let Some(authenticator) = authenticator(&anchors) else {
        return;
    };
    let peer = Peer {
        certificates: Arc::new(shown.clone()),
        ..Peer::default()
    };
    let name_at = |now: u32| {
        authenticator
            .authenticate(&HeaderMap::new(), "/", &peer, &Nothing, at(now))
            .map(|user| user.name)
            .ok()
    };
    let first = name_at(case.now);
    assert_eq!(first, name_at(case.now), "remembered otherwise than found");
    if let Some(name) = first {
        assert!(is_believed, "{name} comes from nowhere");
        let later = case.now.saturating_add(LATER_SECONDS);
        if name_at(later).is_some() {
            demand_no_refusal(&anchors, &shown, later);
        }
    }
}

fn is_believed(anchors: &[Vec<u8>], shown: &[Vec<u8>], now: u32) -> bool {
    let bundle = TrustBundle::from_ders(anchors.iter().map(Vec::as_slice));
    let shown = Presented::from_ders(shown.iter().map(Vec::as_slice));
    match (bundle, shown) {
        (Ok(bundle), Ok(shown)) => bundle.judge(&shown, Purpose::ClientAuth, at(now)).is_ok(),
        _ => false,
    }
}

fn demand_no_refusal(anchors: &[Vec<u8>], shown: &[Vec<u8>], now: u32) {
    if let Verdict::No(reason) = judge(anchors, shown, i64::from(now)) {
        panic!("believed, but: {reason}");
    }
}

/// One that believes the readable ones of these.
fn authenticator(anchors: &[Vec<u8>]) -> Option<Authenticator> {
    let is_readable = |der: &&Vec<u8>| {
        matches!(
            Leaf::from_der(der),
            Ok(_) | Err(CertificateError::NeverValid { .. })
        )
    };
    let readable = anchors.iter().filter(is_readable);
    let bundle: String = readable
        .map(|der| pem::encode("CERTIFICATE", der))
        .collect();
    if bundle.is_empty() {
        return None;
    }
    let config = Config {
        client_ca_pem: bundle.into_bytes(),
        ..Config::default()
    };
    Authenticator::new(config).ok()
}

fn at(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).expect("invariant: fits")
}

/// A server that holds no objects.
struct Nothing;

impl Objects for Nothing {
    fn get(&self, _: &str, _: &str, _: &str) -> Option<Arc<Stored>> {
        None
    }
    fn list(&self, _: &str, _: Option<&str>) -> Vec<Arc<Stored>> {
        Vec::new()
    }
    fn last_change(&self, _: &str) -> u64 {
        0
    }
}
