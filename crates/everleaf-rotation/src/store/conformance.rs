//! The list of things that every [`CertStore`] does; each implementation runs it in its tests.
//!
//! ```
//! use everleaf_rotation::store::{conformance, memory::MemoryStore};
//!
//! conformance::check_all(&mut || Box::new(MemoryStore::new("kubelet-client")));
//! ```

use super::{CertStore, PendingRequest, RequestName, RequestUid, StoreError};
use crate::effect::{KeyForm, Order};
use everleaf_pki::{Chain, Issuer, PrivateKey, SignerName, Subject, Template, Usage};
use jiff::{SignedDuration, Timestamp, civil::DateTime};

/// Makes an empty store.
pub type Make<'a> = &'a mut dyn FnMut() -> Box<dyn CertStore>;

/// Runs the whole list.
///
/// # Panics
/// When the store breaks a promise.
pub fn check_all(make: Make<'_>) {
    an_empty_store_holds_nothing(make());
    a_pending_request_is_read_back(make());
    an_installed_credential_is_current(make());
    the_last_accepted_credential_survives_a_rotation(make());
    going_back_makes_it_current_again(make());
    two_installs_in_one_second_are_two_credentials(make());
    a_chain_for_another_key_changes_nothing(make());
    old_credentials_are_pruned_only_on_acceptance(make());
}

/// A certificate authority with deterministic keys, for tests of stores and machines.
pub(crate) struct Authority {
    issuer: Issuer,
    serial: u64,
}

impl Authority {
    /// An authority whose certificate covers every date that tests use, or ends at `not_after`.
    pub(crate) fn ending(not_after: Timestamp) -> Self {
        let key = PrivateKey::from_ed25519_seed(&[42; 32]).expect("invariant: 32 bytes are a seed");
        let start = at("2000-01-01T00:00:00Z");
        let issuer = Issuer::self_signed("test authority", key, [1; 16], start, not_after)
            .expect("invariant: the dates are in order");
        Self { issuer, serial: 1 }
    }

    pub(crate) fn new() -> Self {
        Self::ending(at("2199-01-01T00:00:00Z"))
    }

    #[cfg(test)]
    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Sixteen bytes for the next serial number.
    pub(crate) fn next_serial(&mut self) -> [u8; 16] {
        self.serial += 1;
        let mut serial = [0x40; 16];
        serial[8..].copy_from_slice(&self.serial.to_be_bytes());
        serial
    }

    /// A chain for `pending`, with these dates.
    pub(crate) fn issue(
        &mut self,
        pending: &PendingRequest,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Chain {
        let serial = self.next_serial();
        self.issuer
            .issue_own(
                &pending.template,
                &pending.public_key,
                &pending.usages,
                serial,
                not_before,
                not_after,
            )
            .expect("invariant: the template is sound")
    }
}

/// An instant, written.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("invariant: tests write dates well")
}

/// What a client machine of node n1 orders.
pub(crate) fn client_order() -> Order {
    Order {
        template: Template {
            subject: Subject::node("n1"),
            ..Template::default()
        },
        signer_name: SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
        usages: vec![Usage::DigitalSignature, Usage::ClientAuth],
        expiration_seconds: None,
        key: KeyForm::Configured,
    }
}

