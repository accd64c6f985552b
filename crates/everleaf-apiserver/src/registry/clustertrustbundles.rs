//! ClusterTrustBundles: authorities that pods may mount, with or without a signer that they belong
//! to (`pkg/registry/certificates/clustertrustbundle/strategy.go`,
//! `pkg/apis/certificates/validation/validation.go`). Who may speak for a signer is admission's
//! question.
//!
//! They are stored as kube-apiserver 1.37 stores them, in the version that the release before knows
//! (`pkg/kubeapiserver/default_storage_factory_builder.go`).

use super::apis::{Deprecated, Lifecycle};
use super::csr::signer_name_rules;
use super::gates::Gate;
use super::{Context, Descriptor, NAME_COLUMN, Strategy, names, text_column};
use crate::read;
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use everleaf_pki::{CertificateError, Leaf, pem};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest bundle, in bytes.
const BUNDLE_BYTES_MAX: usize = 1024 * 1024;
const BUNDLE: &str = "spec.trustBundle";
/// What stands for the bundle in errors.
const OMITTED: &str = "\"<value omitted>\"";

/// ClusterTrustBundles (certificates.k8s.io/v1beta1), as they are stored.
pub static BETA_CLUSTER_TRUST_BUNDLES: Descriptor = Descriptor {
    strategy: &BundleStrategy,
    columns: COLUMNS,
    cells,
    selectable: &["spec.signerName"],
    selects_paths: true,
    field: |object, _| signer(object).to_owned(),
    unconditional_update: false,
    // The signer says which names fit, so the strategy judges them.
    validate_name: names::path_segment,
    lifecycle: Lifecycle {
        introduced: 33,
        deprecated: Some(Deprecated {
            since: 37,
            removed: 40,
            replacement: Some("v1"),
        }),
    },
    gate: Some(Gate::ClusterTrustBundle),
    ..Descriptor::cluster(
        &types::BETA_CLUSTER_TRUST_BUNDLE,
        "clustertrustbundles",
        "clustertrustbundle",
    )
};

/// ClusterTrustBundles (certificates.k8s.io/v1).
pub static CLUSTER_TRUST_BUNDLES: Descriptor = Descriptor {
    r#type: &types::CLUSTER_TRUST_BUNDLE,
    view_of: Some(&BETA_CLUSTER_TRUST_BUNDLES),
    lifecycle: Lifecycle {
        introduced: 37,
        deprecated: None,
    },
    ..BETA_CLUSTER_TRUST_BUNDLES
};

/// ClusterTrustBundles (certificates.k8s.io/v1alpha1), which the release before is the last to
/// have.
pub static ALPHA_CLUSTER_TRUST_BUNDLES: Descriptor = Descriptor {
    r#type: &types::ALPHA_CLUSTER_TRUST_BUNDLE,
    view_of: Some(&BETA_CLUSTER_TRUST_BUNDLES),
    lifecycle: Lifecycle {
        introduced: 26,
        deprecated: Some(Deprecated {
            since: 34,
            removed: 37,
            replacement: None,
        }),
    },
    ..BETA_CLUSTER_TRUST_BUNDLES
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("SignerName", 0, "Signer that the authorities belong to."),
];

fn cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    let signer = match signer(object) {
        "" => "<none>",
        signer => signer,
    };
    vec![meta::name(object).into(), signer.into()]
}

fn signer(object: &Value) -> &str {
    read::text(object, "/spec/signerName")
}

fn bundle(object: &Value) -> &str {
    read::text(object, "/spec/trustBundle")
}

struct BundleStrategy;

impl Strategy for BundleStrategy {
    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = name_and_signer(object);
        authorities(bundle(object), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = name_and_signer(new);
        // What was good when it was stored stays good.
        if bundle(new) != bundle(old) {
            authorities(bundle(new), &mut errors);
        }
        if signer(new) != signer(old) {
            let value = quote(signer(new));
            let text = "field is immutable";
            errors.push(FieldError::invalid("spec.signerName", &value, text));
        }
        errors
    }
}

/// What is wrong with the name, and with the beginning of a generated one, for its signer.
fn name_and_signer(object: &Value) -> Vec<FieldError> {
    let signer = signer(object);
    let mut errors = Vec::new();
    let generated = meta::generate_name(object);
    if !generated.is_empty()
        && let Err(text) = fits(&names::beginning(generated), signer)
    {
        let value = quote(generated);
        errors.push(FieldError::invalid("metadata.generateName", &value, &text));
    }
    if let Err(text) = fits(meta::name(object), signer) {
        let value = quote(meta::name(object));
        errors.push(FieldError::invalid("metadata.name", &value, &text));
    }
    if !signer.is_empty() {
        signer_name_rules(signer, &mut errors);
    }
    errors
}

/// The name of a bundle without signer has no `:`; that of a signer's begins with the signer's,
/// `:` for `/`, and `:`. What is left is a DNS-1123 subdomain.
fn fits(name: &str, signer: &str) -> Result<(), String> {
    let prefix = match signer {
        "" => String::new(),
        signer => format!("{}:", signer.replace('/', ":")),
    };
    match name.strip_prefix(&prefix) {
        _ if signer.is_empty() && name.contains(':') => {
            Err("ClusterTrustBundle without signer name must not have \":\" in its name".to_owned())
        }
        None => Err(format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )),
        // Said of every name elsewhere, and enough.
        Some(_) if names::path_segment(name).is_err() => Ok(()),
        Some(rest) => names::subdomain(rest),
    }
}

/// At least one block, each the certificate of an authority, none twice; text between blocks is
/// ignored.
fn authorities(bundle: &str, errors: &mut Vec<FieldError>) {
    if bundle.len() > BUNDLE_BYTES_MAX {
        errors.push(FieldError::too_long(BUNDLE, BUNDLE_BYTES_MAX));
        return;
    }
    let mut places: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let mut has_blocks = false;
    for (index, block) in pem::blocks(bundle.as_bytes()).enumerate() {
        has_blocks = true;
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        match authority(&block) {
            Ok(()) => places
                .entry(block.der.to_vec())
                .or_default()
                .push(index.to_string()),
            Err(text) => {
                let text = format!("entry {index} {text}");
                errors.push(FieldError::invalid(BUNDLE, OMITTED, &text));
            }
        }
    }
    if !has_blocks {
        let text = "at least one trust anchor must be provided";
        errors.push(FieldError::invalid(BUNDLE, OMITTED, text));
    }
    let repeated = places.values().filter(|places| places.len() > 1);
    for places in repeated.take(ERRORS_SHOWN_MAX) {
        let text = format!("duplicate trust anchor (indices [{}])", places.join(" "));
        errors.push(FieldError::invalid(BUNDLE, OMITTED, &text));
    }
}

/// What is wrong with a block.
fn authority(block: &pem::Block) -> Result<(), String> {
    if block.label != "CERTIFICATE" {
        return Err(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Err("has PEM block headers".to_owned());
    }
    match Leaf::from_der(&block.der) {
        Ok(certificate) if !certificate.is_ca() => Err("does not have the CA bit set".to_owned()),
        // Dates out of order make an authority useless, but a certificate it is.
        Ok(_) | Err(CertificateError::NeverValid { .. }) => Ok(()),
        Err(_) => Err("does not parse as X.509".to_owned()),
    }
}
