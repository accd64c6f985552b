//! `/metrics`, `/livez`, `/readyz` and `/healthz` of the controllers.

use anyhow::Result;
use everleaf_agent::observe::{self, Observed};
use everleaf_controllers::Telemetry;
use std::net::SocketAddr;
use std::sync::Arc;

struct Controllers(Arc<Telemetry>);

impl Observed for Controllers {
    fn metrics_text(&self) -> String {
        self.0.metrics_text()
    }

    fn check_ready(&self) -> Result<(), String> {
        self.0.ready().map_err(|reasons| reasons.join("\n"))
    }

    fn remark(&self) -> Option<String> {
        let leader = self.0.standing_by()?;
        Some(format!("standing by, {leader} leads"))
    }
}

/// Listens; the task ends with the runtime.
pub(crate) async fn start(address: SocketAddr, telemetry: Arc<Telemetry>) -> Result<()> {
    let listener = crate::server::listen(address, "--metrics-bind-address").await?;
    tokio::spawn(observe::serve(listener, Arc::new(Controllers(telemetry))));
    Ok(())
}
