//! The shell's reads of time that are not tokio's.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Processor time that this process has used.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}
