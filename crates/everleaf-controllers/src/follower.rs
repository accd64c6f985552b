//! Following a resource: discovery, list, watch, and again after whatever interrupts it. A machine
//! without I/O.
//!
//! It owns what is asked when, and what each interruption means. A watch that ends is resumed
//! where it stopped; when the server refuses to go on from there (it has forgotten that place, or
//! does not know it yet, since it was restored from a backup) everything is listed again, as
//! client-go's reflector does (`tools/cache/reflector.go`); when it is away the follower comes
//! back with growing pauses, and says so once per change. It never gives up and never skips: an
//! API that is missing today may be there tomorrow. Objects are handed on page by page.
//!
//! ```text
//!  Discovering ─▶ Listing ─▶ Opening ─▶ Reading
//!                    ▲          │ ▲────────┘ ended
//!                    └──────────┴─ refused
//! ```

use crate::call::{
    Answer, Call, CallError, Expect, RIGHTS_HINT, parse, parse_list, segment, type_of,
};
use crate::notice::Notice;
use crate::serving::Source;
use crate::upkeep::Watched;
use bytes::Bytes;
use everleaf_api::Status;
use everleaf_api::meta;
use everleaf_api::watch::{EventType, Events, WatchEvent};
use everleaf_time::Monotonic;
use http::Method;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// Items per page of a list, as kubectl asks.
const PAGE_ITEMS: usize = 500;
/// Largest page in bytes; a larger one is asked for again in smaller pieces.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Pages of one list at most.
const PAGES_MAX: usize = 100_000;
/// How long the server should keep a watch open.
const WATCH_SECONDS: u64 = 300;
/// Silence after which a watch is taken for dead, whatever the connection says.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// Pauses between attempts that fail.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause before a resource that the server does not have is looked for again.
const ABSENT_PAUSE: Duration = Duration::from_secs(600);
/// What to say about a refusal to list what serving requests are judged by.
const SERVING_RIGHTS_HINT: &str = "to approve serving requests it must list and watch nodes, services, and the endpoints \
     in the namespace default: see the ClusterRole everleaf:kubelet-serving-approver";
const REVOCATION_RIGHTS_HINT: &str = "it needs list and watch on configmaps in kube-system (everleaf-revocations) and \
     in kube-public (everleaf-revocation-list): see docs/revoke.md";
const ROOT_CA_RIGHTS_HINT: &str = "to publish the root CA it must list and watch namespaces and \
     configmaps everywhere, besides the ClusterRole system:controller:root-ca-cert-publisher";
/// A watch that ends sooner than this, without an event, counts as a failure.
const WATCH_LIFE_MIN: Duration = Duration::from_secs(1);

/// A resource that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Path of its group and version.
    pub api: &'static str,
    /// The namespace whose objects are followed; "": all, or there are no namespaces.
    pub namespace: &'static str,
    /// Its plural name.
    pub plural: &'static str,
    /// The field selector of what is followed; "": everything.
    pub selector: &'static str,
    /// What whoever follows it must be allowed to do.
    pub rights: &'static str,
    /// The first release of Kubernetes that has it in this version.
    pub since: &'static str,
    /// A server may be without it: then it has no objects.
    pub is_optional: bool,
    /// Path of its group in another version, for servers without the first; "": there is none.
    pub otherwise: &'static str,
}

impl Resource {
    /// Certificate signing requests.
    pub const SIGNING_REQUESTS: Self = Self {
        api: "/apis/certificates.k8s.io/v1",
        namespace: "",
        plural: "certificatesigningrequests",
        selector: "",
        rights: RIGHTS_HINT,
        since: "1.19",
        is_optional: false,
        otherwise: "",
    };

    /// What is followed to judge serving requests.
    pub const fn of(source: Source) -> Self {
        match source {
            // In this group and version on every release, unlike EndpointSlices.
            Source::Endpoints => Self {
                // Those of the API server; so a right to read only them will do.
                selector: "metadata.name=kubernetes",
                ..Self::core("default", "endpoints", true)
            },
            Source::Nodes => Self::core("", "nodes", false),
            Source::Services => Self::core("", "services", true),
        }
    }

