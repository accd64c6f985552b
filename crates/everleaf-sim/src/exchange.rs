//! One conversation of a node with the API server, in virtual time: the agent's machine, and the
//! watch it has open. Carries, and decides nothing.

use everleaf_agent::client::{Answer, Failure};
use everleaf_agent::csr_api::conversation::{
    AskVersion, Call, Confirm, Dialogue, Patience, Step, Submit, Wait,
};
use everleaf_agent::late_reissue::Knock;
use everleaf_api::watch::JsonEvents;
use everleaf_apiserver::handler::WatchStream;
use everleaf_rotation::{CredentialChoice, Effect, Event, Monotonic, RequestName};
use jiff::{SignedDuration, Timestamp};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What an exchange wants next.
#[derive(Debug)]
pub enum Progress {
    /// Tell the machine; it is over.
    Done(Box<Event>),
    /// Nothing until something arrives.
    Idle,
    /// The server was asked to let the node come back late; it is over.
    Knocked(Box<Result<Answer, Failure>>),
    /// Ask again after this long.
    Pause(Duration),
    /// Make this call.
    Send(Call),
    /// A line for the trace.
    Trace(String),
}

#[derive(Debug)]
enum Machine {
    Confirm(Confirm),
    Knock(Knock),
    Submit(Box<Submit>, RequestName),
    Version(AskVersion),
    Wait(Box<Wait>, RequestName),
}

/// An open watch.
struct Stream {
    watch: WatchStream,
    events: JsonEvents,
    /// True time, and the server's, when it was opened.
    opened: Duration,
    server_time: Option<Timestamp>,
}

/// See the module documentation.
pub struct Exchange {
    /// With what it authenticates.
    pub credential: CredentialChoice,
    machine: Machine,
    /// A call is on its way.
    is_in_flight: bool,
    /// Its last call was that of nobody: the credential did not reach the server.
    pub is_anonymous: bool,
    done: Option<Box<Event>>,
    knocked: Option<Box<Result<Answer, Failure>>>,
    stream: Option<Stream>,
}

impl Exchange {
    /// The exchange that an effect asks for, if it asks for one. `presented` is the CN of the
    /// certificate that would be presented.
    pub fn of(effect: &Effect, presented: Option<String>, now: Monotonic) -> Option<Self> {
        let (credential, machine) = match effect {
            Effect::AskVersion { credential } => (*credential, Machine::Version(AskVersion)),
            Effect::Await {
                pending,
                credential,
                silence_max,
            } => {
                let patience = Patience::with_silence(*silence_max);
                let wait = Wait::new(pending.clone(), patience, now);
                let machine = Machine::Wait(Box::new(wait), pending.name.clone());
                (*credential, machine)
            }
            Effect::Confirm { credential } => {
                (*credential, Machine::Confirm(Confirm::new(presented)))
            }
            Effect::Submit {
                pending,
                credential,
            } => {
                let submit = Submit::new(pending.clone());
                let name = pending.name.clone();
                (*credential, Machine::Submit(Box::new(submit), name))
            }
            _ => return None,
        };
        Some(Self::with(credential, machine))
    }

    /// Asks the server to let the node come back late, by its ended certificate.
    pub fn knock(knock: Knock) -> Self {
        Self::with(CredentialChoice::Current, Machine::Knock(knock))
    }

    fn with(credential: CredentialChoice, machine: Machine) -> Self {
        Self {
            credential,
            machine,
            is_in_flight: false,
            is_anonymous: false,
            done: None,
            knocked: None,
            stream: None,
        }
    }

    /// Whether it waits for a verdict.
    pub fn is_wait(&self) -> bool {
        matches!(self.machine, Machine::Wait(..))
    }

    /// How long it may go on, if that is limited.
    pub fn left(&self, now: Monotonic) -> Option<Duration> {
        match &self.machine {
            Machine::Wait(wait, _) => Some(wait.due().since(now)),
            _ => None,
        }
    }

