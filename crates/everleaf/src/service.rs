//! What a service manager is told (sd_notify(3)), also of an API server.

use everleaf_apiserver::handler::Server;
pub(crate) use everleaf_node::service::{Alive, ready};
use std::sync::Arc;

/// Tells that the service is ready, and that it is alive while the server's `/livez` says so.
pub(crate) fn server_ready(server: &Arc<Server>) -> Alive {
    let server = Arc::clone(server);
    ready(move || server.is_alive())
}
