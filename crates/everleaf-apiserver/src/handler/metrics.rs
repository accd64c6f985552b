//! `/metrics`: a small, honest set with upstream's names and bounded labels.

use super::Server;
use super::query::Query;
use super::route::{Target, Verb};
use crate::authn::Peer;
use crate::registry::gates::Minor;
use crate::registry::reviews::REVIEWS;
use crate::registry::{Descriptor, known};
use everleaf_observe::Observed;
use everleaf_observe::text::{Histogram, Kind, Text};
use http::{Method, StatusCode};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Prometheus text format.
pub(super) const CONTENT_TYPE: &str =
    "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Bounds of `apiserver_request_duration_seconds`.
const DURATION_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// Bounds of `apiserver_client_certificate_expiration_seconds`, as upstream.
const EXPIRATION_SECONDS: [f64; 14] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

/// What a request was, in few enough words to count by. Travels in the response's extensions, so
/// that the transport can add how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestLabels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    dry_run: bool,
}

impl RequestLabels {
    /// Only what is served gets a label of its own: names in a URL cost no memory.
    pub(super) fn new(target: &Target, method: &Method, query: Option<&Query>) -> Self {
        let mut labels = Self {
            verb: "OTHER",
            group: "",
            version: "",
            resource: "",
            subresource: "",
            scope: "",
            dry_run: query.is_some_and(|query| query.value("dryRun").is_some()),
        };
        let Target::Resource(path) = target else {
            if method == Method::GET {
                labels.verb = "GET";
            }
            return labels;
        };
        labels.verb = match path.verb {
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::DeleteCollection => "DELETECOLLECTION",
            Verb::Unknown => "OTHER",
        };
        labels.scope = match (path.has_name, path.namespace.is_empty()) {
            (true, _) => "resource",
            (false, false) => "namespace",
            (false, true) => "cluster",
        };
        let mut named = known().filter(|descriptor| descriptor.resource == path.resource);
        let mut of_group = named
            .clone()
            .filter(|found| found.r#type.group == path.group);
        let stored = of_group
            .clone()
            .find(|found| found.r#type.version == path.version)
            .or_else(|| of_group.next())
            .or_else(|| named.next());
        let review = REVIEWS
            .iter()
            .find(|review| review.resource == path.resource);
        let r#type = stored
            .map(|descriptor| descriptor.r#type)
            .or(review.map(|review| review.r#type));
        if let Some(r#type) = r#type {
            (labels.group, labels.version) = (r#type.group, r#type.version);
        }
        if let Some(descriptor) = stored {
            labels.resource = descriptor.resource;
            let known = descriptor
                .subresources
                .iter()
                .find(|subresource| **subresource == path.subresource);
            labels.subresource = match known {
                Some(known) => known,
                None if path.is_token() => "token",
                None => "",
            };
        } else if let Some(review) = review {
            labels.resource = review.resource;
        }
        labels
    }

    fn pairs(&self) -> [(&'static str, &'static str); 8] {
        [
            ("component", "apiserver"),
            ("dry_run", if self.dry_run { "All" } else { "" }),
            ("group", self.group),
            ("resource", self.resource),
            ("scope", self.scope),
            ("subresource", self.subresource),
            ("verb", self.verb),
            ("version", self.version),
        ]
    }
}

#[derive(Debug)]
struct Counts {
    requests: BTreeMap<(RequestLabels, u16), u64>,
    durations: BTreeMap<RequestLabels, Histogram>,
    terminations: BTreeMap<(RequestLabels, u16), u64>,
    /// Group, version, resource, subresource and the release that removes it.
    deprecated: BTreeSet<([&'static str; 4], Minor)>,
    expirations: Histogram,
    /// By signer: (requested, honored).
    signers: BTreeMap<String, (u64, u64)>,
    handshake_errors: u64,
    reloads: BTreeMap<ReloadLabels, Reloads>,
}

/// A configuration that is read again when its file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigFile {
    /// Whom to believe.
    Authentication,
    /// Whom to ask what a request may do.
    Authorization,
    /// How the values of the store are encrypted.
    Encryption,
}

impl ConfigFile {
    const ALL: [Self; 3] = [Self::Authentication, Self::Authorization, Self::Encryption];
}

/// Which, and whether it could be used.
type ReloadLabels = (ConfigFile, bool);

/// How often, and when last.
type Reloads = (u64, Timestamp);

/// What has been counted.
#[derive(Debug)]
pub(crate) struct Metrics(Mutex<Counts>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Mutex::new(Counts {
            requests: BTreeMap::new(),
            durations: BTreeMap::new(),
            terminations: BTreeMap::new(),
            deprecated: BTreeSet::new(),
            expirations: Histogram::new(&EXPIRATION_SECONDS),
            signers: BTreeMap::new(),
            handshake_errors: 0,
            reloads: BTreeMap::new(),
        }))
    }
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request answered.
    pub(super) fn count(&self, labels: &RequestLabels, code: StatusCode) {
        *self
            .lock()
            .requests
            .entry((*labels, code.as_u16()))
            .or_default() += 1;
    }

    /// One request turned away to save the server, or given up.
    pub(super) fn count_termination(&self, labels: &RequestLabels, code: u16) {
        let labels = RequestLabels {
            dry_run: false,
            ..*labels
        };
        *self.lock().terminations.entry((labels, code)).or_default() += 1;
    }

    /// Somebody used a version that is on its way out.
    pub(super) fn note_deprecated(&self, descriptor: &Descriptor, subresource: &str) {
        let mut known = descriptor.subresources.iter();
        let subresource = known.find(|known| **known == subresource).unwrap_or(&"");
        let (r#type, removed) = (descriptor.r#type, descriptor.lifecycle.deprecated);
        let labels = [
            r#type.group,
            r#type.version,
            descriptor.resource,
            subresource,
        ];
        let removed = removed.map_or(0, |deprecated| deprecated.removed);
        self.lock().deprecated.insert((labels, removed));
    }

    /// How long a request took, from head to head.
    pub(crate) fn observe_duration(&self, labels: RequestLabels, took: Duration) {
        self.lock()
            .durations
            .entry(labels)
            .or_insert_with(|| Histogram::new(&DURATION_SECONDS))
            .observe(took.as_secs_f64());
    }

    /// The remaining life of a presented certificate, valid or not.
    pub(super) fn observe_peer(&self, peer: &Peer, now: Timestamp) {
        let leaf = peer.certificates.first();
        if let Some(leaf) = leaf.and_then(|der| everleaf_pki::Leaf::from_der(der).ok()) {
            let remaining = leaf.not_after().as_second() - now.as_second();
            self.lock().expirations.observe(remaining.max(0) as f64);
        }
    }

    /// A CSR that wished for a duration got its certificate.
    pub(super) fn count_duration(&self, signer: &str, honored: bool) {
        let mut counts = self.lock();
        let (requested, kept) = counts.signers.entry(signer.to_owned()).or_default();
        *requested += 1;
        *kept += u64::from(honored);
    }

    /// The file of a configuration was read again.
    fn count_reload(&self, labels: ReloadLabels, now: Timestamp) {
        let mut counts = self.lock();
        let (count, last) = counts.reloads.entry(labels).or_insert((0, now));
        *count += 1;
        *last = now;
    }

    /// A TLS handshake failed.
    pub(crate) fn count_handshake_error(&self) {
        self.lock().handshake_errors += 1;
    }
}

impl Server {
    /// To be told when the file of a configuration was read again, and whether what it says is in
    /// force now.
    pub fn reloaded(&self, file: ConfigFile, is_in_force: bool, now: Timestamp) {
        self.metrics.count_reload((file, is_in_force), now);
    }

    pub(crate) fn metrics_text(&self) -> String {
        let mut text = Text::default();
        self.write_gauges(&mut text);
        self.metrics.lock().write(&mut text);
        self.authenticator.write_metrics(&mut text);
        if self.authenticator.late_reissue().is_some() {
            self.knocks.write(&mut text);
        }
        if let Some(audit) = &self.audit {
            audit.write_metrics(&mut text);
        }
        let mut text = text.finish();
        for part in self.exposed() {
            text.push_str(&part.metrics_text());
        }
        text
    }

    /// The other parts; they are asked outside the lock, since one may take its time.
    fn exposed(&self) -> Vec<Arc<dyn Observed>> {
        let exposed = self.exposed.lock().unwrap_or_else(PoisonError::into_inner);
        exposed.values().map(Arc::clone).collect()
    }

    fn write_gauges(&self, text: &mut Text) {
        let name = "apiserver_storage_objects";
        let mut family = text.family(name, Kind::Gauge, "Stored objects.");
        for (resource, count) in self.cache.counts() {
            family.count(&[("resource", resource)], count as u64);
        }
        self.write_seals(text);
        let name = "apiserver_longrunning_requests";
        let mut family = text.family(name, Kind::Gauge, "Open watches.");
        for (resource, count) in self.cache.watcher_counts() {
            family.count(&[("resource", resource), ("verb", "WATCH")], count as u64);
        }
        let name = "apiserver_current_inflight_requests";
        let mut family = text.family(name, Kind::Gauge, "Requests being served.");
        let (reads, writes) = self.inflight.counts();
        for (kind, count) in [("mutating", writes), ("readOnly", reads)] {
            family.count(&[("request_kind", kind)], count as u64);
        }
    }
}

impl Server {
    /// What is still to be written anew after a rotation of keys, and what cannot be read.
    fn write_seals(&self, text: &mut Text) {
        let seals = self.cache.seals();
        let name = "everleaf_storage_stale_objects";
        let help =
            "Stored objects that the encryption configuration would write otherwise than they are.";
        let mut family = text.family(name, Kind::Gauge, help);
        for (descriptor, _, seals) in &seals {
            if !self.encryption.covers(descriptor) {
                continue;
            }
            let stale = seals
                .iter()
                .filter(|(seal, _)| !self.encryption.is_current(descriptor, **seal));
            let stale: usize = stale.map(|(_, count)| *count).sum();
            family.count(&[("resource", descriptor.resource)], stale as u64);
        }
        let name = "everleaf_storage_unreadable_objects";
        let help = "Stored objects that cannot be read: no key decrypts them, or they are damaged.";
        let mut family = text.family(name, Kind::Gauge, help);
        let unreadable: usize = seals.iter().map(|(_, unreadable, _)| *unreadable).sum();
        family.count(&[], unreadable as u64);
    }
}

impl Counts {
    fn write(&self, text: &mut Text) {
        let name = "apiserver_request_total";
        let mut family = text.family(name, Kind::Counter, "Requests answered.");
        for ((labels, code), count) in &self.requests {
            let code = code.to_string();
            let pairs = [&[("code", code.as_str())], &labels.pairs()[..]].concat();
            family.count(&pairs[..], *count);
        }
        let mut family = text.family(
            "apiserver_request_duration_seconds",
            Kind::Histogram,
            "Time from a request's head to its answer's, in seconds.",
        );
        for (labels, histogram) in &self.durations {
            family.histogram(&labels.pairs(), histogram);
        }
        self.write_deprecated(text);
        self.write_terminations(text);
        text.family(
            "apiserver_client_certificate_expiration_seconds",
            Kind::Histogram,
            "Remaining life of client certificates presented with requests.",
        )
        .histogram(&[], &self.expirations);
        text.family(
            "apiserver_tls_handshake_errors_total",
            Kind::Counter,
            "TLS handshakes that failed.",
        )
        .count(&[], self.handshake_errors);
        for file in ConfigFile::ALL {
            self.write_reloads(file, text);
        }
        for (name, help, count) in [
            (
                "apiserver_certificates_registry_csr_requested_duration_total",
                "Issued requests that asked for a duration.",
                (|(requested, _)| requested) as fn((u64, u64)) -> u64,
            ),
            (
                "apiserver_certificates_registry_csr_honored_duration_total",
                "Of those, the ones that got it.",
                |(_, honored)| honored,
            ),
        ] {
            let mut family = text.family(name, Kind::Counter, help);
            for (signer, counts) in &self.signers {
                family.count(&[("signerName", signer.as_str())], count(*counts));
            }
        }
    }

    fn write_deprecated(&self, text: &mut Text) {
        let mut family = text.family(
            "apiserver_requested_deprecated_apis",
            Kind::Gauge,
            "Versions on their way out that somebody used, with the release that removes them.",
        );
        for ([group, version, resource, subresource], removed) in &self.deprecated {
            let removed = format!("1.{removed}");
            let labels = [
                ("group", *group),
                ("removed_release", &removed),
                ("resource", *resource),
                ("subresource", *subresource),
                ("version", *version),
            ];
            family.count(&labels, 1);
        }
    }

    fn write_terminations(&self, text: &mut Text) {
        let mut family = text.family(
            "apiserver_request_terminations_total",
            Kind::Counter,
            "Requests turned away in self-defense.",
        );
        for ((labels, code), count) in &self.terminations {
            let code = code.to_string();
            let named = labels.pairs().into_iter();
            let pairs: Vec<_> = [("code", code.as_str())]
                .into_iter()
                .chain(named.filter(|(name, _)| *name != "dry_run"))
                .collect();
            family.count(&pairs[..], *count);
        }
    }

    fn write_reloads(&self, file: ConfigFile, text: &mut Text) {
        let (total, last) = match file {
            ConfigFile::Authentication => (
                "apiserver_authentication_config_controller_automatic_reloads_total",
                "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
            ),
            ConfigFile::Authorization => (
                "apiserver_authorization_config_controller_automatic_reloads_total",
                "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
            ),
            ConfigFile::Encryption => (
                "apiserver_encryption_config_controller_automatic_reloads_total",
                "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
            ),
        };
        let found = [(true, "success"), (false, "failure")].map(|(is_in_force, status)| {
            let found = self.reloads.get(&(file, is_in_force));
            (status, found)
        });
        let mut family = text.family(total, Kind::Counter, "Times that a changed file was read.");
        for (status, found) in found {
            family.count(&[("status", status)], found.map_or(0, |(count, _)| *count));
        }
        let mut family = text.family(last, Kind::Gauge, "When that was last, in seconds.");
        for (status, (_, at)) in found
            .iter()
            .filter_map(|(status, found)| Some((*status, (*found)?)))
        {
            family.sample(&[("status", status)], at.as_second() as f64);
        }
    }
}
