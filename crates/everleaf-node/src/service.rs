//! What a service manager is told (sd_notify(3)): that the service is ready, that it is alive, and
//! that it stops. Without one (`NOTIFY_SOCKET` is not set) nothing is told to anybody.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How many times in its time the service manager's watchdog hears of a process that is alive:
/// sd_watchdog_enabled(3) advises two.
const PINGS_PER_WATCHDOG: u32 = 2;

/// Tells that the process is alive, until dropped.
#[derive(Debug)]
pub struct Alive(Option<JoinHandle<()>>);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Tells that the service is ready; from then on that it is alive, where a watchdog wants to hear
/// it, for as long as the runtime has time for it and `is_alive`. Call inside a runtime.
pub fn ready(is_alive: impl Fn() -> bool + Send + 'static) -> Alive {
    tell(NotifyState::Ready);
    let watchdog = sd_notify::watchdog_enabled().filter(|watchdog| *watchdog > Duration::ZERO);
    Alive(watchdog.map(|watchdog| {
        tokio::spawn(async move {
            let mut pings = tokio::time::interval(watchdog / PINGS_PER_WATCHDOG);
            loop {
                pings.tick().await;
                if is_alive() {
                    tell(NotifyState::Watchdog);
                }
            }
        })
    }))
}

/// Tells that the service stops.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        tracing::warn!(
            %error,
            socket = %socket.display(),
            "the service manager cannot be told how this service is; it may end it for that"
        );
    }
}
