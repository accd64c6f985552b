//! The shell of a roll ([`everleaf_controllers::roll`]): the ConfigMaps by which people and a roll
//! speak, and the order in which a [`Cluster`] is led from phase to phase: that of `up`
//! ([`own`](super::own)), or one whose files are other people's ([`crate::cmd`]'s `ca roll run`).
//!
//! Each turn first makes the world as the ledger says, and only then asks what comes next; the
//! ledger is written before anything follows from it. So it does not matter where a turn is cut
//! off.

use super::data_dir::DataDir;
use super::ledger::Ledger;
use anyhow::Result;
use everleaf_api::authorities::{Announcement, NAME, NAMESPACE};
use everleaf_api::meta;
use everleaf_controllers::roll::apart::Lack;
use everleaf_controllers::roll::{
    self, Change, Command, Ended, Fleet, Next, Phase, Roll, Start, tally,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
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
/// Most stragglers that the status names; it also says how many there are.
const STRAGGLERS_MAX: usize = 200;

/// A cluster, as far as a roll reaches into it.
pub(crate) trait Cluster: Sync {
    /// What follows from the ledger, once it is in force.
    type InForce: Send + Sync;
    /// Whether others put it in force: it is looked at again in each turn.
    const IS_OTHERS: bool;
    /// Between two looks at who has what.
    const FACTS_INTERVAL: SignedDuration;

    /// What nodes are told.
    fn announcement(in_force: &Self::InForce) -> Option<&Announcement>;
    /// An object.
    fn get(
        &self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<Value>>> + Send;
    /// Writes an object, whether it is there or not.
    fn put(
        &self,
        resource: &'static str,
        object: Value,
        now: Timestamp,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Why no roll can begin here.
    fn no_roll(&self) -> Option<&'static str> {
        None
    }
    /// Makes another CA for a roll that begins.
    fn prepare(&self, start: Start, now: Timestamp) -> Result<Roll>;
    /// Who has which certificates, and says what.
    fn fleet(&self, roll: &Roll, now: Timestamp) -> impl Future<Output = Result<Fleet>> + Send;
    /// Puts in force what the ledger says, or looks whether others have.
    fn enforce(
        &self,
        ledger: &Ledger,
        now: Timestamp,
    ) -> impl Future<Output = Result<Enforced<Self::InForce>>> + Send;
}

/// What has come of putting something in force.
pub(crate) struct Enforced<T> {
    pub(crate) in_force: Arc<T>,
    /// What others have to do before it is. Nobody is told of it before.
    pub(crate) lacks: Vec<Lack>,
}

/// What a roll is carried out with.
pub(crate) struct Rolling<C> {
    /// Holds the ledger.
    pub(crate) dir: Arc<DataDir>,
    pub(crate) cluster: C,
}

/// What is known from turn to turn.
pub(crate) struct RollState {
    ledger: Ledger,
    /// What the ledger says is not in force yet.
    is_owed: bool,
    /// What others have to do before it is.
    lacks: Vec<Lack>,
    fleet: Option<(Timestamp, Fleet)>,
    told: Option<String>,
    /// When it was told that the announcement was restored.
    restored: Option<Timestamp>,
}

impl RollState {
    /// As the ledger says. In `up`, a start has put it in force.
    pub(crate) fn open(dir: &DataDir) -> Result<Self> {
        Ok(Self {
            ledger: Ledger::read(dir)?,
            is_owed: false,
            lacks: Vec::new(),
            fleet: None,
            told: None,
            restored: None,
        })
    }

    /// What others have to do.
    pub(crate) fn lacks(&self) -> &[Lack] {
        &self.lacks
    }
}

impl<C: Cluster> Rolling<C> {
    /// One turn; `in_force` is. Returns what is instead, if that is something else. Trouble is
    /// told, and tried again with the next turn.
    pub(crate) async fn turn(
        &self,
        state: &mut RollState,
        in_force: Option<&C::InForce>,
        now: Timestamp,
    ) -> Option<Arc<C::InForce>> {
        let mut replaced = None;
        let done = async {
            self.obey(state, now).await?;
            replaced = self.enforce(state, now).await?;
            if !state.is_owed && self.go_on(state, now).await? {
                replaced = self.enforce(state, now).await?.or(replaced.take());
            }
            anyhow::Ok(())
        };
        let mut trouble = done.await.err();
        let in_force = replaced.as_deref().or(in_force);
        let announcement = in_force.and_then(C::announcement);
        if let Some(announcement) = announcement.filter(|_| !state.is_owed) {
            let kept = self.keep_announced(state, announcement, now).await;
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
        announcement: &Announcement,
        now: Timestamp,
    ) -> Result<()> {
        let stored = self.cluster.get("configmaps", NAMESPACE, NAME).await?;
        if !announce(&self.cluster, announcement, now).await? {
            return Ok(());
        }
        let was_there = stored.is_some();
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
        let given = self
            .cluster
            .get("configmaps", ROLL_NAMESPACE, COMMAND_NAME)
            .await?;
        let Some(given) = given else {
            return Ok(());
        };
        let text = given["data"]["command"]
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
        let no_roll = self.cluster.no_roll();
        let decided = match (Command::of_json(&asked), &ledger.roll, no_roll) {
            _ if is_old => Err("the command is too old; give it again".to_owned()),
            (None, ..) => Err("this version of Everleaf does not know the command".to_owned()),
            (Some(Command::Start(_)), None, Some(why)) => Err(why.to_owned()),
            (Some(command), roll, _) => {
                let fleet = match (&command, roll) {
                    (Command::Assume(_), Some(roll)) => self.cluster.fleet(roll, now).await?,
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
                let roll = self.cluster.prepare(start, now)?;
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
    ) -> Result<Option<Arc<C::InForce>>> {
        if !state.is_owed && !C::IS_OTHERS {
            return Ok(None);
        }
        let Enforced { in_force, lacks } = self.cluster.enforce(&state.ledger, now).await?;
        let was_owed = state.is_owed;
        state.is_owed = !lacks.is_empty();
        state.lacks = lacks;
        if was_owed && !state.is_owed {
            if let Some(announcement) = C::announcement(&in_force) {
                announce(&self.cluster, announcement, now).await?;
            }
            state.fleet = None;
        }
        Ok(Some(in_force))
    }

    /// Asks what comes next, and writes it down. Whether anything does.
    async fn go_on(&self, state: &mut RollState, now: Timestamp) -> Result<bool> {
        let Some(roll) = state.ledger.roll.clone() else {
            return Ok(false);
        };
        let is_fresh = |(at, _): &(Timestamp, Fleet)| {
            let age = now.duration_since(*at);
            !age.is_negative() && age < C::FACTS_INTERVAL
        };
        if !state.fleet.as_ref().is_some_and(is_fresh) {
            state.fleet = Some((now, self.cluster.fleet(&roll, now).await?));
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
                ledger.roll = Some(match C::IS_OTHERS && next.phase != roll.phase {
                    true => next.renewing_later(),
                    false => next,
                });
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

    /// Tells people how far it has come, and what keeps it; nothing where nobody ever asked.
    async fn publish(
        &self,
        state: &RollState,
        trouble: Option<String>,
        now: Timestamp,
    ) -> Result<()> {
        let ledger = &state.ledger;
        let told = self
            .cluster
            .get("configmaps", ROLL_NAMESPACE, STATUS_NAME)
            .await?;
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
            "byOthers": C::IS_OTHERS,
        });
        let lacks = state.lacks.iter();
        status["toDo"] = lacks
            .map(|lack| json!({"what": lack.what, "remedy": lack.remedy}))
            .collect();
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
            let is_ready =
                roll.phase == Phase::Renew && tally.waited_for.is_empty() && state.lacks.is_empty();
            status["isReady"] = is_ready.into();
            status["endsByItself"] = roll.ends_by_itself().into();
        }
        let text = status.to_string();
        put_config_map(
            &self.cluster,
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
pub(super) async fn announce<C: Cluster>(
    cluster: &C,
    announcement: &Announcement,
    now: Timestamp,
) -> Result<bool> {
    let name = "everleaf:authorities";
    let group = "rbac.authorization.k8s.io";
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "Role",
        "metadata": metadata,
        "rules": [{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get"],
        }],
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "Group", "apiGroup": group, "name": "system:authenticated"}],
    });
    for (resource, object) in [("roles", role), ("rolebindings", binding)] {
        if cluster.get(resource, NAMESPACE, name).await?.is_none() {
            cluster.put(resource, object, now).await?;
        }
    }
    put_config_map(cluster, (NAMESPACE, NAME), announcement.to_data(), now).await
}

/// Writes a ConfigMap of our own, if it says something else. Whether it did.
async fn put_config_map<C: Cluster>(
    cluster: &C,
    (namespace, name): (&str, &str),
    data: Value,
    now: Timestamp,
) -> Result<bool> {
    let stored = cluster.get("configmaps", namespace, name).await?;
    if stored.is_some_and(|stored| stored["data"] == data) {
        return Ok(false);
    }
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    });
    cluster.put("configmaps", object, now).await.map(|()| true)
}
