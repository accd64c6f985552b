//! `/livez`, `/readyz`, `/healthz` (`apiserver/pkg/server/healthz`).

use super::query::Query;
use super::respond::{TEXT, response};
use super::{Body, Server};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::fmt::Write as _;

/// One check: its name, whether `/livez` has it too, and what it asks.
struct Check {
    name: &'static str,
    /// Fails liveness as well: a restart would help.
    is_vital: bool,
    holds: fn(&Server) -> bool,
}

const CHECKS: [Check; 6] = [
    Check {
        name: "ping",
        is_vital: true,
        holds: |_| true,
    },
    // The name under which clients know the store.
    Check {
        name: "etcd",
        is_vital: true,
        holds: |server| server.writer.is_alive(),
    },
    // What is visible is what the store has; it may be elsewhere.
    Check {
        name: "etcd-readiness",
        is_vital: false,
        holds: |server| {
            let upstream = server.writer.upstream();
            upstream.is_none_or(|upstream| upstream.failure().is_none())
        },
    },
    Check {
        name: "informer-sync",
        is_vital: false,
        holds: |_| true,
    },
    Check {
        name: "poststarthook/rbac/bootstrap-roles",
        is_vital: false,
        holds: Server::is_installed,
    },
    Check {
        name: "shutdown",
        is_vital: false,
        holds: |server| !server.is_stopping(),
    },
];

impl Server {
    /// What `/livez` says: false when only a restart would help.
    pub fn is_alive(&self) -> bool {
        let mut vital = CHECKS.iter().filter(|check| check.is_vital);
        vital.all(|check| (check.holds)(self))
    }

    /// The answer of a health path; None when it is none.
    pub(super) fn health(&self, path: &str, query: &Query) -> Option<Response<Body>> {
        let (endpoint, check) = path.strip_prefix('/').map(|path| {
            let (endpoint, check) = path.split_once('/').unwrap_or((path, ""));
            (endpoint, check)
        })?;
        let vital_only = match endpoint {
            "livez" => true,
            "readyz" | "healthz" => false,
            _ => return None,
        };
        let checks = CHECKS.iter().filter(|check| check.is_vital || !vital_only);
        if check.is_empty() {
            return Some(self.report(endpoint, checks, query));
        }
        let mut one = checks
            .filter(|candidate| candidate.name == check)
            .peekable();
        one.peek()?;
        Some(self.report(check, one, query))
    }

    fn report<'a>(
        &self,
        endpoint: &str,
        checks: impl Iterator<Item = &'a Check>,
        query: &Query,
    ) -> Response<Body> {
        let mut excluded: Vec<&str> = query.values("exclude").collect();
        let (mut text, mut failed) = (String::new(), false);
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        };
        for check in checks {
            if excluded.contains(&check.name) {
                excluded.retain(|name| *name != check.name);
                line(format_args!("[+]{} excluded: ok", check.name));
            } else if (check.holds)(self) {
                line(format_args!("[+]{} ok", check.name));
            } else {
                failed = true;
                line(format_args!("[-]{} failed: reason withheld", check.name));
            }
        }
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            line(format_args!(
                "warn: some health checks cannot be excluded: no matches for {}",
                names.join(", ")
            ));
        }
        let (code, body) = if failed {
            text.push_str(&format!("{endpoint} check failed\n"));
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        } else if query.value("verbose").is_some() {
            text.push_str(&format!("{endpoint} check passed\n"));
            (StatusCode::OK, text)
        } else {
            (StatusCode::OK, "ok".to_owned())
        };
        let mut response = response(code, TEXT, body);
        response.headers_mut().insert(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        );
        response
    }
}
