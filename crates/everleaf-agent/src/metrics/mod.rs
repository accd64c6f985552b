//! What the agent counts, and the text form in which Prometheus reads it.
//!
//! The five names of the kubelet are kept, with types and buckets, and are always there.
//! Two differences are on purpose: the TTL goes negative after expiry, as the
//! kubelet's own help text promises, so that an alert fires when it matters; and the client has
//! rotation counters too. Ours begin with `everleaf_agent_`. Labels are bounded: never the name of
//! an object.

mod late;

use crate::clock::Clock;
use crate::tell::words_of;
use everleaf_observe::Observed;
use everleaf_observe::text::{Histogram, Kind, Text};
use everleaf_rotation::notice::LeafSummary;
use everleaf_rotation::overdue::{Dates, Waiting};
use everleaf_rotation::{CertificateId, Notice, Overdue, RefusalClass, overdue};
use jiff::{SignedDuration, Timestamp};
use late::Late;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ages at replacement, in seconds: a minute to four years (the kubelet's buckets).
const ROTATION_SECONDS: &[f64] = &[
    60., 3600., 14400., 86400., 604800., 2592000., 7776000., 15552000., 31104000., 124416000.,
];
/// Waits for a verdict, in seconds.
const WAIT_SECONDS: &[f64] = &[0.1, 0.5, 1., 5., 15., 60., 300., 900., 3600., 86400.];

/// The counts, read at the present of the node's clock.
pub(crate) struct Scraped {
    /// The counts.
    pub(crate) metrics: Arc<Metrics>,
    /// The node's clock.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Observed for Scraped {
    fn metrics_text(&self) -> String {
        self.metrics.render(self.clock.wall())
    }

    fn check_ready(&self) -> Result<(), String> {
        self.metrics.check_ready(self.clock.wall())
    }

    fn remark(&self) -> Option<String> {
        self.metrics.remark(self.clock.wall())
    }
}

/// Counts of all machines, written by the loop and read by scrapes.
#[derive(Debug)]
pub(crate) struct Metrics(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Those of a kubelet are always there.
    certificates: BTreeMap<CertificateId, Certificate>,
    clock_steps: u64,
    connections_closed: BTreeMap<&'static str, u64>,
    /// What is wrong with the files of profiles now; `None`: there are to be none.
    profile_problems: Option<u64>,
    /// None: the agent does not ask for it.
    late: Option<Late>,
}

/// What is known of one certificate.
#[derive(Debug)]
struct Certificate {
    /// This agent keeps it; otherwise somebody else does, or nobody.
    is_managed: bool,
    leaf: Option<Dates>,
    request: Option<Waiting>,
    rotation_seconds: Histogram,
    wait_seconds: Histogram,
    failures: u64,
    rotations: BTreeMap<&'static str, u64>,
    errors: BTreeMap<(&'static str, &'static str), u64>,
    blocked: BTreeMap<&'static str, bool>,
    is_server_healthy: bool,
    /// For a profile: how often its files were written, and could not be.
    files: [u64; 2],
    /// How often its action succeeded, and failed.
    actions: [u64; 2],
    is_action_owed: bool,
    has_profile: bool,
}

impl Default for Certificate {
    fn default() -> Self {
        Self {
            is_managed: false,
            leaf: None,
            request: None,
            rotation_seconds: Histogram::new(ROTATION_SECONDS),
            wait_seconds: Histogram::new(WAIT_SECONDS),
            failures: 0,
            rotations: BTreeMap::new(),
            errors: BTreeMap::new(),
            blocked: BTreeMap::new(),
            is_server_healthy: false,
            files: [0; 2],
            actions: [0; 2],
            is_action_owed: false,
            has_profile: false,
        }
    }
}

impl Metrics {
    /// For an agent that keeps these certificates.
    pub(crate) fn new<'a>(managed: impl IntoIterator<Item = &'a CertificateId>) -> Self {
        let kubelets = [
            CertificateId::kubelet_client(),
            CertificateId::kubelet_serving(),
        ];
        let mut certificates: BTreeMap<_, Certificate> = kubelets
            .into_iter()
            .map(|id| (id, Certificate::default()))
            .collect();
        for id in managed {
            certificates.entry(id.clone()).or_default().is_managed = true;
        }
        Self(Mutex::new(State {
            certificates,
            clock_steps: 0,
            connections_closed: BTreeMap::new(),
            profile_problems: None,
            late: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers are whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a machine told.
    pub(crate) fn record(&self, id: &CertificateId, notice: &Notice) {
        self.lock().certificate(id).record(notice);
    }

    /// Counts a step of the wall clock.
    pub(crate) fn record_clock_step(&self) {
        self.lock().clock_steps += 1;
    }

    /// Counts connections that were closed, and why.
    pub(crate) fn record_closed(&self, cause: &'static str, connections: usize) {
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        *self.lock().connections_closed.entry(cause).or_default() += connections;
    }

    /// Whether the last request of a machine showed a working API server.
    pub(crate) fn set_server_healthy(&self, id: &CertificateId, is_healthy: bool) {
        self.lock().certificate(id).is_server_healthy = is_healthy;
    }

    /// This certificate is a profile's, and is kept from now on.
    pub(crate) fn add_profile(&self, id: &CertificateId) {
        let mut state = self.lock();
        let certificate = state.certificate(id);
        (certificate.has_profile, certificate.is_managed) = (true, true);
    }

    /// It is not kept any more.
    pub(crate) fn forget_profile(&self, id: &CertificateId) {
        self.lock().certificates.remove(id);
    }

    /// How much is wrong with the files of profiles.
    pub(crate) fn set_profile_problems(&self, count: usize) {
        self.lock().profile_problems = Some(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts that the files of a profile were written, or could not be.
    pub(crate) fn record_files(&self, id: &CertificateId, is_written: bool) {
        self.lock().certificate(id).files[usize::from(!is_written)] += 1;
    }

    /// Counts that the action of a profile succeeded, or failed.
    pub(crate) fn record_action(&self, id: &CertificateId, is_done: bool) {
        self.lock().certificate(id).actions[usize::from(!is_done)] += 1;
    }

    /// Whether a profile's program has yet to learn of its files.
    pub(crate) fn set_action_owed(&self, id: &CertificateId, is_owed: bool) {
        self.lock().certificate(id).is_action_owed = is_owed;
    }

    /// The request that a machine waits for, if the server has it.
    pub(crate) fn set_request(&self, id: &CertificateId, request: Option<Waiting>) {
        self.lock().certificate(id).request = request;
    }

    /// Whether the node's certificates are good at `now`, and their successors come in time; else
    /// what is wrong.
    ///
    /// A first serving request that waits is no fault: in Kubernetes nobody approves one by itself,
    /// and a node without a serving certificate works. It is in [`remark`](Self::remark).
    pub(crate) fn check_ready(&self, now: Timestamp) -> Result<(), String> {
        let state = self.lock();
        let reasons = state.certificates.iter().filter_map(|(id, certificate)| {
            match certificate.overdue(now) {
                Some(Overdue::First(_)) if !id.renews_itself() => None,
                Some(overdue) => Some(words_of(id, &overdue)),
                None => {
                    let is_missing = certificate.is_managed && certificate.leaf.is_none();
                    (is_missing && id.renews_itself()).then(|| format!("no {id} certificate yet"))
                }
            }
        });
        let reasons: Vec<_> = reasons.collect();
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons.join("\n"))
        }
    }

    /// What to know of an agent that is ready.
    pub(crate) fn remark(&self, now: Timestamp) -> Option<String> {
        let state = self.lock();
        let overdue = state.certificates.iter().filter_map(|(id, certificate)| {
            let overdue = certificate.overdue(now)?;
            Some(words_of(id, &overdue))
        });
        let mut all: Vec<_> = overdue.collect();
        if let Some(count) = state.profile_problems.filter(|count| *count > 0) {
            all.push(format!(
                "{count} things are wrong with the files of profiles: --check-profiles says what"
            ));
        }
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Everything in the Prometheus text format (0.0.4), as of `now`.
    pub(crate) fn render(&self, now: Timestamp) -> String {
        let state = self.lock();
        let mut text = Text::default();
        kubelet_names(&mut text, &state, now);
        dates(&mut text, &state);
        rotations(&mut text, &state);
        conditions(&mut text, &state);
        overdues(&mut text, &state, now);
        profiles(&mut text, &state);
        process(&mut text, &state);
        if let Some(late) = &state.late {
            late.write(&mut text);
        }
        text.finish()
    }
}

impl State {
    fn certificate(&mut self, id: &CertificateId) -> &mut Certificate {
        self.certificates.entry(id.clone()).or_default()
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Certificate)> {
        let certificates = self.certificates.iter();
        certificates.map(|(id, certificate)| (id.name(), certificate))
    }

    /// One of a kubelet's two, which have names of their own.
    fn kubelets(&self, id: &CertificateId) -> &Certificate {
        &self.certificates[id]
    }
}

impl Certificate {
    fn record(&mut self, notice: &Notice) {
        match notice {
            Notice::Loaded { leaf, .. } => self.leaf = leaf.as_ref().map(LeafSummary::dates),
            Notice::Reverted { leaf } => self.leaf = Some(leaf.dates()),
            Notice::Installed { replaced, leaf } => {
                self.leaf = Some(leaf.dates());
                *self.rotations.entry("installed").or_default() += 1;
                if let Some((_, age)) = replaced {
                    self.rotation_seconds.observe(age.as_secs_f64());
                }
            }
            Notice::Issued { after, .. } => self.wait_seconds.observe(after.as_secs_f64()),
            Notice::Failed { step, class, .. } => {
                self.failures += 1;
                let reason = class.as_ref().map_or("local", reason);
                *self.errors.entry((step.as_str(), reason)).or_default() += 1;
            }
            Notice::RequestDecided { condition, .. } => {
                self.failures += 1;
                let result = if *condition == "Denied" {
                    "denied"
                } else {
                    "failed"
                };
                *self.rotations.entry(result).or_default() += 1;
            }
            Notice::LeafRejected { .. } => {
                self.failures += 1;
                *self.rotations.entry("rejected").or_default() += 1;
            }
            Notice::RequestUndecided { .. } => {
                self.failures += 1;
                self.blocked.insert("unapproved", true);
            }
            Notice::Blocked { block, .. } => {
                self.blocked.insert(block.as_str(), true);
            }
            Notice::Unblocked { block } => {
                self.blocked.insert(block.as_str(), false);
            }
            _ => {}
        }
        if matches!(
            notice,
            Notice::Issued { .. } | Notice::RequestDecided { .. } | Notice::RequestGone { .. }
        ) && let Some(unapproved) = self.blocked.get_mut("unapproved")
        {
            *unapproved = false;
        }
    }

    fn overdue(&self, now: Timestamp) -> Option<Overdue> {
        overdue(self.leaf, self.request.clone(), now)
    }

    /// Seconds to expiry, truncated toward zero, negative afterwards; +Inf if there is no
    /// certificate.
    fn ttl_seconds(&self, now: Timestamp) -> f64 {
        match self.leaf {
            None => f64::INFINITY,
            Some(dates) => whole_seconds(dates.not_after.duration_since(now)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds of the calendar are far below 2^53"
)]
fn whole_seconds(span: SignedDuration) -> f64 {
    span.as_secs() as f64
}

fn reason(class: &RefusalClass) -> &'static str {
    match class {
        RefusalClass::Forbidden { .. } => "forbidden",
        RefusalClass::Invalid => "invalid",
        RefusalClass::NotServed => "not_served",
        RefusalClass::Other => "other",
        RefusalClass::RateLimited { .. } => "rate_limited",
        RefusalClass::Unauthorized => "unauthorized",
        RefusalClass::Unexpected => "unexpected",
        RefusalClass::Unreachable => "unreachable",
        RefusalClass::RequestRejected => "request_rejected",
        RefusalClass::UsagesRejected => "usages_rejected",
        _ => "unknown",
    }
}

fn kubelet_names(text: &mut Text, state: &State, now: Timestamp) {
    let client = state.kubelets(&CertificateId::kubelet_client());
    let serving = state.kubelets(&CertificateId::kubelet_serving());
    for (name, what, certificate) in [
        (
            "kubelet_certificate_manager_client_ttl_seconds",
            "client",
            client,
        ),
        (
            "kubelet_certificate_manager_server_ttl_seconds",
            "serving",
            serving,
        ),
    ] {
        let help = format!(
            "Seconds until the {what} certificate expires; negative after that, +Inf without one."
        );
        text.family(name, Kind::Gauge, &help)
            .sample(&[], certificate.ttl_seconds(now));
    }
    for (name, what, certificate) in [
        (
            "kubelet_certificate_manager_client_expiration_renew_errors",
            "client",
            client,
        ),
        ("kubelet_server_expiration_renew_errors", "serving", serving),
    ] {
        let help = format!("Attempts to rotate the {what} certificate that failed.");
        text.family(name, Kind::Counter, &help)
            .count(&[], certificate.failures);
    }
    text.family(
        "kubelet_certificate_manager_server_rotation_seconds",
        Kind::Histogram,
        "Age of a serving certificate when it was replaced.",
    )
    .histogram(&[], &serving.rotation_seconds);
}

fn dates(text: &mut Text, state: &State) {
    for (name, help, date) in [
        (
            "everleaf_agent_certificate_expiry_timestamp_seconds",
            "When the certificate expires.",
            (|dates| dates.not_after) as fn(Dates) -> Timestamp,
        ),
        (
            "everleaf_agent_rotation_deadline_timestamp_seconds",
            "When the certificate becomes due for rotation.",
            |dates| dates.deadline,
        ),
    ] {
        let mut family = text.family(name, Kind::Gauge, help);
        for (kind, certificate) in state.each() {
            if let Some(dates) = certificate.leaf {
                let since_epoch = date(dates).duration_since(Timestamp::UNIX_EPOCH);
                family.sample(&[("kind", kind)], whole_seconds(since_epoch));
            }
        }
    }
}

fn rotations(text: &mut Text, state: &State) {
    let mut family = text.family(
        "everleaf_agent_certificate_rotations_total",
        Kind::Counter,
        "Rotations by how they ended.",
    );
    for (kind, certificate) in state.each() {
        for result in ["installed", "denied", "failed", "rejected"] {
            let count = certificate.rotations.get(result).copied().unwrap_or(0);
            family.count(&[("kind", kind), ("result", result)], count);
        }
    }
    let mut family = text.family(
        "everleaf_agent_rotation_attempt_errors_total",
        Kind::Counter,
        "Failed attempts by step and reason.",
    );
    for (kind, certificate) in state.each() {
        for ((step, reason), count) in &certificate.errors {
            family.count(
                &[("kind", kind), ("step", step), ("reason", reason)],
                *count,
            );
        }
    }
    let mut family = text.family(
        "everleaf_agent_csr_wait_seconds",
        Kind::Histogram,
        "From preparing a request to its certificate.",
    );
    for (kind, certificate) in state.each() {
        family.histogram(&[("kind", kind)], &certificate.wait_seconds);
    }
}

fn conditions(text: &mut Text, state: &State) {
    let mut family = text.family(
        "everleaf_agent_request_blocked",
        Kind::Gauge,
        "1 while this reason keeps a certificate from being requested or issued.",
    );
    for (kind, certificate) in state.each() {
        for (reason, is_blocked) in &certificate.blocked {
            let labels = [("kind", kind), ("reason", *reason)];
            family.count(&labels, u64::from(*is_blocked));
        }
    }
    let mut family = text.family(
        "everleaf_agent_server_healthy",
        Kind::Gauge,
        "1 if the last request showed a working API server.",
    );
    for (kind, certificate) in state.each() {
        let is_healthy = u64::from(certificate.is_server_healthy);
        family.count(&[("kind", kind)], is_healthy);
    }
}

fn overdues(text: &mut Text, state: &State, now: Timestamp) {
    let mut family = text.family(
        "everleaf_agent_certificate_overdue",
        Kind::Gauge,
        "1 while a certificate has ended, or a request has waited for more than five minutes for what should be there.",
    );
    for (kind, certificate) in state.each() {
        let overdue = certificate.overdue(now);
        let overdue = overdue.as_ref().map(Overdue::as_str);
        for reason in Overdue::LABELS {
            let is_so = u64::from(overdue == Some(reason));
            family.count(&[("kind", kind), ("reason", reason)], is_so);
        }
    }
}

fn profiles(text: &mut Text, state: &State) {
    let of_profiles = || {
        state
            .each()
            .filter(|(_, certificate)| certificate.has_profile)
    };
    if let Some(count) = state.profile_problems {
        text.family(
            "everleaf_agent_profile_problems",
            Kind::Gauge,
            "What is wrong with the files of profiles now: what cannot be used is left out.",
        )
        .count(&[], count);
    }
    if of_profiles().next().is_none() {
        return;
    }
    for (name, help, results, counts) in [
        (
            "everleaf_agent_profile_files_total",
            "Times the files of a profile had to be written, by how that ended.",
            ["written", "failed"],
            (|certificate| certificate.files) as fn(&Certificate) -> [u64; 2],
        ),
        (
            "everleaf_agent_profile_actions_total",
            "Times the program of a profile was told of its files, by how that ended.",
            ["done", "failed"],
            |certificate| certificate.actions,
        ),
    ] {
        let mut family = text.family(name, Kind::Counter, help);
        for (kind, certificate) in of_profiles() {
            for (result, count) in results.iter().zip(counts(certificate)) {
                family.count(&[("kind", kind), ("result", result)], count);
            }
        }
    }
    let mut family = text.family(
        "everleaf_agent_profile_action_owed",
        Kind::Gauge,
        "1 while the program of a profile has yet to learn of its files.",
    );
    for (kind, certificate) in of_profiles() {
        family.count(&[("kind", kind)], u64::from(certificate.is_action_owed));
    }
}

fn process(text: &mut Text, state: &State) {
    text.family(
        "everleaf_agent_clock_steps_total",
        Kind::Counter,
        "Times the wall clock was found to have been set.",
    )
    .count(&[], state.clock_steps);
    let mut family = text.family(
        "everleaf_agent_connections_closed_total",
        Kind::Counter,
        "Connections closed by cause.",
    );
    for (cause, count) in &state.connections_closed {
        family.count(&[("cause", *cause)], *count);
    }
}

#[cfg(test)]
mod tests;
