//! What the publisher of ClusterTrustBundles does, and how one sees that it was done.

use super::{Probe, Trial};
use anyhow::Result;
use everleaf_stage::arg;
use serde_json::{Value, json};

/// Signer of the API server's certificates.
pub(super) const APISERVER_SERVING: &str = "kubernetes.io/kube-apiserver-serving";
/// What stands before a text that was changed.
const FORGED: &str = "# forged\n";

impl Trial<'_> {
    fn bundles(&self, signer: &str) -> Result<Vec<Value>> {
        let selector = format!("--field-selector=spec.signerName={signer}");
        let list = self
            .admin
            .json(&["get", "clustertrustbundles", &selector])?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// A signer's trust bundle is deleted: made again.
    pub(super) fn lost_bundle(&mut self, signer: &'static str) -> Result<Probe<'static>> {
        let selector = format!("--field-selector=spec.signerName={signer}");
        let delete = ["delete", "clustertrustbundles", &selector];
        self.admin.run(&delete)?.ok()?;
        Ok(has_bundle(signer))
    }

    /// The text of the API server's is changed: mended.
    pub(super) fn forged_bundle(&mut self) -> Result<Probe<'static>> {
        let mut bundle = self.bundles(APISERVER_SERVING)?.remove(0);
        let text = bundle["spec"]["trustBundle"].as_str().unwrap_or_default();
        bundle["spec"]["trustBundle"] = json!(format!("{FORGED}{text}"));
        let file = self
            .stack
            .sandbox
            .write("bundle.json", &bundle.to_string())?;
        self.admin.quiet(&["replace", "-f", arg(&file)])?;
        Ok(has_bundle(APISERVER_SERVING))
    }

    /// Another one is made beside it: deleted.
    pub(super) fn second_bundle(&mut self) -> Result<Probe<'static>> {
        let mut bundle = self.bundles(APISERVER_SERVING)?.remove(0);
        let name = self.next("kubernetes.io:kube-apiserver-serving:other");
        bundle["metadata"] = json!({ "name": name });
        self.create(&bundle)?;
        Ok(has_bundle(APISERVER_SERVING))
    }
}

/// A signer has one trust bundle, the right one.
fn has_bundle(signer: &'static str) -> Probe<'static> {
    Box::new(move |trial| {
        let bundles = trial.bundles(signer)?;
        let text = |one: &Value| one["spec"]["trustBundle"].to_string();
        Ok(bundles.len() == 1 && text(&bundles[0]).starts_with("\"-----BEGIN"))
    })
}
