//! The recorded answers against the program that gave them: what `cargo test` compares us with is
//! still true.

use super::Pairing;
use crate::certificates::{self, Server};
use crate::recorder;
use anyhow::{Result, bail};
use everleaf_recordings::client_certificates;
use everleaf_recordings::difference;
use everleaf_recordings::matrix;
use everleaf_recordings::openapi;
use everleaf_recordings::{Scenario, answers, data_dir};
use everleaf_stage::Sandbox;
use everleaf_stage::runner::{Test, Verdict};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver 1.37",
    ours: "its recorded answers, which every `cargo test` holds against our server",
    test: Test {
        name: "recordings_of_real_kubernetes",
        long: false,
        run,
    },
};

/// Differences that a failure shows.
const SHOWN_MAX: usize = 5;

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let dir = data_dir();
    let mut theatre = recorder::Theatre::open(sandbox)?;
    sandbox.point("it answers every recorded request as recorded", || {
        let mut found = Vec::new();
        for scenario in Scenario::read_all(&dir)? {
            let recorded = answers::read(&dir, &scenario.name)?.unwrap_or_default();
            for (id, now) in theatre.play(&scenario)? {
                match recorded.get(&id) {
                    Some(then) => {
                        found.extend(difference::compare(&scenario.name, &id, then, &now));
                    }
                    None => bail!("{}/{id} was never recorded", scenario.name),
                }
            }
        }
        difference::none(&found, "differences (now as `everleaf`)", SHOWN_MAX)
    })?;
    sandbox.point("it decides every cell of the matrix as recorded", || {
        let (matrix, now) = theatre.matrix()?;
        let then = matrix::read(&dir, &matrix)?;
        if then.as_ref() == Some(&now) {
            return Ok(());
        }
        bail!("other verdicts; cargo xtask record matrix shows them as a change of answers/matrix.json")
    })?;
    sandbox.point("it says of its resources what is recorded", || {
        let changes = openapi::differences(&openapi::recorded(&dir)?, &theatre.openapi()?);
        if changes.is_empty() {
            return Ok(());
        }
        bail!("{} other facts:\n{}", changes.len(), changes.join("\n"))
    })?;
    let mut stack = theatre.close()?;
    let now = certificates::play(&mut stack, Server::Kubernetes)?;
    sandbox.point(
        "it takes each client certificate for whom is recorded",
        || {
            let changes = client_certificates::changes(&client_certificates::read(&dir)?, &now)?;
            if changes.is_empty() {
                return Ok(());
            }
            bail!("{} other verdicts:\n{}", changes.len(), changes.join("\n"))
        },
    )?;
    Ok(Verdict::Passed)
}
