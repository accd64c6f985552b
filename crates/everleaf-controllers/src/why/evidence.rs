//! What was seen of a cluster, as the API told it.
//!
//! Owns the list of what is looked at, and the little that can be read off each object alone.
//! Refuses to fetch: whoever asks the API fills it in, and says of each piece whether it was read,
//! is not there, or may not be seen.

use super::Context;
use crate::call;
use crate::election::flags::RESOURCE_NAME_SERVING;
use crate::election::lease::Record;
use crate::serving::{Inventory, PolicySet};
use crate::upkeep::token::{Expiration, Token};
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_api::review::{ResourceAttributes, Subject, access_review};
use everleaf_api::revocation::Revocations;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Known<T> {
    /// It was read.
    Read(T),
    /// It is not there.
    Absent,
    /// It could not be read: why.
    Hidden(String),
}

impl<T> Known<T> {
    /// What was read.
    pub fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Absent | Self::Hidden(_) => None,
        }
    }

    /// Of what was read, something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Read(value) => Known::Read(change(value)),
            Self::Absent => Known::Absent,
            Self::Hidden(why) => Known::Hidden(why),
        }
    }

    /// Whether it is certain that it is not there.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self::Hidden("it was not looked at".to_owned())
    }
}

/// A question to authorization that a diagnosis wants answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// May the requestor of this request create this subresource of certificatesigningrequests?
    Requestor {
        /// Name of the request.
        csr: String,
        /// As `nodeclient`.
        permission: &'static str,
    },
    /// May this account do this (`approve`, `sign`) for this signer?
    Account {
        /// User name.
        user: String,
        /// `approve` or `sign`.
        verb: &'static str,
        /// Signer name.
        signer: String,
    },
}

impl Question {
    /// About the requestor of this request.
    pub(super) fn of_requestor(csr: Csr<'_>, permission: &'static str) -> Self {
        Self::Requestor {
            csr: csr.name().to_owned(),
            permission,
        }
    }

    /// The SubjectAccessReview to post.
    pub fn body(&self, request: &Value) -> Value {
        match self {
            Self::Requestor { permission, .. } => {
                crate::approver::review_body(Csr(request), permission)
            }
            Self::Account { user, verb, signer } => {
                let subject = Subject {
                    user: user.clone(),
                    groups: groups_of(user),
                    ..Subject::default()
                };
                let action = ResourceAttributes {
                    verb,
                    group: "certificates.k8s.io",
                    resource: "signers",
                    name: signer,
                    ..ResourceAttributes::default()
                };
                access_review(&subject, &action)
            }
        }
    }
}

/// The groups that the API server gives a service account.
fn groups_of(user: &str) -> Vec<String> {
    let mut groups = vec!["system:authenticated".to_owned()];
    if let Some(namespace) = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split(':').next())
    {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    groups
}

/// What was seen. Objects are as the API encodes them in JSON.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The API server's clock.
    pub now: Timestamp,
    /// This machine's clock.
    pub local: Timestamp,
    /// `gitVersion` of the API server.
    pub version: Known<String>,
    /// The request that is asked about.
    pub request: Known<Value>,
    /// Every request that is stored.
    pub requests: Known<Vec<Value>>,
    /// The Node that is asked about.
    pub node: Known<Value>,
    /// Every Node.
    pub nodes: Known<Vec<Value>>,
    /// Every Service.
    pub services: Known<Vec<Value>>,
    /// The Endpoints `default/kubernetes`.
    pub endpoints: Known<Vec<Value>>,
    /// Events about the request and the node.
    pub events: Known<Vec<Value>>,
    /// Leases of `kube-system`.
    pub leases: Known<Vec<Value>>,
    /// The node's Lease in `kube-node-lease`.
    pub node_lease: Known<Value>,
    /// Pods that run a kube-controller-manager or Everleaf.
    pub pods: Known<Vec<Value>>,
    /// ClusterRoleBindings.
    pub bindings: Known<Vec<Value>>,
    /// Names of the ClusterRoles of certificates.k8s.io.
    pub roles: Known<Vec<String>>,
    /// What authorization answered.
    pub answers: BTreeMap<Question, Known<bool>>,
    /// Until when each bootstrap token that exists is good, by its id; `None`: for ever.
    pub tokens: Known<BTreeMap<String, Option<Timestamp>>>,
    /// The authorities of clients, in PEM (ConfigMap `extension-apiserver-authentication`).
    pub client_ca: Known<String>,
    /// Which good certificates are refused (ConfigMap `everleaf-revocations`).
    pub revocations: Known<Revocations>,
    /// What the API server said when it was asked to reach the kubelet: HTTP status and text.
    pub kubelet: Known<(u16, String)>,
    /// Names and addresses of the API server that are known without asking.
    pub api_server: Vec<crate::serving::Claim>,
    /// The policies for serving requests.
    pub policies: PolicySet,
    /// Where they come from, in words; empty: nowhere, they hold where there are none.
    pub policy_source: String,
    /// The inventory that a policy names, or why it cannot be read.
    pub inventory: Option<Result<Inventory, String>>,
    /// Open requests that the API server lets a node have, where that is known.
    pub open_max: Option<usize>,
}

