//! A cluster whose files are other people's, for a roll: reached through its API alone.

use super::base_name;
use super::probe::{self, Prober};
use super::serving::{self, ServerNames};
use super::sight::{self, CLIENTS, CLIENTS_KEY, NEW_NODES};
use crate::args::token::ServerArgs;
use crate::calls::{Calls, connect};
use crate::up::data_dir::DataDir;
use crate::up::ledger::{Ledger, Made, Standing};
use crate::up::rolling::{Cluster, Enforced};
use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use everleaf_agent::join::{Announced, CaPin};
use everleaf_agent::kubeconfig::ServerUrl;
use everleaf_agent::{Clock, Kubeconfig, SystemClock};
use everleaf_api::authorities::{Announcement, LEASE_NAMESPACE};
use everleaf_api::meta;
use everleaf_controllers::roll::apart::{self, Files, Lack, Seen, Wanted};
use everleaf_controllers::roll::{Census, Fleet, Roll, Start};
use everleaf_node::places::{CA_CERTIFICATE, CA_KEY};
use everleaf_pki::{Chain, Issuer, KeyAlgorithm, Leaf};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The CA that signs, alone; its key is [`CA_KEY`].
const SIGNER_CERTIFICATE: &str = "pki/signer.crt";
/// How far the CA that comes is backdated: a node's clock may be behind.
const BACKDATE: SignedDuration = SignedDuration::from_hours(24);

/// How a cluster is reached, and what is made for it.
pub(super) struct Settings {
    pub(super) kubeconfig: PathBuf,
    pub(super) context: Option<String>,
    /// All API servers; none: the one of the kubeconfig.
    pub(super) servers: Vec<(String, u16)>,
    /// The kind of the keys that are made.
    pub(super) kind: KeyAlgorithm,
    /// How long the CA that comes is good.
    pub(super) days: u32,
}

/// The cluster, and the directory in which everything for it lies.
pub(super) struct Apart {
    settings: Settings,
    dir: Option<Arc<DataDir>>,
    /// The kubeconfig as it was read last, and what speaks by it.
    connection: Mutex<(Kubeconfig, Arc<Calls>)>,
    prober: Prober,
}

/// What nodes are told.
pub(super) struct Told(Option<Announcement>);

/// The CA of a directory in which no roll is under way.
pub(super) fn kept(dir: &DataDir) -> Result<Issuer> {
    let read = |name: &str| {
        let text = dir.read(name)?;
        text.with_context(|| format!("{} is missing", dir.path(name).display()))
    };
    let (certificate, key) = (read(CA_CERTIFICATE)?, read(CA_KEY)?);
    Issuer::from_pem(first(&certificate).as_bytes(), &key)
        .with_context(|| format!("{} is not usable", dir.path(CA_CERTIFICATE).display()))
}

/// The first certificate: while a roll is under way, the one that signs is in front.
fn first(pem: &str) -> String {
    let chain = Chain::from_pem(pem.as_bytes()).ok();
    let alone = chain.and_then(|chain| Chain::new(vec![chain.leaf().clone()]).ok());
    alone.map_or_else(|| pem.to_owned(), |alone| alone.to_pem())
}

