//! One watch: events as they come, until the server or the caller ends it.

use super::body::Body;
use super::failure::Failure;
use everleaf_api::watch::{EventType, JsonEvents, WatchEvent};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use tokio::time::Instant;

/// An open watch. Dropping it ends it on the server, too.
#[derive(Debug)]
pub struct Watch {
    body: Body,
    events: JsonEvents,
    ready: VecDeque<WatchEvent>,
    server_time: Option<Timestamp>,
    started: Instant,
}

impl Watch {
    pub(super) fn new(body: Body, server_time: Option<Timestamp>, started: Instant) -> Self {
        Self {
            body,
            events: JsonEvents::default(),
            ready: VecDeque::new(),
            server_time,
            started,
        }
    }

    /// The next event; `None` when the stream ended, which is no failure. An ERROR event is
    /// returned as the failure that it carries. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return match event.kind {
                    EventType::Error => Err(Failure::from_watch_error(&event.object)),
                    _ => Ok(Some(event)),
                };
            }
            let data = match self.body.frame().await {
                None => return Ok(None),
                Some(Err(failure)) => {
                    let message = format!("the watch broke: {failure}");
                    return Err(Failure { message, ..failure });
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            let events = self
                .events
                .feed(&data)
                .map_err(|what| Failure::unreachable(format!("the watch is garbled: {what}")))?;
            self.ready.extend(events);
        }
    }

    /// The server's clock now: what it said when the watch began, plus the time since.
    pub fn server_time(&self) -> Option<Timestamp> {
        let passed = SignedDuration::try_from(self.started.elapsed()).ok()?;
        self.server_time?.checked_add(passed).ok()
    }
}