/// Who holds a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// Nobody knows.
    Unknown,
    /// Nobody does.
    Nobody,
    /// Somebody did, and has stopped renewing.
    Gone {
        /// Who.
        holder: String,
        /// When he last did, as the Lease has it.
        renewed: String,
        /// Others still wait for the end of its time.
        keeps_others_out: bool,
        /// Seconds for which it was taken.
        seconds: u64,
    },
    /// Somebody does.
    Alive(String),
}

/// How much later than its Lease allows a holder may be.
const LEASE_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// A leader renews every two seconds; who has not for so long is dead, however long the Lease is.
const SILENT_MAX: SignedDuration = SignedDuration::from_secs(60);
/// The grace where only the holder's clock tells when it was renewed.
const LEASE_GRACE_BLIND: SignedDuration = SignedDuration::from_secs(60);

/// When a Lease was last renewed, by the API server's clock. Old servers note only when the set of
/// its fields changed: it may have been renewed since.
pub(crate) fn written_at(lease: &Value) -> Option<Timestamp> {
    let entries = super::items(lease, "/metadata/managedFields");
    let of_renewal = entries.filter(|entry| entry["fieldsV1"]["f:spec"]["f:renewTime"].is_object());
    of_renewal
        .filter_map(|entry| entry["time"].as_str()?.parse().ok())
        .max()
}

impl Evidence {
    /// Leases of kube-system by which controllers of requests agree who works: those of
    /// Kubernetes, of Everleaf beside it, and of Everleaf's approver alone.
    pub const LEASES: [&'static str; 3] = [
        "kube-controller-manager",
        "everleaf-controllers",
        RESOURCE_NAME_SERVING,
    ];

    /// Ids and ends of the bootstrap tokens among these Secrets, without what is secret of them.
    pub fn tokens_of(secrets: &[Value]) -> BTreeMap<String, Option<Timestamp>> {
        let tokens = secrets.iter().filter_map(Token::read);
        let end = |token: &Token| match token.expiration {
            Expiration::At(end) => Some(end),
            Expiration::Never => None,
            Expiration::Unreadable => Some(Timestamp::MIN),
        };
        tokens
            .map(|token| (token.id.clone(), end(&token)))
            .collect()
    }

    /// Who holds the Lease of this name in kube-system.
    pub fn leader(&self, name: &str) -> Leader {
        let Some(leases) = self.leases.read() else {
            return match self.leases {
                Known::Absent => Leader::Nobody,
                _ => Leader::Unknown,
            };
        };
        let Some(lease) = leases.iter().find(|lease| meta::name(lease) == name) else {
            return Leader::Nobody;
        };
        let record = Record::of(lease);
        if record.holder.is_empty() {
            return Leader::Nobody;
        }
        let written = written_at(lease);
        let grace = match written {
            Some(_) => LEASE_GRACE,
            None => LEASE_GRACE_BLIND,
        };
        let allowed = SignedDuration::try_from(record.duration).unwrap_or(SignedDuration::MAX);
        let ends = allowed.saturating_add(grace);
        let allowed = allowed.min(SILENT_MAX).saturating_add(grace);
        let stamped: Option<Timestamp> = record.renewed.parse().ok();
        let is_ahead = stamped.is_some_and(|at| self.now.duration_until(at) > grace);
        let renewed = written.max(stamped.filter(|_| !is_ahead));
        match renewed {
            Some(renewed) if self.now.duration_since(renewed) <= allowed => {
                Leader::Alive(record.holder)
            }
            // The holder's clock is ahead: what it stamped tells nothing.
            _ if is_ahead => Leader::Unknown,
            _ => Leader::Gone {
                holder: record.holder,
                renewed: record.renewed,
                keeps_others_out: renewed.is_some_and(|at| self.now.duration_since(at) <= ends),
                seconds: record.duration.as_secs(),
            },
        }
    }