/// A pending request and its key, made from a seed.
pub(crate) fn prepare(order: Order, seed: u64, now: Timestamp) -> (PendingRequest, PrivateKey) {
    let mut bytes = [3; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let key = PrivateKey::from_ed25519_seed(&bytes).expect("invariant: 32 bytes are a seed");
    prepare_with(order, key, seed, now)
}

/// The same, with this key.
pub(crate) fn prepare_with(
    order: Order,
    key: PrivateKey,
    seed: u64,
    now: Timestamp,
) -> (PendingRequest, PrivateKey) {
    let request = order
        .template
        .to_request_pem(&key)
        .expect("invariant: the template is sound");
    let name = RequestName::new(format!("node-csr-{seed}"));
    let public_key = key.public_key().clone();
    (
        PendingRequest::new(order, name, request, public_key, now),
        key,
    )
}

const NOW: &str = "2026-08-01T10:11:12Z";
const LOCAL: DateTime = DateTime::constant(2026, 8, 1, 12, 11, 12, 0);

/// Puts, installs and clears one credential valid for `days`; returns its chain.
fn install(store: &mut dyn CertStore, seed: u64, days: i64) -> Chain {
    let now = at(NOW);
    let (pending, key) = prepare(client_order(), seed, now);
    store
        .put_pending(&pending, &key)
        .expect("a pending request can be put");
    let start = now + SignedDuration::from_secs(i64::try_from(seed).unwrap_or(0));
    let end = start + SignedDuration::from_hours(24 * days);
    let chain = Authority::new().issue(&pending, start, end);
    let installed = store
        .install(&chain, LOCAL)
        .expect("a chain for the pending key installs");
    assert_eq!(installed.leaf().fingerprint(), chain.leaf().fingerprint());
    store
        .discard_pending()
        .expect("a pending request can be discarded");
    chain
}

#[track_caller]
fn assert_current(store: &mut dyn CertStore, chain: &Chain) {
    let opened = store.load(at(NOW)).expect("a store that was written loads");
    let current = opened.current.expect("there is a current credential");
    assert_eq!(current.leaf().fingerprint(), chain.leaf().fingerprint());
}

fn an_empty_store_holds_nothing(mut store: Box<dyn CertStore>) {
    let opened = store.load(at(NOW)).expect("an empty store loads");
    assert!(opened.current.is_none() && opened.last_accepted.is_none());
    assert!(opened.pending.is_none() && opened.findings.is_empty());
    store
        .discard_pending()
        .expect("nothing to discard is no error");
    assert!(matches!(store.revert(), Err(StoreError::NothingToRevert)));
    assert_eq!(store.accept().expect("nothing to prune is no error"), 0);
    let (pending, _) = prepare(client_order(), 1, at(NOW));
    let chain = Authority::new().issue(&pending, at(NOW), at("2027-01-01T00:00:00Z"));
    assert!(matches!(
        store.install(&chain, LOCAL),
        Err(StoreError::NothingPending)
    ));
}

fn a_pending_request_is_read_back(mut store: Box<dyn CertStore>) {
    let (first, key) = prepare(client_order(), 1, at(NOW));
    store
        .put_pending(&first, &key)
        .expect("a pending request can be put");
    let read = |store: &mut dyn CertStore| {
        let opened = store.load(at(NOW)).expect("the store loads");
        assert_eq!(opened.findings, vec![]);
        opened.pending
    };
    assert_eq!(read(&mut *store), Some(first.clone()));
    let known = PendingRequest {
        uid: Some(RequestUid::new("u-1")),
        ..first
    };
    store
        .update_pending(&known)
        .expect("its record can be replaced");
    assert_eq!(read(&mut *store), Some(known));
    let (second, key) = prepare(client_order(), 2, at(NOW));
    store
        .put_pending(&second, &key)
        .expect("another one replaces it");
    assert_eq!(read(&mut *store), Some(second));
    store.discard_pending().expect("it can be discarded");
    assert_eq!(read(&mut *store), None);
}

fn an_installed_credential_is_current(mut store: Box<dyn CertStore>) {
    let first = install(&mut *store, 1, 365);
    assert_current(&mut *store, &first);
    // An expired credential is still reported: the server's clock decides.
    let opened = store
        .load(at("2036-01-01T00:00:00Z"))
        .expect("the store loads");
    assert!(opened.current.is_some());
}

fn the_last_accepted_credential_survives_a_rotation(mut store: Box<dyn CertStore>) {
    let first = install(&mut *store, 1, 365);
    store
        .accept()
        .expect("a current credential can be accepted");
    let second = install(&mut *store, 2, 365);
    assert_current(&mut *store, &second);
    let third = install(&mut *store, 3, 365);
    assert_current(&mut *store, &third);
    let opened = store.load(at(NOW)).expect("the store loads");
    let accepted = opened.last_accepted.expect("the accepted one is kept");
    assert_eq!(accepted.leaf().fingerprint(), first.leaf().fingerprint());
}

fn going_back_makes_it_current_again(mut store: Box<dyn CertStore>) {
    let first = install(&mut *store, 1, 365);
    store
        .accept()
        .expect("a current credential can be accepted");
    install(&mut *store, 2, 365);
    let back = store.revert().expect("there is one to go back to");
    assert_eq!(back.leaf().fingerprint(), first.leaf().fingerprint());
    assert_current(&mut *store, &first);
    assert!(matches!(store.revert(), Err(StoreError::NothingToRevert)));
}

fn two_installs_in_one_second_are_two_credentials(mut store: Box<dyn CertStore>) {
    let first = install(&mut *store, 1, 365);
    store
        .accept()
        .expect("a current credential can be accepted");
    let second = install(&mut *store, 2, 365);
    assert_current(&mut *store, &second);
    let opened = store.load(at(NOW)).expect("the store loads");
    let accepted = opened.last_accepted.expect("the first is whole");
    assert_eq!(accepted.leaf().fingerprint(), first.leaf().fingerprint());
}

fn a_chain_for_another_key_changes_nothing(mut store: Box<dyn CertStore>) {
    let first = install(&mut *store, 1, 365);
    let (pending, key) = prepare(client_order(), 2, at(NOW));
    store
        .put_pending(&pending, &key)
        .expect("a pending request can be put");
    let (stranger, _) = prepare(client_order(), 3, at(NOW));
    let chain = Authority::new().issue(&stranger, at(NOW), at("2027-01-01T00:00:00Z"));
    assert!(matches!(
        store.install(&chain, LOCAL),
        Err(StoreError::BadCredential(_))
    ));
    assert_current(&mut *store, &first);
    let opened = store.load(at(NOW)).expect("the store loads");
    assert_eq!(opened.pending, Some(pending));
}

fn old_credentials_are_pruned_only_on_acceptance(mut store: Box<dyn CertStore>) {
    for seed in 1..=6 {
        install(&mut *store, seed, 365);
    }
    assert_eq!(store.accept().expect("the newest can be accepted"), 3);
    assert_eq!(store.accept().expect("nothing is left to prune"), 0);
    let seventh = install(&mut *store, 7, 365);
    assert_current(&mut *store, &seventh);
    assert_eq!(store.accept().expect("the newest can be accepted"), 1);
}
