//! Client certificates of every kind shown to `everleaf apiserver` over TLS: who kube-apiserver
//! says they are.

use super::Pairing;
use crate::certificates::{self, Server};
use crate::stack::Stack;
use anyhow::{Context, Result, ensure};
use everleaf_recordings::client_certificates::{self, Judge, Layer, Recording};
use everleaf_recordings::data_dir;
use everleaf_stage::Sandbox;
use everleaf_stage::runner::{Test, Verdict};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "client certificates of Go's crypto/tls, judged as kube-apiserver 1.37 does",
    ours: "`everleaf apiserver`",
    test: Test {
        name: "client_certificates_on_everleaf",
        long: false,
        run,
    },
};

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let recorded = client_certificates::read(&data_dir())?;
    let mut stack = Stack::start(sandbox, &[])?;
    let ours = certificates::play(&mut stack, Server::Everleaf)?;
    sandbox.point("each certificate is who kube-apiserver says", || {
        judge(&recorded, &ours)
    })?;
    sandbox.point(
        "who keeps TLS sessions goes on as his renewed certificate",
        || certificates::resume(&mut stack),
    )?;
    Ok(Verdict::Passed)
}

fn judge(recorded: &Recording, ours: &Recording) -> Result<()> {
    let mut judge = Judge::new(&data_dir(), Layer::Tls)?;
    for bundle in &recorded.bundles {
        let found = ours.bundles.iter().find(|one| one.name == bundle.name);
        let found = found.with_context(|| format!("{} is not made any more", bundle.name))?;
        judge.bundle(bundle, found.starts);
        for case in recorded
            .cases
            .iter()
            .filter(|case| case.bundle == bundle.name)
        {
            let found = ours.cases.iter().find(|one| one.name == case.name);
            match found {
                Some(found) => judge.case(case, &found.verdict),
                None => ensure!(
                    !found_starts(ours, &case.bundle),
                    "{} is not made any more",
                    case.name
                ),
            }
        }
    }
    judge.verdict().map(drop)
}

/// Whether our server started with a bundle: only then it has verdicts.
fn found_starts(ours: &Recording, bundle: &str) -> bool {
    ours.bundles
        .iter()
        .any(|one| one.name == bundle && one.starts)
}
