//! What brings each fault about.

mod authorities;
mod cluster;
mod host;
mod requests;

use super::odd;
use super::world::{self, World, hours};
use crate::doctor::{Answer, Fault, Right, Seen};
use crate::fixture::{api_client, kubelet_client, kubelet_serving, now};
use crate::why::Known;
use everleaf_pki::Issuer;
use jiff::SignedDuration;
use serde_json::{Value, json};

type Cases = Vec<(Fault, World)>;

/// Each fault with what brings it about.
pub(super) fn all() -> Cases {
    [
        cluster::server(),
        cluster::rights(),
        cluster::controllers(),
        cluster::tokens(),
        cluster::versions(),
        cluster::revocations(),
        authorities::bundles(),
        authorities::form(),
        authorities::issued(),
        requests::waiting(),
        requests::many(),
        requests::nodes(),
        host::cert_dir(),
        host::kubeconfig(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn with(edit: impl FnOnce(&mut Seen, &Issuer)) -> World {
    World::healthy().edit(edit)
}