    const fn core(namespace: &'static str, plural: &'static str, is_optional: bool) -> Self {
        Self {
            api: "/api/v1",
            namespace,
            plural,
            selector: "",
            rights: SERVING_RIGHTS_HINT,
            since: "1.0",
            is_optional,
            otherwise: "",
        }
    }

    /// What the controllers of [`crate::upkeep`] look at.
    pub const fn watched(watched: Watched) -> Self {
        match watched {
            Watched::ClusterInfo => Self {
                selector: "metadata.name=cluster-info",
                rights: "it needs list and watch on configmaps in the namespace kube-public: \
                         see the Role system:controller:bootstrap-signer there",
                ..Self::core("kube-public", "configmaps", false)
            },
            Watched::Namespaces => Self {
                rights: ROOT_CA_RIGHTS_HINT,
                ..Self::core("", "namespaces", false)
            },
            Watched::PodCertificateRequests => Self {
                api: "/apis/certificates.k8s.io/v1",
                rights: "it needs list and watch on podcertificaterequests: see the ClusterRoles \
                         everleaf:pod-certificate-signer and \
                         system:controller:podcertificaterequestcleaner",
                since: "1.37",
                ..Self::core("", "podcertificaterequests", false)
            },
            Watched::RevocationList => Self {
                selector: "metadata.name=everleaf-revocation-list",
                rights: REVOCATION_RIGHTS_HINT,
                ..Self::core("kube-public", "configmaps", false)
            },
            Watched::Revocations => Self {
                selector: "metadata.name=everleaf-revocations",
                rights: REVOCATION_RIGHTS_HINT,
                ..Self::core("kube-system", "configmaps", false)
            },
            Watched::RootCas => Self {
                selector: "metadata.name=kube-root-ca.crt",
                rights: ROOT_CA_RIGHTS_HINT,
                ..Self::core("", "configmaps", false)
            },
            Watched::Tokens => Self {
                selector: "type=bootstrap.kubernetes.io/token",
                rights: "it needs list and watch on secrets in the namespace kube-system: see \
                         the Roles system:controller:token-cleaner and \
                         system:controller:bootstrap-signer there",
                ..Self::core("kube-system", "secrets", false)
            },
            Watched::TrustBundles => Self {
                api: "/apis/certificates.k8s.io/v1",
                otherwise: "/apis/certificates.k8s.io/v1beta1",
                rights: "it needs list and watch on clustertrustbundles: see the ClusterRole \
                         system:controller:kube-apiserver-serving-clustertrustbundle-publisher",
                since: "1.33",
                ..Self::core("", "clustertrustbundles", true)
            },
        }
    }

    fn path(&self) -> String {
        let Self {
            api,
            namespace,
            plural,
            ..
        } = self;
        match *namespace {
            "" => format!("{api}/{plural}"),
            namespace => format!("{api}/namespaces/{namespace}/{plural}"),
        }
    }