    /// What to do next at true time `elapsed`, which is `now` on the node's clock.
    pub fn next(&mut self, now: Monotonic, elapsed: Duration) -> Progress {
        loop {
            if let Some(event) = self.done.take() {
                return Progress::Done(event);
            }
            if let Some(answer) = self.knocked.take() {
                return Progress::Knocked(answer);
            }
            let call = match &mut self.machine {
                Machine::Wait(wait, name) => {
                    if self.is_in_flight && now < wait.due() {
                        return Progress::Idle;
                    }
                    match wait.step(now) {
                        Step::Call(call) | Step::Open(call) => call,
                        Step::Disturbed(Some(failure)) => {
                            return Progress::Trace(format!("wait disturbed: {failure}"));
                        }
                        Step::Disturbed(None) => return Progress::Trace("wait goes on".to_owned()),
                        Step::Done(outcome) => {
                            let name = name.clone();
                            return Progress::Done(Box::new(Event::Awaited { name, outcome }));
                        }
                        Step::Pause(pause) => return Progress::Pause(pause),
                        Step::Read => {
                            if self.read(now, elapsed) {
                                continue;
                            }
                            return Progress::Idle;
                        }
                    }
                }
                _ if self.is_in_flight => return Progress::Idle,
                Machine::Confirm(confirm) => confirm.call(),
                Machine::Knock(knock) => knock.call(),
                Machine::Submit(submit, _) => submit.call(),
                Machine::Version(ask) => ask.call(),
            };
            self.is_in_flight = true;
            return Progress::Send(call);
        }
    }

    /// Reads what the watch has brought. False: nothing so far.
    fn read(&mut self, now: Monotonic, elapsed: Duration) -> bool {
        let Machine::Wait(wait, _) = &mut self.machine else {
            return false;
        };
        let Some(stream) = &mut self.stream else {
            let broken = Failure::unreachable("the watch broke");
            wait.read(Err(broken), None, now);
            return true;
        };
        let open = elapsed.saturating_sub(stream.opened);
        let mut context = Context::from_waker(Waker::noop());
        let frame = match stream.watch.poll_next(&mut context, open) {
            Poll::Pending => return false,
            Poll::Ready(frame) => frame,
        };
        let server_time = stream.server_time.map(|at| {
            let open = SignedDuration::try_from(open).unwrap_or_default();
            at.saturating_add(open).unwrap_or(at)
        });
        match frame.map(|frame| stream.events.feed(&frame)) {
            None => {
                self.stream = None;
                wait.read(Ok(None), None, now);
            }
            Some(Err(what)) => wait.read(Err(Failure::unreachable(what)), None, now),
            Some(Ok(events)) => {
                for event in events {
                    wait.read(Ok(Some(event)), server_time, now);
                }
            }
        }
        true
    }

    /// Whether a watch is open.
    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// The connection of the watch is gone.
    pub fn break_off(&mut self) {
        self.stream = None;
    }

    /// The watch that was asked for is open.
    pub fn opened(
        &mut self,
        watch: WatchStream,
        server_time: Option<Timestamp>,
        now: Monotonic,
        elapsed: Duration,
    ) {
        self.is_in_flight = false;
        if let Machine::Wait(wait, _) = &mut self.machine {
            wait.opened(Ok(()), now);
            self.stream = Some(Stream {
                watch,
                events: JsonEvents::default(),
                opened: elapsed,
                server_time,
            });
        }
    }

    /// The answer to the call that was made.
    pub fn hear(&mut self, answer: Result<Answer, Failure>, now: Monotonic) {
        self.is_in_flight = false;
        let credential = self.credential;
        match &mut self.machine {
            Machine::Confirm(confirm) => {
                let outcome = confirm.answer(answer);
                self.done = outcome.map(|outcome| {
                    Box::new(Event::ConfirmAnswered {
                        credential,
                        outcome,
                    })
                });
            }
            Machine::Knock(knock) => self.knocked = knock.answer(answer).map(Box::new),
            Machine::Submit(submit, name) => {
                let name = name.clone();
                let outcome = submit.answer(answer);
                self.done = outcome.map(|outcome| Box::new(Event::Submitted { name, outcome }));
            }
            Machine::Version(ask) => {
                let minor = ask.answer(answer);
                self.done = minor.map(|minor| Box::new(Event::VersionAnswered { minor }));
            }
            Machine::Wait(wait, _) => wait.hear(answer, now),
        }
    }
}
