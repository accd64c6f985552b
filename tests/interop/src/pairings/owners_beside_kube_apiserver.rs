//! The same random writes before the real kube-apiserver and before `everleaf apiserver`: creates,
//! updates, patches and applies by a few managers, with and without force, through each endpoint.
//! Every answer is compared whole, `managedFields` and the words of conflicts included.
//!
//! A sequence follows from its number; a failure names it, and `OWNERS_SEED=number` plays it alone.

mod writes;

use super::Pairing;
use crate::recorder::{Kube, Theatre};
use crate::stack::Part;
use anyhow::{Result, bail};
use everleaf_recordings::difference::{self, Difference};
use everleaf_recordings::play::{self, Answers};
use everleaf_recordings::{Answer, Scenario, Subjects, TOKENS_CSV, data_dir};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, arg};
use writes::SORTS;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver 1.37",
    ours: "`everleaf apiserver`",
    test: Test {
        name: "owners_beside_kube_apiserver",
        long: false,
        run,
    },
};

/// Sequences of each sort of object.
const SEQUENCES: u64 = 12;
/// Differences that a failure shows.
const SHOWN_MAX: usize = 3;

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let seeds = match std::env::var("OWNERS_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse()?;
            seed..seed + 1
        }
        Err(_) => 0..SEQUENCES,
    };
    let scenarios: Vec<Scenario> = SORTS
        .iter()
        .flat_map(|sort| seeds.clone().map(move |seed| writes::sequence(sort, seed)))
        .collect();
    let mut theatre = Theatre::open(sandbox)?;
    let theirs = scenarios
        .iter()
        .map(|scenario| theatre.play(scenario))
        .collect::<Result<Vec<_>>>()?;
    let mut stack = theatre.close()?;
    let tokens = sandbox.write("tokens.csv", TOKENS_CSV)?;
    let tokens = format!("--token-auth-file={}", arg(&tokens));
    stack.add(&Part::EverleafApiserver(&[&tokens]))?;
    let mut kube = Kube::new(stack.port()?, stack.authority()?.certificate())?;
    let subjects = Subjects::read(&data_dir())?;
    let setup = Scenario::read(&data_dir().join("setup.yaml"))?;
    play::play(&setup, &subjects, &data_dir(), &mut kube)?;
    for sort in SORTS {
        let claim = format!(
            "{}: {SEQUENCES} random sequences of writes end in the same objects and owners",
            sort.resource
        );
        let of_sort = scenarios.iter().zip(&theirs);
        let of_sort = of_sort.filter(|(scenario, _)| scenario.name.starts_with(sort.resource));
        let check = || {
            let mut found = Vec::new();
            for (scenario, theirs) in of_sort {
                let ours = play::play(scenario, &subjects, &data_dir(), &mut kube)?;
                found.extend(first_difference(scenario, theirs, ours)?);
            }
            difference::none(&found, "sequences differ", SHOWN_MAX)
        };
        // The table says why, and the test is red.
        let _ = sandbox.point(&claim, check);
    }
    Ok(Verdict::Passed)
}

/// Where a sequence begins to differ: what follows is the same difference again.
fn first_difference(
    scenario: &Scenario,
    theirs: &[(String, Answer)],
    mut ours: Answers,
) -> Result<Option<Difference>> {
    // A namespace does not go the same way: a controller's work there, the server's own here.
    let written = theirs.iter().filter(|(id, _)| !id.starts_with("delete"));
    for (id, then) in written {
        let Some(Ok(now)) = ours.remove(id) else {
            bail!("{} {id} was not played", scenario.name);
        };
        let found = difference::compare(&scenario.name, id, then, &now);
        // How a fault of the object is worded, and what headers say, has lists of its own.
        let is_fault = matches!(then.status, 400 | 403 | 422) && then.status == now.status;
        let mut of_object = found
            .into_iter()
            .filter(|one| !one.at.starts_with("headers"));
        if let Some(first) = of_object.next().filter(|_| !is_fault) {
            return Ok(Some(first));
        }
    }
    Ok(None)
}
