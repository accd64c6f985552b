//! Feature gates that concern certificates.

use super::Resolver;
use super::nearest::nearest;
use std::collections::BTreeMap;

const ROTATE_CLIENT: &str = "RotateKubeletClientCertificate";
const ROTATE_SERVER: &str = "RotateKubeletServerCertificate";

/// Gates of a kubelet that have to do with certificates. Others are the kubelet's own business.
const KNOWN: &[&str] = &[
    "AllAlpha",
    "AllBeta",
    "AllowDNSOnlyNodeCSR",
    "ReloadKubeletClientCAFile",
    "ReloadKubeletServerCertificateFile",
    ROTATE_CLIENT,
    ROTATE_SERVER,
];

/// What the gates say.
pub(super) struct Gates {
    /// `RotateKubeletServerCertificate`, on by default.
    pub(super) rotate_kubelet_server_certificate: bool,
}

impl Gates {
    /// Gates of the file, overridden one by one by those of the flags.
    pub(super) fn resolve(
        file: &BTreeMap<String, bool>,
        flags: &[String],
        resolver: &mut Resolver,
    ) -> Self {
        let mut gates = file.clone();
        for pair in flags.iter().flat_map(|flag| flag.split(',')) {
            let pair = pair.trim();
            if pair.is_empty() {
                continue;
            }
            match pair
                .split_once('=')
                .map(|(name, value)| (name.trim(), boolean(value)))
            {
                Some((name, Some(value))) => {
                    check_name(name, resolver);
                    gates.insert(name.to_owned(), value);
                }
                _ => resolver.problem(format!(
                    "--feature-gates: {pair:?} is not NAME=true or NAME=false"
                )),
            }
        }
        match gates.get(ROTATE_CLIENT) {
            Some(false) => resolver.problem(format!(
                "feature gate {ROTATE_CLIENT}=false: the gate was locked on in Kubernetes 1.19; to \
                 leave the client certificate alone set rotateCertificates: false"
            )),
            Some(true) => resolver.remark(format!(
                "feature gate {ROTATE_CLIENT}=true has no effect: it is always on"
            )),
            None => {}
        }
        Self {
            rotate_kubelet_server_certificate: gates.get(ROTATE_SERVER).copied().unwrap_or(true),
        }
    }
}

fn check_name(name: &str, resolver: &mut Resolver) {
    if KNOWN.contains(&name) {
        return;
    }
    match nearest(name, KNOWN) {
        Some((known, edits)) if edits <= 2 => resolver.problem(format!(
            "--feature-gates: there is no gate {name:?}; did you mean {known}?"
        )),
        _ => resolver.remark(format!(
            "feature gate {name} has nothing to do with certificates; ignored"
        )),
    }
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
