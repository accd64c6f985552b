//! Who may approve and sign, and which subject nobody may ask for
//! (`plugin/pkg/admission/certificates/{approval,signing,subjectrestriction}`).

use super::{Attributes, Operation};
use crate::{
    authz::{self, Authorizer},
    objects::Objects,
    read,
    registry::csr::conditions,
    user::MASTERS,
};
use everleaf_api::{Status, fields::quote};
use everleaf_pki::SignerName;
use serde_json::Value;

const CSRS: &str = "certificatesigningrequests";

/// CertificateApproval: every write of `/approval`, even one that changes nothing.
pub(super) fn approval(
    attributes: &Attributes<'_>,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    if !attributes.is(Operation::Update, CSRS, "approval") {
        return Ok(());
    }
    let signer = stored_signer(attributes);
    if may(attributes, "approve", signer, objects, authorizer) {
        return Ok(());
    }
    Err(attributes.forbidden(&format!(
        "user not permitted to approve requests with signerName {}",
        quote(signer)
    )))
}

/// CertificateSigning: a write of `/status` that changes the certificate or the conditions.
pub(super) fn signing(
    attributes: &Attributes<'_>,
    object: &Value,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    if !attributes.is(Operation::Update, CSRS, "status") {
        return Ok(());
    }
    if let Some(old) = attributes.old
        && read::text(old, "/status/certificate") == read::text(object, "/status/certificate")
        && conditions::are_same(
            read::items(old, "/status/conditions"),
            read::items(object, "/status/conditions"),
        )
    {
        return Ok(());
    }
    let signer = stored_signer(attributes);
    if may(attributes, "sign", signer, objects, authorizer) {
        return Ok(());
    }
    Err(attributes.forbidden(&format!(
        "user not permitted to sign requests with signerName {}",
        quote(signer)
    )))
}

/// CertificateSubjectRestriction: the signer of ordinary client certificates makes no super-users.
pub(super) fn subject_restriction(
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<(), Status> {
    if !attributes.is(Operation::Create, CSRS, "")
        || read::text(object, "/spec/signerName") != SignerName::KUBE_APISERVER_CLIENT
    {
        return Ok(());
    }
    let Some(Ok(request)) = attributes.request else {
        return Err(attributes.forbidden("unable to parse CSR"));
    };
    if request.subject().organizations.iter().any(|o| o == MASTERS) {
        return Err(attributes.forbidden(
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        ));
    }
    Ok(())
}

/// The stored object decides: a body that names another signer changes nothing.
fn stored_signer<'a>(attributes: &Attributes<'a>) -> &'a str {
    attributes
        .old
        .map_or("", |old| read::text(old, "/spec/signerName"))
}

/// May the user do `verb` on `signers` of this name, or of `domain/*`? The wildcard is a name like
/// any other to the authorizer (`pkg/registry/certificates/…/util.go`:
/// `IsAuthorizedForSignerName`).
pub(super) fn may(
    attributes: &Attributes<'_>,
    verb: &str,
    signer: &str,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> bool {
    let asked = |name: &str| {
        let question = authz::Attributes {
            verb,
            group: "certificates.k8s.io",
            version: "*",
            resource: "signers",
            name,
            ..authz::Attributes::of(attributes.user)
        };
        authorizer.authorize(&question, objects).allowed
    };
    let (domain, _) = signer.split_once('/').unwrap_or((signer, ""));
    asked(signer) || asked(&format!("{domain}/*"))
}
