//! Real kubectl of four releases on `everleaf up`: every verb that is about something Everleaf
//! serves, a point for each group.

mod ask;
mod decide;
mod objects;
mod patch;
mod read;
mod remove;
mod scene;
mod write;

use super::Pairing;
use super::server::Server;
use crate::stack::Kubernetes;
use anyhow::Result;
use everleaf_stage::Sandbox;
use everleaf_stage::runner::{Test, Verdict};
use scene::{Release, Scene};

pub(crate) const NEWEST: Pairing = Pairing {
    real: "kubectl 1.37",
    ours: "`everleaf up`",
    test: Test {
        name: "kubectl_1_37_on_everleaf",
        long: true,
        run: |sandbox| play(sandbox, Server::Everleaf, Release::V1_37),
    },
};

pub(crate) const OLDER: Pairing = Pairing {
    real: "kubectl 1.34",
    ours: "`everleaf up`",
    test: Test {
        name: "kubectl_1_34_on_everleaf",
        long: true,
        run: |sandbox| play(sandbox, Server::Everleaf, Release::V1_34),
    },
};

pub(crate) const OLDEST: Pairing = Pairing {
    real: "kubectl 1.20",
    ours: "`everleaf up`",
    test: Test {
        name: "kubectl_1_20_on_everleaf",
        long: true,
        run: |sandbox| play(sandbox, Server::Everleaf, Release::V1_20),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kubectl 1.21.5",
    ours: "`everleaf up`",
    test: Test {
        name: "kubectl_1_21_on_everleaf",
        long: true,
        run: |sandbox| play(sandbox, Server::Everleaf, Release::V1_21),
    },
};

/// The same on real Kubernetes.
pub(crate) const CONTROLS: &[Test] = &[
    Test {
        name: "kubectl_1_37_on_kubernetes",
        long: true,
        run: |sandbox| play(sandbox, Server::Kubernetes, Release::V1_37),
    },
    Test {
        name: "kubectl_1_34_on_kubernetes",
        long: true,
        run: |sandbox| play(sandbox, Server::Kubernetes, Release::V1_34),
    },
    Test {
        name: "kubectl_1_21_on_kubernetes",
        long: true,
        run: |sandbox| play(sandbox, Server::Kubernetes, Release::V1_21),
    },
    Test {
        name: "kubectl_1_20_on_kubernetes",
        long: true,
        run: |sandbox| play(sandbox, Server::Kubernetes, Release::V1_20),
    },
];

fn play(sandbox: &Sandbox, server: Server, release: Release) -> Result<Verdict> {
    let program = match release {
        Release::V1_37 => sandbox.tools.kubectl.clone(),
        Release::V1_34 => Kubernetes::V1_34.peer("KUBECTL")?,
        Release::V1_21 => Kubernetes::V1_21.peer("KUBECTL")?,
        Release::V1_20 => sandbox.tools.kubectl_old.clone(),
    };
    let stack = server.start(sandbox)?;
    let scene = Scene::new(sandbox, stack.admin()?.by(program), release)?;
    ask::points(&scene);
    read::points(&scene);
    decide::points(&scene);
    write::points(&scene);
    patch::points(&scene);
    objects::points(&scene);
    remove::points(&scene);
    Ok(Verdict::Passed)
}
