//! Project Wycheproof's vectors for ML-DSA: keys and signatures that implementations stumble over.
//!
//! Certificates and requests have no context (RFC 9881 3), so that vectors with one are left out,
//! as are those of the internal interface, which signs a digest.

use everleaf_pki::{KeyAlgorithm, MlDsa, PrivateKey, PublicKey};
use wycheproof::mldsa_sign::{self, TestFlag};
use wycheproof::{TestResult, mldsa_verify};

#[test]
fn signatures_are_judged_as_wycheproof_judges_them() {
    for (name, least) in [
        (mldsa_verify::TestName::MlDsa44Verify, 50),
        (mldsa_verify::TestName::MlDsa65Verify, 50),
        (mldsa_verify::TestName::MlDsa87Verify, 50),
    ] {
        let set = mldsa_verify::TestSet::load(name).unwrap();
        let (mut good, mut bad) = (0, 0);
        for group in &set.test_groups {
            let key = PublicKey::from_spki_der(&group.der);
            for test in &group.tests {
                if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
                    continue;
                }
                let holds = key
                    .as_ref()
                    .is_ok_and(|key| key.is_ml_dsa() && key.has_signed(&test.msg, &test.sig));
                let wanted = test.result == TestResult::Valid;
                assert_eq!(holds, wanted, "{name:?} {}: {}", test.tc_id, test.comment);
                good += usize::from(wanted);
                bad += usize::from(!wanted);
            }
        }
        assert!(
            good + bad >= least && bad > 10,
            "{name:?}: {good} good, {bad} bad"
        );
    }
}

/// Seeds, and PKCS#8 with seeds or with expanded keys.
#[test]
fn private_keys_are_read_as_wycheproof_has_them() {
    use mldsa_sign::TestName::{
        MlDsa44SignNoSeed, MlDsa44SignSeed, MlDsa65SignNoSeed, MlDsa65SignSeed, MlDsa87SignNoSeed,
        MlDsa87SignSeed,
    };
    for (set, names) in [
        (MlDsa::MlDsa44, [MlDsa44SignSeed, MlDsa44SignNoSeed]),
        (MlDsa::MlDsa65, [MlDsa65SignSeed, MlDsa65SignNoSeed]),
        (MlDsa::MlDsa87, [MlDsa87SignSeed, MlDsa87SignNoSeed]),
    ] {
        for name in names {
            check_keys(set, name);
        }
    }
}

/// PKCS#8 around an expanded key (RFC 9881 6).
fn expanded(set: MlDsa, key: &[u8]) -> Vec<u8> {
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }
    let last = match set {
        MlDsa::MlDsa44 => 17,
        MlDsa::MlDsa65 => 18,
        MlDsa::MlDsa87 => 19,
    };
    let id = [0x30, 11, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, last];
    let info = [&[2, 1, 0], &id[..], &element(4, &element(4, key))].concat();
    element(0x30, &info)
}

fn check_keys(set: MlDsa, name: mldsa_sign::TestName) {
    let vectors = mldsa_sign::TestSet::load(name).unwrap();
    let (mut read, mut refused, mut signatures) = (0, 0, 0);
    for group in &vectors.test_groups {
        let is_bad = |test: &mldsa_sign::Test| {
            let bad = [
                TestFlag::InvalidPrivateKey,
                TestFlag::IncorrectPrivateKeyLength,
            ];
            bad.iter().any(|flag| test.flags.contains(flag))
        };
        let is_bad = group.tests.iter().any(is_bad);
        let mut keys = Vec::new();
        if let Some(raw) = &group.privkey {
            keys.push(PrivateKey::from_der(&expanded(set, raw)));
        }
        if let Some(der) = &group.privkey_pkcs8 {
            keys.push(PrivateKey::from_der(der));
        }
        if let Some(seed) = &group.privseed
            && let Ok(seed) = <&[u8; 32]>::try_from(&seed[..])
        {
            keys.push(PrivateKey::from_ml_dsa_seed(set, seed));
        }
        for key in keys {
            let Ok(key) = key else {
                assert!(is_bad, "{name:?}: {:?}", group.tests[0].comment);
                refused += 1;
                continue;
            };
            assert!(!is_bad, "{name:?}: {:?}", group.tests[0].comment);
            assert_eq!(key.algorithm(), KeyAlgorithm::MlDsa(set));
            read += 1;
            for test in &group.tests {
                let has_context = test.ctx.as_ref().is_some_and(|context| !context.is_empty());
                if let (Some(message), false, TestResult::Valid) =
                    (&test.msg, has_context, test.result)
                {
                    assert!(
                        key.public_key().has_signed(message, &test.sig),
                        "{}",
                        test.tc_id
                    );
                    signatures += 1;
                }
            }
        }
    }
    assert!(
        read > 0 && signatures > 10,
        "{name:?}: {read} read, {refused} refused, {signatures} signatures"
    );
}
