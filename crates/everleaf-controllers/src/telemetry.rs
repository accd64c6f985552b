//! Where notices go, and whether the controllers are ready.
//!
//! One [`Telemetry`] is shared by all loops, those of several [runs](crate::run()) in one process
//! too, and by whoever serves `/metrics` and `/readyz`; it owns no socket.

use crate::metrics::Metrics;
use crate::notice::Notice;
use everleaf_observe::Observed;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Receives every notice, after it was logged and counted.
type Listener = Box<dyn Fn(&Notice) + Send + Sync>;

/// Sets gauges; false: whose they were is gone.
type Refresh = Box<dyn Fn() -> bool + Send>;

/// See the module documentation.
pub struct Telemetry {
    listener: Option<Listener>,
    metrics: Metrics,
    /// What keeps us from being ready: component → reason.
    missing: Mutex<BTreeMap<&'static str, String>>,
    /// Who leads, while it is somebody else and we are well.
    leader: Mutex<Option<String>>,
    /// Brings the gauges up to date before somebody reads them.
    refresh: Mutex<Vec<Refresh>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        let missing = BTreeMap::from([("controllers", "not started".to_owned())]);
        Self {
            leader: Mutex::default(),
            listener: None,
            metrics: Metrics::default(),
            missing: Mutex::new(missing),
            refresh: Mutex::default(),
        }
    }
}

impl Telemetry {
    /// Like `default`, with one more reader of the notices.
    pub fn with_listener(listener: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self {
            listener: Some(Box::new(listener)),
            ..Self::default()
        }
    }

    /// Logs, counts and passes on.
    pub fn tell(&self, notice: &Notice) {
        notice.log();
        notice.record(&self.metrics);
        if let Some(listener) = &self.listener {
            listener(notice);
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Body of `/metrics`, Prometheus text format 0.0.4.
    pub fn metrics_text(&self) -> String {
        let mut refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        refresh.retain(|refresh| refresh());
        drop(refresh);
        self.metrics.text()
    }

    /// For `/readyz`: `Ok` when every loop works, else one line per obstacle.
    ///
    /// # Errors
    /// `component: reason`, sorted by component.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.is_empty() {
            return Ok(());
        }
        Err(missing
            .iter()
            .map(|(component, reason)| format!("{component}: {reason}"))
            .collect())
    }

    /// Who leads, while this process stands by; such a one is ready, but acts on nothing.
    pub fn standing_by(&self) -> Option<String> {
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        leader.clone()
    }

    /// Notes for whom this process stands by; `None`: it does not.
    pub(crate) fn set_standing_by(&self, leader: Option<String>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }

    /// Has `refresh` called before each exposition, until it says false.
    pub(crate) fn on_exposition(&self, refresh: impl Fn() -> bool + Send + 'static) {
        let mut all = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(refresh));
    }

    /// Notes that `component` is not ready, and why; `None`: it is.
    pub(crate) fn set_missing(&self, component: &'static str, reason: Option<String>) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => {
                missing.insert(component, reason);
            }
            None => {
                missing.remove(component);
            }
        }
    }
}

impl Observed for Telemetry {
    fn metrics_text(&self) -> String {
        self.metrics_text()
    }

    fn check_ready(&self) -> Result<(), String> {
        self.ready().map_err(|reasons| reasons.join("\n"))
    }

    fn remark(&self) -> Option<String> {
        let leader = self.standing_by()?;
        Some(format!("standing by, {leader} leads"))
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}
