//! Counters, gauges and histograms of the loops, and their Prometheus text.
//!
//! Owns the names, the help texts and what has been counted. Label values come from closed
//! sets (signers, reasons, HTTP codes), never from an object.

use everleaf_observe::text::{Histogram, Kind, Labels, Text};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Name, type and meaning of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, with its unit last.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// One line for people.
    pub help: &'static str,
}

/// Upper bounds of every histogram, in seconds.
pub const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 100.0, 1000.0,
];

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, help: $help };
        )*
        /// Every metric, in the order of the exposition.
        const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    CA_EXPIRY: Gauge "everleaf_ca_expiry_timestamp_seconds" "End of the CA certificate that signs for a signer, Unix time.";
    CA_RELOAD_SUCCESS: Gauge "everleaf_ca_reload_success" "1 when the CA files on disk are the ones in use, 0 when the last change was refused.";
    CLEANING_SKIPPED: Counter "everleaf_csr_cleaning_skipped_total" "Passes of the cleaner that were left out, because ages meant nothing by the clocks.";
    CLOCK_STEPS: Counter "everleaf_clock_steps_total" "Times that our clock was set, or the machine slept.";
    CLOCK_OFFSET: Gauge "everleaf_clock_offset_seconds" "Clock of the peer minus our clock, median of its last answers.";
    APPROVE_LATENCY: Histogram "everleaf_csr_approve_latency_seconds" "From seeing a request to its recorded approval.";
    CLEANED: Counter "everleaf_csr_cleaned_total" "Requests deleted by age, by the state they were in.";
    DECISIONS: Counter "everleaf_csr_decisions_total" "Decisions of the approver.";
    FAILED: Counter "everleaf_csr_failed_total" "Approved requests that ended in a Failed condition.";
    ISSUED: Counter "everleaf_csr_issued_total" "Certificates issued.";
    PENDING: Gauge "everleaf_csr_pending" "Requests that are neither issued, denied nor failed.";
    PODS_CLEANED: Counter "everleaf_pod_certificate_requests_cleaned_total" "PodCertificateRequests deleted by age.";
    PODS_ISSUED: Counter "everleaf_pod_certificates_issued_total" "Certificates issued for pods.";
    PODS_REFUSED: Counter "everleaf_pod_certificates_refused_total" "PodCertificateRequests that were denied, or failed for good.";
    PODS_RETRIED: Counter "everleaf_pod_certificates_retried_total" "Attempts to issue a certificate for a pod that were given up, to be tried again.";
    QUEUE_OLDEST: Gauge "everleaf_csr_queue_oldest_seconds" "Age of the oldest request that waits for a worker.";
    SIGN_LATENCY: Histogram "everleaf_csr_sign_latency_seconds" "From seeing an approval to the recorded certificate.";
    WRITE_CONFLICTS: Counter "everleaf_csr_write_conflicts_total" "Writes that met a newer version of the request.";
    TRUNCATED: Counter "everleaf_sign_truncated_total" "Certificates that end with their CA, earlier than their signer's duration.";
    LEADER: Gauge "leader_election_master_status" "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.";
    LEADER_SLOW_PATH: Counter "leader_election_slowpath_total" "Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the lease. Please make sure to group by name.";
    ROOT_CA_SYNCS: Counter "root_ca_cert_publisher_sync_total" "Number of namespace syncs happened in root ca cert publisher.";
    ROOT_CA_SYNC_DURATION: Histogram "root_ca_cert_publisher_sync_duration_seconds" "Number of namespace syncs happened in root ca cert publisher.";
    TRUST_BUNDLE_SYNCS: Counter "clustertrustbundle_publisher_sync_total" "Number of syncs that occurred in cluster trust bundle publisher.";
    TRUST_BUNDLE_SYNC_DURATION: Histogram "clustertrustbundle_publisher_sync_duration_seconds" "The time it took to sync a cluster trust bundle.";
    LOG_ENTRIES: Counter "everleaf_issuance_log_entries_total" "Entries that this process made durable in the issuance log.";
    LOG_FAILURES: Counter "everleaf_issuance_log_failures_total" "Attempts to sign that were given up because the issuance log could not be written.";
    LOG_LATENCY: Histogram "everleaf_issuance_log_latency_seconds" "From asking for an entry of the issuance log until it is durable.";
    LOG_UP: Gauge "everleaf_issuance_log_up" "1 while the issuance log can be written; 0: nothing is signed.";
    REST_REQUESTS: Counter "rest_client_requests_total" "Number of HTTP requests, partitioned by status code, method, and host.";
    REST_DURATION: Histogram "rest_client_request_duration_seconds" "Request latency in seconds, partitioned by verb and host.";
    POLICY_RELOAD_SUCCESS: Gauge "everleaf_policy_reload_success" "1 while the policy for serving requests is what stands on disk, 0 while an older one stays in use.";
    WRITES_STOPPED: Counter "everleaf_writes_stopped_total" "Writes whose answer was not waited for, since the lease was not surely held any more.";
    QUEUE_ADDS: Counter "workqueue_adds_total" "Total number of adds handled by workqueue";
    QUEUE_DEPTH: Gauge "workqueue_depth" "Current depth of workqueue";
    QUEUE_DURATION: Histogram "workqueue_queue_duration_seconds" "How long in seconds an item stays in workqueue before being requested.";
    QUEUE_RETRIES: Counter "workqueue_retries_total" "Total number of retries handled by workqueue";
    QUEUE_WORK: Histogram "workqueue_work_duration_seconds" "How long in seconds processing an item from workqueue takes.";
}

