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
use super::roll_log::{Accepted, logged};
use anyhow::{Context, Result, anyhow};
use everleaf_api::authorities::{LEASE_NAMESPACE, NAME, NAMESPACE, Word};
use everleaf_api::meta;
use everleaf_api::revocation::{self, Revocations};
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::serve::ServingCertificate;
use everleaf_controllers::issuers::SharedIssuer;
use everleaf_controllers::roll::{self, Change, Command, Ended, Fleet, Next, Phase, Roll, tally};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Namespace of the ConfigMaps by which people and a roll speak.
pub(crate) const ROLL_NAMESPACE: &str = "kube-system";
/// In its `data.command`: what a person wants.
pub(crate) const COMMAND_NAME: &str = "everleaf-ca-roll";
/// In its `data.status`: what became of it, and how far the roll has come.
pub(crate) const STATUS_NAME: &str = "everleaf-ca-roll-status";
/// How long whoever gives a command waits for the answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(20);
/// A command that is older is carried out no more: whoever gave it waits no longer, or it has come
/// back with a restored store.
pub(crate) const COMMAND_AGE_MAX: SignedDuration = SignedDuration::from_secs(30);
/// Between two times at which it is told that the announcement was changed by somebody.
const RESTORED_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// Between two looks at the issuance log.
const FACTS_INTERVAL: SignedDuration = SignedDuration::from_secs(4);
/// Most stragglers that the status names; it also says how many there are.
const STRAGGLERS_MAX: usize = 200;

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
    /// When it was told that the announcement was restored.
    restored: Option<Timestamp>,
}

impl RollState {
    /// As the ledger says; a start has put it in force.
    pub(super) fn open(dir: &DataDir) -> Result<Self> {
        Ok(Self {
            ledger: Ledger::read(dir)?,
            is_owed: false,
            fleet: None,
            told: None,
            restored: None,
        })
    }
}

impl Rolling {
    /// One turn; `authority` is in force. Returns the authority if it is another one. Trouble is
    /// told, and tried again with the next turn.
    pub(super) async fn turn(
        &self,
        state: &mut RollState,
        authority: &Authority,
        now: Timestamp,
    ) -> Option<Arc<Authority>> {
        let mut replaced = None;
        let done = async {
            self.obey(state, now).await?;
            replaced = self.enforce(state, now).await?;
            if self.go_on(state, now).await? {
                replaced = self.enforce(state, now).await?.or(replaced.take());
            }
            anyhow::Ok(())
        };
        let mut trouble = done.await.err();
        let authority = replaced.as_deref().unwrap_or(authority);
        if !state.is_owed {
            let kept = self.keep_announced(state, authority, now).await;
            trouble = trouble.or(kept.err());
        }
        let as_text = |error: &anyhow::Error| crate::failure::chain(error);
        let told = self.publish(state, trouble.as_ref().map(as_text), now);
        let trouble = trouble.or(told.await.err()).as_ref().map(as_text);
        if state.told != trouble {
            state.told = trouble;
            if let Some(trouble) = &state.told {
                tracing::warn!("the roll of the CA does not go on: {trouble}; trying again");
            }
        }
        replaced
    }