impl Apart {
    /// Connects.
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let connection = Mutex::new(connected(&settings)?);
        Ok(Self {
            settings,
            dir: None,
            connection,
            prober: Prober::default(),
        })
    }

    /// With the directory that holds the keys.
    pub(super) fn kept_in(mut self, dir: Arc<DataDir>) -> Self {
        self.dir = Some(dir);
        self
    }

    fn dir(&self) -> Result<&DataDir> {
        self.dir.as_deref().context("no directory is held yet")
    }

    /// What speaks by the kubeconfig as it is now: whoever puts another CA into it need not start
    /// anything again.
    pub(super) fn calls(&self) -> Result<Arc<Calls>> {
        self.connection().map(|(_, calls)| calls)
    }

    fn connection(&self) -> Result<(Kubeconfig, Arc<Calls>)> {
        let Settings {
            kubeconfig,
            context,
            ..
        } = &self.settings;
        let present = Kubeconfig::read_context(kubeconfig, context.as_deref())?;
        {
            let held = self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if held.0 == present {
                return Ok(held.clone());
            }
        }
        let made = connected(&self.settings)?;
        let mut held = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.clone_from(&made);
        Ok(made)
    }

    /// The server's clock decides when something ends.
    pub(super) fn now(&self) -> Timestamp {
        let held = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let told = held.1.server_time();
        told.unwrap_or_else(|| SystemClock::new().wall())
    }

    fn servers(&self, kubeconfig: &Kubeconfig) -> Vec<(String, u16)> {
        let url: &ServerUrl = &kubeconfig.cluster.server;
        match self.settings.servers.is_empty() {
            true => vec![(url.host().to_owned(), url.port())],
            false => self.settings.servers.clone(),
        }
    }

    /// Whether this CA is one of the cluster's.
    pub(super) async fn is_known(&self, ca: &Leaf) -> Result<bool> {
        let (kubeconfig, calls) = self.connection()?;
        let servers = self.servers(&kubeconfig);
        let known = std::slice::from_ref(ca);
        let (seen, _) = sight::look(&calls, &kubeconfig, &servers, known).await?;
        if let Some(server) = seen.servers.iter().find(|server| server.trouble.is_some()) {
            let why = server.trouble.as_deref().unwrap_or_default();
            return Err(anyhow!(
                "cannot reach the API server {}: {why}",
                server.address
            ));
        }
        let pin = CaPin::of(ca).to_string();
        Ok(seen.servers.iter().any(|server| {
            let accepts = server.accepts.as_ref();
            server.served_by == pin || accepts.is_some_and(|pins| pins.contains(&pin))
        }))
    }

    /// The CAs as the ledger says, and all of which anything may be seen.
    fn standing(&self, ledger: &Ledger, now: Timestamp) -> Result<(Standing, Vec<Leaf>)> {
        let dir = self.dir()?;
        if let Some(roll) = &ledger.roll {
            let standing = Ledger::in_force(dir, roll, now)?;
            let known = standing.anchors.clone();
            return Ok((standing, known));
        }
        let standing = Standing::alone(kept(dir)?);
        let mut known = standing.anchors.clone();
        if let Some(ended) = &ledger.ended {
            known.extend(Ledger::certificate(dir, &ended.dropped)?);
        }
        Ok((standing, known))
    }

    /// As they are shown.
    fn files(&self) -> Result<Files> {
        let dir = self.dir()?;
        let shown = |name: &str| dir.path(name).display().to_string();
        Ok(Files {
            bundle: shown(CA_CERTIFICATE),
            serving_certificate: shown(serving::CERTIFICATE),
            serving_key: shown(serving::KEY),
            signer_certificate: shown(SIGNER_CERTIFICATE),
            signer_key: shown(CA_KEY),
            kubeconfig: self.settings.kubeconfig.display().to_string(),
        })
    }
}

/// Does what can be done through the API. Whether anything was to do.
async fn mend(calls: &Calls, seen: &Seen, standing: &Standing, gone: &[Leaf]) -> Result<bool> {
    let bundle = standing.bundle()?;
    let is_gone = |pin: &String| gone.iter().any(|ca| CaPin::of(ca).to_string() == *pin);
    let is_held = |server: &apart::Server| {
        let accepts = server.accepts.as_ref();
        server.trouble.is_some() || accepts.is_some_and(|pins| pins.iter().any(is_gone))
    };
    let mut has_changed = false;
    // kube-apiserver adds to this one, and takes nothing out.
    if !gone.is_empty() && !seen.servers.iter().any(is_held) {
        has_changed |= rewrite(calls, CLIENTS, |object| {
            let text = object["data"][CLIENTS_KEY].as_str()?;
            let left = without(text, gone)?;
            let changed = (left != text).then_some(left);
            changed.map(|left| object["data"][CLIENTS_KEY] = left.into())
        })
        .await?;
    }
    has_changed |= rewrite(calls, NEW_NODES, |object| {
        let present = Announced::read_trusted(object).ok()?.ca_pem;
        let all = with(&present, &bundle, gone)?;
        let text = object["data"]["kubeconfig"].as_str()?;
        let [old, new] = [&present, &all].map(|pem| BASE64_STANDARD.encode(pem));
        let changed = (all != present && text.contains(&old)).then(|| text.replace(&old, &new));
        changed.map(|text| object["data"]["kubeconfig"] = text.into())
    })
    .await?;
    Ok(has_changed)
}

fn connected(settings: &Settings) -> Result<(Kubeconfig, Arc<Calls>)> {
    let path = settings.kubeconfig.clone();
    let (calls, _) = connect(&ServerArgs {
        kubeconfig: Some(path.clone()),
        context: settings.context.clone(),
    })?;
    let kubeconfig = Kubeconfig::read_context(&path, settings.context.as_deref())?;
    Ok((kubeconfig, Arc::new(calls)))
}

