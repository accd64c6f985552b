//! The wish of a server to stop, as its connections see it.

use tokio::sync::watch;

/// Whoever stops: tells the connections, and waits for them.
pub(super) struct Stop(watch::Sender<bool>);

/// A connection's side. Its being is what the stop waits for.
pub(super) struct Stopped(watch::Receiver<bool>);

impl Stop {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn listener(&self) -> Stopped {
        Stopped(self.0.subscribe())
    }

    /// Tells everybody; ends when the last connection has ended.
    pub(super) async fn finish(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

impl Stopped {
    /// Ends when the server is to stop.
    pub(super) async fn told(&mut self) {
        // Without its other side there is nobody to stop for.
        if self.0.wait_for(|is_stopping| *is_stopping).await.is_err() {
            std::future::pending().await
        }
    }
}