    /// Nodes find what they are to be told, whatever somebody has written there.
    async fn keep_announced(
        &self,
        state: &mut RollState,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<()> {
        let objects = self.api.objects();
        let was_there = objects.get("configmaps", NAMESPACE, NAME).is_some();
        if !announce(&self.api, authority, now).await? {
            return Ok(());
        }
        let is_told = state.restored.is_some_and(|at| {
            let age = now.duration_since(at);
            !age.is_negative() && age < RESTORED_INTERVAL
        });
        if !is_told {
            state.restored = Some(now);
            tracing::warn!(
                "the ConfigMap {NAMESPACE}/{NAME}, from which agents learn the CAs, was {} by somebody: it is written again; the audit log tells by whom, where one is kept",
                if was_there { "changed" } else { "deleted" }
            );
        }
        Ok(())
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
        let verb = asked["verb"].as_str().unwrap_or("none");
        let decided = match (Command::of_json(&asked), &ledger.roll) {
            _ if is_old => Err("the command is too old; give it again".to_owned()),
            (None, _) => Err("this version of Everleaf does not know the command".to_owned()),
            (Some(command), roll) => {
                let fleet = match (&command, roll) {
                    (Command::Assume(_), Some(roll)) => self.fleet(roll, now).await?,
                    _ => Fleet::default(),
                };
                let change = roll::obey(roll.as_ref(), command.clone(), &fleet, now);
                change.map(|change| (command, change))
            }
        };
        match decided {
            Ok((command, change)) => {
                ledger.is_refusal = false;
                self.carry_out(&mut ledger, &command, change, now)?;
            }
            Err(refusal) => (ledger.reply, ledger.is_refusal) = (refusal, true),
        }
        tracing::info!("everleaf ca roll {verb}: {}", ledger.reply);
        ledger.write(&self.dir)?;
        state.is_owed |= ledger.roll != state.ledger.roll;
        state.ledger = ledger;
        state.fleet = None;
        Ok(())
    }

    fn carry_out(
        &self,
        ledger: &mut Ledger,
        command: &Command,
        change: Change,
        now: Timestamp,
    ) -> Result<()> {
        match change {
            Change::Begin(start) => {
                let from = self.issuer.current();
                let asked = (self.wanted.signing_duration, self.wanted.key_algorithm);
                let roll = Ledger::prepare(&self.dir, &from, asked, start, now)?;
                ledger.reply = format!(
                    "the roll from {} to {} has begun; {}",
                    roll.from.subject,
                    roll.to.subject,
                    roll.outlook()
                );
                ledger.roll = Some(roll);
            }
            Change::Go(roll) => {
                ledger.reply = roll::answer(command, &roll);
                ledger.roll = Some(roll);
            }
            Change::Withdraw => {
                if let Some(roll) = ledger.roll.clone() {
                    ledger.end(&self.dir, &roll.from, &roll.to, now)?;
                    ledger.reply = format!(
                        "taken back: {} goes on alone; {} has signed nothing",
                        roll.from.subject, roll.to.subject
                    );
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
                ledger.end(&self.dir, &roll.to, &roll.from, now)?;
                tracing::info!(
                    "the roll of the CA is over: {} stays alone, {} was dropped",
                    roll.to.subject,
                    roll.from.subject
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
        let objects = self.api.objects();
        let revoked = objects.get("configmaps", revocation::NAMESPACE, revocation::NAME);
        let revoked = revoked.map(|stored| Revocations::of_config_map(&stored.object()));
        let accepted = Accepted {
            goes: roll.from.key_id.clone(),
            comes: roll.to.key_id.clone(),
            revoked: revoked.unwrap_or_default(),
        };
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || logged(&log, &accepted, now));
        let mut fleet = read.await.context("reading the issuance log")??;
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

    /// Tells people how far it has come, and what keeps it; nothing where nobody ever asked.
    async fn publish(
        &self,
        state: &RollState,
        trouble: Option<String>,
        now: Timestamp,
    ) -> Result<()> {
        let ledger = &state.ledger;
        let told = self
            .api
            .objects()
            .get("configmaps", ROLL_NAMESPACE, STATUS_NAME);
        let is_quiet = ledger.answered.is_empty() && ledger.roll.is_none() && trouble.is_none();
        if is_quiet && told.is_none() {
            return Ok(());
        }
        let mut status = json!({
            "answered": ledger.answered,
            "reply": ledger.reply,
            "refusal": ledger.is_refusal,
            "retired": ledger.retired,
            "roll": ledger.roll.as_ref().map(Roll::to_json),
            "ended": ledger.ended.as_ref().map(Ended::to_json),
            "trouble": trouble,
        });
        if let (Some(roll), Some((_, fleet))) = (&ledger.roll, &state.fleet) {
            let tally = tally(roll, fleet, now);
            let names = |all: &[roll::Straggler]| {
                let named = all.iter().take(STRAGGLERS_MAX);
                named.map(|one| one.who.clone()).collect::<Value>()
            };
            status["all"] = tally.all().into();
            status["proven"] = tally.proven.into();
            status["assumed"] = tally.assumed.len().into();
            status["assumedNames"] = names(&tally.assumed);
            status["waitedFor"] = tally.waited_for.len().into();
            let named = tally.waited_for.iter().take(STRAGGLERS_MAX);
            status["stragglers"] = named
                .map(|one| json!({"who": one.who, "why": one.why}))
                .collect();
            let refused = fleet.refused.iter().take(STRAGGLERS_MAX);
            status["refused"] = refused.map(|name| format!("node/{name}")).collect();
            let is_ready = roll.phase == Phase::Renew && tally.waited_for.is_empty();
            status["isReady"] = is_ready.into();
            status["endsByItself"] = roll.ends_by_itself().into();
        }
        let text = status.to_string();
        put_config_map(
            &self.api,
            (ROLL_NAMESPACE, STATUS_NAME),
            json!({"status": text}),
            now,
        )
        .await
        .map(drop)
    }
}

/// Tells nodes of the authorities, once one was replaced, and lets them read it. Whether that was
/// written: it was not there yet, or somebody has changed it.
pub(super) async fn announce(
    server: &Server,
    authority: &Authority,
    now: Timestamp,
) -> Result<bool> {
    let Some(announcement) = &authority.announcement else {
        return Ok(false);
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

/// Writes a ConfigMap of our own, if it says something else. Whether it did.
async fn put_config_map(
    server: &Server,
    (namespace, name): (&str, &str),
    data: Value,
    now: Timestamp,
) -> Result<bool> {
    let stored = server.objects().get("configmaps", namespace, name);
    if stored.is_some_and(|stored| stored.object()["data"] == data) {
        return Ok(false);
    }
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    });
    let written = server.put("configmaps", object, now).await;
    written
        .map(|_| true)
        .map_err(|why| anyhow!("cannot write the ConfigMap {namespace}/{name}: {why}"))
}
