//! The machine itself.

use super::*;
use crate::doctor::tests::world::{client_by, stranger};
use crate::doctor::{Directory, OnDisk};
use std::path::PathBuf;

fn directory(change: impl FnOnce(&mut Directory)) -> World {
    with(|seen, _| {
        let Known::Read(directory) = &mut seen.host.directory else {
            panic!("no cert dir");
        };
        change(directory);
    })
}

fn client(change: impl FnOnce(&mut OnDisk, &Issuer)) -> World {
    with(|seen, ca| change(&mut seen.host.credentials[0], ca))
}

/// The client certificate is of these hours.
fn between(from: i64, to: i64) -> World {
    client(|found, ca| {
        let chain = client_by(ca, now() + hours(from), now() + hours(to));
        found.chain = Known::Read(Ok(chain));
    })
}

pub(super) fn cert_dir() -> Cases {
    vec![
        (
            Fault::CertDirAbsent,
            with(|seen, _| seen.host.directory = Known::Absent),
        ),
        (
            Fault::CertDirWritable,
            directory(|found| found.mode = 0o40_777),
        ),
        (
            Fault::CertDirVolatile,
            directory(|found| found.is_volatile = Some(true)),
        ),
        (
            Fault::CertAbsent,
            client(|found, _| found.chain = Known::Absent),
        ),
        (
            Fault::CertTorn,
            client(|found, _| found.chain = Known::Read(Err("no certificate".to_owned()))),
        ),
        (Fault::CertTorn, client(|found, _| found.key = None)),
        (
            Fault::CertOtherKey,
            client(|found, _| found.key = Some(Err("it does not match".to_owned()))),
        ),
        (
            Fault::CertReadable,
            client(|found, _| found.mode = 0o100_644),
        ),
        (Fault::CertEnded, between(-20, -1)),
        (Fault::CertNotBegun, between(2, 20)),
        (
            Fault::CertOverdue,
            client(|found, _| found.renews_at = Some(now() - hours(2))),
        ),
        (
            Fault::CertPendingOld,
            client(|found, _| found.pending = Some(("csr-1".to_owned(), now() - hours(3)))),
        ),
        (Fault::CertLeftovers, client(|found, _| found.others = 40)),
        (
            Fault::CertOtherCa,
            client(|found, _| {
                let chain = client_by(&stranger(), now() - hours(1), now() + hours(20));
                found.chain = Known::Read(Ok(chain));
            }),
        ),
    ]
}

pub(super) fn kubeconfig() -> Cases {
    vec![
        (
            Fault::KubeconfigAbsent,
            with(|seen, _| seen.host.kubeconfig.content = Known::Absent),
        ),
        (
            Fault::KubeconfigUnusable,
            with(|seen, _| seen.host.kubeconfig.content = Known::Read(Err("no YAML".to_owned()))),
        ),
        (
            Fault::KubeconfigReadable,
            with(|seen, _| {
                seen.host.kubeconfig.holds_secret = true;
                seen.host.kubeconfig.mode = 0o100_644;
            }),
        ),
        (
            Fault::KubeconfigNoCa,
            with(|seen, _| seen.host.kubeconfig.names_no_ca = true),
        ),
        (
            Fault::KubeconfigOtherFile,
            with(|seen, _| {
                let other = PathBuf::from("/var/lib/kubelet/pki/kubelet-client-2026-01-01.pem");
                seen.host.kubeconfig.client_certificate = Some(other);
            }),
        ),
    ]
}