    /// Whether the API server is Everleaf's.
    pub fn is_everleaf(&self) -> bool {
        let version = self.version.read();
        version.is_some_and(|version| call::is_everleaf(version))
    }

    /// The minor version of Kubernetes, by the API server.
    pub(crate) fn minor(&self) -> Option<u32> {
        let version = self.version.read()?.strip_prefix("v1.")?;
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// The Node of this name.
    pub fn node(&self, name: &str) -> Option<&Value> {
        let nodes = self.nodes.read().into_iter().flatten();
        let mut nodes = nodes.chain(self.node.read());
        nodes.find(|node| meta::name(node) == name)
    }

    /// The newest Event with this reason about the request or the node.
    pub(super) fn event(&self, reasons: &[&str]) -> Option<Event<'_>> {
        let events = self.events.read().into_iter().flatten();
        let mut events: Vec<Event<'_>> = events.map(Event).collect();
        events.retain(|event| reasons.contains(&event.reason()));
        events.into_iter().max_by_key(|event| event.at())
    }

    /// Whether an answer is known, and what it is.
    pub(super) fn may(&self, question: &Question) -> Option<bool> {
        self.answers.get(question)?.read().copied()
    }

    /// Pods that run a kube-controller-manager.
    pub(crate) fn managers(&self) -> Vec<Manager<'_>> {
        let pods = self.pods.read().into_iter().flatten();
        pods.filter_map(Manager::of).collect()
    }

    /// Accounts under which controllers may run: those of Kubernetes, and those of Everleaf's pods.
    pub(super) fn accounts(&self) -> Vec<String> {
        let mut accounts = vec![
            "system:serviceaccount:kube-system:certificate-controller".to_owned(),
            "system:kube-controller-manager".to_owned(),
        ];
        for pod in self.pods.read().into_iter().flatten() {
            let name = pod["spec"]["serviceAccountName"].as_str();
            if let Some(name) = name.filter(|_| is_everleafs(pod)) {
                let namespace = meta::namespace(pod);
                accounts.push(format!("system:serviceaccount:{namespace}:{name}"));
            }
        }
        accounts.sort();
        accounts.dedup();
        accounts
    }

    /// What could not be looked at, each with the reason.
    pub fn unseen(&self) -> Vec<String> {
        fn say<T>(what: &str, known: &Known<T>, unseen: &mut Vec<String>) {
            if let Known::Hidden(why) = known {
                unseen.push(format!("{what}: {why}"));
            }
        }
        let mut unseen = Vec::new();
        say("requests", &self.requests, &mut unseen);
        say("nodes", &self.nodes, &mut unseen);
        say("services", &self.services, &mut unseen);
        say(
            "the endpoints of the API server",
            &self.endpoints,
            &mut unseen,
        );
        say("events", &self.events, &mut unseen);
        say("leases", &self.leases, &mut unseen);
        say("the node's lease", &self.node_lease, &mut unseen);
        say("pods of the control plane", &self.pods, &mut unseen);
        say("ClusterRoleBindings", &self.bindings, &mut unseen);
        say("ClusterRoles", &self.roles, &mut unseen);
        say("bootstrap tokens", &self.tokens, &mut unseen);
        say("the authorities of clients", &self.client_ca, &mut unseen);
        say("the kubelet", &self.kubelet, &mut unseen);
        if self.is_everleaf() {
            // No other server goes by them.
            say("revocations", &self.revocations, &mut unseen);
        }
        if let Some(why) = self.answers.values().find_map(|answer| match answer {
            Known::Hidden(why) => Some(why),
            _ => None,
        }) {
            unseen.push(format!("rights of others: {why}"));
        }
        unseen
    }

    /// Names that go into commands.
    pub(super) fn context(&self, csr: Option<Csr<'_>>, node: &str) -> Context {
        let mut context = Context {
            is_everleaf: self.is_everleaf(),
            ..Context::default()
        };
        if let Some(csr) = csr {
            context.filer = csr.username().to_owned();
            context.set("csr", csr.name());
            context.set("signer", csr.signer_name());
            context.set("requestor", csr.username());
            let groups = csr.groups();
            let bootstrappers = groups
                .iter()
                .filter(|group| group.starts_with("system:bootstrappers"));
            if let Some(group) = bootstrappers.max_by_key(|group| group.len()) {
                context.set("group", group);
            }
        }
        context.set("node", node);
        context.set("lease", "kube-controller-manager");
        context.set(
            "account",
            "system:serviceaccount:kube-system:certificate-controller",
        );
        if let Some(manager) = self.managers().first() {
            context.set("pod", manager.name);
        }
        context
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let list = pod["spec"]["containers"].as_array();
    list.into_iter().flatten()
}

