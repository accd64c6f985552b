//! `/metrics`: a small, honest set with upstream's names and bounded labels.

use super::Server;
use super::query::Query;
use super::route::{Target, Verb};
use crate::authn::Peer;
use crate::registry::reviews::REVIEWS;
use crate::registry::served;
use http::{Method, StatusCode};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Prometheus text format.
pub(super) const CONTENT_TYPE: &str =
    "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Bounds of `apiserver_request_duration_seconds`.
const DURATION_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// Bounds of `apiserver_client_certificate_expiration_seconds`, as upstream.
const EXPIRATION_SECONDS: [f64; 15] = [
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
    f64::INFINITY,
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
        let mut named = served().filter(|descriptor| descriptor.resource == path.resource);
        let stored = named
            .clone()
            .find(|descriptor| descriptor.r#type.group == path.group)
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
}

impl fmt::Display for RequestLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "component=\"apiserver\",dry_run=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",\
             subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            if self.dry_run { "All" } else { "" },
            self.group,
            self.resource,
            self.scope,
            self.subresource,
            self.verb,
            self.version
        )
    }
}

/// Counts per bucket, plus sum; bounds are the caller's.
#[derive(Debug, Clone, Default)]
struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, bounds: &[f64], value: f64) {
        self.buckets.resize(bounds.len(), 0);
        if let Some(index) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[index] += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64]) {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bound, count) in bounds.iter().zip(&self.buckets) {
            total += count;
            if bound.is_finite() {
                put(
                    out,
                    format_args!("{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {total}"),
                );
            }
        }
        put(
            out,
            format_args!(
                "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {}",
                self.count
            ),
        );
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        put(out, format_args!("{name}_sum{braces} {}", self.sum));
        put(out, format_args!("{name}_count{braces} {}", self.count));
    }
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(RequestLabels, u16), u64>,
    durations: BTreeMap<RequestLabels, Histogram>,
    expirations: Histogram,
    /// By signer: (requested, honored).
    signers: BTreeMap<String, (u64, u64)>,
    handshake_errors: u64,
}

/// What has been counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

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

    /// How long a request took, from head to head.
    pub(crate) fn observe_duration(&self, labels: RequestLabels, took: Duration) {
        self.lock()
            .durations
            .entry(labels)
            .or_default()
            .observe(&DURATION_SECONDS, took.as_secs_f64());
    }

    /// The remaining life of a presented certificate, valid or not.
    pub(super) fn observe_peer(&self, peer: &Peer, now: Timestamp) {
        let leaf = peer.certificates.first();
        if let Some(leaf) = leaf.and_then(|der| everleaf_pki::Leaf::from_der(der).ok()) {
            let remaining = leaf.not_after().as_second() - now.as_second();
            self.lock()
                .expirations
                .observe(&EXPIRATION_SECONDS, remaining.max(0) as f64);
        }
    }

    /// A CSR that wished for a duration got its certificate.
    pub(super) fn count_duration(&self, signer: &str, honored: bool) {
        let mut counts = self.lock();
        let (requested, kept) = counts.signers.entry(signer.to_owned()).or_default();
        *requested += 1;
        *kept += u64::from(honored);
    }

    /// A TLS handshake failed.
    pub(crate) fn count_handshake_error(&self) {
        self.lock().handshake_errors += 1;
    }
}

fn put(out: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    put(out, format_args!("# HELP {name} {help}"));
    put(out, format_args!("# TYPE {name} {kind}"));
}

impl Server {
    pub(super) fn metrics_text(&self) -> String {
        let mut out = String::new();
        self.write_gauges(&mut out);
        let counts = self.metrics.lock();
        let name = "apiserver_request_total";
        head(&mut out, name, "counter", "Requests answered.");
        for ((labels, code), count) in &counts.requests {
            put(
                &mut out,
                format_args!("{name}{{code=\"{code}\",{labels}}} {count}"),
            );
        }
        let name = "apiserver_request_duration_seconds";
        head(
            &mut out,
            name,
            "histogram",
            "Time from a request's head to its answer's, in seconds.",
        );
        for (labels, histogram) in &counts.durations {
            histogram.write(&mut out, name, &labels.to_string(), &DURATION_SECONDS);
        }
        let name = "apiserver_client_certificate_expiration_seconds";
        head(
            &mut out,
            name,
            "histogram",
            "Remaining life of client certificates presented with requests.",
        );
        counts
            .expirations
            .write(&mut out, name, "", &EXPIRATION_SECONDS);
        let name = "apiserver_tls_handshake_errors_total";
        head(&mut out, name, "counter", "TLS handshakes that failed.");
        put(&mut out, format_args!("{name} {}", counts.handshake_errors));
        for (which, help) in [
            ("requested", "Issued requests that asked for a duration."),
            ("honored", "Of those, the ones that got it."),
        ] {
            let name = format!("apiserver_certificates_registry_csr_{which}_duration_total");
            head(&mut out, &name, "counter", help);
            for (signer, (requested, honored)) in &counts.signers {
                let count = if which == "requested" {
                    requested
                } else {
                    honored
                };
                put(
                    &mut out,
                    format_args!("{name}{{signerName=\"{signer}\"}} {count}"),
                );
            }
        }
        out
    }

    fn write_gauges(&self, out: &mut String) {
        let name = "apiserver_storage_objects";
        head(out, name, "gauge", "Stored objects.");
        for (resource, count) in self.cache.counts() {
            put(
                out,
                format_args!("{name}{{resource=\"{resource}\"}} {count}"),
            );
        }
        let name = "apiserver_longrunning_requests";
        head(out, name, "gauge", "Open watches.");
        for (resource, count) in self.cache.watcher_counts() {
            put(
                out,
                format_args!("{name}{{resource=\"{resource}\",verb=\"WATCH\"}} {count}"),
            );
        }
        let name = "apiserver_current_inflight_requests";
        head(out, name, "gauge", "Requests being served.");
        let (reads, writes) = self.inflight.counts();
        for (kind, count) in [("mutating", writes), ("readOnly", reads)] {
            put(
                out,
                format_args!("{name}{{request_kind=\"{kind}\"}} {count}"),
            );
        }
    }
}