#[derive(Debug)]
enum Sample {
    Value(f64),
    Durations(Histogram),
}

/// All samples. Shared by every loop; each call holds the lock for well under a microsecond.
#[derive(Debug, Default)]
pub struct Metrics {
    samples: Mutex<BTreeMap<(&'static str, Labels), Sample>>,
}

impl Metrics {
    /// Adds 1 to a counter.
    pub fn count(&self, metric: Metric, labels: &[(&str, &str)]) {
        self.with(metric, labels, |value| *value += 1.0);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, labels: &[(&str, &str)], new: f64) {
        self.with(metric, labels, |value| *value = new);
    }

    /// Adds a duration to a histogram.
    pub fn observe(&self, metric: Metric, labels: &[(&str, &str)], duration: Duration) {
        let mut samples = self.lock();
        let sample = samples
            .entry((metric.name, labels.into()))
            .or_insert_with(|| Sample::Durations(Histogram::new(&BUCKETS)));
        if let Sample::Durations(histogram) = sample {
            histogram.observe(duration.as_secs_f64());
        }
    }

    /// Everything in the Prometheus text format 0.0.4.
    pub fn text(&self) -> String {
        let samples = self.lock();
        let mut text = Text::default();
        for metric in ALL {
            let mut of_metric = samples
                .range((metric.name, Labels::default())..)
                .take_while(|((name, _), _)| *name == metric.name)
                .peekable();
            if of_metric.peek().is_none() {
                continue;
            }
            let mut family = text.family(metric.name, metric.kind, metric.help);
            for ((_, labels), sample) in of_metric {
                match sample {
                    Sample::Value(value) => family.sample(labels, *value),
                    Sample::Durations(histogram) => family.histogram(labels, histogram),
                }
            }
        }
        text.finish()
    }

    fn with(&self, metric: Metric, labels: &[(&str, &str)], change: impl FnOnce(&mut f64)) {
        let mut samples = self.lock();
        let sample = samples
            .entry((metric.name, labels.into()))
            .or_insert(Sample::Value(0.0));
        if let Sample::Value(value) = sample {
            change(value);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Labels), Sample>> {
        // Numbers are whole whatever panicked.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposition() {
        let metrics = Metrics::default();
        metrics.count(ISSUED, &[("signer", "b")]);
        metrics.count(ISSUED, &[("signer", "a\"\\\n")]);
        metrics.count(ISSUED, &[("signer", "b")]);
        metrics.set(CLOCK_OFFSET, &[], -2.5);
        metrics.observe(SIGN_LATENCY, &[], Duration::from_millis(30));
        let text = metrics.text();
        let expected_head = "\
# HELP everleaf_clock_offset_seconds Clock of the peer minus our clock, median of its last answers.
# TYPE everleaf_clock_offset_seconds gauge
everleaf_clock_offset_seconds -2.5
# HELP everleaf_csr_issued_total Certificates issued.
# TYPE everleaf_csr_issued_total counter
everleaf_csr_issued_total{signer=\"a\\\"\\\\\\n\"} 1
everleaf_csr_issued_total{signer=\"b\"} 2
# HELP everleaf_csr_sign_latency_seconds From seeing an approval to the recorded certificate.
# TYPE everleaf_csr_sign_latency_seconds histogram
everleaf_csr_sign_latency_seconds_bucket{le=\"0.001\"} 0
";
        assert!(text.starts_with(expected_head), "{text}");
        assert!(text.contains("_bucket{le=\"0.05\"} 1\n"), "{text}");
        assert!(text.ends_with("_bucket{le=\"+Inf\"} 1\neverleaf_csr_sign_latency_seconds_sum 0.03\neverleaf_csr_sign_latency_seconds_count 1\n"), "{text}");
    }

    #[test]
    fn the_table_is_sorted_and_without_repeats_per_prefix() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
