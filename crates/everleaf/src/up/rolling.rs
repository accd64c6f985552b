//! The shell of a roll ([`everleaf_controllers::roll`]): what is known of the fleet, the ConfigMaps
//! by which people and a roll speak, and the authority that is put in force.
//!
//! Each turn first makes the world as the ledger says, and only then asks what comes next; the
//! ledger is written before anything follows from it. So it does not matter where a turn is cut
//! off.

use super::authority::{self, Authority, Wanted};
use super::data_dir::DataDir;
use super::kubeconfigs;
use super::ledger::Ledger;
use anyhow::{Context, Result, anyhow};
use everleaf_api::authorities::{LEASE_NAMESPACE, NAME, NAMESPACE, Word};
use everleaf_api::meta;
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::serve::ServingCertificate;
use everleaf_controllers::issuance::{Entry, ReadError, Reader};
use everleaf_controllers::issuers::SharedIssuer;
use everleaf_controllers::roll::{
    self, Change, Command, Fleet, Holder, Issued, Next, Phase, Roll, stragglers,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Namespace of the ConfigMaps by which people and a roll speak.
pub(crate) const ROLL_NAMESPACE: &str = "kube-system";
/// In its `data.command`: what a person wants.
pub(crate) const COMMAND_NAME: &str = "everleaf-ca-roll";
/// In its `data.status`: what became of it, and how far the roll has come.
pub(crate) const STATUS_NAME: &str = "everleaf-ca-roll-status";
/// A command that is older was meant for another time: it comes back with a restored store.
const COMMAND_AGE_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Between two looks at the issuance log.
const FACTS_INTERVAL: SignedDuration = SignedDuration::from_secs(4);
/// Most stragglers that the status names; it also says how many there are.
const STRAGGLERS_MAX: usize = 200;
/// Signers of nodes' certificates.
const NODE_PREFIX: &str = "system:node:";

/// What a roll is carried out with.
pub(super) struct Rolling {
    pub(super) dir: Arc<DataDir>,
    pub(super) api: Arc<Server>,
    /// What the API server's certificate says.
    pub(super) wanted: Wanted,
    /// How others reach the API server.
    pub(super) public_url: String,
    /// Signs for nodes.
    pub(super) issuer: SharedIssuer,
    /// The API server's.
    pub(super) serving: Arc<ServingCertificate>,
    /// The issuance log.
    pub(super) log: PathBuf,
}

/// What is known from turn to turn.
pub(super) struct RollState {
    ledger: Ledger,
    /// What the ledger says is not in force yet.
    is_owed: bool,
    fleet: Option<(Timestamp, Fleet)>,
    told: Option<String>,
}

impl RollState {
    /// As the ledger says; a start has put it in force.
    pub(super) fn open(dir: &DataDir) -> Result<Self> {
        Ok(Self {
            ledger: Ledger::read(dir)?,
            is_owed: false,
            fleet: None,
            told: None,
        })
    }
}

impl Rolling {
    /// One turn. Returns the authority if it is another one. Trouble is told, and tried again with
    /// the next turn.
    pub(super) async fn turn(
        &self,
        state: &mut RollState,
        now: Timestamp,
    ) -> Option<Arc<Authority>> {
        let mut replaced = None;
        let done = async {
            self.obey(state, now).await?;
            replaced = self.enforce(state, now).await?;
            if self.go_on(state, now).await? {
                replaced = self.enforce(state, now).await?.or(replaced.take());
            }
            self.publish(state, now).await
        };
        let trouble = done.await.err().map(|error| crate::failure::chain(&error));
        if state.told != trouble {
            state.told = trouble;
            if let Some(trouble) = &state.told {
                tracing::warn!("the roll of the CA does not go on: {trouble}; trying again");
            }
        }
        replaced
    }

    /// Carries out a command that was not answered yet.
    async fn obey(&self, state: &mut RollState, now: Timestamp) -> Result<()> {
        let objects = self.api.objects();
        let Some(stored) = objects.get("configmaps", ROLL_NAMESPACE, COMMAND_NAME) else {
            return Ok(());
        };
        let text = stored.object()["data"]["command"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let asked: Value = serde_json::from_str(&text).unwrap_or_default();
        let nonce = asked["nonce"].as_str().unwrap_or_default();
        if nonce.is_empty() || nonce == state.ledger.answered {
            return Ok(());
        }
        let at = asked["at"].as_str().and_then(meta::parse_time);
        let is_old = at.is_none_or(|at| now.duration_since(at).abs() > COMMAND_AGE_MAX);
        let mut ledger = state.ledger.clone();
        ledger.answered = nonce.to_owned();
        let change = match Command::of_json(&asked) {
            _ if is_old => Err("the command is too old; give it again".to_owned()),
            None => Err("this version of Everleaf does not know the command".to_owned()),
            Some(command) => roll::obey(ledger.roll.as_ref(), command, now),
        };
        tracing::info!(command = text, "a command about the roll of the CA");
        match change {
            Err(refusal) => (ledger.reply, ledger.is_refusal) = (refusal, true),
            Ok(change) => {
                ledger.is_refusal = false;
                self.carry_out(&mut ledger, change, now)?;
            }
        }
        ledger.write(&self.dir)?;
        state.is_owed |= ledger.roll != state.ledger.roll;
        state.ledger = ledger;
        state.fleet = None;
        Ok(())
    }

    fn carry_out(&self, ledger: &mut Ledger, change: Change, now: Timestamp) -> Result<()> {
        match change {
            Change::Begin(start) => {
                let from = self.issuer.current();
                let duration = self.wanted.signing_duration;
                let roll = Ledger::prepare(&self.dir, &from, duration, start, now)?;
                ledger.reply = format!(
                    "the roll from {} to {} has begun",
                    roll.from.subject, roll.to.subject
                );
                ledger.roll = Some(roll);
            }
            Change::Go(roll) => {
                ledger.reply = format!(
                    "the roll from {} to {} stands at {}",
                    roll.from.subject,
                    roll.to.subject,
                    roll.phase.as_str()
                );
                ledger.roll = Some(roll);
            }
            Change::Withdraw => {
                if let Some(roll) = ledger.roll.clone() {
                    ledger.reply = format!(
                        "taken back: {} goes on alone; {} has signed nothing",
                        roll.from.subject, roll.to.subject
                    );
                    ledger.end(&self.dir, &roll.from, &roll.to)?;
                }
            }
        }
        Ok(())
    }

    /// Puts in force what the ledger says, if it is not.
    async fn enforce(
        &self,
        state: &mut RollState,
        now: Timestamp,
    ) -> Result<Option<Arc<Authority>>> {
        if !state.is_owed {
            return Ok(None);
        }
        let authority = authority::ensure(&self.dir, &self.wanted, now)?;
        // First who is believed, then what is signed; who is told last finds both.
        let authenticator = self.api.authenticator();
        authenticator.set_client_ca(authority.ca_pem.as_bytes())?;
        self.api.install(now).await?;
        kubeconfigs::publish(&self.api, &self.public_url, &authority.ca_pem, now).await?;
        let chain = authority.server.chain().to_pem();
        let key = authority.server.key().to_pem();
        self.serving.replace(chain.as_bytes(), key.as_bytes())?;
        self.issuer.replace(Arc::clone(&authority.issuer));
        announce(&self.api, &authority, now).await?;
        state.is_owed = false;
        state.fleet = None;
        Ok(Some(Arc::new(authority)))
    }

    /// Asks what comes next, and writes it down. Whether anything does.
    async fn go_on(&self, state: &mut RollState, now: Timestamp) -> Result<bool> {
        let Some(roll) = state.ledger.roll.clone() else {
            return Ok(false);
        };
        let is_fresh = |(at, _): &(Timestamp, Fleet)| {
            let age = now.duration_since(*at);
            !age.is_negative() && age < FACTS_INTERVAL
        };
        if !state.fleet.as_ref().is_some_and(is_fresh) {
            state.fleet = Some((now, self.fleet(&roll, now).await?));
        }
        let Some((_, fleet)) = &state.fleet else {
            return Ok(false);
        };
        match roll::next(&roll, fleet, now) {
            Next::Stay => Ok(false),
            Next::Go(next) => {
                tracing::info!(
                    from = roll.from.subject,
                    to = roll.to.subject,
                    phase = next.phase.as_str(),
                    "the roll of the CA goes on"
                );
                let mut ledger = state.ledger.clone();
                ledger.roll = Some(next);
                ledger.write(&self.dir)?;
                state.ledger = ledger;
                state.is_owed = true;
                Ok(true)
            }
            Next::Finish => {
                let mut ledger = state.ledger.clone();
                ledger.end(&self.dir, &roll.to, &roll.from)?;
                tracing::info!(
                    ca = roll.to.subject,
                    "the roll of the CA has ended: it is alone"
                );
                state.ledger = ledger;
                state.is_owed = true;
                Ok(true)
            }
        }
    }

    /// Who has certificates, by the issuance log; what nodes say, by their Leases; where kubelets
    /// run, by their Nodes.
    async fn fleet(&self, roll: &Roll, now: Timestamp) -> Result<Fleet> {
        let (log, key_id) = (self.log.clone(), roll.from.key_id.clone());
        let read = tokio::task::spawn_blocking(move || logged(&log, &key_id, now));
        let mut fleet = read.await.context("reading the issuance log")??;
        let objects = self.api.objects();
        for stored in objects.list("nodes", None) {
            let object = stored.object();
            let version = object["status"]["nodeInfo"]["kubeletVersion"].as_str();
            let holder = fleet.nodes.entry(stored.name.to_string()).or_default();
            holder.runs_kubelet = version.is_some_and(|version| !version.is_empty());
        }
        for stored in objects.list("leases", Some(LEASE_NAMESPACE)) {
            if let Some(holder) = fleet.nodes.get_mut(&*stored.name) {
                holder.word = Word::of_lease(&stored.object());
            }
        }
        Ok(fleet)
    }

    /// Tells people how far it has come; nothing where nobody ever asked.
    async fn publish(&self, state: &RollState, now: Timestamp) -> Result<()> {
        let ledger = &state.ledger;
        if ledger.answered.is_empty() && ledger.roll.is_none() {
            return Ok(());
        }
        let mut status = json!({
            "answered": ledger.answered,
            "reply": ledger.reply,
            "refusal": ledger.is_refusal,
            "retired": ledger.retired,
            "roll": ledger.roll.as_ref().map(Roll::to_json),
        });
        if let (Some(roll), Some((_, fleet))) = (&ledger.roll, &state.fleet) {
            let (waited_for, all) = stragglers(roll, fleet, now);
            status["all"] = all.into();
            status["waitedFor"] = waited_for.len().into();
            let named = waited_for.iter().take(STRAGGLERS_MAX);
            status["stragglers"] = named
                .map(|one| json!({"who": one.who, "why": one.why}))
                .collect();
            status["isReady"] = (roll.phase == Phase::Renew && waited_for.is_empty()).into();
        }
        let text = status.to_string();
        put_config_map(
            &self.api,
            (ROLL_NAMESPACE, STATUS_NAME),
            json!({"status": text}),
            now,
        )
        .await
    }
}

/// Tells nodes of the authorities, once one was replaced, and lets them read it.
pub(super) async fn announce(server: &Server, authority: &Authority, now: Timestamp) -> Result<()> {
    let Some(announcement) = &authority.announcement else {
        return Ok(());
    };
    let name = "everleaf:authorities";
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let role = json!({
        "metadata": metadata,
        "rules": [{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get"],
        }],
    });
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{
            "kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated",
        }],
    });
    for (resource, object) in [("roles", role), ("rolebindings", binding)] {
        if server.objects().get(resource, NAMESPACE, name).is_none() {
            let written = server.put(resource, object, now).await;
            written.map_err(|why| anyhow!("cannot write {resource}/{name}: {why}"))?;
        }
    }
    put_config_map(server, (NAMESPACE, NAME), announcement.to_data(), now).await
}

