//! What signals ask for: to stop (SIGTERM, SIGINT), told to everyone who waits; and to read the
//! profiles again (SIGHUP).

use crate::service;
use anyhow::{Context, Result};
use everleaf_agent::Reload;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells when the process was asked to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for signals from now on. Call inside a runtime. A second signal ends the process at
    /// once.
    pub fn on_signals() -> Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        tokio::spawn(async move {
            let mut asked = false;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if asked {
                    std::process::exit(1);
                }
                asked = true;
                service::stopping();
                tracing::info!("stopping; a second signal ends the process at once");
                sender.send_replace(true);
            }
        });
        Ok(Self(receiver))
    }

    /// One that fires when the sender says so (a demo, a test, an order among parts).
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Returns once the process was asked to stop.
    pub async fn asked(mut self) {
        // The sender is gone only when the process ends.
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending().await
        }
    }
}

/// A reload that each SIGHUP asks for from now on; a terminal that is closed does not end the
/// process any more, as with other daemons. Call inside a runtime.
///
/// # Errors
/// The system does not let it listen.
pub fn reload_on_hangup() -> Result<Reload> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let reload = Reload::default();
    let asked = reload.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: the profiles are read again");
            asked.ask();
        }
    });
    Ok(reload)
}
