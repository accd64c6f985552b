//! Who signs now, asked with a request: it is filed, approved and deleted, and its key is thrown
//! away. Nobody could use its certificate, and it names nobody who may anything.

use crate::calls::Calls;
use crate::up::entropy;
use anyhow::{Context, Result};
use everleaf_api::csr::{self, Csr};
use everleaf_api::meta;
use everleaf_pki::{Chain, KeyAlgorithm, Leaf, PrivateKey, Subject, Template};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// Names of requests; letters follow.
const NAME_PREFIX: &str = "everleaf-ca-roll-";
/// Whom the certificate names.
pub(super) const COMMON_NAME: &str = "everleaf:ca-roll-probe";
/// The shortest that there is (Kubernetes: `pkg/apis/certificates/validation`).
const SECONDS: i32 = 600;
/// Between two requests.
const INTERVAL: SignedDuration = SignedDuration::from_secs(15);
/// How long a certificate is waited for.
const ISSUED_MAX: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(500);
/// How far signers backdate certificates.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// What was seen so far.
#[derive(Default)]
pub(super) struct Prober(Mutex<Last>);

#[derive(Default)]
struct Last {
    /// The roll's epoch in which the right CA was seen to sign.
    seen_in: Option<i64>,
    tried: Option<Timestamp>,
    /// What was seen instead.
    instead: String,
}

impl Prober {
    /// Whether `ca` signs; the text says what is seen instead. `since` is when it was to begin.
    pub(super) async fn look(
        &self,
        calls: &Calls,
        ca: &Leaf,
        (epoch, since): (i64, Timestamp),
        now: Timestamp,
    ) -> Result<(), String> {
        {
            let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.seen_in == Some(epoch) {
                return Ok(());
            }
            let is_young = |at: Timestamp| now.duration_since(at).abs() < INTERVAL;
            if last.tried.is_some_and(is_young) {
                return Err(last.instead.clone());
            }
        }
        let seen = match has_signed(calls, ca, since).await {
            Ok(true) => Ok(()),
            Ok(false) => ask(calls, ca).await,
            Err(error) => Err(error.to_string()),
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &seen {
            Ok(()) => last.seen_in = Some(epoch),
            Err(instead) => last.instead.clone_from(instead),
        }
        last.tried = Some(now);
        seen
    }
}

/// Whether the newest certificate that was issued since then is of this CA.
async fn has_signed(calls: &Calls, ca: &Leaf, since: Timestamp) -> Result<bool> {
    let requests = calls.list("list the requests", REQUESTS, "").await?;
    let issued = requests.iter().filter_map(|request| {
        let chain = Chain::from_pem(&Csr(request).certificate()).ok()?;
        let signed = chain.leaf().not_before().checked_add(BACKDATE).ok()?;
        (signed >= since).then(|| (signed, chain.leaf().is_signed_by(ca)))
    });
    Ok(issued
        .max_by_key(|(at, _)| *at)
        .is_some_and(|(_, is_by)| is_by))
}

async fn ask(calls: &Calls, ca: &Leaf) -> Result<(), String> {
    let name = entropy::letters(10).map_err(|error| error.to_string())?;
    let name = format!("{NAME_PREFIX}{name}");
    let path = format!("{REQUESTS}/{name}");
    let issued = issued(calls, &name, &path).await;
    let what = "delete the request";
    let deleted = calls.object(what, Method::DELETE, &path, None).await;
    let leaf = issued.map_err(|error| error.to_string())?;
    deleted.map_err(|error| error.to_string())?;
    match leaf {
        Some(leaf) if leaf.is_signed_by(ca) => Ok(()),
        Some(leaf) => Err(format!("{} has signed a moment ago", leaf.issuer_text())),
        None => Err(format!(
            "a request for the signer {SIGNER} was not signed within {} s",
            ISSUED_MAX.as_secs()
        )),
    }
}

/// What is issued to a request, if anything is.
async fn issued(calls: &Calls, name: &str, path: &str) -> Result<Option<Leaf>> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let template = Template {
        subject: Subject {
            common_name: COMMON_NAME.to_owned(),
            organizations: Vec::new(),
        },
        ..Template::default()
    };
    let pem = template.to_request_pem(&key)?;
    let usages = ["digital signature", "client auth"];
    let object = csr::build(name, "", &pem, SIGNER, &usages, Some(SECONDS));
    let what = "file a request to see who signs";
    let filed = calls.object(what, Method::POST, REQUESTS, Some(object));
    let mut filed: Value = filed.await?.context("the API server has no requests")?;
    let why = "everleaf ca roll run sees which CA signs";
    csr::push_condition(&mut filed, csr::APPROVED, "EverleafCaRoll", why, None);
    let what = "approve a request to see who signs";
    let approval = format!("{path}/approval");
    calls
        .object(what, Method::PUT, &approval, Some(filed))
        .await?;
    let mut waited = Duration::ZERO;
    while waited < ISSUED_MAX {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
        let what = "look who has signed";
        let object = calls.object(what, Method::GET, path, None).await?;
        let object = object.with_context(|| format!("somebody has deleted {name}"))?;
        let csr = Csr(&object);
        if csr.has_condition(csr::FAILED) {
            let why = object["status"]["conditions"].as_array();
            let why = why.and_then(|all| all.iter().find(|one| one["type"] == csr::FAILED));
            let why = why
                .and_then(|one| one["message"].as_str())
                .unwrap_or_default();
            anyhow::bail!("{} has failed: {why}", meta::name(&object));
        }
        if csr.is_issued() {
            return Ok(Some(Chain::from_pem(&csr.certificate())?.leaf().clone()));
        }
    }
    Ok(None)
}
