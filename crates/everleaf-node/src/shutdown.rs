//! The wish to stop: SIGTERM or SIGINT, told to everyone who waits.

use crate::service;
use anyhow::{Context, Result};
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