/// PEM without these CAs; none where nobody would be left.
fn without(pem: &str, gone: &[Leaf]) -> Option<String> {
    let mut left = sight::certificates(pem);
    let before = left.len();
    left.retain(|one| !gone.contains(one));
    match left.len() == before {
        true => Some(pem.to_owned()),
        false => Some(Chain::new(left).ok()?.to_pem()),
    }
}

/// PEM with those of `bundle` and without those that are gone, what was there before in front.
fn with(pem: &str, bundle: &str, gone: &[Leaf]) -> Option<String> {
    let mut all = sight::certificates(pem);
    let before = all.clone();
    for ca in sight::certificates(bundle) {
        if !all.contains(&ca) {
            all.push(ca);
        }
    }
    all.retain(|one| !gone.contains(one));
    match all == before {
        true => Some(pem.to_owned()),
        false => Some(Chain::new(all).ok()?.to_pem()),
    }
}

/// Changes a ConfigMap that is there, if `change` finds anything to. Whether it did.
async fn rewrite(
    calls: &Calls,
    place: (&str, &str),
    change: impl FnOnce(&mut Value) -> Option<()>,
) -> Result<bool> {
    let Some(mut object) = sight::read(calls, place).await? else {
        return Ok(false);
    };
    if change(&mut object).is_none() {
        return Ok(false);
    }
    let (namespace, name) = place;
    let what = format!("write the ConfigMap {namespace}/{name}");
    let path = path_of("configmaps", namespace, name);
    calls
        .object(&what, Method::PUT, &path, Some(object))
        .await
        .map(|written| written.is_some())
}

fn path_of(resource: &str, namespace: &str, name: &str) -> String {
    let group = match resource {
        "configmaps" => "/api/v1",
        _ => "/apis/rbac.authorization.k8s.io/v1",
    };
    format!("{group}/namespaces/{namespace}/{resource}/{name}")
}

impl Cluster for Apart {
    type InForce = Told;
    const IS_OTHERS: bool = true;
    const FACTS_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

    fn announcement(told: &Told) -> Option<&Announcement> {
        told.0.as_ref()
    }

    async fn get(
        &self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        let what = format!("read {resource} {namespace}/{name}");
        let path = path_of(resource, namespace, name);
        let calls = self.calls()?;
        calls.object(&what, Method::GET, &path, None).await
    }

