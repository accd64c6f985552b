//! What came of late re-issue.

use super::Metrics;
use crate::late_reissue::Heard;
use everleaf_observe::text::{Kind, Text};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Late {
    knocks: BTreeMap<&'static str, u64>,
    /// As the server said last.
    recoveries_left: Option<u64>,
}

impl Late {
    pub(super) fn write(&self, text: &mut Text) {
        let mut family = text.family(
            "everleaf_agent_late_reissue_total",
            Kind::Counter,
            "Answers of the server about late re-issue.",
        );
        for result in Heard::RESULTS {
            let count = self.knocks.get(result).copied().unwrap_or(0);
            family.count(&[("result", result)], count);
        }
        if let Some(left) = self.recoveries_left {
            text.family(
                "everleaf_agent_late_reissue_recoveries_left",
                Kind::Gauge,
                "How often this node may still come back after its certificate has ended.",
            )
            .count(&[], left);
        }
    }
}

impl Metrics {
    /// The agent asks for late re-issue.
    pub(crate) fn expect_late(&self) {
        self.lock().late.get_or_insert_default();
    }

    /// Counts an answer about late re-issue.
    pub(crate) fn record_late(&self, heard: &Heard) {
        let mut state = self.lock();
        let late = state.late.get_or_insert_default();
        *late.knocks.entry(heard.as_str()).or_default() += 1;
        if let Heard::Registered { recoveries_left } | Heard::Recovered { recoveries_left } = heard
        {
            late.recoveries_left = Some(*recoveries_left);
        }
    }
}
