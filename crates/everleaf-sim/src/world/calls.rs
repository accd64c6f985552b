//! Calls of nodes on their way to the server, and answers on their way back.

use super::{CONTROLLER_DELAY, Due, World};
use crate::checker::NoKeyInPayload;
use crate::control_plane::{Answered, Response};
use crate::exchange::{Exchange, Progress};
use crate::network::Fate;
use bytes::Bytes;
use everleaf_agent::client::{Answer, Failure};
use everleaf_agent::csr_api::conversation::Call;
use everleaf_apiserver::authn::Peer;
use everleaf_apiserver::handler::WatchStream;
use everleaf_rotation::{ConfirmOutcome, CredentialChoice, Event};
use http::{HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;
use std::time::Duration;

/// How long a caller waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it takes to see that a connection is gone from which nothing comes.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A call on its way.
pub(super) struct Sent {
    node: usize,
    slot: usize,
    id: u64,
    call: Call,
    request: Request<Bytes>,
    peer: Peer,
    fate: Fate,
}

/// What comes back.
pub(super) enum Heard {
    Answer(Result<Answer, Failure>),
    Open(Box<WatchStream>, Option<Timestamp>),
}

impl World {
    /// A conversation begins.
    pub(super) fn begin(&mut self, node: usize, slot: usize, exchange: Exchange) {
        self.sequence += 1;
        let id = self.sequence;
        if let Some(left) = exchange.left(self.node_now(node).monotonic) {
            self.plan(self.elapsed + left, Due::Resume(node, id));
        }
        self.nodes[node].exchanges.insert(id, (slot, exchange));
        self.plan(self.elapsed, Due::Resume(node, id));
    }

    /// Lets a conversation do what it can do now.
    pub(super) fn go_on(&mut self, node: usize, id: u64) {
        loop {
            let now = self.node_now(node).monotonic;
            let is_cut = self.network.is_cut(node, self.elapsed);
            let Some((slot, exchange)) = self.nodes[node].exchanges.get_mut(&id) else {
                return;
            };
            let slot = *slot;
            if exchange.is_open() && is_cut {
                // What the server says is lost, until the silence is noticed.
                exchange.break_off();
                self.plan(self.elapsed + SILENCE_MAX, Due::Resume(node, id));
                return;
            }
            match exchange.next(now, self.elapsed) {
                Progress::Done(event) => {
                    let is_anonymous = exchange.is_anonymous;
                    self.nodes[node].exchanges.remove(&id);
                    self.judge_confirmation(node, slot, &event, is_anonymous);
                    let now = self.node_now(node);
                    self.nodes[node].tell(slot, now, *event);
                    return self.settle(node, slot);
                }
                Progress::Idle => return,
                Progress::Knocked(answer) => {
                    self.nodes[node].exchanges.remove(&id);
                    return self.hear_knocked(node, *answer);
                }
                Progress::Pause(pause) => {
                    self.plan(self.elapsed + pause, Due::Resume(node, id));
                    return;
                }
                Progress::Send(call) => return self.send(node, slot, id, call),
                Progress::Trace(line) => self.trace(node, slot, &line),
            }
        }
    }

    /// What the server does not know to be ours cannot have been accepted.
    fn judge_confirmation(&mut self, node: usize, slot: usize, event: &Event, is_anonymous: bool) {
        if let Event::ConfirmAnswered {
            outcome: ConfirmOutcome::Confirmed { .. },
            ..
        } = event
            && is_anonymous
        {
            let name = self.nodes[node].name(slot);
            self.note(Err(format!(
                "{name} took a certificate for accepted that the server never saw"
            )));
        }
    }

    fn send(&mut self, node: usize, slot: usize, id: u64, call: Call) {
        let Some((_, exchange)) = self.nodes[node].exchanges.get_mut(&id) else {
            return;
        };
        let credential = exchange.credential;
        let is_stripped = self.network.is_stripped(node, self.elapsed);
        exchange.is_anonymous = is_stripped && credential != CredentialChoice::Bootstrap;
        let now = self.node_now(node);
        let (mut peer, token) = self.nodes[node].present(slot, credential, now);
        if is_stripped {
            peer = Peer::default();
        }
        let Some(request) = request(&call, token.as_deref()) else {
            return self.note(Err(format!("{} is no request", call.path)));
        };
        let fate = self.network.fate(node, self.elapsed);
        let sent = Sent {
            node,
            slot,
            id,
            call,
            request,
            peer,
            fate,
        };
        match fate {
            Fate::RequestLost => self.answer(&sent, unheard(), CALL_TIMEOUT),
            Fate::Delivered(delay) => {
                self.plan(self.elapsed + delay / 2, Due::Arrive(Box::new(sent)));
            }
            Fate::ResponseLost => {
                let at = self.elapsed + Duration::from_millis(5);
                self.plan(at, Due::Arrive(Box::new(sent)));
            }
        }
    }

    fn answer(&mut self, sent: &Sent, heard: Heard, delay: Duration) {
        let due = Due::Hear(sent.node, sent.id, Box::new(heard));
        self.plan(self.elapsed + delay, due);
    }

    pub(super) fn arrive(&mut self, mut sent: Sent) {
        if self.elapsed < self.server_down {
            let refused = Failure::unreachable("connection refused");
            return self.answer(&sent, Heard::Answer(Err(refused)), Duration::ZERO);
        }
        let name = self.nodes[sent.node].name(sent.slot).to_owned();
        let request = std::mem::take(&mut sent.request);
        self.note(NoKeyInPayload.judge(&name, request.body()));
        let now = self.control_now();
        let Some(answered) = self.control_plane.answer(request, &sent.peer, now) else {
            return self.note(Err(format!(
                "a request of {name} was not answered at its first poll"
            )));
        };
        let was_created = self.count_created(&sent, &name, &answered);
        self.plan_control(CONTROLLER_DELAY);
        if was_created && self.doomed.remove(&sent.node) {
            return self.lose_power(sent.node);
        }
        match sent.fate {
            Fate::Delivered(delay) => {
                let heard = understood(answered);
                self.answer(&sent, heard, delay / 2);
            }
            Fate::RequestLost | Fate::ResponseLost => {
                self.report.responses_lost += 1;
                let line = format!("answer lost: {} {}", sent.call.method, sent.call.path);
                self.trace(sent.node, sent.slot, &line);
                self.answer(&sent, unheard(), CALL_TIMEOUT);
            }
        }
    }

    fn count_created(&mut self, sent: &Sent, name: &str, answered: &Answered) -> bool {
        let is_created = match answered {
            Answered::Whole(response) => response.status() == StatusCode::CREATED,
            Answered::Stream(..) => false,
        };
        let was_created = is_created && sent.call.path.ends_with("certificatesigningrequests");
        if was_created {
            self.report.created += 1;
            let verdict = self.bounded.created(name, self.elapsed);
            self.note(verdict);
        }
        was_created
    }

    pub(super) fn hear(&mut self, node: usize, id: u64, heard: Heard) {
        let (now, elapsed) = (self.node_now(node).monotonic, self.elapsed);
        // A node that was started anew has other conversations.
        if let Some((_, exchange)) = self.nodes[node].exchanges.get_mut(&id) {
            match heard {
                Heard::Answer(answer) => exchange.hear(answer, now),
                Heard::Open(watch, server_time) => {
                    exchange.opened(*watch, server_time, now, elapsed);
                }
            }
            self.go_on(node, id);
        }
    }

    /// What the server tells its watches is on its way.
    pub(super) fn announce(&mut self) {
        for node in 0..self.nodes.len() {
            let exchanges = self.nodes[node].exchanges.iter();
            let open = exchanges.filter(|(_, (_, exchange))| exchange.is_open());
            let open: Vec<u64> = open.map(|(id, _)| *id).collect();
            for id in open {
                let delay = self.network.delay() / 2;
                self.plan(self.elapsed + delay, Due::Resume(node, id));
            }
        }
    }

    /// The server closes every connection.
    pub(super) fn break_streams(&mut self) {
        for node in 0..self.nodes.len() {
            let exchanges = self.nodes[node].exchanges.iter_mut();
            let open = exchanges.filter(|(_, (_, exchange))| exchange.is_open());
            let mut broken = Vec::new();
            for (id, (_, exchange)) in open {
                exchange.break_off();
                broken.push(*id);
            }
            for id in broken {
                self.plan(self.elapsed, Due::Resume(node, id));
            }
        }
    }
}

fn unheard() -> Heard {
    let seconds = CALL_TIMEOUT.as_secs();
    Heard::Answer(Err(Failure::unreachable(format!(
        "no answer within {seconds} s"
    ))))
}

fn understood(answered: Answered) -> Heard {
    match answered {
        Answered::Whole(response) => Heard::Answer(read(&response)),
        Answered::Stream(head, watch) => {
            let empty = http::Response::from_parts(head, Bytes::from_static(b"{}"));
            let server_time = read(&empty).ok().and_then(|answer| answer.server_time);
            Heard::Open(watch, server_time)
        }
    }
}

fn read(response: &Response) -> Result<Answer, Failure> {
    let server = "the server";
    Answer::read(
        &server,
        response.status(),
        response.headers(),
        response.body(),
    )
}

/// The HTTP request, with a bearer token when that is the credential.
fn request(call: &Call, token: Option<&str>) -> Option<Request<Bytes>> {
    let body = call.body.as_ref().map(ToString::to_string);
    let mut request = Request::new(Bytes::from(body.unwrap_or_default()));
    *request.method_mut() = match call.method {
        Method::POST => Method::POST,
        _ => Method::GET,
    };
    *request.uri_mut() = call.path.parse().ok()?;
    if let Some(token) = token {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    Some(request)
}