/// Writes a ConfigMap of our own, if it says something else.
async fn put_config_map(
    server: &Server,
    (namespace, name): (&str, &str),
    data: Value,
    now: Timestamp,
) -> Result<()> {
    let stored = server.objects().get("configmaps", namespace, name);
    if stored.is_some_and(|stored| stored.object()["data"] == data) {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    });
    let written = server.put("configmaps", object, now).await;
    written
        .map(drop)
        .map_err(|why| anyhow!("cannot write the ConfigMap {namespace}/{name}: {why}"))
}

/// Who has certificates that have not ended; `key_id` is that of the CA that goes.
fn logged(directory: &Path, key_id: &str, now: Timestamp) -> Result<Fleet> {
    let reader = match Reader::open(directory) {
        Err(ReadError::Absent(_)) => return Ok(Fleet::default()),
        other => other.with_context(|| directory.display().to_string())?,
    };
    let mut fleet = Fleet::default();
    let read = reader.each(|_, bytes| {
        if let Ok(entry) = Entry::from_bytes(bytes) {
            count_in(&mut fleet, &entry, key_id, now);
        }
    });
    read.with_context(|| directory.display().to_string())?;
    Ok(fleet)
}

/// Takes in a certificate; they come in the order in which they were signed.
fn count_in(fleet: &mut Fleet, entry: &Entry, key_id: &str, now: Timestamp) {
    let Some(until) = entry.ends_at().filter(|until| *until > now) else {
        return;
    };
    let is_old = entry.ca_ski == key_id;
    let Some(node) = entry.cn.strip_prefix(NODE_PREFIX) else {
        if is_old && entry.usages.iter().any(|usage| usage == "client auth") {
            let end = fleet.users.entry(entry.cn.clone()).or_insert(until);
            *end = until.max(*end);
        }
        return;
    };
    let holder: &mut Holder = fleet.nodes.entry(node.to_owned()).or_default();
    if is_old {
        holder.old_until = holder.old_until.max(Some(until));
    }
    let issued = Issued {
        key_id: entry.ca_ski.clone(),
        at: meta::parse_time(&entry.time).unwrap_or(now),
    };
    holder.newest.insert(entry.signer.clone(), issued);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_who_has_what() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut fleet = Fleet::default();
        for line in [
            "system:node:a|client|old|2031-01-01T00:00:00Z|client auth",
            "system:node:a|serving|old|2032-01-01T00:00:00Z|server auth",
            "system:node:a|client|new|2033-01-01T00:00:00Z|client auth",
            "system:node:gone|client|old|2029-12-31T00:00:00Z|client auth",
            "system:node:b|client|new|2031-01-01T00:00:00Z|client auth",
            "alice|client|old|2031-01-01T00:00:00Z|client auth",
            "alice|client|old|2030-06-01T00:00:00Z|client auth",
            "bob|client|new|2031-01-01T00:00:00Z|client auth",
            "service|x|old|2031-01-01T00:00:00Z|server auth",
        ] {
            let words: Vec<_> = line.split('|').collect();
            let [cn, signer, ca_ski, not_after, usage] = words[..] else {
                panic!("{line}");
            };
            let entry = Entry {
                cn: cn.to_owned(),
                signer: signer.to_owned(),
                ca_ski: ca_ski.to_owned(),
                not_after: not_after.to_owned(),
                usages: vec![usage.to_owned()],
                time: "2029-01-01T00:00:00Z".to_owned(),
                ..Entry::default()
            };
            count_in(&mut fleet, &entry, "old", now);
        }
        let names: Vec<_> = fleet.nodes.keys().collect();
        assert_eq!(names, ["a", "b"]);
        let a = &fleet.nodes["a"];
        assert_eq!(a.old_until.unwrap().to_string(), "2032-01-01T00:00:00Z");
        assert_eq!(a.newest["client"].key_id, "new");
        assert_eq!(a.newest["serving"].key_id, "old");
        assert_eq!(fleet.nodes["b"].old_until, None);
        assert_eq!(fleet.users.len(), 1);
        assert_eq!(fleet.users["alice"].to_string(), "2031-01-01T00:00:00Z");
    }
}
