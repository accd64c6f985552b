//! Shows the recorded client certificates to our authenticator, at the recorded instant, and
//! compares the verdicts with kube-apiserver's.

use anyhow::{Context as _, Result};
use aws_lc_rs::digest;
use everleaf_apiserver::authn::{Authenticator, Config, Peer};
use everleaf_apiserver::objects::{Objects, Stored};
use everleaf_recordings::client_certificates::{self, Bundle, Case, Judge, Layer, Verdict};
use everleaf_recordings::data_dir;
use http::HeaderMap;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

/// No object: a certificate needs none.
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

/// Our server's authenticator with a bundle; None when it refuses that.
fn authenticator(bundle: &Bundle) -> Option<Authenticator> {
    Authenticator::new(Config {
        client_ca_pem: bundle.pem.clone().into_bytes(),
        anonymous: true,
        ..Config::default()
    })
    .ok()
}

fn judge(authenticator: &Authenticator, case: &Case, now: Timestamp) -> Verdict {
    let peer = Peer {
        certificates: Arc::new(case.chain.clone()),
        ..Peer::default()
    };
    match authenticator.authenticate(&HeaderMap::new(), "/", &peer, &Nothing, now) {
        Ok(user) => Verdict::Identity {
            user: user.name,
            uid: user.uid,
            groups: user.groups,
            extra: without_fingerprint(user.extra, &case.chain),
        },
        Err(_) => Verdict::Refused {
            layer: "401".to_owned(),
            detail: String::new(),
        },
    }
}

/// As the recording has it: the leaf's own fingerprint is `LEAF`.
fn without_fingerprint(
    mut extra: BTreeMap<String, Vec<String>>,
    chain: &[Vec<u8>],
) -> BTreeMap<String, Vec<String>> {
    let Some(leaf) = chain.first() else {
        return extra;
    };
    let digest = digest::digest(&digest::SHA256, leaf);
    let mut hex = String::new();
    for byte in digest.as_ref() {
        hex.push_str(&format!("{byte:02x}"));
    }
    for value in extra.values_mut().flatten() {
        *value = value.replace(&hex, "LEAF");
    }
    extra
}

#[test]
fn client_certificates_are_who_kubernetes_says() -> Result<()> {
    let dir = data_dir();
    let recording = client_certificates::read(&dir)?;
    let mut table = Judge::new(&dir, Layer::Authenticator)?;
    for bundle in &recording.bundles {
        let ours = authenticator(bundle);
        table.bundle(bundle, ours.is_some());
        let Some(ours) = ours else { continue };
        for case in recording
            .cases
            .iter()
            .filter(|case| case.bundle == bundle.name)
        {
            table.case(case, &judge(&ours, case, recording.judged));
        }
    }
    let counts = table.verdict()?;
    // Past the harness's capture: a plain `cargo test` shows the counts.
    writeln!(std::io::stderr().lock(), "{counts}").context("stderr")
}
