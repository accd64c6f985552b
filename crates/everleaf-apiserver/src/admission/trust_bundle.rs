//! Who may speak for a signer in a ClusterTrustBundle
//! (`plugin/pkg/admission/certificates/ctbattest`).

use super::csr::may;
use super::rbac::only_lets_go;
use super::{Attributes, Operation};
use crate::authz::Authorizer;
use crate::objects::Objects;
use crate::read;
use everleaf_api::Status;
use everleaf_api::fields::quote;
use serde_json::Value;

const BUNDLES: &str = "clustertrustbundles";

/// ClusterTrustBundleAttest: whoever writes a bundle of a signer, and be it a label.
pub(super) fn attest(
    attributes: &Attributes<'_>,
    object: &Value,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    let is_write = attributes.is(Operation::Create, BUNDLES, "")
        || attributes.is(Operation::Update, BUNDLES, "");
    let signer = read::text(object, "/spec/signerName");
    if !is_write || signer.is_empty() {
        return Ok(());
    }
    if attributes.old.is_some_and(|old| only_lets_go(old, object))
        || may(attributes, "attest", signer, objects, authorizer)
    {
        return Ok(());
    }
    Err(attributes.forbidden(&format!(
        "user not permitted to attest for signerName {}",
        quote(signer)
    )))
}