    async fn put(&self, resource: &'static str, mut object: Value, _now: Timestamp) -> Result<()> {
        let calls = self.calls()?;
        let (namespace, name) = (meta::namespace(&object), meta::name(&object));
        let what = format!("write {resource} {namespace}/{name}");
        let path = path_of(resource, namespace, name);
        let stored = calls.object(&what, Method::GET, &path, None).await?;
        let (method, path) = match stored {
            Some(stored) => {
                // Labels and the like are whoever's they are.
                let mut metadata = stored["metadata"].clone();
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.remove("managedFields");
                }
                object["metadata"] = metadata;
                (Method::PUT, path)
            }
            None => {
                let all = path.rsplit_once('/').map_or("", |(all, _)| all);
                (Method::POST, all.to_owned())
            }
        };
        let written = calls.object(&what, method, &path, Some(object)).await?;
        match written {
            Some(_) => Ok(()),
            None => Err(anyhow!("cannot {what}: the API server does not know it")),
        }
    }

    fn prepare(&self, start: Start, now: Timestamp) -> Result<Roll> {
        let dir = self.dir()?;
        let from = kept(dir)?;
        let lifetime = SignedDuration::from_hours(24 * i64::from(self.settings.days));
        let begin = now.checked_sub(BACKDATE)?;
        let made = Made {
            base_name: &base_name(from.certificate()),
            kind: self.settings.kind,
            begin: Timestamp::from_second(begin.as_second())?,
            end: Timestamp::from_second(now.checked_add(lifetime)?.as_second())?,
        };
        Ledger::prepare(dir, &from, &made, start, now)
    }

    async fn fleet(&self, roll: &Roll, now: Timestamp) -> Result<Fleet> {
        let dir = self.dir()?;
        let certificate = |which| {
            let read = Ledger::certificate(dir, which)?;
            read.context("the certificate of a CA is missing")
        };
        let (goes, comes) = (certificate(&roll.from)?, certificate(&roll.to)?);
        let (kubeconfig, calls) = self.connection()?;
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases");
        let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let census = Census {
            nodes: calls.list("list the nodes", "/api/v1/nodes", "").await?,
            leases: calls.list("list the nodes' leases", &leases, "").await?,
            requests: calls.list("list the requests", requests, "").await?,
        };
        let mut fleet = census.fleet(roll, &goes, &comes, now);
        fleet.users.remove(probe::COMMON_NAME);
        // Whoever locks himself out cannot put it right.
        let own = kubeconfig.user.client_certificate.as_ref();
        let own = own.and_then(|own| own.certificate.read().ok());
        let own = own.and_then(|pem| Chain::from_pem(pem.expose().as_bytes()).ok());
        if let Some(own) = own.filter(|own| own.leaf().is_signed_by(&goes)) {
            let leaf = own.leaf();
            let name = leaf.subject().common_name.clone();
            fleet.users.insert(name, leaf.not_after());
        }
        Ok(fleet)
    }

    async fn enforce(&self, ledger: &Ledger, now: Timestamp) -> Result<Enforced<Told>> {
        let dir = self.dir()?;
        let (standing, known) = self.standing(ledger, now)?;
        let told = Arc::new(Told(ledger.announcement(&standing)?));
        let enforced = |lacks: Vec<Lack>| Enforced {
            in_force: told,
            lacks,
        };
        let Some(wanted) = Wanted::of(ledger.roll.as_ref(), ledger.ended.as_ref()) else {
            return Ok(enforced(Vec::new()));
        };
        let (kubeconfig, calls) = self.connection()?;
        let servers = self.servers(&kubeconfig);
        let (mut seen, names) = sight::look(&calls, &kubeconfig, &servers, &known).await?;
        self.write(&standing, names, now)?;
        let gone: Vec<_> = match ledger.roll {
            Some(_) => Vec::new(),
            None => known.iter().skip(1).cloned().collect(),
        };
        if mend(&calls, &seen, &standing, &gone).await? {
            (seen, _) = sight::look(&calls, &kubeconfig, &servers, &known).await?;
        }
        let files = self.files()?;
        let mut lacks = apart::lacks(&wanted, &seen, &files);
        if let (Some(signs), Some(roll)) = (wanted.signs(), &ledger.roll) {
            let asked = match lacks.is_empty() {
                true => {
                    let ca = standing.issuer.certificate();
                    let when = (roll.epoch, roll.since);
                    self.prober.look(&calls, ca, when, now).await
                }
                false => Err("it is asked when the rest is done".to_owned()),
            };
            if let Err(instead) = asked {
                lacks.push(apart::unsigned(signs, &instead, &files));
            }
        }
        if ledger.roll.is_none() && lacks.is_empty() {
            Ledger::tidy(dir)?;
        }
        Ok(enforced(lacks))
    }
}

impl Apart {
    /// What others put in place, but for the bundle and the keys, which the ledger writes.
    fn write(&self, standing: &Standing, names: ServerNames, now: Timestamp) -> Result<()> {
        let dir = self.dir()?;
        let alone = standing.issuer.certificate_pem();
        dir.write_if_changed(SIGNER_CERTIFICATE, &alone)?;
        serving::ensure(dir, standing, names, self.settings.kind, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::PrivateKey;

    fn ca(name: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (begin, end) = ("2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z");
        let (begin, end) = (begin.parse().unwrap(), end.parse().unwrap());
        Issuer::self_signed(name, key, [1; 16], begin, end).unwrap()
    }

    #[test]
    fn other_peoples_cas_stay_in_a_bundle() {
        let (old, new, proxy) = (ca("old"), ca("new"), ca("proxy"));
        let pem = |all: &[&Issuer]| {
            all.iter()
                .map(|one| one.certificate_pem())
                .collect::<String>()
        };
        let before = pem(&[&old, &proxy]);
        let both = with(&before, &pem(&[&new, &old]), &[]).unwrap();
        assert_eq!(both, pem(&[&old, &proxy, &new]));
        assert_eq!(with(&both, &pem(&[&old]), &[]).unwrap(), both);
        let gone = [old.certificate().clone()];
        let alone = with(&both, &pem(&[&new]), &gone).unwrap();
        assert_eq!(alone, pem(&[&proxy, &new]));
        assert_eq!(without(&both, &gone).unwrap(), alone);
        assert_eq!(without(&alone, &gone).unwrap(), alone);
        assert_eq!(without(&pem(&[&old]), &gone), None, "nobody would be left");
    }

    #[test]
    fn the_one_that_signs_is_read_from_a_bundle() {
        let (old, new) = (ca("old"), ca("new"));
        let both = new.certificate_pem() + &old.certificate_pem();
        assert_eq!(first(&both), new.certificate_pem());
    }
}