fn words(container: &Value) -> impl Iterator<Item = &str> {
    ["command", "args"]
        .into_iter()
        .flat_map(|member| container[member].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
}

fn is_everleafs(pod: &Value) -> bool {
    let label = meta::label(pod, "app.kubernetes.io/name");
    label == Some("everleaf")
        || containers(pod).any(|container| {
            words(container).any(|word| word == "everleaf" || word.ends_with("/everleaf"))
        })
}

/// A pod with a kube-controller-manager.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manager<'a> {
    pub(crate) name: &'a str,
    container: &'a Value,
}

impl<'a> Manager<'a> {
    fn of(pod: &'a Value) -> Option<Self> {
        let is_managers = |word: &str| {
            word == "kube-controller-manager" || word.ends_with("/kube-controller-manager")
        };
        let container = containers(pod).find(|container| words(container).any(is_managers))?;
        Some(Self {
            name: meta::name(pod),
            container,
        })
    }

    /// The value of a flag, as its command line gives it; the last one counts.
    pub(crate) fn flag(&self, name: &str) -> Option<&'a str> {
        let value = |word: &'a str| {
            let word = word.trim_start_matches('-');
            word.strip_prefix(name)?.strip_prefix('=')
        };
        words(self.container).filter_map(value).last()
    }

    /// Whether `--controllers` lets this one run; names that begin with a dash are switched off.
    pub(crate) fn runs(&self, controller: &str, long_name: &str) -> bool {
        let Some(list) = self.flag("controllers") else {
            return true;
        };
        let mut names = list.split(',').map(str::trim);
        let is_it = |name: &str| name == controller || name == long_name;
        let is_off = |name: &str| name.strip_prefix('-').is_some_and(is_it);
        let (mut star, mut named) = (false, false);
        for name in names.by_ref() {
            match name {
                name if is_off(name) => return false,
                "*" => star = true,
                name if is_it(name) => named = true,
                _ => {}
            }
        }
        star || named
    }

    /// The minor version in its image's tag.
    pub(crate) fn minor(&self) -> Option<u32> {
        let image = self.container["image"].as_str()?;
        let tag = image.rsplit(':').next()?.strip_prefix("v1.")?;
        tag.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    }
}

/// An Event of either API group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a>(pub(super) &'a Value);

impl<'a> Event<'a> {
    pub(super) fn reason(&self) -> &'a str {
        self.0["reason"].as_str().unwrap_or_default()
    }

    pub(super) fn message(&self) -> &'a str {
        let text = self.0["message"].as_str().or(self.0["note"].as_str());
        text.unwrap_or_default()
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        let times = ["lastTimestamp", "eventTime", "deprecatedLastTimestamp"];
        let time = times.into_iter().find_map(|member| self.0[member].as_str());
        time.and_then(meta::parse_time)
            .or_else(|| meta::creation_timestamp(self.0))
    }

    /// It as a line of evidence.
    pub(super) fn line(&self) -> String {
        let at = self.at().map_or(String::new(), |at| format!(" at {at}"));
        format!("Event {}{at}: {}", self.reason(), self.message())
    }
}