    /// The selector as a further parameter of a query.
    fn selecting(&self) -> String {
        match self.selector {
            "" => String::new(),
            selector => format!("&fieldSelector={}", segment(selector)),
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The object of this [key](meta::key) is gone.
    Deleted(String),
    /// From here to [`Delta::ListEnds`] everything there is will be seen once; what is not was
    /// deleted.
    ListBegins,
    /// The list is complete.
    ListEnds,
    /// This object is new, or has changed, or is listed.
    Put(Value),
    /// Of a resource in more than one version: the server has it under this path of group and
    /// version; "": it does not.
    Served(&'static str),
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make this call and hand in its answer. [`Expect::Stream`]: keep the stream open for
    /// [`Step::Read`].
    Call(Call),
    /// Note whether something is missing for the loops to work.
    Missing(Option<String>),
    /// Wait at most this long for the next bytes of the stream, and hand them in.
    Read(Duration),
    /// The first list is complete.
    Synced,
    /// Take this in.
    Take(Delta),
    /// Tell people.
    Tell(Box<Notice>),
    /// Wait this long.
    Wait(Duration),
}

#[derive(Debug)]
enum Phase {
    Discovering,
    Listing { token: String, pages: usize },
    Opening,
    Reading { begun: Monotonic, seen: bool },
}

/// See the module documentation.
#[derive(Debug)]
pub struct Follower {
    resource: Resource,
    phase: Phase,
    events: Events,
    /// Whether somebody was told that something is missing; at first they know by themselves.
    is_missing: bool,
    is_synced: bool,
    /// Whether it is looked for in the version that comes second.
    is_other_version: bool,
    /// Items of the list so far.
    listed: usize,
    page_items: usize,
    pause: Duration,
    steps: VecDeque<Step>,
    /// What failed and how, as it was told.
    told: Option<(&'static str, String)>,
    /// Where the watch goes on.
    version: String,
}

impl Follower {
    /// Follows `resource` from its discovery on.
    pub fn new(resource: Resource) -> Self {
        Self {
            resource,
            phase: Phase::Discovering,
            events: Events::of(None),
            is_missing: true,
            is_synced: false,
            is_other_version: false,
            listed: 0,
            page_items: PAGE_ITEMS,
            pause: Duration::ZERO,
            steps: VecDeque::new(),
            told: None,
            version: String::new(),
        }
    }

    /// What to do next. After a [`Step::Call`] its answer has to be handed in before; after a
    /// [`Step::Read`] the bytes, if there are any.
    pub fn step(&mut self) -> Step {
        if let Some(step) = self.steps.pop_front() {
            return step;
        }
        let path = self.resource.path();
        match &self.phase {
            Phase::Discovering => Step::Call(Call::new(Method::GET, self.resource.api, None)),
            Phase::Listing { token, .. } => {
                let limit = self.page_items;
                let more = match token.as_str() {
                    "" => String::new(),
                    token => format!("&continue={}", segment(token)),
                };
                let selecting = self.resource.selecting();
                let path = format!("{path}?limit={limit}{selecting}{more}");
                let call = Call::new(Method::GET, path, None);
                Step::Call(call.expecting(Expect::Whole(PAGE_BYTES_MAX)))
            }
            Phase::Opening => {
                let version = segment(&self.version);
                let path = format!(
                    "{path}?watch=true&allowWatchBookmarks=true\
                     &timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}{}",
                    self.resource.selecting()
                );
                Step::Call(Call::new(Method::GET, path, None).expecting(Expect::Stream))
            }
            Phase::Reading { .. } => Step::Read(WATCH_SILENCE_MAX),
        }
    }

    /// Takes in the answer to the call that was asked for.
    pub fn answer(&mut self, answer: &Answer, now: Monotonic) {
        match &self.phase {
            Phase::Discovering => match self.discovered(answer) {
                Ok(true) => {
                    self.served(self.resource.api);
                    self.list_again();
                }
                Ok(false) if self.take_other_version() => {}
                Ok(false) => self.absent(),
                Err(error) => self.fail("find", &error),
            },
            Phase::Listing { .. } => {
                if let Err(error) = self.page(answer) {
                    self.fail("list", &error);
                    self.list_again();
                    if error.code() == 404 && !self.resource.otherwise.is_empty() {
                        // Perhaps the server has it in another version now.
                        if self.is_other_version {
                            self.take_other_version();
                        }
                        self.phase = Phase::Discovering;
                    }
                }
            }
            Phase::Opening => match answer {
                Ok(_) => {
                    self.events = Events::of(type_of(&self.resource.path()));
                    self.found();
                    let (begun, seen) = (now, false);
                    self.phase = Phase::Reading { begun, seen };
                }
                Err(error) => self.watch_failed(error),
            },
            Phase::Reading { .. } => {}
        }
    }

    /// Takes in what the stream brought; `None`: it ended, broke, or was silent for too long.
    pub fn read(&mut self, bytes: Option<&Bytes>, now: Monotonic) {
        let Phase::Reading { begun, seen } = self.phase else {
            return;
        };
        let Some(bytes) = bytes else {
            let was_useful = seen || now.since(begun) >= WATCH_LIFE_MIN;
            return self.watch_ended(was_useful);
        };
        let events = match self.events.feed(bytes) {
            Ok(events) => events,
            Err(error) => return self.watch_failed(&CallError::Malformed(error)),
        };
        for event in events {
            if event.kind == EventType::Error {
                return self.watch_failed(&error_of(&event.object));
            }
            self.phase = Phase::Reading { begun, seen: true };
            self.recover();
            self.take(event);
        }
    }

    fn take(&mut self, event: WatchEvent) {
        let newer = meta::resource_version(&event.object);
        if !newer.is_empty() {
            newer.clone_into(&mut self.version);
        }
        let delta = match event.kind {
            EventType::Added | EventType::Modified => Delta::Put(event.object),
            EventType::Deleted => Delta::Deleted(meta::key(&event.object)),
            EventType::Bookmark | EventType::Error => return,
        };
        self.steps.push_back(Step::Take(delta));
    }

    /// A connection that breaks is no more than an early end: the next attempt will tell.
    fn watch_ended(&mut self, was_useful: bool) {
        if was_useful {
            self.recover();
        } else {
            self.wait();
        }
        self.phase = Phase::Opening;
    }

    fn watch_failed(&mut self, error: &CallError) {
        // client-go's reflector goes on with its watch after these, and lists again after all
        // others.
        let is_passing = match error {
            CallError::Unreachable(_) => true,
            _ => matches!(error.code(), 429 | 500),
        };
        if error.code() == 410 {
            self.wait();
        } else {
            self.fail("watch", error);
        }
        if is_passing {
            self.phase = Phase::Opening;
        } else {
            self.list_again();
        }
    }

    /// Whether the server has the API at all.
    fn discovered(&self, answer: &Answer) -> Result<bool, CallError> {
        let is_optional = self.resource.is_optional;
        let answer = match answer {
            Err(error) if is_optional && error.code() == 404 => return Ok(false),
            answer => answer.as_ref().map_err(CallError::clone)?,
        };
        let resources = parse(answer)?;
        let plural = self.resource.plural;
        let resources = resources.get("resources").and_then(Value::as_array);
        if resources.is_some_and(|list| list.iter().any(|one| one["name"] == plural)) {
            return Ok(true);
        }
        if is_optional {
            return Ok(false);
        }
        let group = self.group();
        Err(CallError::Malformed(format!(
            "the server has {group}, but no {plural} in it"
        )))
    }

    /// Whether there is another version to look for; each look alternates.
    fn take_other_version(&mut self) -> bool {
        let Resource { api, otherwise, .. } = &mut self.resource;
        if otherwise.is_empty() {
            return false;
        }
        std::mem::swap(api, otherwise);
        self.is_other_version = !self.is_other_version;
        self.is_other_version
    }

    fn served(&mut self, api: &'static str) {
        if !self.resource.otherwise.is_empty() {
            self.steps.push_back(Step::Take(Delta::Served(api)));
        }
    }

    /// A server without the resource has no objects of it; one day it may.
    fn absent(&mut self) {
        self.served("");
        self.steps.push_back(Step::Take(Delta::ListBegins));
        self.steps.push_back(Step::Take(Delta::ListEnds));
        self.recover();
        if !std::mem::replace(&mut self.is_synced, true) {
            self.steps.push_back(Step::Synced);
        }
        self.steps.push_back(Step::Wait(ABSENT_PAUSE));
    }

    /// Takes in one page.
    fn page(&mut self, answer: &Answer) -> Result<(), CallError> {
        let Phase::Listing { token, pages } = &mut self.phase else {
            return Ok(());
        };
        let bytes = match answer {
            Err(CallError::TooLarge(_)) if self.page_items > 1 => {
                self.page_items = self.page_items.div_ceil(8);
                return Ok(());
            }
            other => other.as_ref().map_err(CallError::clone)?,
        };
        let mut page = parse_list(type_of(&self.resource.path()), bytes)?;
        if token.is_empty() {
            self.listed = 0;
            self.steps.push_back(Step::Take(Delta::ListBegins));
        }
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            self.listed += items.len();
            let puts = items.into_iter().map(|item| Step::Take(Delta::Put(item)));
            self.steps.extend(puts);
        }
        let next = page.pointer("/metadata/continue").and_then(Value::as_str);
        if let Some(next) = next.filter(|next| !next.is_empty()) {
            *pages += 1;
            if *pages >= PAGES_MAX {
                return Err(CallError::Malformed(format!(
                    "the list does not end after {PAGES_MAX} pages"
                )));
            }
            next.clone_into(token);
            return Ok(());
        }
        meta::resource_version(&page).clone_into(&mut self.version);
        self.steps.push_back(Step::Take(Delta::ListEnds));
        self.recover();
        if !std::mem::replace(&mut self.is_synced, true) {
            let (plural, objects) = (self.resource.plural, self.listed);
            self.steps.push_back(Step::Synced);
            self.tell(Notice::CachesSynced { plural, objects });
        }
        self.phase = Phase::Opening;
        Ok(())
    }

    fn list_again(&mut self) {
        self.page_items = PAGE_ITEMS;
        self.phase = Phase::Listing {
            token: String::new(),
            pages: 0,
        };
    }

    /// Says that it does not work, if that is news, and waits.
    fn fail(&mut self, verb: &'static str, error: &CallError) {
        let text = match error.code() {
            404 => format!(
                "{error} (the server must be Kubernetes {} or newer)",
                self.resource.since
            ),
            _ => error.advised(self.resource.rights),
        };
        let what = self.what(verb);
        let missing = format!("cannot {what}: {text}");
        self.steps.push_back(Step::Missing(Some(missing)));
        self.is_missing = true;
        // The client tells by itself, once, that the server is away.
        let is_unreachable = matches!(error, CallError::Unreachable(_));
        let told = Some((verb, text.clone()));
        if self.told != told && !is_unreachable {
            let error = Some(text);
            self.tell(Notice::ServerReachable { what, error });
            self.told = told;
        }
        self.pause = self.pause.max(error.retry_after());
        self.wait();
    }

    fn wait(&mut self) {
        self.pause = self.pause.max(PAUSE_MIN);
        self.steps.push_back(Step::Wait(self.pause));
        self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
    }

    fn found(&mut self) {
        if std::mem::replace(&mut self.is_missing, false) {
            self.steps.push_back(Step::Missing(None));
        }
    }

    /// It works.
    fn recover(&mut self) {
        self.pause = Duration::ZERO;
        self.found();
        if let Some((verb, _)) = self.told.take() {
            let what = self.what(verb);
            self.tell(Notice::ServerReachable { what, error: None });
        }
    }

    /// What is done, as notices name it.
    fn what(&self, verb: &str) -> String {
        match verb {
            "find" => format!("find {}", self.group()),
            _ => format!("{verb} {}", self.resource.plural),
        }
    }

    /// `certificates.k8s.io/v1`
    fn group(&self) -> &'static str {
        let api = self.resource.api;
        api.trim_start_matches("/apis/").trim_start_matches("/api/")
    }

    fn tell(&mut self, notice: Notice) {
        self.steps.push_back(Step::Tell(Box::new(notice)));
    }
}

/// What an ERROR event says.
fn error_of(status: &Value) -> CallError {
    match Status::from_value(status) {
        Some(status) => CallError::Refused {
            status: Box::new(status),
            retry_after: Duration::ZERO,
        },
        None => CallError::Malformed("the watch ended with an unreadable error".to_owned()),
    }
}

#[cfg(test)]
mod tests;
